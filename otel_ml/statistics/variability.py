"""Measures how similar a model's answers are when it gets the same input several times.

Each input counts once: inputs with many runs have no more weight than others.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from otel_ml.statistics import floats
from otel_ml.statistics.comparison import LEAST_ITEMS, decide
from otel_ml.statistics.intervals import (
    Estimate,
    cluster_mean,
    difference,
    needed,
    wilson,
)
from otel_ml.statistics.paired import estimate_mean
from otel_ml.statistics.sentences import add_evidence, count_digits, count_missing, write_open

# Smallest difference of agreement that matters: 2 points, as for any rate.
MARGIN: Final = 0.02
_FEW_POINTS: Final = 0.1
_WORDS: Final = {"better": "steadier", "worse": "less steady"}


@dataclass(frozen=True, slots=True)
class RepeatedInput:
    """An input that a model answered several times.

    Attributes:
        answers: Number of runs for each different answer: ``[3, 1]`` means that three runs gave one
            answer and one run gave another.
        scores: Scores of the runs by judge, without runs that have no score.
    """

    answers: Sequence[int]
    scores: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def runs(self) -> int:
        """Number of runs that answered the input."""
        return sum(self.answers)

    @property
    def agreement(self) -> float:
        """Probability that two runs, drawn at random, gave the same answer."""
        n = self.runs
        return sum(count * (count - 1) for count in self.answers) / (n * (n - 1))

    def spread(self, judge: str) -> float | None:
        """Return the mean difference between two scores of this input by one judge.

        None if there are fewer than two scores.

        Source: Gini's mean difference, from the ordered scores (David and Nagaraja, Order
        statistics (2003), section 9.4).
        """
        scores = sorted(self.scores.get(judge, ()))
        n = len(scores)
        if n < 2:  # noqa: PLR2004 - a pair
            return None
        # A step between neighbours counts for each pair with one score below and one above it.
        steps = (
            (after - before) * place * (n - place)
            for place, (before, after) in enumerate(pairwise(scores), 1)
        )
        return 2 * floats.add(steps) / (n * (n - 1))


@dataclass(frozen=True, slots=True)
class Variability:
    """How consistently a model answers the same input, estimated from repeated runs.

    Attributes:
        inputs: Number of inputs that were answered several times.
        runs: Number of runs that answered them.
        differing: Share of these inputs that got different answers. It grows with the number of
            runs per input.
        agreement: Probability that two runs with the same input gave the same answer. It does not
            depend on the number of runs per input.
        spreads: For each judge, the mean difference between its scores of two runs with the same
            input.
    """

    inputs: int
    runs: int
    differing: Estimate
    agreement: Estimate
    spreads: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class VariabilityChange:
    """Whether a new version answers the same input more or less consistently than an old one.

    Attributes:
        word: The verdict: ``steadier``, ``less steady``, ``no difference`` or ``not enough data``.
        before: Probability that two runs with the same input give the same answer, in the old
            version.
        after: The same probability in the new version.
        difference: After minus before.
        is_paired: Whether the versions are compared on the same inputs. If False, the inputs of one
            version may be harder.
        reasons: Reasons for the verdict ``not enough data``. Empty if the confidence interval is
            the only reason.
        needed: Number of inputs of both versions that would show a difference of 0.02 with 80 %
            power.
    """

    word: str
    before: Estimate
    after: Estimate
    difference: Estimate
    is_paired: bool
    reasons: Sequence[str]
    needed: int | None

    @property
    def sentence(self) -> str:
        """The difference in words."""
        rates = [self.before.value, self.after.value]
        digits = count_digits(rates)
        before, after = (f"{100 * rate:.{0 if rate in {0, 1} else digits}f} %" for rate in rates)
        figures = f"two runs of one input agree in {after}, {before} before"
        if rates == [1, 1]:
            figures = "repeated inputs always got the same answer"
        parts = [self._write_interval(), self._write_inputs()]
        if self.word == "not enough data":
            reasons = self.reasons or count_missing(
                self.difference.n, self.needed, "repeated inputs"
            )
            claim, parts = write_open(reasons), [figures, *parts]
        elif self.word == "no difference":
            most = max(-self.difference.low, self.difference.high)
            claim = f"{self.word} (at most {_points(most, few=most < _FEW_POINTS)} pts): {figures}"
        else:
            claim = f"{self.word}: {figures}"
        return add_evidence(claim, "; ".join(parts))

    def _write_interval(self) -> str:
        low, high = self.difference.low, self.difference.high
        few = max(high - low, abs(low), abs(high)) < _FEW_POINTS
        if self.word in _WORDS.values() and self.difference.value < 0:
            low, high = -high, -low
        return f"{_points(low, few=few)} to {_points(high, few=few)} pts"

    def _write_inputs(self) -> str:
        inputs = f"{self.after.n:,} repeated inputs"
        return inputs if self.is_paired else f"{inputs} now, {self.before.n:,} before"


def estimate_variability(inputs: Iterable[RepeatedInput]) -> Variability | None:
    """Estimate how consistently a model answers the same input, with confidence intervals.

    Args:
        inputs: The inputs with their answers. Those with fewer than two runs are left out.

    Returns:
        The estimates. None if no input has two runs.
    """
    repeated = [input_ for input_ in inputs if input_.runs > 1]
    if not repeated:
        return None
    judges = sorted({judge for item in repeated for judge in item.scores})
    spreads = {
        judge: [value for item in repeated if (value := item.spread(judge)) is not None]
        for judge in judges
    }
    return Variability(
        inputs=len(repeated),
        runs=sum(item.runs for item in repeated),
        differing=wilson(sum(len(item.answers) > 1 for item in repeated), len(repeated)),
        agreement=_agreement(repeated),
        spreads={judge: _spread(values) for judge, values in spreads.items() if values},
    )


def compare_variability(
    before: Mapping[Hashable, RepeatedInput], after: Mapping[Hashable, RepeatedInput]
) -> VariabilityChange | None:
    """Compare how consistently two versions answer the same input.

    If both versions answered at least 20 of the same inputs several times, only these inputs are
    compared, in pairs. Otherwise all inputs are compared as two independent samples.

    Args:
        before: Answers of the old version by input. Use the same key, such as a hash, for the same
            input in both versions. Inputs with fewer than two runs are left out.
        after: Answers of the new version, in the same form.

    Returns:
        The comparison. None if a version has no inputs.
    """
    before, after = (
        {key: item for key, item in side.items() if item.runs > 1} for side in (before, after)
    )
    common = sorted(before.keys() & after.keys(), key=repr)
    is_paired = len(common) >= LEAST_ITEMS
    sides = [
        [side[key] for key in common] if is_paired else [*side.values()] for side in (before, after)
    ]
    if not all(sides):
        return None
    old, new = map(_agreement, sides)
    change = difference(old, new)
    if is_paired:
        pairs = zip(*sides, strict=True)
        changes = [(later.agreement - first.agreement, 1) for first, later in pairs]
        change = cluster_mean(changes, of_rates=True)
    fewest = min(old.n, new.n)
    reasons = [f"{fewest:,} of {LEAST_ITEMS} repeated inputs"] if fewest < LEAST_ITEMS else []
    word = "not enough data" if reasons else decide(change, MARGIN)
    return VariabilityChange(
        word=_WORDS.get(word, word),
        before=old,
        after=new,
        difference=change,
        is_paired=is_paired,
        reasons=reasons,
        needed=needed(change, MARGIN),
    )


def _agreement(inputs: Sequence[RepeatedInput]) -> Estimate:
    return estimate_mean([(input_.agreement, 1) for input_ in inputs], is_rate=True)


def _spread(values: Sequence[float]) -> Estimate:
    mean = cluster_mean([(value, 1) for value in values])
    return Estimate(mean.value, max(mean.low, 0.0), mean.high, mean.n, mean.clusters)


def _points(share: float, *, few: bool) -> str:
    return f"{100 * share:.{1 if few else 0}f}".replace("-", "−")
