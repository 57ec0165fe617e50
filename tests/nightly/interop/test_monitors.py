"""Evidently and NannyML say of the same ten streams what docs/benchmarks.md says."""

import pytest

from tests.bench.monitors import MONITORS_PYTHON, cell, measure
from tests.bench.monitors_cases import STREAMS
from tests.unit.otel_ml.statistics.test_monitors import documented


@pytest.mark.parametrize("name", ["evidently", "nannyml"])
def test_what_others_say(name: str) -> None:
    """What the pinned version of another library says is what stands in the docs."""
    if not MONITORS_PYTHON.exists():
        pytest.skip("There is no .venv-monitors: make .venv-monitors/stamp")
    said = measure(name)["said"]
    assert documented(name) == {title: cell(said[title]) for title in STREAMS}
