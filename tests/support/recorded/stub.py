"""A model provider with fixed responses that imitate OpenAI and Anthropic."""

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final
from urllib.parse import unquote, urlsplit

MISSING: Final = "gpt-missing"
BUSY: Final = "gpt-busy"
BROKEN: Final = "gpt-broken"
CUT: Final = "cut"  # the name of a user whose streams break off
_THOUGHT: Final = "The user asks for the weather of Ghent."
_VECTOR: Final = (0.25, -0.5, 0.75)
_CITY: Final = {"city": "Ghent"}
_CITY_JSON: Final = json.dumps(_CITY, separators=(",", ":"))
# Arguments of a tool call: a city, or the input of one agent for another.
_GIVEN: Final = {
    **_CITY,
    "task": "How is the weather in Ghent?",
    "context": "Today.",
    "coworker": "Forecaster",
    "answer": "Sunny in Ghent",
}
_WORDS: Final = ("Sunny", " in", " Ghent")
_SAID: Final = "".join(_WORDS)
_FIELDS: Final = '{"city": "Ghent", "sunny": true}'
_USAGE: Final = {
    "prompt_tokens": 12,
    "completion_tokens": 5,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
_ANTHROPIC_USAGE: Final = {
    "input_tokens": 12,
    "output_tokens": 5,
    "cache_read_input_tokens": 4,
    "cache_creation_input_tokens": 0,
}

_GEMINI: Final = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": _SAID}]}, "finishReason": "STOP"}
    ],
    "usageMetadata": {
        "promptTokenCount": 12,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 2,
        "totalTokenCount": 17,
    },
    "modelVersion": "gemini-2.5-flash",
}

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response.

    Attributes:
        is_cut: Whether the connection ends before the announced length.
    """

    status: int
    media_type: str
    body: bytes
    is_cut: bool = False


def answer(path: str, body: Body) -> Answer | None:
    """Return the response to one request of a provider's client; None for an unknown path."""
    path = urlsplit(path).path
    if path.endswith("/chat/completions"):
        return _chat(body)
    if path.endswith("/responses"):
        told = _response(body)
        return _stream(_response_events(told)) if body.get("stream") else _json(told)
    if ":streamGenerateContent" in path:
        return _stream(("", chunk) for chunk in _gemini_chunks())
    if ":generateContent" in path:
        return _json(_GEMINI)
    if path.endswith("/embeddings"):
        return _json(_embeddings(body))
    if path.endswith("/messages"):
        return _messages(body)
    if path.endswith("/converse"):
        return _converse(unquote(path), body)
    return None


def usage_of(told: Answer) -> object:
    """Return the usage in a response; None if it has none."""
    lines = told.body.decode().splitlines()
    texts = [line.removeprefix("data: ") for line in lines if line.startswith("data: {")]
    documents = [json.loads(text) for text in texts or lines]
    return next((one["usage"] for one in reversed(documents) if one.get("usage")), None)


def _json(document: object, status: int = 200) -> Answer:
    return Answer(status, "application/json", json.dumps(document).encode())


def _stream(events: Iterator[tuple[str, object]], last: str = "") -> Answer:
    lines = [
        (f"event: {name}\n" if name else "") + f"data: {json.dumps(document)}\n\n"
        for name, document in events
    ]
    return Answer(200, "text/event-stream", ("".join(lines) + last).encode())


