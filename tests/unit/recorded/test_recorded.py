"""Compares the mapped recordings of real libraries with their expected runs."""

import json
import sys
from typing import Any, Final

import pytest

from otel_ml.versions.structure import structure_digest
from otel_ml_collector.decode.json import decode_json_logs, decode_json_traces
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.logs import map_logs
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.records import LateLog, Run
from tests.support.folders import RECORDED_FOLDER

RECORDINGS: Final = RECORDED_FOLDER / "recordings"
EXPECTED: Final = ".expected.json"
LIMIT_BYTES: Final = 128 * 1024
OWN: Final = "own"  # under `otel_ml` decorators
RECORDED: Final = sorted(
    path.stem for path in RECORDINGS.glob("*.json") if not path.name.endswith(EXPECTED)
)
NAMES: Final = [name for name in RECORDED if (RECORDINGS / f"{name}{EXPECTED}").exists()]
_TEXTS: Final = ("kind", "name", "model", "provider", "provider_model", "outcome", "dialect")
_COUNTS: Final = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost")


def read(name: str) -> Any:
    """Read one JSON file of the recordings."""
    return json.loads((RECORDINGS / name).read_text())


def filing_of(request: Any) -> Filing:
    """Return a filing with the time at which the recording starts as the current time."""
    scopes = [scope for group in request["resourceSpans"] for scope in group["scopeSpans"]]
    start_ns = min(int(span["startTimeUnixNano"]) for scope in scopes for span in scope["spans"])
    return Filing(header_project="recorded", now_ns=start_ns)


def summary_of(run: Run, names: dict[bytes, str]) -> dict[str, Any]:
    """Summarize a run without its IDs, times and empty fields."""
    told: dict[str, Any] = {field: getattr(run, field) for field in _TEXTS}
    told |= {field: getattr(run, field) for field in _COUNTS}
    told |= {
        "parent": names.get(run.parent_span_id, ""),
        "inputs": json.loads(run.inputs or "null"),
        "outputs": json.loads(run.outputs or "null"),
        "params": json.loads(run.params or "null"),
        "session": run.session,
        "user": run.user,
        "tags": {tag.name: tag.value for tag in run.tags},
        "error": [text for text in (run.error_type, run.error_message) if text],
    }
    return {field: value for field, value in told.items() if value not in ("", None, [], {})}


def line_of(log: LateLog, names: dict[str, str]) -> dict[str, str]:
    """Return the run and the event name of a log record."""
    return {"run": names.get(log.owner, ""), "event": log.event}


def map_recording(name: str) -> dict[str, Any]:
    """Map all spans and log records of a recording, without IDs and times."""
    recording = read(f"{name}.json")
    filing = filing_of(recording["request"])
    spans = decode_json_traces(json.dumps(recording["request"]).encode())
    logs = decode_json_logs(json.dumps(recording.get("logs", {})).encode())
    records, logged = map_spans(spans, filing), map_logs(logs, filing)
    runs = sorted(records.runs, key=lambda run: run.start_ns)
    names = {run.span_id: run.name for run in runs}
    owners = {run.run_id: run.name for run in runs}
    return {
        "runs": [summary_of(run, names) for run in runs],
        "events": [line_of(log, owners) for log in logged.logs],
        "rejected": dict(records.rejected + logged.rejected),
    }


CASES: Final = [
    (name, place) for name in NAMES for place in range(len(read(f"{name}{EXPECTED}")["runs"]))
]


@pytest.mark.parametrize(("name", "place"), CASES)
def test_run(name: str, place: int) -> None:
    """A recorded span becomes the run in the expected file."""
    expected = read(f"{name}{EXPECTED}")["runs"][place]
    assert map_recording(name)["runs"][place] == expected


@pytest.mark.parametrize("name", NAMES)
def test_no_more(name: str) -> None:
    """A recording has the expected number of runs, and the expected events and rejections."""
    expected = read(f"{name}{EXPECTED}")
    found = map_recording(name)
    assert {**found, "runs": len(found["runs"])} == {**expected, "runs": len(expected["runs"])}


@pytest.mark.parametrize("name", RECORDED)
def test_recording_is_small(name: str) -> None:
    """A recording stays small enough for a person to read."""
    assert (RECORDINGS / f"{name}.json").stat().st_size < LIMIT_BYTES


@pytest.mark.parametrize("name", RECORDED)
def test_recording_tells_no_path(name: str) -> None:
    """A recording contains no paths of the machine that made it."""
    text = (RECORDINGS / f"{name}.json").read_text()
    assert [place for place in ("site-packages", "/home/", "/root/") if place in text] == []


# The previews of each run, in one hand-written table per library.
LINES: Final = RECORDED_FOLDER / "lines.md"
_HEADING: Final = "## "


def read_lines() -> dict[str, list[tuple[str, ...]]]:
    """Read the kind, name, input preview and output preview of each library's runs, in order."""
    tables: dict[str, list[tuple[str, ...]]] = {}
    for line in LINES.read_text().splitlines():
        if line.startswith(_HEADING):
            table = tables[line.removeprefix(_HEADING)] = []
        elif line.startswith("| ") and not line.startswith(("| kind ", "| ---")):
            table.append(tuple(cell.strip() for cell in line.strip("|").split(" | ")))
    return tables


def runs_of(name: str) -> list[Run]:
    """Map the spans of a recording, and return the runs in order of their start."""
    request = read(f"{name}.json")["request"]
    spans = decode_json_traces(json.dumps(request).encode())
    return sorted(map_spans(spans, filing_of(request)).runs, key=lambda run: run.start_ns)


@pytest.mark.parametrize("name", RECORDED)
def test_lines(name: str) -> None:
    """The previews of a library's runs show the name, the question and the answer."""
    found = [
        (run.kind, run.model or run.name, run.inputs_preview or "–", run.outputs_preview or "–")
        for run in runs_of(name)
    ]
    rows = [f"| {' | '.join(row)} |" for row in found]
    sys.stdout.write("\n".join(["", f"{_HEADING}{name}", *rows, ""]))
    assert found == read_lines()[name]


@pytest.fixture(scope="module")
def own_runs() -> dict[str, Run]:
    """Return the runs that real clients recorded under `otel_ml` decorators, by name."""
    return {run.model: run for run in runs_of(OWN)}


@pytest.mark.parametrize(
    ("name", "is_message"),
    [("openai", False), ("openai_stream", True), ("openai_returned", False)],
)
def test_version_of_a_stream(own_runs: dict[str, Run], name: str, is_message: bool) -> None:
    """Only a streamed message sets a run's structure. Plain answers and returned streams do not."""
    assert (own_runs[name].structure == structure_digest("message")) is is_message


def test_returned_stream_keeps_its_request(own_runs: dict[str, Run]) -> None:
    """A returned stream keeps model and parameters of its request, and has no structure."""
    run = own_runs["openai_returned"]
    told = (run.provider_model, run.params, run.structure)
    assert told == ("gpt-4o-mini", '{"temperature":0.5}', "")
