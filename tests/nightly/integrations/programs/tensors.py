"""Prints what is recorded of tensors, and which claims about their digests hold."""

import json
import sys
from typing import Any

import torch

from otel_ml.redaction import Redaction
from otel_ml.versions.tensors import TensorReader


def described(value: object) -> Any:
    captured = Redaction().capture({"x": value})
    text = captured if isinstance(captured, str) else captured.encode().text
    return json.loads(text)["x"]


def was_recorded_as_it_was() -> bool:
    tensor = torch.arange(300.0).reshape(100, 3)
    expected = described(tensor)
    captured = Redaction().capture({"x": tensor})
    tensor.zero_()
    assert not isinstance(captured, str)
    found: bool = json.loads(captured.encode().text)["x"] == expected != described(tensor)
    return found


def flipped(tensor: Any, *places: int) -> Any:
    changed = tensor.clone()
    for place in places:
        changed[place] = -changed[place]
    return changed


def is_equal_at_once() -> bool:
    """Tell whether the arithmetic for GPUs, in few operations, gives the same sums."""
    words = torch.randint(-(2**62), 2**62, (3, 100_000))
    reader = TensorReader()
    at_once, in_strips = reader._add_at_once(torch, words), reader._add_in_strips(torch, words)
    return bool(torch.equal(at_once, in_strips))


def claims() -> dict[str, bool]:
    read = TensorReader().read
    large = torch.randn(3_000_000, generator=torch.Generator().manual_seed(1))
    places = torch.randperm(large.numel() - 1)[:50].tolist()
    matrix = torch.randn(300, 200)
    odd = torch.arange(10_001, dtype=torch.uint8)
    return {
        "again": read(large) == TensorReader().read(large.clone()),
        "one sign": all(read(flipped(large, place)) != read(large) for place in places),
        "two signs": all(read(flipped(large, place, place + 1)) != read(large) for place in places),
        "order": read(matrix.t()) == read(matrix.t().contiguous()) != read(matrix),
        "part of a larger one": read(odd[3:]) == read(odd[3:].clone()),
        "at once": is_equal_at_once(),
        "length": read(torch.ones(9)) != read(torch.ones(10)),
        "types": all(
            len(read(torch.ones(5, dtype=dtype))) == 16
            for dtype in (torch.bfloat16, torch.bool, torch.complex64, torch.int8, torch.float64)
        ),
    }


if __name__ == "__main__":
    told = {
        "claims": {**claims(), "recorded as it was": was_recorded_as_it_was()},
        "kinds": {
            "small": described(torch.tensor([1.0, 2.0])),
            "bfloat16": described(torch.ones(2, 2, dtype=torch.bfloat16, requires_grad=True)),
            "large": described(torch.arange(600).reshape(20, 30)),
            "sparse": described(torch.eye(2).to_sparse()),
            "meta": described(torch.empty(3, device="meta")),
            "nested": described(torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])),
            "module": described(torch.nn.Linear(2, 1))["type"],
        },
    }
    json.dump(told, sys.stdout)
