"""Cursors: where a list goes on. They name a record, so they stay true while others are written."""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any, Final

import orjson

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.store.runs import Key

_TRACE_ID: Final = re.compile("[0-9a-f]{32}")
_SPAN_ID: Final = re.compile("[0-9a-f]{16}")
_WORDS: Final = {"cursor": "next_cursor of an answer", "obj_id": "obj_id of an answer"}


def write_cursor(key: Key) -> str:
    """Write the cursor that continues behind a run."""
    return write_place([key.start_ns, key.trace_id, key.span_id])


def read_cursor(text: str) -> Key:
    """Read a cursor.

    Raises:
        BadQuery: The text is no cursor that `write_cursor` made.
    """
    try:
        start_ns, trace_id, span_id = read_place(text, "cursor")
        fits = (
            isinstance(start_ns, int)
            and abs(start_ns) < 2**63  # int64
            and _TRACE_ID.fullmatch(trace_id)
            and _SPAN_ID.fullmatch(span_id)
        )
    except (ValueError, TypeError):
        fits = None
    if not fits:
        raise BadQuery(
            f"Invalid cursor {text[:80]!r}: expected a next_cursor of an answer", "cursor"
        )
    return Key(start_ns, trace_id, span_id)


def write_place(parts: Sequence[str | int]) -> str:
    """Write what names a record as one word."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def read_place(text: str, field: str) -> list[Any]:
    """Read what `write_place` wrote; its parts are to be checked.

    Raises:
        BadQuery: The text is no such word; `field` names the parameter.
    """
    try:
        padded = text + "=" * (-len(text) % 4)
        parts = orjson.loads(base64.urlsafe_b64decode(padded))
    except (ValueError, binascii.Error):
        parts = None
    if not isinstance(parts, list):
        raise BadQuery(f"Invalid {field} {text[:80]!r}: expected a {_WORDS[field]}", field)
    return parts
