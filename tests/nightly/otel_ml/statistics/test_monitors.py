"""Slow cases of tests/unit/otel_ml/statistics/test_monitors.py."""

from tests.bench.monitors import cell, measure
from tests.bench.monitors_cases import STREAMS
from tests.unit.otel_ml.statistics.test_monitors import documented


def test_ours_is_what_the_docs_say() -> None:
    """In all draws, each stream has the finding that the docs promise."""
    said = measure("otel-ml")["said"]
    assert documented("otel-ml") == {title: cell(said[title]) for title in STREAMS}
