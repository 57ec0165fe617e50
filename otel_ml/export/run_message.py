"""The span of a run as OTLP's Span message; what all runs of a version say is written once.

Byte for byte what `span_message` writes for the same span, at half its cost.
"""

from collections.abc import Mapping
from typing import Any, Final

from otel_ml.export.attribute_field import AttributeField
from otel_ml.export.span_message import (
    ATTRIBUTES_TAG,
    INTERNAL_FIELD,
    LOCAL_PARENT,
    REMOTE_PARENT,
    UNSET_FIELD,
    encode_name,
    encode_span,
    pack_times,
)
from otel_ml.spans import RunSpan

_MOST_KEPT: Final = 1_024
_ATTRIBUTES: Final = AttributeField(ATTRIBUTES_TAG)

# By identity, and so with what keeps the identity from being another's.
_constants: Final[dict[int, tuple[Mapping[str, Any], bytes]]] = {}


def encode_run(span: RunSpan) -> bytes:
    """Write the span of a run; see `encode_span`, which writes those with more than attributes."""
    if not span.is_plain:
        return encode_span(span)
    parent = span.parent
    if parent is None:
        above = LOCAL_PARENT
    else:
        remote = REMOTE_PARENT if parent.is_remote else LOCAL_PARENT
        above = b"\x22\x08" + parent.span_id.to_bytes(8, "big") + remote
    constants = span.constants
    known = _constants.get(id(constants))
    parts = [
        b"\x0a\x10",
        span.trace_id.to_bytes(16, "big"),
        b"\x12\x08",
        span.span_id.to_bytes(8, "big"),
        encode_name(span.name),
        INTERNAL_FIELD,
        pack_times(0x39, span.start_time or 0, 0x41, span.end_time or 0),
        above,
    ]
    _ATTRIBUTES.write(parts, span.variables)
    parts += (_encode_constants(constants) if known is None else known[1], UNSET_FIELD)
    return b"".join(parts)


def _encode_constants(constants: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    _ATTRIBUTES.write(parts, constants)
    if len(_constants) >= _MOST_KEPT:
        _constants.clear()
    written = b"".join(parts)
    _constants[id(constants)] = (constants, written)
    return written
