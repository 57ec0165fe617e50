"""Calls as recorded by libraries without a mapping table, and the expected runs.

All are invented. They differ in naming (dots, camel case, underscores, prefixes) and in where the
data are: in attributes, in JSON inside one attribute, or in events.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from otel_ml_collector.span import Event, Scope, Span, Value
from tests.support.otel_ml_collector.spans import NOW_NS, make_span

ASKED: Final = "Which tram goes to the fish market?"
ANSWERED: Final = "Line 13, from platform B."
TALK: Final = [
    {"role": "system", "content": "Answer in one line."},
    {"role": "user", "content": ASKED},
]
REPLY: Final = {"role": "assistant", "content": ANSWERED}
INTERNAL: Final = 1
SERVER: Final = 2
CLIENT: Final = 3


@dataclass(frozen=True, slots=True)
class Emitter:
    """A call of a library without a mapping table.

    Attributes:
        title: What is special about the call.
        attributes: Attributes of its span.
        events: Names and attributes of the events of its span.
        want: Fields of the run that differ from those of most emitters.
        name: Name of the span.
        kind: Kind of the span.
        failed: Whether the span has the status error.
    """

    title: str
    attributes: Mapping[str, Value]
    events: Sequence[tuple[str, Mapping[str, Value]]] = ()
    want: Mapping[str, Any] = field(default_factory=dict)
    name: str = "llm"
    kind: int = INTERNAL
    failed: bool = False

    @property
    def span(self) -> Span:
        """The span of the call."""
        return make_span(
            self.name,
            self.attributes,
            kind=self.kind,
            status_code=2 if self.failed else 0,
            status_message="rate limit" if self.failed else "",
            events=[Event(name, NOW_NS, given) for name, given in self.events],
            scope=Scope({}, "unheard.of", "1", {}),
        )


def _json(value: object) -> str:
    return json.dumps(value)


_INVENTED: Final = (
    Emitter(
        "dotted names, messages as JSON",
        {
            "acme.llm.model": "gpt-4o-mini",
            "acme.llm.provider": "openai",
            "acme.llm.usage.prompt_tokens": 61,
            "acme.llm.usage.completion_tokens": 18,
            "acme.llm.usage.total_tokens": 79,
            "acme.llm.messages": _json(TALK),
            "acme.llm.completion": ANSWERED,
            "acme.llm.temperature": 0.2,
        },
        want={"provider": "openai", "params": '{"temperature":0.2}'},
    ),
    Emitter(
        "camel case",
        {
            "bolt.modelId": "gpt-4o-mini",
            "bolt.promptTokenCount": 61,
            "bolt.candidatesTokenCount": 18,
            "bolt.totalTokenCount": 79,
            "bolt.inputText": ASKED,
            "bolt.outputText": ANSWERED,
        },
    ),
    Emitter(
        "bare names with underscores",
        {
            "model_name": "gpt-4o-mini",
            "input_tokens": 61,
            "output_tokens": 18,
            "prompt": ASKED,
            "response": ANSWERED,
            "temperature": 0.0,
        },
    ),
    Emitter(
        "request and response as JSON",
        {
            "corvid.request": _json({"model": "gpt-4o-mini", "messages": TALK, "max_tokens": 200}),
            "corvid.response": _json(
                {
                    "id": "chatcmpl-77",
                    "model": "gpt-4o-mini-2024-07-18",
                    "choices": [{"index": 0, "message": REPLY, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 61, "completion_tokens": 18, "total_tokens": 79},
                }
            ),
        },
        want={
            "provider_model": "gpt-4o-mini-2024-07-18",
            "response_id": "chatcmpl-77",
            "params": '{"max_tokens":200}',
        },
    ),
    Emitter(
        "one attribute with everything",
        {
            "payload": _json(
                {
                    "request": {"model": "gpt-4o-mini", "messages": TALK},
                    "response": {"text": ANSWERED},
                    "usage": {"input": 61, "output": 18},
                }
            )
        },
    ),
    Emitter(
        "input, output, metadata and metrics as JSON",
        {
            "dune.input_json": _json(TALK),
            "dune.output_json": _json([REPLY]),
            "dune.metadata": _json({"model": "gpt-4o-mini", "provider": "openai"}),
            "dune.metrics": _json({"prompt_tokens": 61, "completion_tokens": 18, "tokens": 79}),
            "dune.span_attributes": _json({"type": "llm", "name": "Chat Completion"}),
        },
        want={"provider": "openai"},
    ),
    Emitter(
        "numbered names",
        {
            "ember.request.model": "gpt-4o-mini",
            "ember.response.model": "gpt-4o-mini-2024-07-18",
            "ember.messages.0.role": "system",
            "ember.messages.0.content": "Answer in one line.",
            "ember.messages.1.role": "user",
            "ember.messages.1.content": ASKED,
            "ember.choices.0.message.role": "assistant",
            "ember.choices.0.message.content": ANSWERED,
            "ember.usage.input_tokens": 61,
            "ember.usage.output_tokens": 18,
        },
        want={"provider_model": "gpt-4o-mini-2024-07-18"},
    ),
    Emitter(
        "numbers in brackets",
        {
            "model": "gpt-4o-mini",
            "prompt[0].role": "user",
            "prompt[0].content": ASKED,
            "completion[0].role": "assistant",
            "completion[0].content": ANSWERED,
            "tokens.prompt": 61,
            "tokens.completion": 18,
        },
    ),
    Emitter(
        "counts as text",
        {
            "fjord.model": "gpt-4o-mini",
            "fjord.tokens_in": "61",
            "fjord.tokens_out": "18",
            "fjord.question": ASKED,
            "fjord.answer": ANSWERED,
        },
    ),
    Emitter(
        "everything in two events",
        {},
        (
            ("llm.request", {"model": "gpt-4o-mini", "messages": _json(TALK)}),
            (
                "llm.response",
                {"content": ANSWERED, "usage.prompt_tokens": 61, "usage.completion_tokens": 18},
            ),
        ),
    ),
    Emitter(
        "a message in each event",
        {"gale.model": "gpt-4o-mini", "gale.usage.input": 61, "gale.usage.output": 18},
        (
            ("message", {"role": "system", "content": "Answer in one line."}),
            ("message", {"role": "user", "content": ASKED}),
            ("message", {"role": "assistant", "content": ANSWERED}),
        ),
    ),
    Emitter(
        "events named after the speaker",
        {"hazel.engine": "gpt-4o-mini", "hazel.tokens.input": 61, "hazel.tokens.output": 18},
        (
            ("hazel.user_message", {"text": ASKED}),
            ("hazel.assistant_message", {"text": ANSWERED}),
        ),
    ),
    Emitter(
        "events with a payload",
        {"llm.response.model": "gpt-4o-mini"},
        (
            ("flow.function.inputs", {"payload": _json({"prompt": ASKED})}),
            ("flow.function.output", {"payload": _json(ANSWERED)}),
            ("flow.usage", {"payload": _json({"prompt_tokens": 61, "completion_tokens": 18})}),
        ),
    ),
    Emitter(
        "usage as JSON",
        {
            "iris.model": "gpt-4o-mini",
            "iris.usage": _json({"inputTokens": 61, "outputTokens": 18, "totalTokens": 79}),
            "iris.input": ASKED,
            "iris.output": ANSWERED,
        },
    ),
    Emitter(
        "JSON inside JSON",
        {
            "juno.record": _json(
                {
                    "model": "gpt-4o-mini",
                    "input": _json(TALK),
                    "output": _json(REPLY),
                    "usage": _json({"prompt": 61, "completion": 18}),
                }
            )
        },
    ),
    Emitter(
        "the provider before the model",
        {
            "kelp.model": "openai/gpt-4o-mini",
            "kelp.input_token_count": 61,
            "kelp.output_token_count": 18,
            "kelp.input.value": ASKED,
            "kelp.output.value": ANSWERED,
        },
        want={"provider": "openai"},
    ),
    Emitter(
        "a deployment",
        {
            "lynx.azure.deployment": "tram-desk-gpt-4o-mini",
            "lynx.azure.usage.prompt_tokens": 61,
            "lynx.azure.usage.completion_tokens": 18,
            "lynx.azure.request.messages": _json(TALK),
            "lynx.azure.response.message": _json(REPLY),
        },
        want={
            "model": "tram-desk-gpt-4o-mini",
            "provider_model": "tram-desk-gpt-4o-mini",
            "cost": None,
        },
    ),
    Emitter(
        "Anthropic's answer, cached tokens left out",
        {
            "moss.request": _json(
                {
                    "model": "claude-sonnet-4-5",
                    "system": "Answer in one line.",
                    "messages": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}],
                }
            ),
            "moss.response": _json(
                {
                    "id": "msg_4",
                    "type": "message",
                    "role": "assistant",
                    "model": "claude-sonnet-4-5",
                    "content": [{"type": "text", "text": ANSWERED}],
                    "usage": {
                        "input_tokens": 61,
                        "cache_read_input_tokens": 1_500,
                        "cache_creation_input_tokens": 0,
                        "output_tokens": 18,
                    },
                }
            ),
        },
        want={
            "model": "claude-sonnet-4-5",
            "provider_model": "claude-sonnet-4-5",
            "response_id": "msg_4",
            "input_tokens": 1_561,
            "cached_tokens": 1_500,
            "cache_creation_tokens": 0,
            "cost": (61 * 3 + 1_500 * 0.3 + 18 * 15) / 1e6,
        },
    ),
    Emitter(
        "Gemini's request and answer",
        {
            "nova.model": "models/gemini-2.5-flash",
            "nova.request.contents": _json([{"role": "user", "parts": [{"text": ASKED}]}]),
            "nova.response": _json(
                {
                    "candidates": [{"content": {"role": "model", "parts": [{"text": ANSWERED}]}}],
                    "usageMetadata": {
                        "promptTokenCount": 61,
                        "candidatesTokenCount": 18,
                        "thoughtsTokenCount": 7,
                        "totalTokenCount": 86,
                    },
                }
            ),
        },
        want={
            "model": "models/gemini-2.5-flash",
            "provider_model": "models/gemini-2.5-flash",
            "output_tokens": 18,
            "reasoning_tokens": 7,
            "cost": ...,
        },
    ),
    Emitter(
        "Ollama's counts",
        {
            "otter.model": "llama3.2:3b",
            "otter.prompt": ASKED,
            "otter.response": ANSWERED,
            "otter.prompt_eval_count": 61,
            "otter.eval_count": 18,
        },
        want={"model": "llama3.2:3b", "provider_model": "llama3.2:3b", "cost": ...},
    ),
    Emitter(
        "Bedrock's names",
        {
            "plum.aws.model_id": "anthropic.claude-3-haiku-20240307-v1:0",
            "plum.aws.inputTokenCount": 61,
            "plum.aws.outputTokenCount": 18,
            "plum.aws.body": _json({"messages": [{"role": "user", "content": ASKED}]}),
            "plum.aws.result": _json(
                {"output": {"message": {"role": "assistant", "content": [{"text": ANSWERED}]}}}
            ),
        },
        want={
            "model": "anthropic.claude-3-haiku-20240307-v1:0",
            "provider_model": "anthropic.claude-3-haiku-20240307-v1:0",
            "cost": ...,
        },
    ),
    Emitter(
        "roles of an enum, text in blocks",
        {
            "quartz.llm.name": "gpt-4o-mini",
            "quartz.chat.history": _json(
                [{"role": "MessageRole.USER", "blocks": [{"type": "text", "text": ASKED}]}]
            ),
            "quartz.chat.reply": _json(
                {"role": "MessageRole.ASSISTANT", "blocks": [{"type": "text", "text": ANSWERED}]}
            ),
            "quartz.counts.prompt_tokens": 61,
            "quartz.counts.completion_tokens": 18,
        },
    ),
    Emitter(
        "speakers as types",
        {
            "raven.model": "gpt-4o-mini",
            "raven.input": _json([{"type": "human", "content": ASKED}]),
            "raven.output": _json({"type": "ai", "content": ANSWERED}),
            "raven.usage_metadata": _json(
                {"input_tokens": 61, "output_tokens": 18, "input_token_details": {"cache_read": 32}}
            ),
        },
        want={"cached_tokens": 32, "cost": (29 * 0.15 + 32 * 0.075 + 18 * 0.6) / 1e6},
    ),
    Emitter(
        "the whole conversation in one list",
        {
            "sable.model": "gpt-4o-mini",
            "sable.conversation": _json([*TALK, REPLY]),
            "sable.prompt_tokens": 61,
            "sable.completion_tokens": 18,
        },
    ),
    Emitter(
        "attributes that are objects",
        {
            "tarn": {
                "model": {"name": "gpt-4o-mini", "vendor": "openai"},
                "usage": {"in": 61, "out": 18},
                "prompt": {"messages": TALK},
                "completion": {"message": REPLY},
            }
        },
        want={"provider": "openai"},
    ),
    Emitter(
        "the model only in the name of the span",
        {
            "umber.input": ASKED,
            "umber.output": ANSWERED,
            "umber.usage.input_tokens": 61,
            "umber.usage.output_tokens": 18,
        },
        name="chat gpt-4o-mini",
        kind=CLIENT,
    ),
    Emitter(
        "the model under a name of its own",
        {
            "entity.2.name": "gpt-4o-mini",
            "entity.2.type": "inference",
        },
        (
            ("data.input", {"input": [_json({"role": "user", "content": ASKED})]}),
            ("data.output", {"response": ANSWERED}),
            ("metadata", {"prompt_tokens": 61, "completion_tokens": 18, "total_tokens": 79}),
        ),
    ),
    Emitter(
        "names with dashes and slashes",
        {
            "x-vireo-model": "gpt-4o-mini",
            "x-vireo-input-token-count": "61",
            "x-vireo-output-token-count": "18",
            "vireo/prompt": ASKED,
            "vireo/completion": ANSWERED,
        },
    ),
    Emitter(
        "run-together lower case",
        {
            "wisp.modelname": "gpt-4o-mini",
            "wisp.inputtokens": 61,
            "wisp.outputtokens": 18,
            "wisp.userprompt": ASKED,
            "wisp.query": ASKED,
            "wisp.reply": ANSWERED,
        },
    ),
    Emitter(
        "session, user, cost and response ID",
        {
            "xeno.model": "gpt-4o-mini",
            "xeno.usage.input_tokens": 61,
            "xeno.usage.output_tokens": 18,
            "xeno.cost.total": 0.5,
            "xeno.cost.input": 0.4,
            "xeno.input": ASKED,
            "xeno.output": ANSWERED,
            "xeno.thread_id": "t-9",
            "xeno.user_id": "liv",
            "xeno.response.id": "resp_12",
        },
        want={"cost": 0.5, "session": "t-9", "user": "liv", "response_id": "resp_12"},
    ),
    Emitter(
        "system instructions of their own",
        {
            "yarrow.model": "gpt-4o-mini",
            "yarrow.system_prompt": "Answer in one line.",
            "yarrow.user_prompt": ASKED,
            "yarrow.completion_text": ANSWERED,
            "yarrow.usage.prompt_tokens": 61,
            "yarrow.usage.completion_tokens": 18,
            "yarrow.limits.max_tokens": 200,
        },
        want={"params": '{"max_tokens":200}'},
    ),
    Emitter(
        "arguments and result of a function",
        {
            "zephyr.model_id": "gpt-4o-mini",
            "zephyr.args": _json({"question": ASKED}),
            "zephyr.result": ANSWERED,
            "zephyr.n_tokens_prompt": 61,
            "zephyr.n_tokens_generated": 18,
        },
    ),
    Emitter(
        "lists of texts",
        {
            "amber.models": "gpt-4o-mini",
            "amber.prompts": [ASKED],
            "amber.completions": [ANSWERED],
            "amber.llm_output": _json(
                {"token_usage": {"prompt_tokens": 61, "completion_tokens": 18, "total_tokens": 79}}
            ),
        },
    ),
    Emitter(
        "gen_ai names next to its own",
        {
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.system": "openai",
            "brisk.tokens.input": 61,
            "brisk.tokens.output": 18,
            "brisk.transcript": _json([*TALK, REPLY]),
        },
        want={"provider": "openai"},
    ),
    Emitter(
        "an embedding",
        {
            "clove.model": "text-embedding-3-small",
            "clove.usage.total_tokens": 61,
            "clove.input": _json([ASKED]),
            "clove.dimensions": 1_536,
        },
        want={
            "kind": "embedding",
            "model": "text-embedding-3-small",
            "provider_model": "text-embedding-3-small",
            "output_tokens": None,
            "outputs_preview": "",
            "cost": ...,
        },
    ),
    Emitter(
        "HTTP bodies",
        {
            "http.request.method": "POST",
            "url.full": "https://api.example.com/v1/chat/completions",
            "http.request.body": _json({"model": "gpt-4o-mini", "messages": TALK}),
            "http.response.body": _json(
                {
                    "choices": [{"message": REPLY}],
                    "usage": {"prompt_tokens": 61, "completion_tokens": 18},
                }
            ),
        },
        kind=CLIENT,
    ),
    Emitter(
        "a failed client",
        {"drift.model": "gpt-4o-mini", "drift.endpoint": "/v1/chat"},
        want={
            "outcome": "error",
            "input_tokens": None,
            "output_tokens": None,
            "inputs_preview": "",
            "outputs_preview": "rate limit",
            "cost": None,
        },
        kind=CLIENT,
        failed=True,
    ),
    Emitter(
        "a failed call of an internal span",
        {"eddy.request": _json({"model": "gpt-4o-mini", "messages": TALK})},
        want={
            "outcome": "error",
            "input_tokens": None,
            "output_tokens": None,
            "outputs_preview": "rate limit",
            "cost": None,
        },
        failed=True,
    ),
    Emitter(
        "a model that is newer than the price table",
        {
            "fable.model": "gpt-17-nano",
            "fable.usage.input": 61,
            "fable.usage.output": 18,
            "fable.input": ASKED,
            "fable.output": ANSWERED,
        },
        want={"model": "gpt-17-nano", "provider_model": "gpt-17-nano", "cost": None},
    ),
)
# Forms that libraries and services in public repositories use.
_MODELLED: Final = (
    Emitter(
        "a function that wraps the client",
        {
            "inputs": _json({"model": "gpt-4o-mini", "messages": TALK, "self": "x"}),
            "output": _json(
                {
                    "choices": [{"message": REPLY}],
                    "model": "gpt-4o-mini-2024-07-18",
                    "usage": {"prompt_tokens": 61, "completion_tokens": 18, "total_tokens": 79},
                }
            ),
            "summary": _json(
                {
                    "usage": {
                        "gpt-4o-mini-2024-07-18": {
                            "requests": 1,
                            "prompt_tokens": 61,
                            "completion_tokens": 18,
                        }
                    }
                }
            ),
        },
        want={"provider_model": "gpt-4o-mini-2024-07-18"},
    ),
    Emitter(
        "underscores before dots",
        {
            "hive_event_type": "model",
            "hive_config.model": "gpt-4o-mini",
            "hive_config.provider": "openai",
            "hive_inputs.chat_history.0.role": "user",
            "hive_inputs.chat_history.0.content": ASKED,
            "hive_outputs.role": "assistant",
            "hive_outputs.content": ANSWERED,
            "hive_metadata.prompt_tokens": 61,
            "hive_metadata.completion_tokens": 18,
        },
        want={"provider": "openai"},
    ),
    Emitter(
        "input and output of a span next to counts of a request",
        {
            "lamp.span.type": "LLM",
            "lamp.span.input": _json(TALK),
            "lamp.span.output": _json(
                [{"role": "assistant", "content": [{"type": "text", "text": ANSWERED}]}]
            ),
            "llm.request.model": "gpt-4o-mini",
            "llm.usage.prompt_tokens": 61,
            "llm.usage.completion_tokens": 18,
        },
    ),
    Emitter(
        "half of the names without a prefix",
        {
            "coal.span_type": "model",
            "coal.input": _json({"messages": TALK}),
            "coal.output": _json(
                {"choices": [{"index": 0, "message": REPLY, "finish_reason": "stop"}]}
            ),
            "model_name": "gpt-4o-mini",
            "input_tokens": 61,
            "output_tokens": 18,
            "tokens": 79,
        },
    ),
    Emitter(
        "a prefix that is also a speaker",
        {
            "ai.provider": "openai",
            "ai.model": "gpt-4o-mini",
            "ai.tokens.input": 61,
            "ai.tokens.output": 18,
            "ai.tokens.total": 79,
            "ai.prompt_text": ASKED,
            "ai.response_text": ANSWERED,
        },
        want={"provider": "openai"},
    ),
    Emitter(
        "Gemini's request and answer as JSON",
        {
            "trip.agent.llm_request": _json(
                {
                    "model": "gpt-4o-mini",
                    "config": {"temperature": 0.2, "system_instruction": "Be brief."},
                    "contents": [{"parts": [{"text": ASKED}], "role": "user"}],
                }
            ),
            "trip.agent.llm_response": _json(
                {
                    "content": {"parts": [{"text": ANSWERED}], "role": "model"},
                    "usage_metadata": {
                        "prompt_token_count": 61,
                        "candidates_token_count": 18,
                        "total_token_count": 79,
                    },
                }
            ),
        },
    ),
    Emitter(
        "OpenAI's Responses API as JSON",
        {
            "request": _json({"model": "gpt-4o-mini", "input": ASKED, "instructions": "Be brief."}),
            "response": _json(
                {
                    "id": "resp_1",
                    "model": "gpt-4o-mini",
                    "output": [
                        {"type": "reasoning", "summary": []},
                        {
                            "type": "message",
                            "role": "assistant",
                            "content": [{"type": "output_text", "text": ANSWERED}],
                        },
                    ],
                    "usage": {
                        "input_tokens": 61,
                        "input_tokens_details": {"cached_tokens": 0},
                        "output_tokens": 18,
                        "output_tokens_details": {"reasoning_tokens": 0},
                        "total_tokens": 79,
                    },
                }
            ),
        },
        want={"cached_tokens": 0, "response_id": "resp_1"},
    ),
    Emitter(
        "counts of tokens in one object",
        {
            "llm.vendor": "OpenAI",
            "llm.model": "gpt-4o-mini",
            "llm.prompts": _json([{"role": "user", "content": ASKED}]),
            "llm.responses": _json([{"role": "assistant", "content": ANSWERED}]),
            "llm.token.counts": _json(
                {"input_tokens": 61, "output_tokens": 18, "total_tokens": 79}
            ),
        },
        want={"provider": "openai"},
    ),
    Emitter(
        "some of OpenInference's names",
        {
            "llm.model": "gpt-4o-mini",
            "input.value": ASKED,
            "output.value": ANSWERED,
            "llm.token_count.prompt": 61,
            "llm.token_count.completion": 18,
        },
    ),
    Emitter(
        "an answer that calls a tool",
        {
            "zz.model": "gpt-4o-mini",
            "zz.messages": _json(
                [
                    *TALK,
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [
                            {
                                "id": "1",
                                "type": "function",
                                "function": {"name": "find", "arguments": '{"q": 1}'},
                            }
                        ],
                    },
                ]
            ),
            "zz.usage.in": 61,
            "zz.usage.out": 18,
        },
        want={"outputs_preview": "find(q=1)"},
    ),
    Emitter(
        "a field for each speaker",
        {
            "aa.llm": "gpt-4o-mini",
            "aa.message.user": ASKED,
            "aa.message.assistant": ANSWERED,
            "aa.tokens": _json({"prompt": 61, "completion": 18}),
        },
    ),
    Emitter(
        "everything in one event",
        {},
        (
            (
                "llm.call.completed",
                {
                    "model": "gpt-4o-mini",
                    "prompt": ASKED,
                    "completion": ANSWERED,
                    "prompt_tokens": 61,
                    "completion_tokens": 18,
                },
            ),
        ),
    ),
    Emitter(
        "everything in the JSON of one event",
        {},
        (
            (
                "gen",
                {
                    "body": _json(
                        {
                            "model": "gpt-4o-mini",
                            "input": {"messages": TALK},
                            "output": {"message": REPLY},
                            "usage": {"input_tokens": 61, "output_tokens": 18},
                        }
                    )
                },
            ),
        ),
    ),
    Emitter(
        "request and response by dots",
        {
            "bb.request.model_id": "gpt-4o-mini",
            "bb.response.usage.promptTokens": "61",
            "bb.response.usage.completionTokens": "18",
            "bb.request.prompt": ASKED,
            "bb.response.output": ANSWERED,
            "bb.response.finish_reason": "stop",
            "bb.response.id": "x",
            "bb.request.id": "y",
        },
        want={"response_id": "x"},
    ),
    Emitter(
        "counts as floats",
        {
            "cc.model": "gpt-4o-mini",
            "cc.prompt_tokens": 61.0,
            "cc.completion_tokens": 18.0,
            "cc.user_input": ASKED,
            "cc.llm_output": ANSWERED,
        },
    ),
    Emitter(
        "Cohere's names",
        {
            "dd.model": "command-r-plus",
            "dd.message": ASKED,
            "dd.text": ANSWERED,
            "dd.meta": _json(
                {
                    "billed_units": {"input_tokens": 61, "output_tokens": 18},
                    "tokens": {"input_tokens": 61, "output_tokens": 18},
                }
            ),
            "dd.chat_history": _json(
                [{"role": "USER", "message": ASKED}, {"role": "CHATBOT", "message": ANSWERED}]
            ),
        },
        want={"model": "command-r-plus", "provider_model": "command-r-plus", "cost": ...},
    ),
    Emitter(
        "answers in lists of lists",
        {
            "ee.model": "gpt-4o-mini",
            "ee.prompts": _json([ASKED]),
            "ee.generations": _json(
                [[{"text": ANSWERED, "generation_info": {"finish_reason": "stop"}}]]
            ),
            "ee.llm_output": _json({"token_usage": {"prompt_tokens": 61, "completion_tokens": 18}}),
        },
    ),
    Emitter(
        "upper case",
        {
            "FF_MODEL": "gpt-4o-mini",
            "FF_PROMPT": ASKED,
            "FF_COMPLETION": ANSWERED,
            "FF_PROMPT_TOKENS": 61,
            "FF_COMPLETION_TOKENS": 18,
        },
    ),
    Emitter(
        "an object for the model",
        {
            "gg.model": _json({"provider": "openai", "name": "gpt-4o-mini"}),
            "gg.usage": _json({"promptTokens": 61, "completionTokens": 18}),
            "gg.messages": [_json({"role": "user", "content": ASKED})],
            "gg.text": ANSWERED,
        },
        want={"provider": "openai"},
    ),
    Emitter(
        "an agent that repeats what its calls used",
        {
            "hh.span.kind": "agent",
            "hh.model": "gpt-4o-mini",
            "hh.input": ASKED,
            "hh.output": ANSWERED,
            "hh.tokens.in": 61,
            "hh.tokens.out": 18,
        },
        want={"kind": "agent", "model": "llm"},
    ),
    Emitter(
        "GenAI names, but texts of its own",
        {
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.input_tokens": 61,
            "gen_ai.usage.output_tokens": 18,
            "my.prompt": ASKED,
            "my.completion": ANSWERED,
        },
        want={"dialect": "gen_ai"},
    ),
    Emitter(
        "an answer in pieces, an event each",
        {
            "ii.model": "gpt-4o-mini",
            "ii.usage.input_tokens": 61,
            "ii.usage.output_tokens": 18,
            "ii.messages": _json(TALK),
        },
        (("chunk", {"delta": "Line 13,"}), ("chunk", {"delta": " from platform B."})),
    ),
    Emitter(
        "only the total of tokens",
        {"jj.model": "gpt-4o-mini", "jj.tokens_used": 79, "jj.prompt": ASKED, "jj.reply": ANSWERED},
        want={"input_tokens": None, "output_tokens": None, "cost": None},
    ),
    Emitter(
        "JSON that was cut off",
        {
            "kk.model": "gpt-4o-mini",
            "kk.usage.input_tokens": 61,
            "kk.usage.output_tokens": 18,
            "kk.input": _json(TALK)[:60],
            "kk.output": ANSWERED,
        },
        want={"inputs_preview": ...},
    ),
    Emitter(
        "values as Python prints them",
        {
            "ll.model": "gpt-4o-mini",
            "ll.usage": str({"input_tokens": 61, "output_tokens": 18}),
            "ll.messages": str(TALK),
            "ll.completion": ANSWERED,
        },
    ),
)

_ODD: Final = (
    Emitter(
        "entities with numbers, texts and counts in events",
        {
            "span.type": "inference",
            "entity.1.type": "inference.openai",
            "entity.1.inference_endpoint": "https://api.openai.com/v1/",
            "entity.2.name": "gpt-4o-mini",
            "entity.2.type": "model.llm.gpt-4o-mini",
            "entity.count": 2,
            "workflow.name": "desk",
        },
        (
            ("data.input", {"input": [_json({"system": "Be brief."}), _json({"user": ASKED})]}),
            ("data.output", {"response": _json({"assistant": ANSWERED})}),
            (
                "metadata",
                {
                    "temperature": 0.2,
                    "completion_tokens": 18,
                    "prompt_tokens": 61,
                    "total_tokens": 79,
                    "finish_reason": "stop",
                },
            ),
        ),
    ),
    Emitter(
        "events with payloads, counts of everything below",
        {
            "framework": "flowing",
            "span_type": "LLM",
            "function": "chat.create",
            "llm.usage.prompt_tokens": 61,
            "llm.usage.completion_tokens": 18,
            "llm.usage.total_tokens": 79,
            "llm.response.model": "gpt-4o-mini",
            "__computed__.cumulative_token_count.prompt": 61,
            "__computed__.cumulative_token_count.completion": 18,
            "__computed__.cumulative_token_count.total": 79,
        },
        (
            (
                "flowing.function.inputs",
                {"payload": _json({"model": "gpt-4o-mini", "messages": TALK, "temperature": 0.1})},
            ),
            (
                "flowing.function.output",
                {
                    "payload": _json(
                        {
                            "id": "chatcmpl-1",
                            "choices": [{"message": REPLY, "finish_reason": "stop"}],
                            "usage": {"prompt_tokens": 61, "completion_tokens": 18},
                        }
                    )
                },
            ),
        ),
    ),
    Emitter(
        "counts below the cost",
        {
            "elm.observability.span_type": "generation",
            "elm.observability.record_id": "r",
            "elm.observability.cost.model": "gpt-4o-mini",
            "elm.observability.cost.cost": 0.5,
            "elm.observability.cost.cost_currency": "USD",
            "elm.observability.cost.num_tokens": 79,
            "elm.observability.cost.num_prompt_tokens": 61,
            "elm.observability.cost.num_completion_tokens": 18,
            "elm.observability.call.kwargs.messages": _json(TALK),
            "elm.observability.call.return": ANSWERED,
        },
        want={"cost": 0.5},
    ),
    Emitter(
        "a root that repeats what its calls used",
        {
            "elm.observability.span_type": "record_root",
            "elm.observability.cost.model": "gpt-4o-mini",
            "elm.observability.cost.num_prompt_tokens": 61,
            "elm.observability.cost.num_completion_tokens": 18,
            "elm.observability.record_root.input": ASKED,
            "elm.observability.record_root.output": ANSWERED,
        },
        want={
            "kind": "chain",
            "model": "llm",
            "input_tokens": None,
            "output_tokens": None,
            "cost": None,
        },
    ),
    Emitter(
        "counts of this call and of all below",
        {
            "oak.type.node": "completion",
            "oak.meta.request.model": "gpt-4o-mini",
            "oak.metrics.unit.tokens.prompt": 61,
            "oak.metrics.unit.tokens.completion": 18,
            "oak.metrics.acc.tokens.prompt": 961,
            "oak.metrics.unit.costs.total": 0.4,
            "oak.data.inputs": _json({"prompt": TALK}),
            "oak.data.outputs": _json({"completion": [REPLY]}),
        },
        want={"cost": 0.4},
    ),
    Emitter(
        "other names of the GenAI namespace",
        {
            "fern.span.type": "llm",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.llm.input.system": "Be brief.",
            "gen_ai.llm.input.user": ASKED,
            "gen_ai.llm.output": ANSWERED,
            "gen_ai.usage.input_tokens": 61,
            "gen_ai.usage.output_tokens": 18,
        },
        want={"dialect": "gen_ai"},
    ),
    Emitter(
        "short words at the end",
        {
            "nv.type": "LLM_CALL",
            "nv.model": "gpt-4o-mini",
            "nv.in": ASKED,
            "nv.out": ANSWERED,
            "nv.tok_in": 61,
            "nv.tok_out": 18,
        },
    ),
    Emitter(
        "short words",
        {
            "qq.model": "gpt-4o-mini",
            "qq.in.text": ASKED,
            "qq.out.text": ANSWERED,
            "qq.in.tokens": 61,
            "qq.out.tokens": 18,
        },
    ),
    Emitter(
        "roles in upper case",
        {
            "larch.model": "gpt-4o-mini",
            "larch.llm.params.temperature": 0.7,
            "larch.prompt.messages": _json([{"role": "USER", "content": ASKED}]),
            "larch.responses": _json([{"role": "ASSISTANT", "content": ANSWERED}]),
            "larch.inputTokensCount": 61,
            "larch.outputTokensCount": 18,
            "larch.totalTokensCount": 79,
        },
    ),
    Emitter(
        "names without dots",
        {
            "Model": "gpt-4o-mini",
            "PromptTokens": 61,
            "CompletionTokens": 18,
            "Prompt": ASKED,
            "Completion": ANSWERED,
        },
    ),
    Emitter(
        "an operation of the GenAI conventions, counts and texts of its own",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "cedar.tokens.input": 61,
            "cedar.tokens.output": 18,
            "cedar.prompt": ASKED,
            "cedar.completion": ANSWERED,
        },
        want={"dialect": "gen_ai"},
    ),
    Emitter(
        "a request with tools",
        {
            "tt.request": _json(
                {
                    "model": "gpt-4o-mini",
                    "messages": TALK,
                    "tools": [
                        {
                            "type": "function",
                            "function": {
                                "name": "find",
                                "description": "Find things",
                                "parameters": {
                                    "type": "object",
                                    "properties": {"q": {"type": "string"}},
                                },
                            },
                        }
                    ],
                    "temperature": 0.3,
                }
            ),
            "tt.response": _json(
                {
                    "choices": [{"message": REPLY}],
                    "usage": {"prompt_tokens": 61, "completion_tokens": 18},
                }
            ),
        },
        want={"params": '{"temperature":0.3}'},
    ),
    Emitter(
        "OpenInference's names without a kind",
        {
            "llm.model_name": "gpt-4o-mini",
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.content": ASKED,
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": ANSWERED,
            "llm.token_count.prompt": 61,
            "llm.token_count.completion": 18,
            "llm.token_count.total": 79,
            "llm.token_count.prompt_details.cache_read": 32,
        },
        want={"cached_tokens": 32, "cost": ...},
    ),
    Emitter(
        "roles as keys",
        {
            "uu.model": "gpt-4o-mini",
            "uu.dialogue": _json([{"user": ASKED}, {"assistant": ANSWERED}]),
            "uu.tokens.in": 61,
            "uu.tokens.out": 18,
        },
    ),
    Emitter(
        "pairs of role and text",
        {
            "vv.model": "gpt-4o-mini",
            "vv.messages": _json([["system", "Be brief."], ["human", ASKED]]),
            "vv.completion": ANSWERED,
            "vv.input_tokens": 61,
            "vv.output_tokens": 18,
        },
    ),
    Emitter(
        "speakers and utterances",
        {
            "ww.model": "gpt-4o-mini",
            "ww.turns": _json(
                [{"speaker": "user", "utterance": ASKED}, {"speaker": "bot", "utterance": ANSWERED}]
            ),
            "ww.usage": _json({"in": 61, "out": 18}),
        },
    ),
    Emitter(
        "an answer that is an object",
        {
            "xx.model": "gpt-4o-mini",
            "xx.input": ASKED,
            "xx.output": _json({"line": 13, "platform": "B"}),
            "xx.usage.input": 61,
            "xx.usage.output": 18,
        },
        want={"outputs_preview": ...},
    ),
    Emitter(
        "a result as JSON, its query beside it",
        {
            "yy.result": _json(
                {
                    "answer": ANSWERED,
                    "model": "gpt-4o-mini",
                    "usage": {"input_tokens": 61, "output_tokens": 18},
                }
            ),
            "yy.query": ASKED,
        },
    ),
    Emitter(
        "a display name",
        {
            "zz.model": "Claude 3.5 Sonnet",
            "zz.usage.input": 61,
            "zz.usage.output": 18,
            "zz.prompt": ASKED,
            "zz.response": ANSWERED,
        },
        want={"model": "Claude 3.5 Sonnet", "provider_model": "Claude 3.5 Sonnet", "cost": ...},
    ),
    Emitter(
        "costs in two currencies",
        {
            "ab.model": "gpt-4o-mini",
            "ab.usage.input": 61,
            "ab.usage.output": 18,
            "ab.prompt": ASKED,
            "ab.response": ANSWERED,
            "ab.cost_usd": 0.25,
            "ab.cost_eur": 0.2,
        },
        want={"cost": 0.25},
    ),
    Emitter(
        "an exception without a status",
        {"ac.model": "gpt-4o-mini", "ac.prompt": ASKED},
        (
            (
                "exception",
                {"exception.type": "openai.RateLimitError", "exception.message": "slow down"},
            ),
        ),
        want={
            "outcome": "error",
            "input_tokens": None,
            "output_tokens": None,
            "outputs_preview": "slow down",
            "cost": None,
        },
    ),
    Emitter(
        "a flag instead of a status",
        {"ad.model": "gpt-4o-mini", "ad.prompt": ASKED, "error": True},
        want={
            "outcome": "error",
            "input_tokens": None,
            "output_tokens": None,
            "outputs_preview": "",
            "cost": None,
        },
        kind=3,
    ),
    Emitter(
        "a list of models",
        {
            "ae.models": ["gpt-4o-mini"],
            "ae.prompt": ASKED,
            "ae.response": ANSWERED,
            "ae.tokens.prompt": 61,
            "ae.tokens.completion": 18,
        },
    ),
    Emitter(
        "one event with everything as JSON",
        {"service.part": "x"},
        (
            (
                "llm_call",
                {
                    "json": _json(
                        {
                            "request": {"model": "gpt-4o-mini", "messages": TALK},
                            "response": {
                                "content": ANSWERED,
                                "usage": {"prompt": 61, "completion": 18},
                            },
                        }
                    )
                },
            ),
        ),
    ),
    Emitter(
        "a text that only its neighbours explain",
        {
            "ak.model": "claude-sonnet-4-5",
            "ak.prompt": ASKED,
            "ak.thinking": "hm",
            "ak.text": ANSWERED,
            "ak.tokens_in": 61,
            "ak.tokens_out": 18,
        },
        want={"model": "claude-sonnet-4-5", "provider_model": "claude-sonnet-4-5", "cost": ...},
    ),
    Emitter(
        "a node of a workflow",
        {
            "al.node.type": "llm",
            "al.node.inputs": _json({"question": ASKED}),
            "al.node.outputs": _json(
                {
                    "text": ANSWERED,
                    "usage": {"prompt_tokens": 61, "completion_tokens": 18, "total_price": "0.1"},
                }
            ),
            "al.node.process_data": _json(
                {"model_name": "gpt-4o-mini", "model_provider": "openai", "prompts": TALK}
            ),
        },
        want={"provider": "openai", "cost": ...},
    ),
    Emitter(
        "messages as LangChain serializes them",
        {
            "am.invocation": _json(
                {
                    "model": "gpt-4o-mini",
                    "messages": [
                        {
                            "lc": 1,
                            "type": "constructor",
                            "id": ["langchain", "schema", "HumanMessage"],
                            "kwargs": {"content": ASKED, "type": "human"},
                        }
                    ],
                }
            ),
            "am.generations": _json(
                [
                    [
                        {
                            "text": ANSWERED,
                            "message": {
                                "lc": 1,
                                "type": "constructor",
                                "kwargs": {"content": ANSWERED, "type": "ai"},
                            },
                        }
                    ]
                ]
            ),
            "am.usage": _json({"input_tokens": 61, "output_tokens": 18}),
        },
    ),
    Emitter(
        "names of session and user in camel case",
        {
            "ap.model": "gpt-4o-mini",
            "ap.prompt_tokens": 61,
            "ap.completion_tokens": 18,
            "ap.input": ASKED,
            "ap.output": ANSWERED,
            "ap.sessionId": "s1",
            "ap.userId": "u1",
            "ap.conversation.id": "c1",
        },
        want={"session": "s1", "user": "u1"},
    ),
)

CALLS: Final = (*_INVENTED, *_MODELLED, *_ODD)
