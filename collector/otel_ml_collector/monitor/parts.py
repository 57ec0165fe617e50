"""The table that splits a problem, or a slice, by the values of a tag: who is affected."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from otel_ml.counts import write_number
from otel_ml.statistics.comparison import FigureKind, Word
from otel_ml_collector import wording
from otel_ml_collector.errors import Unavailable
from otel_ml_collector.filter.writing import narrow
from otel_ml_collector.findings.find import MonitorState
from otel_ml_collector.findings.findings import Finding
from otel_ml_collector.findings.releases import compare_values
from otel_ml_collector.findings.slices import RunSlice
from otel_ml_collector.findings.versions import find_release_of
from otel_ml_collector.problems.curves import find_figure
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.verdicts.claims import write_amounts, write_difference
from otel_ml_collector.verdicts.lines import IntervalBar, draw_differences
from otel_ml_collector.verdicts.verdicts import (
    AMOUNT_FIGURES,
    AT_ALL_LOOKS,
    ComparedFigure,
    Interval,
)

_VALUES_COMPARED: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRow:
    """A row of the table that splits a problem by tag value: one slice, such as one client.

    The row shows two values of the problem's figure, such as the share of failed runs. If the
    problem is that a new version is worse, they are the values of the baseline version and of the
    new version, both for runs of this slice. For any other problem, they are the values of all
    other runs and of this slice.

    Attributes:
        before: Value of the baseline version, or of all other runs, as text such as `8.5 %`.
        now: Value of the new version, or of this slice, as text.
        size: How much the two values differ, without a sign. Slices that are worse come first in
            the table, and the largest difference on top.
        difference: The difference with its confidence interval, and the smallest difference that
            matters.
        bar: Drawing of the interval.
        is_whole: Whether this is the row of all runs instead of one slice.
    """

    name: str
    where: str
    runs: Sequence[str]
    before: str
    now: str
    change: str
    size: float
    word: str
    difference: tuple[Interval | None, float] = (None, 0.0)
    bar: IntervalBar | None = None
    is_whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PartTable:
    """A table that splits the runs of a problem into slices, such as one row for each client.

    Attributes:
        title: Title of the table, such as `Version × client`.
        dimension: Name of the tag that has a row for each of its values, such as `client`.
        heads: Headings of the columns, such as `((Runs of v1, Runs of v2), v1, v2)`. The first
            entry has the headings of the one or two columns with numbers of runs. The other two
            entries are the headings of the values that the rows have as `before` and `now`.
        choices: Names of the tags that a user can choose instead of `dimension`.
        interval: What kind of intervals the differences have.
    """

    title: str
    dimension: str
    heads: tuple[Sequence[str], str, str]
    rows: Sequence[PartRow]
    choices: Sequence[str] = ()
    interval: str = wording.INTERVAL


def compare_parts(
    reader: Reader, project: str, state: MonitorState | None, finding: Finding | None, *, by: str
) -> PartTable | None:
    """Compare, for each value of a tag, two versions of the model, or its runs with all others."""
    slices = state.slices if state else None
    if finding is None or state is None or slices is None or not finding.measured:
        return None
    # The rows of a table cannot be grouped by these fields.
    own = [
        item
        for item in slices.slices
        if item.model == finding.model
        and item.dimension not in {"outcome", "version", "release", "provider_model"}
    ]
    sizes: dict[str, int] = {}
    for item in own:
        sizes[item.dimension] = sizes.get(item.dimension, 0) + item.runs
    choices = sorted(sizes, key=lambda name: (-sizes[name], name))[:_VALUES_COMPARED]
    worst = next((item.dimension for item in own if item.condition == finding.condition), "")
    dimension = next((name for name in (by, worst, *choices) if name in choices), "")
    rows = [item for item in own if item.dimension == dimension]
    rows.sort(key=lambda item: (-item.runs, item.name))
    if finding.version is not None and finding.baseline is not None:
        return _compare_versions(
            reader,
            project,
            finding,
            state=state,
            dimension=dimension,
            slices=rows,
            choices=choices,
        )
    if not rows:
        return None
    figure = find_figure(state, finding)
    kind: FigureKind = "score" if figure is not None and figure.kind == "score" else "rate"
    if finding.measured in AMOUNT_FIGURES:
        kind = "amount"
    return _compare_with_others(finding, kind, dimension, slices=rows, choices=choices)


def _compare_versions(
    reader: Reader,
    project: str,
    finding: Finding,
    *,
    state: MonitorState,
    dimension: str,
    slices: Sequence[RunSlice],
    choices: Sequence[str],
) -> PartTable | None:
    """Compare the new version with its baseline, for each value of a tag and for all runs.

    The claim of the problem comes from the release, so the row of all runs and the row of the worst
    value do too.
    """
    release = find_release_of(state.releases, finding.model, finding.version or 0, finding.baseline)
    if release is None:
        return None
    whole = next((item for item in release.figures if item.name == finding.measured), None)
    values = {f"{dimension}={_name_value(item)}": item for item in slices[:_VALUES_COMPARED]}
    try:
        verdicts = compare_values(
            reader,
            project,
            release,
            state.made_ns,
            figure=finding.measured,
            tokens=[*values],
        )
    except Unavailable:
        verdicts = {}
    rows = []
    for token, verdict in verdicts.items():
        part = values[token]
        figure = next((item for item in verdict.describe() if item.name == finding.measured), None)
        where = narrow(release.candidate.where, part.condition)
        name, counts = _name_value(part), verdict.counts
        if whole is not None and whole.worst == part.condition:
            # The release compared this slice with all other runs. That needs fewer runs than a
            # comparison of versions.
            row = _compare_part(name, where, counts, whole.of_worst or figure)
            rows.append(replace(row, word=_write_word(whole)))
        else:
            rows.append(_compare_part(name, where, counts, figure))
    counts = release.baseline.runs, release.candidate.runs
    row = _compare_part("All runs", release.candidate.where, counts, whole)
    rows.append(replace(row, is_whole=True))
    names = f"v{finding.baseline}", f"v{finding.version}"
    return PartTable(
        title=f"Version × {dimension}" if dimension else "Versions",
        dimension=dimension or "Runs",
        heads=((f"Runs of {names[0]}", f"Runs of {names[1]}"), names[0], names[1]),
        rows=_draw_rows(rows, _kind_of(whole)),
        choices=choices,
        interval=AT_ALL_LOOKS,
    )


def _compare_part(
    name: str, where: str, counts: tuple[int, int], figure: ComparedFigure | None
) -> PartRow:
    """Write the row of a slice: the figure of both versions, and how they differ."""
    before, now = _write_sides(figure)
    return PartRow(
        name=name,
        where=where,
        runs=[f"{count:,}" for count in _count_runs(counts, figure)],
        before=before,
        now=now,
        change=_write_change(figure),
        size=_measure_size(figure),
        word=_write_word(figure),
        difference=(figure.difference, figure.margin) if figure else (None, 0.0),
    )


def _compare_with_others(
    finding: Finding,
    kind: FigureKind,
    dimension: str,
    *,
    slices: Sequence[RunSlice],
    choices: Sequence[str],
) -> PartTable:
    """Compare each value of a tag with all other runs."""
    rows = []
    for item in slices[:_VALUES_COMPARED]:
        cell = next((cell for cell in item.cells if cell.figure == finding.measured), None)
        if cell is None:
            continue
        before, now = _write_pair(finding.measured, kind, cell.rest, cell.value)
        rows.append(
            PartRow(
                name=_name_value(item),
                where=item.where,
                runs=[f"{item.runs:,}"],
                before=before,
                now=now,
                change=write_difference(cell.difference, kind) or "–",
                size=abs((cell.value or 0.0) - (cell.rest or 0.0)),
                word=cell.word,
                difference=(cell.difference, cell.margin),
            )
        )
    return PartTable(
        title=f"By {dimension}",
        dimension=dimension,
        heads=(("Runs",), "All others", f"This {dimension}"),
        rows=_draw_rows(rows, kind),
        choices=choices,
    )


def _draw_rows(rows: Sequence[PartRow], kind: FigureKind) -> Sequence[PartRow]:
    """Draw the differences of rows on one scale, and put the rows in order.

    Slices that are worse come first, the largest difference first. The row of all runs is last.
    """
    bars = draw_differences([(*row.difference, row.word) for row in rows], kind)
    drawn = [replace(row, bar=bar) for row, bar in zip(rows, bars, strict=True)]
    return sorted(
        drawn,
        key=lambda row: (
            row.is_whole,
            row.word != Word.WORSE,
            -row.size * (row.word == Word.WORSE),
        ),
    )


def _measure_size(figure: ComparedFigure | None) -> float:
    difference = figure.difference if figure else None
    if figure is None or difference is None:
        return 0.0
    return abs(difference.value - (1.0 if figure.name in AMOUNT_FIGURES else 0.0))


def _count_runs(counts: tuple[int, int], figure: ComparedFigure | None) -> tuple[int, int]:
    """Return how many runs of the baseline and of the new version have a value of the figure."""
    if figure is None or figure.name in AMOUNT_FIGURES:
        return counts
    if figure.baseline is None or figure.candidate is None:
        return counts
    return figure.baseline.n, figure.candidate.n


def _write_word(figure: ComparedFigure | None) -> Word:
    return Word.NOT_ENOUGH_DATA if figure is None else figure.word


def _name_value(item: RunSlice) -> str:
    return item.name.partition(" = ")[2] or item.name


def _kind_of(figure: ComparedFigure | None) -> FigureKind:
    if figure is None or figure.is_rate:
        return "rate"
    return "amount" if figure.name in AMOUNT_FIGURES else "score"


def _write_sides(figure: ComparedFigure | None) -> tuple[str, str]:
    if figure is None or figure.baseline is None or figure.candidate is None:
        return "–", "–"
    return _write_pair(figure.name, _kind_of(figure), figure.baseline.value, figure.candidate.value)


def _write_pair(
    name: str, kind: FigureKind, before: float | None, now: float | None
) -> tuple[str, str]:
    if before is None or now is None:
        return "–", "–"
    if kind == "amount":
        return write_amounts(name, before, now)
    if kind == "rate" and min(before, now) >= 0 and max(before, now) <= 1:
        return wording.percent(before, 1), wording.percent(now, 1)
    return write_number(before), write_number(now)


def _write_change(figure: ComparedFigure | None) -> str:
    if figure is None or figure.difference is None:
        return "–"
    return write_difference(figure.difference, _kind_of(figure))
