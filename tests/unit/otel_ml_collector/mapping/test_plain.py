"""Tests of the fields that are read from every OpenTelemetry span."""

from dataclasses import replace
from typing import Any

import pytest

from otel_ml_collector.records import Records, Run, TraceKey
from otel_ml_collector.span import Event, Scope, Span, Value
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    make_span,
    map_all,
    map_one,
    span_id,
    trace_id,
)


def test_plain_span() -> None:
    """A span that is not a model call becomes a run of kind span, without a version or score."""
    span = make_span(
        "GET /answer", {"http.route": "/answer"}, trace_id=trace_id(1), span_id=span_id(2), kind=2
    )
    records = map_all(span, project="shop")
    (run,) = records.runs
    assert replace(run, rank=0) == Run(
        project="shop",
        trace_id=trace_id(1),
        span_id=span_id(2),
        parent_span_id=b"",
        kind="span",
        name="GET /answer",
        span_kind="server",
        model="",
        digest="",
        structure="",
        start_ns=NOW_NS,
        end_ns=NOW_NS + MS_NS,
        outcome="ok",
        error_type="",
        error_message="",
        inputs="",
        outputs="",
        inputs_preview="",
        outputs_preview="",
        tags=[],
        session="",
        user="",
        environment="",
        release="",
        provider="",
        provider_model="",
        input_tokens=None,
        output_tokens=None,
        cached_tokens=None,
        reasoning_tokens=None,
        cost=None,
        params="",
        logs=[],
        events="",
        links="",
        attributes='{"http.route":"/answer"}',
        resource="{}",
        scope='{"name":"tests","version":"1"}',
        dialect="opentelemetry",
        process="",
        seq=0,
        rank=0,
    )
    assert records == Records(
        runs=[run],
        trace_keys=[
            TraceKey(f"{'0' * 31}1", "shop", trace_id(1), NOW_NS, NOW_NS + MS_NS),
        ],
    )


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (0, ""),
        (1, "internal"),
        (2, "server"),
        (3, "client"),
        (4, "producer"),
        (5, "consumer"),
        (99, ""),
        (-1, ""),
    ],
)
def test_span_kind(kind: int, text: str) -> None:
    """The span kind is stored as OpenTelemetry's word."""
    assert map_one(make_span(kind=kind)).span_kind == text


def exception(time_ns: int, kind: str, message: str) -> Event:
    return Event("exception", time_ns, {"exception.type": kind, "exception.message": message})


@pytest.mark.parametrize(
    ("fields", "outcome", "error_type", "error_message"),
    [
        ({}, "ok", "", ""),
        ({"status_code": 1, "status_message": "fine"}, "ok", "", ""),
        ({"status_code": 2, "status_message": "it broke"}, "error", "", "it broke"),
        ({"attributes": {"error.type": "timeout"}}, "error", "timeout", ""),
        (
            {"status_code": 2, "events": [exception(1, "KeyError", "'a'")]},
            "error",
            "KeyError",
            "'a'",
        ),
        (
            {
                "status_code": 2,
                "status_message": "unseen",
                "events": [exception(2, "Last", "second"), exception(1, "First", "first")],
            },
            "error",
            "Last",
            "second",
        ),
        (
            {
                "status_code": 2,
                "attributes": {"error.type": "500"},
                "events": [exception(1, "KeyError", "'a'")],
            },
            "error",
            "500",
            "'a'",
        ),
        ({"events": [exception(1, "KeyError", "handled")]}, "ok", "", ""),
        ({"status_code": 2, "status_message": "x" * 5_000}, "error", "", "x" * 1_024),
    ],
    ids=[
        "unset",
        "ok",
        "status",
        "error type",
        "exception",
        "last exception",
        "both",
        "handled",
        "long",
    ],
)
def test_error(fields: dict[str, Any], outcome: str, error_type: str, error_message: str) -> None:
    """A span failed if it has an error status or an error type. Its exception gives the reason."""
    run = map_one(make_span(**fields))
    assert (run.outcome, run.error_type, run.error_message) == (outcome, error_type, error_message)


def make_described(attributes: dict[str, Value], resource: dict[str, Value]) -> Span:
    return make_span(attributes=attributes, scope=Scope(resource, "", "", {}))


@pytest.mark.parametrize(
    ("attributes", "resource", "fields"),
    [
        ({"session.id": "s"}, {}, {"session": "s", "attributes": ""}),
        ({"session.id": 7}, {}, {"session": "7"}),
        ({"user.id": "u"}, {}, {"user": "u", "attributes": ""}),
        ({}, {"deployment.environment.name": "prod"}, {"environment": "prod"}),
        ({"deployment.environment.name": "dev"}, {}, {"environment": "dev"}),
        (
            {"deployment.environment": "dev"},
            {"deployment.environment.name": "prod"},
            {"environment": "dev"},
        ),
        (
            {},
            {"langfuse.environment": "prod", "langfuse.release": "v7"},
            {"environment": "prod", "release": "v7"},
        ),
        ({}, {"deployment.environment": "former"}, {"environment": "former"}),
        (
            {},
            {"deployment.environment": "former", "deployment.environment.name": "prod"},
            {"environment": "prod"},
        ),
        ({}, {"service.version": "1.2"}, {"release": "1.2"}),
    ],
    ids=str,
)
def test_general_names(
    attributes: dict[str, Value], resource: dict[str, Value], fields: dict[str, str]
) -> None:
    """Session, user, environment and release are read from their standard names."""
    run = map_one(make_described(attributes, resource))
    assert {name: getattr(run, name) for name in fields} == fields
