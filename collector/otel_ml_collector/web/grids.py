"""Tables among values, as grids: rows, and a type, a range and a histogram for each column."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from otel_ml_collector.store.reader import JsonValue
from otel_ml_collector.web.amounts import is_amount, write_column, write_range
from otel_ml_collector.web.view import Slice, bars, cut_slice
from otel_ml_collector.wording import percent, shorten

GRID_ROWS: Final = 50
_GRID_COLUMNS: Final = 50
_GRID_CELL_CHARS: Final = 80
_LEAST_ROWS: Final = 2
# Values of a column that are summarised.
_SUMMARISED: Final = 10_000
_COLUMN_BINS: Final = 10
_BARS_HEIGHT: Final = 22
_DATE_CHARS: Final = 10
_MINUTE_CHARS: Final = 16  # of a date with a time


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table. Numbers are right-aligned."""

    text: str
    is_number: bool
    is_missing: bool = False


@dataclass(frozen=True, slots=True)
class GridColumn:
    """A column of a table.

    Attributes:
        kind: int, float, text, bool, date or mixed; empty without values.
        about: Its range, its number of different values, or its share of true values.
        missing: Share of missing values; empty if none is missing.
        bars: SVG path of its histogram, 10 wide per bar and 22 high; empty for none.
        bins: Number of bars.
    """

    name: str
    kind: str
    about: str
    missing: str
    bars: str
    bins: int

    @property
    def is_number(self) -> bool:
        """Whether its cells are right-aligned."""
        return self.kind in {"int", "float"}


@dataclass(frozen=True, slots=True)
class ShownTable:
    """Some rows and the first columns of a table.

    Attributes:
        column_count: Number of all columns.
        row_count: Number of all rows of the value; `rows` are those that were sent.
        sampled: Number of values by which columns are summarised, at most; 0 if these are all.
        head: The first rows as text, if the rows were not sent as values.
    """

    columns: Sequence[GridColumn]
    rows: Slice[Sequence[Cell]]
    column_count: int
    row_count: int
    sampled: int = 0
    head: str = ""

    @property
    def about(self) -> str:
        """Its size in words."""
        rows, columns = self.row_count, self.column_count
        ends = "" if rows == 1 else "s", "" if columns == 1 else "s"
        return f"table, {rows:,} row{ends[0]} × {columns:,} column{ends[1]}"


def find_table(value: JsonValue, first: int = 0, most: int = GRID_ROWS) -> ShownTable | None:
    """Read a value as a table.

    Args:
        value: A list of objects with the same keys, an object with lists of equal length under
            at least two keys, or the description of a table.
        first: Position of the first row that is shown.
        most: Maximum number of rows.

    Returns:
        None if the value is not a table.
    """
    if isinstance(value, Mapping) and isinstance(value.get("type"), str):
        return _find_described(value, first, most)
    if not isinstance(value, list | Mapping) or len(value) < _LEAST_ROWS:
        return None
    if isinstance(value, list):
        if not all(isinstance(item, Mapping) and item for item in value):
            return None
        names = list(value[0])
        if any("role" in item or item.keys() != value[0].keys() for item in value):
            return None
        columns = {name: [item[name] for item in value] for name in names[:_GRID_COLUMNS]}
        return _make_table(columns, len(value), len(names), (first, most))
    lengths = {len(item) if isinstance(item, list) else -1 for item in value.values()}
    if len(lengths) > 1 or min(lengths) < _LEAST_ROWS:
        return None
    columns = {name: value[name] for name in islice(value, _GRID_COLUMNS)}
    return _make_table(columns, min(lengths), len(value), (first, most))


def _find_described(value: Mapping[str, Any], first: int, most: int) -> ShownTable | None:
    """Read the description of a table: a sample of each column, and its first rows."""
    shape, cells = value.get("shape"), value.get("cells")
    if not isinstance(shape, list) or not all(isinstance(length, int) for length in shape):
        return None
    if not isinstance(cells, Mapping) or not cells or "dtype" in value:
        return None
    is_table = all(isinstance(item, list) for item in cells.values())
    if not is_table or len(shape) != 2:  # noqa: PLR2004 - rows and columns
        return None
    columns = {str(name): cells[name] for name in islice(cells, _GRID_COLUMNS)}
    rows = value.get("rows")
    own: Mapping[str, Any] = rows if isinstance(rows, Mapping) else {}
    body = {name: own.get(name) for name in columns} if own else columns
    lengths = {len(item) if isinstance(item, list) else -1 for item in body.values()}
    head = value.get("head")
    is_aligned = len(lengths) == 1 and min(lengths) >= 0
    sampled = max(len(item) for item in columns.values())
    return _make_table(
        columns,
        min(lengths) if is_aligned else 0,
        shape[1],
        (first, most),
        body=body,
        row_count=shape[0],
        sampled=sampled if sampled < shape[0] else 0,
        head="" if is_aligned or not isinstance(head, str) else head,
    )


