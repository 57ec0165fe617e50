"""Judges a new model version while its runs arrive: is it better or worse than another?

Versions are compared by their error share, missing outputs, the pass rate or mean score of each
judge, ground truth, latency, tokens and cost. Sessions are the independent observations; a trace
without a session counts as one.

Each measure has one confidence sequence of the difference (`otel_ml.statistics.sequence`): an
interval that holds at all looks together. It decides all four words, and it is the interval that is
shown. You may look as often as you like: of a hundred comparisons of versions without a difference,
at most one is ever called better or worse. If you swap the two versions, the result is mirrored.

The versions are compared within strata, such as clients, that both have. Each stratum has the
weight that it has in the traffic of both, so a different mix of clients does not look like a change
of the version.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import NormalDist
from typing import Final, NamedTuple

from otel_ml.statistics import floats
from otel_ml.statistics.comparison import (
    AMOUNT_MARGIN,
    LEAST_CLUSTERS,
    LEAST_RUNS,
    RATE_MARGIN,
    Basis,
    Caveat,
    CaveatKind,
    Direction,
    FigureComparison,
    FigureKind,
    FigureSide,
    Method,
    Unit,
    Word,
    decide,
    make_unbounded,
    score_margin,
)
from otel_ml.statistics.intervals import Estimate, exponential, normal_quantile
from otel_ml.statistics.sequence import (
    CellKey,
    ComparedMeans,
    Moments,
    Pair,
    StratumSums,
    compare_sums,
)

# With fewer runs on a side there is no interval, only counts.
LEAST_INTERVAL: Final = 30
# Largest probability that two versions without a difference are ever called better or worse.
FALSE_WORDS: Final = 0.01
# Probability that is shared over the measures. The rest is kept for what is only approximate: the
# variances are estimated, and the weights of strata change while runs arrive.
SPENT: Final = FALSE_WORDS / 2
# Typical differences. Intervals are narrowest when such a difference can be seen: 8 points of a
# rate, and 20 % of an amount.
_TYPICAL_DIFFERENCES: Final[Mapping[str, float]] = {"rate": 0.08, "amount": math.log(1.2)}
_POWER: Final = normal_quantile(0.8)
_NOTHING: Final = Moments()
# Largest confidence level below 1.
_SURE: Final = 1 - 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureSums:
    """The data of one measure, such as error share or latency, of two versions.

    Attributes:
        name: Name of the measure, such as the name of a judge.
        unit: Unit of the values. Values of a rate are 0 or 1. Values of an amount, such as a
            latency, are logarithms.
        cells: The sums over the sessions of both versions, by stratum (such as a client) and hour.
        lower_is_better: Whether lower values are better.
        margin: Smallest difference that matters. None for the default of the unit.
        counted: Which runs have a value, in words, such as `scored runs`.
    """

    name: str
    unit: Unit
    cells: Mapping[CellKey, Pair]
    lower_is_better: bool = False
    margin: float | None = None
    counted: str = "runs"

    @property
    def kind(self) -> FigureKind:
        """Whether the figure is a rate, a score or an amount."""
        return self.unit.kind


def judge_release(
    figures: Sequence[FigureSums],
    baseline: str = "",
    candidate: str = "",
    *,
    is_hourly: bool = False,
    growing: int | None = 1,
    runs: tuple[int, int] | None = None,
    sharing: int | None = None,
) -> list[FigureComparison]:
    """Decide for each measure, such as error share or latency, whether a version is worse.

    A verdict needs 100 runs of each version. With 30 to 99 runs, intervals are returned without a
    verdict. If a version has fewer than 30 runs, a rate is reported as counts, and other measures
    are left out.

    Args:
        figures: The data of each measure.
        baseline: Short name of the baseline, such as `v1`.
        candidate: Short name of the new version, such as `v2`.
        is_hourly: Whether runs are only compared with runs of the same hour.
        growing: Which version still collects runs: 0 for the baseline, 1 for the candidate. None if
            both do.
        runs: Number of compared runs of each version. If fewer have a value, the
            comparison says which.
        sharing: How many measures share the error of 1 %. Default: those of `figures`.

    Returns:
        The comparisons, in the order of `figures`. A measure is left out if one of the versions
        has no values of it. It is also left out if no stratum has sessions of both versions.
    """
    compared = [
        item
        for figure in figures
        if (item := _Compared.of(figure, is_hourly=is_hourly, runs=runs)) is not None
    ]
    error = _share_error(len(compared) if sharing is None else sharing)
    judged = (item.judge(error, growing, (baseline, candidate)) for item in compared)
    return [comparison for comparison in judged if comparison is not None]


def count_compared(figures: Sequence[FigureSums], *, is_hourly: bool) -> int:
    """Count the measures that both versions have values of."""
    compared = (_Compared.of(figure, is_hourly=is_hourly, runs=None) for figure in figures)
    return sum(item is not None for item in compared)


def _share_error(measures: int) -> float:
    """Return the probability that the interval of one of several measures is ever wrong."""
    return SPENT / max(measures, 1)


def find_onset(figure: FigureSums, *, is_hourly: bool, sharing: int) -> int | None:
    """Return the hour from which a measure was worse, as `judge_release` finds it at each hour.

    None if it is not worse now. For the arguments, see `judge_release`.
    """
    compared = _Compared.of(figure, is_hourly=is_hourly, runs=None)
    return None if compared is None else compared.find_onset(_share_error(sharing))


@dataclass(slots=True)
class _Sums:
    """The sums of one measure up to an hour, to which the next hours can be added."""

    is_hourly: bool
    hourly: dict[str, StratumSums]
    every: dict[str, Pair]

    @classmethod
    def start(cls, *, is_hourly: bool) -> "_Sums":
        return cls(is_hourly, {}, {})

    def add(self, stratum: str, pair: Pair) -> None:
        if self.is_hourly:
            self.hourly.setdefault(stratum, StratumSums()).add(pair)
            return
        known = self.every.get(stratum, (_NOTHING, _NOTHING))
        self.every[stratum] = known[0].add(pair[0]), known[1].add(pair[1])

    def list_strata(self) -> list[StratumSums]:
        if self.is_hourly:
            return [*self.hourly.values()]
        strata = []
        for pair in self.every.values():
            sums = StratumSums()
            sums.add(pair)
            strata.append(sums)
        return strata


@dataclass(frozen=True, slots=True)
class _Compared:
    """One measure, such as error share, of two versions that both have values of it."""

    figure: FigureSums
    sums: _Sums
    is_hourly: bool
    runs: tuple[int, int] | None

    @classmethod
    def of(
        cls, figure: FigureSums, *, is_hourly: bool, runs: tuple[int, int] | None
    ) -> "_Compared | None":
        sums = _Sums.start(is_hourly=is_hourly)
        for (stratum, _), pair in sorted(figure.cells.items()):
            sums.add(stratum, pair)
        if not any(item.weight for item in sums.list_strata()):
            return None
        return cls(figure, sums, is_hourly, runs)

    def compare(self, strata: Iterable[StratumSums], error: float) -> ComparedMeans | None:
        figure = self.figure
        return compare_sums(
            strata,
            is_rate=figure.kind == "rate",
            error=error,
            expected=_TYPICAL_DIFFERENCES.get(figure.kind),
        )

    def decide(self, comparison: ComparedMeans) -> tuple[Word, list[Caveat]]:
        """Return the word, and why there is none, as far as it is not the interval's width."""
        caveats = _too_few(comparison)
        if caveats:
            return Word.NOT_ENOUGH_DATA, caveats
        margin = self.margin(comparison)
        change = comparison.difference
        return decide(change, margin, lower_is_better=self.figure.lower_is_better), []

    def judge(
        self, error: float, growing: int | None, names: tuple[str, str]
    ) -> FigureComparison | None:
        """Compare this measure.

        Args:
            error: Probability that the interval ever misses the true difference.
            growing: Which version still collects runs, see `judge_release`.
            names: Short names of the two versions.

        Returns:
            The comparison. If there are too few runs for an interval, that of a rate has no
            difference. For other measures, None is returned.
        """
        figure = self.figure
        means = self.compare(self.sums.list_strata(), error)
        if means is None or min(means.baseline.n, means.candidate.n) < LEAST_INTERVAL:
            return self._count(growing, names) if figure.kind == "rate" else None
        word, caveats = self.decide(means)
        plan = _plan(means, self.margin(means), growing)
        sides, difference = (means.baseline, means.candidate), means.difference
        has_all = self.runs == (sides[0].n, sides[1].n)
        margin, smallest = self.margin(means), plan.smallest
        if figure.kind == "amount":
            before, now = (make_unbounded(floats.exp(side.value), side) for side in sides)
            sides, difference = (before, now), exponential(difference)
            margin = AMOUNT_MARGIN if figure.margin is None else figure.margin
            smallest = None if smallest is None else floats.exp(smallest) - 1
        return self._make(
            sides,
            names,
            difference=difference,
            margin=margin,
            word=word,
            basis=Basis(
                method=Method.SEQUENTIAL,
                confidence=min(2 * NormalDist().cdf(means.width or math.inf) - 1, _SURE),
                counted="runs" if has_all else figure.counted,
                cluster=None,
                waits_for=plan.side,
                needed=plan.needed,
                smallest=smallest,
                caveats=caveats,
            ),
        )

    def _make(
        self,
        sides: tuple[Estimate, Estimate],
        names: tuple[str, str],
        *,
        difference: Estimate | None,
        margin: float,
        word: Word,
        basis: Basis,
    ) -> FigureComparison:
        figure = self.figure
        return FigureComparison(
            subject=figure.name,
            unit=figure.unit,
            direction=Direction.of(lower_is_better=figure.lower_is_better),
            baseline=FigureSide(names[0], sides[0]),
            candidate=FigureSide(names[1], sides[1]),
            difference=difference,
            margin=margin,
            word=word,
            basis=basis,
        )

    def find_onset(self, error: float) -> int | None:
        """Return the hour from which the measure was worse."""
        sums = _Sums.start(is_hourly=self.is_hourly)
        cells = sorted(self.figure.cells.items(), key=lambda cell: (cell[0][1], cell[0][0]))
        since = None
        for hour, of_hour in groupby(cells, key=lambda cell: cell[0][1]):
            for (stratum, _), pair in of_hour:
                sums.add(stratum, pair)
            comparison = self.compare(sums.list_strata(), error)
            is_worse = comparison is not None and self.decide(comparison)[0] == Word.WORSE
            since = (hour if since is None else since) if is_worse else None
        return since

    def _count(self, growing: int | None, names: tuple[str, str]) -> FigureComparison:
        """Return a rate of few runs, without an interval and without a verdict."""
        figure = self.figure
        (had, of), (has, runs) = (
            (
                round(math.fsum(pair[place].total for pair in figure.cells.values())),
                round(math.fsum(pair[place].runs for pair in figure.cells.values())),
            )
            for place in range(2)
        )
        least = min(of, runs), LEAST_INTERVAL
        return self._make(
            (
                Estimate(had / of, -math.inf, math.inf, of, of),
                Estimate(has / runs, -math.inf, math.inf, runs, runs),
            ),
            names,
            difference=None,
            margin=RATE_MARGIN if figure.margin is None else figure.margin,
            word=Word.NOT_ENOUGH_DATA,
            basis=Basis(
                method=Method.SEQUENTIAL,
                confidence=1 - FALSE_WORDS,
                counted="runs",
                cluster=None,
                waits_for=0 if growing == 0 else 1,
                needed=None,
                smallest=None,
                caveats=[Caveat(CaveatKind.NO_INTERVAL, numbers=least)],
            ),
        )

    def margin(self, comparison: ComparedMeans) -> float:
        """Return the smallest difference that matters.

        For scores it is in their own range, for amounts it is a logarithm.
        """
        figure = self.figure
        match figure.kind:
            case "rate":
                return RATE_MARGIN if figure.margin is None else figure.margin
            case "amount":
                return math.log1p(AMOUNT_MARGIN if figure.margin is None else figure.margin)
        if figure.margin is not None:
            return figure.margin
        means = comparison.baseline.value, comparison.candidate.value
        return score_margin(comparison.deviation, *means)


