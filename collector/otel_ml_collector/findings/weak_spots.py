"""Known weak spots: slices that were worse than all other runs in the seven days before, too."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.filter.sql import compile_tests
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.findings import Finding, FindingsQuestion
from otel_ml_collector.findings.slice_sums import SlicesQuery
from otel_ml_collector.findings.slices import SliceCell, Slices, SlicesFigure, find_slices
from otel_ml_collector.store.counted import recorded_runs
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.scores import read_arrivals
from otel_ml_collector.store.sql import Sql, join_sql
from otel_ml_collector.times import DAY_NS, HOUR_NS
from otel_ml_collector.verdicts.claims import write_moment
from otel_ml_collector.verdicts.verdicts import Interval
from otel_ml_collector.windows import Window

_EARLIER_NS: Final = 7 * DAY_NS
# A slice is a known weak spot if it was worse by at least this share of its difference now.
_LEAST_PART: Final = 0.5
_LEAST_RATIO: Final = 1e-9
# Maximum number of models whose earlier runs are compared.
_MOST_WEAK_MODELS: Final = 20
# Model, condition of the slice, and name of the figure.
_CellKey: TypeAlias = tuple[str, str, str]
_FIRST_RUNS: Final = Sql("""
  SELECT {firsts} AS starts FROM {recorded}
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
    # The same period for an hour, so that its slices can be cached.
    end_ns = question.window.start_ns // HOUR_NS * HOUR_NS
    window = Window(max(end_ns - _EARLIER_NS, 0), end_ns)
    where = f"model in ({', '.join(map(quoted, models))},)"
    try:
        before = _find_earlier(question, where, window, slices)
    except Unavailable:
        return [*findings]
    now = _list_cells(slices)
    figures = {figure.name: figure for figure in slices.figures}
    weak = []
    for finding in findings:
        key = finding.model, finding.condition, finding.measured
        known, figure = before.get(key), figures.get(finding.measured)
        if figure and known and key in now and _was_weak(figure, now[key], known):
            weak.append(finding)
    firsts = _find_first_runs(question, where, weak, window)
    return [
        _mark(finding, firsts[finding.model, finding.condition], window)
        if finding in weak
        else finding
        for finding in findings
    ]


def _find_earlier(
    question: FindingsQuestion, where: str, window: Window, slices: Slices
) -> dict[_CellKey, SliceCell]:
    """Compare the slices of an earlier period, or return the result from the cache.

    It is cached until runs or scores of this period arrive, at most one hour. This saves a third of
    the time of a check, because the earlier runs seldom change.
    """
    state = repr(read_arrivals(question.reader, question.project, window))
    figures = repr([figure.name for figure in slices.figures])
    key = "weak spots", question.project, where, window.start_ns, figures, state
    query = SlicesQuery(question.project, where, start_ns=window.start_ns, end_ns=window.end_ns)
    return question.reader.memory.work_out(
        key, lambda: _list_cells(find_slices(question.reader, query, question.now_ns)), len
    )


def _list_cells(slices: Slices) -> dict[_CellKey, SliceCell]:
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


def _find_first_runs(
    question: FindingsQuestion, where: str, findings: Sequence[Finding], window: Window
) -> dict[tuple[str, str], int]:
    """Find when each slice had its first run in the window, by model and condition of the slice."""
    named = list(dict.fromkeys((finding.model, finding.condition) for finding in findings))
    if not named:
        return {}
    reader, project = question.reader, question.project
    tests = [narrow(f"model == {quoted(model)}", condition) for model, condition in named]
    kinds = find_record_kinds(reader, project)
    condition, written = compile_tests(reader, project, where, tests, kinds)
    firsts = join_sql(", ", [Sql("minIf(start_ns, {test})").fill(test=test) for test in written])
    sql = _FIRST_RUNS.fill(
        firsts=Sql("[{firsts}]").fill(firsts=firsts),
        recorded=recorded_runs(),
        condition=condition.sql,
    )
    values = {"project": project, "start": window.start_ns, "end": window.end_ns}
    [row] = reader.rows(sql, {**condition.parameters, **values})
    return dict(zip(named, row["starts"], strict=True))


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
