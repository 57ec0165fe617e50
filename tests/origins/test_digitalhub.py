"""DigitalHub's calls: metrics of a model and a run, a job function, and what becomes of them."""

from pathlib import Path
from typing import Any, Final

from tests.origins.program import finish, preamble, run, snippet, start
from tests.support.collector import CollectorProcess
from tests.support.waiting import wait_until

METRICS: Final = preamble("c") + preamble("c1") + snippet("c1_metrics")
HANDLER: Final = preamble("c") + snippet("c4_handler") + "\ntrain(project, 0.1)\n"
TELL: Final = """
import sys
from otel_ml import Client

run_id, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
run = Client("churn").about(run_id=run_id)
for number in range(first, first + count):
    run.log_metric("loss", number, step=number)
    run.tag({f"tag-{number}": number})
"""
OPEN: Final = """
from otel_ml import Client
run = Client("churn").run("shared")
print(run.id, flush=True)
input()
for number in range(1000, 1500):
    run.log_metric("loss", number, step=number)
"""
STEPS: Final = """
for step in range(1000):
    run.log_metrics({"loss": float("nan") if step == 500 else float(step)})
"""


def newest(collector: CollectorProcess, model: str) -> dict[str, Any]:
    """The last run of a model, with everything that is known of it."""
    [summary] = collector.runs("churn", where=f'model == "{model}" and kind == "training"')
    detail: dict[str, Any] = collector.get(f"/runs/{summary['run_id']}")
    return detail


def versions(collector: CollectorProcess, model: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = collector.get(f"/projects/churn/models/{model}/versions")[
        "versions"
    ]
    return found


def test_metrics_of_a_model_and_a_run(own_collector: CollectorProcess, tmp_path: Path) -> None:
    """A model's metrics are its version's, a run's its own; a second value makes a series."""
    run(tmp_path, METRICS, own_collector)
    found = newest(own_collector, "fit")
    assert found["metrics"] == {
        "loss": [0.002, 0.001],
        "accuracy": 0.95,
        "epochs": [1.0, 2.0, 3.0],
    }
    assert found["params"] == {"rate": 0.1}
    [version] = versions(own_collector, "classifier")
    assert version["metrics"] == {"loss": 0.002, "accuracy": 0.95}
    assert version["definition"]["params"] == {"kind": "sklearn", "rate": 0.1}


def test_handler_records_a_job(own_collector: CollectorProcess, tmp_path: Path) -> None:
    """A job is a run of its project with outputs by name; its model has params and metrics."""
    run(tmp_path, HANDLER.replace("return model", "return model.handle.version"), own_collector)
    [version] = versions(own_collector, "classifier")
    assert version["metrics"] == {"accuracy": 0.95}
    params = {"kind": "mlflow", "framework": "sklearn", "parameters": {"rate": 0.1}}
    assert version["definition"]["params"] == params
    [summary] = own_collector.runs("churn", where='kind == "training"')
    found = own_collector.get(f"/runs/{summary['run_id']}")
    assert (found["model"], found["inputs"]["rate"], found["outcome"]) == ("train", 0.1, "ok")
    assert found["outputs"] == {"model": version["digest"]}
    assert own_collector.runs("default") == []


def test_loop_of_a_thousand_steps(collector: CollectorProcess, tmp_path: Path) -> None:
    """A value at every step is a series in order; a NaN is a gap in it."""
    run(tmp_path, preamble("c") + preamble("c1") + STEPS, collector)
    found = newest(collector, "fit")
    series = found["metrics"]["loss"]
    assert series == [None if step == 500 else float(step) for step in range(1000)]


def test_two_processes_lose_nothing(own_collector: CollectorProcess, tmp_path: Path) -> None:
    """Points and tags that two processes log to one run, while a third holds it, are all there."""
    holder = start(tmp_path, OPEN, own_collector.endpoint)
    assert holder.stdout is not None
    run_id = holder.stdout.readline().strip()
    others = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        first = str(number * 500)
        others.append(start(folder, TELL, own_collector.endpoint, run_id, first, "500"))
    for other in others:
        finish(other)
    finish(holder, "\n")

    def points() -> list[Any]:
        found = own_collector.get("/projects/churn/metrics", run_id=run_id, points=100_000)
        return sorted(point["step"] for one in found["series"] for point in one["points"])

    wait_until(lambda: points() == list(range(1500)))
    tags = own_collector.get(f"/runs/{run_id}")["tags"]
    assert tags == {f"tag-{number}": number for number in range(1000)}
