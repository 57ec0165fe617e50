"""Measures how much a field's values changed, and decides whether the change is drift.

A sketch is a small summary of a field's values. The drift score is the distance of two sketches. It
is drift only if it exceeds all of these: the smallest distance that matters (the margin), the usual
distance between windows of the reference, and what chance gives for this number of runs. So neither
very few nor very many runs cause drift by themselves.
"""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate, pairwise
from typing import Final, Literal, TypeAlias

from otel_ml.statistics import floats
from otel_ml.statistics.intervals import benjamini_hochberg, student_p, student_quantile
from otel_ml.statistics.projections import PROJECTED
from otel_ml.statistics.sketches import Sketch, bounds_of, moments_of

DriftWord: TypeAlias = Literal["drift", "as before", "too few"]

MARGIN: Final = 0.1
# Minimum number of reference windows to use the usual distance.
CALIBRATED: Final = 7
FEWEST_VALUES: Final = 100
CHANCE: Final = 0.01
# Daily windows are also compared with those of the same weekday, if there are at least 3.
_WEEK: Final = 7
_FEWEST_WEEKS: Final = 3
_RESAMPLINGS: Final = 200
# Number of cells that adjacent bins are merged into before resampling.
_CELLS: Final = 100
# From this mean on, the normal distribution approximates the Poisson distribution.
_MANY: Final = 30.0
_TERMS: Final = 1_000
# Number of an embedding's projections that are resampled: those with the largest distances.
_FARTHEST: Final = 4
_TINY: Final = 1e-300
# Smaller drift scores count as this value, so that their logarithm exists.
_SMALLEST: Final = 1e-4
# Numbers with a smaller relative difference count as equal. Positions in bins have steps of 6e-7.
_EXACT: Final = 2e-6


def quantile(sketch: Sketch, p: float) -> float:
    """Return a quantile of the numbers that a sketch summarizes.

    Args:
        sketch: Summary of the values of a numeric field.
        p: Which quantile, from 0 to 1. 0.5 is the median.

    Returns:
        The quantile. NaN if the sketch has no numbers.
    """
    if not sketch.n:
        return math.nan
    aim, below = p * sketch.n, 0.0
    spans = sorted(_spans(sketch))
    for low, high, count in spans:
        if below + count >= aim:
            return low + (high - low) * max(aim - below, 0.0) / count
        below += count
    return spans[-1][1]


def scale(sketch: Sketch) -> float:
    """Return the interquartile range of a field's numbers, the unit in which drift is measured.

    If the range is 0, the standard deviation is returned instead.

    Args:
        sketch: Summary of the field's numbers.
    """
    between = quantile(sketch, 0.75) - quantile(sketch, 0.25)
    return between if between > 0 else sketch.deviation


def wasserstein(first: Sketch, second: Sketch) -> float:
    """Return the Wasserstein distance of two sets of numbers.

    The distance is how far the numbers of one set must move, on average, to become the numbers of
    the other set.

    Args:
        first: Summary (sketch) of the first set.
        second: Summary of the second set.

    Source: Vallender, Calculation of the Wasserstein distance between probability distributions on
    the line, Theory of Probability and its Applications 18 (1974).
    """
    area, low, gap, slope = 0.0, 0.0, 0.0, 0.0
    for at, (steeper, jump) in _differences(first, second):
        # The gap is linear between two positions and may cross 0.
        width, end = at - low, gap + slope * (at - low)
        if gap * end >= 0:
            area += width * abs(gap + end) / 2
        else:
            area += width * (gap * gap + end * end) / (2 * (abs(gap) + abs(end)))
        low, gap, slope = at, end + jump, slope + steeper
    return area


def kolmogorov_smirnov(first: Sketch, second: Sketch) -> float:
    """Return the Kolmogorov–Smirnov statistic of two sets of numbers.

    It is the largest difference of their two distribution functions, from 0 (equal) to 1. It is
    approximate, because a sketch counts numbers in bins. Each bin ends 2 % above its start.

    Args:
        first: Summary (sketch) of the first set.
        second: Summary of the second set.
    """
    largest, low, gap, slope = 0.0, 0.0, 0.0, 0.0
    for at, (steeper, jump) in _differences(first, second):
        end = gap + slope * (at - low)
        largest = max(largest, abs(end), abs(end + jump))
        low, gap, slope = at, end + jump, slope + steeper
    return min(largest, 1.0)


