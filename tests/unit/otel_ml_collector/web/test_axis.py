"""Tests of the labels of axes: `otel_ml_collector.web.axis`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.web.axis import round_values


@pytest.mark.parametrize(
    ("low", "high", "values"),
    [
        (0.62, 1.0, [0.6, 0.7, 0.8, 0.9, 1.0]),
        (0.09, 0.37, [0.0, 0.1, 0.2, 0.3, 0.4]),
        (5.2, 17.7, [5.0, 10.0, 15.0, 20.0]),
        (0.0004, 0.0068, [0.0, 0.002, 0.004, 0.006, 0.008]),
        (0.81, 0.83, [0.81, 0.815, 0.82, 0.825, 0.83]),
    ],
)
def test_round(low: float, high: float, values: list[float]) -> None:
    """An axis has round, equally spaced numbers."""
    assert round_values(low, high) == values


@given(
    st.floats(0, 1e9).flatmap(
        lambda low: st.tuples(st.just(low), st.floats(low + 1e-3 * (low + 1), 1e12))
    )
)
def test_contains(ends: tuple[float, float]) -> None:
    """An axis contains the drawn values and has 2 to 7 labels."""
    values = round_values(*ends)
    room = 1e-6 * (ends[1] - ends[0])
    assert values[0] <= ends[0] + room
    assert values[-1] >= ends[1] - room
    assert 2 <= len(values) <= 7
