"""Print which claims about tensors and their digests hold."""

import json
import sys
from typing import Any

import torch

from otel_ml.redaction import Redaction
from otel_ml.types import dump, wrap
from otel_ml.types.wrappers import copy_plain
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


def is_logged_as_it_was() -> bool:
    """Return whether a logged parameter is read back unchanged if it changes right afterwards."""
    parameter = torch.nn.Parameter(torch.randn(300, 400).t())
    expected = dump(wrap(parameter))
    copied = copy_plain(wrap(parameter))
    assert copied is not None
    data, wait = copied
    with torch.no_grad():
        parameter.zero_()
    wait()
    return dump(data) == expected != dump(wrap(parameter))


def flipped(tensor: Any, *places: int) -> Any:
    changed = tensor.clone()
    for place in places:
        changed[place] = -changed[place]
    return changed


def is_equal_at_once() -> bool:
    """Return whether the GPU arithmetic, in few operations, gives the same sums."""
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
        "claims": {
            **claims(),
            "recorded as it was": was_recorded_as_it_was(),
            "logged as it was": is_logged_as_it_was(),
        },
    }
    json.dump(told, sys.stdout)