def jensen_shannon(first: Sketch, second: Sketch) -> float:
    """Return the Jensen–Shannon distance between the values of a categorical field in two sets.

    It is 0 if all values have the same shares in both sets, and 1 if no value occurs in both.

    Args:
        first: Summary (sketch) of the values in the first set of runs.
        second: Summary of the values in the second set.

    Source: Endres, Schindelin, A new metric for probability distributions, IEEE Transactions on
    Information Theory 49 (2003).
    """
    shares = _value_shares(first, second)
    return math.sqrt(_divergence([share for share, _ in shares], [other for _, other in shares]))


def population_stability(reference: Sketch, window: Sketch) -> float:
    """Return the population stability index (PSI) of a categorical field.

    It measures how much the shares of the field's values changed. A value that occurs in only one
    of the two sets of runs counts as half a run in the other.
    """
    index = 0.0
    for before, after in _value_shares(reference, window):
        if not before and not after:
            continue  # for example, if no values were left out on either side
        low, high = max(before, 0.5 / reference.n), max(after, 0.5 / window.n)
        index += (high - low) * math.log(high / low)
    return index


def distance(reference: Sketch, window: Sketch) -> float:
    """Return the drift score of a field: how far its current values are from the reference values.

    0 means equal, or that there are no values. The formula depends on the kind of the field:

    * Numbers: Wasserstein distance divided by the reference's interquartile range (see `scale`). If
      all reference numbers are equal, the share of current numbers that differ from them.
    * Categories: Jensen–Shannon distance.
    * Texts: the largest distance of any property of the text, such as length, script or vocabulary.
    * Vocabularies: Jensen–Shannon distance, computed from the share of new words. It is 0 if there
      are none. A word is new if it does not occur in the reference.
    * Embeddings: mean distance over several projections of the vectors to single numbers.

    Args:
        reference: Summary (sketch) of the reference values.
        window: Summary of the current values.
    """
    if not reference.n or not window.n:
        return 0.0
    if reference.kind == "number":
        unit = scale(reference)
        if unit > 0:
            return wasserstein(reference, window) / unit
        return 0.0 if _is_same_number(reference, window) else kolmogorov_smirnov(reference, window)
    if reference.kind == "category":
        return jensen_shannon(reference, window)
    if reference.kind == "vocabulary":
        return jensen_shannon(_seen(0.0, window.n), _seen(unseen(reference, window), window.n))
    if reference.kind == "embedding":
        gaps = distances_of_projections(reference, window)
        return floats.mean(gaps.values()) if gaps else 0.0
    return max(
        (
            distance(part, window.parts[name])
            for name, part in reference.parts.items()
            if name in window.parts
        ),
        default=0.0,
    )


def _is_same_number(constant: Sketch, window: Sketch) -> bool:
    """Return whether all numbers of a window are equal to a constant, within the width of a bin."""
    least = abs(constant.mean) * _EXACT
    return abs(window.mean - constant.mean) <= least and window.deviation <= least


def distances_of_projections(reference: Sketch, window: Sketch) -> dict[str, float]:
    """Return the drift score of each projection of an embedding, by name of the projection.

    A projection reduces an embedding to one number.
    """
    return {
        name: distance(reference.parts[name], window.parts[name])
        for name in PROJECTED
        if name in reference.parts and name in window.parts
    }


def unseen(reference: Sketch, window: Sketch) -> float:
    """Return the share of the window's words that the reference never had.

    Approximate: words are hashed to 1,024 buckets.
    """
    new = sum(count for key, (count, _, _) in window.bins.items() if key not in reference.bins)
    return new / window.n if window.n else 0.0


def _seen(share: float, n: int) -> Sketch:
    new = round(share * n)
    return Sketch("category", n, clustered=n, values={"new": new, "seen": n - new})


