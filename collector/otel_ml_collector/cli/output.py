"""Writes records to standard output as a table, JSON, CSV or Parquet, and writes files.

If rich is installed, a table on a terminal fits the terminal's width. Otherwise each column is as
wide as its widest cell, and all columns are written. A file gets its name only once it is complete.
"""

import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final

import click

from otel_ml.notebook import show_unseen
from otel_ml_collector.cli.failure import DONE, NOTHING, USAGE, CommandFailed
from otel_ml_collector.cli.options import Command, taking
from otel_ml_collector.filter.grammar import split_list
from otel_ml_collector.price import write_cost
from otel_ml_collector.times import ago, from_rfc3339
from otel_ml_collector.web.previews import write_preview

Rows = Sequence[Mapping[str, Any]]

_FORMATS: Final = ("table", "json", "csv", "parquet")
_FORMULA: Final = re.compile(r"[=+\-@\t\r]")
# Characters that JSON may contain unescaped, but that can change what a terminal shows: control
# characters, bidirectional marks and surrogates.
_RISKY: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CELL_CHARS: Final = 200
_DIGITS: Final = 6
_NUMBER: Final = frozenset("0123456789.-+e")
_NO_VALUE: Final = "-"
# Columns with previews of values. A table shows them as the pages do, other formats as JSON.
_PREVIEW_COLUMNS: Final = frozenset(
    {"inputs", "outputs", "inputs_preview", "outputs_preview", "asked", "answered"}
)
_GAP: Final = 2
_NARROW: Final = 12
_ID_CHARS: Final = 16


@dataclass(frozen=True, slots=True)
class Layout:
    """The output format and the columns that the user chose.

    Attributes:
        kind: ``table``, ``json``, ``csv`` or ``parquet``.
        columns: Names of columns in their order; empty for the default columns.
    """

    kind: str
    columns: tuple[str, ...]


def with_form(command: Command) -> Command:
    """Add --format, --json and --columns to a command and pass them as ``form``, a `Layout`."""
    options: list[Command] = [
        click.option(
            "--format",
            "kind",
            type=click.Choice(_FORMATS),
            default="table",
            help="Output format (default: table)",
        ),
        click.option("--json", "kind", flag_value="json", help="Same as --format json"),
        click.option("--columns", metavar="A,B", default="", help="Columns to show, in this order"),
    ]

    def make(taken: dict[str, Any]) -> Layout:
        return Layout(taken["kind"], tuple(split_list(taken["columns"])))

    return taking(options, {"kind", "columns"}, "form", make)(command)


def write_rows(
    rows: Rows,
    answer: Mapping[str, Any],
    form: Layout,
    usual: Sequence[str] = (),
    first_to_go: Sequence[str] = (),
) -> int:
    """Write records to standard output.

    Args:
        rows: One record for each line of a table, CSV or Parquet file.
        answer: The API's answer that contains the records; JSON output is this answer.
        form: The format and columns that the user chose.
        usual: Default columns, in their order. If empty, the keys of the first record.
        first_to_go: Default columns that a table on a terminal hides if they are empty. If the
            terminal is too narrow, they are hidden one by one in this order.

    Returns:
        The exit status: `DONE`, or `NOTHING` without rows.

    Raises:
        CommandFailed: A column is unknown, or Parquet would be written to a terminal.
    """
    columns = form.columns or tuple(usual) or tuple(rows[0] if rows else ())
    check_columns(rows, form.columns)
    if form.kind == "json":
        _write_json(answer)
    elif form.kind == "csv":
        write_csv(rows, columns)
    elif form.kind == "parquet":
        import pyarrow as pa  # heavy and optional

        flat = [{name: _plain(row.get(name)) for name in columns} for row in rows]
        write_parquet(pa.Table.from_pylist(flat) if flat else pa.table({n: [] for n in columns}))
    else:
        cells = [[_to_cell(row.get(name), name) for name in columns] for row in rows]
        write_table(columns, cells, () if form.columns else first_to_go)
    return DONE if rows else NOTHING


def check_columns(rows: Rows, columns: Sequence[str]) -> None:
    """Check that each column exists in at least one row; without rows, nothing is checked.

    Raises:
        CommandFailed: No row has one of the columns.
    """
    known = {name for row in rows for name in row}
    for name in columns:
        if rows and name not in known:
            raise CommandFailed(
                f"Unknown column {name!r}: expected one of {', '.join(sorted(known))}", USAGE
            )


def _write_json(answer: object) -> None:
    """Write a value as JSON. Characters that a terminal could interpret are escaped."""
    text = json.dumps(answer, ensure_ascii=False, indent=2)
    sys.stdout.write(_RISKY.sub(lambda entry: f"\\u{ord(entry[0]):04x}", text) + "\n")


