"""Tests of the spans of a trace as a tree on one time axis."""

from collections.abc import Sequence
from typing import Any

from otel_ml.records import Tokens
from otel_ml_collector.runs.answers import Counted, RunSummary
from otel_ml_collector.runs.traces import outline_of
from otel_ml_collector.traces.page import (
    Axis,
    Bar,
    Rest,
    Usage,
    Waterfall,
    find_silent,
    find_usages,
    lay_out,
    lay_out_below,
)
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS


def make_run(
    name: str,
    parent: str | None = None,
    *,
    start_ms: float = 0,
    length_ms: float | None = 10,
    **fields: Any,
) -> RunSummary:
    """Make a run named after its ID."""
    return RunSummary(
        **{
            "run_id": name,
            "trace_id": "t",
            "parent_run_id": parent,
            "project": "p",
            "kind": "model",
            "name": name,
            "span_kind": "internal",
            "model": name,
            "version": None,
            "digest": "",
            "start_time": "",
            "start_ns": NOW_NS + int(start_ms * MS_NS),
            "latency_ms": length_ms,
            "outcome": "ok",
            "last_heard_ns": None,
            "error_type": "",
            "error_message": "",
            "inputs": "",
            "outputs": "",
            "tags": {},
            "scores": {},
            "passed": {},
            "failed_judges": [],
            "session": "",
            "user": "",
            "environment": "",
            "release": "",
            "provider": "",
            "provider_model": "",
            "tokens": Tokens(),
            "cost": None,
            **fields,
        }
    )


def bars_of(drawn: Waterfall) -> list[Bar]:
    return [row for row in drawn.bars if isinstance(row, Bar)]


def tree(bars: Sequence[Bar | Rest]) -> list[tuple[str, int]]:
    return [(bar.run.name, bar.level) for bar in bars if isinstance(bar, Bar)]


def test_tree() -> None:
    """Spans are below their parents, and siblings keep their order."""
    runs = [
        make_run("root"),
        make_run("b", "root"),
        make_run("a", "root"),
        make_run("b2", "b"),
        make_run("b1", "b"),
        make_run("other root"),
    ]
    drawn = lay_out(runs, NOW_NS)
    assert tree(drawn.bars) == [
        ("root", 1),
        ("b", 2),
        ("b2", 3),
        ("b1", 3),
        ("a", 2),
        ("other root", 1),
    ]
    assert [bar.is_parent for bar in bars_of(drawn)] == [True, True, False, False, False, False]
    assert (drawn.total, drawn.errors, drawn.orphans) == (6, 0, 0)


def test_child_before_parent() -> None:
    """A child that comes before its parent is placed below it."""
    assert tree(lay_out([make_run("child", "root"), make_run("root")], NOW_NS).bars) == [
        ("root", 1),
        ("child", 2),
    ]


def test_places() -> None:
    """Bars are placed and sized as a percentage of the total time."""
    drawn = lay_out(
        [
            make_run("root", start_ms=0, length_ms=200),
            make_run("child", "root", start_ms=50, length_ms=100),
            make_run("late", "root", start_ms=150, length_ms=250),
        ],
        NOW_NS,
    )
    assert drawn.axis.length_ms == 400
    assert [(bar.x, bar.width) for bar in bars_of(drawn)] == [(0, 50), (12.5, 25), (37.5, 62.5)]


def test_no_length() -> None:
    """A trace without duration is drawn."""
    drawn = lay_out([make_run("root", length_ms=0)], NOW_NS)
    assert [(bar.x, bar.width) for bar in bars_of(drawn)] == [(0, 0)]


def test_nothing() -> None:
    """A trace without spans is empty."""
    drawn = lay_out([], NOW_NS)
    assert (list(drawn.bars), drawn.total, drawn.errors, drawn.orphans) == ([], 0, 0, 0)


def test_orphans() -> None:
    """A span whose parent is missing is shown as a root, and counted as an orphan."""
    drawn = lay_out(
        [make_run("root"), make_run("orphan", "lost"), make_run("child", "orphan")], NOW_NS
    )
    assert tree(drawn.bars) == [("root", 1), ("orphan", 1), ("child", 2)]
    assert drawn.orphans == 1


def test_errors() -> None:
    """Failed spans are counted."""
    failed = make_run("b", "root", outcome="error")
    cancelled = make_run("c", "root", outcome="cancelled")
    assert lay_out([make_run("root"), failed, cancelled], NOW_NS).errors == 1


def test_own_parent() -> None:
    """A span that is its own parent is shown as a root."""
    assert tree(lay_out([make_run("a", "a"), make_run("b", "a")], NOW_NS).bars) == [
        ("a", 1),
        ("b", 2),
    ]


def test_cycle() -> None:
    """Spans in a cycle of parents are each shown once."""
    runs = [make_run("a", "b"), make_run("b", "a"), make_run("c", "b"), make_run("root")]
    drawn = lay_out(runs, NOW_NS)
    assert sorted(bar.run.name for bar in bars_of(drawn)) == ["a", "b", "c", "root"]
    assert drawn.total == 4


def test_repeated_span() -> None:
    """A span that two projects contain is shown once."""
    runs = [make_run("a"), make_run("a", project="q"), make_run("b", "a")]
    assert tree(lay_out(runs, NOW_NS).bars) == [("a", 1), ("b", 2)]


def test_deep_chain() -> None:
    """The first 500 spans of a chain of 5,000 are shown, each one level deeper."""
    runs = [make_run("0"), *(make_run(str(n), str(n - 1)) for n in range(1, 5_000))]
    drawn = lay_out(runs, NOW_NS)
    assert tree(drawn.bars) == [(str(n), n + 1) for n in range(500)]
    assert drawn.total == 5_000