def chance(reference: Sketch, window: Sketch) -> float:
    """Return the p-value of a drift score: how often chance alone gives at least this distance.

    It draws 200 pairs of samples from the reference values and the current values together, and
    fits a gamma distribution to the distances. If values of the same session are similar, smaller
    samples are drawn, because such values carry less information. The random seed is fixed, so the
    same arguments always give the same result.

    Args:
        reference: Summary (sketch) of the reference values.
        window: Summary of the current values.
    """
    if not reference.n or not window.n:
        return 1.0
    if reference.kind == "text":
        names = [name for name in reference.parts if name in window.parts]
        tails = [chance(reference.parts[name], window.parts[name]) for name in names]
        return min(min(tails, default=1.0) * max(len(tails), 1), 1.0)
    if reference.kind == "embedding":
        gaps = distances_of_projections(reference, window)
        # Only the largest distances are tested, corrected for all projections.
        farthest = sorted(gaps, key=lambda name: (-gaps[name], name))[:_FARTHEST]
        tails = [chance(reference.parts[name], window.parts[name]) for name in farthest]
        return min(min(tails, default=1.0) * max(len(gaps), 1), 1.0)
    if reference.kind == "vocabulary":
        reference, window = _seen(0.0, reference.n), _seen(unseen(reference, window), window.n)
    if reference.kind == "number" and not scale(reference) > 0:
        # The reference is a constant: cells are too wide to tell a close number from it.
        same, other = _seen(0.0, reference.n), _seen(distance(reference, window), window.n)
        window = replace(other, clustered=other.n * window.design)
        reference = same
    if reference.kind == "number":
        positions, before, after = _cells(reference, window)
        widths = [high - low for low, high in pairwise(positions)]

        def measure(first: Sequence[float], second: Sequence[float]) -> float:
            gaps = accumulate(share - other for share, other in zip(first, second, strict=True))
            return sum(width * abs(gap) for width, gap in zip(widths, gaps, strict=False))

    else:
        shares = _value_shares(reference, window)
        before, after = [share for share, _ in shares], [other for _, other in shares]
        measure = _divergence
    return _resample(before, after, (reference.effective, window.effective), measure)


def _resample(
    before: Sequence[float],
    after: Sequence[float],
    sizes: tuple[float, float],
    measure: Callable[[Sequence[float], Sequence[float]], float],
) -> float:
    generator = random.Random(0)  # noqa: S311 - fixed seed: the same data give the same result
    first, second = sizes
    pooled = [
        (first * share + second * other) / (first + second)
        for share, other in zip(before, after, strict=True)
    ]
    drawn = [
        measure(_draw(pooled, first, generator), _draw(pooled, second, generator))
        for _ in range(_RESAMPLINGS)
    ]
    return gamma_tail(measure(before, after), floats.mean(drawn), floats.variance(drawn))


def _draw(shares: Sequence[float], size: float, generator: random.Random) -> list[float]:
    """Draw a random sample of this size, and return the share of each value in it."""
    counts = [_draw_count(share * size, generator) for share in shares]
    total = sum(counts)
    return [count / total for count in counts] if total else [*shares]


def _draw_count(mean: float, generator: random.Random) -> float:
    """Draw a Poisson number. Uses the normal distribution for large means."""
    if mean > _MANY:
        return max(generator.gauss(mean, math.sqrt(mean)), 0.0)
    limit, product, count = math.exp(-mean), generator.random(), 0
    while product > limit:
        product *= generator.random()
        count += 1
    return count


def chance_among(gap: float, own: Sequence[float]) -> float:
    """Return the p-value of a drift score, from the scores of earlier time windows.

    It is small if the score is much larger than the earlier ones. The test is a one-sided t-test of
    the logarithms of the scores.

    Args:
        gap: The drift score of the window to check, above 0.
        own: The drift scores of at least two earlier windows, from the reference period.
    """
    logarithms = [math.log(max(value, _SMALLEST)) for value in own]
    above = math.log(max(gap, _SMALLEST)) - floats.mean(logarithms)
    spread = floats.deviation(logarithms) * math.sqrt(1 + 1 / len(own))
    if above <= 0:
        return 1.0
    return student_p(above / spread, len(own) - 1) / 2 if spread > 0 else 0.0


