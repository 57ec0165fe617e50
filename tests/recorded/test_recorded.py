"""What real libraries exported, mapped: each recording beside what it has to become."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml.versions.structure import structure_digest
from otel_ml_collector.decode.json import decode_json_logs, decode_json_traces
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.logs import map_logs
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.records import LateLog, Run

RECORDINGS: Final = Path(__file__).parent / "recordings"
EXPECTED: Final = ".expected.json"
LIMIT_BYTES: Final = 30 * 1024
OWN: Final = "own"  # under our own decorators: what lists show of it is told below
RECORDED: Final = sorted(
    path.stem for path in RECORDINGS.glob("*.json") if not path.name.endswith(EXPECTED)
)
NAMES: Final = [name for name in RECORDED if name != OWN]
_TEXTS: Final = ("kind", "name", "model", "provider", "provider_model", "outcome", "dialect")
_COUNTS: Final = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost")


def read(name: str) -> Any:
    """Read one JSON file of the recordings."""
    return json.loads((RECORDINGS / name).read_text())


def filing_of(request: Any) -> Filing:
    """File as if the recording arrived when it was made."""
    scopes = [scope for group in request["resourceSpans"] for scope in group["scopeSpans"]]
    start_ns = min(int(span["startTimeUnixNano"]) for scope in scopes for span in scope["spans"])
    return Filing(header_project="recorded", now_ns=start_ns)


def summary_of(run: Run, names: dict[bytes, str]) -> dict[str, Any]:
    """Tell what a run says, without its ids and times; an empty field is left out."""
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
    """Tell about which run a log record speaks, and which event it is."""
    return {"run": names.get(log.owner, ""), "event": log.event}


def map_recording(name: str) -> dict[str, Any]:
    """Map all that a recording has, told without ids and times."""
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
    """A span that a library exported becomes the run that stands beside its recording."""
    expected = read(f"{name}{EXPECTED}")["runs"][place]
    assert map_recording(name)["runs"][place] == expected


@pytest.mark.parametrize("name", NAMES)
def test_no_more(name: str) -> None:
    """A recording becomes as many runs, events and rejections as stand beside it."""
    expected = read(f"{name}{EXPECTED}")
    found = map_recording(name)
    assert {**found, "runs": len(found["runs"])} == {**expected, "runs": len(expected["runs"])}


@pytest.mark.parametrize("name", RECORDED)
def test_recording_is_small(name: str) -> None:
    """A recording stays small enough to be read by a person."""
    assert (RECORDINGS / f"{name}.json").stat().st_size < LIMIT_BYTES


@pytest.mark.parametrize("name", RECORDED)
def test_recording_tells_no_path(name: str) -> None:
    """A recording does not tell where programs lie on the machine that made it."""
    text = (RECORDINGS / f"{name}.json").read_text()
    assert [place for place in ("site-packages", "/home/", "/root/") if place in text] == []


_WHERE: Final = "How is the weather in Ghent?"
_SUNNY: Final = "Sunny in Ghent"
# What stands in a list for each call, and whether its stream's message opens the version.
OWN_LINES: Final = [
    ("openai", _WHERE, _SUNNY, False),
    ("openai_tool", _WHERE, 'find_weather(city="Ghent")', False),
    ("openai_stream", _WHERE, _SUNNY, True),
    ("openai_returned", _WHERE, "a stream, not followed", False),
    ("anthropic", _WHERE, _SUNNY, False),
    ("anthropic_stream", _WHERE, _SUNNY, True),
    ("langchain", "How is the weather?", _SUNNY, False),
    ("langchain_stream", "How is the weather?", _SUNNY, True),
]


@pytest.fixture(scope="module")
def own_runs() -> dict[str, Run]:
    """The runs that real clients left under our own decorators, by name."""
    request = read(f"{OWN}.json")["request"]
    spans = decode_json_traces(json.dumps(request).encode())
    return {run.model: run for run in map_spans(spans, filing_of(request)).runs}


@pytest.mark.parametrize(("name", "asked", "answered", "is_message"), OWN_LINES)
def test_lines_of_our_own(
    own_runs: dict[str, Run], name: str, asked: str, answered: str, is_message: bool
) -> None:
    """Lists show question and answer of a real client's call, whole, streamed or returned."""
    run = own_runs[name]
    assert (run.inputs_preview, run.outputs_preview) == (asked, answered)
    assert (run.structure == structure_digest("message")) is is_message


def test_returned_stream_keeps_its_request(own_runs: dict[str, Run]) -> None:
    """A real stream that is returned keeps model and parameters, and has no structure."""
    run = own_runs["openai_returned"]
    told = (run.provider_model, run.params, run.structure)
    assert told == ("gpt-4o-mini", '{"temperature":0.5}', "")
