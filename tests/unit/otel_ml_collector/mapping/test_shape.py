"""Tests of calls of unknown libraries, which are recognized by their shape."""

import json
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.mapping.dialects.shape import find_shape_names
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.price import Price
from otel_ml_collector.records import Run
from otel_ml_collector.span import Event, Scope, Span, Value
from tests.support.otel_ml_collector.ordinary_spans import make_ordinary_spans
from tests.support.otel_ml_collector.spans import NOW_NS, make_span
from tests.support.otel_ml_collector.unknown_emitters import (
    ANSWERED,
    ASKED,
    CALLS,
    CLIENT,
    INTERNAL,
    SERVER,
    Emitter,
)

PRICES: Final = Prices()
RAISED: Final = Event("exception", NOW_NS, {"exception.type": "openai.RateLimitError"})
names: Final = st.sampled_from(
    [
        *("acme.input", "acme.output", "acme.usage", "acme.messages", "acme.messages.0.role"),
        *("acme.messages.0", "acme.prompt_tokens", "acme.cost", "acme.temperature", ""),
    ]
)
values: Final[st.SearchStrategy[Value]] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(max_size=3),
    st.sampled_from(
        [
            *("", "{", "[[[[", "{'a': 'b'", '["\\ud800"]', '{"0": {"0": [1]}}', "NaN"),
            *('[{"role": "user"}]', '{"role": "user", "content": 7}', "['a', None]", '"a"'),
        ]
    ),
    st.lists(st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
)
# The usual expected run: most emitters ask the same question of the same model.
USUAL: Final[dict[str, Any]] = {
    "dialect": "shape",
    "kind": "model",
    "model": "gpt-4o-mini",
    "provider_model": "gpt-4o-mini",
    "outcome": "ok",
    "input_tokens": 61,
    "output_tokens": 18,
    "cached_tokens": None,
    "inputs_preview": ASKED,
    "outputs_preview": ANSWERED,
    "cost": (61 * 0.15 + 18 * 0.6) / 1e6,
}


def map_one(span: Span, prices: Prices = PRICES) -> Run:
    """Map a span to its only run, with its cost."""
    (run,) = map_spans([span], Filing("p", NOW_NS, prices=prices)).runs
    return run


@pytest.mark.parametrize("emitter", [pytest.param(one, id=one.title) for one in CALLS])
def test_call(emitter: Emitter) -> None:
    """A call of an unknown library is read: model, tokens, question, answer and cost."""
    run = map_one(emitter.span)
    want = {**USUAL, **emitter.want}
    # Values given as `...` are not compared: some prices change with the table.
    want = {name: value for name, value in want.items() if value is not ...}
    if want.get("cost"):
        want["cost"] = pytest.approx(want["cost"])
    assert {name: getattr(run, name) for name in want} == want


def test_attributes_stay() -> None:
    """All attributes of a call recognized by its shape are kept, because this is a guess."""
    span = CALLS[0].span
    assert json.loads(map_one(span).attributes) == dict(span.attributes)


def test_ordinary_spans() -> None:
    """At most 1 in 2,000 HTTP, database, queue and service spans is mistaken for a call."""
    spans = list(make_ordinary_spans(10_000, seed=1))
    runs = map_spans(spans, Filing("p", NOW_NS)).runs
    assert len(runs) == len(spans)
    assert sum(run.kind != "span" for run in runs) <= len(spans) // 2_000


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        ({"prompt": ASKED, "completion": ANSWERED}, "model"),
        ({"input.text": ASKED, "output.text": ANSWERED}, "model"),
        ({"prompt": ASKED, "billing.response.text": ANSWERED}, "model"),
        ({"prompt": ASKED, "response.body": ANSWERED}, "span"),
        ({"prompt": ASKED, "content": ANSWERED}, "span"),
    ],
)
def test_texts_beside_a_library(texts: dict[str, str], kind: str) -> None:
    """Next to a library's model and counts, texts of other names count if they end alike."""
    usage: dict[str, Value] = {
        "billing.model": "gpt-4o",
        "billing.input_tokens": 61,
        "billing.output_tokens": 18,
    }
    assert map_one(make_span("billing.record", usage | texts)).kind == kind


def test_every_kind_of_ordinary_span() -> None:
    """Without custom attributes, no ordinary span is mistaken for a call."""
    spans = make_ordinary_spans(3_000, seed=1, has_own=False)
    runs = map_spans(spans, Filing("p", NOW_NS)).runs
    assert {run.kind for run in runs} == {"span"}


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param({"acme.model": "gpt-4o", "acme.input": "a", "acme.output": "b"}, id="counts"),
        pytest.param(
            {"acme.model": "gpt-4o", "acme.usage.prompt_tokens": 1, "acme.usage.total_tokens": 2},
            id="messages",
        ),
        pytest.param(
            {
                "acme.prompt_tokens": 1,
                "acme.completion_tokens": 2,
                "acme.input": "a",
                "acme.output": "b",
            },
            id="model",
        ),
        pytest.param(
            {
                "acme.model": "Corolla",
                "acme.prompt_tokens": 1,
                "acme.completion_tokens": 2,
                "acme.input": "a",
                "acme.output": "b",
            },
            id="known model",
        ),
        pytest.param(
            {
                "db.system.name": "redis",
                "cache.value": json.dumps(
                    {
                        "model": "gpt-4o",
                        "messages": [{"role": "user", "content": "a"}],
                        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
                    }
                ),
            },
            id="not a database",
        ),
        pytest.param(
            {
                "acme.model": "gpt-4o",
                "acme.tokens_per_second": 7,
                "acme.max_tokens": 9,
                "acme.tokens.remaining": 3,
                "acme.input": "a",
                "acme.output": "b",
            },
            id="counts of a call, not limits",
        ),
    ],
)
def test_sign_is_missing(attributes: dict[str, Any]) -> None:
    """A span that lacks one of the signs of a call stays plain, and so does a database span."""
    run = map_one(make_span("step", attributes))
    assert (run.kind, run.dialect) == ("span", "opentelemetry")


