"""The verdict on two sides that judges compared: in production, and in experiments."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from otel_ml.statistics.verdict import FAILED_CALLS, Verdict, Word
from otel_ml_collector.store.versions import Numbers
from otel_ml_collector.web.view import numbered


def _finite(bound: float | None) -> float | None:
    return bound if bound is not None and math.isfinite(bound) else None


_Bound = Annotated[float | None, BeforeValidator(_finite)]


class JudgeVersionName(BaseModel):
    """Which version of a judge spoke; figures of different ones are never joined."""

    judge: str
    version: int | None = Field(description="Its small number; null where it told no version")
    digest: str = Field(description="Of its definition; empty where it told none")

    @property
    def name(self) -> str:
        """The judge and its number, as `grounded:v2`."""
        return numbered(self.judge, self.version)

    @property
    def order(self) -> tuple[str, int, str]:
        """Sort key that puts a judge's newest version first, and scores without a version last."""
        return self.judge, -(self.version or 0), self.digest


class Interval(BaseModel):
    """A number with its interval; null where it has no bound."""

    model_config = ConfigDict(from_attributes=True)

    value: float
    low: _Bound
    high: _Bound
    n: int
    clusters: int


class JudgeChange(JudgeVersionName):
    """The change between two sides by a judge; pass rates are from 0 to 1."""

    word: Word
    sentence: str
    is_rate: bool = Field(description="Whether the values are pass rates, or mean scores")
    lower_is_better: bool = Field(description="Whether lower values are the better ones")
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
    """The change in latency, tokens or cost, of calls that were answered: less is better."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    word: Word
    sentence: str
    ratio: Interval = Field(
        description="Candidate to baseline: of medians, or of the items that both have"
    )
    margin: float
    reasons: list[str]


class FailureChange(BaseModel):
    """The change of the share of failed calls between two sides; less is better."""

    model_config = ConfigDict(from_attributes=True)

    word: Word = Field(
        description="`worse` if failures have risen: by at least 2 points, with an interval above "
        "0, or because every call fails now. `better` if they have fallen in the same sense. Both "
        "decide about the whole verdict"
    )
    sentence: str
    baseline: Interval | None = Field(description="Its share of failed calls, from 0 to 1")
    candidate: Interval | None
    difference: Interval | None = Field(description="Null if both have no item in common")
    margin: float
    reasons: list[str] = Field(description="Why it is inconclusive, besides its interval")

    @property
    def is_decided(self) -> bool:
        """Whether failures have risen or fallen."""
        return self.word in {"worse", "better"}

    @property
    def named(self) -> str:
        """The sentence with what it is about."""
        return f"{FAILED_CALLS}: {self.sentence}"


# What both say of themselves, besides which version of a judge it was.
_CHANGE_FIELDS: Final = JudgeChange.model_fields.keys() - {"version", "digest"}


def make_judges(
    verdict: Verdict, numbers: Numbers, chosen: Mapping[str, Collection[str]]
) -> list[JudgeChange]:
    """Make the answers of the judges' changes, of the versions that were chosen of each judge."""
    changes = []
    for name, judge in verdict.judges.items():
        facts = {field: getattr(judge, field) for field in _CHANGE_FIELDS}
        digest = next(iter(chosen[name])) if len(chosen[name]) == 1 else ""
        version = numbers.get((name, digest, ""))
        changes.append(JudgeChange(version=version, digest=digest, **facts))
    return changes


def make_failures(verdict: Verdict) -> FailureChange | None:
    """Make the answer of the change of the share of failed calls; None if no call failed."""
    failures = verdict.failures
    return None if failures is None else FailureChange.model_validate(failures)


def make_amounts(verdict: Verdict) -> list[AmountChange]:
    """Make the answers of the changes in latency, tokens and cost."""
    return [AmountChange.model_validate(amount) for amount in verdict.amounts.values()]


def choose_versions(
    sides: Sequence[Mapping[str, Collection[str]]], numbers: Numbers
) -> dict[str, set[str]]:
    """Choose of each judge the version that counts: the newest that spoke of all sides.

    Where there is none no number is given, and the verdict says so: all versions count.

    Each side names, by judge, the digests of the versions that spoke.
    """
    chosen: dict[str, set[str]] = {}
    for judge in {name: None for side in sides for name in side}:
        spoke = [set(side.get(judge, ())) for side in sides]
        both = set.intersection(*spoke)
        newest = max(
            both, key=lambda entry: (numbers.get((judge, entry, ""), 0), entry), default=None
        )
        chosen[judge] = set.union(*spoke) if newest is None else {newest}
    return chosen
