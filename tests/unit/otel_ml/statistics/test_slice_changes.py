"""A slice is named if its change is worse than the margin, and differs from the others' change."""

from collections.abc import Sequence

import pytest
from scipy import stats

from otel_ml.statistics.slice_changes import (
    ComparedSlice,
    count_runs_of,
    find_look,
    judge_changes,
)
from otel_ml.statistics.slices import ClusterMoments


def sum_runs(
    slice_passes: int, slice_runs: int, passes: int, runs: int
) -> Sequence[ClusterMoments]:
    """Sum up runs of one side without sessions: of the slice, and of all runs."""

    def moments(total: int, n: int) -> ClusterMoments:
        return ClusterMoments(
            clusters=n,
            whole=n,
            n=n,
            t=total,
            nn=n,
            tn=total,
            tt=total,
            n_of_all=n,
            t_of_all=total,
            n_to_all=total,
            t_to_all=total,
            squares=total,
            with_event=total,
            without_event=n - total,
            all_events=total,
            all_others=n - total,
        )

    return moments(slice_passes, slice_runs), moments(slice_passes + passes, slice_runs + runs)


def make_change(
    before: tuple[int, int, int, int], now: tuple[int, int, int, int], look: int = 2
) -> ComparedSlice:
    """Make a pass rate: passes and runs in the slice, then outside, of both versions."""
    (own_before, all_before), (own_now, all_now) = sum_runs(*before), sum_runs(*now)
    own, every = (own_before, own_now), (all_before, all_now)
    return ComparedSlice(
        kind="rate",
        lower_is_better=False,
        margin=0.02,
        look=look,
        of_slice=own,
        of_all=every,
        adjusted_slice=own,
        adjusted_all=every,
    )


@pytest.mark.parametrize(("runs", "look"), [(99, None), (100, 0), (199, 0), (200, 1), (6_400, 6)])
def test_looks(runs: int, look: int | None) -> None:
    """A look is taken at 100, 200, 400, ... runs."""
    assert find_look(runs) == look
    if look is not None:
        assert count_runs_of(look) <= runs < count_runs_of(look + 1)


def test_fall_in_the_slice_only() -> None:
    """A slice that falls while all others stay is named, with both values and both changes."""
    (verdict,) = judge_changes([make_change((85, 100, 255, 300), (40, 100, 255, 300))])
    assert verdict is not None
    assert verdict.is_worse
    assert (verdict.baseline.value, verdict.candidate.value) == (0.85, 0.4)
    assert verdict.change.value == pytest.approx(-0.45)
    assert verdict.elsewhere.value == 0
    assert 0.2 < verdict.lost < 0.45


def test_fall_everywhere() -> None:
    """A slice that falls like all others is not named."""
    (verdict,) = judge_changes([make_change((85, 100, 255, 300), (40, 100, 120, 300))])
    assert verdict is not None
    assert not verdict.is_worse


def test_others_rise() -> None:
    """A slice that stays while all others rise is not named: it is not worse."""
    (verdict,) = judge_changes([make_change((40, 100, 120, 300), (40, 100, 255, 300))])
    assert verdict is not None
    assert not verdict.is_worse


def test_rise_in_the_slice() -> None:
    """A slice that rises is not named."""
    (verdict,) = judge_changes([make_change((40, 100, 255, 300), (85, 100, 255, 300))])
    assert verdict is not None
    assert not verdict.is_worse


def test_few_runs() -> None:
    """With fewer than 30 runs of a version in the slice there is no verdict."""
    assert judge_changes([make_change((29, 29, 255, 300), (0, 100, 255, 300))]) == [None]


def test_few_events() -> None:
    """Three failures of thirty are not enough if none of thirty failed before."""
    (verdict,) = judge_changes([make_change((30, 30, 300, 300), (27, 30, 300, 300))])
    assert verdict is not None
    assert not verdict.is_worse


def test_later_looks_need_more() -> None:
    """A change that is named at the first look is not named at a much later one."""
    before, now = (85, 100, 255, 300), (66, 100, 255, 300)
    named = [
        verdict.is_worse
        for look in (0, 12)
        for verdict in judge_changes([make_change(before, now, look)])
        if verdict is not None
    ]
    assert named == [True, False]


def test_many_slices_need_more() -> None:
    """A change that is named alone is not named among many slices without a change."""
    change = make_change((85, 100, 255, 300), (66, 100, 255, 300), 0)
    same = make_change((85, 100, 255, 300), (85, 100, 255, 300), 0)
    first, *_ = judge_changes([change, *[same] * 400])
    assert first is not None
    assert not first.is_worse


def test_equal_measures_do_not_count() -> None:
    """A slice is named by one measure, however many others have the same value in all runs."""
    change = make_change((48, 50, 142, 150), (33, 50, 142, 150))
    none_failed = make_change((0, 50, 0, 150), (0, 50, 0, 150))
    first, *others = judge_changes([change, *[none_failed] * 400])
    assert first is not None
    assert first.is_worse
    assert not any(verdict is None or verdict.is_worse for verdict in others)


def test_half_of_a_slice() -> None:
    """A fall from 80 % to 40 % of 40 runs is named: p is that of Fisher's test."""
    (verdict,) = judge_changes([make_change((32, 40, 96, 120), (16, 40, 96, 120))])
    assert verdict is not None
    assert verdict.p >= stats.fisher_exact([[32, 8], [16, 24]]).pvalue
    assert verdict.is_worse
