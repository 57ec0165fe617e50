"""The names of the house: what a reader needs no second look for."""

import json
import subprocess
import sys

import pytest

from tests.house import EMPTY_WORDS

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
        (", ".join(EMPTY_WORDS), 2_500),
        ("constants named in 5+ modules", 15),
        ("% docstrings with what, who", 5),
        ("files that ask FROM runs, scores", 6),
        ("class names twice, without the origins' own", 8),
    ],
)
def test_names_stay_plain(figures: dict[str, float], name: str, most: float) -> None:
    """Locals, constants, docstrings and classes are called by what they are."""
    assert figures[name] <= most
