"""Data metrics in a store: of a run, of a model's version, and of versions of a data set."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from otel_ml import Client, Dataset
from otel_ml.compat.digitalhub import Entity, Project
from otel_ml.reader import Reader
from tests.support.collector import CollectorProcess

ROWS: Final = [{"age": None if n % 4 == 0 else n, "churned": n % 2 == 0} for n in range(40)]


@pytest.fixture(name="client")
def _client(collector: CollectorProcess) -> Iterator[Client]:
    client = Client("data-metrics", endpoint=collector.endpoint)
    yield client
    client.close()


def test_run_has_them(collector: CollectorProcess, client: Client) -> None:
    """They stand among the metrics of a run, can be filtered by, and are nobody's score."""
    with client.run("prepare") as run:
        found = client.data_metrics(ROWS, label="churned")
    assert client.flush()
    told: Any = collector.get(f"/projects/data-metrics/runs/{run.id}")
    assert told["metrics"] == pytest.approx(found)
    assert not told["scores"]
    where = 'model == "prepare" and metrics["missing.age"] >= 0.25'
    assert [one["run_id"] for one in collector.runs("data-metrics", where=where)] == [run.id]


def test_model_has_them(collector: CollectorProcess, client: Client) -> None:
    """They are read back of a model's version, beside what was logged."""
    model = client.model("churn", {"rate": 0.1})
    found = model.data_metrics(ROWS, label="churned")
    model.log_metric("auc", 0.9, single_value=True)
    assert client.flush()
    with Reader("data-metrics", endpoint=collector.endpoint) as reader:
        [version] = reader.versions("churn")
    assert version.metrics == pytest.approx({**found, "auc": 0.9})


def test_entity_of_digitalhub_takes_them(collector: CollectorProcess) -> None:
    """The numbers go into ``log_metrics`` of DigitalHub's entities as they are."""
    project = Project("data-metrics-hub", collector.endpoint)
    model: Entity = project.log_model(name="classifier", kind="sklearn")
    metrics = project.client.data_metrics(ROWS, label="churned")
    model.log_metrics(metrics)
    assert project.client.flush()
    assert model.metrics == pytest.approx(metrics)


def test_versions_of_a_data_set_have_them(collector: CollectorProcess, client: Client) -> None:
    """Each version of a data set has its own; computed again the last numbers hold."""
    rows = [{"inputs": {"age": row["age"]}, "expected": row["churned"]} for row in ROWS]
    for count in (20, 40, 40):
        client.data_metrics(Dataset("customers", rows[:count]), label="expected")
    assert client.flush()
    with Reader("data-metrics", endpoint=collector.endpoint) as reader:
        versions = list(reader.dataset_versions("customers"))
    shown = [(one.version, one.is_complete, one.metrics["rows"]) for one in versions]
    assert shown == [(2, True, 40.0), (1, True, 20.0)]
    assert versions[0].metrics["missing.age"] == pytest.approx(0.25)
    page = collector.get_text("/projects/data-metrics/datasets/customers")
    assert "missing.age" in page