class _Plan(NamedTuple):
    """How many runs suffice for a verdict, see `Basis`.

    Attributes:
        side: The version that needs them: 0 for the baseline, 1 for the candidate.
    """

    side: int
    needed: int | None
    smallest: float | None


def _plan(comparison: ComparedMeans, margin: float, growing: int | None) -> _Plan:
    """Return how many runs suffice to show a difference as large as the margin (80 % power).

    If there are as many already, the difference is close to the margin. Then as many are needed as
    tell it from the margin or from 0.
    """
    sides, change = (comparison.baseline, comparison.candidate), comparison.difference
    side = growing
    if side is None:
        side = min(range(2), key=lambda place: (sides[place].n, place == 0))
    runs = sides[side].n
    half = (change.high - change.low) / 2
    if not (comparison.width > 0 and math.isfinite(half) and margin > 0):
        return _Plan(side, None, None)
    power = 1 + _POWER / comparison.width
    fixed = 0.0 if growing is None else (sides[1 - side].high - sides[1 - side].low) / 2
    smallest = None if growing is None else fixed * power
    own = math.sqrt(max(half * half - fixed * fixed, 0.0))
    size = abs(change.value)
    undecided = size if size >= margin else max(margin - size, margin / 4)
    for target, factor in ((margin, power), (undecided, 1.0)):
        room = target * target - floats.square(fixed * factor)
        most = runs * floats.square(own * factor)
        if room <= 0 or not math.isfinite(most / room):
            continue
        needed = math.ceil(most / room)
        if needed > runs:
            return _Plan(side, needed, smallest)
    return _Plan(side, None, smallest)


def _too_few(comparison: ComparedMeans) -> list[Caveat]:
    """Return why there is no verdict: how many runs or sessions the smaller side has."""
    sides = comparison.baseline, comparison.candidate
    few = min(range(2), key=lambda side: sides[side].n)
    if sides[few].n < LEAST_RUNS:
        return [Caveat(CaveatKind.FEW_RUNS, few, (sides[few].n, LEAST_RUNS))]
    few = min(range(2), key=lambda side: sides[side].clusters)
    if sides[few].clusters < LEAST_CLUSTERS:
        return [Caveat(CaveatKind.FEW_SESSIONS, few, (sides[few].clusters, LEAST_CLUSTERS))]
    return []
