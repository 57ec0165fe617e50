"""Pyarrow tables, batches and arrays: as Parquet, or as JSON with the bytes of an Arrow stream.

Spec: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
"""

from functools import partial
from typing import Any, Final

import pyarrow as pa

from otel_ml.file_formats import PARQUET
from otel_ml.types.data import Decode, File, Form, HideColumn, Params, ValueWriter
from otel_ml.types.scalars import from_base64, to_base64

_KIND_KEY: Final = b"otel_ml"  # in the metadata of a Parquet file
_ALONE: Final = "value"  # name of the column of an array without a table
# old pyarrow versions unpickle columns of this type (CVE-2023-47248)
_PICKLED: Final = b"arrow.py_extension_type"


def write(value: Any, _writer: ValueWriter) -> Form:
    """Serialise a table, batch, schema or array."""
    sink = pa.BufferOutputStream()
    kind, table = _as_table(value)
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write(table)
    columns = [[field.name, str(field.type)] for field in table.schema]
    return {"kind": kind, "columns": columns, "ipc": to_base64(sink.getvalue())}


def _as_table(value: Any) -> tuple[str, Any]:
    if isinstance(value, pa.Table):
        return "table", value
    if isinstance(value, pa.RecordBatch):
        return "batch", value
    if isinstance(value, pa.Schema):
        return "schema", value.empty_table()
    if isinstance(value, pa.ChunkedArray):
        return "chunks", pa.table({_ALONE: value})
    return "array", pa.record_batch([value], names=[_ALONE])


def hide(value: Any, hide_column: HideColumn) -> Any:
    """Remove secret columns, and hide secrets in the other columns.

    Without secrets, the same object is returned.
    """
    kind, table = _as_table(value)
    if kind == "schema":
        return value
    columns = table.columns
    hidden = [
        hide_column(
            column, name, str(column.type), column.to_pylist, partial(pa.array, type=column.type)
        )
        for name, column in zip(table.schema.names, columns, strict=True)
    ]
    if all(new is old for new, old in zip(hidden, columns, strict=True)):
        return value
    kept = [n for n, column in enumerate(hidden) if column is not None]
    schema = pa.schema([table.schema.field(n) for n in kept])
    made = pa.Table.from_arrays([hidden[n] for n in kept], schema=schema)
    if kind in {"array", "chunks"}:
        column = made.column(0) if kept else pa.chunked_array([pa.nulls(len(value))])
        return column if kind == "chunks" else column.combine_chunks()
    return made if kind == "table" else made.combine_chunks().to_batches()[0]


def read(params: Params, _decode: Decode) -> Any:
    """Read a stored Arrow value. Extension types must be known in this process."""
    raw, kind = from_base64(params["ipc"]), params["kind"]
    if _PICKLED in raw:
        raise ValueError("Invalid Arrow data: it contains a type that can only be read with pickle")
    with pa.ipc.open_stream(raw) as stream:
        if kind == "schema":
            return stream.schema
        if kind in {"batch", "array"}:
            batch = stream.read_next_batch()
            return batch if kind == "batch" else batch.column(0)
        table = stream.read_all()
    return table if kind == "table" else table.column(0)


def write_file(value: Any) -> File | str:
    """Convert a value to a Parquet file; return why not, if it would change it."""
    import pyarrow.parquet as pq  # slow import, which the typed form does not need

    kind, table = _as_table(value)
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    metadata = {**(table.schema.metadata or {}), _KIND_KEY: kind.encode()}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    content = sink.getvalue().to_pybytes()
    again = _read_parquet(content)[1]
    if again.schema.equals(table.schema, check_metadata=True) and _has_same_values(table, again):
        return File(PARQUET, content)
    return "a Parquet file does not return its columns unchanged"


def read_file(content: bytes) -> Any:
    """Read a value from a Parquet file that `write_file` returned.

    Raises:
        ValueError: The file is not Parquet, or was written by another tool.
    """
    kind, table = _read_parquet(content)
    if kind == "table":
        return table
    if kind == "schema":
        return table.schema
    if kind == "chunks":
        return table.column(0)
    columns = [column.combine_chunks() for column in table.columns]
    if kind == "array":
        return columns[0]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def _read_parquet(content: bytes) -> tuple[str, Any]:
    import pyarrow.parquet as pq  # slow import, as above

    table = pq.read_table(pa.BufferReader(content), use_threads=False)
    metadata = dict(table.schema.metadata or {})
    kind = metadata.pop(_KIND_KEY, b"").decode()
    if kind not in {"table", "batch", "schema", "array", "chunks"}:
        raise ValueError("Invalid Parquet file: expected one that otel-ml wrote")
    return kind, table.replace_schema_metadata(metadata or None)


def _has_same_values(table: Any, again: Any) -> bool:
    """Tell whether two tables of the same schema have the same values. NaN equals NaN."""
    return table.num_rows == again.num_rows and all(
        column.equals(other) or _is_same_but_nan(column, other)
        for column, other in zip(table.columns, again.columns, strict=True)
    )


def _is_same_but_nan(column: Any, other: Any) -> bool:
    import pyarrow.compute as pc  # slow import, as above

    if not pa.types.is_floating(column.type):
        return False
    gone, again = pc.is_nan(column), pc.is_nan(other)
    zero = pa.scalar(0, column.type)
    return bool(
        gone.equals(again) and pc.if_else(gone, zero, column).equals(pc.if_else(again, zero, other))
    )
