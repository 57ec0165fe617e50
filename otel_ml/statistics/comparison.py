"""One figure, such as a pass rate or latency, compared between two sets of runs.

Experiments, releases, two versions, two filters, slices, alerts and two versions of a judge all
give a `FigureComparison`. `otel_ml.statistics.sentences` writes it in words.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeAlias

from otel_ml.statistics.exact import show_least
from otel_ml.statistics.intervals import CONFIDENCE, Estimate, detectable

# `rate` for a share from 0 to 1, `score` for a mean score, `amount` for a latency, number of tokens
# or cost, whose difference is a ratio.
FigureKind: TypeAlias = Literal["rate", "score", "amount"]

RATE_MARGIN: Final = 0.02
SCORE_MARGIN: Final = 0.1  # in standard deviations of the baseline
AMOUNT_MARGIN: Final = 0.05
# Smaller relative differences of scores are rounding: 0.1 + 0.2 is not quite 0.3.
_ROUNDING: Final = 1e-9
LEAST_ITEMS: Final = 20
LEAST_CLUSTERS: Final = 12
LEAST_RUNS: Final = 100
FAILED_CALLS: Final = "failed calls"


class Word(str, Enum):
    """A verdict: of one figure, or of a whole comparison. Each word is also a string."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference"
    NOT_ENOUGH_DATA = "not enough data"

    __str__ = str.__str__

    @property
    def is_decided(self) -> bool:
        """Whether the figure is worse or better."""
        return self in (Word.WORSE, Word.BETTER)


class DirectionWord(str, Enum):
    """A word for better or worse where neither fits: of judges' strictness and of variability."""

    STRICTER = "stricter"
    MORE_LENIENT = "more lenient"
    LOWER = "lower"
    HIGHER = "higher"
    LESS_STEADY = "less steady"
    STEADIER = "steadier"

    __str__ = str.__str__


# Verdicts in the order in which the worst one decides.
WORST_FIRST: Final = (Word.WORSE, Word.NOT_ENOUGH_DATA, Word.NO_DIFFERENCE, Word.BETTER)


class Unit(Enum):
    """What a figure measures, and in which unit."""

    PASSES = "pass rate"
    ERROR_SHARE = "share of failed calls"
    MISSING_SHARE = "share of runs without output"
    ACCURACY = "share of right predictions"
    AGREEMENT = "agreement of two runs of one input"
    SCORE = "mean score"
    MEAN_ERROR = "mean error of predictions"
    LATENCY = "latency in ms"
    TOKENS = "tokens"
    COST = "cost in $"

    @property
    def kind(self) -> FigureKind:
        """Whether the figure is a rate, a score or an amount."""
        if self in (Unit.SCORE, Unit.MEAN_ERROR):
            return "score"
        return "amount" if self in (Unit.LATENCY, Unit.TOKENS, Unit.COST) else "rate"


class Direction(Enum):
    """Which values are better.

    With `NONE`, a judge got stricter or more lenient, which is neither. The words `better` and
    `worse` then mean higher and lower.
    """

    HIGHER = "higher"
    LOWER = "lower"
    NONE = "none"

    @classmethod
    def of(cls, *, lower_is_better: bool) -> "Direction":
        """Return the direction of a figure that has one."""
        return cls.LOWER if lower_is_better else cls.HIGHER


class Method(Enum):
    """How two sets of runs are compared.

    Attributes:
        PAIRED: By the items or inputs that both ran. One look.
        SAMPLES: As two independent samples. One look.
        SEQUENTIAL: As two independent samples. The interval holds at all looks together.
        SLICE: As two independent samples of a slice, whose change differs from that of all other
            runs. One look.
    """

    PAIRED = "paired items"
    SAMPLES = "two samples"
    SEQUENTIAL = "two samples at all looks"
    SLICE = "a slice against all other runs"


