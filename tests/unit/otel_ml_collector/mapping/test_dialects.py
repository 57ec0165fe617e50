"""Tests of all dialects together: precedence, tokens in a tree, arbitrary values, any order."""

import dataclasses
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml_collector.mapping.dialects.table import Dialect
from otel_ml_collector.mapping.dialects.tables import DIALECTS
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.records import Records
from otel_ml_collector.span import Scope, Span, Value
from tests.support.examples import examples
from tests.support.otel_ml_collector.spans import NOW_NS, make_span, map_all, span_id, trace_id
from tests.unit.otel_ml_collector.mapping.dialect_runs import map_call
from tests.unit.otel_ml_collector.mapping.test_spans import said_by

FILING: Final = Filing(None, NOW_NS)


def names_of(dialect: Dialect) -> list[str]:
    """List every attribute name of a dialect, with examples for patterns and prefixes."""
    sources = [
        *dialect.kind_sources,
        *dialect.scores,
        *(n for row in dialect.rows for n in row.sources),
    ]
    found = [f"{mark}x" if mark.endswith(".") else mark for mark in dialect.marks]
    for source in sources:
        name = source.partition("{")[0]
        found += [name.replace(".N", f".{number}").replace(".*", ".x") for number in (0, 2)]
        if ".N" in name:
            found += [
                name.replace(".N", ".0") + end for end in (".name", ".contents.0.x", ".score")
            ]
    return found


NAMES: Final = sorted(
    {
        *(name for dialect in DIALECTS for name in names_of(dialect)),
        *("input.mime_type", "output.mime_type", "gen_ai.operation.name", "gen_ai.usage.cost"),
        *("langfuse.observation.level", "langfuse.observation.status_message"),
        *("logfire.span_type", "logfire.pending_parent_id", "logfire.json_schema", "x"),
        *("logfire.level_num", "logfire.feedback.comment", "gen_ai.usage.input_tokens"),
    }
)
texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        [
            *("{", '"', '"{\\"input\\": 1}"', "[" * 2_000, "null", "1e999", "NaN", "\ud800"),
            *('{"input": {"a": []}, "total": "x", "properties": {"x": 1}}', "[1, [2]]", '{"": 1}'),
            *("LLM", '"LLM"', "ERROR", "pending_span", "annotation", "text/plain", "x", "0" * 16),
        ]
    ),
)
values: st.SearchStrategy[Value] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.binary(max_size=4),
        texts,
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=4,
)
scopes = st.sampled_from(
    [Scope({}, "s", "", {}), Scope({"telemetry.sdk.name": "openlit"}, "s", "", {})]
)
spans = st.builds(
    Span,
    trace_id=st.sampled_from([trace_id(1), trace_id(2), trace_id(3)]),
    span_id=st.sampled_from([span_id(1), span_id(2), span_id(3)]),
    parent_span_id=st.sampled_from([b"", span_id(1), span_id(2)]),
    name=st.just("call"),
    kind=st.just(1),
    start_ns=st.just(NOW_NS),
    end_ns=st.just(NOW_NS + 1),
    status_code=st.integers(0, 2),
    status_message=st.just(""),
    attributes=st.dictionaries(st.sampled_from(NAMES), values, max_size=8),
    events=st.just([]),
    links=st.just([]),
    scope=scopes,
)


@given(spans)
@settings(max_examples=examples(300))
def test_any_value(span: Span) -> None:
    """A span with any value in any attribute becomes exactly one record, or is rejected."""
    records = map_spans([span], FILING)
    count = len(records.runs) + len(records.open_runs) + sum(records.rejected.values())
    assert count == 1


@given(st.lists(spans, max_size=6), st.data())
def test_order(given_spans: list[Span], data: st.DataObject) -> None:
    """The records do not depend on the order of the spans or on how requests group them.

    Each span is sent once or twice, spread over three requests.
    """
    parts: list[list[Span]] = [[], [], []]
    again = [span for span in given_spans if data.draw(st.booleans())]
    for span in data.draw(st.permutations([*given_spans, *again])):
        parts[data.draw(st.integers(0, 2))].append(span)
    whole = map_spans(given_spans, FILING)
    split = [map_spans(part, FILING) for part in parts]
    assert said_by(split) == said_by([whole])
    assert open_runs(split) == open_runs([whole])


