"""Limits on names that are declared many times."""

import json
import subprocess
import sys

import pytest

# In a process of its own: in a worker that had run other tests Python 3.11.7 once lost count of how
# deep its parser is ("AST constructor recursion depth mismatch"); why is not known.
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
        ("class names twice, without the origins' own", 8),
    ],
)
def test_names_are_declared_once(figures: dict[str, float], name: str, most: float) -> None:
    """Constants and classes are not declared again under the same name, beyond these limits."""
    assert figures[name] <= most
