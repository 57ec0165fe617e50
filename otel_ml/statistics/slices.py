"""Compares a slice of runs with all other runs: is it worse, and is that more than chance?

A slice is a part of a model's runs, such as those of one client. Sessions are the independent
observations; a trace without a session counts as one. A session can have runs in the slice and
outside. The comparison needs only sums over sessions, so a store returns one row per slice and
measure, however many runs there are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from otel_ml.statistics import floats
from otel_ml.statistics.comparison import (
    AMOUNT_MARGIN,
    LEAST_CLUSTERS,
    RATE_MARGIN,
    FigureKind,
    Word,
    score_margin,
)
from otel_ml.statistics.intervals import (
    CONFIDENCE,
    Estimate,
    benjamini_hochberg,
    exponential,
    fisher,
    student_p,
    student_quantile,
)

LEAST_SLICE: Final = 30
# Errors and missing inputs are rare, so 1 point already matters.
FAULT_MARGIN: Final = 0.01
# Up to 5 % of the reported slices may be due to chance. A fifth of this is kept in reserve: with
# sessions of unequal size, t is significant slightly too often
# (tests/unit/otel_ml/statistics/test_slices.py).
FALSE_DISCOVERIES: Final = 0.04
# Minimum number of sessions with an event, and of sessions without, to estimate the correlation
# within sessions.
_LEAST_CLUSTERS: Final = 10
# With fewer expected events, the normal approximation is significant too often.
_FEW_EVENTS: Final = 30.0
# Effect sizes, in multiples of the margin, from which a stronger colour is used.
_STRENGTHS: Final = (3.0, 6.0)


class ClusterMoments(NamedTuple):
    """Sums over sessions, from which `judge_slices` computes variances.

    The sums are for a slice (a group of runs) or for all runs. A database can compute them, so that
    the runs need not be loaded. Each session has four numbers:

    * `n` is the number of its runs in the slice, and `t` is the sum of their values.
    * `N` is the number of all its runs, and `T` is the sum of their values.

    In the sums for all runs, `n` equals `N` and `t` equals `T`.

    Attributes:
        clusters: Number of sessions with runs in the slice.
        whole: Number of sessions whose runs are all in the slice.
        n, t: Sums over sessions of n and t.
        nn, tn, tt: Sums of n², t·n and t².
        n_of_all, t_of_all: Sums of n·N and t·N.
        n_to_all, t_to_all: Sums of n·T and t·T.
        squares: Sum of the squared values of single runs.
        with_event: For a rate: number of sessions with at least one run of value 1.
        without_event: For a rate: number of sessions with at least one run of value 0.
        all_events: For a rate: number of sessions with runs of value 1, all of them in the slice.
        all_others: For a rate: number of sessions with runs of value 0, all of them in the slice.
    """

    clusters: float
    whole: float
    n: float
    t: float
    nn: float
    tn: float
    tt: float
    n_of_all: float
    t_of_all: float
    n_to_all: float
    t_to_all: float
    squares: float
    with_event: float
    without_event: float
    all_events: float
    all_others: float


class MeanVariances(NamedTuple):
    """Variance of a slice's mean, of the mean of all other runs, and the covariance of both."""

    of_slice: float
    of_rest: float
    together: float


