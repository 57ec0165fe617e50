"""Tests of what says which tests wait for the night."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.support.tiers import PATTERNS

ROOT: Final = Path(__file__).parents[1]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pattern_fits(pattern: str) -> None:
    """No pattern speaks of a file or a test that was moved or renamed."""
    file, _, test = pattern.replace("*[[]", "[[]").partition("::")
    found = list(ROOT.glob(file.partition("[")[0].removesuffix("*") + "*"))
    assert found
    name = test.partition("[")[0].rstrip("*")
    # Defined there, or imported.
    defined = re.compile(rf"(?:def |^    |import .*){re.escape(name)}", re.MULTILINE)
    files = [path for path in found if path.is_file()]
    assert any(defined.search(path.read_text()) for path in files) or not name
