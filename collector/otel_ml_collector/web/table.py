"""Rows of one shape in a payload, as a table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.query.answers.values import JsonValue

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
    """The first rows and columns, and how many there are in all."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    row_count: int
    column_count: int


def find_table(value: JsonValue) -> Table | None:
    """Read a value as a table.

    Args:
        value: A list of objects that share their keys, or an object of equally long lists
            under at least two keys.

    Returns:
        None when it is no table.
    """
    if isinstance(value, list):
        return _of_records(value)
    if isinstance(value, Mapping):
        return _of_columns(value)
    return None


def _of_records(items: Sequence[Any]) -> Table | None:
    if len(items) < _LEAST_ROWS or not all(isinstance(item, Mapping) and item for item in items):
        return None
    if any("role" in item for item in items):
        return None
    columns = list(items[0])
    if any(list(item) != columns for item in items):
        return None
    rows = [[_cell(item[name]) for name in columns[:_COLUMNS]] for item in items[:_ROWS]]
    return Table(columns[:_COLUMNS], rows, len(items), len(columns))


def _of_columns(value: Mapping[str, Any]) -> Table | None:
    columns = list(value.items())
    if len(columns) < _LEAST_ROWS or not all(isinstance(items, list) for _, items in columns):
        return None
    lengths = {len(items) for _, items in columns}
    length = min(lengths)
    if len(lengths) > 1 or length < _LEAST_ROWS:
        return None
    shown = columns[:_COLUMNS]
    rows = [[_cell(items[place]) for _, items in shown] for place in range(min(length, _ROWS))]
    return Table([name for name, _ in shown], rows, length, len(columns))


def _cell(value: JsonValue) -> Cell:
    if isinstance(value, str):
        text = value
    elif value is None:
        text = "–"
    else:
        text = json.dumps(value, ensure_ascii=False)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(text if len(text) <= _CELL_CHARS else f"{text[: _CELL_CHARS - 1]}…", is_number)
