"""The calls in DigitalHub's text: metrics of a model and a run, and a job function."""

from pathlib import Path
from typing import Any, Final

from tests.support.collector import CollectorProcess
from tests.support.origins.program import preamble, run, snippet

METRICS: Final = preamble("c") + preamble("c1") + snippet("c1_metrics")
HANDLER: Final = preamble("c") + snippet("c4_handler") + "\ntrain(project, 0.1)\n"


def newest(collector: CollectorProcess, model: str) -> dict[str, Any]:
    """Return the details of the only training run of a model."""
    [summary] = collector.runs("churn", where=f'model == "{model}" and kind == "training"')
    detail: dict[str, Any] = collector.get(f"/runs/{summary['run_id']}")
    return detail


def versions(collector: CollectorProcess, model: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = collector.get(f"/projects/churn/models/{model}/versions")[
        "versions"
    ]
    return found


def test_metrics_of_a_model_and_a_run(own_collector: CollectorProcess, tmp_path: Path) -> None:
    """Metrics of a model belong to its version, those of a run to the run; values form a series."""
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
