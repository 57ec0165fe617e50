"""Drift detection keeps its error rates on the simulated streams of tests/bench/drift.py."""

import pytest

from tests.bench.drift import (
    CHANGES,
    DRAWN,
    SIZES,
    count_false,
    count_false_of_sessions,
    count_found,
)


@pytest.mark.parametrize("runs", SIZES)
def test_no_change(runs: int) -> None:
    """Without a change, at most 2 % of windows report drift, for any number of runs."""
    assert count_false(runs, streams=3).share <= 0.02


def test_sessions_that_are_drawn() -> None:
    """With randomly drawn sessions of 1 to 50 runs, at most 2 % of windows report drift."""
    assert count_false_of_sessions(DRAWN).share <= 0.02


@pytest.mark.parametrize("name", CHANGES)
def test_found(name: str) -> None:
    """A change is found in its first window of 2,000 runs in at least 95 % of streams."""
    assert count_found(name, streams=40).share >= 0.95
