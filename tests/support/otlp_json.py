"""OTLP/JSON of protobuf messages, which differs from protobuf's JSON: ids are hex."""

import base64
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

_IDS: Final = frozenset({"traceId", "spanId", "parentSpanId"})


def to_otlp_json(message: Message) -> dict[str, Any]:
    """Return a message as OTLP/JSON: ids in hex, enums as numbers."""
    written: dict[str, Any] = _in_hex(MessageToDict(message, use_integers_for_enums=True))
    return written


def _in_hex(found: Any) -> Any:
    if isinstance(found, list):
        return [_in_hex(item) for item in found]
    if not isinstance(found, dict):
        return found
    return {
        key: base64.b64decode(item).hex() if key in _IDS else _in_hex(item)
        for key, item in found.items()
    }
