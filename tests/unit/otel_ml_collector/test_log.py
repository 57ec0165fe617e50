"""Tests of the rate limit of the log."""

import logging

from otel_ml_collector.log import LINES, WINDOW_S, LogRate, OnceAMinute


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def written(rate: LogRate, times: int, line: int = 1) -> list[str]:
    """Log repeatedly from one place in the code, and return the lines written."""
    records = [
        logging.LogRecord("a", logging.ERROR, "a.py", line, "No %d", (number,), None)
        for number in range(times)
    ]
    return [record.getMessage() for record in records if rate.filter(record)]


def test_few_lines() -> None:
    """All lines of a place that logs little are written."""
    assert written(LogRate(), LINES) == [f"No {number}" for number in range(LINES)]


def test_many_lines() -> None:
    """If a place logs a lot, its first lines are written, and later the number of omitted ones."""
    clock = Clock()
    rate = LogRate(clock)
    assert len(written(rate, LINES + 50)) == LINES
    clock.now_s = WINDOW_S
    assert written(rate, 2) == ["No 0 (and 50 lines like this were left out)", "No 1"]
    clock.now_s = 2 * WINDOW_S
    assert written(rate, 1) == ["No 0"]


def test_other_place() -> None:
    """A place that logs a lot does not silence other places."""
    rate = LogRate()
    written(rate, 2 * LINES)
    assert written(rate, 1, line=2) == ["No 0"]


def test_once_a_minute() -> None:
    """A recurring event is due once a minute, and does not hide other events."""
    clock = Clock()
    once = OnceAMinute(clock)
    assert [once.is_due("away"), once.is_due("away"), once.is_due("full")] == [True, False, True]
    clock.now_s = WINDOW_S
    assert [once.is_due("away"), once.is_due("away")] == [True, False]
