"""Writes records as a table, JSON, CSV or Parquet, on the standard output."""

import csv
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from otel_ml.reader.errors import show
from otel_ml_collector.cli.failure import DONE, NOTHING, USAGE, CommandFailed
from otel_ml_collector.cli.table import write_table
from otel_ml_collector.price import write_cost

Rows = Sequence[Mapping[str, Any]]

_FORMULA: Final = re.compile(r"[=+\-@\t\r]")
# Control characters that JSON allows in a string as they are, and bidirectional ones.
_RISKY: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CELL_CHARS: Final = 200
_DIGITS: Final = 6
_SECONDS: Final = len("2026-11-20T07:16:40")


def write_rows(
    rows: Rows, answer: Mapping[str, Any], file_format: str, columns: Sequence[str]
) -> int:
    """Write records; returns the exit status.

    Args:
        rows: One for each line of a table.
        answer: The answer of the API that they are from, which is what JSON is.
        file_format: table, json, csv or parquet.
        columns: Which, in which order.

    Raises:
        CommandFailed: A column is unknown, or bytes would go to a terminal.
    """
    check_columns(rows, columns)
    if file_format == "json":
        _write_json(answer)
    elif file_format == "csv":
        write_csv(rows, columns)
    elif file_format == "parquet":
        import pyarrow as pa  # heavy, and perhaps not installed

        flat = [{name: _plain(row.get(name)) for name in columns} for row in rows]
        write_parquet(pa.Table.from_pylist(flat) if flat else pa.table({n: [] for n in columns}))
    else:
        write_table(columns, [[_to_cell(row.get(name), name) for name in columns] for row in rows])
    return DONE if rows else NOTHING


def check_columns(rows: Rows, columns: Sequence[str]) -> None:
    """Refuse a column that no row has.

    Raises:
        CommandFailed: There is one.
    """
    known = {name for row in rows for name in row}
    for name in columns:
        if rows and name not in known:
            raise CommandFailed(
                f"Unknown column {name!r}: expected some of {', '.join(sorted(known))}", USAGE
            )


def _write_json(answer: object) -> None:
    """Write one JSON value; what could do something to a terminal is escaped."""
    text = json.dumps(answer, ensure_ascii=False, indent=2)
    sys.stdout.write(_RISKY.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def write_csv(rows: Rows, columns: Sequence[str]) -> None:
    """Write a line of names, then one a record; what is no plain value is JSON text.

    A text that a spreadsheet would take for a formula has an apostrophe before it. On a terminal
    control characters are shown, not sent.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_guarded(_plain(row.get(name))) for name in columns])
    text = buffer.getvalue()
    if sys.stdout.isatty():
        text = "\n".join(map(show, text.split("\n")))
    sys.stdout.write(text)


def write_parquet(table: Any) -> None:
    """Write a table of Arrow.

    Raises:
        CommandFailed: The output is a terminal.
    """
    refuse_terminal()
    import pyarrow.parquet as pq  # heavy, and perhaps not installed

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    sys.stdout.buffer.write(buffer.getbuffer())


def refuse_terminal() -> None:
    """Refuse to write what is no text to a terminal.

    Raises:
        CommandFailed: The output is one.
    """
    if sys.stdout.isatty():
        raise CommandFailed("Parquet is no text: send it to a file with > FILE", USAGE)


def _to_cell(value: object, name: str) -> str:
    """Write a value as one short line for a table; times to the second on a terminal."""
    if name.endswith("_time") and isinstance(value, str) and sys.stdout.isatty():
        return value[:_SECONDS].replace("T", " ")
    if value is None or value in ("", {}, []):
        return "-"
    if name == "cost" and isinstance(value, float):
        return write_cost(value)
    if isinstance(value, Mapping):
        text = ", ".join(
            f"{name}={_short(item)}" for name, item in value.items() if item is not None
        )
    elif isinstance(value, list):
        text = ", ".join(map(_short, value))
    else:
        text = _short(value)
    return text[:_CELL_CHARS] + ("…" if len(text) > _CELL_CHARS else "")


def _short(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)[: _CELL_CHARS + 1]
    return str(value)


def _plain(value: object) -> object:
    """Return what a cell of a file holds: a plain value, or JSON text."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _guarded(value: object) -> object:
    if isinstance(value, str) and _FORMULA.match(value):
        return f"'{value}"
    return value
