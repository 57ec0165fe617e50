"""Tests of the limits on names that are declared several times."""

import json
import subprocess
import sys

import pytest

# A separate process, because Python 3.11.7 once failed in a worker after other tests, with "AST
# constructor recursion depth mismatch". The cause is not known.
_FIGURES = "import json; from tests.house import read_tree; print(json.dumps(read_tree().rows()))"


@pytest.fixture(scope="module")
def figures() -> dict[str, float]:
    """The figures of this tree, as ``python -m tests.house`` prints them."""
    printed = subprocess.run([sys.executable, "-c", _FIGURES], check=True, capture_output=True)
    figures: dict[str, float] = json.loads(printed.stdout)
    return figures


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("constants named in 5+ modules", 15),
        ("files outside store, fold that name a table of facts", 29),
        ("files outside store, fold that name a table of facts other than runs", 0),
        ("class names twice, without the origins' own", 8),
    ],
)
def test_names_are_declared_once(figures: dict[str, float], name: str, most: float) -> None:
    """The number of constants and classes that share a name stays within these limits."""
    assert figures[name] <= most
