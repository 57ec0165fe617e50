"""Judges a new model version while its runs arrive: is anything worse than the baseline?

A version is judged by its error share, the pass rate or mean score of each judge, and its latency.
The new version is checked after each time window, such as an hour. Sessions are the independent
observations; a trace without a session counts as one.

*Worse* is decided by a test that may be repeated (`otel_ml.statistics.betting`). You may check as
often as you like: of a hundred releases that change nothing, at most one is ever called worse.
*Better* and *no difference* are decided by the confidence interval of the whole period, as in
`otel_ml.statistics.verdict`.

The versions are compared within strata, such as clients, that both have. Each stratum has the
weight that it has in the baseline, so a different mix of clients does not look like a change of the
version.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from otel_ml.statistics import floats
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
    AmountVerdict,
    JudgeVerdict,
    Word,
    decide,
    estimate_mean,
    round_count,
    score_margin,
)

# With fewer runs on a side there is no interval, only counts.
LEAST_INTERVAL: Final = 30

# Largest probability that a version that changes nothing is ever called worse. Half of it is spent
# on the bound of the baseline, half on the bets.
FALSE_WORSE: Final = 0.01
_HALF: Final = FALSE_WORSE / 2
# Windows are joined until all strata are present, or until they have this many sessions.
_MOST_WAITING: Final = 2_000
# A stratum is left out if its share in the new version is less than this fraction of its baseline
# share.
_LEAST_SHARE: Final = 0.1
# Past tense of the verbs that name rates.
_PAST: Final[Mapping[str, str]] = {
    "fail": "failed",
    "pass": "passed",
    "are right": "were right",
    "have no output": "had no output",
}


class Unit(NamedTuple):
    """The values of one session for one measure, such as latency, when two versions are compared.

    A trace without a session counts as a session.

    Attributes:
        stratum: The session's group, such as a client. Only sessions of the same group are compared
            with each other.
        total: Sum of the values of the session's runs.
        n: Number of runs with a value. 0 if there is none yet, for example because the ground truth
            is missing. Means and confidence intervals then leave the session out.
        first: Mean of the values in the session's first time window, without later runs. It is only
            used to test whether the new version is worse. If ground truth is missing, this mean
            assumes the worst value for runs of the baseline and the best value for runs of the new
            version.
    """

    stratum: str
    total: float
    n: int
    first: float


# Number of equal units.
Units: TypeAlias = Mapping[Unit, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureUnits:
    """The data of one measure, such as error share or latency, for a baseline and a new version.

    Attributes:
        name: Name of the measure, such as the name of a judge.
        kind: `rate` if values are 0 or 1, `score` for numbers, `amount` for logarithms of
            latencies, tokens or costs.
        baseline: Sessions of the baseline, as a dictionary. A key is a `Unit`, which describes the
            values of a session. The value is the number of sessions with these values.
        windows: Sessions of the new version: one dictionary like `baseline` for each time window in
            which sessions started, oldest first. The current window is not included.
        low: Lower limit of the values. Smaller values are raised to it, because the test needs a
            limited range.
        high: Upper limit of the values. Larger values are lowered to it.
        lower_is_better: Whether lower values are better.
        passing: Verb for sentences about a rate, such as `pass` or `fail`.
        margin: Smallest difference that matters. None for the default of `kind`.
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
    """Whether a new version is worse in one measure, such as error share or latency.

    Attributes:
        verdict: Estimates, margin and reasons. The difference is missing if either version has
            fewer than 30 runs.
        word: The result. ``not enough data`` means that more runs are needed to decide.
        runs: Number of runs of the new version with a value.
        needed: Approximate number of runs that suffice to detect the margin (80 % power). None if
            the baseline is too small for that.
        smallest: Smallest difference that can be detected with this baseline, however many runs the
            new version has (80 % power). None if unknown.
        stake: Largest evidence for "worse" so far, see `otel_ml.statistics.betting`. The evidence
            starts at 1. It rarely grows much if the version is not worse.
        since: Index of the window in which the evidence for "worse" first sufficed. None if the
            version is not worse.
        counts: How many runs of each version failed or passed, in words. Empty if both versions
            have at least 30 runs.
    """

    name: str
    word: Word
    verdict: JudgeVerdict | AmountVerdict
    runs: int
    needed: int | None
    smallest: float | None
    stake: float
    since: int | None
    counts: str = ""

    @property
    def has_direction(self) -> bool:
        """Whether the confidence interval shows a direction, even if nothing is decided."""
        return self.verdict.is_sure and not self.verdict.reasons

    @property
    def sentence(self) -> str:
        """The verdict in words. Without enough data, the progress, such as the number of runs."""
        if self.word != "not enough data" or self.counts or self.has_direction:
            return self.comparison
        if self.needed is not None and self.needed > self.runs:
            return f"not enough data: {self.runs:,} of about {round_count(self.needed):,} runs"
        if self.smallest is None or self.needed is not None:
            return f"not enough data: {self.runs:,} runs"
        shown = _write_size(self.smallest, self.verdict)
        before, runs = self.verdict.sides[0], self.verdict.n.partition("/")[0]
        return f"not enough data: {runs} runs {before} can show a change of {shown} or more"

    @property
    def comparison(self) -> str:
        """The values of both versions in words, even without enough data for a verdict."""
        return self.counts or self.verdict.sentence


