"""The benchmark's decorators of other libraries trace their calls in the pinned environment."""

import pytest

from tests.bench.peers import (
    NAMES,
    PYTHON,
    WORKLOADS,
    arrived_row,
    delivered_row,
    measure,
    row_of,
)
from tests.bench.sink import open_sink
from tests.bench.timed import BY_HAND, CALLER, SENDER

CALLS = 3_000


@pytest.fixture(scope="module", autouse=True)
def environment() -> None:
    """Skip all tests if the other libraries are not installed."""
    if not PYTHON.exists():
        pytest.skip("There is no .venv-bench-peers: make .venv-bench-peers/stamp")


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_contender_is_timed(workload: str) -> None:
    """Every library is timed and delivers calls; otel-ml delivers all except from an event loop."""
    with open_sink(keep=True) as endpoint:
        rounds = measure(workload, endpoint, rounds=1, calls=CALLS)
    [times] = rounds
    assert workload == "async" or times["ours"].arrived == 1
    assert all(0 < times[name].arrived <= 1 for name in (BY_HAND, *NAMES))
    for figure in (CALLER, SENDER):
        assert all(figure.read(times[name]) > 0 for name in (BY_HAND, *NAMES))
        assert len(row_of(workload, figure, rounds)) == len(NAMES) + 2
    assert len(arrived_row(workload, rounds)) == len(NAMES) + 2


@pytest.mark.parametrize("name", NAMES)
def test_program_of_each_ends(name: str) -> None:
    """A program of each library exits with status 0 and reports the share of delivered calls."""
    title, share, twice, _ = delivered_row(name, calls=CALLS)
    assert title == NAMES[name]
    assert twice == "0"
    assert int(share.removesuffix("%")) > 0
