"""Adds the attributes of the OpenTelemetry GenAI conventions to the run of a generative call.

It is loaded only for functions whose kind is a GenAI operation.

Spec: https://github.com/open-telemetry/semantic-conventions-genai
"""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import copy_context
from typing import Any, Final

from otel_ml import attributes as names
from otel_ml.capture.values import clean, encode_whole
from otel_ml.errors import quiet, untrusted
from otel_ml.genai.messages import (
    MAX_COUNT,
    READS_HIDDEN,
    find_input,
    find_output,
    find_system,
    read,
    read_count,
    read_items,
    read_name,
)
from otel_ml.redaction import Redaction

CONTENT_VARIABLE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

_NO_CONTENT: Final = frozenset({"false", "no_content"})
_ACTORS: Final = {
    "create_agent": names.GEN_AI_AGENT_NAME,
    "invoke_agent": names.GEN_AI_AGENT_NAME,
    "invoke_workflow": names.GEN_AI_WORKFLOW_NAME,
    "execute_tool": names.GEN_AI_TOOL_NAME,
}
_TALKS: Final = frozenset(
    {"chat", "generate_content", "text_completion", "invoke_agent", "invoke_workflow", "plan"}
)
_MODEL: Final = ("model", "model_name")
# parameters that contain further parameters to pass on
_NESTED: Final = ("params", "options", "request")
_STOPS: Final = 16
_STOP_CHARS: Final = 256
_GREATEST_NUMBER: Final = 1e9


def message_content_mode() -> bool:
    """Return whether to record the messages that are sent to and received from models.

    The default is yes. To turn it off, set the environment variable
    ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` to ``false`` or ``NO_CONTENT``. With any
    other value, including ``EVENT_ONLY``, messages are recorded with the run.
    """
    return os.environ.get(CONTENT_VARIABLE, "").strip().lower() not in _NO_CONTENT


