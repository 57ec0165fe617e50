"""Slow cases of tests/process/otel_ml/test_import_table.py: the ten streams of the benchmarks."""

from tests.bench.monitors_imported import measure_imported
from tests.unit.otel_ml.statistics.test_monitors import documented


def test_imported_streams() -> None:
    """Streams imported as tables have the findings that docs/benchmarks.md promises."""
    measured = measure_imported()
    shares = {title: told["said"] / told["draws"] for title, told in measured.items()}
    expected = {
        title: int(cell.partition(" of ")[0]) / 10 for title, cell in documented("otel-ml").items()
    }
    assert shares == expected
