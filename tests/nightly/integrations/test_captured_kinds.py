"""Tensors, arrays and figures of real libraries are captured in the documented form."""

from pathlib import Path

import pytest

from tests.nightly.integrations.environment import ask
from tests.support.otel_ml.library_kinds import LIBRARY_KINDS

ENVIRONMENTS = {"tensorflow": "tensorflow"}  # the others share one


@pytest.mark.parametrize("library", LIBRARY_KINDS)
def test_kinds_of_a_library(library: str, tmp_path: Path) -> None:
    """A value of each kind is captured in the form that the table documents."""
    environment = ENVIRONMENTS.get(library, "integrations")
    found = ask("captured_kinds", library, folder=tmp_path, environment=environment)
    assert found == LIBRARY_KINDS[library]