class Generative:
    """Adds OpenTelemetry's GenAI attributes to the runs of one traced function.

    Args:
        operation: A GenAI operation, such as ``chat``: a key of `otel_ml.attributes.OPERATIONS`.
        function: The traced function.
        name: Name of the model, tool or agent.
        provider: Provider of the model, as in ``gen_ai.provider.name``.
        model: Name of the requested model, if all calls request the same one.

    Attributes:
        attributes: Attributes that are the same for all runs of the function.
        span_name: Name of a span when the call starts. At the end, `name_span` can add the model.
        keeps_content: Whether messages are recorded.
        is_talk: Whether the function's output is text that a language model wrote, as in a chat.
    """

    def __init__(
        self,
        operation: str,
        function: Callable[..., Any],
        name: str,
        *,
        provider: str | None = None,
        model: str | None = None,
    ) -> None:
        self.operation = operation
        self.is_talk = operation in _TALKS
        self.keeps_content = message_content_mode()
        actor = _ACTORS.get(operation)
        self.attributes: dict[str, str] = {names.GEN_AI_OPERATION: operation}
        if provider:
            self.attributes[names.GEN_AI_PROVIDER] = clean(provider)
        if model:
            self.attributes[names.GEN_AI_REQUEST_MODEL] = clean(model)
        if actor is not None:
            self.attributes[actor] = name
        self._has_actor = actor is not None
        self._rest = _rest_of(function)
        # if the model is unknown, the function's name says more than the operation
        self.span_name = f"{operation} {name if actor else model}" if actor or model else name

    def describe_inputs(
        self, inputs: Mapping[str, object], hide: Redaction | None
    ) -> dict[str, Any]:
        """Return the GenAI attributes of a request, such as its model, read from a call's inputs.

        Never raises.

        Args:
            inputs: Inputs by parameter name.
            hide: Hides secrets in messages. If None, no messages are recorded.
        """
        entries: dict[str, Any] = {}
        with quiet("gen_ai"):
            request = _flat(inputs, self._rest)
            model = read_name(request, *_MODEL)
            if model is not None and names.GEN_AI_REQUEST_MODEL not in self.attributes:
                entries[names.GEN_AI_REQUEST_MODEL] = clean(model)
            entries.update(_read_request(request, _REQUEST))
            if hide is not None and self.keeps_content:
                for name, words in _read_request(request, _FREE_TEXTS).items():
                    entries[name] = tuple(map(hide.text, words))
                content = _read_as(hide, lambda: self._input_content(inputs, request))
                entries.update(_write(content, hide))
        return entries

    def describe_output(
        self,
        items: Sequence[tuple[object, object]],
        known: Mapping[str, object],
        hide: Redaction | None,
    ) -> dict[str, Any]:
        """Return the GenAI attributes of a response, such as its tokens, read from a call's output.

        Never raises.

        Args:
            items: The outputs to read: the returned one, then the one that `set_output` set, if
                any. Each output is given as a pair. For a stream, the pair is the list of chunks
                and the complete response joined from them. Otherwise, the pair contains the same
                output twice.
            known: Attributes that the run already has.
            hide: Hides secrets in messages. If None, no messages are recorded.
        """
        output: dict[str, Any] = {}
        with quiet("gen_ai"):
            first_chunk_ms = known.get(names.STREAM_FIRST_CHUNK_MS)
            if isinstance(first_chunk_ms, float):
                output[names.GEN_AI_FIRST_CHUNK_S] = first_chunk_ms / 1e3
            for result, whole in items:
                output.update(find_usage(result))
                output.update(_read_response(whole))
            model = output.get(names.GEN_AI_RESPONSE_MODEL)
            if model is not None and not self._has_model(known):
                output[names.GEN_AI_REQUEST_MODEL] = model
            if hide is not None and self.keeps_content:
                content = _read_as(hide, lambda: self._output_content(items[-1][1]))
                output.update(_write(content, hide))
        return output

    def name_span(self, facts: Mapping[str, object]) -> str | None:
        """Return a span name with the model that the call used. None to keep the old name."""
        model = facts.get(names.GEN_AI_REQUEST_MODEL)
        return None if model is None or self._has_actor else f"{self.operation} {model}"

    def _has_model(self, known: Mapping[str, object]) -> bool:
        model = names.GEN_AI_REQUEST_MODEL
        return model in known or model in self.attributes

    def _input_content(
        self, inputs: Mapping[str, object], request: Mapping[str, object]
    ) -> dict[str, object]:
        if self.operation == "execute_tool":
            return {names.GEN_AI_TOOL_ARGUMENTS: inputs}
        if self.operation not in _TALKS:
            return {}
        return {
            names.GEN_AI_INPUT_MESSAGES: find_input(request),
            names.GEN_AI_SYSTEM: find_system(request),
        }

    def _output_content(self, output: object) -> dict[str, object]:
        if self.operation == "execute_tool":
            return {names.GEN_AI_TOOL_RESULT: output}
        if self.operation not in _TALKS:
            return {}
        return {names.GEN_AI_OUTPUT_MESSAGES: find_output(output)}


def _read_as(hide: Redaction, read_content: Callable[[], dict[str, object]]) -> dict[str, object]:
    """Read messages, with the fields that their classes hide if the client records these."""
    if not hide.captures_hidden:
        return read_content()
    context = copy_context()
    context.run(READS_HIDDEN.set, True)
    return context.run(read_content)


def _write(content: Mapping[str, object], hide: Redaction) -> dict[str, str]:
    """Return messages as JSON with secrets hidden. Empty values are left out."""
    written: dict[str, str] = {}
    for name, value in content.items():
        if value is None or value == []:
            continue
        text = "" if hide.captures_hidden else encode_whole(value)
        if not text or hide.concerns(value, text):
            text = hide.encode(value).text
        written[name] = text
    return written


def _rest_of(function: Callable[..., Any]) -> str | None:
    """Return the name of a function's ``**`` parameter, or None."""
    with untrusted:
        parameters = inspect.signature(function).parameters.values()
        rest = [
            parameter.name
            for parameter in parameters
            if parameter.kind is inspect.Parameter.VAR_KEYWORD
        ]
        return rest[0] if rest else None
    return None


