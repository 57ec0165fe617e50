"""Digests of real models' weights are equal in each process, and change with the weights."""

from pathlib import Path
from typing import Any

import pytest

from tests.nightly.integrations.environment import ask

LIBRARIES = [
    *("sklearn", "torch", "torch bf16", "xgboost", "xgboost estimator", "lightgbm"),
    *("lightgbm estimator", "onnxruntime", "transformers"),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the digests of the same models from two processes, by library."""
    folders: list[Path] = [tmp_path_factory.mktemp("weights") for _ in range(2)]
    return [ask("weights", folder=folder) for folder in folders]


@pytest.mark.parametrize("library", LIBRARIES)
def test_digest_is_of_the_weights(told: list[dict[str, Any]], library: str) -> None:
    """The digest is the same when computed again, for a copy, and in another process."""
    first, second = (one[library] for one in told)
    assert first == second
    assert (first["again"], first["copied"]) == (True, True)


@pytest.mark.parametrize("library", LIBRARIES)
def test_change_is_seen(told: list[dict[str, Any]], library: str) -> None:
    """A model that is refitted, trained further or reloaded gets a new mark and a new digest."""
    one = told[0][library]
    assert one["is_marked"]
    assert one["changed"] != one["first"]
