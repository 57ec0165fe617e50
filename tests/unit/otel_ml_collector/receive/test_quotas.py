"""Tests of the quotas of API keys."""

import pytest

from otel_ml_collector.access import INGEST, OPEN, Access
from otel_ml_collector.errors import OverQuota
from otel_ml_collector.receive.admission import Quotas


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def make_key(key_id: str = "a", spans: int = 0, size: int = 0) -> Access:
    return Access(key_id, "", frozenset({INGEST}), None, spans, size)


def delay_of(quotas: Quotas, access: Access) -> float | None:
    """Return how long a key must wait for its next request, or None if it need not."""
    try:
        quotas.check(access)
    except OverQuota as error:
        return error.retry_after_s
    return None


@pytest.mark.parametrize("access", [make_key(spans=100), make_key(size=100)])
def test_rate(access: Access) -> None:
    """A key may send two seconds' worth at once, then waits until its deficit is paid back."""
    clock = Clock()
    quotas = Quotas(clock=clock)
    quotas.take(access, spans=199, size=199)
    assert delay_of(quotas, access) is None
    quotas.take(access, spans=301, size=301)  # 300 more than it had left
    assert delay_of(quotas, access) == 3
    clock.now_s = 2.5
    assert delay_of(quotas, access) == 1
    clock.now_s = 3.1
    assert delay_of(quotas, access) is None


def test_silence() -> None:
    """A key that was silent for long has saved at most two seconds' worth."""
    clock = Clock()
    quotas = Quotas(clock=clock)
    access = make_key(spans=10)
    quotas.take(access, spans=20)
    clock.now_s = 1_000.0
    quotas.take(access, spans=21)
    assert delay_of(quotas, access) == 1


def test_own_buckets() -> None:
    """Each key has its own quota, and a key without a quota is not limited."""
    quotas = Quotas(clock=Clock())
    quotas.take(make_key("a", spans=1), spans=1_000)
    assert delay_of(quotas, make_key("a", spans=1)) == 300  # the longest delay that is reported
    assert delay_of(quotas, make_key("b", spans=1)) is None
    quotas.take(OPEN, spans=10**9, size=10**12)
    assert delay_of(quotas, OPEN) is None


def test_message() -> None:
    """The error of a key over its quota names the quota, and the rejection is counted."""
    refused: list[str] = []
    quotas = Quotas(Clock(), refused.append)
    access = make_key(size=5)
    quotas.take(access, size=100)
    with pytest.raises(OverQuota, match=r"^The key may send 5 bytes per second and has sent more$"):
        quotas.check(access)
    assert refused == ["bytes"]
