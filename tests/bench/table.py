"""Markdown tables as used in the docs, and whether a figure reaches its floor."""

from collections.abc import Sequence


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print an aligned table, followed by an empty line."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, ["-" * width for width in widths], *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print(f"| {' | '.join(cells)} |")
    print(flush=True)


def verdict(reached: bool) -> str:
    """Return whether a floor is reached, as text: a benchmark never fails."""
    return "ok" if reached else "falls short"
