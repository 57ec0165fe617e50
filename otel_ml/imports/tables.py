"""Reads tables in pieces: files, and tables of pandas, polars and pyarrow."""

import csv
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson

from otel_ml.arguments import InvalidArgumentError, check_path, invalid
from otel_ml.columns import plain, read_columns

FORMATS: Final = (".parquet", ".csv", ".jsonl", ".ndjson")
CHUNK_ROWS: Final = 2_000
# Number of rows of a JSON Lines file that are read to find its columns.
_SAMPLED_ROWS: Final = 1_000
_CELL_BYTES: Final = 10_000_000
_KNOWN_CELLS: Final = 10_000
_KNOWN_CHARS: Final = 64
_EXACT_DIGITS: Final = 15
_MISSING_TEXTS: Final = frozenset({"", "nan", "NaN", "null", "NULL", "None"})
_BOOLS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False}
_BOOLS["FALSE"] = False
_PLAIN_TYPES: Final = frozenset({str, int, bool, type(None)})
_TABLE_FORMS: Final = (
    "the path of a .parquet, .csv or .jsonl file, a table of pandas, polars or pyarrow, or a list "
    "of mappings"
)


@dataclass(slots=True)
class TableChunk:
    """A part of a table that is being imported: some consecutive rows.

    Attributes:
        first: Number of the first row, from 0.
        size: Number of rows.
        columns: Values by column, as plain Python values. None is a missing value.
        broken: For each row that cannot be read, the reason, by its position in the chunk.
        raw: Text of these unreadable rows, by their position in the chunk.
    """

    first: int
    size: int
    columns: Mapping[str, Sequence[Any]]
    broken: Mapping[int, str] = field(default_factory=dict)
    raw: Mapping[int, str] = field(default_factory=dict)

    def row(self, place: int) -> dict[str, Any]:
        """Return the values of a row by column."""
        if place in self.raw:
            return {"text": self.raw[place]}
        return {name: values[place] for name, values in self.columns.items()}


class RowSource(ABC):
    """A table that is read in pieces, so that it needs little memory.

    Attributes:
        columns: Names of the columns.
        rows: Number of rows. None if it is not known before the end.
    """

    columns: Sequence[str]
    rows: int | None = None

    @abstractmethod
    def read(self, wanted: Sequence[str]) -> Iterator[TableChunk]:
        """Yield the rows in order, with these columns only."""


def open_table(given: Any) -> RowSource:
    """Open the table that a user wants to import, and return it as rows that can be read.

    Args:
        given: A file path, a pandas, polars or pyarrow table, or a list of mappings.

    Raises:
        ValueError: It is none of these, or two columns have the same name.
        OSError: The file cannot be read.
        ImportError: The file is Parquet, and pyarrow is not installed.
    """
    kind = type(given)
    package = kind.__module__.partition(".")[0]
    made: RowSource
    if issubclass(kind, str | Path):
        path = check_path("table", given)
        make = _FILES.get(path.suffix.lower())
        if make is None:
            raise invalid("table", str(path), "a file named " + ", ".join(FORMATS))
        made = make(path)
    elif package in {"pandas", "polars"} and kind.__name__ == "DataFrame":
        made = _Sliced(given, list(map(str, given.columns)))
    elif package == "pyarrow" and kind.__name__ in {"Table", "RecordBatch"}:
        made = _Sliced(given, list(given.schema.names))
    elif issubclass(kind, list | tuple) and all(issubclass(type(row), Mapping) for row in given):
        made = _Sliced(
            given, [str(name) for name in dict.fromkeys(key for row in given for key in row)]
        )
    else:
        raise invalid("table", given, _TABLE_FORMS)
    doubled = {name for name in made.columns if list(made.columns).count(name) > 1}
    if doubled:
        raise InvalidArgumentError(f"Two columns of the table have the name {min(doubled)!r}")
    return made


class _Sliced(RowSource):
    """A table in memory."""

    def __init__(self, frame: Any, columns: Sequence[str]) -> None:
        self._frame = frame
        self.columns = columns
        self.rows = len(frame) if not hasattr(frame, "num_rows") else frame.num_rows
        self._is_arrow = hasattr(frame, "num_rows")

    def read(self, wanted: Sequence[str]) -> Iterator[TableChunk]:
        for first in range(0, self.rows or 0, CHUNK_ROWS):
            if self._is_arrow:
                part = self._frame.slice(first, CHUNK_ROWS).select(list(wanted))
                yield TableChunk(first, part.num_rows, _arrow_columns(part))
                continue
            part = self._frame[first : first + CHUNK_ROWS]
            columns = _plain_columns(read_columns(part, "table"))
            missing = [None] * len(part)
            columns = {name: columns.get(name, missing) for name in wanted}
            yield TableChunk(first, len(part), columns)


class _ParquetFile(RowSource):
    """A Parquet file, read by row groups."""

    def __init__(self, path: Path) -> None:
        try:
            from pyarrow import ArrowInvalid, parquet  # optional, and few programs need it
        except ImportError as error:
            raise ImportError("Reading Parquet needs pyarrow: run pip install pyarrow") from error
        try:
            self._file = parquet.ParquetFile(path)
        except ArrowInvalid as error:
            raise InvalidArgumentError(f"{path} is not a Parquet file: {error}") from error
        self.columns = list(self._file.schema_arrow.names)
        self.rows = self._file.metadata.num_rows

    def read(self, wanted: Sequence[str]) -> Iterator[TableChunk]:
        first = 0
        for part in self._file.iter_batches(CHUNK_ROWS, columns=list(wanted), use_threads=False):
            yield TableChunk(first, part.num_rows, _arrow_columns(part))
            first += part.num_rows


