"""A run's cost on its page: how it was calculated, or why it is missing."""

import re
from html import unescape

import pytest

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.price import Price
from otel_ml_collector.span import Value
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import NOW_NS, id_of, make_span
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import sampled

TOKENS: dict[str, Value] = {"gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 5}
OPENAI: dict[str, Value] = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini"}
NOBODY: dict[str, Value] = {"gen_ai.provider.name": "autogen", "gen_ai.request.model": "mine-1"}
CALL: dict[str, Value] = {"gen_ai.operation.name": "chat"}
MINE = Prices([Price("ours", "mine-1", 1.0, 2.0)])


def read_page(service: Service, attributes: dict[str, Value], prices: Prices | None) -> list[str]:
    """Store a call with the given prices; return the notes about cost from its page."""
    span = make_span("call", {**CALL, **attributes})
    service.store.writer.write(map_spans([span], Filing("cost", NOW_NS, prices=prices)))
    answered = ask(service.app, f"/projects/cost/runs/{id_of(span)}")
    assert answered.status == 200
    return re.findall(
        "<small>(as .*?|from .*?|at .*?|no cost: .*?)</small>", unescape(answered.text)
    )


@sampled(4)
@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({**OPENAI, **TOKENS}, "at the price of gpt-4o-mini from OpenAI"),
        (
            {**OPENAI, **TOKENS, "gen_ai.provider.name": "autogen"},
            "at the price of OpenAI, the only provider of gpt-4o-mini",
        ),
        ({**OPENAI, **TOKENS, "gen_ai.usage.cost": 0.5}, "as reported by the sender"),
        ({**OPENAI, **TOKENS, "gen_ai.cost.total_cost": 0.5}, "as reported by the sender"),
        ({**OPENAI, **TOKENS, "litellm.cost.total": "0.5"}, "as reported by the sender"),
        ({**OPENAI, **TOKENS, "gen_ai.usage.cost": -1}, "at the price of gpt-4o-mini from OpenAI"),
        (
            {**OPENAI, "llm.cost.total": 0.5, "openinference.span.kind": "LLM"},
            "as reported by the sender",
        ),
        (OPENAI, "no cost: the call reported no tokens"),
        (TOKENS, "no cost: the call names no LLM"),
        (
            {**OPENAI, **TOKENS, "gen_ai.usage.cache_read.input_tokens": 13},
            "no cost: the token counts contradict each other",
        ),
    ],
    ids=repr,
)
def test_cost(service: Service, attributes: dict[str, Value], expected: str) -> None:
    """A call's page explains how its cost was calculated, or why it is missing."""
    assert read_page(service, attributes, Prices()) == [expected]


def test_no_price(service: Service) -> None:
    """For an LLM without a price, the page names the LLM, its provider and the setting."""
    [note] = read_page(service, {**NOBODY, **TOKENS}, Prices())
    assert note.startswith("no cost: ")
    assert {"autogen", "mine-1", "`prices`"} <= {*note.split()}


def test_no_price_at_the_time(service: Service) -> None:
    """A call that was stored before a price existed has no cost, and its page has the reason."""
    expected = "no cost: there was no price when it was stored"
    assert read_page(service, {**OPENAI, **TOKENS}, None) == [expected]


def test_price_of_cached_tokens(service: Service) -> None:
    """Cached tokens have their own price in the cost of a call."""
    prices = Prices([Price("ours", "mine-1", 10.0, 20.0, cached=1.0)])
    told: dict[str, Value] = {
        **CALL,
        "gen_ai.provider.name": "ours",
        "gen_ai.request.model": "mine-1",
        "gen_ai.usage.input_tokens": 1_000,
        "gen_ai.usage.cache_read.input_tokens": 400,
        "gen_ai.usage.output_tokens": 100,
    }
    span = make_span("call", told)
    service.store.writer.write(map_spans([span], Filing("cached", NOW_NS, prices=prices)))
    run = ask(service.app, f"/api/v1/projects/cached/runs/{id_of(span)}").json
    assert run["cost"] == 0.0084  # 600 × 10 + 400 × 1 + 100 × 20, per million


def test_own_price() -> None:
    """A user's own price is marked as such, with its provider."""
    [named, alone] = [MINE.find("ours", "mine-1"), MINE.find("autogen", "mine-1")]
    assert named is not None
    assert alone is not None
    assert (named.provider, named.is_own, named.is_named) == ("ours", True, True)
    assert (alone.provider, alone.is_own, alone.is_named) == ("ours", True, False)


@pytest.mark.parametrize(
    "attributes",
    [
        {"otel_ml.model.name": "plain"},
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "fare"},
        {**OPENAI, "error.type": "RateLimitError"},
    ],
    ids=["function", "tool", "failed"],
)
def test_nothing_to_say(service: Service, attributes: dict[str, Value]) -> None:
    """A run that used no LLM, or failed, has no cost and no note about it."""
    assert read_page(service, attributes, Prices()) == []


SUM: str = "0.0003"  # the sum of the binary fractions is not exactly this


@sampled(1)
@pytest.mark.parametrize(
    "path",
    [
        "sessions",
        "sessions/chat",
        "runs?roots=true",
        "stats?start=2026-10-01T00:00:00Z&end=2026-12-01T00:00:00Z&bucket=30d",
    ],
    ids=["sessions", "session", "roots", "stats"],
)
def test_sums_of_money(service: Service, project: str, path: str) -> None:
    """A sum of costs in JSON is rounded like money, without errors of binary fractions."""
    root = make_span(
        "ask", {"gen_ai.operation.name": "invoke_agent", "session.id": "chat"}, span_id=b"a" * 8
    )
    calls = [
        make_span(
            "call",
            {**CALL, "gen_ai.usage.cost": 0.0001, "session.id": "chat"},
            trace_id=root.trace_id,
            parent_span_id=root.span_id,
            span_id=bytes([place]) * 8,
        )
        for place in (1, 2, 3)
    ]
    service.store.writer.write(map_spans([root, *calls], Filing(project, NOW_NS)))
    answered = ask(service.app, f"/api/v1/projects/{project}/{path}")
    assert answered.status == 200, answered.text
    costs = re.findall(r'"cost":([0-9.e-]+)', answered.text)
    assert SUM in costs
    assert {*costs} <= {SUM, "0.0001"}