def _make_table(
    columns: Mapping[str, Sequence[JsonValue]],
    count: int,
    column_count: int,
    shown_rows: tuple[int, int],
    *,
    body: Mapping[str, Any] | None = None,
    row_count: int | None = None,
    sampled: int = 0,
    head: str = "",
) -> ShownTable:
    """Make a table from the values of its columns, and from those of the rows that are shown."""
    shown = columns if body is None else body
    part = cut_slice(range(count), *shown_rows)
    summaries = [_summarise(name, values[:_SUMMARISED]) for name, values in columns.items()]
    texts = (
        [
            _write_cells([shown[column.name][place] for place in part.items], column)
            for column in summaries
        ]
        if count
        else []
    )
    rows: list[Sequence[Cell]] = [*zip(*texts, strict=True)]
    named = [
        GridColumn(shorten(c.name, _GRID_CELL_CHARS), c.kind, c.about, c.missing, c.bars, c.bins)
        for c in summaries
    ]
    page = Slice(rows, part.first, part.total, part.size)
    return ShownTable(
        named, page, column_count, count if row_count is None else row_count, sampled, head
    )


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and value != value)  # noqa: PLR0124 - NaN


def _kind_of(values: Sequence[object]) -> str:
    kinds = {type(value) for value in values}
    if not kinds:
        return ""
    if kinds == {bool}:
        return "bool"
    if kinds <= {int, float}:
        return "int" if all(float(v).is_integer() for v in values if is_amount(v)) else "float"
    if kinds == {str}:
        texts = [value for value in values if isinstance(value, str)]
        return "date" if all(_is_date(text) for text in texts) else "text"
    return "mixed"


def _is_date(text: str) -> bool:
    day = text[:_DATE_CHARS]
    return (
        day[4:5] == day[7:8] == "-" and day.replace("-", "").isdecimal() and len(day) == _DATE_CHARS
    )


def _summarise(name: str, values: Sequence[JsonValue]) -> GridColumn:
    """Summarise a column: its type, its range, the share of missing values, and a histogram."""
    present = [value for value in values if not _is_missing(value)]
    lacking = len(values) - len(present)
    missing = f"{percent(lacking, len(values))} missing" if lacking else ""
    kind = _kind_of(present)
    about, counts = "", list[int]()
    if kind in {"int", "float"}:
        numbers = [value for value in present if is_amount(value)]
        if numbers:
            about, counts = write_range(numbers), _count_bins([float(n) for n in numbers])
    elif kind == "bool":
        yes = sum(present)
        about, counts = f"{percent(yes, len(present))} yes", [yes, len(present) - yes]
    elif kind == "date":
        low, high = min(present)[:_DATE_CHARS], max(present)[:_DATE_CHARS]
        about = low if low == high else f"{low} to {high}"
    elif kind == "text":
        frequent = Counter(present)
        about = f"{len(frequent):,} value{'' if len(frequent) == 1 else 's'}"
        if len(frequent) < len(present) or len(frequent) == 1:
            counts = [number for _, number in frequent.most_common(_COLUMN_BINS)]
    most = max(counts, default=0)
    drawn = (
        bars(counts, (_BARS_HEIGHT - 2) / most, ground=_BARS_HEIGHT, least=1, width=9)
        if most
        else ""
    )
    return GridColumn(name, kind, about, missing, drawn, max(len(counts), 1))


def _count_bins(numbers: Sequence[float]) -> list[int]:
    low, high = min(numbers), max(numbers)
    spread = high / 2 - low / 2  # halves, because high - low could overflow
    if spread <= 0:
        return []
    bins = [0] * _COLUMN_BINS
    for number in numbers:
        bins[min(int((number / 2 - low / 2) / spread * _COLUMN_BINS), _COLUMN_BINS - 1)] += 1
    return bins


def _write_cells(values: Sequence[JsonValue], column: GridColumn) -> list[Cell]:
    if column.is_number:
        texts = iter(write_column(value for value in values if not _is_missing(value)))
        return [
            Cell("missing", False, True) if _is_missing(value) else Cell(next(texts), True)
            for value in values
        ]
    if column.kind == "date":
        values = [
            value[:_MINUTE_CHARS].replace("T", " ") if isinstance(value, str) else value
            for value in values
        ]
    return [_cell(value) for value in values]


def _cell(value: JsonValue) -> Cell:
    if _is_missing(value):
        return Cell("missing", False, is_missing=True)
    if isinstance(value, bool):
        return Cell("yes" if value else "no", False)
    if is_amount(value):
        return Cell(write_column([value])[0], True)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Cell(shorten(text, _GRID_CELL_CHARS), False)