class CaveatKind(Enum):
    """Why there is not enough data, or which counts decide instead of the interval.

    The meaning of `Caveat.numbers` follows each name.
    """

    FEW_SHARED_ITEMS = "few shared items"
    NO_SHARED_ITEMS = "no shared items"
    NOT_SCORED = "not scored"  # a side without scores
    NOT_SCORED_BOTH = "not scored both"
    ALL_FAILED = "all failed"  # a side without scores, because every call failed
    OTHER_VERSION = "other version"
    MISSING_SCORES = "missing scores"  # per cent of a side's runs with a score
    FEW_UNITS = "few units"  # an exact test of few items or clusters decides
    FEW_INPUTS = "few inputs"  # repeated inputs of the smaller side, and those that are needed
    FEW_RUNS = "few runs"  # runs of a side, and runs that are needed
    FEW_SESSIONS = "few sessions"  # sessions of a side, and sessions that are needed
    NO_INTERVAL = "no interval"  # runs of the smaller side, and runs that are needed
    LITTLE_TRUTH = "little ground truth"  # shares of both sides with ground truth
    ALL_CALLS_FAIL = "all calls fail"  # calls, failed calls before, calls before
    REPAIRED = "repaired"  # items that failed before and pass now, items that failed before

    @property
    def is_reason(self) -> bool:
        """Whether it is a reason why there is not enough data."""
        return self not in (CaveatKind.ALL_CALLS_FAIL, CaveatKind.REPAIRED)


@dataclass(frozen=True, slots=True)
class Caveat:
    """What a reader must know about the data of a comparison.

    Attributes:
        kind: What it is.
        side: Which side it is about: 0 for the baseline, 1 for the candidate. None for both.
        numbers: The numbers behind it, see `CaveatKind`.
        versions: Versions of the judge that scored the baseline, and those that scored the
            candidate, if it is about them.
    """

    kind: CaveatKind
    side: int | None = None
    numbers: tuple[float, ...] = ()
    versions: tuple[Sequence[str], Sequence[str]] = ((), ())


