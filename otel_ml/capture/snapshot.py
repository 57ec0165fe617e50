"""Snapshots: small copies of values, taken during a call and described later.

To describe a value means to summarise it as plain data, such as its type, shape and first elements.
That takes longer than a copy, so it happens on the thread that sends the run.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from otel_ml.capture.description import type_name_of

SAMPLE_BYTES: Final = 64 * 1024  # maximum size of the sample of one value
PICTURES: Final = 3  # images of a payload with a thumbnail; of more, a payload would be cut
NUMBER_CELLS: Final = 2_000  # numbers sampled from the tables of a payload; as JSON about 40 KB


class Taking(NamedTuple):
    """Which parts of a function's inputs and outputs may be recorded.

    Attributes:
        package: Package of the function. ``repr`` is only called on objects whose class is in this
            package. If it is empty, ``repr`` is never called.
        columns: Table columns to record. None for all.
        hidden: Whether to record the fields that a class keeps out of its ``repr`` or its dump.
    """

    package: str = ""
    columns: frozenset[str] | None = None
    hidden: bool = False

    def shows(self, column: object) -> bool:
        """Tell whether a column may be recorded."""
        return self.columns is None or str(column) in self.columns


ALL: Final = Taking()


class Taker(Protocol):
    """Interface of the object that copies the parts of one value, such as the columns of a table.

    All parts of a value share one limit for the size of the copy. So the copy stays small even if
    the value has many parts.

    Attributes:
        taking: Which parts may be recorded, such as the columns of a table.
        cells: Number of numeric table cells that may still be copied. Each copied table reduces it.
        pictures: Number of images that may still get a thumbnail. Each image reduces it.
    """

    taking: Taking
    cells: int
    pictures: int

    def take(self, value: object, depth: int) -> object:
        """Return a copy of a part: plain values, or a `Snapshot`.

        Args:
            value: The part.
            depth: Number of containers and objects around the part.
        """

    def has_room(self, size: int) -> bool:
        """Tell whether a sample of `size` bytes may still be copied."""


# a function that copies values of one type; its arguments are value, taker and depth
Way: TypeAlias = Callable[[Any, Taker, int], object]


class Snapshot:
    """A small copy of a large value, such as the first rows of a table.

    It is created during the user's call, so creating it is fast. The thread that sends spans
    converts it to plain data later, with `describe`.

    Args:
        kind: Type of the original value.
        describer: Function that converts `parts` to plain data.
        parts: The copied data. No other code may change them.
        weight: Approximate size of the parts in bytes.
    """

    __slots__ = ("_describer", "_parts", "kind", "weight")

    def __init__(
        self, kind: type, describer: Callable[..., object], parts: tuple[Any, ...], weight: int = 0
    ) -> None:
        self.kind = kind
        self.weight = weight
        self._describer = describer
        self._parts = parts

    def describe(self) -> object:
        """Return the value as plain data, such as a dict with type, shape and first elements.

        The plain data may contain further `Snapshot` objects. Call `describe` on these too. The
        call may raise any exception.
        """
        return self._describer(*self._parts)

    def __repr__(self) -> str:
        return f"<{type_name_of(self.kind)}>"
