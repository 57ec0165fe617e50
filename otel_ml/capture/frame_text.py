"""Writes the first rows of a pandas frame or series as pandas prints them, but much faster.

pandas needs about a millisecond for a frame of one row and eight columns. This module writes the
usual layout only: default options, indexes of integers without names, and columns of numbers and
short texts. Before the first frame it compares its texts with those of the installed pandas. If
they differ, and for all other frames and series, pandas prints.
"""

import functools
import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

_USUAL: Final = {
    "display.precision": 6,
    "display.float_format": None,
    "display.chop_threshold": None,
    "display.max_colwidth": 50,
    "display.max_columns": 0,  # 0: as many as fit into the terminal
    "display.max_rows": 60,
    "display.expand_frame_repr": True,
    "display.colheader_justify": "right",
    "display.show_dimensions": "truncate",
    "display.large_repr": "truncate",
    "display.unicode.east_asian_width": False,
}
_DECIMAL_PLACES: Final = 6
_LARGE: Final = 1e6
_SMALL: Final = 1e-6
_FLOAT_CHARS: Final = 12  # longer large numbers are written with exponents
_FLOAT_BYTES: Final = frozenset({4, 8})
_WIDEST_CELL: Final = 50
_ESCAPED: Final = frozenset("\n\r\t")


class _FrameStyle(NamedTuple):
    """How a version of pandas prints a frame that is wider than the terminal.

    Attributes:
        dots_chars: Number of characters that it reserves for the dots.
        moves_heads: Whether the position decides if a head starts with a space. If so, the head of
            the third printed column gets one if the third column of the frame contains numbers,
            even if that column is not printed.
    """

    dots_chars: int
    moves_heads: bool


_STYLES: Final = (_FrameStyle(5, False), _FrameStyle(0, True))  # pandas 3.1 and newer, older


class ColumnText(NamedTuple):
    """The cells of a pandas column as texts, before they are padded to the same width.

    Attributes:
        cells: One text per row.
        is_number: Whether the column contains numbers or booleans.
    """

    cells: list[str]
    is_number: bool


def write_frame(
    names: Sequence[object], columns: Sequence[ColumnText], index: Sequence[int]
) -> str | None:
    """Return the text that ``str(frame)`` returns for a pandas frame, but faster than pandas.

    Args:
        names: Name of each column.
        columns: The cells of each column. There must be at least one column and one row.
        index: Label of each row.

    Returns:
        The text. None if only pandas can write it, for example because its display options were
        changed.
    """
    if not _has_usual_options():
        return None
    style = _find_style()
    return None if style is None else _write(names, columns, index, style)


def write_series(
    name: str | None, column: ColumnText, index: Sequence[int], dtype: str
) -> str | None:
    """Return the text that ``str(series)`` returns for a pandas series, but faster than pandas.

    Args:
        name: Name of the series. None if it has none.
        column: The values, at least one.
        index: Label of each value.
        dtype: Element type of the series, such as ``float64``.

    Returns:
        The text. None if only pandas can write it, for example because its display options were
        changed.
    """
    if not _has_usual_options() or _find_style() is None:
        return None
    return _write_series(name, column, index, dtype)


def _has_usual_options() -> bool:
    option = sys.modules["pandas"].get_option
    return all(option(name) == usual for name, usual in _USUAL.items())


def write_numbers(block: Any) -> Sequence[ColumnText | None] | None:
    """Convert columns of numbers or booleans to texts as pandas prints them.

    Args:
        block: NumPy array in which each row is a column of the pandas frame.

    Returns:
        The texts of each column. None if only pandas can convert them.
    """
    kind = block.dtype.kind
    if kind == "b":
        return [ColumnText([f" {cell}" for cell in column], True) for column in block.tolist()]
    if kind in "iu":
        return [ColumnText([f"{cell: d}" for cell in column], True) for column in block.tolist()]
    if kind != "f" or block.dtype.itemsize not in _FLOAT_BYTES:
        return None
    sizes = abs(block)
    have_large = (sizes > _LARGE).any(axis=1).tolist()
    have_small = ((sizes < _SMALL) & (sizes > 0)).any(axis=1).tolist()
    return [
        ColumnText(_write_floats(column, has_large, has_small), True)
        for column, has_large, has_small in zip(block.tolist(), have_large, have_small, strict=True)
    ]


def _write_floats(cells: list[float], has_large: bool, has_small: bool) -> list[str]:
    texts = [f"{cell: .6f}" if cell == cell else "NaN" for cell in cells]  # noqa: PLR0124 - NaN
    numbers = [text for text in texts if text[-1].isdigit()]  # neither infinity nor NaN
    zeros = min((len(text) - len(text.rstrip("0")) for text in numbers), default=0)
    if zeros:
        end = -min(zeros, _DECIMAL_PLACES - 1)  # keep one zero
        texts = [text[:end] if text[-1].isdigit() else text for text in texts]
    if has_small or (has_large and max(map(len, texts)) > _FLOAT_CHARS):
        return [f"{cell: .6e}" if cell == cell else "NaN" for cell in cells]  # noqa: PLR0124
    return texts


def write_texts(cells: Sequence[object]) -> ColumnText | None:
    """Write a column of texts, in which cells may be missing; None if only pandas can write it."""
    texts = []
    for cell in cells:
        kind = type(cell)
        if kind is str:
            if not _ESCAPED.isdisjoint(cell):  # type: ignore[arg-type]  # just checked
                return None
            texts.append(f" {cell}")
        elif cell is None:
            texts.append(" None")
        elif kind is float and cell != cell:  # noqa: PLR0124 - NaN
            texts.append(" NaN")
        else:
            return None
    return ColumnText(texts, False)


