"""A verdict on a new version that is looked at while its runs arrive: was anything made worse?

What a version does is told by figures: its share of errors, the pass rate or the mean score of a
judge, latency. Of each there are sessions, or traces that stand alone, as units: of the baseline,
and window by window of the new version. *Worse* is said by bets against "not worse than the
baseline" (`otel_ml.statistics.betting`), however often one looks: of a hundred releases that change
nothing at most one is ever called worse. *Better* and *no different* are said by the interval of
the whole time, as `otel_ml.statistics.verdict` says them of two samples.

Both sides are compared in the same strata, such as the clients that both have, weighted as the
baseline has them: another mix of clients is not another version.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from otel_ml.statistics.betting import bets_up_to, log_stakes, mix
from otel_ml.statistics.intervals import (
    CONFIDENCE,
    ClusterSum,
    Estimate,
    blend,
    cluster_rate,
    detectable,
    difference,
    exponential,
    needed,
)
from otel_ml.statistics.verdict import (
    AMOUNT_MARGIN,
    LEAST_CLUSTERS,
    LEAST_RUNS,
    RATE_MARGIN,
    SCORE_MARGIN,
    AmountVerdict,
    JudgeVerdict,
    Word,
    decide,
    estimate_mean,
)

ReleaseWord = Literal["worse", "watching", "no different", "better"]
RELEASE_WORDS: Final[tuple[ReleaseWord, ...]] = ("worse", "watching", "no different", "better")

# How often a version that changed nothing may ever be called worse: half of it goes to the bound of
# the baseline, half to the bets.
FALSE_WORSE: Final = 0.01
_HALF: Final = FALSE_WORSE / 2
# Windows wait for each other until all strata are there, or they have so many units.
_MOST_WAITING: Final = 2_000
# A stratum of which the new version has so much less of its runs says nothing of it.
_LEAST_SHARE: Final = 0.1


class Unit(NamedTuple):
    """A session, or a trace that stands alone.

    Attributes:
        stratum: What it belongs to, such as its client.
        total: The sum of the values of its runs.
        n: How many these are.
        first: The mean of those of them that began in the window in which it began.
    """

    stratum: str
    total: float
    n: int
    first: float


# How many units there are that are alike.
Units: TypeAlias = Mapping[Unit, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureUnits:
    """One figure of a baseline and of a new version.

    Attributes:
        name: What it is called, such as the name of a judge.
        kind: Of a `rate` a run has 1 or 0, of a `score` a number, of an `amount` its logarithm.
        baseline: The units of the baseline.
        windows: Those of the new version that began in each window that is over, in order.
        low: No run has less; what has is counted as that.
        high: No run has more.
        lower_is_better: Whether less is better.
        passing: What the runs of a rate do: they `pass`, or such as `fail`.
        margin: A difference below it does not matter; None for that of its kind.
    """

    name: str
    kind: Literal["rate", "score", "amount"]
    baseline: Units
    windows: Sequence[Units]
    low: float = 0.0
    high: float = 1.0
    lower_is_better: bool = False
    passing: str = "pass"
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class FigureVerdict:
    """What is to be said of one figure of a new version.

    Attributes:
        verdict: The same as of two samples: estimates, margin, the words for them.
        word: That of the verdict may be inconclusive, where this one is watching.
        runs: How many runs of the new version have the figure.
        needed: About how many would show the margin with 80 % power; None where the baseline is too
            small for that.
        smallest: The smallest difference that can be shown with 80 % power beside this baseline,
            however many runs the new version has; None where that is not known.
        stake: What a stake of 1 against "not worse" became at most.
        since: The place of the window at which it was enough; None where it was not.
        worst: Of what is worse the stratum in which most was lost, where there are several: its
            name, and the means of the baseline and the new version there.
    """

    name: str
    word: ReleaseWord
    verdict: JudgeVerdict | AmountVerdict
    runs: int
    needed: int | None
    smallest: float | None
    stake: float
    since: int | None
    worst: tuple[str, float, float] | None = None

    @property
    def sentence(self) -> str:
        """What it says, in words."""
        if self.word != "watching":
            return self.verdict.sentence
        if self.needed is not None:
            return f"watching, {self.runs:,} of about {self.needed:,} runs"
        if self.smallest is None:
            return f"watching, {self.runs:,} runs"
        shown = _write_size(self.smallest, self.verdict)
        return f"watching, {self.runs:,} runs; the baseline is too small to show less than {shown}"


def judge_release(figures: Sequence[FigureUnits]) -> list[FigureVerdict]:
    """Judge a new version by some figures, in their order.

    A figure of which a side has no unit, or both have no stratum in common, is left out.
    """
    compared = [item for item in map(_Compared.of, figures) if item is not None]
    if not compared:
        return []
    share = _HALF / len(compared)
    logs = [item.log_stakes(share) for item in compared]
    since = _find_onsets(logs)
    judges = sum(item.figure.kind != "amount" for item in compared)
    confidence = 1 - (1 - CONFIDENCE) / max(judges, 1)
    return [
        item.judge(since[place], logs[place], confidence) for place, item in enumerate(compared)
    ]


def _find_onsets(logs: Sequence[Sequence[float]]) -> list[int | None]:
    """Find the window at which the stake on each figure was enough to call it worse.

    The mean of all has to reach 200, where the largest is meant; or one reaches 200 times as many
    as there are.
    """
    enough, own = math.log(1 / _HALF), math.log(len(logs) / _HALF)
    since: list[int | None] = [None] * len(logs)
    for place, stakes in enumerate(zip(*logs, strict=True)):
        largest = max(stakes) if mix(stakes) >= enough else math.inf
        for figure, stake in enumerate(stakes):
            if since[figure] is None and (stake >= own or stake >= largest):
                since[figure] = place
    return since


@dataclass(frozen=True, slots=True)
class _Compared:
    """A figure in the strata that both sides have."""

    figure: FigureUnits
    baseline: Units
    windows: Sequence[Units]

    @classmethod
    def of(cls, figure: FigureUnits) -> "_Compared | None":
        sides = [_runs_by_stratum([figure.baseline]), _runs_by_stratum(figure.windows)]
        totals = [sum(side.values()) for side in sides]
        if not all(totals):
            return None
        strata = {
            stratum
            for stratum, runs in sides[0].items()
            if sides[1].get(stratum, 0) / totals[1] >= _LEAST_SHARE * runs / totals[0]
        }
        strata &= sides[1].keys()
        if not strata:
            return None
        return cls(
            figure,
            _only(figure.baseline, strata),
            [_only(window, strata) for window in figure.windows],
        )

    def good(self, value: float) -> float:
        """Return a value from 0 to 1, of which more is better."""
        figure = self.figure
        width = figure.high - figure.low
        share = min(max((value - figure.low) / width, 0.0), 1.0) if width > 0 else 0.5
        return 1 - share if figure.lower_is_better else share

    def log_stakes(self, share: float) -> list[float]:
        """Return the logarithm of a stake of 1 against "not worse" after each window.

        In a window each unit counts by the weight of its stratum in the baseline, over its share of
        the window: then the stake does not grow on average where the weighted mean of the new
        version is at least that of the baseline, whatever the mix of the window is (the product of
        the means is at most the power of their weighted mean).

        Args:
            share: How often the bound of the baseline may be wrong.
        """
        means: defaultdict[str, Counter[float]] = defaultdict(Counter)
        for unit, count in self.baseline.items():
            means[unit.stratum][self.good(unit.first)] += count
        sizes = {stratum: sum(counts.values()) for stratum, counts in means.items()}
        units = sum(sizes.values())
        every = Counter[ClusterSum]()
        for counts in means.values():
            every.update({(mean, 1): count for mean, count in counts.items()})
        bound = cluster_rate(every, confidence=1 - 2 * share)
        slack = max(bound.value - bound.low, 0.0)
        limits = {
            stratum: math.fsum(mean * count for mean, count in counts.items()) / sizes[stratum]
            - slack
            for stratum, counts in means.items()
        }
        bets = bets_up_to(1 - max(bound.low, 0.0))
        stakes = [0.0] * len(bets)
        waiting: Counter[tuple[str, float]] = Counter()
        logs = []
        for window in self.windows:
            for unit, count in window.items():
                waiting[unit.stratum, self.good(unit.first)] += count
            inside: Counter[str] = Counter()
            for (stratum, _), count in waiting.items():
                inside[stratum] += count
            total = sum(inside.values())
            if waiting and (len(inside) == len(sizes) or total >= _MOST_WAITING):
                weights = {
                    stratum: sizes[stratum] / units * total / count
                    for stratum, count in inside.items()
                }
                gains: Counter[float] = Counter()
                for (stratum, mean), count in waiting.items():
                    gains[weights[stratum] * (limits[stratum] - mean)] += count
                most_lost = max(weights[item] * (1 - limits[item]) for item in inside)
                grown = log_stakes(gains, most_lost, bets)
                stakes = [stake + more for stake, more in zip(stakes, grown, strict=True)]
                waiting.clear()
            logs.append(mix(stakes))
        return logs

    def judge(self, since: int | None, logs: Sequence[float], confidence: float) -> FigureVerdict:
        """Say the word, by the stakes and by the interval."""
        figure = self.figure
        is_amount = figure.kind == "amount"
        confidence = CONFIDENCE if is_amount else confidence
        sides = (
            self._estimate(self.baseline, confidence),
            self._estimate(self._candidate(), confidence),
        )
        change = difference(*sides)
        margin = self._margin()
        least = -abs(margin) if not figure.lower_is_better else abs(margin)
        passes = change.value <= least if least < 0 else change.value >= least
        reasons = _too_few(*sides)
        word: Word = decide(change, margin, lower_is_better=figure.lower_is_better)
        is_worse = since is not None and passes and sides[0].n >= LEAST_RUNS
        if is_worse:
            word, reasons = "worse", []
        elif word == "worse" or reasons:
            word = "inconclusive"
        smallest, runs_needed = _plan(*sides, margin, confidence)
        stake = math.exp(min(max(logs, default=0.0), 700.0))
        return FigureVerdict(
            name=figure.name,
            word="watching" if word == "inconclusive" else word,
            verdict=self._verdict(word, sides, change, reasons, confidence),
            runs=sides[1].n,
            needed=runs_needed,
            smallest=smallest,
            stake=stake,
            since=since if is_worse else None,
            worst=self._find_worst() if is_worse else None,
        )

    def _find_worst(self) -> tuple[str, float, float] | None:
        """Find the stratum that lost most, by its weight in the baseline."""
        sides = [_runs_by_stratum([self.baseline]), _runs_by_stratum(self.windows)]
        if len(sides[0]) == 1:
            return None
        totals: list[defaultdict[str, float]] = [defaultdict(float), defaultdict(float)]
        for side, units in zip(totals, (self.baseline, self._candidate()), strict=True):
            for unit, count in units.items():
                side[unit.stratum] += unit.total * count
        means = {
            stratum: (totals[0][stratum] / runs, totals[1][stratum] / sides[1][stratum])
            for stratum, runs in sides[0].items()
        }
        sign = 1 if self.figure.lower_is_better else -1

        def loss(stratum: str) -> tuple[float, str]:
            before, after = means[stratum]
            return sign * (after - before) * sides[0][stratum], stratum

        worst = max(means, key=loss)
        return worst, *means[worst]

    def _candidate(self) -> Units:
        every: Counter[Unit] = Counter()
        for window in self.windows:
            every.update(window)
        return every

    def _estimate(self, side: Units, confidence: float) -> Estimate:
        """Estimate a side by its runs, in strata as the baseline has them."""
        sums: defaultdict[str, Counter[ClusterSum]] = defaultdict(Counter)
        for unit, count in side.items():
            sums[unit.stratum][unit.total, unit.n] += count
        runs = _runs_by_stratum([self.baseline])
        every = sum(runs.values())
        is_rate = self.figure.kind == "rate"
        if len(sums) == 1 or side is self.baseline:
            whole: Counter[ClusterSum] = Counter()
            for counts in sums.values():
                whole.update(counts)
            return estimate_mean(whole, is_rate=is_rate, confidence=confidence)
        return blend(
            [
                (
                    runs[stratum] / every,
                    estimate_mean(counts, is_rate=is_rate, confidence=confidence),
                )
                for stratum, counts in sums.items()
            ]
        )

    def _margin(self) -> float:
        """Return the margin: of a score in its own range, of an amount as a logarithm."""
        figure = self.figure
        match figure.kind:
            case "rate":
                return RATE_MARGIN if figure.margin is None else figure.margin
            case "amount":
                return math.log1p(AMOUNT_MARGIN if figure.margin is None else figure.margin)
        if figure.margin is not None:
            return figure.margin
        n = sum(unit.n * count for unit, count in self.baseline.items())
        mean = math.fsum(unit.total * count for unit, count in self.baseline.items()) / n
        # Of sessions by their means, which is less than that of runs, or of runs alone.
        squares = math.fsum(
            unit.n * (unit.total / unit.n - mean) ** 2 * count
            for unit, count in self.baseline.items()
        )
        return SCORE_MARGIN * math.sqrt(squares / n)

    def _verdict(
        self,
        word: Word,
        sides: Sequence[Estimate],
        change: Estimate,
        reasons: Sequence[str],
        confidence: float,
    ) -> JudgeVerdict | AmountVerdict:
        figure = self.figure
        n = "/".join(f"{side.n:,}" for side in sides)
        if figure.kind == "amount":
            margin = AMOUNT_MARGIN if figure.margin is None else figure.margin
            return AmountVerdict(figure.name, word, exponential(change), margin, n, reasons)
        return JudgeVerdict(
            judge=figure.name,
            word=word,
            is_rate=figure.kind == "rate",
            baseline=sides[0],
            candidate=sides[1],
            difference=change,
            margin=self._margin(),
            lower_is_better=figure.lower_is_better,
            versions=((), ()),
            confidence=confidence,
            n=n,
            reasons=reasons,
            passing=figure.passing,
        )


def _plan(
    baseline: Estimate, candidate: Estimate, margin: float, confidence: float
) -> tuple[float | None, int | None]:
    """Tell what this baseline can show at best, and how many runs show the margin."""
    if not math.isfinite(baseline.high - baseline.low):
        return None, None
    smallest = detectable(baseline, confidence=confidence)
    if not smallest < margin or not math.isfinite(candidate.high - candidate.low):
        return smallest, None
    # What is left for the new version beside the baseline's own part.
    return smallest, needed(candidate, math.sqrt(margin**2 - smallest**2), confidence=confidence)


def _too_few(*sides: Estimate) -> list[str]:
    if min(side.n for side in sides) < LEAST_RUNS:
        return [f"at least {LEAST_RUNS} runs a side are needed"]
    if min(side.clusters for side in sides) < LEAST_CLUSTERS:
        return [f"at least {LEAST_CLUSTERS} sessions or traces a side are needed"]
    return []


def _runs_by_stratum(sides: Sequence[Units]) -> Counter[str]:
    runs: Counter[str] = Counter()
    for units in sides:
        for unit, count in units.items():
            runs[unit.stratum] += unit.n * count
    return runs


def _only(units: Units, strata: set[str]) -> Units:
    return {unit: count for unit, count in units.items() if unit.stratum in strata}


def _write_size(size: float, verdict: JudgeVerdict | AmountVerdict) -> str:
    if isinstance(verdict, AmountVerdict):
        return f"{100 * math.expm1(size):.0f} %"
    return f"{100 * size:.1f} points" if verdict.is_rate else f"{size:.3g}"
