"""Each call of a program that sends log records counts once, whatever else it sends.

The recordings are in command_lines, and its README has the model provider's numbers.
"""

import re
import sys
from dataclasses import dataclass
from typing import Final

import pytest

from otel_ml_collector.decode.json import decode_json_logs, decode_json_traces
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.logs import map_logs
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.records import Records
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.traces.sessions import find_session
from tests.support.folders import RECORDED_FOLDER
from tests.support.otel_ml_collector.spans import NOW_NS
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import sampled

RECORDINGS: Final = RECORDED_FOLDER / "command_lines"
PRICES: Final = Prices()
ASKED: Final = "TOOL: what do the notes say?"
_TIME: Final = re.compile(r"\d{19}")


@dataclass(frozen=True, slots=True)
class Truth:
    """The true calls, according to the model provider.

    Attributes:
        tokens: Per call: input with cached, output with reasoning, cached, reasoning.
        costs: US dollars per call.
        answers: Per call; empty if no signal contains them.
    """

    model: str
    tokens: tuple[tuple[int, int, int, int], ...]
    costs: tuple[float, ...]
    tool: str
    given: str
    answers: tuple[str, ...] = ()


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
)
TRUTHS: Final = {
    "gemini-default": GEMINI,
    "gemini-traces-on": GEMINI,
    "codex-logs-only": CODEX,
    "codex-all": CODEX,
}
# The order in which a program's signals arrive; some arrive twice or not at all.
ORDERS: Final = {
    "logs": ("logs",),
    "logs twice": ("logs", "logs"),
    "logs, traces": ("logs", "traces"),
    "traces, logs": ("traces", "logs"),
    "all twice": ("logs", "traces", "logs", "traces"),
}
CASES: Final = [
    (name, order)
    for name in TRUTHS
    for order, signals in ORDERS.items()
    if all((RECORDINGS / f"{name}.{signal}.json").exists() for signal in signals)
]


def map_signal(name: str, signal: str, project: str) -> tuple[Records, int]:
    """Map one signal of a recording; return the records and the time of the last one."""
    path = RECORDINGS / f"{name}.{signal}.json"
    now_ns = max(
        int(time_ns)
        for one in RECORDINGS.glob(f"{name}.*.json")
        for time_ns in _TIME.findall(one.read_text())
    )
    filing = Filing(project, now_ns, prices=PRICES)
    if signal == "logs":
        return map_logs(decode_json_logs(path.read_bytes()), filing), now_ns
    return map_spans(decode_json_traces(path.read_bytes()), filing), now_ns


def find_cells(store: Store, project: str, name: str, order: str) -> dict[str, object]:
    """Store a program's signals in an order, and return the values found in the store."""
    now_ns = NOW_NS
    for signal in ORDERS[order]:
        records, seen_ns = map_signal(name, signal, project)
        store.writer.write(records)
        now_ns = max(now_ns, seen_ns)
        assert set(records.rejected) <= {"stream_delta", "no_session"}
    query = RunsQuery(project, limit=1_000)
    runs = sorted(find_runs(store.reader, query, now_ns).runs, key=lambda run: run.start_ns)
    calls = [run for run in runs if run.kind in {"model", "embedding"}]
    tools = [run for run in runs if run.kind == "tool"]
    (named,) = {run.session for run in [*calls, *tools]}
    session = find_session(store.reader, project, named, now_ns)
    return {
        "calls": len(calls),
        "tokens": tuple(
            (one.input, one.output, one.cached, one.reasoning)
            for one in (run.tokens for run in calls)
        ),
        "cost": (tuple(run.cost for run in calls), round(session.cost or 0, 12)),
        "question": next(run.inputs for run in runs if run.model == "user_prompt"),
        "answer": tuple(run.outputs for run in calls),
        "tool call": [(run.model, run.inputs, run.outcome) for run in tools],
        "names": {run.model for run in [*calls, *tools]},
        "session": bool(named),
    }


def expect_cells(name: str) -> dict[str, object]:
    """Return the expected values, according to the provider, without those that no signal has."""
    truth = TRUTHS[name]
    return {
        "calls": len(truth.tokens),
        "tokens": truth.tokens,
        "cost": (truth.costs, round(sum(truth.costs), 12)),
        "question": ASKED,
        "tool call": [(truth.tool, truth.given, "ok")],
        "names": {truth.model, truth.tool},
        "session": True,
        **({"answer": truth.answers} if truth.answers else {}),
    }


@sampled(3)
@pytest.mark.parametrize(("name", "order"), CASES)
def test_program(store: Store, project: str, name: str, order: str) -> None:
    """Each call of a program counts once, whichever signals arrive, in any order, also twice."""
    found, expected = find_cells(store, project, name, order), expect_cells(name)
    sys.stdout.write(f"\n| {name} | {order} | {' | '.join(map(str, found.values()))} |\n")
    untold = {cell: said for cell, said in found.items() if cell not in expected}
    assert {cell: said for cell, said in found.items() if cell in expected} == expected
    assert untold in ({}, {"answer": ("",) * len(TRUTHS[name].tokens)})
