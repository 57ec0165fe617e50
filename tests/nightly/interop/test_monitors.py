"""Evidently and NannyML give the results in docs/benchmarks.md for the same ten streams."""

import pytest

from tests.bench.monitors import MONITORS_PYTHON, cell, measure
from tests.bench.monitors_cases import STREAMS
from tests.unit.otel_ml.statistics.test_monitors import documented


@pytest.mark.parametrize("name", ["evidently", "nannyml"])
def test_what_others_say(name: str) -> None:
    """The results of the pinned version of another library are those in the docs."""
    if not MONITORS_PYTHON.exists():
        pytest.skip("There is no .venv-monitors: make .venv-monitors/stamp")
    said = measure(name)["said"]
    assert documented(name) == {title: cell(said[title]) for title in STREAMS}
