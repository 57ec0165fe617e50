"""A `start` record as the span of the run that it announces, as far as that is known."""

import re
from dataclasses import replace
from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.mapping.late_records import owner_of
from otel_ml_collector.mapping.values import to_text
from otel_ml_collector.span import Span, Value

_TRACE_CHARS: Final = 32
_SPAN_ID: Final = re.compile("[0-9a-f]{16}")
# About the record itself, or what no run has before its end.
_LEFT_OUT: Final = frozenset(
    {names.RECORD, names.TARGET_RUN, names.PARENT_SPAN_ID, names.OUTCOME, names.OUTPUTS}
)


def announced_span(span: Span) -> Span | None:
    """Make the span of the run that a `start` record is about; None when it names no run.

    It begins when the record does and has no length; the preview of the inputs stands for them.
    """
    owner = owner_of(span)
    if owner is None:
        return None
    trace_id = bytes.fromhex(owner[:_TRACE_CHARS])
    span_id = bytes.fromhex(owner[_TRACE_CHARS + 1 :])
    if not any(trace_id) or not any(span_id):
        return None
    told = span.attributes
    attributes: dict[str, Value] = {
        names.KIND: "model",
        **{key: value for key, value in told.items() if key not in _LEFT_OUT},
    }
    if names.INPUTS_PREVIEW in told:
        attributes.setdefault(names.INPUTS, told[names.INPUTS_PREVIEW])
    parent = told.get(names.PARENT_SPAN_ID)
    is_child = isinstance(parent, str) and _SPAN_ID.fullmatch(parent)
    return replace(
        span,
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=bytes.fromhex(to_text(parent)) if is_child else b"",
        name=to_text(told.get(names.MODEL_NAME)) or span.name,
        end_ns=span.start_ns,
        attributes=attributes,
    )
