"""Data metrics of runs, model versions and data set versions in a real store."""

import json
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from otel_ml import (
    ActualComponent,
    Client,
    Dataset,
    InputComponent,
    ModelProfile,
    OutputComponent,
)
from otel_ml.compat.digitalhub import Entity, Project
from otel_ml.reader import Reader
from otel_ml.statistics.fields import describe_field
from tests.support.collector import CollectorProcess
from tests.support.waiting import wait_until

ROWS: Final = [{"age": None if n % 4 == 0 else n, "churned": n % 2 == 0} for n in range(40)]


@pytest.fixture(name="client")
def _client(collector: CollectorProcess) -> Iterator[Client]:
    client = Client("measured-data", endpoint=collector.endpoint)
    yield client
    client.close()


def test_run_has_them(collector: CollectorProcess, client: Client) -> None:
    """Data metrics appear among a run's metrics, can be filtered by, and are not scores."""
    with client.run("prepare") as run:
        found = client.data_metrics(ROWS, label="churned")
    assert client.flush()
    told: Any = collector.get(f"/projects/measured-data/runs/{run.id}")
    assert told["metrics"] == pytest.approx(found)
    assert not told["scores"]
    assert {*told["metric_sources"].values()} == {"data"}
    listed: Any = collector.get(f"/projects/measured-data/metrics?run_id={run.id}")
    assert {series["source"] for series in listed["series"]} == {"data"}
    for page in (f"runs/{run.id}", f"metrics?run_id={run.id}"):
        text = collector.get_text(f"/projects/measured-data/{page}")
        assert "missing.age <small>data metric</small>" in text
    where = 'model == "prepare" and metrics["missing.age"] >= 0.25'
    assert [one["run_id"] for one in collector.runs("measured-data", where=where)] == [run.id]


def test_model_has_them(collector: CollectorProcess, client: Client) -> None:
    """Data metrics are read back with a model version, next to its logged metrics."""
    model = client.model("churn", {"rate": 0.1})
    found = model.data_metrics(ROWS, label="churned")
    model.log_metric("auc", 0.9, single_value=True)
    model.log_metrics({"rows": 41.0})  # a series, whose last point is used
    assert client.flush()
    with Reader("measured-data", endpoint=collector.endpoint) as reader:
        [version] = reader.versions("churn")
        series = reader.metrics(model="churn", version=1)
    logged = {"auc": "logged", "rows": "logged"}
    assert version.metric_sources == {**dict.fromkeys(found, "data"), **logged}
    assert {name: one.source for name, one in series.items()} == version.metric_sources
    metrics = dict(version.metrics)
    assert metrics.pop("rows") == [found.pop("rows"), 41.0]
    assert metrics == pytest.approx({**found, "auc": 0.9})
    page = collector.get_text("/projects/measured-data/models/churn")
    assert "missing.age</a> <small>data metric</small>" in page
    assert "auc</a> <small>" not in page


def test_entity_of_digitalhub_takes_them(collector: CollectorProcess) -> None:
    """``log_metrics`` of DigitalHub's entities accepts data metrics unchanged."""
    project = Project("data-metrics-hub", collector.endpoint)
    model: Entity = project.log_model(name="classifier", kind="sklearn")
    metrics = project.client.data_metrics(ROWS, label="churned")
    model.log_metrics(metrics)
    assert project.client.flush()
    assert model.metrics == pytest.approx(metrics)


def test_versions_of_a_data_set_have_them(collector: CollectorProcess, client: Client) -> None:
    """Each version of a data set has its own data metrics; computing them again replaces them."""
    rows = [{"inputs": {"age": row["age"]}, "expected": row["churned"]} for row in ROWS]
    for count in (20, 40, 40):
        client.data_metrics(Dataset("customers", rows[:count]), label="expected")
    assert client.flush()
    with Reader("measured-data", endpoint=collector.endpoint) as reader:
        versions = list(reader.dataset_versions("customers"))
    shown = [(one.version, one.is_complete, one.metrics["rows"]) for one in versions]
    assert shown == [(2, True, 40.0), (1, True, 20.0)]
    assert versions[0].metrics["missing.age"] == pytest.approx(0.25)
    page = collector.get_text("/projects/measured-data/datasets/customers")
    assert "missing.age" in page


