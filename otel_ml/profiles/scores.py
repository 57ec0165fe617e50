"""Scores of a profile: numbers such as mean or precision, and whether one became worse."""

import math
from collections.abc import Mapping, Sequence
from itertools import compress
from statistics import fmean, pstdev
from typing import Any, ClassVar, Final

from otel_ml.arguments import check_one_of, check_text, invalid
from otel_ml.profiles.components import ABSENT, Component
from otel_ml.statistics.intervals import Estimate, difference, normal_quantile, wilson

# Values by component name. Equal indexes belong to the same run.
Values = Mapping[str, Sequence[object]]

THRESHOLD: Final = 0.01
_TWO_SIDED: Final = 0.975


class ProfileScore:
    """Base class of numbers that a profile computes over all runs, such as the mean of a component.

    A component is a value in each run, such as the input ``age``.

    Args:
        name: Name of the score.
        inputs: Name of the component, or a list of names if the score needs two components.
        preference: Whether ``high`` or ``low`` values are good.

    Attributes:
        result: The number. None if it has not been computed, or if there are no values.
        n: Number of values it was computed from.
        deviation: Standard deviation of these values.

    Raises:
        ValueError: An argument is invalid.
    """

    takes: ClassVar[int] = 1

    def __init__(self, name: str, inputs: str | Sequence[str], preference: str = "high") -> None:
        self.name = check_text("name", name)
        if "@" in self.name:
            raise invalid("name", name, "a text without @")
        self.inputs = _check_inputs(inputs, self.takes)
        self.preference = check_one_of("preference", preference, ("high", "low"))
        self.result: float | None = None
        self.n = 0
        self.deviation = 0.0

    @property
    def kind(self) -> str:
        """Name of the class, such as ``MeanScore``, as files store it."""
        return type(self).__name__

    @property
    def is_rate(self) -> bool:
        """Whether the score is a share of runs, from 0 to 1."""
        return True

    @property
    def estimate(self) -> Estimate | None:
        """The number with its 95 % interval. None if the number of values is unknown."""
        if self.result is None or self.n < 1:
            return None
        if self.is_rate:
            return wilson(self.result * self.n, self.n)
        half = normal_quantile(_TWO_SIDED) * self.deviation / math.sqrt(self.n)
        return Estimate(self.result, self.result - half, self.result + half, self.n, self.n)

    def build(self, values: Values) -> None:
        """Compute the score from values.

        Args:
            values: For each component by name, one value per run.
        """
        raise NotImplementedError

    def keep(self, result: float | None, n: int, deviation: float = 0.0) -> None:
        """Store a computed score: the number, the count of values and their standard deviation."""
        self.result, self.n, self.deviation = result, n, deviation

    def contrast(
        self, other: "ProfileScore", components: Mapping[str, Component], threshold: float
    ) -> dict[str, Any]:
        """Compare the score of another profile with this score.

        The other score is worse if two conditions are met: it differs in the bad direction by more
        than `threshold`, and the confidence interval of the difference excludes 0. Without an
        interval, only the threshold counts.

        Args:
            other: The score of the other profile.
            components: Components of this profile, by name.
            threshold: Smallest change that matters, divided by the range of the component (its
                largest minus its smallest value). For a rate, such as precision, the range is 1.

        Returns:
            A dict. `alert` is True if the other score is worse. `diff` is the change as a share of
            the range. `valid` is False if one of the scores has no value. `before` is this score,
            `after` is the other score. `low` and `high` are the confidence interval of the change,
            if known.
        """
        if self.result is None or other.result is None:
            return {"diff": None, "alert": False, "valid": False}
        change = other.result - self.result
        span = 1.0 if self.is_rate else _range_of(components.get(self.inputs[0]))
        diff = abs(change) / span if span else math.inf * bool(change)
        is_worse = change < 0 if self.preference == "high" else change > 0
        report = {
            "diff": float(diff) if math.isfinite(diff) else 1.0,
            "alert": bool(is_worse and diff > threshold),
            "valid": True,
            "before": self.result,
            "after": other.result,
        }
        before, after = self.estimate, other.estimate
        if before is not None and after is not None:
            gap = difference(before, after)
            report |= {"low": gap.low, "high": gap.high}
            report["alert"] = report["alert"] and not gap.low <= 0 <= gap.high
        return report

    def to_dict(self) -> dict[str, Any]:
        """Return the score as a dictionary that can be written as JSON. `score_of` reads it."""
        facts: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "inputs": list(self.inputs),
            "preference": self.preference,
        }
        if self.result is not None:
            facts |= {"result": self.result, "n": self.n, "deviation": self.deviation}
        return facts

    def __repr__(self) -> str:
        return f"{self.kind}({self.name!r}, {list(self.inputs)!r})"


