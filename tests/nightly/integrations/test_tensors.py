"""Tensors of PyTorch: what is recorded of them, and the digests of their elements."""

from typing import Any

import pytest

from tests.nightly.integrations.environment import ask

TENSOR = {"type": "torch.Tensor", "device": "cpu"}
KINDS: dict[str, object] = {
    "small": {**TENSOR, "dtype": "float32", "shape": [2], "values": [1.0, 2.0]},
    "bfloat16": {
        **TENSOR,
        "dtype": "bfloat16",
        "shape": [2, 2],
        "values": [[1.0, 1.0], [1.0, 1.0]],
    },
    "large": {**TENSOR, "dtype": "int64", "shape": [20, 30], "head": [*range(8)]},
    "sparse": {**TENSOR, "dtype": "float32", "shape": [2, 2]},
    "meta": {**TENSOR, "dtype": "float32", "shape": [3], "device": "meta"},
    "nested": {**TENSOR, "dtype": "float32", "shape": [2, None], "nested": True},
    "module": "torch.nn.modules.linear.Linear",
}
CLAIMS = [
    *(
        "again",
        "one sign",
        "two signs",
        "order",
        "part of a larger one",
        "length",
        "types",
        "at once",
    ),
    "recorded as it was",
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process with PyTorch prints."""
    answer: dict[str, Any] = ask("tensors", folder=tmp_path_factory.mktemp("tensors"))
    return answer


@pytest.mark.parametrize("kind", KINDS)
def test_kind_is_described(told: dict[str, Any], kind: str) -> None:
    """A tensor of each layout is recorded without reading another device."""
    assert told["kinds"][kind] == KINDS[kind]


@pytest.mark.parametrize("claim", CLAIMS)
def test_digest(told: dict[str, Any], claim: str) -> None:
    """The digest is that of the elements and their places, however they are stored."""
    assert told["claims"][claim]
