"""A client that keeps its spans in memory, and helpers that read spans as plain values."""

import json
from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext

from otel_ml import Client
from otel_ml.outlet import Join
from otel_ml.redaction import Redact

# Attributes that differ between test runs or are long; separate tests cover them.
VOLATILE: Final = frozenset(
    {
        "otel_ml.process",
        "otel_ml.seq",
        "otel_ml.latency_ms",
        "otel_ml.model.version",
        "otel_ml.model.output_schema",
        "otel_ml.model.definition",
        "otel_ml.stream.first_chunk_ms",
        "otel_ml.metric.times",
        "otel_ml.target.start_ns",
        "exception.stacktrace",
    }
)


class Recording:
    """A client of project ``shop`` and its recorded spans."""

    def __init__(
        self,
        join: Join = "auto",
        redact: Redact | None = None,
        *,
        capture_hidden: bool | None = None,
    ) -> None:
        self.exporter = InMemorySpanExporter()
        self.client = Client(
            "shop",
            exporter=self.exporter,
            join=join,
            redact=redact,
            capture_hidden=capture_hidden,
        )

    def spans(self) -> list[ReadableSpan]:
        """Return all spans so far, in the order in which they ended."""
        assert self.client.flush()
        return list(self.exporter.get_finished_spans())

    def runs(self) -> list[ReadableSpan]:
        return [span for span in self.spans() if record_kind(span) == "run"]

    def run(self) -> ReadableSpan:
        """Return the only run."""
        [run] = self.runs()
        return run

    def records(self, kind: str) -> list[ReadableSpan]:
        return [span for span in self.spans() if record_kind(span) == kind]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def stable(span: ReadableSpan) -> dict[str, Any]:
    """Return the attributes that are the same in every test run."""
    return {key: item for key, item in attributes(span).items() if key not in VOLATILE}


def events(span: ReadableSpan) -> list[tuple[str, dict[str, Any]]]:
    """Return the events with the attributes that are the same in every test run."""
    return [
        (
            event.name,
            {key: item for key, item in (event.attributes or {}).items() if key not in VOLATILE},
        )
        for event in span.events
    ]


def record_kind(span: ReadableSpan) -> str:
    return str(attributes(span).get("otel_ml.record", "run"))


def inputs(span: ReadableSpan) -> Any:
    return json.loads(attributes(span)["otel_ml.inputs"])


def outputs(span: ReadableSpan) -> Any:
    return json.loads(attributes(span)["otel_ml.outputs"])


def judged(span: ReadableSpan) -> Any:
    """Return the judges' results without their latency."""
    details = json.loads(attributes(span)["otel_ml.judges"])
    for detail in details.values():
        detail.pop("latency_ms", None)
    return details


def told_judges(spans: Sequence[ReadableSpan]) -> list[tuple[str, str, Any]]:
    """Return name, version and definition of each judge in the records about judges."""
    told = [attributes(span) for span in spans if "otel_ml.target.kind" in attributes(span)]
    assert all(one["otel_ml.target.kind"] == "judge" for one in told)
    return [
        (
            one["otel_ml.target.model"],
            one["otel_ml.target.version"],
            json.loads(one["otel_ml.model.definition"]),
        )
        for one in told
    ]


def context(span: ReadableSpan) -> SpanContext:
    assert isinstance(span.context, SpanContext)
    return span.context


def span_id(span: ReadableSpan) -> int:
    return context(span).span_id


def trace_id(span: ReadableSpan) -> int:
    return context(span).trace_id


def parent_id(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id
