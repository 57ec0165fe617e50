"""The verdict on two sides, such as two versions: of recorded runs, and of experiments."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Final, Protocol

from pydantic import BeforeValidator, ConfigDict, Field

from otel_ml.statistics.comparison import FAILED_CALLS, WORST_FIRST, FigureComparison, Word
from otel_ml.statistics.intervals import Estimate
from otel_ml.statistics.release import FALSE_WORDS
from otel_ml.statistics.sentences import list_reasons, write_sentence
from otel_ml.statistics.verdict import Verdict
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.store.versions import Numbers
from otel_ml_collector.wording import numbered

# Names of the figures that every recorded run has. Any other figure is a judge.
ERRORS: Final = "errors"
MISSING: Final = "missing outputs"
AMOUNT_FIGURES: Final = ("latency", "tokens", "cost")
# What kind of interval a comparison of recorded runs has: all of its intervals hold together,
# however often you look.
AT_ALL_LOOKS: Final = f"{100 * (1 - FALSE_WORDS):.0f} % interval at all looks"


def _finite(bound: float | None) -> float | None:
    return bound if bound is not None and math.isfinite(bound) else None


_Bound = Annotated[float | None, BeforeValidator(_finite)]


class JudgeVersionName(AnswerBody):
    """A version of a judge. Scores of different versions are never combined."""

    judge: str
    version: int | None = Field(description="Number of the judge's version; null if it has none")
    digest: str = Field(description="Digest of the judge's definition; empty if it has no version")

    @property
    def name(self) -> str:
        """The judge and its number, as `grounded:v2`."""
        return numbered(self.judge, self.version)

    @property
    def order(self) -> tuple[str, int, str]:
        """Sort key that puts a judge's newest version first, and scores without a version last."""
        return self.judge, -(self.version or 0), self.digest


class Interval(AnswerBody):
    """A number with its interval. A missing bound is null."""

    model_config = ConfigDict(from_attributes=True)

    value: float
    low: _Bound
    high: _Bound
    n: int
    clusters: int


def _interval_of(estimate: Estimate | None) -> Interval | None:
    return None if estimate is None else Interval.model_validate(estimate)


class JudgeChange(JudgeVersionName):
    """The change between two sides by a judge; pass rates are from 0 to 1."""

    word: Word
    sentence: str
    is_rate: bool = Field(
        description="True if the values are pass rates, false if they are mean scores"
    )
    lower_is_better: bool = Field(description="Whether lower values are better")
    baseline: Interval | None = Field(description="Pass rate or mean score of the baseline")
    candidate: Interval | None
    difference: Interval | None = Field(
        description="Candidate minus baseline. In experiments, the intervals of all judges "
        "together have 95 % confidence (Bonferroni). For recorded runs, the intervals of all "
        "figures together have 99 % confidence, however often you look"
    )
    margin: float = Field(description="Smallest difference that matters")
    detectable: float | None = Field(
        description="Smallest difference that this many runs show with 80 % power"
    )
    needed: int | None = Field(
        description="Number of items or runs that would show a difference as large as `margin` "
        "with 80 % power"
    )
    reasons: list[str] = Field(
        description="Why there is not enough data, apart from the width of the interval"
    )
    target: str = Field(
        default="", description="Prediction target, if ground truth is compared; else empty"
    )
    on_request: bool = Field(
        default=False,
        description="Whether scores of requests that contain the runs are among the scores",
    )


