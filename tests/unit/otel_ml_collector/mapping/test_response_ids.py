"""Tests of finding the provider's response ID in the output of a call."""

import json
from typing import Any, Final

import pytest

from otel_ml_collector.mapping.response_ids import find_response_id
from otel_ml_collector.span import Value
from tests.unit.otel_ml_collector.mapping.dialect_runs import map_call

MESSAGE: Final = {"role": "assistant", "content": "Line 13."}
CHOICES: Final = [{"index": 0, "message": MESSAGE}]
ITEM: Final = {
    "id": "msg_68a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Line 13."}],
}
TOOL_CALL: Final = {"id": "call_7", "type": "function", "function": {"name": "fare"}}
CLAUDE: Final = {
    "id": "msg_01Vr10f5",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "tool_use", "id": "toolu_9", "name": "fare", "input": {}}],
}
AI: Final = {"type": "ai", "content": "Line 13.", "id": "chatcmpl-1"}
LANGCHAIN_JS: Final = {
    "lc": 1,
    "type": "constructor",
    "id": ["langchain_core", "messages", "AIMessage"],
    "kwargs": {"id": "chatcmpl-1", "content": "Line 13.", "response_metadata": {"tokenUsage": {}}},
}


def generations(*messages: object, **more: Any) -> dict[str, Any]:
    """Make a LangChain result with one generation per message."""
    return {"generations": [[{"text": "Line 13.", "message": one}] for one in messages], **more}


HELD: Final[dict[str, tuple[object, str]]] = {
    "chat completion": ({"id": "chatcmpl-1", "choices": CHOICES}, "chatcmpl-1"),
    "chat completion of another provider": ({"id": "9f3e", "choices": CHOICES}, "9f3e"),
    "chunks": ([{"id": "chatcmpl-1", "choices": []}] * 3, "chatcmpl-1"),
    "response": ({"id": "resp_1", "object": "response", "output": [ITEM]}, "resp_1"),
    "events of a response": (
        [
            {"type": "response.created", "response": {"id": "resp_1", "object": "response"}},
            {"type": "response.output_item.done", "item": ITEM},
        ],
        "resp_1",
    ),
    "message of Anthropic": (CLAUDE, "msg_01Vr10f5"),
    "events of Anthropic": ([{"type": "message_start", "message": CLAUDE}], "msg_01Vr10f5"),
    "answer of Gemini": ({"candidates": [], "responseId": "x7Q"}, "x7Q"),
    "answer of Gemini in Python": ({"candidates": [], "response_id": "x7Q"}, "x7Q"),
    "LangChain": (generations(AI), "chatcmpl-1"),
    "LangChain.js": (generations(LANGCHAIN_JS), "chatcmpl-1"),
    "LangChain, recorded as a whole": ({"outputs": generations(LANGCHAIN_JS)}, "chatcmpl-1"),
    "LangChain, with the ID in its result": (
        generations({**AI, "id": "run--7"}, llm_output={"id": "chatcmpl-2"}),
        "chatcmpl-2",
    ),
    "message of LangChain": (
        {**AI, "id": "run--7", "response_metadata": {"id": "msg_01Vr10f5"}},
        "msg_01Vr10f5",
    ),
    "LlamaIndex": ({"message": MESSAGE, "raw": {"id": "c1", "choices": CHOICES}}, "c1"),
}
FREE: Final[dict[str, object]] = {
    "nothing": None,
    "text": "chatcmpl-1",
    "message": {**MESSAGE, "id": "m1"},
    "messages": [{**MESSAGE, "id": "chatcmpl-1", "tool_calls": [TOOL_CALL]}],
    "item of OpenAI's output": ITEM,
    "items of OpenAI's output": [ITEM],
    "LangChain's own ID": generations({**AI, "id": "run--7"}),
    "item's ID in a message of LangChain": generations({**AI, "id": ITEM["id"]}),
    "several responses": [{"id": "c1", "choices": []}, {"id": "c2", "choices": []}],
    "batch of LangChain": generations(AI, {**AI, "id": "chatcmpl-2"}),
    "tool call": TOOL_CALL,
    "object of the application": {"id": "order-7", "object": "order", "output": "shipped"},
    "ID that is no text": {"id": 7, "choices": CHOICES},
}


@pytest.mark.parametrize("case", HELD)
def test_held(case: str) -> None:
    """The ID of a provider's response is found, wherever a framework put the response."""
    output, response_id = HELD[case]
    assert find_response_id(output) == response_id


@pytest.mark.parametrize("case", FREE)
def test_free(case: str) -> None:
    """IDs of messages, tool calls and other objects are not response IDs."""
    assert find_response_id(FREE[case]) == ""


def test_deep() -> None:
    """Deeply nested output is searched to a limited depth."""
    output: object = {"id": "c1", "choices": CHOICES}
    for _ in range(2_000):
        output = {"raw": output}
    assert find_response_id(output) == ""


@pytest.mark.parametrize(
    ("attributes", "response_id"),
    [
        (
            {
                "openinference.span.kind": "LLM",
                "llm.output_messages.0.message.role": "assistant",
                "output.value": json.dumps({"id": "chatcmpl-1", "choices": CHOICES}),
            },
            "chatcmpl-1",
        ),
        ({"openinference.span.kind": "CHAIN", "output.value": json.dumps(CLAUDE)}, ""),
        (
            {"mlflow.spanType": '"CHAT_MODEL"', "mlflow.spanOutputs": json.dumps(CLAUDE)},
            "msg_01Vr10f5",
        ),
        ({"mlflow.spanType": '"TOOL"', "mlflow.spanOutputs": json.dumps(CLAUDE)}, ""),
        (
            {
                "langfuse.observation.type": "generation",
                "langfuse.observation.output": json.dumps(CLAUDE),
            },
            "msg_01Vr10f5",
        ),
        (
            {
                "langsmith.span.kind": "llm",
                "gen_ai.completion": json.dumps(generations(LANGCHAIN_JS)),
            },
            "chatcmpl-1",
        ),
        (
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.response.id": "stated",
                "gen_ai.completion": json.dumps(CLAUDE),
            },
            "stated",
        ),
    ],
)
def test_mapping(attributes: dict[str, Value], response_id: str) -> None:
    """A call without a response ID attribute takes it from the output. Other spans have none."""
    assert map_call("it", attributes).response_id == response_id
