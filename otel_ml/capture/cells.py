"""Cells of tables: which rows are sampled, and how a cell is recorded."""

import datetime
import functools
import sys
from collections.abc import Iterable, Sequence
from itertools import count, islice
from typing import Any, Final

from otel_ml.capture.description import type_name_of
from otel_ml.capture.snapshot import Snapshot, Taker

HEAD: Final = 8  # elements of a large array, or rows of a table, that are shown
MOST_COLUMNS: Final = 50  # columns of a table that are described one by one
NUMBER_KINDS: Final = "fiub"  # kinds of NumPy types: floats, integers and booleans

_SHOWN_CELLS: Final = 400  # total of all columns, from evenly spaced rows
_NUMBER_BYTES: Final = 8
_FAR_ROWS: Final = 128
_RUN_ROWS: Final = 4
_FEWEST_RUNS: Final = 32
_LONGEST_CELL: Final = 64
_HELD_ELEMENTS: Final = 500  # copies of more elements release the interpreter lock
_PLAIN_CELLS: Final = frozenset({int, float, bool, type(None)})
_NO_CELLS: Final = frozenset({"NAType", "NaTType", "MaskedConstant"})


@functools.lru_cache(maxsize=1_024)
def row_step(rows: int, columns: int, cells: int = _SHOWN_CELLS) -> int:
    """Return the distance between the rows of a table that are recorded as a sample.

    For example, 5 means that every fifth row is recorded, and 1 means all rows.

    Args:
        rows: Number of rows of the table.
        columns: Number of columns of the table.
        cells: Maximum number of recorded cells, in all columns together.
    """
    if rows <= HEAD:
        return 1
    return max(-(-rows // max(cells // max(min(columns, MOST_COLUMNS), 1), HEAD)), 1)


def number_step(rows: int, columns: int, taker: Taker) -> tuple[int, int]:
    """Return how many rows apart the recorded rows of numeric columns are.

    For example, 5 means that every fifth row is recorded. Numbers are cheap to copy, so more rows
    are recorded than for other columns. All numeric columns together get 2 × `rows` cells, or 400
    for a small table. With 10 columns, each column gets a fifth of its rows.

    Args:
        rows: Number of rows of the table.
        columns: Number of columns with numbers.
        taker: Copies the value. Its attribute `cells` is how many more cells may be copied. This
            function subtracts the cells of the sample from it.

    Returns:
        The distance, and the size of the sample in bytes.
    """
    step = row_step(rows, columns, max(min(2 * rows, taker.cells), _SHOWN_CELLS))
    cells = -(-rows // step) * min(columns, MOST_COLUMNS)
    taker.cells -= cells
    return step, cells * _NUMBER_BYTES


def sample_columns(columns: Any, step: int) -> Any:
    """Copy evenly spaced rows of a table of numbers.

    Reading single rows that are far apart is slow, because each read misses the CPU cache. It would
    double the cost of recording a table of 100,000 rows. So if the copied rows are far apart, up to
    four neighbouring rows are copied at each place. Neighbouring rows may be similar, so there are
    at least 32 such places.

    Args:
        columns: The table as a transposed NumPy array: one array row for each table column.
        step: Average distance between copied rows, from `number_step`.
    """
    width, rows = columns.shape
    length = min(rows // step // _FEWEST_RUNS, _RUN_ROWS)
    if step < _FAR_ROWS or length <= 1:
        return copy_in_pieces(columns[:, ::step])
    runs = rows // (step * length)
    distance = rows // runs
    parts = columns[:, : runs * distance].reshape(width, runs, distance)
    return copy_in_pieces(parts[:, :, :length]).reshape(width, runs * length)


def copy_in_pieces(array: Any) -> Any:
    """Copy a NumPy array without releasing the interpreter lock.

    NumPy releases the lock while it copies more than 500 elements that are not contiguous. The
    sender thread could then take the lock, and the traced call would wait for up to 5 ms. To
    prevent this, such an array is copied in pieces.
    """
    numpy = sys.modules["numpy"]
    is_plain = type(array) is numpy.ndarray  # a masked array has more than its elements
    if array.size <= _HELD_ELEMENTS or array.flags.c_contiguous or not is_plain:
        return array.copy()
    copied = numpy.empty(array.shape, array.dtype)
    _copy_pieces(array, copied)
    return copied


def _copy_pieces(source: Any, target: Any) -> None:
    """Copy at most 500 elements at a time, in rows as long as possible."""
    length = len(source)
    row_size = source.size // length
    if row_size > _HELD_ELEMENTS:
        for pair in zip(source, target, strict=True):
            _copy_pieces(*pair)
        return
    piece = _HELD_ELEMENTS // row_size
    for start in range(0, length, piece):
        target[start : start + piece] = source[start : start + piece]


def is_immutable(cell: Any) -> bool:
    """Tell whether a cell is a number, a date or a missing value, which never changes."""
    kind = type(cell)
    return (
        kind in _PLAIN_CELLS
        or kind.__name__ in _NO_CELLS
        or isinstance(cell, datetime.date | datetime.time | float | int)
        or kind.__name__ == "Decimal"
    )


def is_missing(cell: Any) -> bool:
    """Tell whether a cell that is no plain value is a missing one, such as NaT or a null."""
    name = type(cell).__name__
    if name in {"datetime64", "timedelta64", "float16", "float32"}:
        return bool(cell != cell)  # noqa: PLR0124 - NaT and NaN differ from themselves
    return name in _NO_CELLS or (name.endswith("Scalar") and getattr(cell, "is_valid", 0) is False)


def keep_cell(cell: Any) -> Any:
    """Return a cell that never changes: the cell itself if it is immutable, else only its type."""
    if type(cell) is str:
        return cell[: _LONGEST_CELL + 1]
    if not is_immutable(cell) and is_missing(cell):
        return None
    return cell if is_immutable(cell) else Snapshot(type(cell), type_name_of, (type(cell),))


def make_unique(names: Sequence[str]) -> list[str]:
    """Number repeated names, so that each is unique: ``a``, ``a`` becomes ``a``, ``a.2``."""
    unique: dict[str, None] = dict.fromkeys(names)
    if len(unique) == len(names):
        return [*names]
    unique.clear()
    for name in names:
        numbered = (f"{name}.{number}" for number in count(2))
        own = name
        while own in unique or (own != name and own in names):
            own = next(numbered)
        unique[own] = None
    return [*unique]


def write_cells(
    columns: Iterable[tuple[object, Sequence[object]]], key: str = "cells"
) -> dict[str, object]:
    """Return the values of the first 50 columns by name, under the key."""
    shown = [*islice(columns, MOST_COLUMNS)]
    names = make_unique([str(name) for name, _ in shown])
    cells = {name: _write_column(values) for name, (_, values) in zip(names, shown, strict=True)}
    return {key: cells} if any(cells.values()) else {}


def write_rows(
    heads: Iterable[tuple[object, Sequence[object]]],
    cells: Sequence[tuple[object, Sequence[object]]],
) -> dict[str, object]:
    """Return the first rows of the first 50 columns by name, under the key ``rows``.

    Nothing if all columns have as many cells, because then these are of the same rows.
    """
    if len({len(values) for _, values in cells}) <= 1:
        return {}
    return write_cells(heads, "rows")


def _write_column(values: Sequence[object]) -> Sequence[object]:
    if type(values) is list and _PLAIN_CELLS.issuperset(map(type, values)):
        return values
    return [*map(_write_cell, values)]


def _write_cell(cell: Any) -> object:
    kind = type(cell)
    if kind in _PLAIN_CELLS:
        return cell
    if kind is str:
        return cell[:_LONGEST_CELL]
    if kind.__name__ in _NO_CELLS:
        return None
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    if isinstance(cell, float | int) or kind.__name__ == "Decimal":
        return float(cell)
    return type_name_of(cell.kind if kind is Snapshot else kind)