def judge_release(
    figures: Sequence[FigureUnits], baseline: str = "", candidate: str = ""
) -> list[FigureVerdict]:
    """Decide for each measure, such as error share or latency, whether a new version is worse.

    A verdict needs 100 runs of each version. With 30 to 99 runs, confidence intervals are returned
    without a verdict. If a version has fewer than 30 runs, a rate is reported as counts, and other
    measures are left out.

    Args:
        figures: The data of each measure.
        baseline: Name of the baseline in sentences, such as `v1`. Default: "before".
        candidate: Name of the new version in sentences, such as `v2`. Default: "now".

    Returns:
        The verdicts, in the order of `figures`. A measure is left out if one of the versions
        has no values of it. It is also left out if sessions are grouped, for example by client, and
        no group has sessions of both versions.
    """
    compared = [item for item in map(_Compared.of, figures) if item is not None]
    if not compared:
        return []
    share = _HALF / len(compared)
    logs = [item.log_stakes(share) for item in compared]
    since = _find_onsets(logs)
    judges = sum(item.figure.kind != "amount" for item in compared)
    confidence = 1 - (1 - CONFIDENCE) / max(judges, 1)
    names = (
        f"with {baseline}" if baseline else "before",
        f"with {candidate}" if candidate else "now",
    )
    return [
        verdict
        for place, item in enumerate(compared)
        if (verdict := item.judge(since[place], logs[place], confidence, names))
    ]