def test_many_spans() -> None:
    """For 600 spans, 500 are shown and all are counted."""
    runs = [
        make_run("root"),
        *(make_run(str(n), "root", outcome="error") for n in range(599)),
    ]
    drawn = lay_out(runs, NOW_NS)
    assert len(drawn.bars) == 500
    assert (drawn.total, drawn.errors) == (600, 599)


def test_open_ends() -> None:
    """A running span extends to now, a crashed one to the last sign of its process."""
    ends: dict[str, Any] = {"length_ms": None}
    drawn = lay_out(
        [
            make_run("root", **ends, outcome="running"),
            make_run("ended", "root", start_ms=50, length_ms=100),
            make_run(
                "dead",
                "root",
                start_ms=100,
                **ends,
                outcome="crashed",
                last_heard_ns=NOW_NS + 300 * MS_NS,
            ),
        ],
        NOW_NS + 400 * MS_NS,
    )
    assert tree(drawn.bars) == [("root", 1), ("ended", 2), ("dead", 2)]
    assert [(bar.x, bar.width) for bar in bars_of(drawn)] == [(0, 100), (12.5, 25), (25, 50)]
    assert (drawn.axis.length_ms, drawn.unfinished, drawn.orphans) == (400, 2, 0)


def test_clock_behind() -> None:
    """An open span that starts in the future, by another machine's clock, has no length."""
    drawn = lay_out(
        [
            make_run("a", start_ms=5, length_ms=None, outcome="running"),
            make_run("b", length_ms=None, outcome="crashed", last_heard_ns=NOW_NS - MS_NS),
        ],
        NOW_NS,
    )
    assert [(bar.run.name, bar.width) for bar in bars_of(drawn)] == [("a", 0), ("b", 0)]


def test_what_is_cut_goes_on() -> None:
    """Below each run with children that are not loaded, one row represents them."""
    runs = [
        make_run("root", start_ms=0, length_ms=1_000),
        make_run("a", "root", start_ms=10, length_ms=500),
        make_run("b", "root", start_ms=20, length_ms=5),
        make_run("a1", "a", start_ms=50, length_ms=5),
    ]
    ids = {run.name: run.run_id for run in runs}
    counts = {ids["root"]: 2, ids["a"]: 4, ids["a1"]: 1}
    rows = lay_out(runs, NOW_NS, "cursor", counts).bars
    assert [row for row in rows if isinstance(row, Rest)] == [
        Rest(runs[3], 4, 1, "cursor"),
        Rest(runs[1], 3, 3, "cursor"),
    ]
    assert [isinstance(row, Rest) for row in rows] == [False, False, False, True, True, False]
    assert [row.is_parent for row in rows if isinstance(row, Bar)] == [True, True, True, False]


def test_rows_below_one() -> None:
    """Runs that are loaded later use the existing axis, with a row for their hidden children."""
    runs = [make_run("a", start_ms=100, length_ms=50), make_run("b", start_ms=200, length_ms=50)]
    axis = Axis(make_run("root", start_ms=0).start_ns, 1_000)
    rows = lay_out_below(runs, {runs[1].run_id: 7}, 3, axis, NOW_NS)
    assert [(bar.x, bar.width, bar.level) for bar in rows if isinstance(bar, Bar)] == [
        (10, 5, 3),
        (20, 5, 3),
    ]
    assert rows[2:] == [Rest(runs[1], 4, 7, None)]


USED = Tokens(input=50, output=7)
NOTHING = Counted(Tokens(), None)


def test_usages_count_a_call_once() -> None:
    """A call has its own usage, its second record repeats it in brackets, spans above sum it up."""
    runs = [
        make_run("agent", kind="agent", tokens=Tokens(60, 8), counted=NOTHING),
        make_run("ask", "agent", tokens=USED, cost=0.5, counted=Counted(USED, 0.5)),
        make_run("again", "ask", tokens=USED, cost=0.5, record_of="ask", counted=NOTHING),
        make_run("find", "agent", kind="tool"),
        make_run("embed", "find", kind="embedding", tokens=Tokens(input=3), cost=0.25),
    ]
    assert find_usages(runs, outline_of(runs, NOW_NS)) == {
        "agent": Usage(60, 0.75, is_sum=True),
        "ask": Usage(57, 0.5),
        "again": Usage(57, 0.5, is_again=True),
        "find": Usage(3, 0.25, is_sum=True),
        "embed": Usage(3, 0.25),
    }


def test_usages_of_a_call_that_says_none() -> None:
    """If a call reports no usage, the sum above it is a minimum, and the call is named."""
    runs = [
        make_run("agent", kind="agent"),
        make_run("ask", "agent", tokens=USED, cost=0.5),
        make_run("stream", "agent", provider="anthropic"),
        make_run("plain", "agent"),
    ]
    assert find_usages(runs, outline_of(runs, NOW_NS)) == {
        "agent": Usage(57, 0.5, is_sum=True, is_least=True),
        "ask": Usage(57, 0.5),
    }
    assert [run.run_id for run in find_silent(runs)] == ["stream"]


def test_usages_of_nothing() -> None:
    """A trace without any tokens or cost has no usage columns."""
    runs = [make_run("root", kind="chain"), make_run("a", "root", kind="span")]
    assert find_usages(runs, outline_of(runs, NOW_NS)) == {}


def test_spans_of_one_id() -> None:
    """Spans that share an ID each have a row, and their children are below the last one."""
    client, server = make_run("pay", length_ms=10), make_run("pay", start_ms=1, length_ms=8)
    below = make_run("store", "pay", start_ms=2, length_ms=1)
    rows = lay_out([client, server, below], NOW_NS).bars
    assert [(row.run, row.level) for row in rows if isinstance(row, Bar)] == [
        (client, 1),
        (server, 1),
        (below, 2),
    ]
