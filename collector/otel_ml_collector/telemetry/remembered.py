"""Remembers what came last, in bounded memory."""

from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Remembered(Generic[Key, Value]):
    """Keeps at least the last `number` values that were put, and at most twice as many."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._newer: dict[Key, Value] = {}
        self._older: dict[Key, Value] = {}

    def find(self, key: Key) -> Value | None:
        """Return what was put under a key; None when that is not known any more."""
        value = self._newer.get(key)
        return self._older.get(key) if value is None else value

    def put(self, key: Key, value: Value) -> bool:
        """Remember a value under a key that is not known; tells whether it was not."""
        if key in self._newer or key in self._older:
            return False
        if len(self._newer) >= self._number:
            self._older, self._newer = self._newer, {}
        self._newer[key] = value
        return True