@dataclass(frozen=True, slots=True)
class SliceFigure:
    """The data to compare a slice (a group of runs) with all other runs by one measure.

    Attributes:
        kind: `rate` if values are 0 or 1, `score` for numbers, `amount` for logarithms of
            latencies, tokens or costs.
        lower_is_better: Whether lower values are better.
        of_slice: Sums of the values of the runs in the slice.
        of_all: Sums of the values of all runs of the model, including those in the slice.
        margin: Smallest difference that matters. None for the default of `kind`.
    """

    kind: FigureKind
    lower_is_better: bool
    of_slice: ClusterMoments
    of_all: ClusterMoments
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class RestVerdict:
    """Whether a slice is worse than all other runs, by one measure such as error share or latency.

    Attributes:
        word: ``worse``, ``better``, ``no difference`` (the whole interval is within the margin), or
            ``not enough data`` (the difference may be chance, or there are too few runs or
            sessions; then the difference is None).
        value: Mean of the slice. For latency, tokens and cost, the geometric mean.
        rest: The same mean of all other runs.
        difference: `value` minus `rest`. For latency, tokens and cost, `value` divided by `rest`.
        lost: Lower confidence bound of how much worse the slice is. 0 if it is not worse.
            For latency, tokens and cost, the logarithm of a ratio: 0.05 means about 5 %.
        margin: Smallest difference that matters, in the unit of `lost`.
        p: p-value of the difference.
        strength: Size of the difference in steps: 0 for neither worse nor better, 1 for less than 3
            times the margin, 2 for less than 6 times, 3 for more.
    """

    word: Word
    value: float | None
    rest: float | None
    difference: Estimate | None
    lost: float
    margin: float
    p: float
    strength: int

    @property
    def n(self) -> int:
        """Number of runs of the slice with a value. 0 if there were too few to decide."""
        return self.difference.n if self.difference else 0


def judge_slices(figures: Sequence[SliceFigure]) -> list[RestVerdict]:
    """Decide for each slice (a group of runs) whether it is worse or better than all other runs.

    The p-values are corrected for the number of slices and figures. So on average, at most 5 % of
    the slices that are reported as different are false alarms. Figures of which all runs are equal
    do not count: they cannot differ.

    Args:
        figures: The data of each slice and measure.

    Returns:
        One verdict for each figure, in the same order.

    Source: Benjamini and Hochberg (1995), see `benjamini_hochberg`.
    """
    compared = [_Comparison.of(figure) for figure in figures]
    chances = {
        place: item.p
        for place, (figure, item) in enumerate(zip(figures, compared, strict=True))
        if item and not are_equal(figure.of_all)
    }
    adjusted = dict(zip(chances, benjamini_hochberg([*chances.values()]), strict=True))
    return [
        _conclude(figure, comparison, adjusted.get(place, 1.0))
        for place, (figure, comparison) in enumerate(zip(figures, compared, strict=True))
    ]


def mean_variances(of_slice: ClusterMoments, of_all: ClusterMoments) -> MeanVariances:
    """Return the variances of two means (of a slice and of all other runs) and their covariance.

    There is a covariance because a session can have runs both in the slice and outside of it. The
    variance of the difference is the sum of both variances minus twice the covariance.

    Raises:
        ValueError: The slice has no run, or contains all runs.

    Source: Cameron and Miller, A practitioner's guide to cluster-robust inference, Journal of Human
    Resources 50 (2015), section II; a difference of domain means in Särndal, Swensson, Wretman,
    Model assisted survey sampling (1992), section 5.8.
    """
    part, every = of_slice, of_all
    if not (part.n > 0 and every.n > part.n):
        raise ValueError("Invalid slice: expected at least one run inside and outside of it")
    rest = _rest_squares(part, every)
    n_rest = every.n - part.n
    mean, mean_of_rest = part.t / part.n, (every.t - part.t) / n_rest
    own = part.tt - 2 * mean * part.tn + floats.square(mean) * part.nn
    other = rest.tt - 2 * mean_of_rest * rest.tn + floats.square(mean_of_rest) * rest.nn
    both = (
        (part.t_to_all - part.tt)
        - mean_of_rest * (part.t_of_all - part.tn)
        - mean * (part.n_to_all - part.tn)
        + mean * mean_of_rest * (part.n_of_all - part.nn)
    )
    return MeanVariances(
        max(own, 0.0) / part.n**2, max(other, 0.0) / n_rest**2, both / (part.n * n_rest)
    )


class _Squares(NamedTuple):
    """Sums of squares and products over the sessions of all other runs."""

    nn: float
    tn: float
    tt: float


