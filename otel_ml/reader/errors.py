"""Errors of requests to the collector: one class for each way to react."""

import unicodedata
from typing import Final

from otel_ml.notebook import show_unseen

_AROUND: Final = 60  # characters of a filter to show on each side of the error


class ReaderError(Exception):
    """Base class of the errors that a `Reader` raises when a request to the collector fails."""


class Unreachable(ReaderError, ConnectionError):
    """The collector did not respond, or its response was cut off."""


class TimedOut(Unreachable, TimeoutError):
    """The collector did not respond in time."""


class Busy(Unreachable):
    """The collector cannot respond now (HTTP 429 or 503). Try again later."""


class Forbidden(ReaderError, PermissionError):
    """The API key is missing, invalid, or lacks the permission (HTTP 401 or 403)."""


class NotFound(ReaderError, LookupError):
    """There is no such record, or the key may not read its project (HTTP 404)."""


class Refused(ReaderError):
    """The collector rejected the request, and the same request would fail again.

    It is also used for errors of unknown kind.

    Attributes:
        status: HTTP status. 0 if no request was sent.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class BadQuery(ReaderError, ValueError):
    """The collector rejects a parameter, such as a filter. The message shows where the error is.

    Attributes:
        message: What is wrong, and what is expected.
        field: Name of the invalid parameter, such as ``where``. Empty if unknown.
        column: Position of the error in the parameter's text, counted from 0. None if unknown.
        text: The parameter's text as it was sent.
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
        """Return the message. If the place of the error is known, show it below the text."""
        if self.column is None or not self.text:
            return self.message
        return f"{self.message}\n{point_at(self.text, self.column)}"


def point_at(text: str, column: int) -> str:
    """Return the part of a text around a column, with a caret below the column."""
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
