"""Tests of the spans of a trace as a tree on one time axis."""

from typing import Any

import pytest

from otel_ml.records import Tokens
from otel_ml_collector.runs.answers import Counted, RunSummary
from otel_ml_collector.runs.traces import outline_of
from otel_ml_collector.traces.trace_pane import choose_amounts
from otel_ml_collector.traces.tree import (
    SpanTree,
    Usage,
    find_silent_calls,
    list_below,
    make_span_tree,
    usage_of,
)
from otel_ml_collector.traces.tree_rows import (
    MoreRows,
    TreeRow,
    TreeRows,
    TreeState,
    draw_bars,
    find_matching,
    find_next_error,
)
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS


def make_run(
    name: str,
    parent: str | None = None,
    /,
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


def tree_of(*runs: RunSummary) -> SpanTree:
    return make_span_tree(outline_of(runs, NOW_NS))


def levels(tree: SpanTree) -> list[tuple[str, int]]:
    """Return the names of all spans in the order of the tree, and their depths."""
    depths: dict[int, int] = {}
    for node in list_below(tree.tops):
        depths[id(node)] = depths[id(node.parent)] + 1 if node.parent else 1
    return [(node.span.name, depths[id(node)]) for node in list_below(tree.tops)]


def shown(tree: SpanTree, current: str = "", **state: Any) -> list[str]:
    """Return the rows of a tree: indented names, with counts of groups and of hidden rows."""
    rows = TreeRows(tree, TreeState(**state), tree.find(current)).list_all()
    return [write(row) for row in rows]


def write(row: TreeRow | MoreRows) -> str:
    indent = " " * (row.level - 1)
    if isinstance(row, MoreRows):
        return f"{indent}+{row.count}"
    failed = f", {row.failed} failed" if row.failed else ""
    return f"{indent}{row.node.span.name}" + (f" x{len(row.nodes)}{failed}" * row.is_group)


def test_tree() -> None:
    """Spans are below their parents, and siblings keep their order."""
    tree = tree_of(
        make_run("root"),
        make_run("b", "root", start_ms=1),
        make_run("a", "root", start_ms=2),
        make_run("b2", "b", start_ms=3),
        make_run("b1", "b", start_ms=4),
        make_run("other root", start_ms=5),
    )
    expected = [("root", 1), ("b", 2), ("b2", 3), ("b1", 3), ("a", 2), ("other root", 1)]
    assert levels(tree) == expected
    assert (len(tree.nodes), tree.errors, tree.orphans) == (6, 0, 0)


def test_ids_in_names() -> None:
    """Crews with different IDs in their names are one step, repeated."""
    crew = "Crew_{}-228c-4fd4-afc4-73671642fe73.kickoff"
    runs = [make_run(f"c{n}", "root", name=crew.format(f"97d3cdc{n}")) for n in range(3)]
    tree = tree_of(make_run("root"), *runs)
    assert {node.span.name for node in tree.tops[0].children} == {"Crew.kickoff"}


def test_child_before_parent() -> None:
    """A child that starts before its parent is placed below it."""
    tree = tree_of(make_run("child", "root"), make_run("root", start_ms=5))
    assert levels(tree) == [("root", 1), ("child", 2)]


def test_extent() -> None:
    """A trace extends from its first start to its last end; a span that runs ends now."""
    open_run = make_run("open", start_ms=-50, length_ms=None, outcome="running")
    tree = tree_of(make_run("root", start_ms=-20, length_ms=10), open_run)
    assert (tree.length_ms, tree.unfinished) == (50, 1)
    assert tree_of(make_run("root", length_ms=0)).length_ms > 0


def test_nothing() -> None:
    """A trace without spans is empty."""
    tree = tree_of()
    assert (tree.tops, tree.errors, tree.orphans) == ([], 0, 0)


def test_orphans() -> None:
    """A span whose parent is missing is at the top, and counted as an orphan."""
    tree = tree_of(make_run("root"), make_run("orphan", "lost"), make_run("child", "orphan"))
    assert levels(tree) == [("orphan", 1), ("child", 2), ("root", 1)]
    assert tree.orphans == 1


def test_own_parent() -> None:
    """A span that is its own parent is at the top."""
    assert levels(tree_of(make_run("a", "a"), make_run("b", "a"))) == [("a", 1), ("b", 2)]


def test_cycle() -> None:
    """Spans in a cycle of parents are each shown once."""
    runs = [make_run("a", "b"), make_run("b", "a"), make_run("c", "b"), make_run("root")]
    assert sorted(name for name, _ in levels(tree_of(*runs))) == ["a", "b", "c", "root"]


def test_repeated_span() -> None:
    """A span that two projects contain is shown once."""
    runs = [make_run("a"), make_run("a", project="q"), make_run("b", "a")]
    assert levels(tree_of(*runs)) == [("a", 1), ("b", 2)]


def test_spans_of_one_id() -> None:
    """Spans that share an ID are all shown, and their children are below the last one."""
    runs = [make_run("pay"), make_run("pay", start_ms=1), make_run("store", "pay", start_ms=2)]
    assert levels(tree_of(*runs)) == [("pay", 1), ("pay", 1), ("store", 2)]


def test_deep_chain() -> None:
    """A chain of 5,000 spans is one tree, and begins folded."""
    runs = [make_run("0"), *(make_run(str(n), str(n - 1), start_ms=n) for n in range(1, 5_000))]
    tree = tree_of(*runs)
    assert levels(tree)[-1] == ("4999", 5_000)
    assert 2 <= len(shown(tree)) <= 61
    assert shown(tree, "4999")[-1].strip() == "4999"


def test_repeats() -> None:
    """Siblings of the same kind and name are one row with its sums, which unfolds to all."""
    calls = [
        make_run(
            f"s{n}", "root", name="web_search", kind="tool", start_ms=n, outcome=outcome, cost=0.1
        )
        for n, outcome in enumerate(["ok", "error", "ok", "ok"])
    ]
    other = make_run("root again", "root", name="web_search", kind="agent", start_ms=9)
    tree = tree_of(make_run("root", kind="agent"), *calls, other)
    folded = ["root", " web_search x4, 1 failed", " web_search"]
    assert shown(tree, open="root") == folded
    [_, group, _] = TreeRows(tree, TreeState(open="root")).list_all()
    assert isinstance(group, TreeRow)
    assert group.usage == Usage(None, 0.4, is_sum=True)
    assert group.length_ms == 40
    below = TreeRows(tree, TreeState()).list_below(group.key, 3, 0)
    assert [write(row) for row in below] == ["  web_search"] * 4
    assert shown(tree, open="root", view="order") == ["root", *[" web_search"] * 5]


def test_slowest_first() -> None:
    """The slowest of siblings can come first; without that, the first to start."""
    runs = [make_run(name, "root", start_ms=n, length_ms=n) for n, name in enumerate("abc", 1)]
    tree = tree_of(make_run("root", length_ms=9), *runs)
    assert shown(tree) == ["root", " a", " b", " c"]
    assert shown(tree, order="slow") == ["root", " c", " b", " a"]


def test_many_spans() -> None:
    """Of 600 different siblings, the first 100 are shown, and those around the selected one."""
    tree = tree_of(make_run("r"), *(make_run(f"s{n}", "r", start_ms=n) for n in range(600)))
    rows = shown(tree)
    assert (rows[:2], rows[-2:], len(rows)) == (["r", " s0"], [" s99", " +500"], 102)
    rows = shown(tree, "s300")
    assert " s300" in rows
    hidden = sum(int(row.strip()[1:]) for row in rows if "+" in row)
    assert hidden + len([row for row in rows if "+" not in row]) == 601
    rest = TreeRows(tree, TreeState()).list_below("r", 2, 500)
    assert [write(row) for row in rest] == [f" s{n}" for n in range(500, 600)]


def test_search() -> None:
    """A search shows the spans whose name or payload has the text, and the spans above these."""
    failed = make_run("b", "root", start_ms=2, outcome="error", name="Fetch page")
    tree = tree_of(
        make_run("root"), make_run("a", "root", start_ms=1), failed, make_run("c", "a", start_ms=3)
    )

    def find(found: tuple[str, ...] = (), **state: Any) -> list[str]:
        asked = TreeState(**state)
        _, matching = find_matching(tree, asked, found)
        return [write(row) for row in TreeRows(tree, asked, None, matching).list_all()]

    assert find(find="fetch") == ["root", " Fetch page"]
    assert find(("c",), find="42") == ["root", " a", "  c"]
    assert find(errors=True) == ["root", " Fetch page"]
    assert find(("c",), find="42", errors=True) == []


def test_next_error() -> None:
    """The next error is the failed span that starts next; after the last one, the first."""
    runs = [make_run(name, "root", start_ms=n, outcome="error") for n, name in enumerate("ab", 1)]
    tree = tree_of(make_run("root"), *runs)

    def follow(name: str) -> str:
        found = find_next_error(tree, tree.find(name))
        return found.span.name if found else ""

    assert [follow(name) for name in ("root", "a", "b")] == ["a", "b", "a"]
    assert find_next_error(tree_of(make_run("root")), None) is None


def test_bars_of_a_group() -> None:
    """The bars of a group are two paths on an axis of 1,000; bars that touch are joined."""
    runs = [
        make_run("root", start_ms=0, length_ms=1_000),
        make_run("a", "root", start_ms=0, length_ms=100),
        make_run("b", "root", start_ms=100, length_ms=50),
        make_run("c", "root", start_ms=500, length_ms=20, outcome="error"),
    ]
    tree = tree_of(*runs)
    bars = draw_bars(tree, tree.tops[0].children)
    assert (bars.others, bars.failed) == ("M0 0h150v10h-150z", "M500 0h20v10h-20z")


@pytest.mark.parametrize(
    ("length_ms", "expected"),
    [
        (90_000_000, ("h", "25.00", "< 0.01", "< 0.01")),
        (12_000_000, ("min", "200.0", "< 0.1", "< 0.1")),
        (3_816_600, ("s", "3,817", "< 1", "< 1")),
        (142_600, ("s", "142.6", "< 0.1", "< 0.1")),
        (62_600, ("s", "62.60", "0.04", "< 0.01")),
        (3_100, ("ms", "3,100", "40", "< 1")),
        (60, ("ms", "60.0", "40.0", "0.3")),
    ],
)
def test_one_unit(length_ms: float, expected: tuple[str, ...]) -> None:
    """All times of a trace have one unit and the same number of decimals."""
    amounts = choose_amounts(tree_of(make_run("root", length_ms=length_ms)))
    assert (amounts.time_unit, *map(amounts.time, (length_ms, 40, 0.3))) == expected


def test_tokens_in_thousands() -> None:
    """Tokens of a trace with many of them are in thousands or millions, in one style."""
    many = tree_of(make_run("root", tokens=Tokens(input=549_800)))
    few = tree_of(make_run("root", tokens=Tokens(input=4_546)))
    assert [choose_amounts(tree).tokens(4_546) for tree in (many, few)] == ["4.5", "4,546"]


USED = Tokens(input=50, output=7)
NOTHING = Counted(Tokens(), None)


def usages(*runs: RunSummary) -> dict[str, Usage]:
    return {node.span.name: usage_of(node) for node in tree_of(*runs).nodes}


def test_usages_count_a_call_once() -> None:
    """A call has its own usage, its second record repeats it in brackets, spans above sum it up."""
    runs = [
        make_run("agent", kind="agent", tokens=Tokens(60, 8), counted=NOTHING),
        make_run("ask", "agent", tokens=USED, cost=0.5, counted=Counted(USED, 0.5)),
        make_run("again", "ask", tokens=USED, cost=0.5, record_of="ask", counted=NOTHING),
        make_run("find", "agent", kind="tool"),
        make_run("embed", "find", kind="embedding", tokens=Tokens(input=3), cost=0.25),
    ]
    assert usages(*runs) == {
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
    assert usages(*runs)["agent"] == Usage(57, 0.5, is_sum=True, is_least=True)
    assert [span.name for span in find_silent_calls(tree_of(*runs))] == ["stream"]