def _find_onsets(logs: Sequence[Sequence[float]]) -> list[int | None]:
    """Return for each measure the first window with enough evidence for "worse", or None.

    A stake is the evidence for "worse" in one measure, such as error share. The measure with the
    largest stake is worse if the mean of all stakes reaches 200. Any measure is worse if its own
    stake reaches 200 times the number of measures.
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
    """One measure, such as error share, limited to the strata that both versions have."""

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
        """Convert a value to the range from 0 to 1, where a higher number is better."""
        figure = self.figure
        width = figure.high - figure.low
        share = min(max((value - figure.low) / width, 0.0), 1.0) if width > 0 else 0.5
        return 1 - share if figure.lower_is_better else share

    def log_stakes(self, share: float) -> list[float]:
        """Return the evidence that the new version is worse, after each time window.

        The larger a number, the stronger the evidence. 0 or less means no evidence. The numbers are
        logarithms of a sequential test's statistic, see `betting.log_stakes`. Sessions are
        weighted, so that each stratum, such as a client, has the same share as in the baseline.

        Args:
            share: The new version is compared with the lower end of a one-sided confidence interval
                of the baseline's mean. `share` is 1 minus the interval's confidence level.
        """
        # Safe: the product of the means is at most the power of their weighted mean.
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
            stratum: floats.add(mean * count for mean, count in counts.items()) / sizes[stratum]
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

    def judge(
        self,
        since: int | None,
        logs: Sequence[float],
        confidence: float,
        names: tuple[str, str],
    ) -> FigureVerdict | None:
        """Return the verdict on this measure, from the evidence and the confidence intervals.

        Args:
            since: Index of the time window after which there was enough evidence that the new
                version is worse. None if there is not enough.
            logs: Evidence that the new version is worse, one number per time window, as returned by
                `log_stakes`.
            confidence: Confidence level of intervals of rates and scores.
            names: Words for the baseline and the new version in sentences, such as "with v1".

        Returns:
            The verdict. If there are too few runs for an interval, the verdict on a rate contains
            only counts of runs. For other measures, None is returned.
        """
        figure = self.figure
        stake = math.exp(min(max(logs, default=0.0), 700.0))
        if min(map(_count_runs, (self.baseline, self._candidate()))) < LEAST_INTERVAL:
            return self._count(stake, names) if figure.kind == "rate" else None
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
        reasons = _too_few(sides, names)
        word: Word = decide(change, margin, lower_is_better=figure.lower_is_better)
        is_enough = min(side.n for side in sides) >= LEAST_RUNS
        is_worse = since is not None and passes and is_enough
        if is_worse:
            word, reasons = "worse", []
        elif word == "worse" or reasons:
            word = "not enough data"
        smallest, runs_needed = _plan(*sides, margin, confidence)
        return FigureVerdict(
            name=figure.name,
            word=word,
            verdict=self._verdict(
                word,
                sides=sides,
                change=change,
                reasons=reasons,
                confidence=confidence,
                names=names,
            ),
            runs=sides[1].n,
            needed=runs_needed,
            smallest=smallest,
            stake=stake,
            since=since if is_worse else None,
        )

    def _count(self, stake: float, names: tuple[str, str]) -> FigureVerdict:
        """Return a rate as counts, without a verdict."""
        figure = self.figure
        before, after = figure.baseline, _join(figure.windows)
        (had, of), (has, runs) = (
            (round(_sum_values(part)), _count_runs(part)) for part in (before, after)
        )
        did = _PAST.get(figure.passing, figure.passing)
        verdict = JudgeVerdict(
            judge=figure.name,
            word="not enough data",
            is_rate=True,
            baseline=Estimate(had / of, -math.inf, math.inf, of, of),
            candidate=Estimate(has / runs, -math.inf, math.inf, runs, runs),
            difference=None,
            margin=self._margin(),
            lower_is_better=figure.lower_is_better,
            versions=((), ()),
            confidence=CONFIDENCE,
            n=f"{of:,}/{runs:,}",
            reasons=[f"{min(of, runs):,} of {LEAST_INTERVAL} runs"],
            passing=figure.passing,
            sides=names,
        )
        return FigureVerdict(
            name=figure.name,
            word="not enough data",
            verdict=verdict,
            runs=runs,
            needed=None,
            smallest=None,
            stake=stake,
            since=None,
            counts=f"{has:,} of {runs:,} {'run' if runs == 1 else 'runs'} {did}; "
            f"{names[0].removeprefix('with ')}: {had:,} of {of:,}",
        )

    def _candidate(self) -> Units:
        return _join(self.windows)

    def _estimate(self, side: Units, confidence: float) -> Estimate:
        """Return the mean of one version, with strata weighted as in the baseline."""
        sums: defaultdict[str, Counter[ClusterSum]] = defaultdict(Counter)
        for unit, count in side.items():
            if unit.n:
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
        n = sum(unit.n * count for unit, count in self.baseline.items())
        mean = floats.add(unit.total * count for unit, count in self.baseline.items()) / n
        # Standard deviation between units, which is at most that of single runs.
        squares = floats.add(
            unit.n * floats.square(unit.total / unit.n - mean) * count
            for unit, count in self.baseline.items()
            if unit.n
        )
        return score_margin(math.sqrt(squares / n), mean)

    def _verdict(
        self,
        word: Word,
        *,
        sides: Sequence[Estimate],
        change: Estimate,
        reasons: Sequence[str],
        confidence: float,
        names: tuple[str, str],
    ) -> JudgeVerdict | AmountVerdict:
        figure = self.figure
        n = "/".join(f"{side.n:,}" for side in sides)
        if figure.kind == "amount":
            margin = AMOUNT_MARGIN if figure.margin is None else figure.margin
            return AmountVerdict(
                name=figure.name,
                word=word,
                ratio=exponential(change),
                margin=margin,
                n=n,
                reasons=reasons,
                means=(floats.exp(sides[0].value), floats.exp(sides[1].value)),
                sides=names,
            )
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
            sides=names,
        )


def _plan(
    baseline: Estimate, candidate: Estimate, margin: float, confidence: float
) -> tuple[float | None, int | None]:
    """Return the smallest detectable difference, and how many runs detect the margin."""
    if not math.isfinite(baseline.high - baseline.low):
        return None, None
    smallest = detectable(baseline, confidence=confidence)
    if not smallest < margin or not math.isfinite(candidate.high - candidate.low):
        return smallest, None
    # Variance that remains for the new version after the baseline's part.
    return smallest, needed(candidate, math.sqrt(margin**2 - smallest**2), confidence=confidence)


def _too_few(sides: Sequence[Estimate], names: tuple[str, str]) -> list[str]:
    """Return why there is no verdict: how many runs or sessions the smaller side has."""
    few = min(range(2), key=lambda side: sides[side].n)
    if sides[few].n < LEAST_RUNS:
        return [f"{sides[few].n:,} of {LEAST_RUNS} runs {names[few]}"]
    few = min(range(2), key=lambda side: sides[side].clusters)
    if sides[few].clusters < LEAST_CLUSTERS:
        return [f"{sides[few].clusters} of {LEAST_CLUSTERS} sessions or traces {names[few]}"]
    return []


def _join(windows: Iterable[Units]) -> Units:
    every: Counter[Unit] = Counter()
    for window in windows:
        every.update(window)
    return every


def _count_runs(units: Units) -> int:
    return sum(unit.n * count for unit, count in units.items())


def _sum_values(units: Units) -> float:
    return floats.add(unit.total * count for unit, count in units.items())


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
        return f"{100 * (floats.exp(size) - 1):.0f} %"
    return f"{100 * size:.0f} pts" if verdict.is_rate else f"{size:.3g}"
