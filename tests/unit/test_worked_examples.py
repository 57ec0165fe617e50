"""Tests that the edits of CONTRIBUTING's worked examples fit the code."""

import pytest

from tests.support.folders import ROOT
from tests.support.worked_examples import Edit, count_places, read_example

EXAMPLES = ("A field of a run", "A kind of record")
# Files and lines, not counting the proto message.
FIELD_FILES, FIELD_LINES = 3, 5


def test_field_takes_few_places() -> None:
    """A field of a run takes three files and five lines."""
    assert count_places(read_example("A field of a run")) == (FIELD_FILES, FIELD_LINES)


@pytest.mark.parametrize("title", EXAMPLES)
def test_edits_have_their_places(title: str) -> None:
    """Each edit names a file that exists, and a line that begins as the edit says."""
    assert [edit for edit in read_example(title) if not is_placed(edit)] == []


def is_placed(edit: Edit) -> bool:
    return f"\n{edit.anchor}" in f"\n{(ROOT / edit.path).read_text()}"
