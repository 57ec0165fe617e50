"""The text of a filter as Python's syntax tree, with the places of its parts in the text."""

import ast
import re
import threading
import warnings
from contextlib import suppress
from typing import Final

from otel_ml_collector.errors import BadQuery

_PARSES: Final = 20
# A text in quotes is one piece, so that nothing in it is a length of time.
_PIECES: Final = re.compile(
    r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
    r"|(?<![\w.])(?P<number>\d{1,9}(?:\.\d{1,9})?)(?P<unit>ms|us|ns|[smhdw])(?![\w.])",
    re.ASCII | re.DOTALL,
)
UNITS_NS: Final = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86_400 * 10**9,
    "w": 7 * 86_400 * 10**9,
}
# An unknown escape such as that of "\d" is a warning to Python, and a regular expression here.
_WARNED: Final = threading.Lock()


def bad(message: str, column: int) -> BadQuery:
    """Make the error that points at a column of the filter."""
    return BadQuery(message, "where", column)


class Source:
    """An expression and where its parts are.

    Raises:
        BadQuery: The text is no expression of Python.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self._indent = len(text) - len(text.lstrip())
        self._lines = self.text.splitlines(keepends=True)
        self._lengths_ns: dict[int, int] = {}
        try:
            self.expression = _parse(_PIECES.sub(self._take_length, self.text))
        except SyntaxError as error:
            message = f"This is no expression: {error.msg}"
            raise bad(message, self._place_of(error)) from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise bad("This is no expression", 0) from error

    def column(self, node: ast.expr) -> int:
        """Say where a part begins: the syntax tree counts bytes, the user characters."""
        line = self._lines[node.lineno - 1]
        head = line.encode()[: node.col_offset].decode("utf-8", "ignore")
        return self._indent + sum(map(len, self._lines[: node.lineno - 1])) + len(head)

    def length_ns(self, node: ast.expr) -> int | None:
        """Return the length of time that a constant is, None when it is another constant."""
        return self._lengths_ns.get(self.column(node) - self._indent)

    def _take_length(self, match: re.Match[str]) -> str:
        """Note a length such as ``1.5s``, and put a number as long as it in its place."""
        if match["unit"] is None:
            return match[0]
        self._lengths_ns[match.start()] = round(float(match["number"]) * UNITS_NS[match["unit"]])
        return "0" * len(match[0])

    def shown(self, node: ast.expr) -> str:
        """Return a part as it is written, cut."""
        return (self.whole(node) or "something else")[:40]

    def whole(self, node: ast.expr) -> str:
        """Return a part as it is written."""
        return ast.get_source_segment(self.text, node) or ""

    def _place_of(self, error: SyntaxError) -> int:
        """Say where a mistake is; what is missing at the end is missing there."""
        if not error.offset or error.offset < 0:
            return self._indent + len(self.text)
        above = sum(map(len, self._lines[: (error.lineno or 1) - 1]))
        return self._indent + min(above + error.offset - 1, len(self.text))


def _parse(text: str) -> ast.expr:
    if "\\" not in text:
        return _parse_again(text)
    with _WARNED, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _parse_again(text)


def _parse_again(text: str) -> ast.expr:
    """Parse an expression, again when another thread that parses has disturbed it.

    Some versions of Python count the depth of both threads' trees in one place, and raise
    `SystemError` for it: https://github.com/python/cpython/issues/106905
    """
    for _ in range(_PARSES):
        with suppress(SystemError):
            return ast.parse(text, mode="eval").body
    return ast.parse(text, mode="eval").body
