"""Tests of the table of groups: which group is named the slowest and the costliest."""

from otel_ml.records import Tokens
from otel_ml_collector.figures import GroupTotal, GroupTotals, make_table
from otel_ml_collector.stats import RunFigures


def figures(p95_ms: float, cost: float) -> RunFigures:
    """Make the figures of some runs."""
    return RunFigures(
        runs=10,
        errors=0,
        error_share=0,
        p50_ms=p95_ms,
        p90_ms=p95_ms,
        p95_ms=p95_ms,
        p99_ms=p95_ms,
        tokens=Tokens(),
        cost=cost,
        judges=[],
    )


def group(by_name: dict[str, tuple[float, float]]) -> GroupTotals:
    """Make groups of runs by LLM, each with its p95 and cost."""
    groups = [GroupTotal(group=name, total=figures(*both)) for name, both in by_name.items()]
    return GroupTotals(group="provider_model", groups=groups, groups_found=len(groups), other=None)


def test_runs_without_a_value() -> None:
    """Runs without an LLM are neither the slowest nor the costliest LLM."""
    of = group({"": (900, 3), "small": (20, 1), "large": (300, 2)})
    table = make_table("p", of, figures(900, 6), judge=None)
    assert [row.name for row in table.rows] == ["", "small", "large"]
    assert table.slowest is not None
    assert table.costliest is not None
    assert (table.slowest.name, table.costliest.name) == ("large", "large")


def test_one_value() -> None:
    """A single LLM is not compared with runs without an LLM."""
    table = make_table("p", group({"": (900, 3), "small": (20, 1)}), figures(900, 4), judge=None)
    assert (table.slowest, table.costliest) == (None, None)
