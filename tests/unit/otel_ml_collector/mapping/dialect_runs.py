"""Helpers for tests of dialects: map a span, and write the expected run."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from otel_ml_collector.records import Metric, Run
from otel_ml_collector.span import Value
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    make_span,
    map_one,
    span_id,
    trace_id,
)

TRACE: Final = trace_id(1)
SPAN: Final = span_id(2)
_RUN_ID: Final = f"{'0' * 31}1-{'0' * 15}2"


def map_call(name: str, attributes: Mapping[str, Value], **fields: Any) -> Run:
    """Map a span with known IDs to a run, without its rank."""
    span = make_span(name, attributes, trace_id=TRACE, span_id=SPAN, **fields)
    return replace(map_one(span), rank=0)


def expect(name: str, attributes: Mapping[str, Value], **fields: Any) -> Run:
    """Return an expected run: a chain with default values, updated with the given fields."""
    said: dict[str, Any] = {
        "project": "default",
        "trace_id": TRACE,
        "span_id": SPAN,
        "parent_span_id": b"",
        "kind": "chain",
        "name": name,
        "span_kind": "internal",
        "model": name,
        "digest": "",
        "structure": "",
        "start_ns": NOW_NS,
        "end_ns": NOW_NS + MS_NS,
        "outcome": "ok",
        "error_type": "",
        "error_message": "",
        "inputs": "",
        "outputs": "",
        "inputs_preview": "",
        "outputs_preview": "",
        "tags": [],
        "session": "",
        "user": "",
        "environment": "",
        "release": "",
        "provider": "",
        "provider_model": "",
        "input_tokens": None,
        "output_tokens": None,
        "cached_tokens": None,
        "reasoning_tokens": None,
        "cache_creation_tokens": None,
        "cost": None,
        "params": "",
        "logs": [],
        "events": "",
        "links": "",
        "resource": "{}",
        "scope": '{"name":"tests","version":"1"}',
        "process": "",
        "seq": 0,
        "rank": 0,
    }
    kept = {key: attributes[key] for key in sorted(attributes)}
    said["attributes"] = json.dumps(kept, separators=(",", ":")) if kept else ""
    return Run(**{**said, **fields})


def expect_score(name: str, value: float | None, **fields: Any) -> Metric:
    """Return an expected judge's score of the run, updated with the given fields."""
    said: dict[str, Any] = {
        "project": "default",
        "owner": _RUN_ID,
        "owner_start_ns": NOW_NS,
        "step": -1,
        "time_ns": NOW_NS + MS_NS,
        "mode": "single",
        "source": "judge",
    }
    return Metric(name=name, value=value, **{**said, **fields})


def without(attributes: Mapping[str, Value], *names: str) -> dict[str, Value]:
    """Return the attributes without those that start with the given names."""
    return {key: value for key, value in attributes.items() if not key.startswith(names)}