def _write(
    names: Sequence[object], columns: Sequence[ColumnText], index: Sequence[int], style: _FrameStyle
) -> str | None:
    """Arrange the columns. Leave some out in the middle if they do not fit into the terminal."""
    if any(type(name) is not str or not _ESCAPED.isdisjoint(name) for name in names):
        return None
    width = _read_terminal_width()
    if len(columns) > width:
        return None
    listed = [["", *_write_index(index)], *_align(names, columns, columns)]
    widths = [max(map(len, texts)) for texts in listed]
    left = width - sum(widths) - len(widths)
    kept = len(columns)
    if left < 0:
        left -= style.dots_chars
        while left < 0 and len(widths) > 1:
            left += widths.pop(round(len(widths) / 2)) + 1
        kept = max(len(widths) - 1, 2)
    ending = ""
    if kept < len(columns):
        half = kept // 2
        if style.moves_heads:
            ends = [*columns[:half], *columns[-half:]]
            listed[1:] = _align([*names[:half], *names[-half:]], ends, columns)
        listed = [*listed[: half + 1], [" ..."] * len(listed[0]), *listed[-half:]]
        ending = f"\n\n[{len(index)} rows x {len(columns)} columns]"
    *before, last = listed
    padded = [_pad(texts, max(map(len, texts)) + 1) for texts in before]
    padded.append(_pad(last, max(map(len, last))))
    return "\n".join(map("".join, zip(*padded, strict=True))) + ending


def _read_terminal_width() -> int:
    import shutil  # pandas needs it anyway; loading it without pandas would slow down start-up

    return shutil.get_terminal_size().columns


def _write_series(
    name: str | None, column: ColumnText, index: Sequence[int], dtype: str
) -> str | None:
    if name is not None and not _ESCAPED.isdisjoint(name):
        return None
    labels = _write_index(index)
    labels = _pad(labels, len(labels[0]) + 3)
    [[_, *cells]] = _align([""], [column], [ColumnText([], False)])
    ending = f"dtype: {dtype}" if name is None else f"Name: {name}, dtype: {dtype}"
    return "\n".join([*map("".join, zip(labels, cells, strict=True)), ending])


def _write_index(index: Sequence[int]) -> list[str]:
    texts = [f"{label: d}" for label in index]
    if all(text[0] == " " for text in texts):
        texts = [text[1:] for text in texts]
    return _pad(texts, max(map(len, texts)))


def _align(
    names: Sequence[object], columns: Sequence[ColumnText], spaced: Sequence[ColumnText]
) -> list[list[str]]:
    """Return the head and the cells of each column, aligned right. Long cells are cut.

    A head starts with a space if the column at the same position in `spaced` contains numbers.
    """
    heads = [f" {name}" for name in names]
    while all(heads) and all(head[0] == " " for head in heads):
        heads = [head[1:] for head in heads]
    aligned = []
    for head, column, other in zip(heads, columns, spaced, strict=False):
        cells = column.cells
        if max(map(len, cells)) > _WIDEST_CELL:
            cut = _WIDEST_CELL - 3
            cells = [cell if len(cell) <= _WIDEST_CELL else f"{cell[:cut]}..." for cell in cells]
        texts = [f" {head}" if other.is_number else head, *cells]
        width = min(max(map(len, texts)), _WIDEST_CELL)
        aligned.append([text.rjust(width) for text in texts])
    return aligned


def _pad(texts: list[str], width: int) -> list[str]:
    return [text.ljust(width) for text in texts]


@functools.cache
def _find_style() -> _FrameStyle | None:
    """Compare this module with the installed pandas. None if it prints in neither style."""
    pandas: Any = sys.modules["pandas"]
    width = _read_terminal_width()
    nan, infinite = float("nan"), float("inf")
    frames = [
        pandas.DataFrame(
            {
                "small": [1e-7, -1.0, nan],
                "large": [1.0, 2.5e8, 2 / 3],
                "trimmed": [100.5, infinite, nan],
                "text": ["a", "b" * 60, None],
                "flag": [True, False, True],
            },
            index=[7, -1, 12],
        ),
        pandas.DataFrame({"n" * 60: [0.0, 2.0], "count": [-3, 20]}),
    ]
    # so many narrow columns that some do not fit
    for number in range(width // 3, width // 3 + 6):
        cells = {chr(ord("a") + place): [place if place % 3 else "x"] for place in range(number)}
        frames += [pandas.DataFrame(cells), pandas.DataFrame(cells).add_prefix(" " * (number % 3))]
    columns = [frames[0][name].rename(None) for name in frames[0]]
    if not all(_write_whole_series(column) == str(column) for column in columns):
        return None
    for style in _STYLES:
        if all(_write_whole(frame, style) == str(frame) for frame in frames):
            return style
    return None


def _write_whole(frame: Any, style: _FrameStyle) -> str | None:
    columns = [_write_column(frame.iloc[:, place]) for place in range(frame.shape[1])]
    written = [column for column in columns if column is not None]
    if len(written) < len(columns):
        return None
    return _write([*frame.columns], written, frame.index.tolist(), style)


def _write_whole_series(series: Any) -> str | None:
    column = _write_column(series)
    if column is None:
        return None
    return _write_series(series.name, column, series.index.tolist(), series.dtype.name)


def _write_column(series: Any) -> ColumnText | None:
    values = series.to_numpy()
    [column] = write_numbers(values.reshape(1, -1)) or [write_texts(values.tolist())]
    return column
