"""Rows of text as columns: by rich on a terminal, as wide as they need where it is none."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

_NUMBER: Final = frozenset("0123456789.-+e")
_GAP: Final = 2
_NARROW: Final = 20


def write_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a head and rows of as many cells; nothing in them does anything to a terminal.

    On a terminal it is as wide as that; ``NO_COLOR`` keeps it without colours. Anywhere else each
    column is as wide as its widest cell, and nothing is left out.
    """
    from otel_ml.reader.errors import show  # takes 0.1 s

    head, rows = [*map(show, head)], [[*map(show, row)] for row in rows]
    if sys.stdout.isatty() and find_spec("rich") is not None:
        _write_rich(head, rows)
        return
    table = [head, *rows]
    widths = [max(_cells(row[place]) for row in table) for place in range(len(head))]
    for row in table:
        cells = (
            cell + " " * (width - _cells(cell)) for cell, width in zip(row, widths, strict=True)
        )
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _cells(text: str) -> int:
    """Count the places that a text takes on a terminal."""
    if text.isascii() or find_spec("rich") is None:
        return len(text)
    from rich.cells import cell_len  # only texts that need it wait for it

    return cell_len(text)


def _write_rich(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # takes 0.1 s, which who writes to a file need not wait for
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    natural = [max(map(_cells, column)) for column in zip(head, *rows, strict=True)]
    widths = _fit(natural, console.width)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    for place, width in enumerate(widths):
        is_number = all(_NUMBER.issuperset(row[place]) for row in rows)
        table.add_column(
            Text(head[place]),
            justify="right" if is_number else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=width,
        )
    for row in rows:
        table.add_row(*map(Text, row[: len(widths)]))  # as Text: no cell is markup
    console.print(table)
    if hidden := head[len(widths) :]:
        text = f"this terminal is too narrow for {', '.join(hidden)}: --columns chooses"
        sys.stderr.write(f"otel-ml: {text}\n")


def _fit(widths: Sequence[int], room: int) -> list[int]:
    """Leave out the last columns until narrow ones fit, then take from the widest."""
    fitted = list(widths)
    while len(fitted) > 1 and sum(min(width, _NARROW) + _GAP for width in fitted) > room:
        fitted.pop()
    while sum(fitted) + _GAP * len(fitted) > room and max(fitted) > 1:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted
