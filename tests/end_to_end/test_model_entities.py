"""Models as entities: read back, continued by other processes."""

import math
import re
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml import Client
from otel_ml.compat.digitalhub import Project
from otel_ml.reader import NotFound, Unreachable
from tests.otel_ml.scripts import ask_script, run_script
from tests.support.collector import CollectorProcess

LOG: Final = """
import json, sys
from otel_ml import Client
client = Client("{project}", endpoint="{endpoint}")
model = client.model("churn"{named})
model.log_metrics({values})
assert client.flush()
print(json.dumps([model.version, model.metrics]))
"""


def log(
    folder: Path, collector: CollectorProcess, project: str, values: str, named: str
) -> list[Any]:
    """Log metrics of a model in a process of its own; returns its version and its metrics."""
    text = LOG.format(project=project, endpoint=collector.endpoint, values=values, named=named)
    found: list[Any] = ask_script(folder, text)
    return found


def test_model_is_read_back(collector: CollectorProcess, tmp_path: Path) -> None:
    """What other processes recorded of a model is read by its name alone."""
    old, _ = log(tmp_path, collector, "read", '{"auc": 0.8}', ', {"depth": 3}')
    new, _ = log(tmp_path, collector, "read", '{"auc": 0.9, "loss": [3, 2]}', ', {"depth": 4}')
    model = Client("read", endpoint=collector.endpoint).model("churn")
    found = [
        (one.version, one.digest, one.definition["params"], one.metrics) for one in model.versions()
    ]
    assert found == [
        (2, new, {"depth": 4}, {"auc": 0.9, "loss": [3.0, 2.0]}),
        (1, old, {"depth": 3}, {"auc": 0.8}),
    ]
    assert (model.latest.version, model.latest.page) == (
        2,
        f"{collector.endpoint}/projects/read/models/churn?to=2",
    )
    assert (model.metrics, model.version) == ({"auc": 0.9, "loss": [3.0, 2.0]}, new)


def test_reading_opens_no_version(collector: CollectorProcess, tmp_path: Path) -> None:
    """A model that is only read back has the versions that it had."""
    log(tmp_path, collector, "only", '{"auc": 0.8}', ', {"depth": 3}')
    client = Client("only", endpoint=collector.endpoint)
    model = client.model("churn")
    assert model.metrics == {"auc": 0.8}
    client.close()
    assert [one.version for one in model.versions()] == [1]


@pytest.mark.parametrize("named", ["", ', {"rate": 0.1}'])
def test_another_process_continues(collector: CollectorProcess, tmp_path: Path, named: str) -> None:
    """Named alone, or by the same params, a version goes on: a series has what both logged."""
    project = "continued" + ("-named" if named else "")
    made, first = log(tmp_path, collector, project, '{"loss": 3, "auc": 0.5}', ', {"rate": 0.1}')
    assert first == {"loss": 3.0, "auc": 0.5}
    continued, both = log(tmp_path, collector, project, '{"loss": 2}', named)
    assert (continued, both) == (made, {"loss": [3.0, 2.0], "auc": 0.5})
    model = Client(project, endpoint=collector.endpoint).model("churn")
    [version] = model.versions()
    assert (version.digest, model.metrics) == (made, both)
    assert version.definition["params"] == {"rate": 0.1}


def test_first_words_of_a_model(collector: CollectorProcess, tmp_path: Path) -> None:
    """A model that nobody knows gets its first version from what is logged of its name."""
    version, metrics = log(tmp_path, collector, "first", '{"loss": 2}', "")
    again, both = log(tmp_path, collector, "first", '{"loss": 1}', "")
    assert (again, metrics, both) == (version, {"loss": 2.0}, {"loss": [2.0, 1.0]})


def test_versions_of_a_function_are_continued(collector: CollectorProcess) -> None:
    """A metric that is logged of a traced function's name stands at its newest version."""
    client = Client("function", endpoint=collector.endpoint)

    @client.trace(name="churn")
    def churn(a: int) -> int:
        return a + 1

    churn(1)
    model = client.model("churn")
    model.log_metric("auc", 0.7)
    [version] = model.versions()
    assert (version.metrics, version.runs) == ({"auc": [0.7]}, 1)
    assert "return a + 1" in version.definition["source"]
    client.close()


