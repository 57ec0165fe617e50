"""Compares two sets of recorded runs: the one function behind every comparison in production.

A release, two versions and two filters are compared alike: by error share, missing outputs, judges,
latency, tokens and cost. Releases are also compared by ground truth. Only what is compared differs,
see `Sides`.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from otel_ml.statistics import floats
from otel_ml.statistics.comparison import (
    AMOUNT_MARGIN,
    LEAST_RUNS,
    WORST_FIRST,
    Caveat,
    CaveatKind,
    FigureComparison,
    Method,
    Unit,
    Word,
    leave_out,
)
from otel_ml.statistics.release import FigureSums, count_compared, find_onset, judge_release
from otel_ml.statistics.scored_runs import AMOUNT_UNITS
from otel_ml.statistics.sequence import CellKey, Moments, Pair
from otel_ml_collector.filter.sql import compile_tests, compile_where
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.margins import Margins
from otel_ml_collector.measures.statistics import read_scored_runs
from otel_ml_collector.measures.units import (
    BOUNDS,
    Outcome,
    Sides,
    count_both,
    count_tag_values,
    find_request_ms,
    read_outcomes,
    read_units,
)
from otel_ml_collector.owners import RESPONSE
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.scores import find_lower_judges
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.versions import Numbers, version_numbers
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.verdicts.verdicts import (
    AMOUNT_FIGURES,
    ERRORS,
    MISSING,
    ComparedFigure,
    FiguresVerdict,
    choose_versions,
    describe_figure,
    judge_recorded,
)
from otel_ml_collector.windows import Window

_FOR_EVER_NS: Final = 2**62
# Maximum number of runs per side. Of a larger side, every second, third, ... unit is read.
_RUNS_COUNTED: Final = 50_000
# Number of runs that are enough for the median duration of their requests.
_REQUESTS_READ: Final = 5_000
# Maximum number of runs that are compared for a judge, the newest.
JUDGED_RUNS: Final = 10_000
_MOST_STRATA: Final = 20
_LEAST_STRATUM: Final = 0.02
# A tag value with fewer runs on a side is joined with the rest.
_LEAST_STRATUM_RUNS: Final = 30
_MOST_JUDGES: Final = 20
_PASSED: Final = "passed"
_SCORED: Final = "scored"
# Which runs have a figure, in words. Judges have scored runs.
COUNTED: Final[Mapping[str, str]] = {
    ERRORS: "comparable runs",
    MISSING: "comparable runs",
    "latency": "successful runs",
    "tokens": "successful runs with tokens",
    "cost": "successful runs with a cost",
}
SCORED_RUNS: Final = "scored runs"
RUNS_WITH_TRUTH: Final = "runs with ground truth"
# Smallest part of the other side's share of predictions with ground truth.
_LEAST_COVERAGE: Final = 0.9


@dataclass(frozen=True, slots=True)
class SidesVerdict:
    """The verdict on two sets of recorded runs.

    Attributes:
        word: The verdict, which the worst figure decides. More latency, tokens or cost alone can
            make it `worse`, but less of them never makes it `better`.
        first: The figure that decides; None if both sides have no figure in common.
        figures: The figures, worst first.
        digests: By judge, the digest of the version that counts.
        unlike: Figures that are not compared, by name. For example, no version of the judge scored
            both sets of runs.
        targets: Prediction targets, by the name of their figure.
        since: Hours from which figures were worse, by the name of the figure.
        on_request: Judges whose scores of requests are counted, too.
        last_hours: Last hours of which the ground truth of a figure counts, of the baseline and of
            the candidate, by the name of the figure. None for all hours.
        numbers: The version numbers of the judges.
        tag: The tag whose values have the same weight on both sides, so that a different mix of
            clients, for example, does not count as a difference. Empty for none.
        share: Share of the sessions and traces that was read, from 0 to 1. It is below 1 if there
            are too many; then a sample is compared.
        counts: How many runs the baseline and the candidate have.
        shared: Number of runs on both sides. If there are any, the sides are not compared.
        around_rollout: Names of the figures that are compared by the runs before and since the
            rollout, because too few runs of the hours of both versions have them.
    """

    word: Word
    first: FigureComparison | None
    figures: Sequence[FigureComparison]
    digests: Mapping[str, str]
    unlike: Mapping[str, FigureComparison]
    numbers: Numbers
    tag: str
    share: float
    counts: tuple[int, int]
    shared: int = 0
    targets: Mapping[str, str] = field(default_factory=dict)
    around_rollout: Sequence[str] = ()
    on_request: Collection[str] = frozenset()
    since: Mapping[str, int] = field(default_factory=dict)
    last_hours: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)

    def describe(self) -> list[ComparedFigure]:
        """Describe the figures, worst first."""
        return [self.describe_figure(figure) for figure in (*self.figures, *self.unlike.values())]

    def describe_figure(self, figure: FigureComparison) -> ComparedFigure:
        """Describe one figure, of all runs or of a slice."""
        digest = self.digests.get(figure.subject, "")
        number = self.numbers.get((figure.subject, digest, ""))
        change = describe_figure(figure, digest, number)
        change.target = self.targets.get(figure.subject, "")
        change.on_request = figure.subject in self.on_request
        return change

    @property
    def change(self) -> FiguresVerdict:
        """The verdict on chosen runs."""
        deciding = self.deciding
        sentence = "no recorded runs of both" if deciding is None else deciding.named_sentence
        return judge_recorded(self.word, sentence, self.describe(), deciding)

    @property
    def deciding(self) -> ComparedFigure | None:
        """The figure that decides; None if both sides have no figure in common."""
        return None if self.first is None else self.describe_figure(self.first)


def leave_open(counts: tuple[int, int], shared: int = 0) -> SidesVerdict:
    """Make the verdict on two sides that are not compared, see `SidesVerdict`."""
    return SidesVerdict(Word.NOT_ENOUGH_DATA, None, [], {}, {}, {}, "", 1.0, counts, shared)


def compare_sides(
    reader: Reader,
    project: str,
    sides: Sides,
    find_rollout: Callable[[], Sides | None] = lambda: None,
) -> SidesVerdict:
    """Compare two sets of recorded runs.

    Runs of the same session are not independent, so intervals are computed from sessions instead of
    runs. A trace without a session counts like a session. If both sets have a tag such as `client`,
    each value of the tag gets the same weight in both sets, so that a different mix of clients does
    not look like a change. If there are several such tags, the one that most runs have is used. For
    each judge, the newest version that scored both sets counts.

    Args:
        reader: The store.
        project: The project.
        sides: The two sets of runs.
        find_rollout: Returns the runs before and since the rollout, or None. A judge that scored
            fewer than 100 runs in the hours of both versions is compared by these, and so is ground
            truth for fewer than 100 runs.
    """
    read = _read_sides(reader, project, sides)
    return _judge_rows(read, lambda: _read_rollout(reader, project, find_rollout()))


def _read_rollout(reader: Reader, project: str, sides: Sides | None) -> "_SideRows | None":
    # Only judges and ground truth can have too few runs in the hours of both versions.
    return None if sides is None else _read_sides(reader, project, sides, has_amounts=False)


def _read_sides(
    reader: Reader, project: str, sides: Sides, *, has_amounts: bool = True
) -> "_SideRows":
    request_ms = reader.ahead(_read_request_ms, sides) if has_amounts else None
    tag, strata = _choose_strata(reader, sides)
    every = _find_sampling(sides)
    return _SideRows(
        reader,
        project,
        sides,
        read_units(reader, project, sides, strata, every, has_amounts=has_amounts),
        tag=tag,
        share=1 / max(every),
        request_ms=request_ms.result() if request_ms else 0.0,
        outcomes=[
            (outcome, read_outcomes(reader, sides, outcome, strata=strata, every=every))
            for outcome in sides.outcomes
        ],
    )


@dataclass(frozen=True, slots=True)
class _SideRows:
    """Data to compare two sets of runs, a baseline and a candidate.

    Attributes:
        rows: The sums of each figure, such as latency, over the sessions of each side, hour and tag
            value. The columns are those of `read_units`.
        tag: The tag, such as `client`, whose values get the same weight in both sets. Empty for
            none.
        share: Share of the sessions and traces that was read, from 0 to 1.
        request_ms: Median duration of the requests, in ms. 0 if the comparison does not need it.
        outcomes: For each prediction target, the sums that show how good its predictions were. The
            columns are those of `read_outcomes`.
    """

    reader: Reader
    project: str
    sides: Sides
    rows: Sequence[Row]
    tag: str
    share: float
    request_ms: float
    outcomes: Sequence[tuple[Outcome, Sequence[Row]]] = ()


def _read_request_ms(reader: Reader, sides: Sides) -> float:
    """Return the median duration of the requests, if the margin of latency depends on it."""
    if not reader.margins.time_share:
        return 0.0
    every = max(-(-sum(sides.counts) // _REQUESTS_READ), 1)
    return find_request_ms(reader, sides.runs, sides.values, every).get("", 0.0)


def _find_sampling(sides: Sides) -> tuple[int, int]:
    """Return the sampling interval of units for the baseline and for the candidate."""
    before, after = (max(-(-runs // _RUNS_COUNTED), 1) for runs in sides.counts)
    return before, after


def _judge_rows(
    read: _SideRows, read_rollout: Callable[[], _SideRows | None] = lambda: None
) -> SidesVerdict:
    """Compare the sums of two sides, see `read_units`.

    Args:
        read: The sums.
        read_rollout: Returns the sums of the runs before and since the rollout, for the figures
            that too few runs of `read` have. Only called if there are any.
    """
    sides = read.sides
    figures, judges = _make_all_figures(read)
    unlike, digests = {figure.subject: figure for figure in judges.unlike}, {**judges.digests}
    scarce = {figure.name for figure in figures if _is_scarce(figure, is_hourly=True)}
    around = (
        _make_rollout_figures(scarce | unlike.keys(), read_rollout) if sides.is_hourly else None
    )
    if around is not None:
        names = {figure.name for figure in around.figures}
        figures = [figure for figure in figures if figure.name not in names]
        unlike = {name: figure for name, figure in unlike.items() if name not in names}
        digests |= {name: digest for name, digest in around.digests.items() if name in names}
    sharing = count_compared(figures, is_hourly=sides.is_hourly)
    if around is not None:
        sharing = len(figures) + len(around.figures)
    judged = judge_release(
        figures,
        *sides.names,
        is_hourly=sides.is_hourly,
        growing=sides.growing,
        runs=sides.counts,
        sharing=sharing,
    )
    if around is not None:
        judged += judge_release(
            around.figures, *sides.names, growing=around.growing, sharing=sharing
        )
    verdicts = sorted(judged, key=lambda verdict: _order(verdict, sides.is_reversed))
    deciding = _choose_deciding(verdicts, sides.is_reversed)
    first = next(iter(deciding), None)
    if first is not None and first.word == Word.NOT_ENOUGH_DATA:
        watched = [item for item in deciding if item.word == Word.NOT_ENOUGH_DATA]
        # Figures with a direction come first, then the one that needs the most runs.
        first = max(watched, key=lambda entry: (entry.has_direction, entry.basis.needed or 0))
    return SidesVerdict(
        word=Word.NOT_ENOUGH_DATA if first is None else first.word,
        first=first,
        figures=verdicts,
        digests=digests,
        unlike=unlike,
        numbers=judges.numbers if around is None else {**judges.numbers, **around.numbers},
        around_rollout=[] if around is None else [figure.name for figure in around.figures],
        tag=read.tag,
        share=read.share,
        counts=sides.counts,
        targets={outcome.figure: outcome.target for outcome, _ in read.outcomes},
        on_request=_find_request_judges(read.rows),
        since=_find_onsets(verdicts, figures, sharing, is_hourly=sides.is_hourly)
        | _find_onsets(verdicts, around.figures if around else [], sharing),
        last_hours={
            **_find_all_last_hours(read),
            **({} if around is None else around.last_hours),
        },
    )


def _find_onsets(
    compared: Sequence[FigureComparison],
    figures: Sequence[FigureSums],
    sharing: int,
    *,
    is_hourly: bool = False,
) -> dict[str, int]:
    """Find the hour from which each figure that is worse was worse."""
    worse = {figure.subject for figure in compared if figure.word == Word.WORSE}
    onsets = {
        figure.name: find_onset(figure, is_hourly=is_hourly, sharing=sharing)
        for figure in figures
        if figure.name in worse
    }
    return {name: hour for name, hour in onsets.items() if hour is not None}


def _find_request_judges(rows: Sequence[Row]) -> frozenset[str]:
    """Return the judges whose scores of requests are among the sums."""
    figures = {row["figure"] for row in rows if row["is_of_request"]}
    return frozenset(figure.split(" ", 2)[2] for figure in figures)


def _make_all_figures(read: _SideRows) -> "tuple[list[FigureSums], _JudgesOfSides]":
    """Make the figures of the rows and of ground truth."""
    figures, judges = _make_figures(read)
    unlike = [*judges.unlike]
    for outcome, rows in read.outcomes:
        figure = _make_outcome_figure(outcome, rows, read.sides)
        if isinstance(figure, FigureSums):
            figures.append(figure)
        elif figure is not None:
            unlike.append(figure)
    if read.share < 1:
        figures = [replace(figure, counted="sampled runs") for figure in figures]
    return figures, replace(judges, unlike=unlike)


def _is_scarce(figure: FigureSums, *, is_hourly: bool) -> bool:
    """Whether a judge or ground truth has values for fewer than 100 runs of a side.

    If runs are only compared with runs of the same hour, other hours do not count.
    """
    if figure.name in COUNTED:
        return False
    compared = [
        pair for pair in figure.cells.values() if not is_hourly or all(side.runs for side in pair)
    ]
    return any(math.fsum(pair[side].runs for pair in compared) < LEAST_RUNS for side in (0, 1))


@dataclass(frozen=True, slots=True)
class _RolloutFigures:
    """Figures of the runs before and since a rollout."""

    figures: Sequence[FigureSums]
    digests: Mapping[str, str]
    numbers: Numbers
    growing: int | None
    last_hours: Mapping[str, tuple[int | None, int | None]]


def _make_rollout_figures(
    names: Collection[str], read_rollout: Callable[[], _SideRows | None]
) -> _RolloutFigures | None:
    """Make the named figures of the runs before and since the rollout, if enough have a value.

    Returns:
        The figures. None if there are none, such as without a rollout.
    """
    read = read_rollout() if names else None
    if read is None:
        return None
    figures, judges = _make_all_figures(read)
    enough = [
        replace(figure, counted=f"{figure.counted} around the rollout")
        for figure in figures
        if figure.name in names and not _is_scarce(figure, is_hourly=False)
    ]
    if not enough:
        return None
    return _RolloutFigures(
        enough,
        judges.digests,
        judges.numbers,
        read.sides.growing,
        {name: hours for name, hours in _find_all_last_hours(read).items() if name in names},
    )


def _choose_deciding(
    verdicts: Sequence[FigureComparison], is_reversed: bool
) -> Sequence[FigureComparison]:
    """Choose the figures that decide, the worst for the newer side first.

    Any figure can make the newer side worse. Else judges decide. Errors and missing outputs count
    then only if the newer side has more of them and their verdict is open, because failed calls
    must not help it. Latency, tokens and cost never make it better.
    """
    worse = [figure for figure in verdicts if _mirror(figure.word, is_reversed) == Word.WORSE]
    rated = [figure for figure in verdicts if figure.kind != "amount"]
    judges = [
        figure
        for figure in rated
        if figure.subject not in (ERRORS, MISSING) or _may_have_risen(figure, is_reversed)
    ]
    has_judge = any(figure.subject not in (ERRORS, MISSING) for figure in rated)
    return worse or (judges if has_judge else rated) or verdicts


def _may_have_risen(share: FigureComparison, is_reversed: bool) -> bool:
    """Whether the newer side has more errors or missing outputs, with an open verdict."""
    rise = share.candidate.value - share.baseline.value
    if share.difference is not None:
        rise = share.difference.value
    return share.word == Word.NOT_ENOUGH_DATA and (-rise if is_reversed else rise) > 0


def _mirror(word: Word, is_reversed: bool) -> Word:
    """Return the word for the newer side."""
    if not is_reversed:
        return word
    mirrored = {Word.WORSE: Word.BETTER, Word.BETTER: Word.WORSE}
    return mirrored.get(word, word)


def _order(verdict: FigureComparison, is_reversed: bool) -> tuple[int, bool, float, float, str]:
    """Return the sort key of a figure: the one with the worst verdict comes first.

    Among equal verdicts, quality and errors come before latency, tokens and cost. Then the most
    certain difference comes first, or without intervals the largest difference of rates.
    """
    place = WORST_FIRST.index(_mirror(verdict.word, is_reversed))
    differs = 0.0
    if verdict.difference is None:
        differs = abs(verdict.candidate.value - verdict.baseline.value)
    return place, verdict.kind == "amount", -verdict.strength, -differs, verdict.subject


def compare_filters(
    reader: Reader, project: str, baseline: str, candidate: str, window: Window
) -> SidesVerdict:
    """Compare the recorded runs of two filters in a window, for a single comparison.

    Raises:
        BadInput: A filter is wrong.
    """
    kinds = find_record_kinds(reader, project)
    either = f"({baseline}) or ({candidate})" if baseline and candidate else ""
    filters = [baseline, candidate]
    condition, (before, after) = compile_tests(reader, project, either, filters, kinds)
    values = {
        **condition.parameters,
        "project": project,
        "start": window.start_ns,
        "end": window.end_ns,
    }
    runs = Sql("{bounds} AND ({condition})").fill(bounds=BOUNDS.sql, condition=condition.sql)
    return _compare_once(reader, project, runs, sides=(before, after), values=values)


def compare_tag_values(
    reader: Reader, project: str, sides: Sides, tokens: Sequence[str]
) -> dict[str, SidesVerdict]:
    """Compare two sets of recorded runs separately for each value of a tag, such as each client.

    Args:
        reader: The store.
        project: The project.
        sides: The two sets of runs, not restricted to a tag value.
        tokens: The values of one tag to compare, each as `tag=value`, such as `client=Kessler`.

    Returns:
        The verdict for each tag value. The keys are the texts of `tokens`.
    """
    every = _find_sampling(sides)
    rows_of: defaultdict[str, list[Row]] = defaultdict(list)
    for row in read_units(reader, project, sides, tokens, every, is_split=True):
        rows_of[row["stratum"]].append(row)
    outcomes = [
        (
            outcome,
            read_outcomes(reader, sides, outcome, strata=tokens, every=every, is_split=True),
        )
        for outcome in sides.outcomes
    ]
    request_ms = _read_request_ms(reader, sides)
    verdicts = {}
    for token in tokens:
        rows = rows_of[token]
        of_token = replace(sides, counts=_count_runs(rows, every))
        read = _SideRows(
            reader,
            project,
            of_token,
            rows,
            tag="",
            share=1 / max(every),
            request_ms=request_ms,
            outcomes=[
                (outcome, [row for row in own if row["stratum"] == token])
                for outcome, own in outcomes
            ],
        )
        verdicts[token] = _judge_rows(read) if all(of_token.counts) else leave_open(of_token.counts)
    return verdicts


def _count_runs(rows: Sequence[Row], every: tuple[int, int]) -> tuple[int, int]:
    """Count the runs of both sides. Each run has failed or not, so that figure counts all."""
    errors = [row for row in rows if row["figure"] == ERRORS]
    before, after = (
        every[place] * sum(row["runs"] for row in errors if row["is_before"] == is_it)
        for place, is_it in enumerate((True, False))
    )
    return before, after


def _compare_once(
    reader: Reader,
    project: str,
    runs: Sql,
    *,
    sides: tuple[Sql, Sql],
    values: Mapping[str, Any],
    names: tuple[str, str] = ("", ""),
) -> SidesVerdict:
    """Count the runs of two sides, and compare them, if they have no run in common."""
    row = count_both(reader, runs, sides, values)
    counts = row["before"], row["after"]
    if row["shared"] or not all(counts):
        return leave_open(counts, row["shared"])
    return compare_sides(reader, project, _make_sides(runs, sides, values, counts, names))


def _make_sides(
    runs: Sql,
    sides: tuple[Sql, Sql],
    values: Mapping[str, Any],
    counts: tuple[int, int],
    names: tuple[str, str] = ("", ""),
) -> Sides:
    before, after = sides
    either = Sql("{runs} AND (({before}) OR ({after}))").fill(runs=runs, before=before, after=after)
    return Sides(
        runs=either,
        is_before=Sql("({before})").fill(before=before),
        values=values,
        counts=counts,
        names=names,
    )


def _choose_strata(reader: Reader, sides: Sides) -> tuple[str, list[str]]:
    """Choose the largest tag that both sides have, and its values that both have often enough."""
    tags: defaultdict[str, list[Row]] = defaultdict(list)
    for row in count_tag_values(reader, sides):
        name, is_tag, _ = row["token"].partition("=")
        if is_tag and not name.startswith(RESPONSE):
            tags[name].append(row)
    several = {name: rows for name, rows in tags.items() if len(rows) > 1}
    if not several:
        return "", []

    def size(name: str) -> tuple[int, str]:
        rows = several[name]
        return min(sum(row[side] for row in rows) for side in ("before", "after")), name

    chosen = max(several, key=size)
    sizes = [row["before"] + row["after"] for row in several[chosen]]
    often = [
        row
        for row, size_of in zip(several[chosen], sizes, strict=True)
        if size_of >= _LEAST_STRATUM * sum(sizes)
        and min(row["before"], row["after"]) >= _LEAST_STRATUM_RUNS
    ]
    if len(often) < 2:  # noqa: PLR2004 - one is no other mix
        return "", []
    return chosen, [row["token"] for row in often[:_MOST_STRATA]]


@dataclass(frozen=True, slots=True)
class _JudgesOfSides:
    """The versions of judges that count, see `SidesVerdict`."""

    digests: Mapping[str, str]
    unlike: Sequence[FigureComparison]
    numbers: Numbers


def _make_figures(
    read: _SideRows,
) -> tuple[list[FigureSums], _JudgesOfSides]:
    """Make the figures of the rows, and return the judge version that counts for each judge."""
    reader, project = read.reader, read.project
    cells: defaultdict[str, dict[CellKey, list[Moments]]] = defaultdict(dict)
    had: tuple[set[str], set[str]] = (set(), set())
    for row in read.rows:
        had[not row["is_before"]].add(row["figure"])
        _add_cell(cells[row["figure"]], row)
    both = had[0] & had[1]
    figures = [
        make_figure(name, name, _pair_cells(cells[name]))
        for name in (ERRORS, MISSING, *AMOUNT_FIGURES)
        if name in both
    ]
    figures = _widen_margins(figures, reader.margins, read.request_ms)
    versions_of: list[defaultdict[str, set[str]]] = [defaultdict(set), defaultdict(set)]
    for own, names in zip(versions_of, map(sorted, had), strict=True):
        for figure in names:
            kind, _, rest = figure.partition(" ")
            if kind in (_PASSED, _SCORED):
                digest, _, judge = rest.partition(" ")
                own[judge].add(digest)
    numbers = version_numbers(
        reader, project, "judge", {item for own in versions_of for item in own}
    )
    digests, unlike = dict[str, str](), list[FigureComparison]()
    for judge, chosen in sorted(choose_versions(versions_of, numbers).items())[:_MOST_JUDGES]:
        for kind in (_PASSED, _SCORED):
            digest = next(iter(chosen))
            key = f"{kind} {digest} {judge}"
            if len(chosen) == 1 and key in both and judge not in digests:
                digests[judge] = digest
                figures.append(make_figure(judge, kind, _pair_cells(cells[key])))
        # Labels of reviewers have no version, and only some runs are labelled: that needs no
        # remark.
        if judge not in digests and any(digest for side in versions_of for digest in side[judge]):
            caveat = _explain_unlike(*(sorted(side[judge]) for side in versions_of))
            unlike.append(leave_out(judge, Unit.SCORE, caveat, method=Method.SEQUENTIAL))
    scored = [figure.name for figure in figures if figure.kind == "score"]
    lower = find_lower_judges(reader, project, scored)
    figures = [
        replace(figure, lower_is_better=True) if figure.name in lower else figure
        for figure in figures
    ]
    return figures, _JudgesOfSides(digests, unlike, numbers)


def _widen_margins(
    figures: Sequence[FigureSums], margins: Margins, request_ms: float
) -> list[FigureSums]:
    """Raise the margins of latency and cost to the smallest differences that matter."""
    return [
        replace(
            figure,
            margin=margins.find_ratio(figure.name, _find_mean(figure), AMOUNT_MARGIN, request_ms),
        )
        if figure.kind == "amount"
        else figure
        for figure in figures
    ]


def _find_mean(figure: FigureSums) -> float:
    """Return the geometric mean of both sides: ms of a latency, $ of a cost."""
    sides = [side for pair in figure.cells.values() for side in pair]
    runs = math.fsum(side.runs for side in sides)
    return floats.exp(floats.add(side.total for side in sides) / runs)


def _add_cell(cells: dict[CellKey, list[Moments]], row: Row) -> None:
    """Add a row of `read_units` or `read_outcomes` to the cells of a figure."""
    cell = cells.setdefault((row["stratum"], row["hour"]), [Moments(), Moments()])
    cell[not row["is_before"]] = Moments(*(float(row[name]) for name in Moments._fields))


def _pair_cells(cells: Mapping[CellKey, Sequence[Moments]]) -> dict[CellKey, Pair]:
    return {key: (cell[0], cell[1]) for key, cell in cells.items()}


def _explain_unlike(before: Sequence[str], after: Sequence[str]) -> Caveat:
    """Explain why a judge is not compared, by the digests of its versions on both sides."""
    for side, digests in enumerate((before, after)):
        if not digests:
            return Caveat(CaveatKind.NOT_SCORED, side)
    return Caveat(CaveatKind.OTHER_VERSION, versions=(before, after))


def make_figure(name: str, kind: str, cells: Mapping[CellKey, Pair]) -> FigureSums:
    """Make a figure of its sums on both sides."""
    return FigureSums(
        name=name,
        unit=_FIGURE_UNITS[kind],
        cells=cells,
        lower_is_better=kind not in (_PASSED, _SCORED),
        counted=COUNTED.get(name, SCORED_RUNS),
    )


_FIGURE_UNITS: Final = {
    _PASSED: Unit.PASSES,
    _SCORED: Unit.SCORE,
    ERRORS: Unit.ERROR_SHARE,
    MISSING: Unit.MISSING_SHARE,
    **AMOUNT_UNITS,
}


def _find_all_last_hours(read: _SideRows) -> dict[str, tuple[int | None, int | None]]:
    return {outcome.figure: _find_last_hours(rows, read.sides) for outcome, rows in read.outcomes}


def _find_last_hours(rows: Sequence[Row], sides: Sides) -> tuple[int | None, int | None]:
    """Return the last hour of each side whose ground truth is compared. None for all hours.

    Which ground truth arrives first may depend on the outcome. Within an hour, it arrives alike for
    both sides. Otherwise the side that still collects runs is compared up to the last hour for
    which it has nearly as much ground truth as the other side.
    """
    if sides.is_hourly or sides.growing is None:
        return None, None
    own, others = (
        [row for row in rows if row["is_before"] == (side == 0)]
        for side in (sides.growing, 1 - sides.growing)
    )
    last = _find_last_covered(own, _LEAST_COVERAGE * _find_coverage(others))
    return (last, None) if sides.growing == 0 else (None, last)


def _make_outcome_figure(
    outcome: Outcome, rows: Sequence[Row], sides: Sides
) -> FigureSums | FigureComparison | None:
    """Make the figure of a prediction target, or explain why it is not compared.

    None if neither side has ground truth.
    """
    shares = [_find_coverage([row for row in rows if row["is_before"] == it]) for it in (1, 0)]
    if not any(shares):
        return None
    unit = Unit.ACCURACY
    if outcome.kind == "score":
        unit = Unit.MEAN_ERROR if outcome.lower_is_better else Unit.SCORE
    last_hours = _find_last_hours(rows, sides)
    kept = [
        row
        for row in rows
        if (last := last_hours[not row["is_before"]]) is None or row["hour"] <= last
    ]
    cells: dict[CellKey, list[Moments]] = {}
    for row in kept:
        _add_cell(cells, row)
    pairs = _pair_cells(cells)
    if not all(any(pair[side].runs for pair in pairs.values()) for side in (0, 1)):
        caveat = Caveat(CaveatKind.LITTLE_TRUTH, numbers=(shares[0], shares[1]))
        names = sides.names
        return leave_out(outcome.figure, unit, caveat, method=Method.SEQUENTIAL, names=names)
    return FigureSums(
        name=outcome.figure,
        unit=unit,
        cells=pairs,
        lower_is_better=outcome.lower_is_better,
        counted=RUNS_WITH_TRUTH,
    )


def _find_coverage(rows: Sequence[Row]) -> float:
    """Return the share of predictions with ground truth; 0 without predictions."""
    known: int = sum(row["runs"] for row in rows)
    missing: int = sum(row["missing"] for row in rows)
    return known / max(known + missing, 1)


def _find_last_covered(rows: Sequence[Row], least: float) -> int:
    """Return the last hour up to which at least this share of predictions has ground truth."""
    known = runs = last = 0
    for row in sorted(rows, key=lambda row: row["hour"]):
        known += row["runs"]
        runs += row["runs"] + row["missing"]
        if known >= least * runs:
            last = row["hour"]
    return last


def read_judged(reader: Reader, project: str, where: str) -> tuple[list[Row], list[Row], str]:
    """Read the newest runs of a filter, their scores, and the filter of just these runs."""
    condition, _ = compile_where(reader, project, where, is_bounded=True)
    rows, scored_runs = read_scored_runs(
        reader, project, condition, Window(0, _FOR_EVER_NS), JUDGED_RUNS
    )
    if len(rows) == JUDGED_RUNS:
        where = f"{where} and start >= {quoted(to_rfc3339(rows[-1]['start_ns']))}"
    return rows, scored_runs, where
