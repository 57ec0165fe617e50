"""A real collector records real trainings of XGBoost."""

from pathlib import Path
from typing import Any, Final

import pytest

from tests.nightly.integrations.environment import ask
from tests.nightly.integrations.test_pages import compare_page
from tests.support.collector import CollectorProcess

PROJECT: Final = "boost"
Told = dict[str, dict[str, Any]]
Points = dict[str, list[tuple[int, float]]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, collector: CollectorProcess) -> Told:
    """Run the trainings, and return the program's output."""
    folder: Path = tmp_path_factory.mktemp("boost")
    found: Told = ask(
        "boost", folder=folder, OTEL_ML_ENDPOINT=collector.endpoint, OTEL_ML_PROJECT=PROJECT
    )
    return found


def points_of(collector: CollectorProcess, run_id: str) -> Points:
    """Return step and value of all points of a run, by metric."""
    answer = collector.get(f"/projects/{PROJECT}/metrics", run_id=run_id, points=1000)
    return {
        one["name"]: [(point["step"], point["value"]) for point in one["points"]]
        for one in answer["series"]
    }


def test_page(collector: CollectorProcess, tmp_path: Path) -> None:
    """The code of the docs page records three trainings, which the comparison ranks correctly."""
    found = compare_page("xgboost", collector, tmp_path)
    assert found["differing"] == ["max_depth"]
    assert found["same"] == {
        "booster": "gbtree",
        "eta": 0.3,
        "num_class": 10,
        "objective": "multi:softprob",
        "seed": 0,
        "subsample": 1,
    }
    assert [side["params"]["max_depth"] for side in found["sides"]] == [1, 2, 4]
    assert [side["metrics"]["valid-mlogloss"]["count"] for side in found["sides"]] == [20] * 3
    assert found["sentence"].startswith("C has the lowest valid-mlogloss")


def test_every_round(told: Told, collector: CollectorProcess) -> None:
    """Every number that XGBoost reports is recorded under its name and round."""
    assert points_of(collector, told["train"]["run_id"]) == {
        f"{data}-{metric}": list(enumerate(values))
        for data, metrics in told["train"]["told"].items()
        for metric, values in metrics.items()
    }


def test_training_is_a_run(told: Told, collector: CollectorProcess) -> None:
    """A training is recorded as one run with its params and the best iteration."""
    run = collector.get(f"/runs/{told['train']['run_id']}")
    assert (run["model"], run["kind"], run["outcome"]) == ("trained", "training", "ok")
    assert run["params"] == {
        "booster": "gbtree",
        "eta": 0.1,
        "max_depth": 3,
        "objective": "binary:logistic",
        "seed": 5,
        "subsample": 1,
    }
    assert run["tags"] == {"best_iteration": told["train"]["best"]}


def test_cross_validation(told: Told, collector: CollectorProcess) -> None:
    """A cross-validation is recorded as one run with mean and deviation of each round."""
    assert points_of(collector, told["validate"]["run_id"]) == {
        name: list(enumerate(values)) for name, values in told["validate"]["told"].items()
    }


def test_estimators(told: Told, collector: CollectorProcess) -> None:
    """Each estimator that is fitted with a callback is recorded as a separate run."""
    runs = [collector.get(f"/runs/{one}") for one in told["fit"]["run_ids"]]
    assert [run["params"]["max_depth"] for run in runs] == [1, 2]
    assert [run["params"]["eta"] for run in runs] == [0.05, 0.05]
    assert [list(run["metrics"]) for run in runs] == [["validation_0-logloss"]] * 2


def test_given_run_fails_with_its_training(told: Told, collector: CollectorProcess) -> None:
    """A training that raises in an open run ends that run with the error and keeps its points."""
    run = collector.get(f"/runs/{told['fail']['run_id']}")
    assert (run["model"], run["outcome"], run["error_message"]) == ("given", "error", "no luck")
    assert run["params"] == {"mine": 1}
    assert list(run["metrics"]) == ["train-logloss"]
