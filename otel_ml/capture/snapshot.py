"""Snapshots: small copies of values, taken during a call and described later.

To describe a value means to summarise it as plain data, such as its type, shape and first elements.
That takes longer than a copy, so it happens on the thread that sends the run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from otel_ml.capture.description import type_name_of

SAMPLE_BYTES: Final = 64 * 1024  # largest sample that is copied of one value


@dataclass(frozen=True, slots=True)
class Taking:
    """Limits on what may be recorded of the inputs and outputs of a traced function.

    Attributes:
        package: Package of the function. ``repr`` of an object of unknown type is only called if
            its class belongs to this package. Empty means never.
        columns: Columns of tables to record; None for all.
    """

    package: str = ""
    columns: frozenset[str] | None = None

    def shows(self, column: object) -> bool:
        """Tell whether a column may be recorded."""
        return self.columns is None or str(column) in self.columns


ALL: Final = Taking()


class Taker(Protocol):
    """Copies the parts of one value. Its limits apply to all parts together.

    Attributes:
        taking: What may be recorded.
    """

    taking: Taking

    def take(self, value: object, depth: int) -> object:
        """Return a copy of a part: plain values, or a `Snapshot`.

        Args:
            value: The part.
            depth: How many containers and objects enclose it.
        """

    def has_room(self, size: int) -> bool:
        """Tell whether a sample of `size` bytes may still be copied."""


# a function that copies values of one type; its arguments are value, taker and depth
Way: TypeAlias = Callable[[Any, Taker, int], object]


class Snapshot:
    """A small copy of a value, such as the first rows of a table, with its type and shape.

    It is created during the call, so creating it is fast. The sender thread later calls `describe`,
    which is slower. The value can be changed or freed in the meantime.

    Args:
        kind: Type of the value.
        describer: Function that describes the value. It is called with `parts`.
        parts: The copied data. They must not be shared with other code, unless they are immutable.
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

        The result may contain other snapshots, which the caller describes in turn. Callers must
        handle exceptions.
        """
        return self._describer(*self._parts)

    def __repr__(self) -> str:
        return f"<{type_name_of(self.kind)}>"
