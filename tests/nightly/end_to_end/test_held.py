"""Threads and descriptors of a collector under load: `make soak` loads it for ten minutes."""

from typing import Final

from tests.bench.threads import measure

# The first third is longer than the half minute after which the last of its duties begin.
SECONDS: Final = 105.0


def test_load() -> None:
    """A collector that is written to and read holds no more threads and files than is stated."""
    found = measure(SECONDS)
    assert found.is_bounded, found
    assert found.accepted > 10_000
    assert (found.failed, found.answers > 100) == (0, True)
