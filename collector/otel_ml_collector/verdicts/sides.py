"""Compares two sets of recorded runs: the one function behind every comparison in production.

A release, two versions and two filters are compared alike: by error share, missing outputs, judges,
latency, tokens and cost. Releases are also compared by ground truth. Only what is compared differs,
see `Sides`.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from otel_ml.statistics import floats
from otel_ml.statistics.release import FigureUnits, FigureVerdict, Unit, judge_release
from otel_ml.statistics.verdict import (
    AMOUNT_MARGIN,
    LEAST_CLUSTERS,
    WORST_FIRST,
    AmountVerdict,
    Word,
    write_versions,
)
from otel_ml_collector.filter.sql import compile_tests, compile_where
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.margins import Margins
from otel_ml_collector.measures.measures import MILLIONTHS
from otel_ml_collector.measures.statistics import read_scored_runs
from otel_ml_collector.measures.units import (
    BOUNDS,
    VERSION_LABEL,
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
from otel_ml_collector.store.record_kinds import find_counted, find_record_kinds
from otel_ml_collector.store.scores import find_lower_judges
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.versions import Numbers, version_numbers
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.verdicts.verdicts import (
    AMOUNT_FIGURES,
    ERRORS,
    MISSING,
    FigureChange,
    RecordedChange,
    choose_versions,
    leave_out,
    make_figure_change,
    make_recorded_change,
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
_MOST_JUDGES: Final = 20
_PASSED: Final = "passed"
_SCORED: Final = "scored"
# Smallest share of predictions with ground truth on both sides. Which ground truth arrives first
# may depend on the outcome, so a smaller share is not compared.
_LEAST_COVERAGE: Final = 0.9
# The range of amounts extends beyond the range of the baseline by a factor of 1.5.
_ROOM: Final = math.log(1.5)


@dataclass(frozen=True, slots=True)
class SidesVerdict:
    """The verdict on two sets of recorded runs.

    Attributes:
        word: The verdict, which the worst figure decides. More latency, tokens or cost alone can
            make it `worse`, but less of them never makes it `better`.
        first: The figure that decides; None if both sides have no figure in common.
        figures: The figures, worst first.
        digests: By judge, the digest of the version that counts.
        unlike: Figures that are not compared, each with the reason. For example, no version of the
            judge scored both sets of runs.
        targets: Prediction targets, by the name of their figure.
        numbers: The version numbers of the judges.
        tag: The tag whose values have the same weight on both sides, so that a different mix of
            clients, for example, does not count as a difference. Empty for none.
        share: Share of the sessions and traces that was read, from 0 to 1. It is below 1 if there
            are too many; then a sample is compared.
        counts: How many runs the baseline and the candidate have.
        shared: Number of runs on both sides. If there are any, the sides are not compared.
    """

    word: Word
    first: FigureVerdict | None
    figures: Sequence[FigureVerdict]
    digests: Mapping[str, str]
    unlike: Mapping[str, str]
    numbers: Numbers
    tag: str
    share: float
    counts: tuple[int, int]
    shared: int = 0
    targets: Mapping[str, str] = field(default_factory=dict)

    def describe(self, *, is_release: bool = False) -> list[FigureChange]:
        """Describe the figures, worst first. `is_release` means that more runs will follow."""
        changes = [
            make_figure_change(
                figure,
                (digest := self.digests.get(figure.name, "")),
                self.numbers.get((figure.name, digest, "")),
                is_release=is_release,
            )
            for figure in self.figures
        ]
        changes += [leave_out(judge, reason) for judge, reason in self.unlike.items()]
        for change in changes:
            change.target = self.targets.get(change.name, "")
        return changes

    @property
    def change(self) -> RecordedChange:
        """The verdict on chosen runs."""
        sentence = "no recorded runs of both"
        if self.first is not None:
            sentence = f"{self.first.name}: {self.first.comparison}"
        return make_recorded_change(self.word, sentence, self.describe())


def leave_open(counts: tuple[int, int], shared: int = 0) -> SidesVerdict:
    """Make the verdict on two sides that are not compared, see `SidesVerdict`."""
    return SidesVerdict("not enough data", None, [], {}, {}, {}, "", 1.0, counts, shared)


def compare_sides(reader: Reader, project: str, sides: Sides) -> SidesVerdict:
    """Compare two sets of recorded runs.

    Runs of the same session are not independent, so intervals are computed from sessions instead of
    runs. A trace without a session counts like a session. If both sets have a tag such as `client`,
    each value of the tag gets the same weight in both sets, so that a different mix of clients does
    not look like a change. If there are several such tags, the one that most runs have is used. For
    each judge, the newest version that scored both sets counts.
    """
    return SideRows.read(reader, project, sides).compare(sides.windows)


@dataclass(frozen=True, slots=True)
class SideRows:
    """Data to compare two sets of runs, a baseline and a candidate, for several time ranges.

    The data is read from the store once. The runs of the candidate are split into time windows, so
    you can compare the baseline with the first window, with the first two, and so on. A session
    that lasts for several windows counts completely in its first window.

    Attributes:
        rows: The sum of each figure, such as latency, over the runs of each session. The columns
            are those of `read_units`.
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

    @classmethod
    def read(cls, reader: Reader, project: str, sides: Sides) -> "SideRows":
        """Read two sides, with all of their windows."""
        tag, strata = _choose_strata(reader, sides)
        every = _find_sampling(sides)
        rows = read_units(reader, project, sides, strata, every)
        outcomes = [
            (outcome, read_outcomes(reader, project, sides, outcome, strata=strata, every=every))
            for outcome in sides.outcomes
        ]
        if tag and not _has_enough_units(rows, strata):
            tag, rows = "", _join_strata(rows)
            outcomes = [(outcome, _join_strata(own)) for outcome, own in outcomes]
        request_ms = _read_request_ms(reader, sides)
        return cls(reader, project, sides, rows, tag, 1 / max(every), request_ms, outcomes)

    def compare(self, windows: int) -> SidesVerdict:
        """Compare the baseline with the candidate's runs of its first windows."""

        def choose(rows: Sequence[Row]) -> list[Row]:
            return [row for row in rows if row["is_before"] or row["place"] < windows]

        return _judge_rows(
            replace(
                self,
                rows=choose(self.rows),
                sides=replace(self.sides, windows=windows),
                outcomes=[(outcome, choose(rows)) for outcome, rows in self.outcomes],
            )
        )


