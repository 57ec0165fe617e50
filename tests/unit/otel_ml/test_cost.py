"""The SDK's overhead per call."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml import Client
from otel_ml.recorder import Cost
from tests.support.otel_ml.providers import open_provider


def cost_of(*durations_ns: int) -> Cost:
    cost = Cost()
    for duration_ns in durations_ns:
        cost.add(duration_ns)
    return cost


def test_nothing_is_known_before_the_first_call() -> None:
    """There is no quantile before the first call."""
    assert cost_of().quantile_us(0.5) is None


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 51.0), (0.99, 100.0), (1.0, 100.0)]
)
def test_quantile_is_one_of_the_durations(share: float, expected: float) -> None:
    """A quantile is one of the recorded durations, in microseconds."""
    assert cost_of(*range(1_000, 101_000, 1_000)).quantile_us(share) == expected


def test_only_the_last_durations_count() -> None:
    """Only the last 1,024 durations count."""
    cost = cost_of(*[9_000] * 1_000, *[1_000] * 1_023)
    assert cost.quantile_us(1.0) == 9.0
    cost.add(1_000)
    assert cost.quantile_us(1.0) == 1.0


@given(durations_ns=st.lists(st.integers(0, 10**9), min_size=1), share=st.floats(0, 1))
def test_quantile_is_between_the_durations(durations_ns: list[int], share: float) -> None:
    """A quantile is between the smallest and the largest duration."""
    found = cost_of(*durations_ns).quantile_us(share)
    assert found is not None
    assert min(durations_ns) / 1e3 <= found <= max(durations_ns) / 1e3


def test_threads_may_measure() -> None:
    """When threads record durations at the same time, every quantile is a recorded duration."""
    cost = Cost()

    def measure(number: int) -> None:
        for _ in range(2_000):
            cost.add((number + 1) * 1_000)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(measure, range(4)))
    found = {cost.quantile_us(share / 10) for share in range(11)}
    assert found <= {1.0, 2.0, 3.0, 4.0}


def test_client_tells_its_cost() -> None:
    """`stats` reports the client's overhead per call after the first call."""
    client = Client("shop", tracer_provider=open_provider()[0])
    assert (client.stats().cost_p50_us, client.stats().cost_p99_us) == (None, None)
    client.trace(lambda: 1)()
    p50, p99 = client.stats().cost_p50_us, client.stats().cost_p99_us
    assert p50 is not None
    assert p99 is not None
    assert 0 < p50 <= p99