def _flat(inputs: Mapping[str, Any], rest: str | None) -> Mapping[str, Any]:
    """Merge nested inputs into the top level. Top-level names win."""
    more = inputs.get(rest) if rest is not None else None
    if isinstance(more, dict):
        inputs = {**more, **{name: value for name, value in inputs.items() if name != rest}}
    nested = [inputs[name] for name in _NESTED if isinstance(inputs.get(name), dict)]
    if not nested:
        return inputs
    flat: dict[str, Any] = {}
    for item in nested:
        flat.update(item)
    return {**flat, **inputs}


def _read_response(output: object) -> dict[str, Any]:
    about = read(output, "response_metadata")  # LangChain messages have it
    facts: dict[str, Any] = {
        names.GEN_AI_RESPONSE_MODEL: read_name(about, "model_name", "model")
        or read_name(output, "model"),
        names.GEN_AI_RESPONSE_ID: read_name(about, "id") or read_name(output, "id"),
        names.GEN_AI_FINISH_REASONS: tuple(map(clean, _finish_reasons(output))) or None,
    }
    return {
        name: clean(value) if isinstance(value, str) else value
        for name, value in facts.items()
        if value is not None
    }


def _finish_reasons(output: object) -> Sequence[str]:
    """Return the provider's reasons why the response ended, one for each choice."""
    choices = [read_name(choice, "finish_reason") for choice in read_items(output, "choices")]
    if choices:
        return [reason for reason in choices if reason is not None]
    incomplete = read_name(read(output, "incomplete_details"), "reason")
    status = read_name(output, "status") if read_items(output, "output") else None
    name = read_name(read(output, "response_metadata"), "finish_reason", "stop_reason")
    reason = read_name(output, "stop_reason") or incomplete or status or name
    return [] if reason is None else [reason]


def _read_request(request: Mapping[str, Any], wanted: "Mapping[str, _Reader]") -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for name, (spellings, read_one) in wanted.items():
        for spelling in spellings:
            value = read_one(request.get(spelling))
            if value is not None:
                entries[names.GEN_AI_REQUEST_PREFIX + name] = value
                break
    return entries


def _whole_number(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return int(value) if abs(value) < 2**63 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _GREATEST_NUMBER else None  # excludes NaN and infinities


def _texts(value: object) -> tuple[str, ...] | None:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        return None
    return tuple(clean(text[:_STOP_CHARS]) for text in texts[:_STOPS]) or None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


_Reader = tuple[tuple[str, ...], Callable[[object], object]]
_REQUEST: Final[Mapping[str, _Reader]] = {
    "temperature": (("temperature",), _number),
    "top_p": (("top_p",), _number),
    "top_k": (("top_k",), _whole_number),
    "max_tokens": (("max_tokens", "max_completion_tokens", "max_output_tokens"), _whole_number),
    "seed": (("seed",), _whole_number),
    "frequency_penalty": (("frequency_penalty",), _number),
    "presence_penalty": (("presence_penalty",), _number),
    "choice.count": (("n",), _whole_number),
    "stream": (("stream",), _flag),
    "encoding_formats": (("encoding_format", "encoding_formats"), _texts),
}
# free text, which is treated like messages
_FREE_TEXTS: Final[Mapping[str, _Reader]] = {
    "stop_sequences": (("stop", "stop_sequences"), _texts),
}


# Token usage of a call.

# Gemini does not count them as output
_THOUGHTS: Final = ("thoughts_token_count", "thoughtsTokenCount")
# Gemini's chunks repeat the counts so far, unlike LangChain's
_GEMINI: Final = ("prompt_token_count", "promptTokenCount")
# providers' names for each count, in the response's `usage`
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "prompt": ("prompt_tokens", "prompt_token_count", "promptTokenCount"),
    "input": ("input_tokens",),
    "output": (
        *("completion_tokens", "output_tokens"),
        *("candidates_token_count", "candidatesTokenCount"),
    ),
    "cached": ("cached_content_token_count", "cachedContentTokenCount"),
    "reasoning": _THOUGHTS,
    "read": ("cache_read_input_tokens",),
    "written": ("cache_creation_input_tokens",),
}
_DETAILS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "cached": (
        ("prompt_tokens_details", "input_tokens_details", "input_token_details"),
        ("cached_tokens", "cache_read"),
    ),
    "cache_write": (
        ("prompt_tokens_details", "input_tokens_details", "input_token_details"),
        ("cache_write_tokens", "cache_creation_tokens", "cache_creation"),
    ),
    "reasoning": (
        ("completion_tokens_details", "output_tokens_details", "output_token_details"),
        ("reasoning_tokens", "thinking_tokens", "reasoning"),
    ),
}
# Keys of streamed events whose value is the message or response itself.
_WITHIN: Final = ("message", "response")


