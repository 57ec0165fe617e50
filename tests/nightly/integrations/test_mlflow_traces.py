"""The import command imports MLflow's traces into a real collector."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml.reader import Reader
from tests.nightly.integrations.environment import ask, run
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT

PROJECT: Final = "support"  # as in the docs
EVERY: Final = 'kind == "span" or kind != "span"'


@dataclass(frozen=True)
class ImportedTraces:
    """MLflow traces, imported twice.

    Attributes:
        stored: The data in MLflow's store, as its API returns it.
        shown: The output of each import.
        runs: Full runs of the project, the oldest first.
    """

    stored: dict[str, Any]
    shown: list[str]
    runs: list[dict[str, Any]]


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory, collector: CollectorProcess) -> ImportedTraces:
    """Import MLflow traces from an SQLite store with the command."""
    folder = tmp_path_factory.mktemp("mlflow-traces")
    stored = ask("mlflow_traces", folder=folder, MLFLOW_TRACKING_URI="sqlite:///mlflow.db")
    shown = [import_store(folder, collector) for _ in range(2)]
    found = sorted(collector.runs(PROJECT, where=EVERY), key=lambda found: found["start_ns"])
    runs = [collector.get(f"/projects/{PROJECT}/runs/{each['run_id']}") for each in found]
    return ImportedTraces(stored, shown, runs)


def import_store(folder: Path, collector: CollectorProcess) -> str:
    """Import the store in a folder as in the docs, and return the output of the command."""
    page = (ROOT / "docs/how-to/import-from-tools.md").read_text()
    [line] = re.findall("^otel-ml (import mlflow .*)$", page, re.MULTILINE)
    command = ("python", "-m", "otel_ml_collector", *shlex.split(line))
    whole = (*command, "--endpoint", collector.endpoint)
    return run(whole, folder, PYTHONPATH=f"{ROOT}:{ROOT / 'collector'}")


def test_counts(traces: ImportedTraces) -> None:
    """Each span, score and run is stored once, even after two imports."""
    spans = sum(trace["spans"] for trace in traces.stored["traces"].values())
    assert spans == 7
    for shown in traces.shown:
        assert shown.startswith("Imported 7 spans, 5 scores, 1 run, 1 run record")
        assert "and 1 data set in" in shown
        assert "\nNot imported: 1 assessments with an error\n" in shown
    assert len(traces.runs) == spans + 1


def test_tokens_and_costs(traces: ImportedTraces) -> None:
    """Tokens and costs of each trace equal MLflow's."""
    for trace_id, told in traces.stored["traces"].items():
        inside = [run for run in traces.runs if run["trace_id"] == trace_id.removeprefix("tr-")]
        assert len(inside) == told["spans"]
        assert min(run["start_ns"] for run in inside) == told["start_ns"]
        counts = [sum(run["tokens"][side] or 0 for run in inside) for side in ("input", "output")]
        tokens = told["tokens"] or {"input_tokens": 0, "output_tokens": 0}
        assert counts == [tokens["input_tokens"], tokens["output_tokens"]]
        cost = (told["cost"] or {}).get("total_cost", 0)
        assert sum(run["cost"] or 0 for run in inside) == pytest.approx(cost)


def test_sessions_and_tags(traces: ImportedTraces) -> None:
    """Runs have the session and user of their trace, and the tags that users set."""
    asked = [run for run in traces.runs if run["name"] == "assistant"]
    assert {(run["session"], run["user"], run["kind"]) for run in asked} == {
        ("s-1", "u-1", "agent")
    }
    assert {run["tags"]["client"] for run in asked} == {"acme"}
    assert {run["trace_key"] for run in asked} < traces.stored["traces"].keys()
    called = [run for run in traces.runs if run["name"] == "chat"]
    assert {(run["session"], run["tags"]["prompt"]) for run in called} == {("s-1", "greet")}
    [failed] = [run for run in traces.runs if run["name"] == "fail"]
    assert (failed["outcome"], failed["error_type"]) == ("error", "ValueError")


def test_scores(traces: ImportedTraces) -> None:
    """Feedback becomes scores and labels, and expectations become ground truth."""
    assessed = traces.stored["assessed"].removeprefix("tr-")
    [root] = [
        run for run in traces.runs if run["trace_id"] == assessed and not run["parent_run_id"]
    ]
    keys = ("judge", "source", "annotator", "score", "passed", "label", "explanation")
    scores = [tuple(score[key] for key in keys) for score in root["evaluations"]]
    assert sorted(score for score in scores if score[1] != "actual") == [
        ("correct", "judge", "", None, False, "no", ""),
        ("grounded", "human", "ann", None, True, "", "it is cited"),
        ("quality", "judge", "", 0.75, None, "", ""),
    ]
    assert root["truth"] == {"output": "Hello!", "facts": ["a", "b"]}


def test_data_set(traces: ImportedTraces, collector: CollectorProcess) -> None:
    """An MLflow evaluation data set is imported as a data set."""
    with Reader(PROJECT, endpoint=collector.endpoint) as reader:
        [version] = reader.datasets()
        [item] = reader.dataset_items("sums", version.version)
    assert (version.name, item.inputs, item.expected) == ("sums", {"question": "1+1"}, "2")
    assert item.tags == {"topic": "sums"}


def test_run(traces: ImportedTraces) -> None:
    """A run is imported with its params and metrics."""
    [tuned] = [run for run in traces.runs if run["trace_key"] == traces.stored["run"]]
    assert (tuned["name"], tuned["model"], tuned["kind"]) == ("tuning", "support", "training")
    assert tuned["params"] == {"lr": 0.1}
    assert tuned["metrics"]["loss"] == [1, 1 / 2, 1 / 3, 1 / 4]
