"""Polars DataFrames and Series as JSON: the bytes of an Arrow file."""

import io
from functools import partial
from typing import Any

import polars as pl

from otel_ml.types.data import Decode, Form, HideColumn, Params, ValueWriter
from otel_ml.types.scalars import from_base64, to_base64


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