def _rest_squares(part: ClusterMoments, every: ClusterMoments) -> _Squares:
    return _Squares(
        every.nn - 2 * part.n_of_all + part.nn,
        every.tn - part.n_to_all - part.t_of_all + part.tn,
        every.tt - 2 * part.t_to_all + part.tt,
    )


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The difference of a slice from all other runs."""

    value: float
    rest: float
    error: float
    degrees: float
    n: int
    clusters: int
    p: float
    deviation: float

    @classmethod
    def of(cls, figure: SliceFigure) -> "_Comparison | None":
        """Compare a slice with all other runs. None if the slice or the others are too few."""
        part, every = figure.of_slice, figure.of_all
        n, n_rest = part.n, every.n - part.n
        clusters, clusters_of_rest = part.clusters, every.clusters - part.whole
        if n < LEAST_SLICE or n_rest < LEAST_SLICE:
            return None
        if clusters < LEAST_CLUSTERS or clusters_of_rest < LEAST_CLUSTERS:
            return None
        is_rate = figure.kind == "rate"
        if is_rate and every.t in (0, every.n):  # all runs are equal
            mean = every.t / every.n
            return cls(mean, mean, 0.0, 1.0, round(n), round(clusters), 1.0, 0.0)
        squares = _rest_squares(part, every)
        variances = mean_variances(part, every)
        own = variances.of_slice * clusters / (clusters - 1)
        other = variances.of_rest * clusters_of_rest / (clusters_of_rest - 1)
        # Effective sample size if all runs of a session are equal (Kish 1965, 11.7).
        alike = (n**2 / part.nn, n_rest**2 / max(squares.nn, 1.0))
        if is_rate:
            effects = _design_effects(part, every, (own, other), alike)
            single = every.t / every.n * (1 - every.t / every.n)
            # Thirty runs without an error have no variance, but that is no certainty.
            own = max(own, single * effects[0] / n)
            other = max(other, single * effects[1] / n_rest)
        variance = max(own + other - 2 * variances.together, 0.0)
        degrees = _degrees((own, other), alike)
        value, rest = part.t / n, (every.t - part.t) / n_rest
        error = math.sqrt(variance)
        difference = value - rest
        ratio = difference / error if error else math.copysign(math.inf, difference)
        p = 1.0 if difference == 0 else 0.0
        if difference and error:
            p = _chance_of(ratio, degrees)
        # Skip the exact test if the difference is clearly not significant.
        if is_rate and difference and abs(ratio) >= _LIKELY:
            chance = _few_events_p(part, every, effects)
            p = p if chance is None else chance
        return cls(
            value=value,
            rest=rest,
            error=error,
            degrees=degrees,
            n=round(n),
            clusters=round(clusters),
            p=p,
            deviation=_find_deviation(every),
        )


def are_equal(every: ClusterMoments) -> bool:
    """Return whether all runs have the same value, apart from rounding.

    A standard deviation from sums of squares has half of the digits of a float.
    """
    return _find_deviation(every) <= 1e-7 * abs(every.t / every.n)


def _find_deviation(every: ClusterMoments) -> float:
    return math.sqrt(max(every.squares / every.n - floats.square(every.t / every.n), 0.0))


# A t ratio below this is never significant, so its p-value can be approximate.
_LIKELY: Final = 1.0


def _chance_of(ratio: float, degrees: float) -> float:
    """Return the p-value of a t ratio. Uses the normal distribution for small ratios."""
    if abs(ratio) < _LIKELY:
        return math.erfc(abs(ratio) / math.sqrt(2))
    return student_p(ratio, degrees)


def _design_effects(
    part: ClusterMoments,
    every: ClusterMoments,
    variances: tuple[float, float],
    alike: tuple[float, float],
) -> tuple[float, float]:
    """Return the design effects of the slice and of all other runs.

    If few sessions have an event, or few have none, the runs of a session count as a single one.
    """
    informative = (
        min(part.with_event, part.without_event),
        min(every.with_event - part.all_events, every.without_event - part.all_others),
    )
    sides = ((part.n, part.t), (every.n - part.n, every.t - part.t))
    own, other = (
        max(variance * n / (t / n * (1 - t / n)), 1.0)
        if clusters >= _LEAST_CLUSTERS and 0 < t < n
        else n / worth
        for variance, (n, t), clusters, worth in zip(
            variances, sides, informative, alike, strict=True
        )
    )
    return own, other


def _degrees(variances: tuple[float, float], alike: tuple[float, float]) -> float:
    """Return the degrees of freedom of a difference of two means.

    Source: Welch, Biometrika 34 (1947), with the number of sessions as Carter, Schnepel and
    Steigerwald (2017) count them, see `intervals`.
    """
    own, other = variances
    below = own * own / max(alike[0] - 1, 1.0) + other * other / max(alike[1] - 1, 1.0)
    return max(floats.square(own + other) / below, 1.0) if below else 1.0


def _few_events_p(
    part: ClusterMoments, every: ClusterMoments, effects: tuple[float, float]
) -> float | None:
    """Return the p-value of a difference of rates if few events are expected. None if many are.

    If both rates are equal, each run is in the slice with the same probability, so the number of
    events in the slice is hypergeometric. Runs of one session count as fewer, by the design effects
    of both sides.

    Source: Fisher, The logic of inductive inference, Journal of the Royal Statistical Society 98
    (1935); Korn and Graubard, Survey Methodology 24 (1998), for sessions.
    """
    n_rest, events, events_of_rest = every.n - part.n, part.t, every.t - part.t
    if 2 * every.t > every.n:
        events, events_of_rest = part.n - events, n_rest - events_of_rest
    events, events_of_rest = events / effects[0], events_of_rest / effects[1]
    all_events = events + events_of_rest
    size, size_of_rest = part.n / effects[0], n_rest / effects[1]
    expected = all_events * size / (size + size_of_rest)
    if expected >= _FEW_EVENTS:
        return None
    return fisher(events, size, events_of_rest, size_of_rest)


def _margin_of(figure: SliceFigure, compared: _Comparison) -> float:
    match figure.kind:
        case "rate":
            return RATE_MARGIN if figure.margin is None else figure.margin
        case "score":
            if figure.margin is not None:
                return figure.margin
            return score_margin(compared.deviation, compared.value, compared.rest)
    return math.log1p(AMOUNT_MARGIN if figure.margin is None else figure.margin)


def _round_down(degrees: float) -> int:
    """Round degrees of freedom down, so that a few cached quantiles serve thousands of slices."""
    step = 10 ** max(int(math.log10(degrees)) - 1, 0)
    return max(int(degrees // step * step), 1)


def find_quantile(degrees: float) -> float:
    """Return half the width of a 95 % interval, in standard errors, slightly rounded up."""
    return _quantile(_round_down(degrees))


@lru_cache(512)
def _quantile(degrees: int) -> float:
    return student_quantile((1 + CONFIDENCE) / 2, degrees)


def _conclude(figure: SliceFigure, compared: _Comparison | None, adjusted: float) -> RestVerdict:
    if compared is None:
        return RestVerdict(Word.NOT_ENOUGH_DATA, None, None, None, 0.0, 0.0, 1.0, 0)
    margin = _margin_of(figure, compared)
    value = compared.value - compared.rest
    half = find_quantile(compared.degrees) * compared.error
    bounds = (value - half, value + half)
    if figure.kind == "rate":  # rates differ by at most 1
        bounds = (max(bounds[0], -1.0), min(bounds[1], 1.0))
    is_shown = adjusted <= FALSE_DISCOVERIES and abs(value) >= margin
    # The test on few events and the interval of a rate can disagree.
    is_shown = is_shown and (bounds[0] > 0 or bounds[1] < 0)
    is_worse = (value > 0) == figure.lower_is_better
    strength = 1 + sum(abs(value) >= times * margin for times in _STRENGTHS) if is_shown else 0
    means = (compared.value, compared.rest)
    shown = Estimate(value, *bounds, compared.n, compared.clusters)
    if figure.kind == "amount":
        means = (floats.exp(means[0]), floats.exp(means[1]))
        shown = exponential(shown)
    is_small = are_equal(figure.of_all) or max(-bounds[0], bounds[1]) <= margin
    word = Word.NO_DIFFERENCE if is_small else Word.NOT_ENOUGH_DATA
    if is_shown:
        word = Word.WORSE if is_worse else Word.BETTER
    return RestVerdict(
        word=word,
        value=means[0],
        rest=means[1],
        difference=shown,
        lost=min(map(abs, bounds)) if word == Word.WORSE else 0.0,
        margin=margin,
        p=compared.p,
        strength=strength,
    )
