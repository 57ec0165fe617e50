"""Measures how similar a model's answers are when it gets the same input several times.

Each input counts once: inputs with many runs have no more weight than others.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from otel_ml.statistics import floats
from otel_ml.statistics.comparison import (
    LEAST_ITEMS,
    RATE_MARGIN,
    Basis,
    Caveat,
    CaveatKind,
    Direction,
    FigureComparison,
    FigureSide,
    Method,
    Unit,
    Word,
    decide,
)
from otel_ml.statistics.intervals import (
    CONFIDENCE,
    Estimate,
    cluster_mean,
    difference,
    needed,
    wilson,
)
from otel_ml.statistics.paired import estimate_mean


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
) -> FigureComparison | None:
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
    is_few = fewest < LEAST_ITEMS
    return FigureComparison(
        subject="variability",
        unit=Unit.AGREEMENT,
        direction=Direction.HIGHER,
        baseline=FigureSide("", old),
        candidate=FigureSide("", new),
        difference=change,
        margin=RATE_MARGIN,
        word=Word.NOT_ENOUGH_DATA if is_few else decide(change, RATE_MARGIN),
        basis=Basis(
            method=Method.PAIRED if is_paired else Method.SAMPLES,
            confidence=CONFIDENCE,
            counted="repeated inputs",
            cluster=None,
            waits_for=None,
            needed=needed(change, RATE_MARGIN),
            smallest=None,
            caveats=[Caveat(CaveatKind.FEW_INPUTS, numbers=(fewest, LEAST_ITEMS))]
            if is_few
            else [],
        ),
    )


def _agreement(inputs: Sequence[RepeatedInput]) -> Estimate:
    return estimate_mean([(input_.agreement, 1) for input_ in inputs], is_rate=True)


def _spread(values: Sequence[float]) -> Estimate:
    mean = cluster_mean([(value, 1) for value in values])
    return Estimate(mean.value, max(mean.low, 0.0), mean.high, mean.n, mean.clusters)
