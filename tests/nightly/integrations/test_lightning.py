"""A real collector records real trainings of PyTorch Lightning."""

from pathlib import Path
from typing import Any, Final

import pytest

from tests.nightly.integrations.environment import ask
from tests.nightly.integrations.test_pages import compare_page
from tests.support.collector import CollectorProcess

PACKAGES: Final = ("lightning.pytorch", "pytorch_lightning")
STEPS: Final = 5 * 4  # an epoch has four steps
Told = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, collector: CollectorProcess) -> Told:
    """Run the trainings, and return the program's output."""
    folder: Path = tmp_path_factory.mktemp("lines")
    found: Told = ask(
        "lines", folder=folder, OTEL_ML_ENDPOINT=collector.endpoint, OTEL_ML_PROJECT="lines"
    )
    return found


def steps_of(collector: CollectorProcess, run_id: str) -> dict[str, list[int]]:
    """Return the steps of all points of a run, by metric."""
    answer = collector.get("/projects/lines/metrics", run_id=run_id, points=1000)
    return {one["name"]: [point["step"] for point in one["points"]] for one in answer["series"]}


def test_page(collector: CollectorProcess, tmp_path: Path) -> None:
    """The code of the docs page records three trainings, which the comparison ranks correctly."""
    found = compare_page("lightning", collector, tmp_path)
    assert found["differing"] == ["rate"]
    assert [side["params"] for side in found["sides"]] == [
        {"rate": 0.01},
        {"rate": 0.1},
        {"rate": 0.3},
    ]
    assert [side["metrics"]["loss"]["count"] for side in found["sides"]] == [8] * 3
    assert found["sentence"].startswith("C has the lowest loss")


@pytest.mark.parametrize("package", PACKAGES)
def test_training_is_a_run(package: str, told: Told, collector: CollectorProcess) -> None:
    """A training is recorded as one run with the model's saved hyper-parameters."""
    assert told[package]["before"] is None
    run = collector.get(f"/runs/{told[package]['run_id']}")
    assert (run["model"], run["kind"], run["outcome"]) == ("Line", "training", "ok")
    assert run["params"] == {"rate": 0.1}
    assert [run["tags"]["version"]] == told[package]["folders"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_step(package: str, told: Told, collector: CollectorProcess) -> None:
    """Metrics are recorded with their step, including metrics of a later test."""
    run_id = told[package]["run_id"]
    found = steps_of(collector, run_id)
    assert found.keys() == {"loss", "test_loss"}  # the epoch is not a metric
    assert found["loss"] == list(range(STEPS))
    assert found["test_loss"] == [STEPS]
    run = collector.get(f"/runs/{run_id}")
    assert run["metrics"]["test_loss"] == told[package]["tested"]


def test_error(told: Told, collector: CollectorProcess) -> None:
    """A training that raises ends its run with the error."""
    run = collector.get(f"/runs/{told['fail']['run_id']}")
    assert (run["model"], run["outcome"]) == ("failed", "error")
    assert (run["error_type"], run["error_message"]) == ("RuntimeError", "no luck")
    assert steps_of(collector, run["run_id"])["loss"] == [0, 1]


def test_given_run_goes_on(told: Told, collector: CollectorProcess) -> None:
    """An open run passed to the logger is neither replaced nor ended by the training."""
    run = collector.get(f"/runs/{told['train_in_a_run']['run_id']}")
    assert (run["model"], run["outcome"], run["params"]) == ("given", "ok", {"mine": 1})
    assert run["tags"]["after"] == "the training"
    assert len(run["metrics"]["loss"]) == STEPS
