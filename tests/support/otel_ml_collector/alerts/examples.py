"""Finds the conditions of all alert rules in docs, examples and docstrings."""

import json
import re
from collections.abc import Iterator
from typing import Final

from tests.support.folders import ROOT

_FIRST: Final = ROOT / "docs/how-to/alerts.md"
_PLACES: Final = (
    *("README.md", "docs/**/*.md", "examples/**/*.py", "deploy/**/*.toml", "deploy/**/*.md"),
    *("otel_ml/reader/*.py", "collector/otel_ml_collector/api/examples.json"),
    "collector/otel_ml_collector/alerts/templates/*.html",
)
# In JSON, in TOML or Python, as an argument, and alone on a line.
_CONDITIONS: Final = (
    r'"when\\?": \\?"((?:[^"\\]|\\(?:\\\\)*.)*?)\\?"(?=[,}\s])',
    r"""(?:"when":|when ?=) ?'([^']*)'""",
    r"^(surely\(.*\))$",
)


def find_conditions() -> Iterator[tuple[str, str]]:
    """Yield the file and the condition of each example, those of the page on alerts first."""
    paths = [path for place in _PLACES for path in sorted(ROOT.glob(place))]
    for path in (_FIRST, *paths):
        text = path.read_text()
        for pattern in _CONDITIONS:
            for match in re.finditer(pattern, text, re.MULTILINE):
                condition = match[1]
                if pattern == _CONDITIONS[0]:
                    condition = json.loads(f'"{condition}"')
                yield str(path.relative_to(ROOT)), condition
