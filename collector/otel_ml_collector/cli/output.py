"""Writes records as a table, JSON, CSV or Parquet, on the standard output.

A table on a terminal is fitted to it, by rich where that is installed; anywhere else each column
is as wide as its widest cell, and nothing is left out. A file is there when it is whole.
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

Rows = Sequence[Mapping[str, Any]]

_FORMATS: Final = ("table", "json", "csv", "parquet")
_FORMULA: Final = re.compile(r"[=+\-@\t\r]")
# Control characters that JSON allows in a string as they are, and bidirectional ones.
_RISKY: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CELL_CHARS: Final = 200
_DIGITS: Final = 6
_NUMBER: Final = frozenset("0123456789.-+e")
_NO_VALUE: Final = "-"
_GAP: Final = 2
_NARROW: Final = 12
_ID_CHARS: Final = 16


@dataclass(frozen=True, slots=True)
class Layout:
    """How records are shown.

    Attributes:
        kind: table, json, csv or parquet.
        columns: Which, in which order; empty for the usual ones.
    """

    kind: str
    columns: tuple[str, ...]


def with_form(command: Command) -> Command:
    """Give a command how records are shown, as ``form``."""
    options: list[Command] = [
        click.option("--format", "kind", type=click.Choice(_FORMATS), default="table"),
        click.option("--json", "kind", flag_value="json", help="the same as --format json"),
        click.option("--columns", metavar="A,B", default="", help="these, in this order"),
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
    """Write records; returns the exit status.

    Args:
        rows: A record for each line of a table.
        answer: The answer of the API that they are from, which is what JSON is.
        form: How.
        usual: The columns, in their order, when none are named.
        first_to_go: Usual columns that a terminal is not shown when they are empty, or
            one after the other when they have no room.

    Raises:
        CommandFailed: A column is unknown, or bytes would go to a terminal.
    """
    columns = form.columns or tuple(usual) or tuple(rows[0] if rows else ())
    check_columns(rows, columns)
    if form.kind == "json":
        _write_json(answer)
    elif form.kind == "csv":
        write_csv(rows, columns)
    elif form.kind == "parquet":
        import pyarrow as pa  # heavy, and perhaps not installed

        flat = [{name: _plain(row.get(name)) for name in columns} for row in rows]
        write_parquet(pa.Table.from_pylist(flat) if flat else pa.table({n: [] for n in columns}))
    else:
        cells = [[_to_cell(row.get(name), name) for name in columns] for row in rows]
        write_table(columns, cells, () if form.columns else first_to_go)
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
    """Write a value as JSON; characters that could act on a terminal are escaped."""
    text = json.dumps(answer, ensure_ascii=False, indent=2)
    sys.stdout.write(_RISKY.sub(lambda entry: f"\\u{ord(entry[0]):04x}", text) + "\n")


def write_csv(rows: Rows, columns: Sequence[str]) -> None:
    """Write a line of names, then a line for each record; values that are not plain are JSON text.

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
        text = "\n".join(map(show_unseen, text.split("\n")))
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
    """Refuse to write binary data to a terminal.

    Raises:
        CommandFailed: The output is one.
    """
    if sys.stdout.isatty():
        raise CommandFailed("Parquet is no text: send it to a file with > FILE", USAGE)


def write_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], first_to_go: Sequence[str] = ()
) -> None:
    """Write a head and rows of as many cells; nothing in them does anything to a terminal.

    Columns that are `first_to_go` are not shown on a terminal when they are empty, and go first
    where it is too narrow; when there are none the last ones go.
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
    from rich.console import Console  # takes 0.1 s, which who writes to a file need not wait for
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
        table.add_row(*map(Text, cells))  # as Text: no cell is markup
    console.print(table)
    if hidden:
        text = f"this terminal is too narrow for {', '.join(hidden)}: --columns chooses"
        sys.stderr.write(f"otel-ml: {text}\n")


def _fit(
    head: Sequence[str], rows: Sequence[Sequence[str]], room: int, first_to_go: Sequence[str]
) -> tuple[dict[int, int], list[str]]:
    """Choose which columns fit, and how wide they are; also name those that have no room."""
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
    """Cut the id of a run to the part that is its own, by which `otel-ml open` finds it."""
    return cell[-_ID_CHARS:] if name == "run_id" and width < len(cell) else cell


def _width(text: str) -> int:
    """Count the places that a text takes on a terminal."""
    if text.isascii() or find_spec("rich") is None:
        return len(text)
    from rich.cells import cell_len  # only texts that need it wait for it

    return cell_len(text)


def _to_cell(value: object, name: str) -> str:
    """Write a value as a short line for a table; on a terminal how long ago a time was."""
    if name.endswith("_time") and isinstance(value, str) and value and sys.stdout.isatty():
        return f"{ago(from_rfc3339(value, name))} ago"
    if name == "cost" and isinstance(value, float):
        return write_cost(value)
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
    """Return the value of a file's cell: a plain value, or JSON text."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _guarded(value: object) -> object:
    if isinstance(value, str) and _FORMULA.match(value):
        return f"'{value}"
    return value


@contextmanager
def open_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its name when all of it is on disk.

    Raises:
        CommandFailed: It cannot be written.
    """
    from otel_ml.reader import ReaderError  # heavy

    try:
        if path.exists() and not path.is_file():  # such as /dev/null: it is no file to replace
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
