"""Slices compared with all other runs: clustered variances, and the rate of false findings."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from otel_ml.statistics.comparison import FigureKind
from otel_ml.statistics.intervals import beta_share
from otel_ml.statistics.slices import ClusterMoments, SliceFigure, judge_slices, mean_variances
from tests.support.examples import examples

Numbers = np.ndarray[Any, np.dtype[Any]]
ANSWERS: Final = examples(at_night=60, on_commit=3)
NULL_SLICES: Final = 200
RUNS: Final = 20_000


class Sums:
    """Sums of a figure by session, for all runs and for any slice, as in the collector's store."""

    def __init__(self, values: Numbers, sessions: Numbers) -> None:
        self.values, self.sessions = values, sessions
        self.n, self.t = self._by_session(slice(None))
        self.every = self.of(slice(None))

    def of(self, inside: Any) -> ClusterMoments:
        n, t = self._by_session(inside)
        return ClusterMoments(
            clusters=float((n > 0).sum()),
            whole=float(((n > 0) & (n == self.n)).sum()),
            n=float(n.sum()),
            t=float(t.sum()),
            nn=float(n @ n),
            tn=float(t @ n),
            tt=float(t @ t),
            n_of_all=float(n @ self.n),
            t_of_all=float(t @ self.n),
            n_to_all=float(n @ self.t),
            t_to_all=float(t @ self.t),
            squares=float(self.values[inside] @ self.values[inside]),
            with_event=float((t > 0).sum()),
            without_event=float((t < n).sum()),
            all_events=float(((t > 0) & (t == self.t)).sum()),
            all_others=float(((t < n) & (n - t == self.n - self.t)).sum()),
        )

    def _by_session(self, inside: Any) -> tuple[Numbers, Numbers]:
        of, count = self.sessions[inside], int(self.sessions.max()) + 1
        n = np.bincount(of, minlength=count)
        return n, np.bincount(of, self.values[inside], minlength=count)


def sum_up(
    values: Numbers, sessions: Numbers, inside: Numbers
) -> tuple[ClusterMoments, ClusterMoments]:
    """Return the sums of a slice and of all runs."""
    sums = Sums(values, sessions)
    return sums.of(inside), sums.every


@pytest.mark.parametrize("is_rate", [True, False])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_variance_is_of_a_regression(share: float, is_rate: bool) -> None:
    """The variance of a difference matches statsmodels' regression clustered by session."""
    draw = np.random.default_rng(3)
    sessions = np.repeat(np.arange(300), draw.integers(1, 12, 300))
    mood = draw.normal(0, 1, 300)[sessions]
    inside = draw.random(len(sessions)) < share
    values = mood + draw.normal(0, 1, len(sessions)) + inside
    if is_rate:
        values = (values > 0.3).astype(float)
    part, every = sum_up(values, sessions, inside)
    variances = mean_variances(part, every)
    fit = sm.OLS(values, sm.add_constant(inside.astype(float))).fit(
        cov_type="cluster", cov_kwds={"groups": sessions, "use_correction": False}
    )
    found = variances.of_slice + variances.of_rest - 2 * variances.together
    assert found == pytest.approx(fit.cov_params()[1, 1], rel=1e-9)


@pytest.mark.parametrize("kind", ["rate", "score"])
def test_alone_is_welch(kind: FigureKind) -> None:
    """For independent runs, p-value and interval match Welch's test of two samples."""
    draw = np.random.default_rng(5)
    inside = np.arange(4_000) < 900
    values = draw.normal(inside * 0.15, 1.0 + inside)
    if kind == "rate":
        values = (draw.random(4_000) < 0.4 + 0.03 * inside).astype(float)
    (verdict,) = judge_slices([SliceFigure(kind, False, *sum_up(values, np.arange(4_000), inside))])
    expected = stats.ttest_ind(values[inside], values[~inside], equal_var=False)
    assert verdict.p == pytest.approx(expected.pvalue, rel=0.02)
    assert verdict.difference is not None
    interval = expected.confidence_interval()
    assert (verdict.difference.low, verdict.difference.high) == pytest.approx(
        (interval.low, interval.high), rel=0.02
    )


@pytest.mark.parametrize(("x", "a", "b"), [(0.02, 4, 27), (0.7, 12.5, 3.25), (0.5, 1, 900)])
def test_beta_share(x: float, a: float, b: float) -> None:
    """The incomplete beta function matches scipy."""
    assert beta_share(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), rel=1e-9)