def open_runs(parts: list[Records]) -> set[str]:
    return {repr(run) for part in parts for run in part.open_runs}


@given(spans, st.data())
def test_order_of_names(span: Span, data: st.DataObject) -> None:
    """A record does not depend on the order of a span's attributes."""
    shuffled = dict(data.draw(st.permutations(list(span.attributes.items()))))
    again = dataclasses.replace(span, attributes=shuffled)
    assert repr(map_spans([again], FILING)) == repr(map_spans([span], FILING))


@pytest.mark.parametrize(
    ("attributes", "dialect", "fields"),
    [
        (
            {"openinference.span.kind": "LLM", "otel_ml.kind": "agent", "gen_ai.system": "x"},
            "otel_ml",
            {"kind": "agent", "provider": "x"},
        ),
        (
            {
                "openinference.span.kind": "LLM",
                "langfuse.observation.type": "tool",
                "langfuse.environment": "dev",
                "gen_ai.request.model": "gpt-5",
            },
            "openinference",
            {"kind": "model", "environment": "dev", "model": "gpt-5"},
        ),
        (
            {"ai.operationId": "ai.toolCall", "langfuse.observation.input": "a"},
            "vercel",
            {"kind": "tool", "inputs": '"a"'},
        ),
        (
            {"logfire.msg": "chat", "gen_ai.operation.name": "chat"},
            "logfire",
            {"kind": "model"},
        ),
        ({"http.route": "/", "input.value": "a"}, "opentelemetry", {"kind": "span", "inputs": ""}),
    ],
)
def test_precedence(attributes: dict[str, Value], dialect: str, fields: dict[str, Value]) -> None:
    """Each field is read from the first dialect that has a value for it."""
    run = map_call("it", attributes)
    assert run.dialect == dialect
    assert {name: getattr(run, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (
            {"openinference.span.kind": "CHAIN", "llm.token_count.prompt": 12},
            {"openinference.span.kind": "LLM", "llm.token_count.prompt": 12},
        ),
        (
            {"ai.operationId": "ai.generateText", "ai.usage.inputTokens": 12},
            {"ai.operationId": "ai.generateText.doGenerate", "ai.usage.inputTokens": 12},
        ),
        (
            {"gen_ai.operation.name": "invoke_workflow", "gen_ai.usage.input_tokens": 12},
            {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 12},
        ),
        (
            {"mlflow.spanType": '"CHAIN"', "mlflow.chat.tokenUsage": '{"input_tokens": 12}'},
            {"mlflow.spanType": '"LLM"', "mlflow.chat.tokenUsage": '{"input_tokens": 12}'},
        ),
        (
            {
                "langfuse.observation.type": "span",
                "langfuse.observation.usage_details": '{"input": 12}',
            },
            {
                "langfuse.observation.type": "generation",
                "langfuse.observation.usage_details": '{"input": 12}',
            },
        ),
    ],
    ids=["openinference", "vercel", "gen_ai", "mlflow", "langfuse"],
)
def test_tokens_of_a_tree(outer: dict[str, Value], inner: dict[str, Value]) -> None:
    """If a span repeats the tokens of the call inside it, they are not counted again."""
    runs = map_all(make_span("outer", outer), make_span("inner", inner)).runs
    assert [run.input_tokens for run in runs] == [None, 12]
    assert "12" in runs[0].attributes


@pytest.mark.parametrize(
    ("attributes", "tokens"),
    [
        (
            {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.usage.input_tokens": 12,
                "gen_ai.usage.output_tokens": 3,
            },
            (12, 3),
        ),
        (
            {
                "mlflow.spanType": '"AGENT"',
                "mlflow.chat.tokenUsage": '{"input_tokens": 12, "output_tokens": 3}',
            },
            (12, 3),
        ),
        ({"openinference.span.kind": "AGENT", "llm.token_count.completion": 3}, (None, 3)),
    ],
    ids=["gen_ai", "mlflow", "openinference"],
)
def test_tokens_of_an_agent(
    attributes: dict[str, Value], tokens: tuple[int | None, int | None]
) -> None:
    """An agent keeps its tokens, because no other span may report them."""
    run = map_call("it", attributes)
    assert (run.kind, run.input_tokens, run.output_tokens) == ("agent", *tokens)
