"""How much a value is, roughly and fast, before anything is made of it."""

from typing import Any, Final

from otel_ml.errors import hand_on

_LEAF: Final = 16
_LONG: Final = (str, bytes, bytearray)
_CONTAINERS: Final = frozenset({list, tuple, set, frozenset, dict})
_LEAVES: Final = frozenset({int, float, bool, type(None), complex})


def is_within(value: Any, limit_bytes: int) -> bool:
    """Tell whether a value takes no more than so many bytes, as far as can be seen.

    It looks into plain containers, never into objects of the host's, and stops at the limit.
    What cannot be looked at counts as small.
    """
    left = limit_bytes
    waiting, seen = [value], set[int]()
    while waiting and left >= 0:
        item = waiting.pop()
        left -= _size(item)
        if type(item) in _CONTAINERS and id(item) not in seen and left >= 0:
            seen.add(id(item))
            waiting += _parts(item)
    return left >= 0


def _parts(container: Any) -> list[Any]:
    """List what a container holds, unless it is small values alone."""
    try:
        is_dict = type(container) is dict
        parts = [*container, *container.values()] if is_dict else [*container]
        return [] if _LEAVES.issuperset(map(type, parts)) else parts
    except BaseException as error:  # noqa: BLE001 - the border to the host's values, see errors.py
        hand_on(error)
        return []  # another thread changes it


def _size(value: Any) -> int:
    try:
        return _measure(value)
    except BaseException as error:  # noqa: BLE001 - as above
        hand_on(error)
        return _LEAF


def _measure(value: Any) -> int:
    kind = type(value)
    if kind in _LEAVES:
        return _LEAF
    if isinstance(value, _LONG):
        return len(value)
    if isinstance(value, list | tuple | set | frozenset | dict):
        return _LEAF * len(value)
    package = kind.__module__.partition(".")[0]
    if isinstance(value, memoryview) or package == "numpy":
        return int(value.nbytes)
    if package == "pandas" and hasattr(value, "memory_usage"):
        usage = value.memory_usage(deep=True)
        return int(usage.sum() if hasattr(usage, "sum") else usage)
    if package == "PIL" and hasattr(value, "getbands"):
        return int(value.width * value.height * len(value.getbands()))
    return _LEAF
