"""Tests of the pace at which a judge without code calls its model."""

from otel_ml_collector.judges.job import plan_next_call


def count_calls(calls_per_minute: float, seconds: int, *, is_busy: bool) -> int:
    """Count the calls of a judge that checks every 10 ms whether it may make one."""
    next_s, calls = 0.0, 0
    for step in range(100 * seconds):
        now_s = step / 100
        if now_s >= next_s:
            calls += 1
            next_s = plan_next_call(next_s, now_s, calls_per_minute, is_busy=is_busy)
    return calls


def test_rate_limit() -> None:
    """A judge makes as many calls as its rate limit allows, plus at most one at the start."""
    assert count_calls(60, 60, is_busy=False) in (60, 61)
    assert count_calls(600, 60, is_busy=False) in (600, 601)


def test_requests_come_first() -> None:
    """While requests keep the process busy, a judge makes at most one call per second."""
    assert count_calls(100_000, 60, is_busy=True) == 60
    assert count_calls(6, 60, is_busy=True) == 6
