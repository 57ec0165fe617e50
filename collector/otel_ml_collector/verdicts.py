"""What is said of two sides that judges compared: in production, and in experiments."""

import math
from collections.abc import Collection, Mapping, Sequence

from pydantic import BaseModel, Field

from otel_ml.statistics.intervals import Estimate
from otel_ml.statistics.verdict import AmountVerdict, JudgeVerdict, Verdict, Word
from otel_ml_collector.stats import JudgeVersionName
from otel_ml_collector.store.statistics import Numbers


class Interval(BaseModel):
    """A number with its interval; null where it has no bound."""

    value: float
    low: float | None
    high: float | None
    n: int
    clusters: int


class JudgeChange(JudgeVersionName):
    """What changed between two sides by one judge; pass rates are from 0 to 1."""

    word: Word
    sentence: str
    is_rate: bool = Field(description="Whether the values are pass rates, or mean scores")
    baseline: Interval | None = Field(description="Its pass rate, else its mean score")
    candidate: Interval | None
    difference: Interval | None = Field(
        description="Candidate less baseline; all judges share the 95 % (Bonferroni)"
    )
    margin: float = Field(description="A difference below it does not matter")
    detectable: float | None = Field(
        description="The difference that so many runs could have shown with 80 % power"
    )
    needed: int | None = Field(
        description="How many runs of both would show the margin with 80 % power"
    )
    reasons: list[str] = Field(description="Why it is inconclusive, besides its interval")


class AmountChange(BaseModel):
    """What changed in latency, tokens or cost, of calls that were answered: less is better."""

    name: str
    word: Word
    sentence: str
    ratio: Interval = Field(
        description="Candidate to baseline: of medians, or of the items that both have"
    )
    margin: float
    reasons: list[str]


def make_interval(of: Estimate) -> Interval:
    """Make the answer of an estimate."""
    low, high = (bound if math.isfinite(bound) else None for bound in (of.low, of.high))
    return Interval(value=of.value, low=low, high=high, n=of.n, clusters=of.clusters)


def make_judges(
    found: Verdict, numbers: Numbers, chosen: Mapping[str, Collection[str]]
) -> list[JudgeChange]:
    """Make the answers of what judges say.

    Args:
        found: What they say.
        numbers: The small numbers of the judges' versions.
        chosen: The digests of the versions of each judge that count.
    """
    return [_judge_change(one, numbers, chosen[name]) for name, one in found.judges.items()]


def _judge_change(one: JudgeVerdict, numbers: Numbers, digests: Collection[str]) -> JudgeChange:
    digest = next(iter(digests)) if len(digests) == 1 else ""
    return JudgeChange(
        judge=one.judge,
        version=numbers.get((one.judge, digest, "")),
        digest=digest,
        word=one.word,
        sentence=one.sentence,
        is_rate=one.is_rate,
        baseline=make_interval(one.baseline) if one.baseline else None,
        candidate=make_interval(one.candidate) if one.candidate else None,
        difference=make_interval(one.difference) if one.difference else None,
        margin=one.margin,
        detectable=one.detectable,
        needed=one.needed,
        reasons=list(one.reasons),
    )


def make_amounts(found: Mapping[str, AmountVerdict]) -> list[AmountChange]:
    """Make the answers of what changed in latency, tokens and cost."""
    return [
        AmountChange(
            name=name,
            word=one.word,
            sentence=one.sentence,
            ratio=make_interval(one.ratio),
            margin=one.margin,
            reasons=list(one.reasons),
        )
        for name, one in found.items()
    ]


def choose_versions(
    sides: Sequence[Mapping[str, Collection[str]]], numbers: Numbers
) -> dict[str, set[str]]:
    """Choose of each judge the version that counts: the newest that spoke of all sides.

    Where there is none no number is given, and the verdict says so: all versions count.

    Args:
        sides: Of each side the digests of the versions that spoke, by judge.
        numbers: The small numbers of the versions.
    """
    chosen: dict[str, set[str]] = {}
    for judge in {name: None for side in sides for name in side}:
        spoke = [set(side.get(judge, ())) for side in sides]
        both = set.intersection(*spoke)
        newest = max(both, key=lambda one: (numbers.get((judge, one, ""), 0), one), default=None)
        chosen[judge] = set.union(*spoke) if newest is None else {newest}
    return chosen