def gamma_tail(value: float, mean: float, spread: float) -> float:
    """Return the probability that a gamma-distributed variable is at least `value`.

    Args:
        value: At least 0.
        mean: Mean of the distribution.
        spread: Variance of the distribution. If it is 0, the variable is constant and equals the
            mean.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 6.5.29 and 6.5.31.
    """
    if value <= 0:
        return 1.0
    if not (mean > 0 and spread > 0):
        return 1.0 if value <= mean else 0.0
    shape = mean * mean / spread
    x = value * mean / spread
    log_front = shape * math.log(x) - x - math.lgamma(shape)
    front = math.exp(log_front) if log_front > -700 else 0.0  # noqa: PLR2004 - exp underflows
    if x < shape + 1:
        term = total = 1 / shape
        for step in range(1, _TERMS):
            term *= x / (shape + step)
            total += term
            if term < total * 1e-15:
                break
        return min(max(1 - front * total, 0.0), 1.0)
    below = x + 1 - shape
    ratio, fraction = 1 / _TINY, 1 / below
    total = fraction
    for step in range(1, _TERMS):
        numerator = -step * (step - shape)
        below += 2
        fraction = 1 / ((numerator * fraction + below) or _TINY)
        ratio = (below + numerator / ratio) or _TINY
        change = fraction * ratio
        total *= change
        if abs(change - 1) < 1e-15:  # noqa: PLR2004 - precision of a float
            break
    return min(max(front * total, 0.0), 1.0)


def _spans(sketch: Sketch) -> list[tuple[float, float, int]]:
    """Return for each bin an interval and a count, as if its numbers were spread evenly in it.

    Each interval keeps the mean and variance of its bin.
    """
    spans = []
    for key, of_bin in sketch.bins.items():
        count, mean, of_bin_variance = moments_of(key, of_bin)
        if count:
            low, high = bounds_of(key)
            half = min(math.sqrt(3 * of_bin_variance), max(mean - low, 0.0), max(high - mean, 0.0))
            spans.append((mean - half, mean + half, count))
    return spans