def write_csv(rows: Rows, columns: Sequence[str]) -> None:
    """Write CSV: a line with the names of the columns, then a line for each record.

    Lists and dicts are written as JSON text. Text that a spreadsheet would execute as a formula
    starts with an apostrophe. On a terminal, control characters are written as visible text.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_guarded(_plain(row.get(name))) for name in columns])
    text = buffer.getvalue()
    if sys.stdout.isatty():
        text = "\n".join(map(show_unseen, text.split("\n")))
    sys.stdout.write(text)


def write_parquet(table: Any) -> None:
    """Write an Arrow table to standard output as Parquet.

    Raises:
        CommandFailed: Standard output is a terminal.
    """
    refuse_terminal()
    import pyarrow.parquet as pq  # heavy and optional

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    sys.stdout.buffer.write(buffer.getbuffer())


def refuse_terminal() -> None:
    """Check that binary data would not be written to a terminal.

    Raises:
        CommandFailed: Standard output is a terminal.
    """
    if sys.stdout.isatty():
        raise CommandFailed(
            "Parquet is binary and cannot be shown in a terminal: write it to a file with > FILE",
            USAGE,
        )


def write_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], first_to_go: Sequence[str] = ()
) -> None:
    """Write a table with a header. Control characters in cells are written as visible text.

    Args:
        head: The header's cells.
        rows: The rows below the header, each with as many cells as `head`.
        first_to_go: Less important columns. In a terminal they are left out if all their cells are
            empty, and one after the other, in this order, if the terminal is too narrow. If you
            name none, columns are left out from the right.
    """
    head, rows = [*map(show_unseen, head)], [[*map(show_unseen, row)] for row in rows]
    if sys.stdout.isatty() and find_spec("rich") is not None:
        _write_rich(head, rows, first_to_go)
        return
    table = [head, *rows]
    widths = [max(_width(row[place]) for row in table) for place in range(len(head))]
    for row in table:
        cells = (
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        )
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _write_rich(
    head: Sequence[str], rows: Sequence[Sequence[str]], first_to_go: Sequence[str]
) -> None:
    from rich.console import Console  # takes 0.1 s, so it is only loaded for terminals
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    widths, hidden = _fit(head, rows, console.width, first_to_go)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    for place, width in widths.items():
        is_number = all(_NUMBER.issuperset(row[place]) for row in rows)
        table.add_column(
            Text(head[place]),
            justify="right" if is_number else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=width,
        )
    for row in rows:
        cells = (_shortened(head[place], row[place], width) for place, width in widths.items())
        table.add_row(*map(Text, cells))  # as Text, so that rich does not interpret markup in cells
    console.print(table)
    if hidden:
        text = f"hidden because the terminal is too narrow: {', '.join(hidden)} (use --columns)"
        sys.stderr.write(f"otel-ml: {text}\n")


def _fit(
    head: Sequence[str], rows: Sequence[Sequence[str]], room: int, first_to_go: Sequence[str]
) -> tuple[dict[int, int], list[str]]:
    """Choose the columns that fit a terminal.

    Returns:
        The width of each shown column, by its position, and the names of the columns that have no
        room. Empty columns are hidden without being named.
    """
    natural = [max(map(_width, column)) for column in zip(head, *rows, strict=True)]
    narrow = [
        min(width, _ID_CHARS if name == "run_id" else _NARROW)
        for name, width in zip(head, natural, strict=True)
    ]
    places = [
        place
        for place, name in enumerate(head)
        if name not in first_to_go or not rows or any(row[place] != _NO_VALUE for row in rows)
    ]
    going = [head.index(name) for name in first_to_go] or places[:0:-1]
    hidden = []
    for place in going:
        if place in places and sum(narrow[place] + _GAP for place in places) > room:
            places.remove(place)
            hidden.append(head[place])
    widths = {place: natural[place] for place in places}
    while sum(widths.values()) + _GAP * len(widths) > room and max(widths.values()) > 1:
        loose = [place for place in places if widths[place] > narrow[place]]
        widths[max(loose or places, key=widths.__getitem__)] -= 1
    return widths, hidden


def _shortened(name: str, cell: str, width: int) -> str:
    """Shorten a run ID to its span ID, which `otel-ml open` also accepts."""
    return cell[-_ID_CHARS:] if name == "run_id" and width < len(cell) else cell


def _width(text: str) -> int:
    """Return the width of a text on a terminal, in character cells."""
    if text.isascii() or find_spec("rich") is None:
        return len(text)
    from rich.cells import cell_len  # slow to import, and not needed for ASCII

    return cell_len(text)


def _to_cell(value: object, name: str) -> str:
    """Return a value as short text for a table. On a terminal, times are shown as ages."""
    if name.endswith("_time") and isinstance(value, str) and value and sys.stdout.isatty():
        return f"{ago(from_rfc3339(value, name))} ago"
    if name == "cost" and isinstance(value, float):
        return write_cost(value)
    if name in _PREVIEW_COLUMNS and isinstance(value, str):
        value = write_preview(value)
    if name == "tokens" and isinstance(value, Mapping) and sys.stdout.isatty():
        ways = {"input": "in", "output": "out"}
        value = ", ".join(f"{value[name]} {way}" for name, way in ways.items() if value[name])
    if value is None or value in ("", {}, []):
        return _NO_VALUE
    if isinstance(value, Mapping):
        items = [f"{name}={_short(item)}" for name, item in value.items() if item is not None]
        text = ", ".join(items) or _NO_VALUE
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
    """Return a value for a cell of CSV or Parquet: lists and dicts as JSON text."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _guarded(value: object) -> object:
    if isinstance(value, str) and _FORMULA.match(value):
        return f"'{value}"
    return value


@contextmanager
def open_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that gets its name only when all data is on disk.

    Raises:
        CommandFailed: The file cannot be written.
    """
    from otel_ml.reader import ReaderError  # heavy

    try:
        if path.exists() and not path.is_file():  # a device such as /dev/null must not be replaced
            with path.open("wb") as file:
                yield file
            return
        target = path.resolve()
        part = target.with_name(f".{target.name[:200]}.{os.getpid()}.part")
        try:
            with part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
    except ReaderError:
        raise
    except OSError as error:
        raise CommandFailed(f"The file {path} cannot be written: {error.strerror}") from error
