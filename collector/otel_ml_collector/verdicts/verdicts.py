"""The verdict on two sides, such as two versions: of recorded runs, and of experiments."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Final, Protocol

from pydantic import BeforeValidator, ConfigDict, Field

from otel_ml.statistics.comparison import WORST_FIRST, FigureComparison, Unit, Word
from otel_ml.statistics.intervals import Estimate
from otel_ml.statistics.release import FALSE_WORDS
from otel_ml.statistics.sentences import FigureText, list_reasons, write_comparison
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


class ComparedFigure(AnswerBody):
    """One figure, such as a pass rate or latency, compared between two sides."""

    name: str = Field(
        description="errors, failed calls, missing outputs, latency, tokens, cost, a judge, or "
        "truth with the name of a prediction target"
    )
    judge_version: str = Field(description="Digest of the judge's version; empty without one")
    judge_number: int | None = Field(
        default=None, description="Number of the judge's version; null without one"
    )
    word: Word = Field(
        description="Verdict on this figure. For failed calls, `worse` means that their share rose "
        "by at least 2 points and the whole interval is above 0, or that every call fails now"
    )
    sentence: str
    text: FigureText = Field(exclude=True, description="The parts of the sentence")
    unit: Unit = Field(exclude=True, description="Unit of the values")
    is_rate: bool = Field(
        description="True if the values are shares from 0 to 1, such as pass rates"
    )
    lower_is_better: bool = Field(description="Whether lower values are better")
    baseline: Interval | None = Field(
        description="Value of the baseline, with its interval. For latency (ms), tokens and "
        "cost ($), this is the geometric mean, without an interval. If a side of recorded runs has "
        "fewer than 30 runs, there is no interval"
    )
    candidate: Interval | None
    difference: Interval | None = Field(
        description="Candidate minus baseline; for latency, tokens and cost, candidate divided by "
        "baseline. Null if they have no items in common, or if a side has fewer than 30 runs. In "
        "experiments, the intervals of all judges together have 95 % confidence (Bonferroni). For "
        "recorded runs, the intervals of all figures together have 99 % confidence, however often "
        "you look"
    )
    margin: float = Field(
        description="Smallest difference that matters; for latency, tokens and cost, 0.05 is 5 %"
    )
    detectable: float | None = Field(
        description="Smallest difference that this many runs show with 80 % power"
    )
    reasons: list[str] = Field(
        description="Why there is not enough data, apart from the width of the interval"
    )
    runs: int = Field(
        description="Number of items, or of runs of the candidate, that have this figure"
    )
    needed: int | None = Field(
        description="About how many items or runs are needed to show a difference as large as "
        "`margin` with 80 % power; null if the baseline has too few runs to tell"
    )
    smallest: float | None = Field(
        description="Smallest difference that can be shown with this baseline, even with an "
        "unlimited number of runs; null if there is no such limit"
    )
    target: str = Field(
        default="", description="Prediction target, if ground truth is compared; else empty"
    )
    on_request: bool = Field(
        default=False,
        description="Whether scores of requests that contain the runs are among the scores",
    )

    @property
    def numbered(self) -> str:
        """The name, with the number of the judge's version, as `grounded:v2`."""
        return numbered(self.name, self.judge_number)

    @property
    def is_decided(self) -> bool:
        """Whether the figure is worse or better."""
        return self.word.is_decided

    @property
    def named_sentence(self) -> str:
        """The sentence with the name of the figure in front, as in `exact: 67 % pass`."""
        return f"{self.name}: {self.sentence}"

    @property
    def size(self) -> float:
        """How much the figure changed: 0.2 is 20 points of a share, or 20 % of an amount."""
        if self.difference is None:
            return 1.0
        return abs(self.difference.value - (self.unit.kind == "amount"))

    @property
    def is_judge(self) -> bool:
        """Whether a judge gives the values."""
        return self.unit in (Unit.PASSES, Unit.SCORE) and not self.target


