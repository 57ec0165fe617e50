"""Spans that the SDK did not create."""

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from tests.unit.otel_ml.export.official import CONTEXT, RESOURCE


class Foreign(ReadableSpan):
    """A span that does not use the SDK's private attributes."""

    def __init__(self, **parts: Any) -> None:
        self.parts = parts

    context = property(lambda self: self.parts.get("context", CONTEXT))
    parent = property(lambda self: self.parts.get("parent"))
    name = property(lambda self: self.parts.get("name", "foreign"))
    kind = property(lambda self: self.parts.get("kind", SpanKind.SERVER))
    start_time = property(lambda self: self.parts.get("start_time", 1))
    end_time = property(lambda self: self.parts.get("end_time", 2))
    attributes = property(lambda self: self.parts.get("attributes", {}))
    events = property(lambda self: self.parts.get("events", ()))
    links = property(lambda self: self.parts.get("links", ()))
    status = property(lambda self: self.parts.get("status", Status(StatusCode.OK)))
    resource = property(lambda self: self.parts.get("resource", RESOURCE))
    instrumentation_scope = property(lambda self: self.parts.get("scope"))
    dropped_attributes = property(lambda self: self.parts.get("dropped_attributes", 0))
    dropped_events = property(lambda self: self.parts.get("dropped_events", 0))
    dropped_links = property(lambda self: self.parts.get("dropped_links", 0))

    def get_span_context(self) -> SpanContext:
        found: SpanContext = self.context
        return found
