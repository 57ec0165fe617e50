"""Parts of long lists, and of long texts: what stands on a page, and where it goes on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """Some of the items of a list.

    Attributes:
        first: The place of the first one, from 0.
        total: How many there are in all.
        size: How many a part holds.
    """

    items: Sequence[T]
    first: int
    total: int
    size: int

    @property
    def end(self) -> int:
        """The place behind the last one."""
        return self.first + len(self.items)

    @property
    def is_part(self) -> bool:
        """Whether there are others."""
        return len(self.items) < self.total

    @property
    def before(self) -> int:
        """Where the part before this one begins."""
        return max(self.first - self.size, 0)


def cut_slice(items: Sequence[T], first: int, size: int) -> Slice[T]:
    """Cut a part out of a list; one that begins behind its end is the last one."""
    if first >= len(items):
        first = max(len(items) - 1, 0) // size * size
    return Slice(items[first : first + size], first, len(items), size)
