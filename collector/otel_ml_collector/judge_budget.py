"""The daily budget of a rubric judge: its limits, and how much of it is used up."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from otel_ml_collector.store.documents import DocumentKind, read_document
from otel_ml_collector.store.judging import JudgeSpending, find_spending_by_second
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.windows import Window

RUBRIC_JUDGE: Final = DocumentKind(
    "rubric judge", most=200, limit_bytes=256 * 1024, noted_as="judge"
)
_USUAL_CALLS: Final = 1_000


def limit_calls(calls_per_day: int | None, dollars_per_day: float | None) -> int | None:
    """Return the maximum number of calls per day; None if only dollars are limited."""
    if calls_per_day is None and dollars_per_day is None:
        return _USUAL_CALLS
    return calls_per_day


def find_share_used(
    calls_per_day: int | None, dollars_per_day: float | None, spent: JudgeSpending
) -> float:
    """Return which share of a day's budget is used up: 0 for none, 1 or more for all of it."""
    calls = limit_calls(calls_per_day, dollars_per_day)
    of_calls = spent.calls / calls if calls is not None else 0.0
    of_dollars = spent.dollars / dollars_per_day if dollars_per_day is not None else 0.0
    return max(of_calls, of_dollars)


def day_start(now_ns: int) -> int:
    """Return the start of the day (UTC)."""
    return now_ns // DAY_NS * DAY_NS


def measure_budget(
    reader: Reader, project: str, judge: str, ends_ns: Sequence[int]
) -> dict[int, float]:
    """Measure how much of its daily budget a judge had used up at each given time.

    The budget limits calls and dollars per day. A day begins at midnight UTC.

    Args:
        reader: The store.
        project: Project of the judge.
        judge: Its name.
        ends_ns: The times, in nanoseconds since 1970: whole seconds in ascending order.

    Returns:
        The share for each time: 0 for none of the budget, 1 or more for all of it. The judge's
        present limits are used for past days too. All shares are 0 if the judge is off now.

    Raises:
        Missing: There is no such judge.
    """
    body = read_document(reader, project, RUBRIC_JUDGE, judge).body
    if not body["on_ns"]:
        return dict.fromkeys(ends_ns, 0.0)
    # Midnight counts as the end of the previous day.
    days_ns = [day_start(end_ns - 1) for end_ns in ends_ns]
    spent = find_spending_by_second(reader, project, judge, Window(days_ns[0], ends_ns[-1]))
    seconds_ns = [second_ns for second_ns, _ in spent]
    shares = {}
    for end_ns, day_ns in zip(ends_ns, days_ns, strict=True):
        of_day = spent[bisect_left(seconds_ns, day_ns) : bisect_left(seconds_ns, end_ns)]
        calls = sum(item.calls for _, item in of_day)
        dollars = sum(item.dollars for _, item in of_day)
        shares[end_ns] = find_share_used(
            body["calls_per_day"], body["dollars_per_day"], JudgeSpending(calls, dollars)
        )
    return shares