def _chat(body: Body) -> Answer:
    if body["model"] == MISSING:
        error = {
            "message": f"The model '{MISSING}' does not exist",
            "type": "invalid_request_error",
        }
        return _json({"error": {**error, "param": None, "code": "model_not_found"}}, 404)
    if body["model"] == BUSY:
        error = {"message": "Rate limit reached", "type": "requests"}
        return _json({"error": {**error, "param": None, "code": "rate_limit_exceeded"}}, 429)
    if body["model"] == BROKEN:
        error = {"message": "The server had an error", "type": "server_error"}
        return _json({"error": {**error, "param": None, "code": None}}, 500)
    if body.get("stream") and body.get("user") == CUT:
        return replace(_stream(("", chunk) for chunk in islice(_chunks(body), 3)), is_cut=True)
    if body.get("stream"):
        return _stream((("", chunk) for chunk in _chunks(body)), "data: [DONE]\n\n")
    message: dict[str, object] = {"role": "assistant", "content": _said(body), "refusal": None}
    reason = "stop"
    if body.get("reasoning_effort"):
        message["reasoning_content"] = _THOUGHT
    if body.get("tools") and body["messages"][-1]["role"] != "tool":
        function = _call_of(body["tools"][0]["function"])
        calls = [{"id": "call_1", "type": "function", "function": function}]
        message, reason = {"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return _json({**_head(body, "chat.completion"), "choices": [choice], "usage": _USAGE})


def _call_of(tool: Body) -> dict[str, object]:
    """Return a tool call with a value for each known parameter."""
    asked = tool.get("parameters", {}).get("properties", {})
    given = {name: value for name, value in _GIVEN.items() if name in asked} or _CITY
    return {"name": tool["name"], "arguments": json.dumps(given, separators=(",", ":"))}


def _said(body: Body) -> str:
    """Return the answer, in DSPy's format if the request asks for it."""
    if body.get("response_format"):
        return _FIELDS
    asked = json.dumps(body["messages"])
    if "[[ ## answer ## ]]" not in asked:
        return _SAID
    thought = f"[[ ## reasoning ## ]]\n{_THOUGHT}\n\n" if "[[ ## reasoning ## ]]" in asked else ""
    return f"{thought}[[ ## answer ## ]]\n{_SAID}\n\n[[ ## completed ## ]]"


def _response(body: Body) -> dict[str, object]:
    """Return a response of OpenAI's Responses API: a thought, then a tool call or the text."""
    asked = body["input"] if isinstance(body["input"], list) else []
    is_told = any(item.get("type") == "function_call_output" for item in asked)
    output: list[dict[str, object]] = [
        {
            "id": "rs_1",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": _THOUGHT}],
        }
    ]
    if any(tool.get("name") == "find_weather" for tool in body.get("tools", ())) and not is_told:
        call = {"type": "function_call", "call_id": "call_1", "name": "find_weather"}
        output.append(
            {
                **call,
                "id": "fc_1",
                "arguments": _CITY_JSON,
                "status": "completed",
            }
        )
    else:
        content = [{"type": "output_text", "text": _SAID, "annotations": []}]
        message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
        output.append({**message, "content": content})
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": body["model"],
        "status": "completed",
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": body.get("tools", []),
        "usage": {
            "input_tokens": 12,
            "output_tokens": 5,
            "total_tokens": 17,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens_details": {"reasoning_tokens": 2},
        },
    }


def _response_events(told: Body) -> Iterator[tuple[str, object]]:
    yield "response.created", {"type": "response.created", "response": {"id": told["id"]}}
    for index, item in enumerate(told["output"]):
        done = {"type": "response.output_item.done", "output_index": index, "item": item}
        yield "response.output_item.done", done
    yield "response.completed", {"type": "response.completed", "response": told}


def _head(body: Body, kind: str) -> dict[str, object]:
    return {
        "id": "chatcmpl-1",
        "object": kind,
        "created": 1_700_000_000,
        "model": f"{body['model']}-2024-07-18",
        "system_fingerprint": "fp_1",
    }


def _chunks(body: Body) -> Iterator[dict[str, object]]:
    head = _head(body, "chat.completion.chunk")
    deltas: list[dict[str, object]] = [{"content": word} for word in _WORDS]
    reason = "stop"
    if body.get("tools"):
        deltas, reason = list(_pieces_of_call()), "tool_calls"
    for delta in ({"role": "assistant", "content": ""}, *deltas):
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": _USAGE}


def _pieces_of_call() -> Iterator[dict[str, object]]:
    """Yield the tool's name first, then its arguments in two pieces."""
    function = {"name": "find_weather", "arguments": ""}
    yield {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}
    for piece in (_CITY_JSON[:8], _CITY_JSON[8:]):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def _gemini_chunks() -> Iterator[dict[str, object]]:
    """Yield the answer word by word; the last chunk has no text and ends it."""
    for text in (*_WORDS, ""):
        candidate: dict[str, object] = {"content": {"role": "model", "parts": [{"text": text}]}}
        if not text:
            candidate["finishReason"] = "STOP"
        yield {**_GEMINI, "candidates": [candidate]}


