"""Pandas tables and series as Parquet files, which any tool can open.

Pandas' own metadata let pandas and polars restore the index. What they lack is in the metadata
under the key ``otel_ml``: labels of columns that are not unique texts, the frequency of the index,
and attributes.
Spec: https://parquet.apache.org/docs/file-format/
"""

from typing import Any, Final

import numpy as np
import orjson
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pyarrow as pa
import pyarrow.parquet as pq

from otel_ml.capture.tables import blocks_of
from otel_ml.file_formats import PARQUET
from otel_ml.types import pandas_form
from otel_ml.types.data import File
from otel_ml.types.walker import Walker, decode

_LABELS_KEY: Final = b"otel_ml"
_PLAIN_NUMBERS: Final = frozenset(
    np.dtype(name).str
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float32", "float64"),
    )
)


def write_file(table: Any) -> File | str:
    """Convert a DataFrame or Series to a Parquet file; return why not, if it would change it."""
    is_series = isinstance(table, pd.Series)
    frame = table.to_frame() if is_series else table
    names = [str(label) for label in frame.columns]
    if len({*names}) < len(names):
        return "two of its columns have the same name"
    about = {
        "kind": "series" if is_series else "frame",
        **pandas_form.write_labels(table, Walker()),
    }
    arrow = _make_numbers(frame, names)
    is_sure = arrow is not None
    if arrow is None:
        plain = frame.set_axis(names, axis=1)
        plain.attrs = {}
        arrow = pa.Table.from_pandas(plain, nthreads=1)
    metadata = {**(arrow.schema.metadata or {}), _LABELS_KEY: orjson.dumps(about)}
    sink = pa.BufferOutputStream()
    pq.write_table(arrow.replace_schema_metadata(metadata), sink)
    content = sink.getvalue().to_pybytes()
    if is_sure or _is_same(table, read_file(content)):
        return File(PARQUET, content)
    return "a Parquet file does not return its columns or index unchanged"


def read_file(content: bytes) -> Any:
    """Read a DataFrame or Series from a Parquet file that `write_file` returned.

    Raises:
        ValueError: The file is not Parquet, or was written by another tool.
    """
    arrow = read_arrow(content)
    metadata = arrow.schema.metadata or {}
    if _LABELS_KEY not in metadata:
        raise ValueError("Invalid Parquet file: expected one that otel-ml wrote")
    about = orjson.loads(metadata[_LABELS_KEY])
    frame = arrow.to_pandas()
    table = frame.iloc[:, 0] if about["kind"] == "series" else frame
    return pandas_form.read_labels(table, about, decode)


def read_arrow(content: bytes) -> Any:
    """Read a Parquet file as a pyarrow table.

    Raises:
        ValueError: The file is not Parquet.
    """
    return pq.read_table(pa.BufferReader(content), use_threads=False)


def _make_numbers(frame: Any, names: list[str]) -> Any:
    """Return a table of numbers with the usual index as an Arrow table; None for other tables.

    `pyarrow.Table.from_pandas` takes 20 times as long for 8 columns of 100 rows. Parquet returns
    such columns unchanged, so they need not be read back to compare.
    """
    index = frame.index
    if type(index) is not pd.RangeIndex or (index.start, index.step, index.name) != (0, 1, None):
        return None
    columns: dict[int, Any] = {}
    for places, block in blocks_of(frame):
        if not isinstance(block, np.ndarray) or block.dtype.str not in _PLAIN_NUMBERS:
            return None
        rows = block if block.ndim > 1 else block.reshape(1, -1)
        columns.update(
            (int(place), pa.array(row, from_pandas=True))
            for place, row in zip(places, rows, strict=True)
        )
    arrays = [columns[place] for place in range(len(names))]
    return pa.Table.from_arrays(arrays, names=names) if arrays else None


def _is_same(table: Any, again: Any) -> bool:
    """Tell whether a table or series is the same as the one read back."""
    if isinstance(table, pd.Series):
        return (
            type(table.name) is type(again.name)
            and table.name == again.name
            and _is_same_index(table.index, again.index)
            and _is_same_column(table, again)
        )
    return (
        table.shape == again.shape
        and _is_same_index(table.index, again.index)
        and _is_same_index(table.columns, again.columns)
        and all(
            _is_same_column(table.iloc[:, place], again.iloc[:, place])
            for place in range(table.shape[1])
        )
    )


def _is_same_index(index: Any, again: Any) -> bool:
    if type(index) is not type(again) or [*index.names] != [*again.names]:
        return False
    if any(type(a) is not type(b) for a, b in zip(index.names, again.names, strict=True)):
        return False
    if getattr(index, "freq", None) != getattr(again, "freq", None):
        return False
    if isinstance(index, pd.MultiIndex):
        levels = range(index.nlevels)
        return all(
            _is_same_column(index.get_level_values(n), again.get_level_values(n)) for n in levels
        )
    return _is_same_column(index, again)


def _is_same_column(column: Any, again: Any) -> bool:
    """Tell whether the values and their dtype are the same. NaN equals NaN."""
    dtype = column.dtype
    if type(dtype) is not type(again.dtype) or dtype != again.dtype:
        return False
    if isinstance(dtype, pd.CategoricalDtype):
        known, found = column.array, again.array
        return _is_same_column(known.categories, found.categories) and np.array_equal(
            known.codes, found.codes
        )
    if dtype.kind == "O" and isinstance(dtype, np.dtype):
        return all(map(_is_same_object, column.tolist(), again.tolist()))
    return bool(pd.Series(column.array).equals(pd.Series(again.array)))


def _is_same_object(item: Any, again: Any) -> bool:
    """Tell whether two cells are the same; False for lists and other containers."""
    if type(item) is not type(again):
        return False
    return item is again or (isinstance(item, str | bytes | int | float) and item == again)
