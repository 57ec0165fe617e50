"""Tests of prediction targets in SDK, reader and command, with a real collector."""

import json
from typing import Any

import pyarrow as pa
import pytest

from otel_ml import Client
from otel_ml.reader import BadQuery, MatchedActuals, NotFound, Reader
from tests.process.otel_ml_collector.cli.test_records import rows
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.cli.program import otel_ml
from tests.support.sampling import at_night


def test_targets(collector: CollectorProcess) -> None:
    """Imported ground truth gives figures in reader and command; a second import adds nothing."""
    client = Client("quality", endpoint=collector.endpoint)

    def predict(visits: int) -> Any:
        return {"label": "yes" if visits < 5 else "no"}

    traced = client.trace(name="predict")(predict)
    for visits in range(9):
        traced(visits)
    wanted: Any = {"model": "predict", "prediction": "outputs.label", "positive": "yes"}
    assert [client.target("churned", **wanted) for _ in range(2)] == [1, 1]
    client.target("bought", model="predict")
    client.close()
    with Reader("quality", endpoint=collector.endpoint) as reader:
        found = list(reader.runs('model == "predict"'))
        table = pa.table(
            {
                "run_id": [run.run_id for run in found],
                "churned": ["yes" if run.inputs["visits"] < 4 else None for run in found],
            }
        )
        for _ in range(2):
            imported = reader.actuals(table, name="churned", key="run_id", value="churned")
            assert (imported.received, imported.matched) == (4, 4)
        later = [{"run_id": run.run_id, "churned": "no"} for run in found[:2]]
        reader.actuals(later, name="churned", key="run_id", value="churned")
        quality = reader.target("churned").quality("7d")
        assert (quality["runs"], quality["here"]) == (9, 6)
        assert {one["name"]: one["value"]["value"] for one in quality["figures"]} == {
            "accuracy": 1,
            "precision": 1,
            "recall": 1,
            "f1": 1,
        }
        for argument in ("key", "value", "time"):
            columns: Any = {"key": "run_id", "value": "churned", argument: "none"}
            with pytest.raises(ValueError, match="expected one of the columns"):
                reader.actuals(table, name="c", **columns)
        with pytest.raises(BadQuery):
            reader.save_target("wrong", model="predict", prediction="inputs.x")
        with pytest.raises(NotFound):
            reader.target("none").quality()
        assert reader.delete_target("bought")["version"] == 1
        assert [one["name"] for one in reader.targets()["targets"]] == ["churned"]

    place = ("targets", "--project", "quality")
    listed = otel_ml(collector.endpoint, *place, "--columns", "name,model,prediction")
    assert listed.returncode == 0, listed.stderr
    assert rows(listed.stdout) == [
        ["name", "model", "prediction"],
        ["churned", "predict", "outputs.label"],
    ]
    figures = otel_ml(collector.endpoint, *place, "churned", "--columns", "figure,value,runs")
    assert rows(figures.stdout)[1:3] == [
        ["coverage", "0.666667", "9"],
        ["accuracy", "1", "6"],
    ]
    points = otel_ml(collector.endpoint, *place, "churned", "--points", "--format", "csv")
    assert points.stdout.startswith(b"figure,value,low,high,runs,early,start_time\ncoverage,")
    saved = otel_ml(collector.endpoint, *place, "late", "--model", "predict", "--kind", "number")
    assert saved.returncode == 0, saved.stderr
    deleted = otel_ml(collector.endpoint, *place, "late", "--delete", "--json")
    assert json.loads(deleted.stdout)["kind"] == "number"
    assert otel_ml(collector.endpoint, *place, "late").returncode == 5
    refused = otel_ml(collector.endpoint, *place, "late", "--kind", "class")
    assert (refused.returncode, b"--model" in refused.stderr) == (2, True)


@at_night
def test_estimate(collector: CollectorProcess) -> None:
    """The expected accuracy is in the reader's answer and in the command's output."""
    client = Client("expected", endpoint=collector.endpoint)

    @client.trace(name="predict")
    def predict(place: int) -> Any:
        return {"label": "yes", "p": (0.6, 0.9)[place % 2]}

    for place in range(180):
        predict(place)
    client.target(
        "churned",
        model="predict",
        prediction="outputs.label",
        positive="yes",
        probability="outputs.p",
    )
    client.close()
    with Reader("expected", endpoint=collector.endpoint) as reader:
        # All confident predictions are right, and half of the others.
        # Of the confident ones, 30 have no ground truth yet.
        told = [
            {
                "run_id": run.run_id,
                "churned": "yes" if run.inputs["place"] % 2 or run.inputs["place"] % 4 else "no",
            }
            for run in reader.runs('model == "predict"')
            if run.inputs["place"] < 120 or not run.inputs["place"] % 2
        ]
        assert len(told) == 150
        imported = reader.actuals(told, name="churned", key="run_id", value="churned")
        assert (imported.received, imported.matched) == (150, 150)
        quality = reader.target("churned").quality()
    assert quality["estimate"] == 1
    command = ("targets", "--project", "expected", "churned")
    shown = otel_ml(collector.endpoint, *command, "--columns", "figure,value,runs")
    assert ["estimate", "1", "0"] in rows(shown.stdout)


@at_night
def test_unmatched(collector: CollectorProcess, caplog: pytest.LogCaptureFixture) -> None:
    """For keys of no run, the reader's answer, its log and the command name the matching tag."""
    client = Client("unmatched", endpoint=collector.endpoint)

    @client.trace(name="risk", tags={"order": "o-1"})
    def risk() -> float:
        return 0.5

    risk()
    client.close()
    with Reader("unmatched", endpoint=collector.endpoint) as reader:
        answer = reader.actuals(
            [{"order_id": "o-1", "returned": True}], name="back", key="order_id", value="returned"
        )
    assert answer == MatchedActuals(
        received=1, unmatched=1, unmatched_keys=("order_id=o-1",), tags=("order",)
    )
    assert "Such values are in the tag 'order'" in caplog.text
    shown = otel_ml(
        collector.endpoint, "targets", "back", "--project", "unmatched", "--format", "csv"
    )
    assert b"\nreceived,1," in shown.stdout
    assert b"\nunmatched,1," in shown.stdout
    assert b"Such values are in the tag order" in shown.stderr
