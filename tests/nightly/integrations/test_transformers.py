"""A real collector records a real `Trainer` with a tiny random model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.nightly.integrations.environment import ask
from tests.support.collector import CollectorProcess

Told = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, collector: CollectorProcess) -> Told:
    """Run the trainings, and return the program's output."""
    folder: Path = tmp_path_factory.mktemp("train")
    found: Told = ask(
        "train", folder=folder, OTEL_ML_ENDPOINT=collector.endpoint, OTEL_ML_PROJECT="train"
    )
    return found


def find_points(collector: CollectorProcess, run_id: str) -> dict[str, list[tuple[int, float]]]:
    """Return step and value of all points of a run, by metric."""
    answer = collector.get("/projects/train/metrics", run_id=run_id, points=5000)
    return {
        one["name"]: [(point["step"], point["value"]) for point in one["points"]]
        for one in answer["series"]
    }


def points_of(logged: list[Any]) -> dict[str, list[tuple[int, float]]]:
    """Group a trainer's log by metric."""
    found: dict[str, list[tuple[int, float]]] = {}
    for step, logs in logged:
        for name, value in logs.items():
            found.setdefault(name, []).append((step, value))
    return found


def test_numbers_of_every_step(told: Told, collector: CollectorProcess) -> None:
    """Every number that a trainer logs is recorded under its name and step."""
    train = told["train"]
    points = find_points(collector, train["run_id"])
    assert points == points_of(train["logged"])
    assert [step for step, _ in points["loss"]] == [1, 2, 3, 4, 5, 6]
    assert {"train_runtime", "eval_loss"} <= points.keys()


def test_training_is_a_run(told: Told, collector: CollectorProcess) -> None:
    """A training is recorded as one run with its arguments."""
    assert told["train"]["before"] is None
    run = collector.get(f"/runs/{told['train']['run_id']}")
    assert (run["model"], run["kind"], run["outcome"], run["tags"]) == (
        "GPT2LMHeadModel",
        "training",
        "ok",
        {"model_type": "gpt2"},
    )
    assert {
        "learning_rate": 0.01,
        "max_steps": 6,
        "per_device_train_batch_size": 2,
        "logging_steps": 1,
        "seed": 42,
    }.items() <= run["params"].items()


def test_arguments_that_say_nothing_stay_out(told: Told, collector: CollectorProcess) -> None:
    """Default arguments, paths and tokens are not recorded as params."""
    run = collector.get(f"/runs/{told['train']['run_id']}")
    assert not {"adam_beta1", "output_dir", "hub_token", "report_to"} & run["params"].keys()
    assert "s3cr3t" not in str(run)


def test_given_run_fails_with_its_training(told: Told, collector: CollectorProcess) -> None:
    """A training that raises inside an open run ends that run with the error."""
    run = collector.get(f"/runs/{told['train_in_a_run']['run_id']}")
    assert (run["model"], run["outcome"], run["error_message"]) == ("given", "error", "no luck")


def test_callback_of_digitalhub(told: Told, collector: CollectorProcess) -> None:
    """The unchanged callback of DigitalHub's documentation works with an otel-ml run."""
    train = told["train_as_digitalhub"]
    run = collector.get(f"/runs/{train['run_id']}")
    found = {
        name: [value for _, value in points] for name, points in points_of(train["logged"]).items()
    }
    assert run["metrics"] == {
        name: values if len(values) > 1 else values[0] for name, values in found.items()
    }
    assert len(run["metrics"]["loss"]) == 6


def test_thousand_steps(told: Told, collector: CollectorProcess) -> None:
    """1,000 logs of the main process are recorded as 1,000 points in order."""
    steps = range(1, 1_001)
    assert find_points(collector, told["log_often"]["run_id"]) == {
        "loss": [(step, float(np.float32(1 / step))) for step in steps],
        "rate": [(step, float(step)) for step in steps],
    }
