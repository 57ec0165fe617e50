"""Polars DataFrames and Series: as Parquet, or as JSON with the bytes of an Arrow file."""

import io
from functools import partial
from typing import Any, Final

import polars as pl

from otel_ml.file_formats import PARQUET
from otel_ml.types.data import Decode, File, Form, HideColumn, Params, ValueWriter
from otel_ml.types.scalars import from_base64, to_base64

_KIND_KEY: Final = "otel_ml"  # in the metadata of a Parquet file


def write(value: "pl.DataFrame | pl.Series", _writer: ValueWriter) -> Form:
    """Serialise a DataFrame, or a Series as the only column of a DataFrame."""
    is_series = isinstance(value, pl.Series)
    frame = value.to_frame() if isinstance(value, pl.Series) else value
    file = io.BytesIO()
    frame.write_ipc(file)
    raw = file.getvalue()
    return {
        "kind": "series" if is_series else "frame",
        "columns": [[name, str(dtype)] for name, dtype in frame.schema.items()],
        "ipc": to_base64(raw),
    }


def hide(value: "pl.DataFrame | pl.Series", hide_column: HideColumn) -> "pl.DataFrame | pl.Series":
    """Remove secret columns, and hide secrets in the other columns.

    Without secrets, the same object is returned.
    """
    columns = [value] if isinstance(value, pl.Series) else value.get_columns()
    hidden = [
        hide_column(
            column,
            column.name,
            str(column.dtype),
            column.to_list,
            partial(pl.Series, column.name, dtype=column.dtype),
        )
        for column in columns
    ]
    if all(new is old for new, old in zip(hidden, columns, strict=True)):
        return value
    kept = [column for column in hidden if column is not None]
    if isinstance(value, pl.Series):
        return kept[0] if kept else pl.Series(value.name, [None] * len(value))
    return pl.DataFrame(kept)


def read(params: Params, _decode: Decode) -> Any:
    """Read a DataFrame or Series."""
    frame = pl.read_ipc(io.BytesIO(from_base64(params["ipc"])))
    return frame.to_series() if params["kind"] == "series" else frame


def write_file(value: "pl.DataFrame | pl.Series") -> File | str:
    """Convert a value to a Parquet file; return why not, if it would change it."""
    is_series = isinstance(value, pl.Series)
    frame = value.to_frame() if isinstance(value, pl.Series) else value
    file = io.BytesIO()
    frame.write_parquet(file, metadata={_KIND_KEY: "series" if is_series else "frame"})
    content = file.getvalue()
    again = pl.read_parquet(io.BytesIO(content))
    if again.schema == frame.schema and again.equals(frame):
        return File(PARQUET, content)
    return "a Parquet file does not return its columns unchanged"


def read_file(content: bytes) -> "pl.DataFrame | pl.Series":
    """Read a DataFrame or Series from a Parquet file that `write_file` returned.

    Raises:
        ValueError: The file was written by another tool.
    """
    kind = pl.read_parquet_metadata(io.BytesIO(content)).get(_KIND_KEY)
    if kind not in {"series", "frame"}:
        raise ValueError("Invalid Parquet file: expected one that otel-ml wrote")
    frame = pl.read_parquet(io.BytesIO(content))
    return frame.to_series() if kind == "series" else frame