def test_few_errors_are_no_finding() -> None:
    """For 4 errors in 30 runs vs 2 % elsewhere, p is that of Fisher's test, not the normal one."""
    inside = np.arange(10_030) < 30
    values = np.zeros(10_030)
    values[:4] = 1
    values[30:230] = 1
    (verdict,) = judge_slices(
        [SliceFigure("rate", True, *sum_up(values, np.arange(10_030), inside))]
    )
    assert verdict.p == pytest.approx(2 * stats.hypergeom.sf(3, 10_030, 204, 30), rel=1e-4)
    normal = 2 * stats.norm.sf((4 / 30 - 0.02) / math.sqrt(0.02 * 0.98 / 30))
    assert verdict.p > 20 * normal


def test_bad_client_in_shared_sessions() -> None:
    """A client with 2 % instead of 83 % is worse, even if every session has several clients.

    No other figure decides about it: neither one that differs nor one whose runs are all equal.
    """
    sessions = np.repeat(np.arange(28), 13)
    inside = np.arange(len(sessions)) % 13 < 3
    values = (np.arange(len(sessions)) % 6 > 0) & ~inside
    bad = SliceFigure("rate", False, *sum_up(values.astype(float), sessions, inside))
    equal = SliceFigure("rate", True, *sum_up(np.zeros(len(sessions)), sessions, inside))
    draw = np.random.default_rng(2)
    latency = draw.normal(0, 1, len(sessions))
    others = [
        SliceFigure("amount", True, *sum_up(latency, sessions, draw.random(len(sessions)) < 0.3))
        for _ in range(100)
    ]
    verdict = judge_slices([bad])[0]
    assert (verdict.word, verdict.p < 1e-6) == ("worse", True)
    assert [judge_slices([bad, *more])[0].word for more in (others, [equal] * 5_000)] == [
        "worse",
        "worse",
    ]


@pytest.mark.parametrize(("mode", "sizes"), [("run", 6), ("session", 10), ("mostly", 25)])
def test_p_of_rates(mode: str, sizes: int) -> None:
    """Without a difference, at most 5 % of the p-values are below 0.05, whatever sessions share."""
    draw = np.random.default_rng(8)
    chances = []
    for _ in range(ANSWERS * 40):
        sessions = np.repeat(np.arange(60), draw.integers(1, 2 * sizes, 60))
        runs = len(sessions)
        values = (draw.random(runs) < draw.beta(1, 3, 60)[sessions]).astype(float)
        inside = draw.random(60)[sessions] < 0.3
        if mode != "session":
            is_own = draw.random(runs) < (1 if mode == "run" else 0.1)
            inside = np.where(is_own, draw.random(runs) < 0.3, inside)
        (verdict,) = judge_slices([SliceFigure("rate", True, *sum_up(values, sessions, inside))])
        chances.append(verdict.p)
    expected = 0.05 * len(chances)
    assert np.sum(np.array(chances) < 0.05) <= expected + 3 * math.sqrt(expected)


@pytest.mark.parametrize("inside", [29, 4_000 - 29])
def test_too_few(inside: int) -> None:
    """With fewer than 30 runs on a side there is no verdict."""
    values = np.arange(4_000) % 2.0
    moments = sum_up(values, np.arange(4_000), np.arange(4_000) < inside)
    (verdict,) = judge_slices([SliceFigure("rate", True, *moments)])
    assert (verdict.word, verdict.difference, verdict.n) == ("not enough data", None, 0)


def test_few_sessions() -> None:
    """More than a thousand runs are too few to judge if they come from eleven sessions."""
    sessions = np.repeat(np.arange(400), 100)
    moments = sum_up(np.arange(40_000) % 2.0, sessions, sessions < 11)
    (verdict,) = judge_slices([SliceFigure("rate", True, *moments)])
    assert verdict.word == "not enough data"


