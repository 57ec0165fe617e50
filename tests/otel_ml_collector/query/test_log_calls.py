"""Tests of programs that tell of their calls in log records: each call counts once, with its cost.

What real programs sent stands in tests/recorded/command_lines, the provider's word in its README.
"""

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from otel_ml_collector.decode.json import decode_json_logs, decode_json_traces
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.logs import map_logs
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.records import Records
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.sessions import find_session
from otel_ml_collector.span import Value
from tests.otel_ml_collector.logs import make_log, map_all
from tests.otel_ml_collector.spans import NOW_NS
from tests.otel_ml_collector.stores import Store
from tests.recorded import test_recorded

RECORDINGS: Final = Path(test_recorded.__file__).parent / "command_lines"
PRICES: Final = Prices()
ASKED: Final = "TOOL: what do the notes say?"
_TIME: Final = re.compile(r"\d{19}")


@dataclass(frozen=True, slots=True)
class Truth:
    """What happened, by the provider's word: input with what was cached, output with thoughts."""

    model: str
    tokens: tuple[tuple[int, int, int, int], ...]
    costs: tuple[float, ...]
    tool: str
    given: str
    answers: tuple[str, ...]


GEMINI: Final = Truth(
    "gemini-2.5-flash",
    ((1_211, 48, 800, 31), (1_302, 13, 800, 0)),
    (0.0002673, 0.0002071),
    "read_file",
    '{"file_path": "notes.txt", "absolute_path": "notes.txt"}',
    (
        'read_file(absolute_path="notes.txt", file_path="notes.txt")',
        "The notes say that the ferry leaves from Quay 4.",
    ),
)
CODEX: Final = Truth(
    "gpt-5.1-codex",
    ((5_211, 48, 4_096, 31), (5_302, 13, 5_120, 0)),
    (0.00238575, 0.0009975),
    "exec_command",
    "cat notes.txt",
    ("", ""),  # in no signal
)
TRUTHS: Final = {
    "gemini-default": GEMINI,
    "gemini-traces-on": GEMINI,
    "codex-logs-only": CODEX,
    "codex-all": CODEX,
}
# In which order the signals of a program come, some of them again, or not at all.
ORDERS: Final = {
    "logs": ("logs",),
    "logs, traces": ("logs", "traces"),
    "traces, logs": ("traces", "logs"),
    "all twice": ("logs", "traces", "logs", "traces"),
}


def read(name: str, signal: str, project: str) -> tuple[Records, int]:
    """Map one signal of a recording at the time of its last record."""
    path = RECORDINGS / f"{name}.{signal}.json"
    if not path.exists():
        return Records(), NOW_NS
    now_ns = max(
        int(time_ns)
        for one in RECORDINGS.glob(f"{name}.*.json")
        for time_ns in _TIME.findall(one.read_text())
    )
    filing = Filing(project, now_ns, prices=PRICES)
    if signal == "logs":
        return map_logs(decode_json_logs(path.read_bytes()), filing), now_ns
    return map_spans(decode_json_traces(path.read_bytes()), filing), now_ns


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", TRUTHS)
def test_program(store: Store, name: str, order: str) -> None:
    """Each call of a program counts once, whichever signals come, in any order, also twice."""
    truth, project, now_ns = TRUTHS[name], f"{name} {order}", NOW_NS
    for signal in ORDERS[order]:
        records, seen_ns = read(name, signal, project)
        store.writer.write(records)
        now_ns = max(now_ns, seen_ns)
        assert set(records.rejected) <= {"stream_delta", "no_session"}
    query = RunsQuery(project, limit=1_000)
    runs = sorted(find_runs(store.reader, query, now_ns).runs, key=lambda run: run.start_ns)
    calls = [run for run in runs if run.kind in {"model", "embedding"}]
    tools = [run for run in runs if run.kind == "tool"]
    found = {
        "names": [run.model for run in calls],
        "tokens": tuple(
            (one.input, one.output, one.cached, one.reasoning)
            for one in (run.tokens for run in calls)
        ),
        "cost": tuple(run.cost for run in calls),
        "answer": tuple(run.outputs for run in calls),
        "tool call": [(run.model, run.inputs, run.outcome) for run in tools],
        "question": next(run.inputs for run in runs if run.model == "user_prompt"),
        "session": len({run.session for run in [*calls, *tools]}),
    }
    sys.stdout.write(f"\n| {name} | {order} | {' | '.join(map(str, found.values()))} |\n")
    assert found == {
        "names": [truth.model] * 2,
        "tokens": truth.tokens,
        "cost": truth.costs,
        "answer": truth.answers,
        "tool call": [(truth.tool, truth.given, "ok")],
        "question": ASKED,
        "session": 1,
    }
    session = find_session(store.reader, project, calls[0].session, now_ns)
    assert session.cost == pytest.approx(sum(truth.costs))


