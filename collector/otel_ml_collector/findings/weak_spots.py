"""Known weak spots: slices that were worse than all other runs in the seven days before, too."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.findings import Finding, FindingsQuestion
from otel_ml_collector.findings.slice_sums import SlicesQuery
from otel_ml_collector.findings.slices import SliceCell, Slices, SlicesFigure, find_slices
from otel_ml_collector.store.counted import recorded_runs
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.verdicts.claims import write_moment
from otel_ml_collector.verdicts.verdicts import Interval
from otel_ml_collector.windows import Window

_EARLIER_NS: Final = 7 * DAY_NS
# A slice is a known weak spot if it was worse by at least this share of its difference now.
_LEAST_PART: Final = 0.5
_LEAST_RATIO: Final = 1e-9
# Maximum number of models whose earlier runs are compared.
_MOST_WEAK_MODELS: Final = 20
_FIRST_RUN: Final = Sql("""
  SELECT min(start_ns) AS start_ns FROM {recorded}
  WHERE project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
    AND ({condition})""")


def mark_weak_spots(
    question: FindingsQuestion, findings: Sequence[Finding], slices: Slices
) -> list[Finding]:
    """Mark the slices that were worse already before the checked period.

    A slice is a known weak spot if it was worse than all other runs in the seven days before, by at
    least half as much as now. The interval of this earlier difference must exclude 0.

    Args:
        question: Which project and period are checked.
        findings: Findings about slices.
        slices: The slices of the checked period.

    Returns:
        The findings in the same order. Those of known weak spots have `weak_since_ns`, and say it
        in their sentence. If the store is too slow for the earlier runs, nothing is marked.
    """
    models = sorted({finding.model for finding in findings})[:_MOST_WEAK_MODELS]
    if not models:
        return []
    window = Window(max(question.window.start_ns - _EARLIER_NS, 0), question.window.start_ns)
    where = f"model in ({', '.join(map(quoted, models))},)"
    query = SlicesQuery(question.project, where, start_ns=window.start_ns, end_ns=window.end_ns)
    try:
        before = _list_cells(find_slices(question.reader, query, question.now_ns))
    except Unavailable:
        return [*findings]
    now = _list_cells(slices)
    figures = {figure.name: figure for figure in slices.figures}
    marked = []
    for finding in findings:
        key = finding.model, finding.condition, finding.measured
        known, figure = before.get(key), figures.get(finding.measured)
        if figure and known and key in now and _was_weak(figure, now[key], known):
            since_ns = _find_first_run(question.reader, question.project, finding, window)
            marked.append(_mark(finding, since_ns, window))
        else:
            marked.append(finding)
    return marked


def _list_cells(slices: Slices) -> dict[tuple[str, str, str], SliceCell]:
    return {
        (item.model, item.condition, cell.figure): cell
        for item in slices.slices
        for cell in item.cells
    }


def _was_weak(figure: SlicesFigure, now: SliceCell, before: SliceCell) -> bool:
    """Whether a slice was certainly worse before, by at least half as much as now."""
    if now.difference is None or before.difference is None:
        return False
    harm, _ = _measure_harm(figure, now.difference)
    earlier, least = _measure_harm(figure, before.difference)
    return least > 0 and earlier >= _LEAST_PART * harm


def _measure_harm(figure: SlicesFigure, difference: Interval) -> tuple[float, float]:
    """Return how much worse a slice is than all other runs, and how much at least."""
    bound = difference.low if figure.lower_is_better else difference.high
    if bound is None:
        return 0.0, 0.0
    if figure.kind == "amount":  # both are ratios, and lower is better
        return math.log(max(difference.value, _LEAST_RATIO)), math.log(max(bound, _LEAST_RATIO))
    sign = 1 if figure.lower_is_better else -1
    return sign * difference.value, sign * bound


def _find_first_run(reader: Reader, project: str, finding: Finding, window: Window) -> int:
    """Find the start of the first run of a slice in a period that has some."""
    where = narrow(f"model == {quoted(finding.model)}", finding.condition)
    condition, _ = compile_where(reader, project, where, is_bounded=True)
    values: Mapping[str, object] = {
        **condition.parameters,
        "project": project,
        "start": window.start_ns,
        "end": window.end_ns,
    }
    sql = _FIRST_RUN.fill(recorded=recorded_runs(), condition=condition.sql)
    [row] = reader.rows(sql, dict(values))
    return int(row["start_ns"])


def _mark(finding: Finding, since_ns: int, window: Window) -> Finding:
    """Say in a finding since when it is a weak spot."""
    is_older = since_ns - window.start_ns < DAY_NS
    since = "for at least 7 days" if is_older else f"since {write_moment(since_ns)}"
    return replace(
        finding,
        sentence=f"{finding.sentence}; known weak spot {since}",
        evidence="A known weak spot: the slice was worse by at least half as much in the 7 days "
        f"before. {finding.evidence}",
        weak_since_ns=since_ns,
    )