def test_own_price() -> None:
    """A model is known if the user has set a price for it."""
    attributes: dict[str, Value] = {
        "acme.model": "house-7",
        "acme.prompt_tokens": 1_000_000,
        "acme.completion_tokens": 0,
        "acme.input": ASKED,
        "acme.output": ANSWERED,
    }
    assert map_one(make_span("step", attributes)).kind == "span"
    run = map_one(make_span("step", attributes), Prices([Price("house", "house-7", 3.0, 4.0)]))
    assert (run.kind, run.model, run.cost) == ("model", "house-7", 3.0)


def test_table_overrides() -> None:
    """A span of a known dialect is read by that dialect alone."""
    attributes: dict[str, Value] = {
        "openinference.span.kind": "CHAIN",
        "llm.model_name": "gpt-4o",
        "acme.prompt_tokens": 1,
        "acme.completion_tokens": 2,
        "acme.messages": json.dumps([{"role": "user", "content": "a"}]),
    }
    run = map_one(make_span("step", attributes))
    assert (run.kind, run.dialect, run.input_tokens) == ("chain", "openinference", None)


def test_known_scope() -> None:
    """A span of a known library's scope stays plain if its dialect finds no call."""
    scope = Scope({}, "litellm", "1", {})
    run = map_one(replace(CALLS[0].span, scope=scope))
    assert run.kind == "span"


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"kind": CLIENT}, "model"),
        ({"kind": CLIENT, "name": "POST"}, "span"),  # of an HTTP library, with a model from baggage
        ({"kind": SERVER}, "span"),
        ({"kind": INTERNAL}, "span"),
        ({"kind": INTERNAL, "name": "chat"}, "model"),
        ({"kind": INTERNAL, "events": [RAISED]}, "model"),
        ({"kind": CLIENT, "status_code": 0}, "span"),
    ],
)
def test_failed_call(fields: dict[str, Any], kind: str) -> None:
    """A failed span with a model is a call if it is a client span or has a client's error."""
    attributes = {"acme.model": "gpt-4o", "http.request.method": "POST"}
    span = replace(make_span("step", attributes, status_code=2), **fields)
    assert map_one(span).kind == kind


def test_agent_around() -> None:
    """A span named after an agent is a chain without tokens, because its calls have them."""
    run = map_one(replace(CALLS[0].span, name="TramDesk.agent"))
    assert (run.kind, run.input_tokens, run.inputs_preview) == ("chain", None, ASKED)


def test_several_calls() -> None:
    """A span that counts several calls is a chain around them, whatever its name is."""
    span = CALLS[0].span
    looping = replace(span, attributes={**span.attributes, "acme.llm_calls": 2})
    assert map_one(looping).kind == "chain"
    single = replace(span, attributes={**span.attributes, "acme.llm_calls": 1})
    assert map_one(single).kind == "model"


def test_much_else() -> None:
    """Long vectors, tools and other JSON do not hide the signs of a call."""
    span = CALLS[0].span
    much: dict[str, Value] = {
        "acme.vector": json.dumps([0.5] * 9_000),
        "acme.other": json.dumps([{"a": number} for number in range(9_000)]),
        "acme.request": json.dumps({"tools": [{"type": "function", "name": "f"}] * 900}),
    }
    run = map_one(replace(span, attributes={**much, **span.attributes}))
    assert (run.kind, run.input_tokens, run.outputs_preview) == ("model", 61, ANSWERED)


@pytest.mark.parametrize("seed", range(3))
def test_ordinary_names(seed: int) -> None:
    """The attribute names alone rule out ordinary spans, so that these cost nothing."""
    for span in make_ordinary_spans(300, seed=seed, has_own=False):
        shape = find_shape_names(tuple(span.attributes), ())
        assert shape is None or not shape.models


def test_handler() -> None:
    """A request handler that records the question and answer of its call stays plain."""
    attributes: dict[str, Value] = {
        "chat.model": "gpt-4o",
        "chat.prompt_tokens": 1,
        "chat.completion_tokens": 2,
        "chat.question": ASKED,
        "chat.answer": ANSWERED,
    }
    assert map_one(make_span("POST /chat", attributes, kind=SERVER)).kind == "span"
    assert map_one(make_span("POST /chat", attributes, kind=CLIENT)).kind == "model"


@given(values=st.dictionaries(names, values, max_size=6))
def test_any_value(values: dict[str, Value]) -> None:
    """No attribute value makes the mapping fail."""
    span = make_span("chat", {"acme.model": "gpt-4o", **values}, status_code=2, kind=CLIENT)
    assert map_one(span).dialect == "shape"


@pytest.mark.parametrize("texts", [["["], ["{", "a"]])
def test_list_of_broken_json(texts: list[str]) -> None:
    """A list of texts that only begin like JSON does not stop the mapping."""
    attributes: dict[str, Value] = {"acme.model": "gpt-4o", "acme.prompt": texts}
    assert map_one(make_span("step", attributes)).kind == "span"