USED: Final[dict[str, Value]] = {"model": "gpt-4o", "input_tokens": "12", "output_tokens": 4}


def test_unknown_program() -> None:
    """A record of any program with model, input and output counts and no trace is a call."""
    log = make_log("done", {**USED, "session.id": "s-1", "cost_usd": 0.25}, event="api_request")
    (run,) = map_all(log).runs
    told = (run.kind, run.model, run.input_tokens, run.output_tokens, run.cost, run.session)
    assert told == ("model", "gpt-4o", 12, 4, 0.25, "s-1")
    assert not map_all(log).logs


@pytest.mark.parametrize(
    "changed",
    [{"model": ""}, {"input_tokens": None}, {"output_tokens": ""}],
    ids=repr,
)
def test_no_call(changed: dict[str, Value]) -> None:
    """A record that lacks one of the three is a line of its session."""
    records = map_all(make_log("done", {**USED, **changed, "session.id": "s-1"}))
    assert (len(records.runs), len(records.logs)) == (0, 1)
    assert records.logs[0].owner.startswith("key:")


def test_record_of_a_trace() -> None:
    """A record that names its trace is told of a span, which is the call."""
    records = map_all(make_log("done", USED, trace_id=b"\1" * 16, span_id=b"\2" * 8))
    assert (len(records.runs), len(records.logs)) == (0, 1)


def test_event_that_lost_its_span() -> None:
    """An event of the conventions is told of a span, which is the call, even without its id."""
    event = "gen_ai.client.inference.operation.details"
    assert not map_all(make_log("done", USED, event=event)).runs


def test_same_record() -> None:
    """A record that is sent twice is one run, and another one is another."""
    log = make_log("done", USED)
    other = replace(log, time_ns=NOW_NS + 1)
    ids = [map_all(one).runs[0].run_id for one in (log, log, other)]
    assert (ids[0] == ids[1], ids[0] == ids[2]) == (True, False)


@pytest.mark.parametrize(
    ("changed", "tokens"),
    [
        ({"input_tokens": "many"}, (None, 4)),
        ({"output_tokens": -4}, (12, None)),
        ({"input_tokens": [12]}, (None, 4)),
        ({"cost_usd": -1.0}, (12, 4)),
    ],
    ids=repr,
)
def test_bad_counts(changed: dict[str, Value], tokens: tuple[int | None, int | None]) -> None:
    """A count that makes no sense is none, and stays among the attributes as it came."""
    (run,) = map_all(make_log("done", {**USED, **changed})).runs
    assert (run.input_tokens, run.output_tokens, run.cost) == (*tokens, None)
    assert all(f'"{name}":' in run.attributes for name in changed)


def test_failed_call() -> None:
    """A record of a call that failed is a failed call, with its error."""
    log = make_log(
        None,
        {
            "event.name": "gemini_cli.api_error",
            "model": "gemini-2.5-flash",
            "error": "Resource exhausted",
            "error_type": "ApiError",
            "duration_ms": 1_000,
            "session.id": "s-1",
        },
        scope=replace(make_log().scope, name="gemini-cli"),
    )
    (run,) = map_all(log).runs
    told = (run.kind, run.outcome, run.error_type, run.error_message, run.end_ns - run.start_ns)
    assert told == ("model", "error", "ApiError", "Resource exhausted", 10**9)


def test_event_of_rust() -> None:
    """A place in a source file is no event's name where the attribute has one."""
    log = make_log(
        "line",
        {"event.name": "app.started", "session.id": "s-1"},
        event="event src/session.rs:803",
    )
    assert map_all(log).logs[0].event == "app.started"


def test_delta() -> None:
    """A line for each piece of a streamed answer is left out, and counted."""
    log = make_log(
        None,
        {"event.name": "codex.sse_event", "event.kind": "response.output_text.delta"},
        scope=replace(make_log().scope, name="codex_otel.log_only"),
    )
    records = map_all(log)
    assert (records.logs, dict(records.rejected)) == ([], {"stream_delta": 1})
