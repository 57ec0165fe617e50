"""Tests that the seeded defects still match the source code."""

import pytest

from tests.support.defects import DEFECTS, Defect
from tests.support.folders import ROOT


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_defect_fits(defect: Defect) -> None:
    """The line that a defect replaces occurs in its file exactly once."""
    assert (ROOT / defect.file).read_text().count(defect.old) == 1
