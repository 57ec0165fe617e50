"""A collector whose disk fills up or becomes read-only under load."""

import pytest

from tests.bench.trouble import Kind, measure


@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_disk_trouble(kind: Kind) -> None:
    """Senders are told to come again until the disk is well: nothing acknowledged is lost."""
    found = measure(kind, seconds=6)
    assert found.is_right, found
    assert found.slowest_s < 10
    assert found.recovered_s < 10