def _embeddings(body: Body) -> dict[str, object]:
    asked = body["input"] if isinstance(body["input"], list) else [body["input"]]
    vector: object = list(_VECTOR)
    if body.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack("<3f", *_VECTOR)).decode()
    return {
        "object": "list",
        "model": body["model"],
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index in range(len(asked))
        ],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }


_CLAUDE_ERRORS: Final = {
    BUSY: (429, "rate_limit_error", "Rate limit reached"),
    BROKEN: (500, "api_error", "The server had an error"),
}


def _messages(body: Body) -> Answer:
    if body["model"] == MISSING:
        error = {"type": "not_found_error", "message": f"model: {MISSING}"}
        return _json({"type": "error", "error": error}, 404)
    if body["model"] in _CLAUDE_ERRORS:
        status, name, message = _CLAUDE_ERRORS[body["model"]]
        return _json({"type": "error", "error": {"type": name, "message": message}}, status)
    if body.get("stream") and (body.get("metadata") or {}).get("user_id") == CUT:
        return replace(_stream(islice(_message_events(body), 4)), is_cut=True)
    if body.get("stream"):
        return _stream(_message_events(body))
    said = _FIELDS if (body.get("output_config") or {}).get("format") else _SAID
    content: list[dict[str, object]] = [{"type": "text", "text": said}]
    reason = "end_turn"
    if body.get("thinking"):
        content.insert(0, {"type": "thinking", "thinking": _THOUGHT, "signature": "none"})
    if _has_weather(body) and "tool_result" not in json.dumps(body["messages"][-1]):
        content = [{"type": "tool_use", "id": "toolu_1", "name": "find_weather"}]
        content[0]["input"] = _CITY
        reason = "tool_use"
    return _json({**_message(body, content), "stop_reason": reason, "usage": _ANTHROPIC_USAGE})


def _has_weather(body: Body) -> bool:
    """Return whether a request has the tool that is called. Coding agents have many others."""
    return any(tool.get("name") == "find_weather" for tool in body.get("tools") or ())


def _message(body: Body, content: object) -> dict[str, object]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _message_events(body: Body) -> Iterator[tuple[str, object]]:
    message = {**_message(body, []), "usage": {**_ANTHROPIC_USAGE, "output_tokens": 1}}
    block: dict[str, object] = {"type": "text", "text": ""}
    deltas = [{"type": "text_delta", "text": word} for word in _WORDS]
    reason = "end_turn"
    if _has_weather(body):
        block = {"type": "tool_use", "id": "toolu_1", "name": "find_weather", "input": {}}
        pieces = ("", _CITY_JSON[:8], _CITY_JSON[8:])
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        reason = "tool_use"
    yield "message_start", {"type": "message_start", "message": message}
    yield (
        "content_block_start",
        {"type": "content_block_start", "index": 0, "content_block": block},
    )
    for delta in deltas:
        yield (
            "content_block_delta",
            {"type": "content_block_delta", "index": 0, "delta": delta},
        )
    yield "content_block_stop", {"type": "content_block_stop", "index": 0}
    ended = {"stop_reason": reason, "stop_sequence": None}
    yield "message_delta", {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 5}}
    yield "message_stop", {"type": "message_stop"}


def _converse(path: str, body: Body) -> Answer:
    """Return an answer of Bedrock's Converse API."""
    if MISSING in path:
        return _json({"message": "The provided model identifier is invalid."}, 400)
    content: list[dict[str, object]] = [{"text": _SAID}]
    reason = "end_turn"
    if body.get("toolConfig"):
        call = {"toolUseId": "toolu_1", "name": "find_weather", "input": _CITY}
        content, reason = [{"toolUse": call}], "tool_use"
    usage = {
        "inputTokens": _ANTHROPIC_USAGE["input_tokens"],
        "outputTokens": _ANTHROPIC_USAGE["output_tokens"],
        "cacheReadInputTokens": _ANTHROPIC_USAGE["cache_read_input_tokens"],
        "cacheWriteInputTokens": _ANTHROPIC_USAGE["cache_creation_input_tokens"],
        "totalTokens": 21,
    }
    return _json(
        {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": reason,
            "usage": usage,
            "metrics": {"latencyMs": 1},
        }
    )
