"""Tests that calls which libraries record twice count once, from span attributes on."""

import json
from typing import Final

import pytest

from otel_ml.records import Tokens
from otel_ml_collector.fold.traces import resolve_together
from otel_ml_collector.resolution import InheritedContent, find_inherited_contents, naming_run_of
from otel_ml_collector.same_calls import (
    CALLS,
    call_run_of,
    find_shares,
    join_traces,
)
from otel_ml_collector.span import Scope, Span, Value
from tests.support.otel_ml_collector.spans import NOW_NS, make_span, map_all, span_id, trace_id

ASKED: Final = "Which tram goes to the fish market?"
ANSWERED: Final = "Line 13, from platform B."
TOKENS: Final = (61, 18)
USAGE: Final = {"input_tokens": 61, "output_tokens": 18}
STEP_NS: Final = 100_000
CLAUDE: Final = {
    "id": "msg_01Vr10f5",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": ANSWERED}],
}
ANTHROPIC: Final[dict[str, Value]] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "claude-sonnet-4-5",
    "gen_ai.response.id": "msg_01Vr10f5",
    "gen_ai.usage.input_tokens": 61,
    "gen_ai.usage.output_tokens": 18,
}


def write(
    number: int, scope: str, attributes: dict[str, Value], *, parent: int = 0, trace: int = 1
) -> Span:
    """Make a span that lies within the time of spans with lower numbers."""
    return make_span(
        f"span {number}",
        attributes,
        trace_id=trace_id(trace),
        span_id=span_id(number),
        parent_span_id=span_id(parent) if parent else b"",
        start_ns=NOW_NS + number * STEP_NS,
        end_ns=NOW_NS + (20 - number) * STEP_NS,
        scope=Scope({}, scope, "", {}),
    )


def write_mlflow(number: int, output: object, model: str, *, parent: int = 0) -> Span:
    """Make a span as recorded by MLflow."""
    attributes: dict[str, Value] = {
        "mlflow.spanType": '"CHAT_MODEL"',
        "mlflow.spanOutputs": json.dumps(output),
        "mlflow.llm.model": json.dumps(model),
        "mlflow.chat.tokenUsage": json.dumps(USAGE),
    }
    return write(number, "mlflow.tracing.provider", attributes, parent=parent)


def write_openinference(number: int, library: str, output: object, *, trace: int) -> Span:
    """Make a span as recorded by OpenInference's instrumentations for JavaScript."""
    attributes: dict[str, Value] = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o-mini",
        "output.value": json.dumps(output),
        "llm.token_count.prompt": 61,
        "llm.token_count.completion": 18,
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": ANSWERED,
    }
    scope = f"@arizeai/openinference-instrumentation-{library}"
    return write(number, scope, attributes, trace=trace)


COMPLETION: Final = {
    "id": "chatcmpl-Kq1102",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWERED}}],
}
LANGCHAIN: Final = {
    "text": ANSWERED,
    "message": {"content": ANSWERED, "type": "ai", "id": "chatcmpl-Kq1102"},
}
GEMINI: Final = {
    "candidates": [{"content": {"parts": [{"text": ANSWERED}], "role": "model"}}],
    "model_version": "gemini-2.5-flash",
}
# Spans that record the same call. The first one counts.
CASES: Final[dict[str, list[Span]]] = {
    "MLflow's LangChain over OpenAI": [
        write_mlflow(1, {"generations": [[LANGCHAIN]]}, "gpt-4o-mini"),
        write_mlflow(2, COMPLETION, "gpt-4o-mini-2024-07-18", parent=1),
    ],
    "MLflow's Gemini": [
        write_mlflow(1, GEMINI, "gemini-2.5-flash"),
        write_mlflow(2, GEMINI, "gemini-2.5-flash", parent=1),
    ],
    "LangChain.js next to OpenAI": [
        write_openinference(1, "langchain", {"generations": [[LANGCHAIN]]}, trace=1),
        write_openinference(2, "openai", COMPLETION, trace=2),
    ],
    "Langfuse's call next to Anthropic's own span": [
        write(
            1,
            "langfuse-sdk",
            {
                "langfuse.observation.type": "generation",
                "langfuse.observation.output": json.dumps(CLAUDE),
            },
            parent=9,
        ),
        write(2, "com.anthropic.sdk.python", ANTHROPIC, parent=9),
    ],
    "LangSmith next to Anthropic's own span": [
        write(
            1,
            "langsmith",
            {"langsmith.span.kind": "llm", "gen_ai.completion": json.dumps(CLAUDE)},
        ),
        write(2, "com.anthropic.sdk.python", ANTHROPIC, trace=2),
    ],
}


@pytest.mark.parametrize("case", CASES)
def test_once(case: str) -> None:
    """Two spans of one call count once, with its tokens."""
    spans = CASES[case]
    runs = [(run.trace_id, call_run_of(run)) for run in map_all(*spans).runs if run.kind in CALLS]
    assert len(runs) == len(spans)
    traces = {trace: [run for of, run in runs if of == trace] for trace, _ in runs}
    shares = join_traces(traces)
    counting, other = spans
    call = shares[counting.trace_id][counting.span_id]
    assert (call.tokens.input, call.tokens.output) == TOKENS
    repeat = shares[other.trace_id][other.span_id]
    assert (repeat.record_of, repeat.tokens) == (counting.span_id, Tokens())
    assert (repeat.trace_id or other.trace_id) == counting.trace_id
    together = resolve_together(map_all(*spans).runs, ()).runs
    for run in together:
        assert run.resolution.share == shares[run.trace_id].pop(run.span_id)
    assert not any(shares.values())


def test_question_of_mastra() -> None:
    """A Mastra call inherits the question of the step around it."""
    scope = "@mastra/otel-exporter"
    question = json.dumps([{"role": "user", "content": ASKED}])
    answer = json.dumps([{"role": "assistant", "content": ANSWERED}])
    spans = [
        write(
            1,
            scope,
            {"mastra.span.type": "model_step", "mastra.model_step.input": question},
        ),
        write(
            2,
            scope,
            {**ANTHROPIC, "mastra.span.type": "model_inference", "gen_ai.output.messages": answer},
            parent=1,
        ),
    ]
    step, call = map_all(*spans).runs
    runs = [naming_run_of(step), call_run_of(call)]
    assert find_inherited_contents(runs, find_shares(runs))[call.span_id] == InheritedContent(
        inputs_preview=ASKED, inputs_of=step.span_id
    )


def test_tool_call_of_agentops() -> None:
    """An AgentOps call without a recorded answer inherits the tool call inside it."""
    spans = [
        write(1, "openai", {**ANTHROPIC, "gen_ai.prompt": ASKED}),
        write(
            2,
            "agentops.instrumentation.providers.openai.wrappers.chat",
            {
                "agentops.span.kind": "AgentOpsSpanKindValues.TOOL",
                "tool.name": "fare",
                "tool.parameters": '{"line": "M7", "zones": 3}',
            },
            parent=1,
        ),
    ]
    call, tool = map_all(*spans).runs
    runs = [call_run_of(call), naming_run_of(tool)]
    assert find_inherited_contents(runs, find_shares(runs))[call.span_id] == InheritedContent(
        outputs_preview='fare(line="M7", zones=3)'
    )
