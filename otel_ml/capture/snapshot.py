"""A snapshot: a small copy of a value, which another thread describes later."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from otel_ml.capture.description import type_name_of

SAMPLE_BYTES: Final = 64 * 1024  # the most that is copied of one value


@dataclass(frozen=True, slots=True)
class Taking:
    """What a traced function lets otel-ml record of its values.

    Attributes:
        package: Package of the function, whose classes may be asked for their ``repr``; empty if
            there is none.
        columns: Columns of tables that are recorded; None for all.
    """

    package: str = ""
    columns: frozenset[str] | None = None

    def shows(self, column: object) -> bool:
        """Tell whether a column is recorded."""
        return self.columns is None or str(column) in self.columns


ALL: Final = Taking()


class Taker(Protocol):
    """Takes the parts of one value, within limits for all of them together.

    Attributes:
        taking: What may be recorded.
    """

    taking: Taking

    def take(self, value: object, depth: int) -> object:
        """Return a part as plain values, or as a `Snapshot`.

        Args:
            value: The part.
            depth: Number of containers and objects around it.
        """

    def has_room(self, size: int) -> bool:
        """Tell whether a sample of so many bytes may be copied."""


# takes the snapshot of a value of one type: value, taker, depth
Way: TypeAlias = Callable[[Any, Taker, int], object]


class Snapshot:
    """A copy of a bounded sample of a value, with its type and shape.

    It does not keep the value alive, and later changes of the value do not change it. Making it
    formats nothing. `describe` does that, on the thread that sends the run.

    Args:
        kind: Type of the value.
        describer: Function that describes the value from `parts`.
        parts: Arguments for `describer`. Nothing else may hold a reference to their contents,
            except to immutable objects.
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
        """Return the description.

        Its parts may need to be described in turn. It may raise; callers handle that.
        """
        return self._describer(*self._parts)

    def __repr__(self) -> str:
        return f"<{type_name_of(self.kind)}>"