def _has_enough_units(rows: Sequence[Row], strata: Sequence[str]) -> bool:
    """Return whether the baseline has enough units with each value of the tag.

    The baseline alone decides, because it does not change while runs of the candidate arrive.
    """
    units = Counter[str]()
    for row in rows:
        if row["is_before"] and row["figure"] == ERRORS:
            units[row["stratum"]] += row["units"]
    return all(units[token] >= LEAST_CLUSTERS for token in strata)


def _join_strata(rows: Sequence[Row]) -> list[Row]:
    return [{**row, "stratum": ""} for row in rows]


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


def _judge_rows(read: SideRows) -> SidesVerdict:
    """Compare the sums of two sides, see `read_units`."""
    sides = read.sides
    figures, judges = _make_figures(read)
    unlike = {**judges.unlike}
    for outcome, rows in read.outcomes:
        figure, reason = _make_outcome_figure(outcome, rows, sides)
        figures += [figure] if figure is not None else []
        if reason:
            unlike[outcome.figure] = reason
    verdicts = sorted(judge_release(figures, *sides.names), key=_order)
    deciding = _choose_deciding(verdicts)
    first = next(iter(deciding), None)
    if first is not None and first.word == "not enough data":
        watched = [item for item in deciding if item.word == "not enough data"]
        # Figures with a direction come first, then the one that needs the most runs.
        first = max(watched, key=lambda entry: (entry.has_direction, entry.needed or 0))
    return SidesVerdict(
        word="not enough data" if first is None else first.word,
        first=first,
        figures=verdicts,
        digests=judges.digests,
        unlike=unlike,
        numbers=judges.numbers,
        tag=read.tag,
        share=read.share,
        counts=sides.counts,
        targets={outcome.figure: outcome.target for outcome, _ in read.outcomes},
    )