def test_interval_of_rates_is_at_most_1() -> None:
    """A rate can differ by at most 1, even if few sessions make the interval wide."""
    inside = np.arange(400) < 84
    sessions = np.where(inside, np.arange(400) // 6, 14 + np.arange(400))
    values = (sessions >= 1) & (np.arange(400) % 20 > 0)
    moments = sum_up(np.where(inside, sessions == 0, values).astype(float), sessions, inside)
    (verdict,) = judge_slices([SliceFigure("rate", False, *moments)])
    assert verdict.difference is not None
    assert verdict.difference.low == -1.0


def test_small_effect_of_many() -> None:
    """A difference below the margin is "no difference", however many runs show it."""
    draw = np.random.default_rng(7)
    inside = np.arange(1_000_000) < 400_000
    values = (draw.random(1_000_000) < 0.9 - 0.01 * inside).astype(float)
    (verdict,) = judge_slices(
        [SliceFigure("rate", False, *sum_up(values, np.arange(1_000_000), inside))]
    )
    assert verdict.p < 1e-12
    assert (verdict.word, verdict.lost, verdict.strength) == ("no difference", 0.0, 0)


def test_equal_scores() -> None:
    """If all scores are equal, no slice differs from all other runs by rounding."""
    draw = np.random.default_rng(4)
    figures = []
    for score in np.arange(1, 100) / 100:
        sessions = draw.integers(0, 200, 1_000)
        inside = draw.random(1_000) < 0.3
        figures.append(
            SliceFigure("score", False, *sum_up(np.full(1_000, score), sessions, inside))
        )
    assert {verdict.word for verdict in judge_slices(figures)} == {"no difference"}


def test_ratio() -> None:
    """The difference of amounts is the ratio of geometric means, and larger is worse."""
    draw = np.random.default_rng(11)
    inside = np.arange(6_000) < 2_000
    values = draw.normal(math.log(300), 0.4, 6_000) + math.log(1.5) * inside
    (verdict,) = judge_slices(
        [SliceFigure("amount", True, *sum_up(values, np.arange(6_000), inside))]
    )
    assert (verdict.word, verdict.strength) == ("worse", 3)
    assert verdict.difference is not None
    assert verdict.difference.value == pytest.approx(1.5, rel=0.05)
    assert verdict.value is not None
    assert verdict.value == pytest.approx(stats.gmean(np.exp(values[inside])))
    assert verdict.lost == pytest.approx(math.log(verdict.difference.low))


def draw_answer(draw: np.random.Generator) -> tuple[list[SliceFigure], set[int]]:
    """Draw 200 slices without a difference and 3 with one, with four figures each.

    Sessions of 1 to 50 runs have a common level, and mostly one value of a tag.
    """
    sizes = draw.integers(1, 51, RUNS // 12)
    sizes = sizes[: int(np.searchsorted(sizes.cumsum(), RUNS))]
    sessions = np.repeat(np.arange(len(sizes)), sizes)
    runs = len(sessions)
    mood = draw.normal(0, 0.8, len(sizes))[sessions]
    tags: list[Numbers] = []
    for _ in range(NULL_SLICES // 10):
        of_session = draw.integers(0, 10, len(sizes))[sessions]
        tags.append(np.where(draw.random(runs) < 0.1, draw.integers(0, 10, runs), of_session))
    bad = draw.choice(4, len(sizes), p=[0.7, 0.1, 0.1, 0.1])[sessions]
    worse = np.array([0.0, 2.0, 1.6, 1.8])[bad]
    figures: list[tuple[FigureKind, bool, Numbers]] = [
        ("rate", True, (draw.random(runs) < 1 / (1 + np.exp(4.2 - mood))).astype(float)),
        ("rate", False, (draw.random(runs) < 1 / (1 + np.exp(mood + worse - 2.2))).astype(float)),
        ("amount", True, draw.normal(mood, 0.5)),
        ("score", False, draw.normal(-mood, 1.0)),
    ]
    slices = [tag == value for tag in tags for value in range(10)]
    slices += [bad == value for value in (1, 2, 3)]
    sums = [(kind, lower, Sums(values, sessions)) for kind, lower, values in figures]
    told = [
        SliceFigure(kind, lower, figure.of(inside), figure.every)
        for inside in map(np.flatnonzero, slices)
        for kind, lower, figure in sums
    ]
    of_bad = {place for place in range(len(told)) if place >= 4 * NULL_SLICES and place % 4 == 1}
    return told, of_bad


def test_null_slices() -> None:
    """With 200 null slices and 3 bad ones, at most 5 % of findings are false; bad ones lead."""
    draw = np.random.default_rng(17)
    false_shares: list[float] = []
    for _ in range(ANSWERS):
        figures, of_bad = draw_answer(draw)
        verdicts = judge_slices(figures)
        told = {place for place, one in enumerate(verdicts) if one.word in {"worse", "better"}}
        false_shares.append(len(told - of_bad) / max(len(told), 1))
        assert first_three(figures, [one.lost for one in verdicts]) == of_bad
    # Allow two standard errors, because the mean of few answers varies.
    slack = 2 * float(np.std(false_shares)) / math.sqrt(ANSWERS)
    assert np.mean(false_shares) <= 0.05 + slack


def first_three(figures: Sequence[SliceFigure], lost: Sequence[float]) -> set[int]:
    """Return the three rates with the most extra failures."""
    places = [place for place, one in enumerate(figures) if one.kind == "rate"]
    return set(sorted(places, key=lambda place: -lost[place] * figures[place].of_slice.n)[:3])
