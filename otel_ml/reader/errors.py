"""Errors of questions to the collector: a class for each thing to do about it."""

import unicodedata
from typing import Final

from otel_ml.notebook import show_unseen

_AROUND: Final = 60  # characters of a filter on either side of what is wrong


class ReaderError(Exception):
    """Anything that keeps a question from being answered."""


class Unreachable(ReaderError, ConnectionError):
    """There was no answer, or it broke off."""


class TimedOut(Unreachable, TimeoutError):
    """There was no answer in time."""


class Busy(Unreachable):
    """The collector cannot answer now (429, 503): ask again later."""


class Forbidden(ReaderError, PermissionError):
    """A key is needed, is not valid, or may not do this (401, 403)."""


class NotFound(ReaderError, LookupError):
    """There is no such record, or the key may not read its project (404)."""


class Refused(ReaderError):
    """The collector refuses the request for good, or has failed in a way that has no other name.

    Attributes:
        status: Of HTTP.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class BadQuery(ReaderError, ValueError):
    """The question makes no sense; the text shows where.

    Attributes:
        message: What is wrong, and what would be right.
        field: The parameter that is wrong, such as ``where``; empty when nobody knows.
        column: Where in its text, counted from 0; None when nobody knows.
        text: The parameter's text as it was asked.
    """

    def __init__(
        self, message: str, field: str = "", column: int | None = None, text: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.column = column
        self.text = text

    def __str__(self) -> str:
        """Return the message, and where the place is known show it below the text."""
        if self.column is None or not self.text:
            return self.message
        return f"{self.message}\n{point_at(self.text, self.column)}"


def point_at(text: str, column: int) -> str:
    """Write the part of a text around a column, and a caret below it."""
    first = max(column - _AROUND, 0)
    before, after = show_unseen(text[first:column]), show_unseen(text[column : column + _AROUND])
    head = "…" if first else ""
    tail = "…" if len(text) > column + _AROUND else ""
    width = sum(map(_cells, head + before))
    return f"  {head}{before}{after}{tail}\n  {' ' * width}^"


def _cells(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
