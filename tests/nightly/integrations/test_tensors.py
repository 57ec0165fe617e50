"""Tensors of PyTorch are recorded unchanged, and their digests identify their elements."""

from typing import Any

import pytest

from tests.nightly.integrations.environment import ask

CLAIMS = [
    *("again", "one sign", "two signs", "order", "part of a larger one", "length", "types"),
    *("at once", "recorded as it was", "logged as it was"),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run a process with PyTorch, and return its output."""
    answer: dict[str, Any] = ask("tensors", folder=tmp_path_factory.mktemp("tensors"))
    return answer


@pytest.mark.parametrize("claim", CLAIMS)
def test_digest(told: dict[str, Any], claim: str) -> None:
    """A digest depends on the elements and their positions, not on how they are stored."""
    assert told["claims"][claim]