class _CsvFile(RowSource):
    """A CSV file with a header.

    A column of numbers or of bools is read as such. If its cells are of several kinds, such as
    12345 and 01234, all of them are text. A cell with a JSON object or list is read as such.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        csv.field_size_limit(_CELL_BYTES)
        with self._open() as file:
            self.columns = next(csv.reader(file), [])

    def _open(self) -> Any:
        return self._path.open(encoding="utf-8-sig", errors="replace", newline="")

    def read(self, wanted: Sequence[str]) -> Iterator[TableChunk]:
        places = [list(self.columns).index(name) for name in wanted]
        known: dict[str, Any] = {}
        mixed = self._find_mixed(places, known)
        width, first = len(self.columns), 0
        with self._open() as file:
            lines = csv.reader(file)
            next(lines, None)
            while rows := [row for row in islice(lines, CHUNK_ROWS) if row]:
                broken = {
                    place: f"expected {width} cells"
                    for place, row in enumerate(rows)
                    if len(row) != width
                }
                raw = {place: ",".join(rows[place]) for place in broken}
                for place in broken:
                    rows[place] = [""] * width
                columns = {
                    name: [_read_cell(row[at], known, keeps_text=at in mixed) for row in rows]
                    for name, at in zip(wanted, places, strict=True)
                }
                yield TableChunk(first, len(rows), columns, broken, raw)
                first += len(rows)

    def _find_mixed(self, places: Sequence[int], known: dict[str, Any]) -> set[int]:
        """Find the columns whose cells are of several kinds: text, numbers, bools."""
        kinds: dict[int, set[type]] = {at: set() for at in places}
        with self._open() as file:
            lines = csv.reader(file)
            next(lines, None)
            for row in lines:
                if len(row) != len(self.columns):
                    continue
                for at, seen in kinds.items():
                    kind = type(_read_cell(row[at], known))
                    seen.add(float if kind is int else kind)
        return {at for at, seen in kinds.items() if len(seen & {str, float, bool}) > 1}


class _JsonLinesFile(RowSource):
    """A file with a JSON object on each line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            sampled = [_read_line(line)[0] for line in islice(file, _SAMPLED_ROWS)]
        self.columns = [*dict.fromkeys(key for row in sampled if row for key in row)]

    def read(self, wanted: Sequence[str]) -> Iterator[TableChunk]:
        first = 0
        with self._path.open("rb") as file:
            lines = (line for line in file if line.strip())
            while texts := list(islice(lines, CHUNK_ROWS)):
                rows, broken, raw = [], {}, {}
                for place, text in enumerate(texts):
                    row, problem = _read_line(text)
                    if row is None:
                        broken[place], raw[place] = problem, text.decode("utf-8", "replace").strip()
                    rows.append(row or {})
                columns = {name: [row.get(name) for row in rows] for name in wanted}
                yield TableChunk(first, len(rows), columns, broken, raw)
                first += len(rows)


_FILES: Final[Mapping[str, Callable[[Path], RowSource]]] = {
    ".parquet": _ParquetFile,
    ".csv": _CsvFile,
    ".jsonl": _JsonLinesFile,
    ".ndjson": _JsonLinesFile,
}


def _read_line(text: bytes) -> tuple[dict[str, Any] | None, str]:
    try:
        row = orjson.loads(text.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        return None, "not JSON"
    return (row, "") if isinstance(row, dict) else (None, "not a JSON object")


def _read_cell(text: str, known: dict[str, Any], *, keeps_text: bool = False) -> Any:
    """Convert the text of a CSV cell. Short texts are converted once, because most cells repeat.

    Args:
        text: The text.
        known: Texts that were converted before.
        keeps_text: Whether a number or bool stays text, because other cells of its column are text.
    """
    try:
        value = known[text]
    except KeyError:
        value = read_text(text)
        if len(text) <= _KNOWN_CHARS and not isinstance(value, list | dict):
            if len(known) >= _KNOWN_CELLS:
                known.clear()
            known[text] = value
    return text if keeps_text and isinstance(value, int | float) else value


def read_text(text: str) -> Any:
    """Convert a text from a CSV file or a log to a number, a bool or a JSON value, if possible.

    Numbers with a leading zero or plus sign stay text, because they are probably codes. Numbers
    with more digits than a float can store stay text too.
    """
    if text in _MISSING_TEXTS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    start = text[0]
    if start in "{[":
        try:
            return orjson.loads(text)
        except ValueError:
            return text
    if start.isdigit() or start in "-.":
        digits = text.lstrip("-")
        if digits[:1] == "0" and digits[1:2].isdigit():
            return text
        try:
            number = int(text) if digits.isdecimal() else float(text)
        except ValueError:
            return text
        is_finite = math.isfinite(number)
        return (
            number if is_finite and "_" not in text and len(digits) <= _EXACT_DIGITS + 5 else text
        )
    return text


def _arrow_columns(part: Any) -> dict[str, list[Any]]:
    """Convert the columns of an Arrow table to plain values. Times with ns become datetimes."""
    import pyarrow as pa  # already loaded, because the table is an Arrow table

    columns = {}
    for name in part.schema.names:
        column = part.column(name)
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        columns[name] = column.to_pylist()
    return _plain_columns(columns)


def _plain_columns(columns: Mapping[str, Iterable[Any]]) -> dict[str, list[Any]]:
    return {
        name: [value if type(value) in _PLAIN_TYPES else _plain(value) for value in values]
        for name, values in columns.items()
    }


def _plain(value: Any) -> Any:
    """Convert a cell to a value that JSON can hold. Decimals become numbers, dates stay dates."""
    value = plain(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime | date):
        return value
    if isinstance(value, dict | list | tuple):
        return _plain_nested(value)
    return value


def _plain_nested(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain_nested(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_nested(item) for item in value]
    return _plain(value)
