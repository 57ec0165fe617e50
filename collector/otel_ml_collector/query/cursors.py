"""Cursors: where a list goes on. They name a run, so they stay true while runs are written."""

import base64
import binascii
import re
from typing import Final

import orjson

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.store.runs import Key

_TRACE_ID: Final = re.compile("[0-9a-f]{32}")
_SPAN_ID: Final = re.compile("[0-9a-f]{16}")


def write_cursor(key: Key) -> str:
    """Write the cursor that continues behind a run."""
    content = orjson.dumps([key.start_ns, key.trace_id, key.span_id])
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def read_cursor(text: str) -> Key:
    """Read a cursor.

    Raises:
        BadQuery: The text is no cursor that `write_cursor` made.
    """
    try:
        padded = text + "=" * (-len(text) % 4)
        start_ns, trace_id, span_id = orjson.loads(base64.urlsafe_b64decode(padded))
        fits = (
            isinstance(start_ns, int)
            and abs(start_ns) < 2**63  # int64
            and _TRACE_ID.fullmatch(trace_id)
            and _SPAN_ID.fullmatch(span_id)
        )
    except (ValueError, TypeError, binascii.Error):
        fits = None
    if not fits:
        raise BadQuery(
            f"Invalid cursor {text[:80]!r}: expected a next_cursor of an answer", "cursor"
        )
    return Key(start_ns, trace_id, span_id)
