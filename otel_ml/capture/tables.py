"""Takes snapshots of data frames, series and tables, and describes these snapshots.

The functions named `_take_…` run on the thread of the traced call. They copy the first rows, and
some cells of evenly spaced rows. The functions named `_describe_…` run later, on the thread that
sends: they build a small table from the copies, and format that.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_ml.capture.cells import (
    HEAD,
    MOST_COLUMNS,
    NUMBER_KINDS,
    copy_in_pieces,
    is_immutable,
    keep_cell,
    number_step,
    row_step,
    sample_columns,
    write_cells,
    write_rows,
)
from otel_ml.capture.description import type_name_of
from otel_ml.capture.snapshot import SAMPLE_BYTES, Snapshot, Taker, Taking
from otel_ml.errors import reraise_host_error
from otel_ml.late import late

if TYPE_CHECKING:
    from otel_ml.capture import frame_text
else:
    frame_text = late("capture.frame_text")

_LAST_COLUMNS: Final = 50  # pandas prints at most this many of the last columns
_MOST_NAMES: Final = 22_000  # more column names do not fit into a payload
_LONGEST_TEXT: Final = 1_000  # characters kept of a cell; at most 50 are shown
_CELL_BYTES: Final = 16  # estimated size of a sampled cell
_POLARS_BYTES: Final = 16_384
_TEXT_DTYPES: Final = frozenset({"str", "string", "object"})


# pandas


def take_missing(value: Any, taker: Taker, depth: int) -> object:
    """Return None for a missing value of pandas."""
    return None


class _Part(NamedTuple):
    """Sampled values of columns that pandas stores together.

    Attributes:
        places: Positions of the columns in the frame; None for a single extension array.
        head: First rows: an array or list with a row for each column, or one column.
        cells: Evenly spaced rows, in the same form; None if there is no room.
        dtype: Type of the columns.
    """

    places: Any
    head: Any
    cells: Any
    dtype: Any

    def split(self, values: Any) -> Sequence[Any]:
        """Return `head` or `cells` as a sequence with the values of each column."""
        if type(values) is list:
            return values if getattr(self.dtype, "hasobject", False) else [values]
        return values if values.ndim > 1 else [values]


def take_frame(frame: Any, taker: Taker, depth: int) -> object:
    """Take a snapshot of a pandas table: its first rows, and cells of evenly spaced rows."""
    names, index = frame.columns, frame.index
    rows, width = len(index), len(names)
    step, size = number_step(rows, width, taker)
    steps = row_step(rows, width), step
    if width > _MOST_NAMES:
        names = names[:_MOST_NAMES].copy(deep=True)
    parts = [
        _take_columns(places, array, width, steps, taker) for places, array in blocks_of(frame)
    ]
    described = (
        type(frame),
        (rows, width),
        names,
        _take_index(index),
        (parts, taker.taking),
    )
    weight = min(rows, HEAD) * min(width, 100) * _CELL_BYTES + 2_048 + size
    return Snapshot(type(frame), _describe_frame, described, weight)


def blocks_of(frame: Any) -> Iterable[tuple[Any, Any]]:
    """Return the arrays of a frame, each with the positions of its columns.

    pandas stores columns of one type together in a block. Reading the blocks costs a tenth of
    reading the columns. Blocks are private, so if pandas has none, the columns are read.
    """
    try:
        return [(block.mgr_locs.as_array, block.values) for block in frame._mgr.blocks]
    except AttributeError as error:
        reraise_host_error(error)
    width = frame.shape[1]
    numpy = sys.modules["numpy"]
    return [(numpy.array([place]), frame.iloc[:, place].array) for place in range(width)]


def _take_columns(
    places: Any, array: Any, width: int, steps: tuple[int, int], taker: Taker
) -> _Part:
    """Copy sampled values of a block. The columns of a NumPy block are its rows.

    `places` are the positions of the columns in the frame. `steps` are the distances between the
    sampled rows, in general and for numbers.
    """
    step, of_numbers = steps
    if type(array) is not sys.modules["numpy"].ndarray:
        if array.ndim > 1:  # dates and periods
            return _Part(
                places, array[:, :HEAD].copy(), array[:MOST_COLUMNS, ::step].copy(), array.dtype
            )
        head = _copy_values(array[:HEAD], taker)
        cells = _copy_values(array[::step], taker) if places[0] < MOST_COLUMNS else None
        return _Part(places, head, cells, array.dtype)
    if array.ndim == 1:
        array = array.reshape(1, -1)
    top = array[:, :HEAD]
    if width > MOST_COLUMNS + _LAST_COLUMNS:
        # pandas keeps the columns of a block in order, so those with cells come first
        array = array[: int((places < MOST_COLUMNS).sum())]
        is_shown = (places < MOST_COLUMNS) | (places >= width - _LAST_COLUMNS)
        places, top = places[is_shown], top[is_shown]
    dtype = array.dtype
    if dtype.hasobject:
        head = [[_keep(cell, taker) for cell in column] for column in top]
        cells = [[*map(keep_cell, column[::step])] for column in array[:MOST_COLUMNS]]
        return _Part(places, head, cells, dtype)
    head = copy_in_pieces(top)
    if array.shape[1] <= HEAD:
        return _Part(places, head, head[:MOST_COLUMNS], dtype)
    array = array[:MOST_COLUMNS]
    if dtype.kind in NUMBER_KINDS:
        return _Part(places, head, sample_columns(array, of_numbers), dtype)
    return _Part(places, head, array[:, ::step].copy(), dtype)


def _copy_values(array: Any, taker: Taker) -> Any:
    """Copy an extension array, or return its values as a list of immutable objects.

    Slices of Arrow's arrays share the memory of the whole column.
    """
    if hasattr(array, "_pa_array") or array.dtype.name in _TEXT_DTYPES:
        return [_keep(cell, taker) for cell in array.to_numpy(dtype=object)]
    return array.copy()


def _keep(cell: Any, taker: Taker) -> Any:
    """Return a cell that can be shown later: long text is cut, a mutable value is copied."""
    if type(cell) is str:
        return cell[:_LONGEST_TEXT]
    return cell if is_immutable(cell) else taker.take(cell, 0)


def _take_index(index: Any) -> Any:
    """Copy the first labels of an index. A slice would share the memory of the whole index."""
    kind = type(index).__name__
    if kind == "RangeIndex":
        return _IndexLabels(range(index.start, index.stop, index.step)[:HEAD], index.name)
    # private, but takes a tenth of the time of `take`
    values: Any = getattr(index, "_values", None)
    if (
        kind == "Index"
        and type(values) is sys.modules["numpy"].ndarray
        and values.dtype.kind in NUMBER_KINDS
    ):
        return _IndexLabels(values[:HEAD].copy(), index.name)
    head = index[:HEAD]
    return head.take(range(len(head)))


class _IndexLabels(NamedTuple):
    """The first labels of an index of numbers.

    Attributes:
        values: The labels: a range or a NumPy array.
        name: Name of the index.
    """

    values: Any
    name: Any


def _index_of(taken: Any) -> Any:
    if type(taken) is not _IndexLabels:
        return taken
    return sys.modules["pandas"].Index(taken.values, name=taken.name)


def _list_names(names: Any) -> list[Any]:
    """Return column names as a list. This takes less than half the time of iterating over them."""
    if getattr(names, "nlevels", 0) == 1 and names.dtype.name in _TEXT_DTYPES:
        listed: list[Any] = names.to_numpy(dtype=object).tolist()
        return listed
    return [*names]


def _describe_frame(
    kind: type,
    shape: tuple[int, int],
    names: Any,
    index: Any,
    values: tuple[Sequence[_Part], Taking],
) -> object:
    parts, taking = values
    listed = _list_names(names)
    shown = [place for place, name in enumerate(listed) if taking.shows(name)]
    cells = {
        place: _listed(column, part.dtype)
        for part in parts
        if part.cells is not None
        for place, column in zip(part.places.tolist(), part.split(part.cells), strict=False)
        if place < MOST_COLUMNS
    }
    heads = {
        # The cells of a small frame are all of its rows.
        place: cells[place][:HEAD]
        if len(cells.get(place, ())) == shape[0]
        else _listed(column, part.dtype)
        for part in parts
        for place, column in zip(part.places.tolist(), part.split(part.head), strict=False)
        if place < MOST_COLUMNS
    }
    head = _write_head(parts, names, index, listed, {place: heads.get(place) for place in shown})
    described: dict[str, object] = {
        "type": type_name_of(kind),
        "shape": [*shape],
        "columns": [str(listed[place]) for place in shown],
        "head": _print_head(parts, names, index, shown) if head is None else head,
    }
    named = [(listed[place], cells[place]) for place in shown if place in cells]
    first = [(listed[place], heads[place]) for place in shown if place in cells]
    return {**described, **write_rows(first, named), **write_cells(named)}


def _write_head(
    parts: Sequence[_Part],
    names: Any,
    index: Any,
    listed: Sequence[Any],
    shown: Mapping[int, list[Any] | None],
) -> str | None:
    """Write the first rows as text; None if pandas itself must print them.

    Args:
        parts: The columns, by their dtype.
        names: The index of the column names.
        index: The index of the rows.
        listed: The column names.
        shown: The places of the columns to write, and their cells if they are listed already.
    """
    if not _has_simple_labels(index) or names.nlevels > 1 or names.name is not None or not shown:
        return None
    columns: dict[int, frame_text.ColumnText | None] = {}
    for part in parts:
        written: Sequence[frame_text.ColumnText | None] | None = None
        if type(part.head) is not list:
            if part.head.ndim > 1:
                written = frame_text.write_numbers(part.head)
            elif part.dtype.name == "category" and not part.head.isna().all():
                written = [
                    frame_text.write_texts(shown.get(place) or part.head.tolist())
                    for place in part.places.tolist()
                ]
        elif part.dtype.name in _TEXT_DTYPES:
            written = [frame_text.write_texts(cells) for cells in part.split(part.head)]
        columns.update(zip(part.places.tolist(), written or (), strict=False))
    texts = [column for place in shown if (column := columns.get(place)) is not None]
    if len(texts) < len(shown):
        return None
    return frame_text.write_frame([listed[place] for place in shown], texts, [*index.values])


def _print_head(parts: Sequence[_Part], names: Any, index: Any, shown: Sequence[int]) -> str:
    """Let pandas print a frame of the first rows."""
    pandas = sys.modules["pandas"]
    index = _index_of(index)
    heads = {
        place: _series(column, part.dtype, index)
        for part in parts
        for place, column in zip(part.places.tolist(), part.split(part.head), strict=True)
    }
    hidden = pandas.Series(["…"] * len(index), index=index, dtype=object)
    head = pandas.DataFrame({place: heads.get(place, hidden) for place in shown}, index=index)
    head.columns = names if len(shown) == len(names) else names[shown]
    return str(head)


def _series(values: Any, dtype: Any, index: Any) -> Any:
    pandas = sys.modules["pandas"]
    if type(values) is list:
        return pandas.Series(_object_array(values), index=index, dtype=dtype)
    return pandas.Series(values, index=index, copy=False)


def _listed(values: Any, dtype: Any) -> list[Any]:
    if type(values) is list:
        return values
    if type(values) is not sys.modules["numpy"].ndarray or values.dtype.kind not in NUMBER_KINDS:
        values = sys.modules["pandas"].Series(values, copy=False)
    listed: list[Any] = values.tolist()
    return listed


def _object_array(values: list[Any]) -> Any:
    array = sys.modules["numpy"].empty(len(values), dtype=object)
    array[:] = values
    return array


def take_series(series: Any, taker: Taker, depth: int) -> object:
    """Take a snapshot of a pandas column."""
    if not taker.taking.shows(series.name):
        return _take_hidden(series)
    array = getattr(series, "_values", None)  # private, but takes a tenth of the time of `array`
    if array is None:
        array = series.array
    head = array[:HEAD]
    if type(array) is not sys.modules["numpy"].ndarray:
        head = _copy_values(head, taker)
    elif array.dtype.hasobject:
        head = [_keep(cell, taker) for cell in head]
    else:
        head = head.copy()
    described = (
        type(series),
        len(array),
        series.name,
        _take_index(series.index),
        (head, array.dtype),
    )
    return Snapshot(type(series), _describe_series, described, 1_024)


def _take_hidden(series: Any) -> object:
    """Record only type and length of a series whose values may not be recorded."""
    return Snapshot(type(series), _describe_hidden, (type(series), len(series)), 512)


def _describe_hidden(kind: type, length: int) -> object:
    return {"type": type_name_of(kind), "shape": [length], "head": "…"}


def _describe_series(
    kind: type, length: int, name: Any, index: Any, values: tuple[Any, Any]
) -> object:
    head = _write_series(name, index, *values)
    if head is None:
        series = _series(*values, _index_of(index))
        series.name = name
        head = str(series)
    return {"type": type_name_of(kind), "shape": [length], "head": head}


def _write_series(name: Any, index: Any, values: Any, dtype: Any) -> str | None:
    """Write the first values as text; None if pandas itself must print them."""
    if not _has_simple_labels(index) or not (name is None or type(name) is str):
        return None
    written: Sequence[frame_text.ColumnText | None] | None = None
    if type(values) is not list:
        is_array = type(values) is sys.modules["numpy"].ndarray
        written = frame_text.write_numbers(values.reshape(1, -1)) if is_array else None
    elif dtype.name in _TEXT_DTYPES:
        written = [frame_text.write_texts(values)]
    if not written or written[0] is None:
        return None
    return frame_text.write_series(name, written[0], [*index.values], dtype.name)


def _has_simple_labels(index: Any) -> bool:
    if type(index) is not _IndexLabels or index.name is not None or not len(index.values):
        return False
    return type(index.values) is range or index.values.dtype.kind in "iu"


# polars


def take_polars(frame: Any, taker: Taker, depth: int) -> object:
    """Take a snapshot of a polars table."""
    rows, width = frame.shape
    step = row_step(rows, width)
    of_numbers, size = number_step(rows, width, taker)
    columns = frame.get_columns()
    heads, cells = [], []
    for place, column in enumerate(columns[:_MOST_NAMES]):
        if not taker.taking.shows(column.name):
            continue
        is_first = place < MOST_COLUMNS
        if is_first or place >= width - _LAST_COLUMNS:
            head = _list_polars(column.head(HEAD))
        else:
            head = None
        heads.append((column.name, column.dtype, head))
        if is_first:
            distance = of_numbers if column.dtype.is_numeric() else step
            every = head if rows <= HEAD else _list_polars(column.gather_every(distance))
            cells.append((column.name, None if every is None else [*map(keep_cell, every)]))
    described = (type(frame), (rows, width), min(rows, HEAD), heads, cells)
    return Snapshot(type(frame), _describe_polars, described, _POLARS_BYTES + size)


def _list_polars(column: Any) -> list[Any] | None:
    """Return values as a list. None if they are large, as nested values can be."""
    if column.estimated_size() > SAMPLE_BYTES:
        return None
    values: list[Any] = column.to_list()
    return values


def _describe_polars(
    kind: type,
    shape: tuple[int, int],
    rows: int,
    heads: Sequence[tuple[str, Any, list[Any] | None]],
    cells: Sequence[tuple[str, list[Any] | None]],
) -> object:
    polars = sys.modules["polars"]
    head = polars.DataFrame(
        [
            polars.Series(name, ["…"] * rows if values is None else values, None)
            if values is None
            else polars.Series(name, values, dtype, strict=False)
            for name, dtype, values in heads
        ]
    )
    described = {
        "type": type_name_of(kind),
        "shape": [*shape],
        "columns": [name for name, *_ in heads],
        "head": str(head),
    }
    named = [(name, values or ()) for name, values in cells]
    known = {name for name, _ in named}
    first = [(name, [*map(keep_cell, values or ())]) for name, _, values in heads if name in known]
    return {**described, **write_rows(first, named), **write_cells(named)}


def take_polars_series(series: Any, taker: Taker, depth: int) -> object:
    """Take a snapshot of a polars column."""
    if not taker.taking.shows(series.name):
        return _take_hidden(series)
    head = _list_polars(series.head(HEAD))
    described = (type(series), series.name, series.dtype, (len(series),), head)
    return Snapshot(type(series), _describe_polars_series, described, 1_024)


def _describe_polars_series(
    kind: type, name: str, dtype: Any, shape: tuple[int], head: list[Any] | None
) -> object:
    described: dict[str, object] = {"type": type_name_of(kind), "shape": [*shape]}
    if head is None:
        return described
    series = sys.modules["polars"].Series(name, head, dtype, strict=False)
    return {**described, "head": str(series)}


# Arrow


def take_arrow_scalar(value: Any, taker: Taker, depth: int) -> object:
    """Take a single value. A list is taken as an array, because it may be long."""
    elements = getattr(value, "values", None)
    return taker.take(elements if hasattr(elements, "null_count") else value.as_py(), depth)


def take_arrow(table: Any, taker: Taker, depth: int) -> object:
    """Take a snapshot of a pyarrow table or record batch."""
    rows, width = table.num_rows, table.num_columns
    step = row_step(rows, width)
    names = table.column_names[:MOST_COLUMNS]
    shown, cells = {}, []
    for place, name in enumerate(names):
        if not taker.taking.shows(name):
            continue
        column = table.column(place)
        if place < HEAD:
            shown[name] = take_arrow_array(column, taker, depth)
        cells.append((name, _spaced(column, step)))
    parts = (type(table), (rows, width), shown, cells)
    return Snapshot(type(table), _describe_arrow, parts, len(cells) * 512 + 2_048)


def _spaced(column: Any, step: int) -> Any:
    """Return evenly spaced values of a column as a new array, which shares no memory with it."""
    arrow = sys.modules["pyarrow"]
    places = range(0, len(column), step)
    chunks = getattr(column, "chunks", None)
    if chunks is None or len(chunks) == 1:
        return (chunks[0] if chunks else column).take(arrow.array(places))
    # not `take`, because it joins all chunks of the column first
    parts = [column.slice(place, 1).combine_chunks() for place in places]
    return arrow.chunked_array(parts, type=column.type).combine_chunks()


def _describe_arrow(
    kind: type, shape: tuple[int, int], shown: object, cells: Sequence[tuple[str, Any]]
) -> object:
    described = {"type": type_name_of(kind), "shape": [*shape], "head": shown}
    return {**described, **write_cells([(name, column.to_pylist()) for name, column in cells])}


def take_arrow_array(array: Any, taker: Taker, depth: int) -> object:
    """Take a snapshot of a pyarrow array."""
    head = _spaced(array[:HEAD], 1)
    parts = (type(array), array.type, len(array), head)
    return Snapshot(type(array), _describe_arrow_array, parts, head.nbytes + 512)


def _describe_arrow_array(kind: type, dtype: Any, length: int, head: Any) -> object:
    described = {"type": type_name_of(kind), "dtype": str(dtype), "shape": [length]}
    return {**described, "head": head.to_pylist()}
