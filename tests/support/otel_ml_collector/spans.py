"""Small builders of spans, independent of the wire format."""

import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.records import Records, Run
from otel_ml_collector.span import Event, Scope, Span, Value
from otel_ml_collector.times import HOUR_NS, to_rfc3339

# 2026-11-20T07:00:00Z: the clock of every test that does not need the real one.
NOW_NS: Final = 1_795_158_000 * 10**9
SECOND_NS: Final = 10**9
MS_NS: Final = 10**6
DAY_NS: Final = 86_400 * SECOND_NS
SCOPE: Final = Scope({}, "tests", "1", {})


def hours_ago(hours: int) -> str:
    """Return a time by the real clock, for records that are only accepted while recent."""
    return to_rfc3339(time.time_ns() - hours * HOUR_NS)


def trace_id(number: int) -> bytes:
    return number.to_bytes(16)


def span_id(number: int) -> bytes:
    return number.to_bytes(8)


def make_span(
    name: str = "call", attributes: Mapping[str, Value] | None = None, **fields: Any
) -> Span:
    """Make a span of 1 ms that starts now, with new ids."""
    span: dict[str, Any] = {
        "trace_id": secrets.token_bytes(16),
        "span_id": secrets.token_bytes(8),
        "parent_span_id": b"",
        "name": name,
        "kind": 1,
        "start_ns": NOW_NS,
        "status_code": 0,
        "status_message": "",
        "attributes": attributes or {},
        "events": [],
        "links": [],
        "scope": SCOPE,
        **fields,
    }
    return Span(**{"end_ns": span["start_ns"] + MS_NS, **span})


def make_call(
    model: str = "answer", attributes: Mapping[str, Value] | None = None, **fields: Any
) -> Span:
    """Make the span of a model call in otel-ml's dialect."""
    return make_span(model, {"otel_ml.model.name": model, **(attributes or {})}, **fields)


def make_record(
    record: str, target: Span, attributes: Mapping[str, Value] | None = None, **fields: Any
) -> Span:
    """Make an `update` or `evaluation` about the run of a span, as its child."""
    parents = {"trace_id": target.trace_id, "parent_span_id": target.span_id}
    return make_span(record, {"otel_ml.record": record, **(attributes or {})}, **parents | fields)


def make_artifact(ref: str, document: str = "", **told: Value) -> Event:
    """Make an artifact event, with its document or with its hash and size."""
    attributes: dict[str, Value] = {"otel_ml.artifact.ref": ref}
    if document:
        raw = document.encode()
        attributes |= {
            "otel_ml.artifact.json": document,
            "otel_ml.artifact.sha256": hashlib.sha256(raw).hexdigest(),
            "otel_ml.artifact.bytes": len(raw),
        }
    told = {f"otel_ml.artifact.{name}": value for name, value in told.items()}
    at_ns = told.pop("otel_ml.artifact.at_ns", NOW_NS)
    assert isinstance(at_ns, int)
    return Event("otel_ml.artifact", at_ns, {**attributes, **told})


def make_start(run: Span, attributes: Mapping[str, Value] | None = None, **fields: Any) -> Span:
    """Make the `start` record of a run whose span ends it."""
    told: dict[str, Value] = {
        "otel_ml.record": "start",
        "otel_ml.kind": "model",
        "otel_ml.model.name": run.name,
        "otel_ml.target.run": id_of(run),
        "otel_ml.process": "00000001",
    }
    if run.parent_span_id:
        told["otel_ml.parent_span_id"] = run.parent_span_id.hex()
    times = {"start_ns": run.start_ns, "end_ns": run.start_ns}
    parents = {"trace_id": run.trace_id, "parent_span_id": run.span_id}
    return make_span("otel_ml.start", {**told, **(attributes or {})}, **times | parents | fields)


def make_sign(record: str, at_ns: int, process: str = "00000001", **told: Value) -> Span:
    """Make a `heartbeat` or `goodbye` record."""
    attributes: dict[str, Value] = {
        "otel_ml.record": record,
        "otel_ml.process": process,
        **{f"otel_ml.{name}": value for name, value in told.items()},
    }
    return make_span(f"otel_ml.{record}", attributes, start_ns=at_ns, end_ns=at_ns)


def map_all(*spans: Span, project: str | None = None) -> Records:
    """Map spans at the time of the tests' clock."""
    return map_spans(spans, Filing(project, NOW_NS))


def map_one(span: Span) -> Run:
    """Map a span to its only run."""
    (run,) = map_all(span).runs
    return run


def id_of(span: Span) -> str:
    """Return the run id of a span."""
    return f"{span.trace_id.hex()}-{span.span_id.hex()}"
