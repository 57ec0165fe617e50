"""The peers' decorators of the bench trace what they are given, in the environment they run in."""

import pytest

from tests.bench.peers import BY_HAND, NAMES, PYTHON, WORKLOADS, measure, rows_of
from tests.bench.sink import open_sink

pytestmark = pytest.mark.interop


def test_every_contender_is_timed() -> None:
    """Ours delivers all, by hand and the peers deliver something, and each has a row."""
    if not PYTHON.exists():
        pytest.skip("There is no .venv-bench-peers: make .venv-bench-peers/stamp")
    with open_sink(keep=True) as endpoint:
        rounds = measure("tiny", endpoint, rounds=1)
    [found] = rounds
    assert found["ours"].arrived == 1
    assert all(found[name].arrived > 0 for name in (BY_HAND, *NAMES))
    rows = rows_of("tiny", rounds)
    assert [row[:2] for row in rows] == [[WORKLOADS["tiny"], title] for title in NAMES.values()]
