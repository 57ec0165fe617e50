"""Tests of spans that share an ID: those that cannot be distinguished count as rejected."""

from collections.abc import Sequence
from typing import Any

import pytest

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.shared_ids import _KNOWN_SPANS, SpanOwners
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Scope, Span
from tests.support.otel_ml_collector.spans import NOW_NS, make_span, make_start, span_id, trace_id

SHOP = Scope({"service.name": "shop"}, "lib", "1", {})
BANK = Scope({"service.name": "bank"}, "lib", "1", {})
CLIENT = make_span("pay", kind=3, trace_id=trace_id(1), span_id=span_id(1), scope=SHOP)
IDS: dict[str, Any] = {"trace_id": trace_id(1), "span_id": span_id(1)}


def rejected(*requests: Sequence[Span], owners: SpanOwners | None = None) -> list[int]:
    """Map requests of one collector, and return how many spans of each were rejected."""
    owners = owners or SpanOwners()
    filing = Filing("p", NOW_NS, owners=owners)
    return [map_spans(spans, filing).rejected["shared_span_id"] for spans in requests]


@pytest.mark.parametrize(
    "other",
    [make_span("pay", kind=2, scope=SHOP, **IDS), make_span("pay", kind=3, scope=BANK, **IDS)],
    ids=["kind", "service"],
)
def test_other_span_of_an_id(other: Span) -> None:
    """If spans of different kinds or services share ID and start, the second is rejected."""
    assert rejected([CLIENT, other]) == [1]
    assert rejected([CLIENT], [other], [CLIENT], [other]) == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "other",
    [
        CLIENT,
        make_span("pay, longer", {"a": 1}, kind=3, scope=SHOP, **IDS),
        make_span("pay", kind=2, scope=BANK, start_ns=NOW_NS + 1, **IDS),
        make_start(make_span("pay", kind=3, scope=SHOP, **IDS)),
    ],
    ids=["again", "more", "another start", "announced"],
)
def test_not_rejected(other: Span) -> None:
    """Repeated deliveries of a span, and spans with the same ID but another start, are accepted."""
    assert rejected([CLIENT, other], [other, CLIENT]) == [0, 0]


def test_bounded() -> None:
    """Only a limited number of the newest spans is remembered."""
    owners = SpanOwners()
    many = [make_span("many", trace_id=trace_id(2), scope=SHOP) for _ in range(_KNOWN_SPANS + 1)]
    assert rejected([CLIENT], many, owners=owners) == [0, 0]
    assert len(owners._owners) <= _KNOWN_SPANS
