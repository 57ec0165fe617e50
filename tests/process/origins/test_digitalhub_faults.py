"""Faults of DigitalHub's package that otel-ml does not have; one test each.

* every call reads and writes all values so far: `test_cost_is_linear`
* a list for a key with a number fails: `test_list_follows_a_number`
* points have no step and no time: `test_points_have_step_and_time`
* concurrent writers lose updates: ``test_two_processes_lose_nothing`` in `test_digitalhub.py`
* a bool or a numeric text is accepted as a number: `test_no_number_is_refused`
* NaN and infinities are undefined: `test_nan_is_a_gap`
* `get_mlflow_model_metrics` loses the history: ``tests/nightly/integrations/test_mlflow.py``
"""

import math
from collections.abc import Iterator
from typing import Any

import pytest

from otel_ml.compat.digitalhub import Entity, Project
from tests.support.collector import CollectorProcess
from tests.support.otel_ml.otlp_sink import open_sink


@pytest.fixture
def project(collector: CollectorProcess) -> Iterator[Project]:
    project = Project("faults of DigitalHub", collector.endpoint)
    yield project
    project.client.close()


def finished(project: Project, run: Entity) -> str:
    """End a run and deliver it; return its id."""
    handle: Any = run.handle
    handle.end()
    assert project.client.flush()
    run_id: str = handle.id
    return run_id


def test_cost_is_linear() -> None:
    """A thousand calls send each point once, in few requests."""
    with open_sink() as sink:
        project = Project("faults of DigitalHub", sink.address)
        run = project.run("fit")
        for step in range(1_000):
            run.log_metrics({"loss": 1 / (step + 1)})
        finished(project, run)
        values = [span.get("otel_ml.metric.values", ()) for span in sink.spans]
        assert [value for part in values for value in part] == [
            1 / (step + 1) for step in range(1_000)
        ]
        assert len(sink.requests) < 50
        project.client.close()


def test_list_follows_a_number(collector: CollectorProcess, project: Project) -> None:
    """A number and a list logged under one key form one series."""
    run = project.run("fit")
    run.log_metrics({"loss": 0.5})
    run.log_metrics({"loss": [0.4, 0.3]})
    found = collector.get(f"/runs/{finished(project, run)}")
    assert found["metrics"] == {"loss": [0.5, 0.4, 0.3]}


def test_points_have_step_and_time(collector: CollectorProcess, project: Project) -> None:
    """Points logged with a step have this step, and the time at which they were logged."""
    run = project.run("fit")
    for step in (0, 10, 20):
        run.handle.log_metrics({"loss": 1.0}, step=step)
    run_id = finished(project, run)
    [series] = collector.get("/projects/faults%20of%20DigitalHub/metrics", run_id=run_id)["series"]
    times = [point["time_ns"] for point in series["points"]]
    assert [point["step"] for point in series["points"]] == [0, 10, 20]
    assert times == sorted(times)
    assert collector.get(f"/runs/{run_id}")["start_ns"] <= times[0]


@pytest.mark.parametrize("value", [True, "0.5"])
def test_no_number_is_refused(collector: CollectorProcess, project: Project, value: object) -> None:
    """A bool or a numeric text raises an error with key and value, and nothing is logged."""
    run = project.run("fit")
    with pytest.raises(ValueError, match="rate") as refusal:
        run.log_metrics({"loss": 1.0, "rate": value})  # type: ignore[dict-item]  # what is refused
    assert repr(value) in str(refusal.value)
    assert collector.get(f"/runs/{finished(project, run)}")["metrics"] == {}


def test_nan_is_a_gap(collector: CollectorProcess, project: Project) -> None:
    """NaN is stored and read as a gap in its series, an infinity as itself."""
    run = project.run("fit")
    for value in (1.0, math.nan, math.inf, 2.0):
        run.log_metric("loss", value)
    found = collector.get(f"/runs/{finished(project, run)}")
    assert found["metrics"] == {"loss": [1.0, None, "Infinity", 2.0]}