@dataclass(frozen=True, slots=True)
class FigureSide:
    """One of two sets of runs that are compared.

    Attributes:
        name: Short name, such as `v1`. Empty for experiments, which are "before" and "now".
        estimate: The figure's value: a share, mean score or geometric mean. None without values.
            Without bounds for an amount, and for few runs.
    """

    name: str
    estimate: Estimate | None

    @property
    def count(self) -> int:
        """Number of items or runs with a value."""
        return 0 if self.estimate is None else self.estimate.n

    @property
    def value(self) -> float:
        """The figure's value. 0 without values."""
        return 0.0 if self.estimate is None else self.estimate.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What a comparison rests on: its method, its data, and what is missing for a verdict.

    Attributes:
        method: How the sides are compared.
        confidence: Confidence level of the interval of the difference.
        counted: What the numbers of the sides count: `items`, `repeated inputs`, or runs such as
            `scored runs`.
        cluster: Key that groups dependent items, such as `source_session`. Empty if the key has no
            name. None if all items are independent.
        waits_for: Which side needs more runs for a verdict: 0 for the baseline, 1 for the
            candidate. None if both do.
        needed: About how many items or runs show a difference as large as the margin, with 80 %
            power. None if no number suffices, or if there are enough.
        smallest: Smallest difference that any number of runs of `waits_for` can show, because the
            other side has so few (80 % power). None if there is no such limit.
        caveats: Why there is not enough data, apart from the width of the interval.
    """

    method: Method
    confidence: float
    counted: str
    cluster: str | None
    waits_for: int | None
    needed: int | None
    smallest: float | None
    caveats: Sequence[Caveat]


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureComparison:
    """Whether a figure is better or worse for a candidate than for its baseline.

    Attributes:
        subject: What is compared: a judge, a prediction target, `failed calls`, `errors`, `missing
            outputs`, `variability`, `latency`, `tokens` or `cost`.
        unit: Unit of the values.
        direction: Which values are better.
        baseline: The runs to compare with.
        candidate: The runs to judge.
        difference: Candidate minus baseline, with its interval. For an amount, candidate divided by
            baseline. None if a side has no values, or too few.
        margin: Smallest difference that matters. For an amount, it is relative: 0.05 is 5 %.
        word: ``better``, ``worse``, ``no difference`` or ``not enough data``.
        basis: What the comparison rests on.
    """

    subject: str
    unit: Unit
    direction: Direction
    baseline: FigureSide
    candidate: FigureSide
    difference: Estimate | None
    margin: float
    word: Word
    basis: Basis

    @property
    def kind(self) -> FigureKind:
        """Whether the figure is a rate, a score or an amount."""
        return self.unit.kind

    @property
    def is_rate(self) -> bool:
        """Whether the values are shares from 0 to 1."""
        return self.kind == "rate"

    @property
    def named_word(self) -> Word | DirectionWord:
        """The verdict in the figure's own words: a judge is stricter, or answers are steadier."""
        better, worse = DirectionWord.STEADIER, DirectionWord.LESS_STEADY
        if self.direction is Direction.NONE:
            better, worse = DirectionWord.HIGHER, DirectionWord.LOWER
            if self.is_rate:
                better, worse = DirectionWord.MORE_LENIENT, DirectionWord.STRICTER
        elif self.unit is not Unit.AGREEMENT:
            return self.word
        return {Word.BETTER: better, Word.WORSE: worse}.get(self.word, self.word)

    @property
    def lower_is_better(self) -> bool:
        """Whether lower values are better."""
        return self.direction is Direction.LOWER

    @property
    def sides(self) -> tuple[FigureSide, FigureSide]:
        """The baseline and the candidate."""
        return self.baseline, self.candidate

    @property
    def change(self) -> Estimate | None:
        """The difference as a number that is 0 if there is none: a ratio of 1.1 is 0.1."""
        difference = self.difference
        if difference is None or self.kind != "amount":
            return difference
        return Estimate(
            difference.value - 1,
            difference.low - 1,
            difference.high - 1,
            difference.n,
            difference.clusters,
        )

    @property
    def size(self) -> float:
        """How large the difference is, without a sign. 0 if there is none."""
        return 0.0 if self.change is None else abs(self.change.value)

    @property
    def reasons(self) -> Sequence[Caveat]:
        """Why there is not enough data, apart from the width of the interval."""
        return [caveat for caveat in self.basis.caveats if caveat.kind.is_reason]

    def has(self, kind: CaveatKind) -> bool:
        """Whether the comparison has a caveat of this kind."""
        return any(caveat.kind is kind for caveat in self.basis.caveats)

    @property
    def has_other_version(self) -> bool:
        """Whether different versions of the judge scored baseline and candidate."""
        return self.has(CaveatKind.OTHER_VERSION)

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves no doubt about the direction."""
        change = self.change
        return change is not None and (change.low > 0 or change.high < 0)

    @property
    def has_direction(self) -> bool:
        """Whether the interval shows a direction, even if nothing is decided."""
        return self.is_sure and not self.reasons

    @property
    def is_no_worse(self) -> bool:
        """Whether the interval rules out a loss of more than the margin."""
        change = self.change
        if change is None:
            return False
        return change.high <= self.margin if self.lower_is_better else change.low >= -self.margin

    @property
    def runs(self) -> int:
        """Number of items, or of runs of the side that needs more of them."""
        if self.basis.waits_for is not None:
            return self.sides[self.basis.waits_for].count
        return 0 if self.difference is None else self.difference.n

    @property
    def strength(self) -> float:
        """The difference, in half widths of its interval. From 1 on, the direction is certain."""
        change = make_additive(self.difference, self.kind)
        if change is None:
            return 0.0
        half = (change.high - change.low) / 2
        return abs(change.value) / half if half else math.inf * bool(change.value)

    @property
    def is_few(self) -> bool:
        """Whether there are so few pairs or clusters that an exact test decides."""
        return (
            self.basis.method is Method.PAIRED
            and self.difference is not None
            and has_few_units(self.difference)
        )

    @property
    def least(self) -> float | None:
        """Smallest difference that an exact test of few pairs shows with 80 % power.

        None if it shows none, or if there are enough pairs for an interval of the usual kind.
        """
        if self.difference is None or not self.is_few:
            return None
        if self.is_rate:
            return show_least(self.difference.clusters, confidence=self.basis.confidence)
        return self._from_width()

    @property
    def detectable(self) -> float | None:
        """Smallest difference that this sample size shows with 80 % power. None if unknown."""
        return self._from_width() if self.least is None else self.least

    def _from_width(self) -> float | None:
        change = make_additive(self.difference, self.kind)
        if change is None or not math.isfinite(change.high - change.low):
            return None
        size = detectable(change, confidence=self.basis.confidence)
        return math.expm1(size) if self.kind == "amount" else size


def make_additive(difference: Estimate | None, kind: FigureKind) -> Estimate | None:
    """Return a difference on a scale on which it is a sum: the logarithm of an amount's ratio.

    None if there is no difference, or if the ratio has no bounds.
    """
    if difference is None or kind != "amount":
        return difference
    if not (difference.low > 0 and math.isfinite(difference.high)):
        return None
    value, low, high = map(math.log, (difference.value, difference.low, difference.high))
    return Estimate(value, low, high, difference.n, difference.clusters)


def make_unbounded(value: float, like: Estimate) -> Estimate:
    """Return a value without an interval, with the sample size of another estimate."""
    return Estimate(value, -math.inf, math.inf, like.n, like.clusters)


def leave_out(
    subject: str,
    unit: Unit,
    caveat: Caveat,
    *,
    method: Method = Method.PAIRED,
    names: tuple[str, str] = ("", ""),
) -> FigureComparison:
    """Describe a figure that is not compared, with the reason."""
    return FigureComparison(
        subject=subject,
        unit=unit,
        direction=Direction.HIGHER,
        baseline=FigureSide(names[0], None),
        candidate=FigureSide(names[1], None),
        difference=None,
        margin=0.0,
        word=Word.NOT_ENOUGH_DATA,
        basis=Basis(
            method=method,
            confidence=CONFIDENCE,
            counted="items" if method is Method.PAIRED else "runs",
            cluster=None,
            waits_for=None,
            needed=None,
            smallest=None,
            caveats=[caveat],
        ),
    )


def has_few_units(difference: Estimate) -> bool:
    """Return whether there are so few pairs or clusters that an exact test decides."""
    return difference.n < LEAST_ITEMS or difference.clusters < LEAST_CLUSTERS


def decide(change: Estimate, margin: float, *, lower_is_better: bool = False) -> Word:
    """Turn a confidence interval and a margin into a verdict.

    * Better: the whole interval is above 0 and the estimate is at least the margin.
    * Worse: the whole interval is below 0 and the estimate is at most minus the margin.
    * No difference: the whole interval lies between minus and plus the margin.
    * Not enough data: everything else.

    Args:
        change: Candidate minus baseline, with its interval.
        margin: Smallest difference that matters.
        lower_is_better: Whether a decrease is an improvement. Then better and worse are swapped.
    """
    value, low, high = change.value, change.low, change.high
    if lower_is_better:
        value, low, high = -value, -high, -low
    if low > 0 and value >= margin:
        return Word.BETTER
    if high < 0 and value <= -margin:
        return Word.WORSE
    return Word.NO_DIFFERENCE if low >= -margin and high <= margin else Word.NOT_ENOUGH_DATA


def score_margin(deviation: float, *means: float) -> float:
    """Return the smallest difference between two mean scores that matters.

    It is a tenth of the standard deviation. If all scores are equal, it is a billionth of the mean,
    so that rounding does not count as a difference.

    Args:
        deviation: Standard deviation of the scores.
        means: Mean scores that are compared.
    """
    return max(SCORE_MARGIN * deviation, _ROUNDING * max(map(abs, means), default=0.0))