class MeanScore(ProfileScore):
    """The mean of a component's numbers. See `ProfileScore` for the arguments."""

    @property
    def is_rate(self) -> bool:
        """Always False: a mean is not a share of runs."""
        return False

    def build(self, values: Values) -> None:
        """Compute the mean of the finite numbers."""
        numbers = [
            float(value)
            for value in values.get(self.inputs[0], ())
            if isinstance(value, int | float) and math.isfinite(value)
        ]
        if numbers:
            self.keep(fmean(numbers), len(numbers), pstdev(numbers))
        else:
            self.keep(None, 0)


class PrecisionScore(ProfileScore):
    """Precision: the share of true positives among the runs that were predicted positive.

    Args:
        name: Name of the score.
        inputs: Name of the component that says for each run whether the prediction was a true
            positive (``TP``), false positive (``FP``), true negative (``TN``) or false negative
            (``FN``). Its dtype is ``CAT``.
        preference: Whether ``high`` or ``low`` values are good. Default: ``high``.
    """

    other: ClassVar[str] = "FP"

    def build(self, values: Values) -> None:
        """Compute the score from one value per run: ``TP``, ``FP``, ``TN`` or ``FN``.

        A `PrecisionScore` uses the runs that were predicted positive. A `RecallScore` uses the runs
        that are positive in ground truth. If there are no such runs, the score is None.
        """
        items = [value for value in values.get(self.inputs[0], ()) if value in ("TP", self.other)]
        right = sum(value == "TP" for value in items)
        self.keep(right / len(items) if items else None, len(items))


class RecallScore(PrecisionScore):
    """Recall: the share of true positives among the runs that are positive in ground truth.

    See `PrecisionScore` for the arguments.
    """

    other = "FN"


class ClassPrecisionScore(ProfileScore):
    """Precision of one class: the share of the runs predicted as this class that belong to it.

    Args:
        name: Name of the score.
        inputs: Names of two components: first the prediction, then the ground truth.
        positive: The class, such as ``spam``.
        preference: Whether ``high`` or ``low`` values are good. Default: ``high``.
    """

    takes = 2
    # Index of the component that must equal the class for a run to count: 0 is the prediction, 1 is
    # the ground truth.
    chosen: ClassVar[int] = 0

    def __init__(
        self, name: str, inputs: Sequence[str], positive: object, preference: str = "high"
    ) -> None:
        super().__init__(name, inputs, preference)
        self.positive = positive

    def build(self, values: Values) -> None:
        """Compute the score from pairs of prediction and ground truth, one pair per run.

        A `ClassPrecisionScore` uses the runs predicted as the class. A `ClassRecallScore` uses the
        runs that belong to the class. If there are no such runs, the score is None.
        """
        sides = [values.get(name, ()) for name in self.inputs]
        pairs = [pair for pair in zip(*sides, strict=False) if ABSENT not in pair]
        counted = [*compress(pairs, (pair[self.chosen] == self.positive for pair in pairs))]
        right = sum(prediction == truth for prediction, truth in counted)
        self.keep(right / len(counted) if counted else None, len(counted))

    def to_dict(self) -> dict[str, Any]:
        """Return the score as a dictionary that can be written as JSON."""
        return {**super().to_dict(), "positive": self.positive}


class ClassRecallScore(ClassPrecisionScore):
    """Recall of one class: how many of the runs that belong to it were predicted as this class.

    See `ClassPrecisionScore` for the arguments.
    """

    chosen = 1


SCORE_KINDS: Final[Mapping[str, type[ProfileScore]]] = {
    score.__name__: score
    for score in (MeanScore, PrecisionScore, RecallScore, ClassPrecisionScore, ClassRecallScore)
}


def score_of(facts: Mapping[str, Any]) -> ProfileScore:
    """Create a score from what `ProfileScore.to_dict` returned.

    Raises:
        ValueError: The dictionary is not a score.
    """
    try:
        made = SCORE_KINDS[facts["kind"]]
        options = {"positive": facts["positive"]} if "positive" in facts else {}
        score = made(facts["name"], facts["inputs"], preference=facts["preference"], **options)
        if "result" in facts:
            score.keep(float(facts["result"]), int(facts["n"]), float(facts["deviation"]))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("Invalid score: expected what ProfileScore.to_dict returned") from error
    return score


def _range_of(component: Component | None) -> float:
    low, high = (None, None) if component is None else component.bounds
    return high - low if low is not None and high is not None else 1.0


def _check_inputs(inputs: object, takes: int) -> tuple[str, ...]:
    kind = type(inputs)
    names: Sequence[object] = ()
    if issubclass(kind, str | list | tuple):
        given: Any = inputs
        names = [given] if issubclass(kind, str) else given
    if len(names) != takes:
        raise invalid("inputs", inputs, f"the names of {takes} component{'s' * (takes > 1)}")
    return tuple(check_text("inputs", name) for name in names)
