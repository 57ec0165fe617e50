"""Tests of the smallest differences in time and cost that matter."""

import pytest

from otel_ml_collector.margins import Margins, read_margins


def test_larger_time_counts() -> None:
    """A time must differ by 10 ms, or by 2 % of the request's time if that is more."""
    margins = Margins()
    assert margins.find_least("latency", request_ms=100) == 10
    assert margins.find_least("latency", request_ms=5_000) == 100
    assert margins.find_least("cost") == 0.0001
    assert margins.find_least("tokens") == 0


def test_ratio() -> None:
    """As a ratio, the margin is large for a short call, and 5 % for a long one."""
    margins = Margins()
    assert margins.find_ratio("latency", 1.2, 0.05, 0.0) == pytest.approx(10 / 1.2)
    assert margins.find_ratio("latency", 2_000, 0.05, 2_000) == 0.05
    assert margins.find_ratio("cost", 0.0000242, 0.05, 0.0) == pytest.approx(0.0001 / 0.0000242)
    assert margins.find_ratio("tokens", 100, 0.05, 0.0) == 0.05


def test_read() -> None:
    """Omitted keys keep their defaults."""
    assert read_margins("") == Margins()
    assert read_margins('{"time_ms": 5}') == Margins(time_ms=5.0)


@pytest.mark.parametrize("text", ["5", "{", '{"time": 5}', '{"cost": -1}', '{"time_ms": true}'])
def test_wrong(text: str) -> None:
    """An invalid value is rejected with a valid example."""
    with pytest.raises(ValueError, match='"time_ms": 10'):
        read_margins(text)
