"""The commands of docs/how-to/zero-code.md work for a program without telemetry code."""

from pathlib import Path
from typing import Any

from tests.nightly.integrations.environment import run
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT

PROGRAM = "tests.nightly.integrations.programs.zero_code"
MODEL = f"{PROGRAM}_model"
NAMED = f"{MODEL}:predict, {MODEL}:Ranker.rank,{MODEL}:Ranker.of,{MODEL}:missing,nonsense"
ALL = 'kind == "span" or kind == "model"'


def start(collector: CollectorProcess, folder: Path, project: str, **variables: str) -> str:
    """Start the program with opentelemetry-instrument."""
    return run(
        ["opentelemetry-instrument", "python", "-m", PROGRAM, f"{collector.endpoint}/healthz"],
        folder,
        PYTHONPATH=str(ROOT),
        OTEL_TRACES_EXPORTER="otel_ml",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        OTEL_ML_ENDPOINT=collector.endpoint,
        OTEL_ML_PROJECT=project,
        **variables,
    )


def find(collector: CollectorProcess, project: str) -> list[dict[str, Any]]:
    """Return all spans of a project, by name."""
    return sorted(collector.runs(project, where=ALL), key=lambda run: str(run["name"]))


def test_spans_of_the_service(collector: CollectorProcess, tmp_path: Path) -> None:
    """With the exporter alone, only a program's HTTP requests are recorded."""
    assert start(collector, tmp_path, "service") == "2 [1, 3] 8\n"
    found = find(collector, "service")
    assert [(span["name"], span["kind"], span["span_kind"]) for span in found] == [
        ("GET", "span", "client")
    ]


def test_named_functions_are_traced(collector: CollectorProcess, tmp_path: Path) -> None:
    """Functions, methods and static methods that the environment variable names are traced."""
    assert start(collector, tmp_path, "named", OTEL_ML_TRACE=NAMED) == "2 [1, 3] 8\n"
    found = [
        (run["model"], run["kind"], run["version"], run["outcome"])
        for run in find(collector, "named")
        if run["kind"] == "model"
    ]
    assert found == [
        ("Ranker.of", "model", 1, "ok"),
        ("Ranker.rank", "model", 1, "ok"),
        ("predict", "model", 1, "ok"),
    ]


def test_wrong_names_are_told(collector: CollectorProcess, tmp_path: Path) -> None:
    """Invalid names are reported once, and the program continues."""
    command = ["opentelemetry-instrument", "sh", "-c"]
    told = run(
        [*command, f"python -m {PROGRAM} {collector.endpoint}/healthz 2>&1"],
        tmp_path,
        PYTHONPATH=str(ROOT),
        OTEL_TRACES_EXPORTER="otel_ml",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_ML_ENDPOINT=collector.endpoint,
        OTEL_ML_TRACE=f"{MODEL}:missing,nonsense,{MODEL}:predict",
    )
    assert sorted(told.splitlines()) == [
        "2 [1, 3] 8",
        "Invalid OTEL_ML_TRACE 'nonsense': expected module:function",
        f"Nothing to trace: OTEL_ML_TRACE names {MODEL}:missing, which does not exist",
    ]


def test_missing_collector_breaks_nothing(tmp_path: Path) -> None:
    """A program prints the same without a collector."""
    (tmp_path / "page.txt").write_text("page")
    printed = run(
        ["opentelemetry-instrument", "python", "-m", PROGRAM, f"file://{tmp_path}/page.txt"],
        tmp_path,
        PYTHONPATH=str(ROOT),
        OTEL_TRACES_EXPORTER="otel_ml",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        OTEL_ML_ENDPOINT="not an address",
        OTEL_ML_TRACE=NAMED,
    )
    assert printed == "2 [1, 3] 8\n"


def test_instrumentor_can_be_undone(tmp_path: Path) -> None:
    """`uninstrument` restores the functions that `instrument` replaced."""
    code = f"""
import {MODEL} as model
from otel_ml.integrations.instrumentor import Instrumentor
before = model.predict, model.Ranker.__dict__["of"]
Instrumentor().instrument(skip_dep_check=True)
Instrumentor().instrument()
during = model.predict, model.Ranker.__dict__["of"]
Instrumentor().uninstrument()
print([a is b for a, b in zip(before, during)], model.predict is before[0],
      model.Ranker.__dict__["of"] is before[1])
"""
    printed = run(["python", "-c", code], tmp_path, PYTHONPATH=str(ROOT), OTEL_ML_TRACE=NAMED)
    assert printed == "[False, False] True True\n"
