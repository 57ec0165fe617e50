"""Defines the figures of predictions whose ground truth has arrived: accuracy, mean error and more.

Each figure is a ratio of two sums over runs. Its SQL reads the columns of
`store.predictions.write_rows`, and the parameters `positive` and `least`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from otel_ml_collector.store.predictions import PredictionKind
from otel_ml_collector.store.sql import Sql

Form = Literal["rate", "mean", "root"]
# Chances are at least this far from 0 and 1, because the logarithm of 0 is infinite.
LEAST_CHANCE: Final = 1e-15


@dataclass(frozen=True, slots=True)
class TruthFigure:
    """A figure for the quality of predictions, such as accuracy: a ratio of two sums over runs.

    Attributes:
        first, second: SQL of what a run adds to the numerator and to the denominator.
        form: A share of runs, a mean, or the root of a mean.
        least, most: The lowest and the highest value that the figure can have.
    """

    first: Sql
    second: Sql
    form: Form = "rate"
    least: float = -math.inf
    most: float = math.inf


HAS_TRUTH: Final = Sql("actual != ''")
IS_RIGHT: Final = Sql("(actual != '' AND predicted = actual)")
IS_POSITIVE: Final = Sql("(actual = {positive:String})")
HAS_CHANCE: Final = Sql("(actual != '' AND isNotNull(amount))")
ERROR_OF_NUMBER: Final = Sql("(assumeNotNull(amount) - assumeNotNull(truth))")
COVERAGE: Final = {"coverage": TruthFigure(HAS_TRUTH, Sql("1"))}
_IS_PREDICTED: Final = Sql("(actual != '' AND predicted = {positive:String})")
_IS_HIT: Final = Sql("(predicted = actual AND actual = {positive:String})")
_CHANCE: Final = Sql("least(greatest(amount, {least:Float64}), 1 - {least:Float64})")
_OF_CLASS: Final = {"accuracy": TruthFigure(IS_RIGHT, HAS_TRUTH)}
_OF_POSITIVE: Final = {
    "precision": TruthFigure(_IS_HIT, _IS_PREDICTED),
    "recall": TruthFigure(_IS_HIT, IS_POSITIVE),
    "f1": TruthFigure(
        Sql("2 * ") + _IS_HIT,
        Sql("{predicted} + {positive}").fill(predicted=_IS_PREDICTED, positive=IS_POSITIVE),
    ),
}
_OF_CHANCE: Final = {
    "brier": TruthFigure(
        Sql("if({has}, pow(amount - {positive}, 2), 0)").fill(has=HAS_CHANCE, positive=IS_POSITIVE),
        HAS_CHANCE,
        "mean",
        least=0,
        most=1,
    ),
    "log_loss": TruthFigure(
        Sql("if({has}, -log(if({positive}, {chance}, 1 - {chance})), 0)").fill(
            has=HAS_CHANCE, positive=IS_POSITIVE, chance=_CHANCE
        ),
        HAS_CHANCE,
        "mean",
        least=0,
    ),
}


def _mean_of(
    value: Sql, form: Form = "mean", *, least: float = -math.inf, most: float = math.inf
) -> TruthFigure:
    """Make the mean of a value over all runs with ground truth."""
    first = Sql("if({has}, {value}, 0)").fill(has=HAS_TRUTH, value=value)
    return TruthFigure(first, HAS_TRUTH, form, least, most)


_OF_NUMBER: Final = {
    "mae": _mean_of(Sql("abs({error})").fill(error=ERROR_OF_NUMBER), least=0),
    "rmse": _mean_of(Sql("pow({error}, 2)").fill(error=ERROR_OF_NUMBER), "root"),
    "bias": _mean_of(ERROR_OF_NUMBER),
}
_OF_RANKING: Final = {"precision_at_k": _mean_of(Sql("amount"), least=0, most=1)}


def figures_of(
    kind: PredictionKind, *, has_positive: bool, has_chance: bool
) -> Mapping[str, TruthFigure]:
    """Return the figures that measure the quality of predictions, such as accuracy.

    Args:
        kind: What is predicted: a class, a number or a ranking.
        has_positive: Whether one of the classes is the positive one. If so, the result also has
            precision, recall and F1.
        has_chance: Whether runs record the probability of the positive class. If so, the result
            also has the Brier score and the log loss.

    Returns:
        The figures by name, such as `accuracy`; the most important figure comes first.
    """
    if kind == "number":
        return _OF_NUMBER
    if kind == "ranking":
        return _OF_RANKING
    return {
        **_OF_CLASS,
        **(_OF_POSITIVE if has_positive else {}),
        **(_OF_CHANCE if has_chance else {}),
    }
