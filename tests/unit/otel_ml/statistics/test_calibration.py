"""Expected accuracy before ground truth arrives, compared with scikit-learn."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from otel_ml.statistics.calibration import (
    FEWEST_TRUTHS,
    ConfidenceBin,
    expect_right,
    fit_rising_curve,
)

POINTS = st.lists(
    st.tuples(
        st.integers(0, 60).map(lambda place: place / 60),
        st.integers(0, 40).map(lambda height: height / 40),
        st.integers(1, 50),
    ),
    min_size=1,
    max_size=60,
)


@given(POINTS)
def test_curve(points: Sequence[tuple[float, float, int]]) -> None:
    """The rising curve equals scikit-learn's isotonic regression, at and between its points."""
    places, heights, weights = zip(*points, strict=True)
    oracle = IsotonicRegression(out_of_bounds="clip").fit(places, heights, sample_weight=weights)
    asked = [step / 97 - 0.2 for step in range(140)] + list(places)
    curve = fit_rising_curve(points)
    assert [curve.read(place) for place in asked] == pytest.approx(
        list(oracle.predict(asked)), abs=1e-9
    )


def draw(runs: int, seed: int, shift: float = 0.0) -> list[tuple[float, bool]]:
    """Draw runs of an overconfident model: its probability, and whether it was right."""
    chance = random.Random(seed)  # noqa: S311
    drawn = []
    for _ in range(runs):
        true = min(max(chance.betavariate(6, 3) + shift, 0.01), 0.99)
        drawn.append(((1 + true) / 2, chance.random() < true))
    return drawn


def put_in_bins(drawn: Sequence[tuple[float, bool]], *, has_truth: bool) -> list[ConfidenceBin]:
    bins: dict[int, ConfidenceBin] = {}
    for said, is_right in drawn:
        run = ConfidenceBin(1, said, has_truth, said * has_truth, is_right and has_truth)
        place = min(int(said * 100), 99)
        bins[place] = bins[place] + run if place in bins else run
    return list(bins.values())


@pytest.mark.parametrize("shift", [-0.2, -0.1, 0.0, 0.1])
def test_share_that_is_right(shift: float) -> None:
    """The estimate follows harder or easier runs, however confident the model is."""
    known = put_in_bins(draw(4_000, 1), has_truth=True)
    later = draw(4_000, 2, shift)
    expected = expect_right(known, put_in_bins(later, has_truth=False))
    came = sum(is_right for _, is_right in later) / len(later)
    said = sum(said for said, _ in later) / len(later)
    assert expected == pytest.approx(came, abs=0.025)
    assert abs(said - came) > 0.1  # the model's own confidence is far off


def test_same_runs() -> None:
    """For the runs it was fitted to, the estimate is the share that was right."""
    drawn = draw(500, 3)
    bins = put_in_bins(drawn, has_truth=True)
    assert expect_right(bins, bins) == pytest.approx(sum(right for _, right in drawn) / 500)


def test_parts() -> None:
    """Subtracting a part of bins leaves the other runs; waiting runs have no ground truth."""
    known, later = put_in_bins([(0.5, True)] * 3, has_truth=True), ConfidenceBin(2, 1.1, 0, 0.0, 0)
    whole = known[0] + later
    assert whole == ConfidenceBin(5, 2.6, 3, 1.5, 3)
    assert whole - later == known[0]
    assert whole.waiting.n == 2
    assert whole.waiting.total == pytest.approx(1.1)


def test_too_few() -> None:
    """With fewer than 100 ground truths, or without runs, there is no estimate."""
    few = put_in_bins(draw(FEWEST_TRUTHS - 1, 4), has_truth=True)
    enough = put_in_bins(draw(FEWEST_TRUTHS, 4), has_truth=True)
    assert expect_right(few, few) is None
    assert expect_right(enough, []) is None
    assert expect_right(enough, enough) is not None