def _choose_deciding(verdicts: Sequence[FigureVerdict]) -> Sequence[FigureVerdict]:
    """Choose the figures that decide, the worst first.

    Any figure can make a side worse. Else judges decide. Errors and missing outputs that did not
    change do not count then, and latency, tokens and cost never make a side better.
    """
    worse = [figure for figure in verdicts if figure.word == "worse"]
    rated = [figure for figure in verdicts if not isinstance(figure.verdict, AmountVerdict)]
    judges = [
        figure
        for figure in rated
        if figure.name not in (ERRORS, MISSING) or figure.word == "not enough data"
    ]
    has_judge = any(figure.name not in (ERRORS, MISSING) for figure in rated)
    return worse or (judges if has_judge else rated) or verdicts


def _order(verdict: FigureVerdict) -> tuple[int, bool, float, str]:
    """Order figures by word; quality and errors come before latency, tokens and cost."""
    is_amount = isinstance(verdict.verdict, AmountVerdict)
    return WORST_FIRST.index(verdict.word), is_amount, -verdict.stake, verdict.name


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
            read_outcomes(
                reader, project, sides, outcome, strata=tokens, every=every, is_split=True
            ),
        )
        for outcome in sides.outcomes
    ]
    request_ms = _read_request_ms(reader, sides)
    verdicts = {}
    for token in tokens:
        rows = rows_of[token]
        of_token = replace(sides, counts=_count_runs(rows, every))
        read = SideRows(
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
        verdicts[token] = (
            read.compare(sides.windows) if all(of_token.counts) else leave_open(of_token.counts)
        )
    return verdicts


def _count_runs(rows: Sequence[Row], every: tuple[int, int]) -> tuple[int, int]:
    """Count the runs of both sides. Each run has failed or not, so that figure counts all."""
    errors = [row for row in rows if row["figure"] == ERRORS]
    before, after = (
        every[place] * sum(row["n"] * row["units"] for row in errors if row["is_before"] == is_it)
        for place, is_it in enumerate((True, False))
    )
    return before, after


def compare_versions(
    reader: Reader, project: str, model: str, baseline: int, candidate: int
) -> SidesVerdict:
    """Compare all recorded runs of two versions of a model, for a single comparison."""
    labels: dict[int, list[str]] = {baseline: [], candidate: []}
    for (_, digest, structure), number in version_numbers(
        reader, project, "model", [model]
    ).items():
        if number in labels:
            labels[number].append(f"{digest}:{structure}")
    runs = Sql("{counted} AND model = {model:String}").fill(
        counted=find_counted(reader, project, BOUNDS).sql
    )
    sides = (
        Sql("{label} IN {before:Array(String)}").fill(label=VERSION_LABEL),
        Sql("{label} IN {after:Array(String)}").fill(label=VERSION_LABEL),
    )
    values = {
        "project": project,
        "start": 0,
        "end": _FOR_EVER_NS,
        "model": model,
        "before": labels[baseline],
        "after": labels[candidate],
    }
    names = f"v{baseline}", f"v{candidate}"
    return _compare_once(reader, project, runs, sides=sides, values=values, names=names)


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
    every = sum(row["before"] for row in several[chosen])
    often = [row for row in several[chosen] if row["before"] >= _LEAST_STRATUM * every]
    if len(often) < 2:  # noqa: PLR2004 - one is no other mix
        return "", []
    return chosen, [row["token"] for row in often[:_MOST_STRATA]]


@dataclass(frozen=True, slots=True)
class _JudgesOfSides:
    """The versions of judges that count, see `SidesVerdict`."""

    digests: Mapping[str, str]
    unlike: Mapping[str, str]
    numbers: Numbers


def _make_figures(
    read: SideRows,
) -> tuple[list[FigureUnits], _JudgesOfSides]:
    """Make the figures of the rows, and return the judge version that counts for each judge."""
    reader, project = read.reader, read.project
    before: defaultdict[str, Counter[Unit]] = defaultdict(Counter)
    after: defaultdict[str, list[Counter[Unit]]] = defaultdict(
        lambda: [Counter() for _ in range(read.sides.windows)]
    )
    for row in read.rows:
        unit = Unit(row["stratum"], row["total"] / MILLIONTHS, row["n"], row["first"] / MILLIONTHS)
        side = before[row["figure"]] if row["is_before"] else after[row["figure"]][row["place"]]
        side[unit] += row["units"]
    figures = [
        make_figure(name, name, before[name], after[name])
        for name in (ERRORS, MISSING, *AMOUNT_FIGURES)
        if name in before and name in after
    ]
    figures = _widen_margins(figures, reader.margins, read.request_ms)
    versions_of: list[defaultdict[str, set[str]]] = [defaultdict(set), defaultdict(set)]
    for own, names in zip(versions_of, ([*before], [*after]), strict=True):
        for figure in names:
            kind, _, rest = figure.partition(" ")
            if kind in (_PASSED, _SCORED):
                digest, _, judge = rest.partition(" ")
                own[judge].add(digest)
    numbers = version_numbers(
        reader, project, "judge", {item for own in versions_of for item in own}
    )
    digests, unlike = dict[str, str](), dict[str, str]()
    for judge, chosen in sorted(choose_versions(versions_of, numbers).items())[:_MOST_JUDGES]:
        for kind in (_PASSED, _SCORED):
            digest = next(iter(chosen))
            key = f"{kind} {digest} {judge}"
            if len(chosen) == 1 and key in before and key in after and judge not in digests:
                digests[judge] = digest
                figures.append(make_figure(judge, kind, before[key], after[key]))
        # Labels of reviewers have no version, and only some runs are labelled: that needs no
        # remark.
        if judge not in digests and any(digest for side in versions_of for digest in side[judge]):
            unlike[judge] = _explain_unlike(*(side[judge] for side in versions_of))
    scored = [figure.name for figure in figures if figure.kind == "score"]
    lower = find_lower_judges(reader, project, scored)
    figures = [
        replace(figure, lower_is_better=True) if figure.name in lower else figure
        for figure in figures
    ]
    return figures, _JudgesOfSides(digests, unlike, numbers)


def _widen_margins(
    figures: Sequence[FigureUnits], margins: Margins, request_ms: float
) -> list[FigureUnits]:
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


def _find_mean(figure: FigureUnits) -> float:
    """Return the geometric mean of the baseline: ms of a latency, $ of a cost."""
    units = figure.baseline.items()
    runs = sum(unit.n * count for unit, count in units)
    return floats.exp(floats.add(unit.total * count for unit, count in units) / runs)


def _explain_unlike(before: Collection[str], after: Collection[str]) -> str:
    """Explain why a judge is not compared, by the digests of its versions on both sides."""
    for side, digests in (("baseline", before), ("candidate", after)):
        if not digests:
            return f"the judge has not scored the {side} yet"
    return write_versions(before, after)


def make_figure(
    name: str, kind: str, before: Counter[Unit], after: Sequence[Counter[Unit]]
) -> FigureUnits:
    """Make a figure. For scores and amounts, the baseline gives the range."""
    if kind in (ERRORS, MISSING, _PASSED):
        return FigureUnits(
            name=name,
            kind="rate",
            baseline=before,
            windows=after,
            lower_is_better=kind != _PASSED,
            passing={ERRORS: "fail", MISSING: "have no output"}.get(kind, "pass"),
        )
    firsts = sorted(unit.first for unit in before)
    if kind == _SCORED:
        low, high = firsts[0], firsts[-1]
        room = max((high - low) / 4, abs(high) / 4, 1 / MILLIONTHS)
    else:
        low, high = firsts[len(firsts) // 100], firsts[-1 - len(firsts) // 100]
        room = _ROOM
    return FigureUnits(
        name=name,
        kind="score" if kind == _SCORED else "amount",
        baseline=before,
        windows=after,
        low=low - room,
        high=high + room,
        lower_is_better=kind != _SCORED,
    )


def _make_outcome_figure(
    outcome: Outcome, rows: Sequence[Row], sides: Sides
) -> tuple[FigureUnits | None, str]:
    """Make the figure of a prediction target, or explain why it is not compared.

    The figure has the runs of the candidate up to the last window for which enough ground truth has
    arrived. The test for "worse" also counts predictions whose ground truth is missing: those of
    the candidate as right, those of the baseline as wrong. So a version is not called worse only
    because some outcomes are known earlier than others.
    """
    before = [row for row in rows if row["is_before"]]
    after: list[list[Row]] = [[] for _ in range(sides.windows)]
    for row in rows:
        if not row["is_before"]:
            after[row["place"]].append(row)
    shares = _find_coverage(before), _find_coverage([row for place in after for row in place])
    if not any(shares):
        return None, ""
    covered = _count_covered(after)
    if shares[0] < _LEAST_COVERAGE or not covered:
        return None, _explain_coverage(shares, sides.names)
    known = [row["first_total"] / row["first_n"] / MILLIONTHS for row in before if row["first_n"]]
    low, high = 0.0, 1.0
    if outcome.kind == "score":
        room = max((max(known) - min(known)) / 4, abs(max(known)) / 4, 1 / MILLIONTHS)
        low, high = min(known) - room, max(known) + room
    best, worst = (low, high) if outcome.lower_is_better else (high, low)
    windows = [
        _make_outcome_units(place, best) if number < covered else Counter[Unit]()
        for number, place in enumerate(after)
    ]
    figure = FigureUnits(
        name=outcome.figure,
        kind=outcome.kind,
        baseline=_make_outcome_units(before, worst),
        windows=windows,
        low=low,
        high=high,
        lower_is_better=outcome.lower_is_better,
        passing="are right",
    )
    return figure, ""


def _make_outcome_units(rows: Sequence[Row], assumed: float) -> Counter[Unit]:
    """Make units of rows. Predictions without ground truth have an assumed value in `first`."""
    units = Counter[Unit]()
    for row in rows:
        first = row["first_total"] / MILLIONTHS + assumed * row["first_missing"]
        first /= row["first_n"] + row["first_missing"]
        unit = Unit(row["stratum"], row["total"] / MILLIONTHS, row["n"], first)
        units[unit] += row["units"]
    return units


def _find_coverage(rows: Sequence[Row]) -> float:
    """Return the share of predictions with ground truth; 0 without predictions."""
    known: int = sum(row["n"] * row["units"] for row in rows)
    missing: int = sum(row["missing"] * row["units"] for row in rows)
    return known / max(known + missing, 1)


def _count_covered(windows: Sequence[Sequence[Row]]) -> int:
    """Count the first windows that together have enough ground truth, as many as possible."""
    known = runs = covered = 0
    for number, rows in enumerate(windows, 1):
        known += sum(row["n"] * row["units"] for row in rows)
        runs += sum((row["n"] + row["missing"]) * row["units"] for row in rows)
        if runs and known >= _LEAST_COVERAGE * runs:
            covered = number
    return covered


def _explain_coverage(shares: tuple[float, float], names: tuple[str, str]) -> str:
    """Explain that ground truth is missing, by its share on both sides."""
    before, now = (
        f"{100 * share:.0f} % of runs with {name}" if name else f"{100 * share:.0f} %"
        for share, name in zip(shares, names, strict=True)
    )
    now = now.replace(" of runs", "")
    return f"ground truth for {before} and {now}; a comparison needs {100 * _LEAST_COVERAGE:.0f} %"


def read_judged(reader: Reader, project: str, where: str) -> tuple[list[Row], list[Row], str]:
    """Read the newest runs of a filter, their scores, and the filter of just these runs."""
    condition, _ = compile_where(reader, project, where, is_bounded=True)
    rows, scored_runs = read_scored_runs(
        reader, project, condition, Window(0, _FOR_EVER_NS), JUDGED_RUNS
    )
    if len(rows) == JUDGED_RUNS:
        where = f"{where} and start >= {quoted(to_rfc3339(rows[-1]['start_ns']))}"
    return rows, scored_runs, where