def test_stored_runs_have_them(collector: CollectorProcess, client: Client) -> None:
    """Data metrics are computed from stored runs: their inputs, outputs and ground truth."""
    for place in range(200):
        with client.run(
            "churn-runs", kind="model", inputs={"age": place % 50, "sex": "fm"[place % 2]}
        ) as run:
            run.set_output({"label": "no" if place % 4 else "yes"})
        client.about(run_id=run.id).actual("no" if place % 3 else "yes", "churned")
    assert client.flush()
    with Reader("measured-data", endpoint=collector.endpoint) as reader:
        runs = list(reader.runs('model == "churn-runs"'))
        found = client.model("churn-runs").data_metrics(
            runs,
            label="churned",
            prediction="outputs.label",
            sensitive="sex",
            positive="yes",
            reference=runs[:150],
        )
        profile = ModelProfile(
            "churn-runs",
            components=[
                InputComponent("age", dtype="INT"),
                OutputComponent("label", dtype="CAT"),
                ActualComponent("churned", dtype="CAT"),
            ],
        )
        profile.build_from(runs)
        assert client.flush()
        [version] = reader.versions("churn-runs")
    assert (found["rows"], found["missing.age"], found["distinct.age"]) == (200, 0, 50)
    assert found["bias.sex.parity_difference"] == pytest.approx(0.5)  # each 4th is yes, all f
    assert found["bias.sex.equal_opportunity_difference.n"] == 67
    assert (found["drifted"], found["drift_not_judged"]) == (0, 0)
    assert version.metrics == pytest.approx(found)
    truths = ["no" if place % 3 else "yes" for place in range(200)]
    assert profile.components["churned"].sketch == describe_field(truths, kind="category")


def test_profile_tags_stored_runs(collector: CollectorProcess, client: Client) -> None:
    """A problem found by a profile is stored as a tag of the run, by which runs can be filtered."""
    profile = ModelProfile("ages", components=[InputComponent("age", dtype="INT", low=0, high=120)])
    profile.build([{"age": 1}, {"age": 99}])
    client.profile(profile, action="aged")
    ids = []
    for age in (40, 400, None):
        with client.run("aged", kind="model", inputs={"age": age}) as run:
            ids.append(run.id)
    assert client.flush()
    for value, run_id in (("UpperBoundError", ids[1]), ("Value None", ids[2])):
        where = f'model == "aged" and tags["age-error"] == "{value}"'
        assert [one["run_id"] for one in collector.runs("measured-data", where=where)] == [run_id]


def test_fields_beside_a_profile(collector: CollectorProcess, client: Client) -> None:
    """The fields of a whole day are compared with a profile that a client sent."""
    profile = ModelProfile(
        "ages",
        "2",
        components=[
            InputComponent("age", path="inputs.age"),
            InputComponent("mean weight", path="inputs.mean weight"),
        ],
    )
    profile.build([{"age": 20.5 + n % 40, "mean weight": 60.5 + n % 30} for n in range(600)])
    client.profile(profile, action="weighed")
    day_ns = 24 * 60 * 60 * 10**9
    start_ns = time.time_ns() // day_ns * day_ns - day_ns // 2
    tracer = client.tracer_provider.get_tracer("otel_ml")
    for place in range(300):
        inputs = {"age": 30.5 + place % 40, "mean weight": 60.5 + place % 30}
        told = {
            "otel_ml.kind": "model",
            "otel_ml.model.name": "weighed",
            "otel_ml.inputs": json.dumps(inputs),
            "otel_ml.outcome": "ok",
        }
        span = tracer.start_span("weighed", start_time=start_ns + place, attributes=told)
        span.end(end_time=start_ns + place + 1_000)
    assert client.flush()
    path = "/projects/measured-data/fields?model=weighed&than=profile:ages"

    def words() -> dict[str, str]:
        answer: Any = collector.get(path)
        return {field["field"]: field["word"] for field in answer["fields"]}

    wait_until(lambda: words() == {"inputs.age": "drift", 'inputs["mean weight"]': "as before"}, 60)
    assert collector.status(f"/api/v1{path.replace('ages', 'nobody')}") == 404
