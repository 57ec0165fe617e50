"""Reduces embeddings to a few numbers: fixed random projections, and the norm of the vector."""

import functools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Final

from otel_ml.statistics import FEWEST_NUMBERS, MOST_NUMBERS

PROJECTIONS: Final = 32
NORM: Final = "norm"
# Names of an embedding's projections, in their order.
PROJECTED: Final = tuple(f"p{place:02}" for place in range(PROJECTIONS))
_NUMBER_KINDS: Final = frozenset({float, int})


@dataclass(frozen=True, slots=True)
class Projected:
    """A summary of an embedding in 33 numbers, which drift detection uses.

    Attributes:
        norm: Euclidean norm of the vector.
        projections: The 32 numbers that `project` computes.
    """

    norm: float
    projections: tuple[float, ...]

    def __str__(self) -> str:
        """Return the norm as text."""
        return f"embedding with norm {self.norm:.4g}"


def project(numbers: Sequence[float]) -> Projected:
    """Reduce an embedding to 32 numbers and its norm, so that many embeddings can be summarized.

    The 32 numbers are random projections, which preserve distances between vectors on average.
    Number k is the sum of the elements k, k + 32, k + 64 and so on, each multiplied by 1 or
    -1. These signs are random, but the same for every embedding.

    Args:
        numbers: Finite numbers, at most `MOST_NUMBERS` (8,192).

    Source: Charikar, Chen, Farach-Colton, Finding frequent items in data streams, Theoretical
    Computer Science 312 (2004).
    """
    scaled = [
        sum(map(mul, numbers[place::PROJECTIONS], signs)) for place, signs in enumerate(_signs())
    ]
    norm = math.sqrt(sum(map(mul, numbers, numbers)))
    rounded = map(float, map("{:.6g}".format, [norm, *scaled]))
    return Projected(next(rounded), tuple(rounded))


@functools.cache
def _signs() -> tuple[tuple[float, ...], ...]:
    """Return the signs of each projection. Computing them takes a millisecond."""
    signs = random.Random(0).choices((1.0, -1.0), k=MOST_NUMBERS)  # noqa: S311 - equal in all processes
    return tuple(tuple(signs[place::PROJECTIONS]) for place in range(PROJECTIONS))


def is_embedding(numbers: Sequence[object]) -> bool:
    """Return whether a list has only finite numbers and is long enough to be an embedding."""
    if not FEWEST_NUMBERS <= len(numbers) <= MOST_NUMBERS:
        return False
    kinds = {*map(type, numbers)}
    return float in kinds and kinds <= _NUMBER_KINDS and all(map(math.isfinite, numbers))  # type: ignore[arg-type]  # just checked