def describe_figure(
    figure: FigureComparison, digest: str = "", number: int | None = None
) -> ComparedFigure:
    """Describe the comparison of a figure, such as latency, for the API and for pages.

    Args:
        figure: The comparison.
        digest: Digest of the judge's version. Empty if the figure is not from a judge.
        number: Number of the judge's version. None if the figure is not from a judge.
    """
    text = write_comparison(figure)
    return ComparedFigure(
        name=figure.subject,
        judge_version=digest,
        judge_number=number,
        word=figure.word,
        sentence=str(text),
        text=text,
        unit=figure.unit,
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


class FiguresVerdict(AnswerBody):
    """The verdict on two sides: two experiments, or two sets of recorded runs."""

    word: Word = Field(
        description="Verdict of the figure or judge that decides: worse, not enough data, "
        "no difference or better"
    )
    sentence: str = Field(description="Sentence about the figure or judge that decides")
    deciding: ComparedFigure | None = Field(
        default=None, exclude=True, description="The figure or judge that decides"
    )
    reasons: list[str] = Field(description="Why the whole comparison has not enough data")
    judges: list[ComparedFigure] = Field(description="Judges and prediction targets")
    amounts: list[ComparedFigure] = Field(description="Latency, tokens and cost")
    failures: ComparedFigure | None = Field(
        description="Change of the share of failed calls; null if no call failed"
    )
    missing: ComparedFigure | None = Field(
        description="Change of the share of runs without output; null if every run has one, and "
        "for experiments"
    )


def judge_recorded(
    word: Word,
    sentence: str,
    figures: Iterable[ComparedFigure],
    deciding: ComparedFigure | None = None,
) -> FiguresVerdict:
    """Make the verdict on two sets of recorded runs, whose figures are sorted into groups."""
    shares: dict[str, ComparedFigure] = {}
    judges, amounts = list[ComparedFigure](), list[ComparedFigure]()
    for figure in figures:
        if figure.name in (ERRORS, MISSING):
            sides = (figure.baseline, figure.candidate)
            if any(side.value for side in sides if side is not None):
                shares[figure.name] = figure
        elif figure.name in AMOUNT_FIGURES:
            amounts.append(figure)
        else:
            judges.append(figure)
    return FiguresVerdict(
        word=word,
        sentence=sentence,
        deciding=deciding,
        reasons=[],
        judges=judges,
        amounts=amounts,
        failures=shares.get(ERRORS),
        missing=shares.get(MISSING),
    )


class JudgedSides(Protocol):
    """A comparison of two sides, of experiments or of recorded runs."""

    @property
    def word(self) -> Word:
        """The verdict."""

    @property
    def judges(self) -> Sequence[ComparedFigure]:
        """By each judge."""

    @property
    def amounts(self) -> Sequence[ComparedFigure]:
        """Latency, tokens and cost."""

    @property
    def failures(self) -> ComparedFigure | None:
        """The share of failed calls."""


def find_worst(comparison: JudgedSides) -> ComparedFigure | None:
    """Find the figure that decides a comparison, such as the scores of a judge.

    If the share of failed calls is `worse` or `better`, and the whole comparison has the same
    verdict, the share of failed calls decides. Otherwise, the judge with the worst verdict decides.
    If no judge could be compared, the worst of latency, tokens and cost decides. If several figures
    have the same verdict, the one with the largest change decides. None if there are no figures.
    """
    failures = comparison.failures
    if failures is not None and failures.is_decided and failures.word == comparison.word:
        return failures
    changes = [judge for judge in comparison.judges if judge.difference]
    changes = changes or [amount for amount in comparison.amounts if amount.difference]
    return min(changes, key=lambda it: (WORST_FIRST.index(it.word), -it.size), default=None)


def describe_judges(
    verdict: Verdict, numbers: Numbers, chosen: Mapping[str, Collection[str]]
) -> list[ComparedFigure]:
    """Describe the comparison by each judge, with the judge version that was chosen."""
    figures = []
    for name, judge in verdict.judges.items():
        digest = next(iter(chosen[name])) if len(chosen[name]) == 1 else ""
        figures.append(describe_figure(judge, digest, numbers.get((name, digest, ""))))
    return figures


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
