"""Rough size of a value, compared with a limit."""

import time
from collections.abc import Callable

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest
from PIL import Image

from otel_ml.artifact import is_within
from tests.support.otel_ml.hostile import Hostile, HostileClass, HostileDict, HostileText

MIB = 1024 * 1024


@pytest.mark.parametrize(
    "make",
    [
        lambda size: "x" * size,
        lambda size: b"x" * size,
        lambda size: memoryview(bytes(size)),
        lambda size: np.zeros(size, np.uint8),
        lambda size: {"images": [np.zeros(size // 2, np.uint8), (np.zeros(size // 2, np.uint8),)]},
        lambda size: pd.DataFrame({"a": np.zeros(size, np.uint8)}),
        lambda size: pd.Series(["x" * 1024] * (size // 1024)),
        lambda size: Image.new("L", (1024, size // 1024)),
        lambda size: list(range(size // 16)),
        lambda size: ["x" * 1024] * (size // 1024),
    ],
)
def test_what_is_larger_is_told(make: Callable[[int], object]) -> None:
    """A value of half the limit is within the limit, and one of twice the limit is not."""
    assert is_within(make(MIB // 2), MIB)
    assert not is_within(make(2 * MIB), MIB)


def test_looking_ends_at_the_limit() -> None:
    """Measuring a small graph of lists that unfolds to an endless tree takes under a second."""
    tree: list[object] = ["leaf"]
    for _ in range(60):
        tree = [tree, tree]
    tree.append(tree)
    began = time.thread_time()
    assert is_within(tree, MIB)
    assert time.thread_time() - began < 1.0


@pytest.mark.parametrize(
    "make",
    [
        Hostile,
        HostileClass,
        lambda: HostileText("x"),
        lambda: HostileDict(a=1),
        lambda: [Hostile()],
    ],
)
def test_hostile_values_are_small(make: Callable[[], object]) -> None:
    """A hostile value counts as small and raises nothing."""
    assert is_within(make(), MIB)
