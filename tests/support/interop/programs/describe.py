"""A span as JSON, read by nothing but what every span has; answers of a program."""

import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

Facts = dict[str, Any]


def describe(span: ReadableSpan) -> Facts:
    """Read all that an exporter reads."""
    context, scope, parent = span.context, span.instrumentation_scope, span.parent
    assert context is not None
    return {
        "type": type(span).__name__,
        "name": span.name,
        "kind": span.kind.name,
        **describe_context(context),
        "parent": None if parent is None else describe_context(parent),
        "start_ns": span.start_time,
        "end_ns": span.end_time,
        "status": describe_status(span),
        "attributes": listed(span.attributes),
        "events": [
            {
                "name": event.name,
                "time_ns": event.timestamp,
                "attributes": listed(event.attributes),
                "dropped": getattr(event.attributes, "dropped", 0),
            }
            for event in span.events
        ],
        "links": [
            {
                **describe_context(link.context),
                "attributes": listed(link.attributes),
                "dropped": getattr(link.attributes, "dropped", 0),
            }
            for link in span.links
        ],
        "dropped": [span.dropped_attributes, span.dropped_events, span.dropped_links],
        "resource": listed(span.resource.attributes),
        "scope": None if scope is None else [scope.name, scope.version],
        "scope_attributes": listed(getattr(scope, "attributes", None)),
    }


def describe_context(context: SpanContext) -> Facts:
    """Read ids, flags and state."""
    return {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "flags": int(context.trace_flags),
        "remote": context.is_remote,
        "state": dict(context.trace_state),
    }


def describe_status(span: ReadableSpan) -> list[str | None]:
    """Read code and description."""
    return [span.status.status_code.name, span.status.description]


def listed(attributes: Any) -> Facts:
    """Copy attributes; what JSON has not becomes its text."""
    copy: Facts = json.loads(json.dumps(dict(attributes or {}), default=str))
    return copy


def answer(*cases: Callable[[], object]) -> None:
    """Run cases; print what each returned by its name, and the traceback of each that raised."""
    found, raised = {}, {}
    for case in cases:
        try:
            found[case.__name__] = case()
        except Exception:  # noqa: BLE001 - it fails the tests of that case alone
            raised[case.__name__] = traceback.format_exc()
    sys.stdout.write(f"\n{json.dumps({'found': found, 'raised': raised})}\n")
