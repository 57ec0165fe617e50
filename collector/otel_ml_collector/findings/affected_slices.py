"""Finds affected slices: the tag value that nearly all runs with a broken or new value share.

Example: one hospital no longer sends an input, so the input is missing in a third of all runs. A
finding that names the hospital is easier to act on. The runs of the window are counted each time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml.statistics.comparison import Word
from otel_ml.statistics.slices import (
    FAULT_MARGIN,
    ClusterMoments,
    RestVerdict,
    SliceFigure,
    judge_slices,
)
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.findings.slice_sums import (
    LEAST_RUNS,
    AskedRuns,
    FigureColumn,
    SliceCondition,
    SlicesQuery,
    count_slices,
    find_dimensions,
    read_counted,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.windows import Window

# A slice is named if it has at least this share of the affected runs, and if its runs are affected
# at least this many times as often as all others.
_MOST_AFFECTED: Final = 0.9
_TIMES: Final = 5.0


@dataclass(frozen=True, slots=True)
class AffectedSlice:
    """The slice that has nearly all runs with a problem, such as runs without an input.

    A slice is a group of runs, such as those with ``hospital = north``.

    Attributes:
        part: The slice.
        share: Share of the slice's runs that have the problem, from 0 to 1.
        rest: Share of the model's other runs that have the problem, from 0 to 1.
    """

    part: SliceCondition
    share: float
    rest: float


def find_affected_slices(
    reader: Reader, project: str, model: str, window: Window, wheres: Sequence[str]
) -> list[AffectedSlice | None]:
    """Find the slice that has nearly all affected runs, for each of several problems.

    A slice is a group of runs with the same value of a tag or field, such as all runs with
    ``hospital = north``.

    Args:
        reader: The store.
        project: The project.
        model: The model that has the problems.
        window: The period. Only runs that began in it are counted.
        wheres: A filter for each problem. It selects the affected runs, such as those without an
            input.

    Returns:
        A slice for each problem. It has at least 90 % of the affected runs, and its runs are
        affected at least 5 times as often as all other runs. None if there is no such slice.
    """
    of_model = f"model == {quoted(model)}"
    query = SlicesQuery(project, of_model, start_ns=window.start_ns, end_ns=window.end_ns)
    tests = [
        where
        for where in dict.fromkeys(wheres)
        if where != of_model and _is_valid(reader, project, where)
    ]
    if not tests:
        return [None] * len(wheres)
    asked, written = AskedRuns.of_tests(reader, query, window, tests)
    figures = [
        FigureColumn(where, "rate", lower_is_better=True, value=test)
        for where, test in zip(tests, written, strict=True)
    ]
    runs = read_counted(reader, asked, figures, {})
    if not runs.num_rows:
        return [None] * len(wheres)
    dimensions = find_dimensions(reader, query, asked, runs)
    whole, *rows = count_slices(runs, figures, dimensions)
    slices = [
        (part, row)
        for row in rows
        if (part := dimensions.of(row["id"], model)) and whole["runs"] - row["runs"] >= LEAST_RUNS
    ]
    found: dict[str, AffectedSlice] = {}
    for place, figure in enumerate(figures):
        of_all = ClusterMoments(*whole[f"m{place}"])
        sums = [ClusterMoments(*row[f"m{place}"]) for _, row in slices]
        verdicts = judge_slices(
            [SliceFigure("rate", True, own, of_all, margin=FAULT_MARGIN) for own in sums]
        )
        named = [
            AffectedSlice(part, verdict.value, verdict.rest)
            for (part, _), own, verdict in zip(slices, sums, verdicts, strict=True)
            if verdict.value is not None
            and verdict.rest is not None
            and _is_concentrated(own, of_all, verdict)
        ]
        if named:
            found[figure.name] = min(named, key=lambda item: (-item.share, item.part.name))
    return [found.get(where) for where in wheres]


def _is_valid(reader: Reader, project: str, where: str) -> bool:
    """Whether the store can test a filter. It cannot if, for example, a field is no longer sent."""
    try:
        compile_where(reader, project, where, is_bounded=True)
    except BadInput:
        return False
    return True


def _is_concentrated(own: ClusterMoments, of_all: ClusterMoments, verdict: RestVerdict) -> bool:
    """Whether a slice has nearly all affected runs, by more than chance."""
    value, rest = verdict.value or 0.0, verdict.rest or 0.0
    return (
        verdict.word == Word.WORSE and own.t >= _MOST_AFFECTED * of_all.t and value >= _TIMES * rest
    )