def find_usage(output: object) -> dict[str, int]:
    """Return the token counts that a model's response reports.

    Args:
        output: A response, a list of the chunks of one response, or a list of responses. The counts
            of several responses are added. For chunks, the last count is used.

    Returns:
        The counts by attribute name, such as ``gen_ai.usage.input_tokens``. Empty if there are
        none.
    """
    total: dict[str, int] = {}
    for response in [*_responses(output), *_pieces(output)]:
        for name, count in _attributes(response).items():
            total[name] = total.get(name, 0) + count
    return {name: count for name, count in total.items() if count <= MAX_COUNT}


def _responses(output: object) -> list[dict[str, int]]:
    """Return the usage of each response. A chunk without an ID belongs to the previous response."""
    responses: list[dict[str, int]] = []
    last: str | None = None
    for holder, usage in _usages(output):
        response = read_name(holder, "id") or last
        if not responses or response != last:
            responses.append({})
        last = response
        responses[-1].update(_read_usage(usage))
    return responses


def _pieces(output: object) -> Iterator[dict[str, int]]:
    """Return the counts of LangChain messages. Each message or chunk has only its own part."""
    for part in output if isinstance(output, list | tuple) else (output,):
        usage = None if isinstance(part, str | bytes) else read(part, "usage_metadata")
        if usage is not None and read_count(usage, *_GEMINI) is None:
            counts = _read_usage(usage)
            # cached tokens are included
            yield {"prompt" if name == "input" else name: count for name, count in counts.items()}


def _usages(output: object) -> Iterator[tuple[object, object]]:
    parts = output if isinstance(output, list | tuple) else (output,)
    for part in parts:
        if isinstance(part, str | bytes):
            continue
        for holder in (part, *(read(part, name) for name in _WITHIN)):
            usage = None if holder is None else read(holder, "usage")
            if usage is not None:
                yield holder, usage
        for name in ("usage_metadata", "usageMetadata"):
            usage = read(part, name)
            if read_count(usage, *_GEMINI) is not None:
                yield part, usage


def _read_usage(usage: object) -> dict[str, int]:
    entries: dict[str, int] = {}
    for field, keys in _FIELDS.items():
        count = read_count(usage, *keys)
        if count is not None:
            entries[field] = count
    thoughts = read_count(usage, *_THOUGHTS)
    if thoughts is not None:
        entries["output"] = entries.get("output", 0) + thoughts
    for field, (holders, keys) in _DETAILS.items():
        for holder in holders:
            count = read_count(read(usage, holder), *keys)
            if count is not None:
                entries[field] = count
    return entries


def _attributes(fields: Mapping[str, int]) -> dict[str, int]:
    read_tokens = fields.get("cached", fields.get("read"))
    written = fields.get("cache_write", fields.get("written"))
    taken = fields.get("prompt")
    if taken is None and "input" in fields:
        taken = fields["input"] + fields.get("read", 0) + fields.get("written", 0)
    facts = {
        names.GEN_AI_INPUT_TOKENS: taken,
        names.GEN_AI_OUTPUT_TOKENS: fields.get("output"),
        names.GEN_AI_CACHE_READ_TOKENS: read_tokens,
        names.GEN_AI_CACHE_WRITE_TOKENS: written,
        names.GEN_AI_REASONING_TOKENS: fields.get("reasoning"),
    }
    return {name: count for name, count in facts.items() if count is not None}
