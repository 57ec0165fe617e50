"""Threads and descriptors of a collector under load: `make soak` loads it for ten minutes."""

from typing import Final

import pytest

from tests.bench.threads import measure

pytestmark = pytest.mark.measures

# The first third is longer than the half minute until the last background job starts.
SECONDS: Final = 105.0


def test_load() -> None:
    """A loaded collector has no more threads and open files than documented."""
    found = measure(SECONDS)
    assert found.is_bounded, found
    assert found.accepted > 10_000
    assert (found.failed, found.answers > 100) == (0, True)
