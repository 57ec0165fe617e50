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
from typing import Final, Literal, NamedTuple

from otel_ml.counts import write_count, write_number
from otel_ml.statistics import floats
from otel_ml.statistics.intervals import Estimate, exponential, normal_quantile
from otel_ml.statistics.sequence import (
    CellKey,
    ComparedMeans,
    Moments,
    Pair,
    StratumSums,
    compare_sums,
)
from otel_ml.statistics.verdict import (
    AMOUNT_MARGIN,
    LEAST_CLUSTERS,
    LEAST_RUNS,
    RATE_MARGIN,
    AmountVerdict,
    JudgeVerdict,
    Word,
    add_evidence,
    decide,
    round_count,
    score_margin,
    write_open,
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
# If a verdict needs more than this many times the runs of a version, sentences say what its runs
# can show so far. A newcomer with 186 runs cannot use "about 240,000 more".
_FAR_AWAY: Final = 20
# Past tense of the verbs that name rates.
_PAST: Final[Mapping[str, str]] = {
    "fail": "failed",
    "pass": "passed",
    "are right": "were right",
    "have no output": "had no output",
}
_NOTHING: Final = Moments()
# Largest confidence level below 1.
_SURE: Final = 1 - 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureSums:
    """The data of one measure, such as error share or latency, of two versions.

    Attributes:
        name: Name of the measure, such as the name of a judge.
        kind: `rate` if values are 0 or 1, `score` for numbers, `amount` for logarithms of
            latencies, tokens or costs.
        cells: The sums over the sessions of both versions, by stratum (such as a client) and hour.
        lower_is_better: Whether lower values are better.
        passing: Verb for sentences about a rate, such as `pass` or `fail`.
        noun: What a score is in sentences, such as `mean` or `mean error`.
        margin: Smallest difference that matters. None for the default of `kind`.
        counted: Which runs have a value, in words, such as `scored runs`.
    """

    name: str
    kind: Literal["rate", "score", "amount"]
    cells: Mapping[CellKey, Pair]
    lower_is_better: bool = False
    passing: str = "pass"
    noun: str = "mean"
    margin: float | None = None
    counted: str = "runs"


@dataclass(frozen=True, slots=True)
class FigureVerdict:
    """Whether a version is better or worse in one measure, such as error share or latency.

    Attributes:
        verdict: Estimates, margin and reasons. The difference is missing if either version has
            fewer than 30 runs.
        word: The result.
        runs: Number of runs with a value, of the version that is still collecting them.
        needed: Approximate number of runs of that version that suffice for a verdict. None if the
            other version has too few runs for that.
        smallest: Smallest difference that can be detected with the runs of the other version,
            however many runs this one has (80 % power). None if unknown, or if both still grow.
        strength: The difference, in half widths of its interval. From 1 on, the direction is
            certain.
        since: The hour from which the measure was worse. None if it is not worse.
        counts: How many runs of each version failed or passed, in words. Empty if both versions
            have at least 30 runs.
    """

    name: str
    word: Word
    verdict: JudgeVerdict | AmountVerdict
    runs: int
    needed: int | None
    smallest: float | None
    strength: float
    since: int | None
    counts: str = ""
    missing: str = ""

    @property
    def has_direction(self) -> bool:
        """Whether the interval shows a direction, even if nothing is decided."""
        return self.verdict.is_sure and not self.verdict.reasons

    @property
    def sentence(self) -> str:
        """The verdict in words. Without enough data, what is missing."""
        if self.counts:
            return self.counts
        if self.word != "not enough data" or self.verdict.reasons:
            return self.verdict.sentence
        missing = [self.missing] if self.missing else []
        return add_evidence(write_open(missing), self.verdict.evidence)


def judge_release(
    figures: Sequence[FigureSums],
    baseline: str = "",
    candidate: str = "",
    *,
    is_hourly: bool = False,
    growing: int | None = 1,
    runs: tuple[int, int] | None = None,
    sharing: int | None = None,
) -> list[FigureVerdict]:
    """Decide for each measure, such as error share or latency, whether a version is worse.

    A verdict needs 100 runs of each version. With 30 to 99 runs, intervals are returned without a
    verdict. If a version has fewer than 30 runs, a rate is reported as counts, and other measures
    are left out.

    Args:
        figures: The data of each measure.
        baseline: Name of the baseline in sentences, such as `v1`. Default: "before".
        candidate: Name of the new version in sentences, such as `v2`. Default: "now".
        is_hourly: Whether runs are only compared with runs of the same hour.
        growing: Which version still collects runs: 0 for the baseline, 1 for the candidate. None if
            both do.
        runs: Number of compared runs of each version. If fewer have a value, sentences say which.
        sharing: How many measures share the error of 1 %. Default: those of `figures`.

    Returns:
        The verdicts, in the order of `figures`. A measure is left out if one of the versions
        has no values of it. It is also left out if no stratum has sessions of both versions.
    """
    compared = [
        item
        for figure in figures
        if (item := _Compared.of(figure, is_hourly=is_hourly, runs=runs)) is not None
    ]
    names = (
        f"with {baseline}" if baseline else "before",
        f"with {candidate}" if candidate else "now",
    )
    error = SPENT / max(len(compared) if sharing is None else sharing, 1)
    verdicts = (item.judge(error, growing, names) for item in compared)
    return [verdict for verdict in verdicts if verdict is not None]


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

    def decide(self, comparison: ComparedMeans) -> tuple[Word, Sequence[tuple[str, int]]]:
        """Return the word, and why there is none, as far as it is not the interval's width."""
        reasons = _too_few(comparison)
        if reasons:
            return "not enough data", reasons
        margin = self.margin(comparison)
        change = comparison.difference
        return decide(change, margin, lower_is_better=self.figure.lower_is_better), []

    def judge(
        self, error: float, growing: int | None, names: tuple[str, str]
    ) -> FigureVerdict | None:
        """Return the verdict on this measure.

        Args:
            error: Probability that the interval ever misses the true difference.
            growing: Which version still collects runs, see `judge_release`.
            names: Words for the two versions in sentences, such as "with v1".

        Returns:
            The verdict. If there are too few runs for an interval, the verdict on a rate contains
            only counts of runs. For other measures, None is returned.
        """
        figure = self.figure
        comparison = self.compare(self.sums.list_strata(), error)
        if (
            comparison is None
            or min(comparison.baseline.n, comparison.candidate.n) < LEAST_INTERVAL
        ):
            return self._count(growing, names) if figure.kind == "rate" else None
        word, few = self.decide(comparison)
        change = comparison.difference
        plan = _plan(comparison, self.margin(comparison), growing)
        half = (change.high - change.low) / 2
        return FigureVerdict(
            name=figure.name,
            word=word,
            verdict=self._verdict(word, comparison, few, names),
            runs=plan.runs,
            needed=plan.needed,
            smallest=plan.smallest,
            strength=abs(change.value) / half if half else math.inf * bool(change.value),
            since=self._find_onset(error) if word == "worse" else None,
            missing=_write_missing(plan, figure.kind, names),
        )

    def _find_onset(self, error: float) -> int | None:
        """Return the hour from which the measure was worse."""
        sums = _Sums.start(is_hourly=self.is_hourly)
        cells = sorted(self.figure.cells.items(), key=lambda cell: (cell[0][1], cell[0][0]))
        since = None
        for hour, of_hour in groupby(cells, key=lambda cell: cell[0][1]):
            for (stratum, _), pair in of_hour:
                sums.add(stratum, pair)
            comparison = self.compare(sums.list_strata(), error)
            is_worse = comparison is not None and self.decide(comparison)[0] == "worse"
            since = (hour if since is None else since) if is_worse else None
        return since

    def _count(self, growing: int | None, names: tuple[str, str]) -> FigureVerdict:
        """Return a rate as counts, without a verdict."""
        figure = self.figure
        (had, of), (has, runs) = (
            (
                round(math.fsum(pair[place].total for pair in figure.cells.values())),
                round(math.fsum(pair[place].runs for pair in figure.cells.values())),
            )
            for place in range(2)
        )
        did = _PAST.get(figure.passing, figure.passing)
        verdict = JudgeVerdict(
            judge=figure.name,
            word="not enough data",
            is_rate=True,
            baseline=Estimate(had / of, -math.inf, math.inf, of, of),
            candidate=Estimate(has / runs, -math.inf, math.inf, runs, runs),
            difference=None,
            margin=RATE_MARGIN if figure.margin is None else figure.margin,
            lower_is_better=figure.lower_is_better,
            versions=((), ()),
            confidence=1 - FALSE_WORDS,
            n=f"{of:,}/{runs:,}",
            reasons=[f"{min(of, runs):,} of {LEAST_INTERVAL} runs"],
            passing=figure.passing,
            noun=figure.noun,
            sides=names,
        )
        return FigureVerdict(
            name=figure.name,
            word="not enough data",
            verdict=verdict,
            runs=of if growing == 0 else runs,
            needed=None,
            smallest=None,
            strength=0.0,
            since=None,
            counts=f"{has:,} of {write_count(runs, 'run')} {did}; "
            f"{names[0].removeprefix('with ')}: {had:,} of {of:,}",
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

    def _verdict(
        self,
        word: Word,
        comparison: ComparedMeans,
        few: Sequence[tuple[str, int]],
        names: tuple[str, str],
    ) -> JudgeVerdict | AmountVerdict:
        figure, change = self.figure, comparison.difference
        sides = comparison.baseline, comparison.candidate
        n = "/".join(f"{side.n:,}" for side in sides)
        has_all = self.runs == (sides[0].n, sides[1].n)
        counted = "runs" if has_all else figure.counted
        reasons = [f"{reason} {names[side]}" for reason, side in few]
        if figure.kind == "amount":
            return AmountVerdict(
                name=figure.name,
                word=word,
                ratio=exponential(change),
                margin=AMOUNT_MARGIN if figure.margin is None else figure.margin,
                n=n,
                reasons=reasons,
                means=(floats.exp(sides[0].value), floats.exp(sides[1].value)),
                sides=names,
                counted=counted,
                sizes=(sides[0].n, sides[1].n),
            )
        return JudgeVerdict(
            judge=figure.name,
            word=word,
            is_rate=figure.kind == "rate",
            baseline=sides[0],
            candidate=sides[1],
            difference=change,
            margin=self.margin(comparison),
            lower_is_better=figure.lower_is_better,
            versions=((), ()),
            confidence=min(2 * NormalDist().cdf(comparison.width or math.inf) - 1, _SURE),
            n=n,
            reasons=reasons,
            passing=figure.passing,
            noun=figure.noun,
            sides=names,
            counted=counted,
        )


class _Plan(NamedTuple):
    """How many runs suffice for a verdict, see `FigureVerdict`.

    Attributes:
        side: The version that needs them: 0 for the baseline, 1 for the candidate.
        visible: Smallest difference that can be detected with the runs of both (80 % power). None
            if unknown.
    """

    side: int
    runs: int
    needed: int | None
    smallest: float | None
    visible: float | None = None


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
        return _Plan(side, runs, None, None)
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
            return _Plan(side, runs, needed, smallest, half * power)
    return _Plan(side, runs, None, smallest)


def _write_missing(plan: _Plan, kind: str, names: tuple[str, str]) -> str:
    """Write about how many more runs suffice, or what the runs can show.

    The second form is used if no number of runs suffices, because the other version has too few, or
    if more than 20 times as many are needed.
    """
    if plan.needed is not None and plan.visible is not None:
        if plan.needed > _FAR_AWAY * plan.runs:
            runs = f"{write_count(plan.runs, 'run')} {names[plan.side]}"
            if kind == "rate" and plan.visible >= 1:
                return f"{runs} cannot show any change yet"
            return f"{runs} can show a change of {_write_size(plan.visible, kind)} or more"
        more = round_count(plan.needed - plan.runs)
        return f"about {more:,} more {'run' if more == 1 else 'runs'} {names[plan.side]}"
    if plan.smallest is None:
        return ""
    size = _write_size(plan.smallest, kind)
    return f"the runs {names[1 - plan.side]} can show a change of {size} or more"


def _write_size(size: float, kind: str) -> str:
    """Write a difference of a rate or score, or of the logarithms of an amount."""
    match kind:
        case "rate":
            return f"{100 * size:.0f} pts"
        case "amount":
            return f"{100 * (floats.exp(size) - 1):,.0f} %"
    return write_number(size)


def _too_few(comparison: ComparedMeans) -> list[tuple[str, int]]:
    """Return why there is no verdict: how many runs or sessions the smaller side has."""
    sides = comparison.baseline, comparison.candidate
    few = min(range(2), key=lambda side: sides[side].n)
    if sides[few].n < LEAST_RUNS:
        return [(f"{sides[few].n:,} of {LEAST_RUNS} runs", few)]
    few = min(range(2), key=lambda side: sides[side].clusters)
    if sides[few].clusters < LEAST_CLUSTERS:
        return [(f"{sides[few].clusters} of {LEAST_CLUSTERS} sessions or traces", few)]
    return []
