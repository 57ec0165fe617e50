"""Tests of mapping metrics about model calls to records."""

from dataclasses import replace
from typing import Any, Final

import pytest

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.points import map_points
from otel_ml_collector.records import Records
from otel_ml_collector.span import OtlpPoint, Scope
from otel_ml_collector.times import DAY_NS, MINUTE_NS, SECOND_NS
from tests.support.otel_ml_collector.spans import NOW_NS

CHAT: Final = {
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o-2024-08-06",
}
POINT: Final = OtlpPoint(
    "gen_ai.client.operation.duration",
    "s",
    {**CHAT, "error.type": "<class 'openai.RateLimitError'>"},
    Scope({"service.name": "shop"}, "x", "", {}),
    NOW_NS - MINUTE_NS,
    NOW_NS,
    is_delta=False,
    count=3,
    total=4.5,
    bounds=[1.0, 2.0],
    buckets=[1, 1, 1],
)


def read(*points: OtlpPoint) -> Records:
    return map_points(points, Filing("shop", NOW_NS))


def test_duration() -> None:
    """A duration histogram is read with its model, provider and error type."""
    (point,) = read(POINT).points
    assert (point.project, point.service, point.model, point.provider, point.operation) == (
        "shop",
        "shop",
        "gpt-4o",
        "openai",
        "chat",
    )
    assert (point.kind, point.error_type, point.count, point.total) == (
        "",
        "RateLimitError",
        3,
        4.5,
    )


def test_milliseconds() -> None:
    """Durations in milliseconds become seconds."""
    (point,) = read(replace(POINT, unit="ms")).points
    assert (point.total, point.bounds) == (0.0045, [0.001, 0.002])


@pytest.mark.parametrize(
    ("name", "attributes", "kind"),
    [
        ("gen_ai.client.token.usage", {"gen_ai.token.type": "input"}, "input"),
        ("gen_ai.client.token.usage", {"gen_ai.token.type": "completion"}, "output"),
        ("gen_ai.client.inference.usage.output_tokens", {}, "output"),
        ("gen_ai.client.inference.usage.cache_read.input_tokens", {}, "cached"),
        ("gen_ai.client.inference.operation.input_tokens", {}, "input"),
    ],
)
def test_tokens(name: str, attributes: dict[str, Any], kind: str) -> None:
    """The token type is an attribute, or part of the name for newer metrics."""
    (point,) = read(replace(POINT, name=name, attributes={**CHAT, **attributes})).points
    assert point.kind == kind


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "gen_ai.server.request.duration"},
        {"attributes": {**CHAT, "gen_ai.operation.name": "invoke_agent"}},
    ],
)
def test_left_out(fields: dict[str, Any]) -> None:
    """Metrics of servers, and of agents around calls, are not stored."""
    assert read(replace(POINT, **fields)) == Records()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"total": float("nan")}, "invalid_value"),
        ({"total": float("inf")}, "invalid_value"),
        ({"total": -1.0}, "invalid_value"),
        ({"total": 1e300}, "invalid_value"),
        ({"count": 2**64 - 1}, "invalid_value"),
        ({"buckets": [1, 1]}, "invalid_buckets"),
        ({"buckets": []}, "invalid_buckets"),
        ({"bounds": []}, "invalid_buckets"),
        ({"bounds": [float("nan"), 1.0]}, "invalid_buckets"),
        ({"bounds": [1.0, float("inf")]}, "invalid_buckets"),
        ({"bounds": [2.0, 1.0]}, "invalid_buckets"),
        ({"buckets": [2**63, 2**63, 1]}, "invalid_buckets"),
    ],
)
def test_invalid(fields: dict[str, Any], reason: str) -> None:
    """A point with an invalid number is rejected, and the other points are stored."""
    records = read(replace(POINT, **fields), POINT)
    assert (len(records.points), records.rejected) == (1, {reason: 1})


def test_no_buckets() -> None:
    """A histogram without buckets, or with only one, is read."""
    assert len(read(replace(POINT, bounds=(), buckets=())).points) == 1
    assert len(read(replace(POINT, bounds=(), buckets=[3])).points) == 1


def test_time_window() -> None:
    """A point outside the accepted time window is rejected."""
    records = read(replace(POINT, time_ns=NOW_NS - 500 * DAY_NS))
    assert (records.points, records.rejected) == ([], {"outside_time_window": 1})


def test_series() -> None:
    """Points of one series have the same digest, whatever the order of their attributes."""
    turned = replace(POINT, attributes=dict(reversed([*POINT.attributes.items()])))
    other = replace(POINT, scope=Scope({"service.name": "other"}, "x", "", {}))
    one, two, three = read(POINT, turned, other).points
    assert one.series == two.series != three.series


def test_slots() -> None:
    """Cumulative points within a few minutes replace each other. Delta points never do."""
    later = replace(POINT, time_ns=NOW_NS + SECOND_NS)
    assert len({point.slot for point in read(POINT, later).points}) == 1
    deltas = (replace(POINT, is_delta=True), replace(later, is_delta=True))
    assert len({point.slot for point in read(*deltas).points}) == 2
