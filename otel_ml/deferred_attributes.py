"""Attributes of a logged value that are computed when its run is encoded, not when it is logged.

Describing a table takes 1 to 3 ms, and writing it as a file as long again. So `Run.log` only copies
arrays, tensors, tables and images.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from otel_ml.process import renew_in_child

MOST_BYTES: Final = 32 * 1024 * 1024  # total per process of values not computed yet
_MOST_PENDING: Final = 1_000  # number of these values, because `has_room` adds up their sizes

_pending: Final[dict[int, int]] = {}  # size in bytes by id()
renew_in_child(_pending.clear)


class DeferredAttributes(Mapping[str, Any]):
    """Attributes of a span event that are computed only when they are read.

    With them, a program can log a large array without waiting for its conversion to a file. The
    background thread that sends the event converts the array when it reads the attributes.

    Attributes:
        weight: Approximate size in bytes of the data that are kept in memory until the attributes
            are computed.

    Args:
        compute: Function that returns the attributes. It must not raise. If two threads read the
            attributes at the same time, both may call it.
        weight: The attribute `weight`.
    """

    __slots__ = ("__weakref__", "_compute", "_computed", "weight")

    def __init__(self, compute: Callable[[], Mapping[str, Any]], weight: int) -> None:
        self.weight = weight
        self._compute: Callable[[], Mapping[str, Any]] | None = compute
        self._computed: Mapping[str, Any] = {}
        _pending[id(self)] = weight

    # an argument, because the interpreter may have cleared the module when it ends
    def __del__(self, pending: dict[int, int] = _pending) -> None:
        pending.pop(id(self), None)

    def convert(self, function: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """Apply `function` to the result. Call it before the first access."""
        compute = self._compute
        if compute is not None:
            self._compute = lambda: function(compute())

    def _all(self) -> Mapping[str, Any]:
        compute = self._compute
        if compute is not None:
            self._computed = compute()
            self._compute = None  # frees the copied value
            _pending.pop(id(self), None)
        return self._computed

    def __getitem__(self, key: str) -> Any:
        return self._all()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def has_room(weight: int) -> bool:
    """Return whether this process may keep `weight` more bytes for later."""
    if len(_pending) >= _MOST_PENDING:
        return False
    return sum([*_pending.values()]) + weight <= MOST_BYTES
