"""Fields that the dialects read from spans with the same attribute names, a column for each."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any


class RunColumns:
    """The fields of the runs of some spans, by field and by the place of the span.

    Any field of `Run` may be here. None stands where nobody named it; the first to name a field
    wins. Inputs and outputs are a value and its JSON text, params are JSON text; `tags` are
    by name, `logs` and `trace_keys` hold all of them. Of a model's version `definition` is
    here, too.

    Args:
        size: How many spans.
    """

    __slots__ = ("_used", "_whole", "columns", "every")

    def __init__(self, size: int) -> None:
        self.every = range(size)
        self.columns: dict[str, list[Any]] = {}
        self._whole: set[str] = set()  # fields that every span has
        self._used: dict[str, set[int] | range] = {}

    def missing(self, field: str) -> Sequence[int]:
        """Return the places of the spans of which nobody named a field."""
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
        """Return the values of a field, None where nobody named it."""
        return self.columns.get(field) or [None] * len(self.every)

    def filled(self, field: str, default: object) -> list[Any]:
        """Return the values of a field, the default where nobody named it."""
        column = self.columns[field]
        if default is None or not self.missing(field):
            return column
        return [default if value is None else value for value in column]

    def fill(self, field: str, values: list[Any], places: Sequence[int] | None = None) -> None:
        """Name a field of some spans, or of all of them; None leaves a field as it is.

        Args:
            field: Which one.
            values: A value for each place.
            places: Those of the spans; None for all. What stands there is replaced.
        """
        if places is None or len(places) == len(self.every):
            self.columns[field] = values
            self._whole.discard(field)
        else:
            column = self.columns.setdefault(field, [None] * len(self.every))
            for place, value in zip(places, values, strict=True):
                column[place] = value

    def fill_missing(self, field: str, value: object) -> None:
        """Name a field of all spans of which nobody named it yet."""
        places = self.missing(field)
        if places:
            self.fill(field, [value] * len(places), places)

    def drop(self, field: str, places: Collection[int]) -> None:
        """Forget a field of some spans."""
        column = self.columns.get(field)
        if column is not None:
            self.fill(field, [None if at in places else item for at, item in enumerate(column)])

    def use(self, names: Iterable[str], places: Sequence[int]) -> None:
        """Note attributes that fill a field with the values they have, and so are left out."""
        for name in names:
            if len(places) == len(self.every):
                self._used[name] = self.every
            elif (used := self._used.setdefault(name, set())) is not self.every:
                used.update(places)  # type: ignore[union-attr]  # a range is that of every place

    def take(self, single: "RunColumns", place: int) -> None:
        """Take the fields that were read of one span alone, where they are not None."""
        for field, (value,) in single.columns.items():
            if value is not None:
                self.fill(field, [value], [place])
        self.use(single._used, [place])

    def row(self, place: int) -> dict[str, Any]:
        """Return the fields of a span that were named."""
        facts = {field: column[place] for field, column in self.columns.items()}
        return {field: value for field, value in facts.items() if value is not None}

    def is_used(self, name: str, place: int) -> bool:
        """Tell whether the value of an attribute fills a field."""
        return name in self._used and place in self._used[name]

    def left_names(self, names: Sequence[str]) -> Sequence[Sequence[str]]:
        """Return the names that fill no field, for each span, in their order."""
        left = [name for name in names if self._used.get(name) is not self.every]
        if self._used.keys().isdisjoint(left):
            return [left] * len(self.every)
        return [[name for name in left if not self.is_used(name, at)] for at in self.every]
