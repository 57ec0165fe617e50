"""Responses of model providers as their classes dump them, without unused fields.

Recorded with openai 2.54.0, anthropic 2.11.0 and litellm 1.106.2.
"""

from types import SimpleNamespace
from typing import Any, Final

JSON = dict[str, Any]

CHAT: Final[JSON] = {
    "id": "chatcmpl-1",
    "choices": [
        {
            "finish_reason": "tool_calls",
            "index": 0,
            "logprobs": None,
            "message": {
                "content": "hi",
                "refusal": None,
                "role": "assistant",
                "annotations": None,
                "audio": None,
                "function_call": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "function": {"arguments": '{"city":"Paris"}', "name": "weather"},
                        "type": "function",
                    }
                ],
            },
        }
    ],
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "object": "chat.completion",
    "moderation": None,
    "service_tier": None,
    "system_fingerprint": None,
    "usage": {
        "completion_tokens": 7,
        "prompt_tokens": 20,
        "total_tokens": 27,
        "completion_tokens_details": {
            "accepted_prediction_tokens": None,
            "audio_tokens": 0,
            "reasoning_tokens": 3,
            "rejected_prediction_tokens": None,
        },
        "prompt_tokens_details": {
            "audio_tokens": 0,
            "cache_write_tokens": None,
            "cached_tokens": 16,
        },
    },
}

COMPLETION: Final[JSON] = {
    "id": "cmpl-1",
    "choices": [{"finish_reason": "length", "index": 0, "logprobs": None, "text": "hi"}],
    "created": 1,
    "model": "gpt-3.5-turbo-instruct",
    "object": "text_completion",
    "system_fingerprint": None,
    "usage": {
        "completion_tokens": 7,
        "prompt_tokens": 5,
        "total_tokens": 12,
        "completion_tokens_details": None,
        "prompt_tokens_details": None,
    },
}

RESPONSE: Final[JSON] = {
    "id": "resp_1",
    "created_at": 1.0,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "model": "gpt-4o-2024-08-06",
    "object": "response",
    "output": [
        {
            "id": "rs_1",
            "summary": [{"text": "think", "type": "summary_text"}],
            "type": "reasoning",
            "content": None,
            "encrypted_content": None,
            "status": None,
        },
        {
            "id": "msg_1",
            "content": [{"annotations": [], "text": "hi", "type": "output_text", "logprobs": None}],
            "role": "assistant",
            "status": "completed",
            "type": "message",
            "phase": None,
        },
        {
            "arguments": "{}",
            "call_id": "call_1",
            "name": "weather",
            "type": "function_call",
            "id": "fc_1",
            "caller": None,
            "namespace": None,
            "status": "completed",
        },
    ],
    "status": "completed",
    "usage": {
        "input_tokens": 30,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 5},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 39,
    },
}

EMBEDDINGS: Final[JSON] = {
    "data": [{"embedding": [0.1, 0.2], "index": 0, "object": "embedding"}],
    "model": "text-embedding-3-small",
    "object": "list",
    "usage": {"prompt_tokens": 5, "total_tokens": 5},
}

ANTHROPIC: Final[JSON] = {
    "id": "msg_01",
    "container": None,
    "content": [
        {"signature": "s", "thinking": "hm", "type": "thinking"},
        {"citations": None, "text": "hi", "type": "text"},
        {
            "id": "tu_1",
            "caller": None,
            "input": {"city": "Paris"},
            "name": "weather",
            "type": "tool_use",
            "toolset_name": None,
        },
    ],
    "model": "claude-sonnet-4-20250514",
    "role": "assistant",
    "stop_details": None,
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "type": "message",
    "usage": {
        "cache_creation": None,
        "cache_creation_input_tokens": 50,
        "cache_read_input_tokens": 100,
        "inference_geo": None,
        "input_tokens": 10,
        "output_tokens": 6,
        "output_tokens_details": None,
        "server_tool_use": None,
        "service_tier": None,
        "speed": None,
    },
}

LITELLM_USAGE: Final[JSON] = {
    "completion_tokens": 3,
    "prompt_tokens": 5,
    "total_tokens": 8,
    "completion_tokens_details": {
        "accepted_prediction_tokens": None,
        "audio_tokens": None,
        "reasoning_tokens": 2,
        "rejected_prediction_tokens": None,
        "text_tokens": 1,
        "image_tokens": None,
        "video_tokens": None,
    },
    "prompt_tokens_details": {
        "audio_tokens": None,
        "cached_tokens": 2,
        "text_tokens": None,
        "image_tokens": None,
        "video_tokens": None,
        "cache_write_tokens": 1,
        "cache_creation_tokens": 1,
    },
    "cache_read_input_tokens": 2,
    "cache_creation_input_tokens": 1,
}