def test_what_waits_is_read_too(collector: CollectorProcess) -> None:
    """What was just logged is delivered before the metrics are read, and `flush` tells of it."""
    client = Client("waiting", endpoint=collector.endpoint)
    model = client.model("churn", {"a": 1})
    for step in range(3):
        model.log_metrics({"loss": step}, step=step)
    assert model.metrics == {"loss": [0.0, 1.0, 2.0]}
    assert client.flush().delivered == 4
    client.close()


def test_long_series_and_odd_numbers(collector: CollectorProcess) -> None:
    """A series of thousands comes whole, and NaN and the infinities as what they were."""
    client = Client("long", endpoint=collector.endpoint)
    client.model("churn", {"a": 1}).log_metrics(
        {"loss": [*range(5_000)], "odd": [math.inf, math.nan, -math.inf], "best": 1}
    )
    metrics = client.model("churn").metrics
    assert metrics["loss"] == [float(number) for number in range(5_000)]
    assert str(metrics["odd"]) == "[inf, nan, -inf]"
    assert metrics["best"] == 1.0
    client.close()


def test_entities_of_digitalhub(collector: CollectorProcess, tmp_path: Path) -> None:
    """A model entity tells what the backend has of it, as theirs does."""
    log(tmp_path, collector, "hub", '{"loss": 3}', ', {"rate": 0.1}')
    entity = Project("hub", collector.endpoint).get_model("churn")
    assert entity.metrics == {"loss": 3.0}
    entity.log_metrics({"loss": 2})
    assert entity.metrics == {"loss": [3.0, 2.0]}


def test_metrics_stand_beside_the_versions(collector: CollectorProcess, tmp_path: Path) -> None:
    """The versions table shows the last value of what was logged of each version, as the API."""
    log(tmp_path, collector, "table", '{"auc": 0.8125, "loss": [3, 2.5]}', ', {"depth": 3}')
    log(tmp_path, collector, "table", '{"auc": 0.9375, "odd": float("inf")}', ', {"depth": 4}')
    versions = collector.get("/projects/table/models/churn/versions")["versions"]
    assert [(one["version"], one["last_metrics"]) for one in versions] == [
        (2, {"auc": 0.9375, "odd": "Infinity"}),
        (1, {"auc": 0.8125, "loss": 2.5}),
    ]
    page = collector.get_text("/projects/table/models/churn")
    table = page[page.index('id="versions"') :].partition("</section>")[0]
    assert re.findall(r'title="The last value of (\w+)', table) == ["auc", "loss", "odd"]
    assert 'title="0.9375"' in table
    shown = [
        re.findall(r'version=\d" title="[^"]+">([^<]+)<|mute">(–)<', row)
        for row in table.split("<tr")[2:]
    ]
    assert [["".join(cell) for cell in row] for row in shown] == [
        ["0.94", "–", "∞"],
        ["0.81", "2.5", "–"],
    ]


def test_unknown_model(collector: CollectorProcess) -> None:
    """A model that nobody recorded is an error that names it."""
    model = Client("unknown", endpoint=collector.endpoint).model("nobody")
    for ask in (model.versions, lambda: model.latest, lambda: model.metrics):
        with pytest.raises(NotFound, match="'unknown' has no version of a model 'nobody'"):
            ask()


def test_no_collector() -> None:
    """Where nobody answers, reading says so; what was logged here is still told."""
    client = Client("nowhere", endpoint="http://127.0.0.1:9")
    model = client.model("churn")
    for ask in (model.versions, lambda: model.latest, lambda: model.metrics):
        with pytest.raises(Unreachable, match=r"No answer from http://127\.0\.0\.1:9"):
            ask()
    named = client.model("churn", {"a": 1})
    named.log_metrics({"auc": 1})
    assert named.metrics == {"auc": 1.0}


def test_client_without_a_collector(tmp_path: Path) -> None:
    """A client with an exporter of its own has nobody to ask, and says what would be right."""
    run_script(
        tmp_path,
        """
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from otel_ml import Client
        model = Client("p", exporter=InMemorySpanExporter()).model("churn")
        model.log_metrics({"auc": 1})
        assert model.metrics == {"auc": 1.0}
        try:
            model.versions()
        except ConnectionError as error:
            assert "expected one with an endpoint" in str(error)
        else:
            raise AssertionError
        """,
    )
