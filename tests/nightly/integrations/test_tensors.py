"""Tensors of PyTorch: they are recorded as they were, and digests tell their elements apart."""

from typing import Any

import pytest

from tests.nightly.integrations.environment import ask

CLAIMS = [
    *("again", "one sign", "two signs", "order", "part of a larger one", "length", "types"),
    *("at once", "recorded as it was", "logged as it was"),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process with PyTorch prints."""
    answer: dict[str, Any] = ask("tensors", folder=tmp_path_factory.mktemp("tensors"))
    return answer


@pytest.mark.parametrize("claim", CLAIMS)
def test_digest(told: dict[str, Any], claim: str) -> None:
    """The digest is that of the elements and their places, however they are stored."""
    assert told["claims"][claim]
