"""Reads tables of any library, and stored runs, as columns of Python values."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import orjson

from otel_ml.arguments import invalid
from otel_ml.capture.cells import make_unique
from otel_ml.capture.description import type_name

Columns = dict[str, list[Any]]

# A column of numbers with more distinct values counts as numeric, not as codes. See
# docs/how-to/data-metrics.md.
CODES: Final = 20
_NUMBER_SHARE: Final = 0.95
_PLAIN: Final = frozenset({str, int, bool, bytes, type(None)})
_NUMBERS: Final = frozenset({int, float})
_MISSING: Final = frozenset({"NAType", "NaTType"})
_TABLES: Final = (
    "a table of pandas, polars or pyarrow, a structured array of numpy, a list of mappings, or "
    "stored runs"
)
_STORED: Final = "otel_ml.reader"
_JSON_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


def read_columns(frame: Any, argument: str = "frame") -> Columns:
    """Convert a table of any supported library to lists of Python values, one per column.

    Args:
        frame: A pandas, polars or pyarrow table, a structured NumPy array, a list of mappings, or
            stored runs (see `row_of_run`). It is not changed.
        argument: Name of the argument for error messages.

    Returns:
        The values of each column by name, in the table's order. Missing values, such as NaN and
        NaT, are None. If two columns have the name ``a``, the second one becomes ``a.2``.

    Raises:
        ValueError: `frame` has another type.
    """
    kind = type(frame)
    home = kind.__module__.partition(".")[0], kind.__name__
    if home == ("pandas", "DataFrame"):
        columns = [
            (name, frame.iloc[:, place].tolist()) for place, name in enumerate(frame.columns)
        ]
    elif home == ("polars", "DataFrame"):
        columns = [(name, frame.get_column(name).to_list()) for name in frame.columns]
    elif home == ("pyarrow", "Table"):
        names = frame.column_names
        columns = [(name, frame.column(place).to_pylist()) for place, name in enumerate(names)]
    elif home[0] == "numpy" and getattr(getattr(frame, "dtype", None), "names", None):
        columns = [(name, frame[name].ravel().tolist()) for name in frame.dtype.names]
    elif is_of_runs(frame):
        columns = _join_rows([row_of_run(run) for run in frame])
    elif issubclass(kind, list | tuple) and all(issubclass(type(row), Mapping) for row in frame):
        columns = _join_rows(frame)
    else:
        raise invalid(argument, frame, _TABLES)
    names = make_unique([str(name) for name, _ in columns])
    return {
        name: list(map(plain, values)) for name, (_, values) in zip(names, columns, strict=True)
    }


def _join_rows(rows: Sequence[Mapping[Any, Any]]) -> list[tuple[Any, list[Any]]]:
    keys = dict.fromkeys(key for row in rows for key in row)
    return [(key, [row.get(key) for row in rows]) for key in keys]


def is_of_runs(frame: Any) -> bool:
    """Return whether a value is a list of stored runs, such as the result of `Reader.runs`."""
    kind = type(frame)
    if kind.__module__.startswith(_STORED) and kind.__name__ == "Runs":
        return True
    return issubclass(kind, list | tuple) and bool(frame) and all(map(is_run, frame))


def is_run(value: object) -> bool:
    """Return whether a value is a run read from the collector."""
    name = type_name(value)
    return name.startswith(f"{_STORED}.") and name.endswith(".Run")


def parts_of_run(run: Any) -> dict[str, Any]:
    """Return the inputs, outputs and ground truth of a stored run, as far as they are complete.

    Returns:
        A dict with the keys ``inputs``, ``outputs`` and ``actuals`` (ground truth by name). A key
        is missing if there is no such data, or if the data were cut, hidden or not recorded. A
        failed run has no ``outputs``.
    """
    capture = run.capture
    parts: dict[str, Any] = {}
    if "inputs" not in capture:
        parts["inputs"] = run.inputs
    if run.outcome == "ok" and "outputs" not in capture:
        parts["outputs"] = run.outputs
    truths = {
        evaluation.judge: _truth_of(evaluation)
        for evaluation in run.evaluations
        if evaluation.source == "actual"
    }
    if truths:
        parts["actuals"] = truths
    return parts


def _truth_of(evaluation: Any) -> Any:
    if evaluation.actual is not None:
        return evaluation.actual
    if evaluation.label:
        return evaluation.label
    return evaluation.passed if evaluation.score is None else evaluation.score


def row_of_run(run: Any) -> dict[str, Any]:
    """Return a stored run as one row of a table: a dict of values by column name.

    There is a column for each input, output and ground truth. If the output is a mapping, each of
    its keys becomes a column such as ``outputs.label``. Otherwise there is one column ``outputs``.
    """
    parts = parts_of_run(run)
    inputs, outputs = parts.get("inputs"), parts.get("outputs")
    row = dict(inputs) if isinstance(inputs, Mapping) else {"inputs": inputs}
    if isinstance(outputs, Mapping):
        row |= {f"outputs.{name}": value for name, value in outputs.items()}
    else:
        row["outputs"] = outputs
    return {**row, **parts.get("actuals", {})}


def plain(value: Any) -> Any:
    """Convert one value of a table to a plain Python value.

    NaN, NaT and similar become None. NumPy scalars become Python numbers, strings or bools.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if issubclass(kind, float):
        return None if math.isnan(value) else value
    if kind.__name__ in _MISSING:
        return None
    if kind.__module__ == "numpy" and getattr(value, "shape", None) == ():
        return None if str(value) == "NaT" else plain(value.item())
    if kind.__name__ == "Decimal" and value.is_nan():
        return None
    return value


def key_of(value: Any) -> Hashable:
    """Return a dict key for a value, to count how often the value occurs.

    The key is the value itself, or its JSON if the value is not hashable.
    """
    if type(value) in _PLAIN or type(value) in _NUMBERS:
        return value  # type: ignore[no-any-return]  # just checked
    try:
        hash(value)
    except TypeError:
        return orjson.dumps(value, default=repr, option=_JSON_OPTIONS)
    return value  # type: ignore[no-any-return]  # just hashed


def count_values(values: Sequence[Any]) -> Counter[Hashable]:
    """Count how often each value occurs in a column. Missing values are not counted."""
    return Counter(key_of(value) for value in values if value is not None)


def is_measure(values: Sequence[Any]) -> bool:
    """Return whether a column contains measured numbers, not categories or numeric codes."""
    present = [value for value in values if value is not None]
    items = [value for value in present if type(value) in _NUMBERS and math.isfinite(value)]
    return len(items) >= _NUMBER_SHARE * len(present) and len(set(items)) > CODES
