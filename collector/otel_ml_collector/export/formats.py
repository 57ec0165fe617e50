"""Batches of runs as the bytes of a file: JSON lines, CSV and Parquet, written as they come."""

import io
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from otel_ml_collector.export.find import WHOLE
from otel_ml_collector.times import to_rfc3339

# A cell that begins like this is a formula to a spreadsheet, and texts may be anybody's.
_FORMULA: Final = r"^([=+\-@\t\r])"
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
# A batch becomes Python objects slice by slice.
_LINES: Final = 1_000


class Outgoing(io.RawIOBase):
    """A file that cannot be read, nor written anywhere but at its end."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self.waiting = 0  # bytes that were not taken yet

    def writable(self) -> bool:
        """Tell that it can be written."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._size

    def write(self, data: Any) -> int:
        """Write bytes."""
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        self.waiting += len(part)
        return len(part)

    def take(self) -> bytes:
        """Take what was written since the last time."""
        taken, self._parts, self.waiting = b"".join(self._parts), [], 0
        return taken


class FormatWriter(Protocol):
    """Takes batches; `schema` is that of all of them."""

    def __call__(self, schema: pa.Schema, batches: Iterator[pa.Table]) -> Iterator[bytes]:
        """Write the parts of a file, one or more for each batch."""
        ...


def write_json_lines(schema: pa.Schema, batches: Iterator[pa.Table]) -> Iterator[bytes]:
    """Write a JSON object a line; payloads and tags stand in it as they are."""
    readers = {field.name: reader for field in schema if (reader := _reader_of(field))}
    for batch in batches:
        for first in range(0, batch.num_rows, _LINES):
            part = batch.slice(first, _LINES)
            columns = {name: _read(part[name], readers.get(name)) for name in schema.names}
            rows = zip(*columns.values(), strict=True)
            lines = [orjson.dumps(dict(zip(columns, row, strict=True))) for row in rows]
            yield b"\n".join(lines) + b"\n"


def write_csv(schema: pa.Schema, batches: Iterator[pa.Table]) -> Iterator[bytes]:
    """Write a line of names, then one a run; what is no plain value is JSON text.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    file = Outgoing()
    flat = pa.schema([(field.name, _flat_type(field.type)) for field in schema])
    with pa_csv.CSVWriter(file, flat) as writer:
        for batch in batches:
            writer.write_table(pa.table([_flat(column) for column in batch.columns], schema=flat))
            yield file.take()
    yield file.take()


def write_parquet(schema: pa.Schema, batches: Iterator[pa.Table]) -> Iterator[bytes]:
    """Write a row group a batch; a file without its end has no footer, and is none."""
    file = Outgoing()
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_table(batch)
            yield file.take()
    yield file.take()


WRITERS: Final[dict[str, tuple[str, FormatWriter]]] = {
    "jsonl": ("application/x-ndjson", write_json_lines),
    "csv": ("text/csv", write_csv),
    "parquet": ("application/vnd.apache.parquet", write_parquet),
}


def _reader_of(field: pa.Field) -> Callable[[Any], Any] | None:
    """Choose how the values of a column become JSON; None when they are."""
    if field.name in WHOLE or (field.name == "tags" and pa.types.is_string(field.type)):
        return lambda text: orjson.Fragment(text) if text else None
    if pa.types.is_map(field.type):
        return dict
    return to_rfc3339 if pa.types.is_timestamp(field.type) else None


def _read(column: pa.ChunkedArray, reader: Callable[[Any], Any] | None) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values: list[Any] = column.to_pylist()
    return values if reader is None else [None if v is None else reader(v) for v in values]


def _flat_type(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_nested(kind) or pa.types.is_timestamp(kind) else kind


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return pc.strftime(column, _TIME)
    if pa.types.is_map(kind) or pa.types.is_list(kind):
        values = [dict(v) if pa.types.is_map(kind) else v for v in column.to_pylist()]
        return pa.chunked_array([[orjson.dumps(value).decode() for value in values]], pa.string())
    if pa.types.is_string(kind):
        return pc.replace_substring_regex(column, _FORMULA, r"'\1")
    return column
