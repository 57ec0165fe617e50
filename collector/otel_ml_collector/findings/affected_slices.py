"""Affected slices: the one value of a tag that nearly all runs with a broken or new value share.

An input that one hospital no longer sends is missing in a third of all runs. The finding that names
the hospital can be acted upon. Nothing is remembered: the runs of the window are counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

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
    MOST_READ,
    RUN_NUMBER,
    AskedRuns,
    FigureColumn,
    SliceCondition,
    SlicesQuery,
    count_slices,
    find_dimensions,
    read_counted,
)
from otel_ml_collector.store.counted import RECORDED
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.windows import Window

# A slice is named if it has at least this share of the affected runs, and if its runs are affected
# at least this many times as often as all others.
_MOST_AFFECTED: Final = 0.9
_TIMES: Final = 5.0
_AFFECTED: Final = Sql("""
    SELECT {run} AS run, toFloat64(1) AS value FROM {recorded} WHERE {asked} LIMIT {most}""")


@dataclass(frozen=True, slots=True)
class AffectedSlice:
    """The slice that has nearly all affected runs.

    Attributes:
        part: The slice.
        share: The share of its runs that are affected.
        rest: The same share of all other runs.
    """

    part: SliceCondition
    share: float
    rest: float


def find_affected_slices(
    reader: Reader, project: str, model: str, window: Window, wheres: Sequence[str]
) -> list[AffectedSlice | None]:
    """Find the slice that has nearly all affected runs, for each of several problems.

    Args:
        reader: The store.
        project: The project.
        model: The model that has the problems.
        window: When its runs began.
        wheres: For each problem the filter of the affected runs.

    Returns:
        For each problem its slice. None if the affected runs have no single value of a tag in
        common, or if nearly all runs of the model have it.
    """
    of_model = f"model == {quoted(model)}"
    query = SlicesQuery(project, of_model, start_ns=window.start_ns, end_ns=window.end_ns)
    asked = AskedRuns.of(reader, query, window)
    figures: list[FigureColumn] = []
    affected: dict[str, pa.Table] = {}
    for where in dict.fromkeys(wheres):
        runs = _read_affected(reader, project, asked, where) if where != of_model else None
        if runs is not None and runs.num_rows:
            # a column that is joined to the runs, such as the ground truth of a target
            figures.append(_make_figure(where))
            affected[where] = runs
    if not figures:
        return [None] * len(wheres)
    runs = read_counted(reader, asked, figures, affected)
    every = pa.repeat(pa.scalar(True), runs.num_rows)
    for place in range(len(figures)):
        name = f"h{place}"
        runs = runs.set_column(runs.column_names.index(name), name, every)
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


def _read_affected(reader: Reader, project: str, asked: AskedRuns, where: str) -> pa.Table | None:
    """Read the numbers of the affected runs; None if the filter finds no runs."""
    try:
        condition, _ = compile_where(reader, project, where, is_bounded=True, kinds=asked.kinds)
    except BadInput:  # such as a field that is no longer sent
        return None
    runs = replace(asked, condition=condition, values={**asked.values, **condition.parameters})
    sql = _AFFECTED.fill(run=RUN_NUMBER, recorded=RECORDED, asked=runs.sql, most=MOST_READ)
    return reader.arrow(sql, runs.values)


def _make_figure(where: str) -> FigureColumn:
    return FigureColumn(where, "rate", lower_is_better=True, value=Sql("0"), target=where)


def _is_concentrated(own: ClusterMoments, of_all: ClusterMoments, verdict: RestVerdict) -> bool:
    """Whether a slice has nearly all affected runs, by more than chance."""
    value, rest = verdict.value or 0.0, verdict.rest or 0.0
    return verdict.word == "worse" and own.t >= _MOST_AFFECTED * of_all.t and value >= _TIMES * rest
