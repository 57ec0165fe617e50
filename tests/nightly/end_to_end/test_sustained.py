"""Files of a collector under a steady load: `make soak` loads it for fifteen minutes."""

from tests.bench.sustained import measure


def test_steady_load() -> None:
    """During reads, alerts and deletions, replaced files and memory stay within their limits."""
    found = measure(90)
    assert found.is_bounded, found
    assert (found.accepted > 10_000, found.failed) == (True, 0)
    assert min(found.reads, found.deletions, found.alert_windows) > 0
