"""Tests of splitting a group by month."""

from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.store.writer import slice_by_month
from tests.support.otel_ml_collector.spans import DAY_NS, NOW_NS

times = st.lists(st.integers(0, 2**63 - 1))


def cut(times_ns: list[int], months: int = 50) -> list[list[int]]:
    return [list(part) for part in slice_by_month(times_ns, lambda time_ns: time_ns, months)]


def test_few_months() -> None:
    """Rows of a few months stay together, in order."""
    rows = [NOW_NS, NOW_NS - 300 * DAY_NS, NOW_NS - DAY_NS]
    assert cut(rows) == [rows]


def test_many_months() -> None:
    """Rows of more months than allowed are split."""
    rows = [number * 31 * DAY_NS for number in range(120)]
    assert [len(part) for part in cut(rows)] == [50, 50, 20]


def test_one_month() -> None:
    """Rows of one month are never split."""
    january, february = [0, 30 * DAY_NS], [31 * DAY_NS, 58 * DAY_NS]
    assert cut([february[0], january[0], january[1], february[1]], 1) == [january, february]


@given(times)
def test_all_rows(times_ns: list[int]) -> None:
    """Each row is in one slice."""
    assert sorted(row for part in cut(times_ns) for row in part) == sorted(times_ns)
