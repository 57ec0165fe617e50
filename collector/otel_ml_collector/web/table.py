"""Rows of one shape in a payload, as a table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from otel_ml_collector.query.answers.values import JsonValue
from otel_ml_collector.web.slices import Slice, cut_slice

_ROWS: Final = 50
_COLUMNS: Final = 12
_CELL_CHARS: Final = 200
_LEAST_ROWS: Final = 2


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell; numbers stand to the right."""

    text: str
    is_number: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Some rows of the first columns, and how many columns there are in all."""

    columns: Sequence[str]
    rows: Slice[Sequence[Cell]]
    column_count: int


def find_table(value: JsonValue, first: int = 0) -> Table | None:
    """Read a value as a table.

    Args:
        value: A list of objects that share their keys, or an object of equally long lists
            under at least two keys.
        first: Which row is shown first.

    Returns:
        None when it is no table.
    """
    if isinstance(value, list):
        return _of_records(value, first)
    if isinstance(value, Mapping):
        return _of_columns(value, first)
    return None


def _of_records(items: Sequence[Any], first: int) -> Table | None:
    if len(items) < _LEAST_ROWS or not all(isinstance(item, Mapping) and item for item in items):
        return None
    if any("role" in item for item in items):
        return None
    columns = list(items[0])
    if any(list(item) != columns for item in items):
        return None
    part = cut_slice(items, first, _ROWS)
    rows = [[_cell(item[name]) for name in columns[:_COLUMNS]] for item in part.items]
    return _table(columns, rows, part)


def _of_columns(value: Mapping[str, Any], first: int) -> Table | None:
    columns = list(value.items())
    if len(columns) < _LEAST_ROWS or not all(isinstance(items, list) for _, items in columns):
        return None
    lengths = {len(items) for _, items in columns}
    length = min(lengths)
    if len(lengths) > 1 or length < _LEAST_ROWS:
        return None
    part = cut_slice(range(length), first, _ROWS)
    rows = [[_cell(items[place]) for _, items in columns[:_COLUMNS]] for place in part.items]
    return _table([name for name, _ in columns], rows, part)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], part: Slice[Any]) -> Table:
    shown = [name[:_CELL_CHARS] for name in columns[:_COLUMNS]]
    return Table(shown, replace(part, items=rows), len(columns))


def _cell(value: JsonValue) -> Cell:
    if isinstance(value, str):
        text = value
    elif value is None:
        text = "–"
    else:
        text = json.dumps(value, ensure_ascii=False)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(text if len(text) <= _CELL_CHARS else f"{text[: _CELL_CHARS - 1]}…", is_number)
