"""The normalised structure of an output: what part of its shape belongs to a model version."""

import hashlib
import heapq
import numbers
from collections.abc import Iterable
from itertools import islice
from typing import Final

DYNAMIC: Final = "dynamic"

_ELEMENTS: Final = 16
_MAX_KEYS: Final = 64
_MAX_DEPTH: Final = 16
_MAX_STEPS: Final = 2_000


def output_structure(value: object) -> str | None:
    """Describe the structure of one output as text, such as ``{answer: str, sources: [str]}``.

    Numbers are one type; a list is the union of its first 16 elements; an object with more
    than 64 keys, or with keys that are no identifiers, is a map.

    Returns:
        The text, or None when a null or an empty list stands anywhere in the part that was
        looked at: such an output says nothing sure about its structure.
    """
    try:
        return _Reader().read(value, 0)
    except Exception:  # noqa: BLE001 - the border to the host's values, see errors.py
        return None


def structure_digest(text: str) -> str:
    """Return the 16 hex digits that stand for a structure on the wire."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Reader:
    """Reads one output within a budget of steps: a tangled value would take for ever."""

    def __init__(self) -> None:
        self._left = _MAX_STEPS

    def read(self, value: object, depth: int) -> str | None:
        self._left -= 1
        if value is None:
            return None
        if isinstance(value, bool):
            return "bool"
        if isinstance(value, numbers.Number):
            return "number"
        if isinstance(value, str):
            return "str"
        if depth >= _MAX_DEPTH or self._left <= 0:
            return "…"
        if isinstance(value, list | tuple):
            union = self._union(islice(value, _ELEMENTS), depth)
            return f"[{union}]" if union else None
        if isinstance(value, dict):
            return self._object(value, depth)
        return f"{type(value).__module__}.{type(value).__qualname__}"

    def _object(self, value: dict[object, object], depth: int) -> str | None:
        if not value:
            return "{}"
        names = [key for key in islice(value, _MAX_KEYS + 1) if isinstance(key, str)]
        whole = len(names) == len(value) <= _MAX_KEYS
        if not whole or not all(name.isidentifier() for name in names):
            # The smallest keys, not the first ones: the order of a dict does not count.
            keys = heapq.nsmallest(_ELEMENTS, value, key=lambda key: (type(key).__name__, str(key)))
            union = self._union((value[key] for key in keys), depth)
            return f"{{*: {union}}}" if union else None
        fields = []
        for name in sorted(names):
            structure = self.read(value[name], depth + 1)
            if structure is None:
                return None
            fields.append(f"{name}: {structure}")
        return f"{{{', '.join(fields)}}}"

    def _union(self, values: Iterable[object], depth: int) -> str | None:
        parts = set()
        for value in values:
            structure = self.read(value, depth + 1)
            if structure is None:
                return None
            parts.add(structure)
        return "|".join(sorted(parts)) or None
