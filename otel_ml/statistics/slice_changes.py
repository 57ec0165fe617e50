"""Finds the slices in which a new version is worse, although it may be as good as before elsewhere.

A slice is a part of a model's runs, such as those of one client. Its change from the old version to
the new one is compared with the change in all other runs. Sessions are the independent
observations; a trace without a session counts as one. The comparison needs only sums over sessions.
See design record 070.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from otel_ml.statistics import floats
from otel_ml.statistics.comparison import LEAST_CLUSTERS, LEAST_RUNS, FigureKind
from otel_ml.statistics.intervals import (
    Estimate,
    benjamini_hochberg,
    beta_share,
    exponential,
    fisher,
    student_p,
)
from otel_ml.statistics.slices import (
    LEAST_SLICE,
    ClusterMoments,
    are_equal,
    find_quantile,
    mean_variances,
)

# Largest probability that a version without a difference ever has a slice that is named.
FALSE_SLICES: Final = 0.05
# Minimum number of sessions with an event, and of sessions without, to estimate the correlation
# within sessions: ten, or a tenth of the sessions.
_LEAST_INFORMATIVE: Final = 10
# With fewer expected events, the normal approximation is significant too often.
_FEW_EVENTS: Final = 30.0

# Sums of the baseline and of the candidate.
Sides: TypeAlias = tuple[ClusterMoments, ClusterMoments]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSlice:
    """The data of one measure, such as error share, of two versions in a slice and in all runs.

    Attributes:
        kind: `rate` if values are 0 or 1, `score` for numbers, `amount` for logarithms of
            latencies, tokens or costs.
        lower_is_better: Whether lower values are better.
        margin: Smallest difference that matters. For an amount, it is a ratio: 0.05 is 5 %.
        look: Number of the look, from 0, see `find_look`.
        of_slice: Sums over the runs in the slice.
        of_all: Sums over all runs, including those in the slice.
        adjusted_slice, adjusted_all: The same sums of adjusted values: of each value, what the
            other tags of the run and its hour explain is subtracted. So a different mix of traffic
            does not look like a change. Equal to `of_slice` and `of_all` if nothing is adjusted.
    """

    kind: FigureKind
    lower_is_better: bool
    margin: float
    look: int
    of_slice: Sides
    of_all: Sides
    adjusted_slice: Sides
    adjusted_all: Sides


class ChangeVerdict(NamedTuple):
    """Whether a new version is worse in a slice, in one measure.

    Attributes:
        is_worse: Whether the slice is named: its change is worse than the margin, and differs from
            the change in all other runs.
        baseline: Mean of the old version in the slice. For an amount, the geometric mean.
        candidate: The same of the new version.
        change: `candidate` minus `baseline`. For an amount, `candidate` divided by `baseline`.
        elsewhere: The change in all other runs.
        lost: How much more the slice changed for the worse than all other runs, at least: the lower
            bound. For an amount, the logarithm of a ratio. 0 if the slice is not named.
        p: The p-value, before the correction for the number of slices and looks.
    """

    is_worse: bool
    baseline: Estimate
    candidate: Estimate
    change: Estimate
    elsewhere: Estimate
    lost: float
    p: float


def find_look(runs: float) -> int | None:
    """Return the number of the newest look, from 0. None before the first one.

    Looks are taken when the version that has fewer runs reaches 100, 200, 400, ... of them. The
    runs that arrive between two looks do not change the answer.

    Args:
        runs: Number of runs of the version that has fewer of them.
    """
    return None if runs < LEAST_RUNS else int(math.log2(runs / LEAST_RUNS))


def count_runs_of(look: int) -> int:
    """Return the number of runs at which a look is taken, see `find_look`."""
    return LEAST_RUNS << look


def judge_changes(changes: Sequence[ComparedSlice]) -> list[ChangeVerdict | None]:
    """Decide for each slice and measure whether the new version is worse in this slice.

    Of a hundred versions without a difference, at most five ever have a slice that is named, at any
    look. The probability is shared over the looks: look k, counted from 0, gets the part
    1 / ((k + 1) (k + 2)). Within a look, the p-values are corrected for the number of slices and
    measures. Measures do not count if the runs of each version are equal.

    Args:
        changes: The data of each slice and measure, of one comparison of two versions.

    Returns:
        The verdicts, in the same order. None if a version has too few runs or sessions in the slice
        or outside of it.

    Source: Benjamini and Hochberg (1995), see `benjamini_hochberg`.
    """
    compared = [_Compared.of(change) for change in changes]
    chances = {
        place: item.p * (change.look + 1) * (change.look + 2)
        for place, (change, item) in enumerate(zip(changes, compared, strict=True))
        if item is not None and not all(map(are_equal, change.of_all))
    }
    adjusted = dict(zip(chances, benjamini_hochberg([*chances.values()]), strict=True))
    return [
        None
        if item is None
        else item.conclude(change, is_sure=adjusted.get(place, 1.0) <= FALSE_SLICES)
        for place, (change, item) in enumerate(zip(changes, compared, strict=True))
    ]


class _Mean(NamedTuple):
    """A mean, its variance, and the number of sessions if all had the same weight."""

    value: float
    variance: float
    size: float
    n: float
    clusters: float

    def estimate(self) -> Estimate:
        half = _find_half([self])
        return Estimate(
            self.value, self.value - half, self.value + half, round(self.n), round(self.clusters)
        )


def _find_half(means: Sequence[_Mean]) -> float:
    """Return half the width of the 95 % interval of a sum or difference of independent means."""
    variance = floats.add(mean.variance for mean in means)
    return find_quantile(_find_degrees(means)) * math.sqrt(variance)


def _find_degrees(means: Sequence[_Mean]) -> float:
    """Return the degrees of freedom of a sum or difference of means.

    Source: Welch, Biometrika 34 (1947), with the number of sessions as Carter, Schnepel and
    Steigerwald (2017) count them, see `intervals`.
    """
    variance = floats.add(mean.variance for mean in means)
    if not 0 < variance < math.inf:
        return 1.0
    below = math.fsum(
        floats.square(mean.variance / variance) / max(mean.size - 1, 1.0) for mean in means
    )
    return max(1 / below, 1.0)


@dataclass(frozen=True, slots=True)
class _Compared:
    """The change in a slice and in all other runs.

    Attributes:
        means: Means of the values in the slice, of the baseline and of the candidate.
        change: Change of the adjusted values in the slice.
        change_of_rest: The same in all other runs, with its interval.
        half: Half the width of the interval of the difference of both changes.
    """

    means: tuple[_Mean, _Mean]
    change: float
    change_of_rest: Estimate
    half: float
    p: float

    @classmethod
    def of(cls, change: ComparedSlice) -> "_Compared | None":
        """Compare both changes. None if there are too few runs or sessions."""
        for part, every in zip(change.of_slice, change.of_all, strict=True):
            if min(part.n, every.n - part.n) < LEAST_SLICE:
                return None
            if min(part.clusters, every.clusters - part.whole) < LEAST_CLUSTERS:
                return None
        is_rate = change.kind == "rate"
        are_rare = is_rate and any(map(_are_rare, change.of_all))
        noise = _find_noise(change.of_all, are_alike=are_rare)
        raw, raw_rest, _ = _compare_means(change.of_slice, change.of_all, noise)
        noise_left = _find_noise(change.adjusted_all, are_alike=are_rare)
        own, rest, together = _compare_means(change.adjusted_slice, change.adjusted_all, noise_left)
        moved = own[1].value - own[0].value
        moved_rest = rest[1].value - rest[0].value
        variance = max(math.fsum(mean.variance for mean in (*own, *rest)) - 2 * together, 0.0)
        degrees = _find_degrees([*own, *rest])
        chances = [
            _find_p(moved - moved_rest, variance, degrees),
            _find_p(moved, math.fsum(mean.variance for mean in own), _find_degrees(own)),
        ]
        if is_rate and max(chances) < 1:
            chances += _find_rate_chances(change, raw, raw_rest, noise)
        return cls(
            means=raw,
            change=moved,
            change_of_rest=_subtract(*rest),
            half=find_quantile(degrees) * math.sqrt(variance),
            p=max(chances),
        )

    def conclude(self, change: ComparedSlice, *, is_sure: bool) -> ChangeVerdict:
        before, now = self.means
        sign = 1 if change.lower_is_better else -1
        margin = math.log1p(change.margin) if change.kind == "amount" else change.margin
        moved = _subtract(before, now)
        lost = sign * (self.change - self.change_of_rest.value) - self.half
        is_worse = (
            is_sure
            and lost > 0
            and sign * self.change >= margin
            and sign * moved.value >= margin
            and (moved.low > 0 if sign > 0 else moved.high < 0)
        )
        first, second, change_of_rest = before.estimate(), now.estimate(), self.change_of_rest
        if change.kind == "amount":
            first, second, moved, change_of_rest = map(
                exponential, (first, second, moved, change_of_rest)
            )
        elif change.kind == "rate":
            first, second = _limit(first, 0.0), _limit(second, 0.0)
            moved, change_of_rest = _limit(moved, -1.0), _limit(change_of_rest, -1.0)
        return ChangeVerdict(
            is_worse=is_worse,
            baseline=first,
            candidate=second,
            change=moved,
            elsewhere=change_of_rest,
            lost=lost if is_worse else 0.0,
            p=self.p,
        )


def _limit(estimate: Estimate, low: float) -> Estimate:
    """Return the estimate of a rate, or of a difference of rates, with possible bounds."""
    return Estimate(
        estimate.value,
        max(estimate.low, low),
        min(estimate.high, 1.0),
        estimate.n,
        estimate.clusters,
    )


def _subtract(before: _Mean, now: _Mean) -> Estimate:
    value, half = now.value - before.value, _find_half([before, now])
    return Estimate(value, value - half, value + half, round(now.n), round(now.clusters))


def _find_p(difference: float, variance: float, degrees: float) -> float:
    if difference == 0:
        return 1.0
    return student_p(difference / math.sqrt(variance), degrees) if variance > 0 else 0.0


def _compare_means(
    of_slice: Sides, of_all: Sides, noise: "_Noise"
) -> tuple[tuple[_Mean, _Mean], tuple[_Mean, _Mean], float]:
    """Return the means in the slice and outside, and the covariance of both.

    A side whose runs are all alike so far may just not have met the rare ones. So no variance is
    smaller than that of as many runs drawn from both versions.
    """
    own, rest, together = [], [], 0.0
    for part, every in zip(of_slice, of_all, strict=True):
        variances = mean_variances(part, every)
        others = _Sizes(
            every.n - part.n,
            every.clusters - part.whole,
            every.nn - 2 * part.n_of_all + part.nn,
        )
        together += variances.together
        sizes = _Sizes(part.n, part.clusters, part.nn)
        own.append(_make_mean(part.t, sizes, variances.of_slice, noise))
        rest.append(_make_mean(every.t - part.t, others, variances.of_rest, noise))
    return (own[0], own[1]), (rest[0], rest[1]), together


class _Sizes(NamedTuple):
    """Number of runs and of sessions, and the sum of the squared numbers of runs of a session."""

    runs: float
    clusters: float
    squares: float


class _Noise(NamedTuple):
    """How much single runs vary within a version, and how alike the runs of a session are.

    Attributes:
        spread: Variance of single runs.
        likeness: Correlation of two runs of a session, from 0 to 1.
    """

    spread: float
    likeness: float

    def count_alike(self, sizes: _Sizes) -> float:
        """Return the design effect: how many runs count as one, because sessions are alike.

        Source: Kish, Survey sampling (1965), section 5.4.
        """
        return 1 + max(sizes.squares / sizes.runs - 1, 0.0) * self.likeness


def _make_mean(total: float, sizes: _Sizes, variance: float, noise: _Noise) -> _Mean:
    least = noise.spread * noise.count_alike(sizes) / sizes.runs
    return _Mean(
        total / sizes.runs,
        max(variance * sizes.clusters / (sizes.clusters - 1), least),
        floats.square(sizes.runs) / sizes.squares,
        sizes.runs,
        sizes.clusters,
    )


def _are_rare(every: ClusterMoments) -> bool:
    """Return whether too few sessions have an event, or lack one, to estimate the correlation."""
    informative = min(every.with_event, every.without_event)
    return informative < max(_LEAST_INFORMATIVE, every.clusters / 10)


def _find_noise(of_all: Sides, *, are_alike: bool) -> _Noise:
    """Estimate how much runs vary. If the runs of a session are alike, they count as one."""
    runs = math.fsum(every.n for every in of_all)
    left = math.fsum(every.squares - floats.square(every.t) / every.n for every in of_all)
    spread = max(left / runs, 0.0)
    above = below = 0.0
    for every in of_all:
        mean = every.t / every.n
        squares = every.tt - 2 * mean * every.tn + floats.square(mean) * every.nn
        above += max(squares - every.n * spread, 0.0)
        below += (every.nn - every.n) * spread
    likeness = min(above / below, 1.0) if below > 0 else 0.0
    return _Noise(spread, 1.0 if are_alike else likeness)


class _Events(NamedTuple):
    """Numbers of events and of runs, as if all runs were independent."""

    events: float
    runs: float


def _find_rate_chances(
    change: ComparedSlice, own: tuple[_Mean, _Mean], rest: tuple[_Mean, _Mean], noise: "_Noise"
) -> list[float]:
    """Return the p-values of exact tests on few events. Empty if many are expected.

    Fisher's test asks whether both rates are equal. If the candidate's rate is a multiple of the
    baseline's, as in all other runs, each event belongs to the candidate with the same probability,
    so the number of its events is binomial.

    Source: Przyborowski and Wilenski, Homogeneity of results in testing samples from Poisson
    series, Biometrika 31 (1940); for Fisher's test see `fisher`.
    """
    total = math.fsum(part.t for part in change.of_slice)
    is_common = 2 * total > math.fsum(part.n for part in change.of_slice)

    def count(mean: _Mean, sums: ClusterMoments) -> _Events:
        rate = 1 - mean.value if is_common else mean.value
        runs = mean.n / noise.count_alike(_Sizes(sums.n, sums.clusters, sums.nn))
        return _Events(rate * runs, runs)

    before, now = map(count, own, change.of_slice)
    chances = [_compare_events(before, now, 1.0)]
    others = [*map(count, rest, change.of_all)]
    if min(item.events for item in others) >= _FEW_EVENTS:
        ratio = (others[1].events / others[1].runs) / (others[0].events / others[0].runs)
        chances.append(_compare_events(before, now, ratio))
    return [chance for chance in chances if chance is not None]


def _compare_events(before: _Events, now: _Events, ratio: float) -> float | None:
    """Return the p-value if the rate of `now` were `ratio` times that of `before`."""
    share = now.runs * ratio / (before.runs + now.runs * ratio)
    total = before.events + now.events
    if total * min(share, 1 - share) >= _FEW_EVENTS:
        return None
    if ratio == 1:
        return fisher(now.events, now.runs, before.events, before.runs)
    if now.events > total * share:
        tail = beta_share(share, now.events, before.events + 1)
    else:
        tail = beta_share(1 - share, before.events, now.events + 1)
    return min(2 * tail, 1.0)
