"""Slow cases of tests/unit/otel_ml/statistics/test_monitors.py."""

from tests.bench.monitors import cell, measure
from tests.bench.monitors_cases import STREAMS
from tests.unit.otel_ml.statistics.test_monitors import documented


def test_ours_is_what_the_docs_say() -> None:
    """Each stream is judged in all draws as the docs say."""
    said = measure("otel-ml")["said"]
    assert documented("otel-ml") == {title: cell(said[title]) for title in STREAMS}
