"""Slow cases of tests/process/deploy/test_sizing.py."""

from typing import Final

import pytest

from tests.bench.sizing import (
    measure,
)
from tests.process.deploy.test_sizing import told_measured

# Few runs compress worse than many, and each part has its overhead.
_MOST_RATIO: Final = 3


def test_runs_take_what_the_page_says() -> None:
    """A few runs, stored through a collector, take about the bytes that the page claims."""
    found, expected = measure(2_000), told_measured()
    assert found.raw_bytes == pytest.approx(expected.raw_bytes, rel=0.05)
    assert expected.disk / 2 < found.disk < _MOST_RATIO * expected.disk
    assert found.disk_bytes.keys() == expected.disk_bytes.keys()
    assert found.disk_bytes["payloads"] < found.raw_bytes
    assert min(found.collector_us, found.server_us) > 0
