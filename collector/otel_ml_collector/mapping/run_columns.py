"""Collects the fields that dialects read from spans, as one column per field."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any


class RunColumns:
    """Fields of the runs of several spans with the same attribute names, one column per field.

    Each column has one value per span. A value is None until it is filled, and the first value
    wins. Columns can be any field of `Run`, plus `definition` of a model version. Inputs and
    outputs are pairs of the value and its JSON text. Params are JSON text. `tags` are dictionaries
    by name. `logs` and `trace_keys` are lists.

    Args:
        size: Number of spans.
    """

    __slots__ = ("_used", "_whole", "columns", "every")

    def __init__(self, size: int) -> None:
        self.every = range(size)
        self.columns: dict[str, list[Any]] = {}
        self._whole: set[str] = set()  # fields with a value for every span
        self._used: dict[str, set[int] | range] = {}

    def missing(self, field: str) -> Sequence[int]:
        """Return the indexes of the spans for which a field is still None."""
        column = self.columns.get(field)
        if column is None:
            return self.every
        if field in self._whole:
            return ()
        places = [place for place, value in enumerate(column) if value is None]
        if not places:
            self._whole.add(field)
        return places

    def column(self, field: str) -> list[Any]:
        """Return the values of a field, one per span; None where it is not filled."""
        return self.columns.get(field) or [None] * len(self.every)

    def filled(self, field: str, default: object) -> list[Any]:
        """Return the values of a field, with `default` where it is not filled."""
        column = self.columns[field]
        if default is None or not self.missing(field):
            return column
        return [default if value is None else value for value in column]

    def fill(self, field: str, values: list[Any], places: Sequence[int] | None = None) -> None:
        """Set a field of some spans, or of all of them. Existing values are replaced.

        Args:
            field: Name of the field.
            values: One value for each index.
            places: Indexes of the spans; None for all spans.
        """
        if places is None or len(places) == len(self.every):
            self.columns[field] = values
            self._whole.discard(field)
        else:
            column = self.columns.setdefault(field, [None] * len(self.every))
            for place, value in zip(places, values, strict=True):
                column[place] = value

    def fill_missing(self, field: str, value: object) -> None:
        """Set a field of all spans for which it is still None."""
        places = self.missing(field)
        if places:
            self.fill(field, [value] * len(places), places)

    def drop(self, field: str, places: Collection[int]) -> None:
        """Set a field of some spans to None."""
        column = self.columns.get(field)
        if column is not None:
            self.fill(field, [None if at in places else item for at, item in enumerate(column)])

    def use(self, names: Iterable[str], places: Sequence[int]) -> None:
        """Mark attributes whose values are stored in a field, so that they are not stored again."""
        for name in names:
            if len(places) == len(self.every):
                self._used[name] = self.every
            elif (used := self._used.setdefault(name, set())) is not self.every:
                used.update(places)  # type: ignore[union-attr]  # a range means all spans

    def take(self, single: "RunColumns", place: int) -> None:
        """Copy the fields of one span that was read alone; skip None."""
        for field, (value,) in single.columns.items():
            if value is not None:
                self.fill(field, [value], [place])
        self.use(single._used, [place])

    def row(self, place: int) -> dict[str, Any]:
        """Return the fields of one span that are not None."""
        facts = {field: column[place] for field, column in self.columns.items()}
        return {field: value for field, value in facts.items() if value is not None}

    def is_used(self, name: str, place: int) -> bool:
        """Return whether the value of an attribute is already stored in a field."""
        return name in self._used and place in self._used[name]

    def left_names(self, names: Sequence[str]) -> Sequence[Sequence[str]]:
        """Return, for each span, the attributes that are not stored in a field, in order."""
        left = [name for name in names if self._used.get(name) is not self.every]
        if self._used.keys().isdisjoint(left):
            return [left] * len(self.every)
        return [[name for name in left if not self.is_used(name, at)] for at in self.every]