class AmountChange(AnswerBody):
    """The change in latency, tokens or cost of successful calls. Lower is better."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    word: Word
    sentence: str
    ratio: Interval = Field(
        description="Candidate divided by baseline. In experiments, only items that both have are "
        "included"
    )
    margin: float = Field(description="Smallest relative change that matters; 0.05 is 5 %")
    reasons: list[str]
    baseline: Interval | None = Field(
        default=None,
        description="Geometric mean of the baseline, with latency in ms and cost in $; null if "
        "unknown",
    )
    candidate: Interval | None = None


class FailureChange(AnswerBody):
    """The change of the share of failed calls. Lower is better."""

    model_config = ConfigDict(from_attributes=True)

    word: Word = Field(
        description="`worse` if the share of failed calls rose by at least 2 points and the whole "
        "interval is above 0, or if every call fails now. `better` is the opposite. Either of "
        "them decides the whole verdict"
    )
    sentence: str
    baseline: Interval | None = Field(description="Share of failed calls, from 0 to 1")
    candidate: Interval | None
    difference: Interval | None = Field(
        description="Candidate minus baseline; null if they have no items in common"
    )
    margin: float
    reasons: list[str] = Field(
        description="Why there is not enough data, apart from the width of the interval"
    )

    @property
    def is_decided(self) -> bool:
        """Whether failures have risen or fallen."""
        return self.word in {"worse", "better"}

    @property
    def named(self) -> str:
        """The sentence, with the name of the figure in front."""
        return f"{FAILED_CALLS}: {self.sentence}"


class FigureChange(AnswerBody):
    """The change of one figure between two sets of recorded runs."""

    name: str = Field(
        description="errors, missing outputs, latency, tokens, cost, a judge, or truth with the "
        "name of a prediction target"
    )
    judge_version: str = Field(description="Digest of the judge's version; empty without one")
    judge_number: int | None = Field(
        default=None, description="Number of the judge's version; null without one"
    )
    word: Word
    sentence: str
    is_rate: bool
    lower_is_better: bool
    baseline: Interval | None = Field(
        description="Value of the baseline, with its interval. For latency (ms), tokens and "
        "cost ($), this is the geometric mean, without an interval. If a side has "
        "fewer than 30 runs, there is no interval"
    )
    candidate: Interval | None
    difference: Interval | None = Field(
        description="Candidate minus baseline; for latency, tokens and cost, candidate divided by "
        "baseline. Null if a side has fewer than 30 runs"
    )
    margin: float = Field(description="Smallest difference that matters")
    detectable: float | None = Field(
        description="Smallest difference that this many runs show with 80 % power"
    )
    reasons: list[str] = Field(
        description="Why there is not enough data, apart from the width of the interval"
    )
    runs: int = Field(description="Number of runs of the candidate that have this figure")
    needed: int | None = Field(
        description="About how many runs are needed to show a difference as large as `margin`; "
        "null if the baseline has too few runs to tell"
    )
    smallest: float | None = Field(
        description="Smallest difference that can be shown with this baseline, even with an "
        "unlimited number of runs"
    )
    target: str = Field(
        default="", description="Prediction target, if ground truth is compared; else empty"
    )
    on_request: bool = Field(
        default=False,
        description="Whether scores of requests that contain the runs are among the scores",
    )


def make_figure_change(
    figure: FigureComparison, digest: str = "", number: int | None = None
) -> FigureChange:
    """Describe the comparison of a figure, such as latency, for the API and for pages.

    Args:
        figure: The comparison.
        digest: Digest of the judge's version. Empty if the figure is not from a judge.
        number: Number of the judge's version. None if the figure is not from a judge.
    """
    return FigureChange(
        name=figure.subject,
        judge_version=digest,
        judge_number=number,
        word=figure.word,
        sentence=write_sentence(figure),
        is_rate=figure.is_rate,
        lower_is_better=figure.lower_is_better,
        baseline=_interval_of(figure.baseline.estimate),
        candidate=_interval_of(figure.candidate.estimate),
        difference=_interval_of(figure.difference),
        margin=figure.margin,
        detectable=None if figure.kind == "amount" else figure.detectable,
        reasons=list_reasons(figure),
        runs=figure.runs,
        needed=figure.basis.needed,
        smallest=figure.basis.smallest,
    )


class RecordedChange(AnswerBody):
    """The verdict on two sets of recorded runs, which are not paired."""

    word: Word
    sentence: str = Field(description="Sentence about the figure that decides")
    judges: list[JudgeChange]
    amounts: list[AmountChange]
    failures: FailureChange | None = Field(
        description="Change of the share of failed calls; null if no call failed"
    )
    missing: FailureChange | None = Field(
        description="Change of the share of runs without output; null if every run has one"
    )


def make_recorded_change(
    word: Word, sentence: str, figures: Iterable[FigureChange]
) -> RecordedChange:
    """Group the changes of figures into judges, amounts, and failed calls."""
    shares: dict[str, FailureChange] = {}
    judges, amounts = list[JudgeChange](), list[AmountChange]()
    for figure in figures:
        if figure.name in (ERRORS, MISSING):
            sides = (figure.baseline, figure.candidate)
            if any(side.value for side in sides if side is not None):
                shares[figure.name] = _make_failure_change(figure)
        elif figure.name in AMOUNT_FIGURES:
            amounts.append(_make_amount_change(figure))
        else:
            judges.append(_make_judge_change(figure))
    return RecordedChange(
        word=word,
        sentence=sentence,
        judges=judges,
        amounts=amounts,
        failures=shares.get(ERRORS),
        missing=shares.get(MISSING),
    )


def _make_judge_change(figure: FigureChange) -> JudgeChange:
    facts = figure.model_dump(exclude={"judge_version", "judge_number", "runs", "smallest", "name"})
    version = {"digest": figure.judge_version, "version": figure.judge_number}
    return JudgeChange.model_validate({**facts, **version, "judge": figure.name})


def _make_failure_change(figure: FigureChange) -> FailureChange:
    return FailureChange.model_validate(figure.model_dump())


def _make_amount_change(figure: FigureChange) -> AmountChange:
    facts = figure.model_dump()
    return AmountChange.model_validate({**facts, "ratio": facts["difference"]})


class JudgedSides(Protocol):
    """A comparison of two sides, of experiments or of recorded runs."""

    @property
    def word(self) -> Word:
        """The verdict."""

    @property
    def judges(self) -> Sequence[JudgeChange]:
        """By each judge."""

    @property
    def amounts(self) -> Sequence[AmountChange]:
        """Latency, tokens and cost."""

    @property
    def failures(self) -> FailureChange | None:
        """The share of failed calls."""


def find_worst(comparison: JudgedSides) -> tuple[Word, str, float] | None:
    """Find the figure that decides a comparison, such as the scores of a judge, and its verdict.

    If the share of failed calls is `worse` or `better`, and the whole comparison has the same
    verdict, the share of failed calls decides. Otherwise, the judge with the worst verdict decides.
    If no judge could be compared, the worst of latency, tokens and cost decides. If several figures
    have the same verdict, the one with the largest change decides.

    Returns:
        The verdict on this figure, a sentence about it, and by how much the figure changed, always
        as a positive number: 0.2 is 20 points of a share, or 20 % more or less latency. None if
        there are no figures.
    """
    failures, judges = comparison.failures, comparison.judges
    if failures is not None and failures.is_decided and failures.word == comparison.word:
        size = abs(failures.difference.value) if failures.difference else 1.0
        return failures.word, failures.named, size
    changes: list[tuple[Word, str, float]] = [
        (judge.word, f"{judge.judge}: {judge.sentence}", abs(judge.difference.value))
        for judge in judges
        if judge.difference
    ] or [
        (amount.word, f"{amount.name}: {amount.sentence}", abs(amount.ratio.value - 1))
        for amount in comparison.amounts
    ]
    return min(changes, key=lambda entry: (WORST_FIRST.index(entry[0]), -entry[2]), default=None)


def make_judges(
    verdict: Verdict, numbers: Numbers, chosen: Mapping[str, Collection[str]]
) -> list[JudgeChange]:
    """Describe the change for each judge, with the judge version that was chosen."""
    changes = []
    for name, judge in verdict.judges.items():
        digest = next(iter(chosen[name])) if len(chosen[name]) == 1 else ""
        changes.append(
            _make_judge_change(make_figure_change(judge, digest, numbers.get((name, digest, ""))))
        )
    return changes


def make_failures(verdict: Verdict) -> FailureChange | None:
    """Describe the change of the share of failed calls. None if no call failed."""
    failures = verdict.failures
    return None if failures is None else _make_failure_change(make_figure_change(failures))


def make_amounts(verdict: Verdict) -> list[AmountChange]:
    """Describe the changes in latency, tokens and cost."""
    return [_make_amount_change(make_figure_change(amount)) for amount in verdict.amounts.values()]


def choose_versions(
    sides: Sequence[Mapping[str, Collection[str]]], numbers: Numbers
) -> dict[str, set[str]]:
    """Choose one version of each judge: the newest that scored all sets of runs to compare.

    If no version scored all of them, all versions of the judge are returned, and there is
    not enough data for a verdict.

    Args:
        sides: For each set of runs, the digests of the judge versions that scored it, by judge.
        numbers: The version numbers of the judges.
    """
    chosen: dict[str, set[str]] = {}
    for judge in {name: None for side in sides for name in side}:
        scored = [set(side.get(judge, ())) for side in sides]
        both = set.intersection(*scored)
        newest = max(
            both, key=lambda entry: (numbers.get((judge, entry, ""), 0), entry), default=None
        )
        chosen[judge] = set.union(*scored) if newest is None else {newest}
    return chosen