def chat_chunk(
    delta: JSON | None = None, reason: str | None = None, usage: JSON | None = None
) -> JSON:
    """Return one chunk of a chat completion; without a delta, the last one, with usage."""
    silent = {"content": None, "function_call": None, "refusal": None, "role": None}
    choice = {
        "delta": {**silent, "tool_calls": None, **(delta or {})},
        "finish_reason": reason,
        "index": 0,
        "logprobs": None,
    }
    return {
        "id": "chatcmpl-1",
        "choices": [] if delta is None else [choice],
        "created": 1,
        "model": "gpt-4o-2024-08-06",
        "object": "chat.completion.chunk",
        "moderation": None,
        "service_tier": None,
        "system_fingerprint": None,
        "usage": usage,
    }


def _call_delta(arguments: str, **first: Any) -> JSON:
    function = {"arguments": arguments, "name": first.get("name")}
    call = {"index": 0, "id": first.get("id"), "function": function, "type": first.get("type")}
    return {"tool_calls": [call]}


CHAT_CHUNKS: Final[list[JSON]] = [
    chat_chunk({"content": "", "role": "assistant"}),
    chat_chunk({"content": "h"}),
    chat_chunk({"content": "i"}),
    chat_chunk(_call_delta('{"city":', id="call_1", name="weather", type="function")),
    chat_chunk(_call_delta('"Paris"}')),
    chat_chunk({}, reason="tool_calls"),
    chat_chunk(usage=CHAT["usage"]),
]


def _started(index: int, block: JSON) -> JSON:
    return {"content_block": block, "index": index, "type": "content_block_start"}


def _delta(index: int, delta: JSON) -> JSON:
    return {"delta": delta, "index": index, "type": "content_block_delta"}


ANTHROPIC_EVENTS: Final[list[JSON]] = [
    {
        "message": {
            **ANTHROPIC,
            "content": [],
            "stop_reason": None,
            "usage": {**ANTHROPIC["usage"], "output_tokens": 1},
        },
        "type": "message_start",
    },
    _started(0, {"signature": "", "thinking": "", "type": "thinking"}),
    _delta(0, {"thinking": "h", "type": "thinking_delta"}),
    _delta(0, {"thinking": "m", "type": "thinking_delta"}),
    {"index": 0, "type": "content_block_stop"},
    _started(1, {"citations": None, "text": "", "type": "text"}),
    _delta(1, {"text": "hi", "type": "text_delta"}),
    _started(
        2,
        {
            "id": "tu_1",
            "caller": None,
            "input": {},
            "name": "weather",
            "type": "tool_use",
            "toolset_name": None,
        },
    ),
    _delta(2, {"partial_json": '{"city":', "type": "input_json_delta"}),
    _delta(2, {"partial_json": ' "Paris"}', "type": "input_json_delta"}),
    {
        "delta": {
            "container": None,
            "stop_details": None,
            "stop_reason": "end_turn",
            "stop_sequence": None,
        },
        "type": "message_delta",
        "usage": {
            "cache_creation_input_tokens": None,
            "cache_read_input_tokens": None,
            "input_tokens": None,
            "output_tokens": 6,
            "output_tokens_details": None,
            "server_tool_use": None,
        },
    },
    {"type": "message_stop"},
]

RESPONSE_EVENTS: Final[list[JSON]] = [
    {
        "response": {**RESPONSE, "output": [], "status": "in_progress", "usage": None},
        "sequence_number": 0,
        "type": "response.created",
    },
    {
        "content_index": 0,
        "delta": "hi",
        "item_id": "msg_1",
        "logprobs": [],
        "output_index": 0,
        "sequence_number": 1,
        "type": "response.output_text.delta",
    },
    {"response": RESPONSE, "sequence_number": 2, "type": "response.completed"},
]


def as_object(value: Any) -> Any:
    """Return a value with attributes instead of keys, like the providers' own classes.

    Tool inputs stay dicts, as they do in those classes.
    """
    if isinstance(value, dict):
        fields = {key: item if key == "input" else as_object(item) for key, item in value.items()}
        return SimpleNamespace(**fields)
    return [as_object(item) for item in value] if isinstance(value, list) else value