def _differences(first: Sketch, second: Sketch) -> list[tuple[float, tuple[float, float]]]:
    """Return the positions where the difference of two distribution functions changes, and how."""
    steps: defaultdict[float, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for sketch, sign in ((first, 1), (second, -1)):
        for low, high, count in _spans(sketch):
            share = sign * count / sketch.n
            if high > low:
                slope = share / (high - low)
                steps[low][0] += slope
                steps[high][0] -= slope
            else:
                steps[low][1] += share
    return [(at, (steps[at][0], steps[at][1])) for at in sorted(steps)]


def _value_shares(first: Sketch, second: Sketch) -> list[tuple[float, float]]:
    """Return the shares of each value on both sides, and of the values that were not kept."""
    values = sorted(first.values.keys() | second.values.keys())
    shares = [
        (first.values.get(value, 0) / first.n, second.values.get(value, 0) / second.n)
        for value in values
    ]
    return [*shares, (first.rest / first.n, second.rest / second.n)]


def _divergence(first: Sequence[float], second: Sequence[float]) -> float:
    total = 0.0
    for share, other in zip(first, second, strict=True):
        middle = (share + other) / 2
        if share > 0:
            total += share * math.log2(share / middle)
        if other > 0:
            total += other * math.log2(other / middle)
    return min(max(total / 2, 0.0), 1.0)


def _cells(first: Sketch, second: Sketch) -> tuple[list[float], list[float], list[float]]:
    """Join adjacent bins to cells. Return each cell's position and its share in both sketches."""
    cells: list[list[float]] = []
    room = 0.0
    for key in sorted(first.bins.keys() | second.bins.keys()):
        of_first = moments_of(key, first.bins.get(key, (0, 0, 0)))
        of_second = moments_of(key, second.bins.get(key, (0, 0, 0)))
        before, after = of_first[0] / first.n, of_second[0] / second.n
        moment = before * of_first[1] + after * of_second[1]
        if room <= 0:
            cells.append([0.0, 0.0, 0.0])
            room = 2 / _CELLS
        cells[-1][0] += moment
        cells[-1][1] += before
        cells[-1][2] += after
        room -= before + after
    positions = [moment / (before + after) for moment, before, after in cells]
    return positions, [cell[1] for cell in cells], [cell[2] for cell in cells]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether the values of one field drifted in a time window, compared with a reference.

    The window is for example the last 24 hours. The reference is either an earlier period, divided
    into windows of the same length, or another version.

    Attributes:
        distance: Drift score, see the function `distance`.
        margin: Smallest drift score that matters.
        usual: Largest normal drift score, computed from the differences between the windows of the
            reference. None if there are fewer than 7 windows, or if it was not needed because
            `distance` is at most `margin`.
        chance: p-value, corrected for the number of fields. None if it was not needed because
            `distance` is at most `margin` or `usual`.
        word: ``drift``, ``as before`` (no drift), or ``too few`` values to decide. With ``too
            few``, `usual` and `chance` are None too.
    """

    distance: float
    margin: float
    usual: float | None
    chance: float | None
    word: DriftWord

    @property
    def threshold(self) -> float:
        """Drift score above which a difference can be drift."""
        return max(self.margin, self.usual or 0.0)


def usual_distance(own: Sequence[float]) -> float | None:
    """Return the largest drift score that is still normal, learned from the reference period.

    Two limits are computed, and the larger one is returned:

    * the mean of all distances, plus 3 standard deviations
    * the upper end of the 99 % prediction interval (Student's t), computed from every seventh
      distance. With windows of one day, these are the days with the same weekday as the checked
      day, because weekends differ from other days. This limit needs at least 3 such distances.

    Args:
        own: One distance per window of the reference (usually a day), oldest first: how far this
            window is from the other windows.

    Returns:
        The drift score. None if there are fewer than 7 distances.
    """
    if len(own) < CALIBRATED:
        return None
    usual = floats.mean(own) + 3 * floats.deviation(own)
    weekday = own[-_WEEK::-_WEEK]
    if len(weekday) < _FEWEST_WEEKS:
        return usual
    reach = _reach(len(weekday)) * floats.deviation(weekday)
    return max(usual, floats.mean(weekday) + reach)


@cache
def _reach(n: int) -> float:
    """Return the half width of a prediction interval for `n` values, in standard deviations."""
    return student_quantile(1 - CHANCE, n - 1) * math.sqrt(1 + 1 / n)


def compare(
    reference: Sketch,
    window: Sketch,
    *,
    own: Callable[[], Sequence[float]] = tuple,
    margin: float = MARGIN,
    is_typical: bool = False,
) -> Comparison:
    """Decide whether one field drifted in a time window.

    It drifted if three conditions are met: the drift score exceeds the margin, it exceeds the usual
    score (see `usual_distance`), and its p-value is small.

    The p-value cannot be trusted if the window's values come from few sessions, for example if all
    5,000 come from one batch. Then `chance_among` computes a second p-value from the windows of the
    reference, and the smaller of the two counts.

    Args:
        reference: Summary (sketch) of the reference values.
        window: Summary of the values in the time window.
        own: Function that returns the argument of `usual_distance`: the distance of each window of
            the reference from all other windows of the reference. The function is slow, so it is
            called only if the drift score exceeds the margin.
        margin: Smallest drift score that matters.
        is_typical: Whether the windows of the reference have about as many values and sessions as
            this window. Otherwise there is no second p-value.
    """
    gap = distance(reference, window)
    if reference.n < FEWEST_VALUES or window.n < FEWEST_VALUES:
        return Comparison(gap, margin, None, None, "too few")
    if gap <= margin:
        return Comparison(gap, margin, None, None, "as before")
    distances = own()
    usual = usual_distance(distances)
    if usual is not None and gap <= usual:
        return Comparison(gap, margin, usual, None, "as before")
    tail = chance(reference, window)
    if is_typical and usual is not None and window.effective < FEWEST_VALUES:
        tail = min(tail, chance_among(gap, distances))
    return Comparison(gap, margin, usual, tail, "drift" if tail < CHANCE else "as before")


def correct_together(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct p-values for the number of compared fields, and decide again which fields drifted.

    Without this correction, some fields would seem to drift by chance if many are compared. Fields
    without a p-value count as having a p-value of 1. The method is Benjamini-Hochberg.
    """
    tails = benjamini_hochberg(
        [1.0 if comparison.chance is None else comparison.chance for comparison in comparisons]
    )
    return [
        comparison
        if comparison.chance is None
        else replace(comparison, chance=tail, word="drift" if tail < CHANCE else "as before")
        for comparison, tail in zip(comparisons, tails, strict=True)
    ]
