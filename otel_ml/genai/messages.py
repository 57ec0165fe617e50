"""Converts chat messages to the form of the GenAI conventions: a role and a list of parts.

Messages may be dicts, pydantic models or plain objects, in the formats of OpenAI (chat completions
and responses), Anthropic, litellm and others. Values that do not look like a message are ignored.

Spec: https://github.com/open-telemetry/semantic-conventions-genai
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final, TypeGuard

import orjson

from otel_ml.capture.fields import HIDDEN, hidden_fields, shown_value
from otel_ml.errors import untrusted

# Whether `read` returns fields that a class hides, as for a client with ``capture_hidden=True``.
READS_HIDDEN: Final = ContextVar("reads_hidden", default=False)
MAX_COUNT: Final = 10**12
_NAME_CHARS: Final = 256
# Numbers that JSON does not have, as Python's json module writes them.
_NO_NUMBERS: Final = {"NaN": None, "Infinity": "Infinity", "-Infinity": "-Infinity"}


def read(value: object, name: str) -> Any:
    """Return a key of a mapping or an attribute of an object. Returns None if it is missing.

    A field that the object's class hides is missing too, unless `READS_HIDDEN` is set.
    """
    with untrusted:
        if isinstance(value, Mapping):
            return value.get(name)
        hidden = hidden_fields(type(value))
        if READS_HIDDEN.get():
            return getattr(value, name, None)
        item = None if name in hidden.names else getattr(value, name, None)
        if item is not None and (hidden.shown_as or hidden.unless):
            item = shown_value(hidden, name, item)
            return None if item is HIDDEN else item
        return item
    return None


def read_text(value: object, *names: str) -> str | None:
    """Return the first of the named fields that is a non-empty string, or None."""
    for name in names:
        text = read(value, name)
        if isinstance(text, str) and text:
            return text
    return None


def read_name(value: object, *names: str) -> str | None:
    """Return what `read_text` returns, or None if it is longer than 256 characters."""
    text = read_text(value, *names)
    return text if text is not None and len(text) <= _NAME_CHARS else None


def read_items(value: object, *names: str) -> Sequence[Any]:
    """Return the first of the named fields that is a list or tuple, else an empty tuple."""
    for name in names:
        items = read(value, name)
        if isinstance(items, list | tuple):
            return items
    return ()


def read_count(value: object, *names: str) -> int | None:
    """Return the first of the named fields that is a count (a non-negative integer), else None."""
    for name in names:
        count = read(value, name)
        if isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= MAX_COUNT:
            return int(count)
    return None


Message = dict[str, Any]
Part = dict[str, Any]

_HISTORY: Final = ("messages", "input", "history", "contents")
PROMPTS: Final = ("prompt", "input", "question", "query", "message", "text")
# roles for the types of LangChain messages
SPEAKERS: Final = {
    "human": "user",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "system": "system",
    "tool": "tool",
}
_SYSTEM: Final = ("system", "system_prompt", "instructions")
_MEDIA: Final = {
    "image_url": "image",
    "image": "image",
    "input_image": "image",
    "input_audio": "audio",
    "document": "document",
    "file": "document",
    "input_file": "document",
}


def find_input(inputs: Mapping[str, Any]) -> list[Message]:
    """Return the messages of a request, in order. A single prompt becomes a user message."""
    named = [inputs[name] for name in _HISTORY if name in inputs]
    for value in [*named, *inputs.values()]:
        messages = read_messages(value)
        if messages:
            return messages
    text = read_text(inputs, *PROMPTS)
    if text is None and len(inputs) == 1:
        text = read_text(inputs, *inputs)
    return [] if text is None else [_message("user", [_text(text)])]


def find_system(inputs: Mapping[str, Any]) -> list[Part]:
    """Return the system instructions that a request has outside its list of messages."""
    for name in _SYSTEM:
        parts = read_parts(inputs.get(name))
        if parts:
            return parts
    return []


def find_output(output: object) -> list[Message]:
    """Return the messages of a response.

    A model's response has one message per alternative answer. If the response is a list of
    messages, such as that of an agent, all are returned.
    """
    if isinstance(output, str):
        return [_message("assistant", [_text(output)])] if output else []
    if isinstance(output, list | tuple):
        return read_messages(output)
    choices = read_items(output, "choices")
    if choices:
        return [message for choice in choices if (message := _choice(choice)) is not None]
    items = read_items(output, "output")
    if items:
        return _answer(items, read_name(read(output, "incomplete_details"), "reason"))
    message = read_message(output)
    return [] if message is None else [message]


def read_messages(value: object) -> list[Message]:
    """Convert a list of messages. Returns an empty list unless every element is a message."""
    if not isinstance(value, list | tuple):
        return []
    messages: list[Message] = []
    for item in value:
        message = read_message(item)
        if message is None:
            return []
        messages.append(message)
    return messages


def read_message(value: object) -> Message | None:
    """Convert one message. Returns None if the value does not look like one."""
    role = _read_role(value)
    former = read(value, "function_call")
    if role is None and isinstance(value, dict) and (former or read_items(value, "tool_calls")):
        role = "assistant"
    if role is None:
        kind = read_name(value, "type") or ""
        role = SPEAKERS.get(kind) if read(value, "content") is not None else None
        if role is None:
            reader, inner = _ITEMS.get(kind), unwrap(value)
            if inner is not value:
                return read_message(inner)
            return None if reader is None else reader(value)
    written = read(value, "parts")  # the format of the conventions and of Gemini
    has_parts = isinstance(written, list | str)
    if has_parts and not read_items(value, "tool_calls"):
        return {"role": role, "parts": read_parts(written)}
    content = read(value, "content")
    content = read(value, "blocks") if content is None else content  # LlamaIndex
    parts = read_parts(written if has_parts else content)
    answered = read_name(value, "tool_call_id")
    if answered is not None:
        parts = [_response(answered, read(value, "content"))]
    reasoning = read_text(value, "reasoning_content", "reasoning") or _read_details(value)
    if reasoning is not None:
        parts.insert(0, _reasoning(reasoning))
    refusal = read_text(value, "refusal")
    if refusal is not None:
        parts.append(_text(refusal))
    transcript = read_text(read(value, "audio"), "transcript")
    if transcript is not None:
        parts.append(_text(transcript))
    known = [part["id"] for part in parts if part.get("type") == "tool_call" and part.get("id")]
    calls = map(_call, read_items(value, "tool_calls") or _former_calls(value))
    # some libraries list calls twice
    parts += [call for call in calls if call.get("id") not in known]
    if former is not None and not parts:
        parts.append(_call(former))
    return _message(role, parts, read_name(value, "name"), read_name(value, "stop_reason"))


def _read_role(value: object) -> str | None:
    """Return the role of a message; an enum's name such as ``MessageRole.USER`` is one."""
    role = read_name(value, "role")
    if role is None or "." not in role:
        return role
    enum, _, member = role.rpartition(".")
    return member.lower() if enum.endswith("Role") and member else role


def _read_details(value: object) -> str | None:
    """Return the reasoning that OpenRouter lists in details."""
    details = read_items(value, "reasoning_details")
    return "".join(read_text(detail, "text", "summary") or "" for detail in details) or None


def _former_calls(value: object) -> Sequence[Any]:
    """Return the tool calls that LangChain and LlamaIndex keep next to a message."""
    return read_items(read(value, "additional_kwargs"), "tool_calls")


def unwrap(value: object) -> object:
    """Return the message from LangChain's serialised form. Return other values unchanged.

    LangChain serialises a message as class and arguments, or as type and data.
    """
    if not isinstance(value, dict):
        return value
    inner = value.get("kwargs") if value.get("lc") == 1 else None
    if inner is None and read_name(value, "type") in SPEAKERS:
        inner = value.get("data")
    return inner if isinstance(inner, dict) else value


def read_parts(content: object) -> list[Part]:
    """Convert a message's content to a list of parts, such as text, images or tool calls."""
    if isinstance(content, str):
        return [_text(content)] if content else []
    if isinstance(content, int | float):
        return [_text(str(content))]
    if not isinstance(content, list | tuple):
        return []
    parts: list[Part] = []
    for item in content:
        if _is_nested(item):
            parts += read_parts(item["content"])
        elif (part := _part(item)) is not None:
            parts.append(part)
    return parts


def _is_nested(item: object) -> TypeGuard[dict[str, Any]]:
    """Return whether a text part contains a provider's list of blocks."""
    return (
        isinstance(item, dict)
        and item.get("type") == "text"
        and isinstance(item.get("content"), list | tuple)
    )


def _part(item: object) -> Part | None:
    if isinstance(item, str):
        return _text(item)
    kind = read_name(item, "type", "block_type")
    if kind is None:
        for name, read_part in _NAMED_PARTS.items():
            inner = read(item, name)
            if inner is not None:
                return read_part(inner)
        text = read_text(item, "text", "content")
        if text is None and read_name(item, "name") is not None:
            return _tool_call(item, read(item, "arguments"))
        return None if text is None else _text(text)
    reader = _PART_READERS.get(kind) or (_NAMED_PARTS[kind] if kind in _TYPED else None)
    if reader is not None:
        return reader(item)
    if kind in _MEDIA:
        return _media(kind, item)
    if kind == "tool_call" and read(item, "tool_kwargs") is not None:  # LlamaIndex
        return _known(
            type=kind,
            id=read_name(item, "tool_call_id"),
            name=read_name(item, "tool_name") or "",
            arguments=_decoded(read(item, "tool_kwargs")),
        )
    return dict(item) if isinstance(item, dict) else {"type": kind}


def _text_part(item: object) -> Part:
    return _text(read_text(item, "text", "content", "refusal") or "")


def _thought_part(item: object) -> Part:
    return _reasoning(read_text(item, "thinking", "content", "text") or "")


def _server_call(item: object) -> Part:
    """Return a tool call that the provider ran: its arguments, or all of its fields."""
    call = read(item, "server_tool_call")
    given = read(call, "arguments")
    if given is None and isinstance(call, Mapping):
        given = {name: value for name, value in call.items() if name != "type"}
    return _tool_call(item, call if given is None else given)


def _server_response(call: str | None, value: object) -> Part:
    """Return the complete response of a provider's tool. Each tool has different fields."""
    is_plain = isinstance(value, str | Mapping)
    return _known(
        type="tool_call_response", id=call, response=value if is_plain else {"content": value}
    )


# Tools that Anthropic runs itself. The type of a result contains the name of its tool.
_SERVER_TOOLS: Final = (
    *("web_search", "web_fetch", "code_execution", "bash_code_execution"),
    *("text_editor_code_execution", "tool_search", "mcp"),
)
_PART_READERS: Final[dict[str, Callable[[object], Part]]] = {
    "text": _text_part,
    "input_text": _text_part,
    "output_text": _text_part,
    "refusal": _text_part,
    "thinking": _thought_part,
    "reasoning": _thought_part,
    "tool_use": lambda item: _call(item, "input"),
    "tool_result": lambda item: _response(read_name(item, "tool_use_id"), read(item, "content")),
    "tool-call": lambda item: _call(item, "input"),
    "server_tool_use": lambda item: _call(item, "input"),
    "server_tool_call": _server_call,
    "server_tool_call_response": lambda item: _server_response(
        read_name(item, "id"), read(item, "server_tool_call_response")
    ),
    **dict.fromkeys(
        (f"{tool}_tool_result" for tool in _SERVER_TOOLS),
        lambda item: _server_response(read_name(item, "tool_use_id"), read(item, "content")),
    ),
    "tool-result": lambda item: _response(read_name(item, "toolCallId"), _tool_output(item)),
}


def _tool_output(item: object) -> object:
    """Return the output of a tool. Vercel's AI SDK wraps it as type and value."""
    output = read(item, "output")
    if output is None:
        output = read(item, "result")
    elif read_name(output, "type") is not None and read(output, "value") is not None:
        output = read(output, "value")
    if isinstance(output, str | dict) or any(read_name(item, "type") for item in _listed(output)):
        return output
    return orjson.dumps(output, default=str).decode()


def _listed(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _media(kind: str, item: object) -> Part:
    """Describe an image, audio or document by type, address and size, without its bytes."""
    modality = _MEDIA[kind]
    source = read(item, "source") or read(item, kind) or item
    uri = source if isinstance(source, str) else read_text(source, "url", "image_url", "file_url")
    if uri is not None and not uri.startswith("data:"):
        return {"type": "uri", "modality": modality, "uri": uri}
    file_id = read_name(source, "file_id")
    if file_id is not None:
        return {"type": "file", "modality": modality, "file_id": file_id}
    data = uri or read_text(source, "data", "file_data") or ""
    head, _, encoded = data.rpartition(",")
    declared = head.removeprefix("data:").partition(";")[0] or read_name(source, "media_type")
    padding = encoded[-2:].count("=")
    return _known(
        type="blob",
        modality=modality,
        mime_type=declared or read_name(source, "format"),
        byte_size=len(encoded) * 3 // 4 - padding,
        content="",
    )


def _choice(choice: object) -> Message | None:
    reason = read_name(choice, "finish_reason")
    inner = read(choice, "message")
    message = read_message(inner)
    if message is None:
        text = read_text(choice, "text") or read_text(inner, "content")
        return None if text is None else _message("assistant", [_text(text)], reason=reason)
    return message if reason is None else {**message, "finish_reason": reason}


def _answer(items: Sequence[object], reason: str | None) -> list[Message]:
    """Join the items of an OpenAI response: reasoning, text and calls."""
    messages = [message for item in items if (message := read_message(item)) is not None]
    parts = [part for message in messages for part in message["parts"]]
    return [_message("assistant", parts, reason=reason)] if parts else []


def _call(call: object, *inputs: str) -> Part:
    function = read(call, "function")
    if function is None:  # the format of Anthropic, LangChain and Vercel's AI SDK
        named = (read(call, name) for name in (*inputs, "args", "arguments"))
        given = next((item for item in named if item is not None), None)
        return _tool_call(call, given, read_name(call, "toolName"))
    return _tool_call(call, read(function, "arguments"), read_name(function, "name"))


def _tool_call(call: object, arguments: object, name: str | None = None) -> Part:
    return _known(
        type="tool_call",
        id=read_name(call, "call_id", "id", "toolCallId", "toolUseId", "ref"),
        name=name or read_name(call, "name", "tool_name") or "",
        arguments=_decoded(arguments),
    )


def _decoded(arguments: object) -> object:
    """Decode arguments that are JSON text. Invalid JSON is returned as text."""
    if isinstance(arguments, dict | list | None):
        return arguments
    if not isinstance(arguments, str):
        return None
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        with suppress(ValueError, RecursionError):
            return json.loads(arguments, parse_constant=_NO_NUMBERS.get)
        return arguments


def _response(call: str | None, content: object) -> Part:
    parts = content if isinstance(content, str | dict) else read_parts(content)
    return _known(type="tool_call_response", id=call, response=parts)


def _result(item: object) -> Part:
    return _response(read_name(read(item, "origin"), "id"), read(item, "result"))


# parts whose only key is their type: Gemini, Bedrock, Haystack, Genkit, OpenAI's old function calls
_NAMED_PARTS: Final[dict[str, Callable[[object], Part]]] = {
    "functionCall": _call,
    "toolRequest": lambda item: _call(item, "input"),
    "toolResponse": lambda item: _response(read_name(item, "ref"), read(item, "output")),
    "function_call": _call,
    "functionResponse": lambda item: _response(read_name(item, "id"), read(item, "response")),
    "function_response": lambda item: _response(read_name(item, "id"), read(item, "response")),
    "tool_call": _call,
    "tool_call_result": _result,
    "toolUse": lambda item: _call(item, "input"),
    "toolResult": lambda item: _response(read_name(item, "toolUseId"), read(item, "content")),
    "json": lambda item: _text(orjson.dumps(item, default=str).decode()),
}
# some libraries write the same key as the type of the part, next to its fields
_TYPED: Final = frozenset(
    {"toolUse", "toolResult", "functionCall", "functionResponse", "toolRequest", "toolResponse"}
)


def _summary(item: object) -> Message:
    thoughts = [*read_items(item, "summary"), *read_items(item, "content")]
    texts = [text for thought in thoughts if (text := read_text(thought, "text")) is not None]
    return _message("assistant", [_reasoning(text) for text in texts])


# items of OpenAI responses that have no role
_ITEMS: Final[dict[str, Callable[[object], Message]]] = {
    "function_call": lambda item: _message(
        "assistant", [_tool_call(item, read(item, "arguments"))]
    ),
    "function_call_output": lambda item: _message(
        "tool", [_response(read_name(item, "call_id"), read(item, "output"))]
    ),
    "reasoning": _summary,
}


def _text(text: str) -> Part:
    return {"type": "text", "content": text}


def _reasoning(text: str) -> Part:
    return {"type": "reasoning", "content": text}


def _message(
    role: str, parts: list[Part], name: str | None = None, reason: str | None = None
) -> Message:
    return _known(role=role, parts=parts, name=name, finish_reason=reason)


def _known(**fields: object) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: item for name, item in fields.items() if item is not None}


# Joining the chunks of a stream into the response that an unstreamed call would return. Chunks may
# be strings, OpenAI chat completion chunks (litellm uses the same format), OpenAI response events,
# Anthropic message events, or LangChain message chunks.

# fields of Anthropic blocks that deltas extend
_BLOCK_FIELDS: Final = ("text", "thinking")
_LANGCHAIN: Final = "AIMessageChunk"


def is_chunk(value: object) -> bool:
    """Return whether a value may be a chunk of a model's stream. Other streams are not joined."""
    return isinstance(value, dict) or read(type(value), "model_dump") is not None


def join_chunks(chunks: Sequence[object]) -> object:
    """Join a stream's chunks into one response. Return the chunks if their format is unknown."""
    if all(isinstance(chunk, str) for chunk in chunks):
        return "".join(map(str, chunks))
    events = [(read_name(chunk, "type") or "", chunk) for chunk in chunks]
    if any(kind == "message_start" for kind, _ in events):
        return _join_blocks(events)
    if any(kind.startswith("response.") for kind, _ in events):
        return _join_events(events)
    if any(kind == _LANGCHAIN for kind, _ in events):
        return _join_pieces(chunks)
    if any(_is_choice(choice) for chunk in chunks for choice in read_items(chunk, "choices")):
        return _join_choices(chunks)
    return chunks


def _is_choice(choice: object) -> bool:
    """Return whether a value is a part of a completion."""
    return read(choice, "delta") is not None or isinstance(read(choice, "text"), str)


def _join_choices(chunks: Sequence[object]) -> dict[str, Any]:
    choices: dict[int, _Choice] = {}
    response: dict[str, Any] = {}
    for chunk in chunks:
        for name in ("id", "model"):
            response[name] = response.get(name) or read_name(chunk, name)
        for choice in read_items(chunk, "choices"):
            at = read_count(choice, "index") or 0
            choices.setdefault(at, _Choice()).add(choice)
    return {**response, "choices": [choices[at].whole() for at in sorted(choices)]}


class _Choice:
    """One choice of a chat completion, built from its deltas."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {"role": "assistant"}
        self._about: dict[str, Any] = {}  # fields next to the message, such as logprobs
        self._calls: list[dict[str, Any]] = []
        self._reason: str | None = None

    def add(self, choice: object) -> None:
        """Add the content of a chunk. A field that is unknown here is kept under its name."""
        self._reason = read_name(choice, "finish_reason") or self._reason
        for name, value in _fields(choice).items():
            if name == "text":  # chunks of text completions have a text and no delta
                _merge(self._message, {"content": value})
            elif name not in _OF_CHOICE:
                _merge(self._about, {name: value})
        delta = read(choice, "delta")
        for name, value in _fields(delta).items():
            if name == "role" or value is None:
                continue
            if name != "tool_calls":
                _merge(self._message, {name: value})
                continue
            for call in value if isinstance(value, list | tuple) else ():
                self._add_call(_fields(call))

    def _add_call(self, call: dict[str, Any]) -> None:
        """Add a part of a tool call. Another ID at the same index is another call."""
        at = call.get("index") or 0
        same = [known for known in self._calls if (known.get("index") or 0) == at]
        if same and (not call.get("id") or same[-1].get("id") in (None, "", call["id"])):
            _merge(same[-1], call)
        else:
            self._calls.append(_merge({}, call))

    def whole(self) -> dict[str, Any]:
        """Return the choice as in an unstreamed response."""
        message = _joined(self._message)
        if self._calls:
            calls = [_joined(call) for call in self._calls]
            message["tool_calls"] = [
                {name: item for name, item in call.items() if name != "index"} for call in calls
            ]
        return {**_joined(self._about), "message": message, "finish_reason": self._reason}


# Merging of deltas: texts are joined, lists extended, objects merged; other values replaced.

_OF_CHOICE: Final = frozenset({"delta", "index", "finish_reason"})
# texts that providers repeat instead of extending them
_REPEATED: Final = frozenset(
    {"role", "id", "type", "name", "index", "call_id", "status", "format", "model", "object"}
)


class _Pieces(list[str]):
    """Pieces of a text, joined at the end of the stream."""


def _fields(value: object) -> dict[str, Any]:
    """Return the fields of a chunk or of a part of it, which may be a pydantic model."""
    if isinstance(value, Mapping):
        return dict(value)
    dumped: object = None
    with untrusted:
        dump = getattr(value, "model_dump", None)
        dumped = vars(value) if dump is None else dump()
    return dumped if type(dumped) is dict else {}


def _merge(whole: dict[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    """Add a delta to what was received so far. Texts become `_Pieces`."""
    for name, given in delta.items():
        known, value = whole.get(name), _as_fields(given)
        if value is None:
            whole.setdefault(name, None)
        elif isinstance(value, str) and name not in _REPEATED:
            if type(known) is not _Pieces:
                known = whole[name] = _Pieces()
            known.append(value)
        elif isinstance(value, dict):
            whole[name] = _merge(known if type(known) is dict else {}, value)
        elif isinstance(value, list | tuple):
            listed = known if type(known) is list else []
            whole[name] = listed
            for item in value:
                _merge_item(listed, item)
        elif value != "":
            whole[name] = value
    return whole


def _as_fields(value: object) -> object:
    """Return an object of a library as a dict. Plain values stay as they are."""
    if value is None or isinstance(value, str | int | float | dict | list | tuple):
        return value
    return _fields(value) or value


def _merge_item(listed: list[Any], item: object) -> None:
    item = _as_fields(item)
    if not isinstance(item, dict):
        listed.append(item)
        return
    at = item.get("index")
    same = [known for known in listed if type(known) is dict and known.get("index") == at]
    if at is not None and same:
        _merge(same[0], item)
    else:
        listed.append(_merge({}, item))


def _joined(value: Any) -> Any:
    """Return merged deltas as plain data: pieces become texts, and empty fields are left out."""
    if type(value) is _Pieces:
        return "".join(value)
    if type(value) is dict:
        return {name: _joined(item) for name, item in value.items() if item is not None}
    if type(value) is list:
        return [_joined(item) for item in value]
    return value


def _add_call(
    calls: dict[int, dict[str, Any]], call: object, function: object, arguments: str | None
) -> None:
    """Add a chunk's part to the tool call with its index."""
    whole = calls.setdefault(read_count(call, "index") or 0, {"arguments": []})
    whole["id"] = read_name(call, "id") or whole.get("id")
    whole["name"] = read_name(function, "name") or whole.get("name")
    whole["arguments"].append(arguments or "")


def _join_blocks(events: Sequence[tuple[str, object]]) -> dict[str, Any]:
    """Join the events of an Anthropic message."""
    message: dict[str, Any] = {"role": "assistant"}
    blocks: dict[int, dict[str, Any]] = {}
    for kind, event in events:
        at = read_count(event, "index") or 0
        if kind == "message_start":
            begun = read(event, "message")
            message |= {"id": read_name(begun, "id"), "model": read_name(begun, "model")}
        elif kind == "content_block_start":
            blocks[at] = _merge({}, _fields(read(event, "content_block")))
        elif kind == "content_block_delta":
            _add_to_block(blocks.setdefault(at, {"type": "text"}), _fields(read(event, "delta")))
        elif kind == "message_delta":
            message |= {k: v for k, v in _fields(read(event, "delta")).items() if v is not None}
    return {**message, "content": [_joined(blocks[at]) for at in sorted(blocks)]}


def _add_to_block(block: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a delta to an Anthropic block. A field that is unknown here is kept under its name."""
    for name, value in delta.items():
        if name == "partial_json":
            if type(block.get("input")) is not _Pieces:  # the start has an empty object
                block["input"] = _Pieces()
            block["input"].append(value or "")
        elif name == "citation":
            _merge(block, {"citations": [value]})
        elif name != "type":
            _merge(block, {name: value})


def _add_delta(block: dict[str, Any], delta: object) -> None:
    for name in _BLOCK_FIELDS:
        text = read_text(delta, name)
        if text is not None:
            block.setdefault(name, []).append(text)
    arguments = read_text(delta, "partial_json")
    if arguments is not None:
        block.setdefault("input", []).append(arguments)


def _join_events(events: Sequence[tuple[str, object]]) -> object:
    """Return the response in the last OpenAI event, or join the parts received so far."""
    for _, event in reversed(events):
        response = read(event, "response")
        if read_items(response, "output"):
            return response
    blocks: dict[str, list[str]] = {}
    calls: dict[int, dict[str, Any]] = {}
    for kind, event in events:
        text = read_text(event, "delta")
        name = _DELTAS.get(kind) or _name_of_delta(kind)
        if name is not None and text is not None:
            blocks.setdefault(name, []).append(text)
        at = read_count(event, "output_index") or 0
        item = read(event, "item") if kind == "response.output_item.added" else None
        if item is not None and read_name(item, "type") == "function_call":
            calls[at] = {"call_id": read_name(item, "call_id"), "name": read_name(item, "name")}
        elif kind == "response.function_call_arguments.delta" and at in calls:
            calls[at]["arguments"] = calls[at].get("arguments", "") + (text or "")
    parts = [{"type": name, "text": "".join(value)} for name, value in sorted(blocks.items())]
    output = [{"role": "assistant", "content": parts[::-1]}] if parts else []
    return {"output": [*output, *({"type": "function_call", **call} for call in calls.values())]}


def _name_of_delta(kind: str) -> str | None:
    """Return the name under which the texts of an unknown kind of delta event are kept."""
    is_known = kind in _CALL_DELTAS or not kind.startswith("response.")
    return None if is_known or not kind.endswith(".delta") else kind[len("response.") : -6]


_CALL_DELTAS: Final = frozenset({"response.function_call_arguments.delta"})
# The field that each delta event of OpenAI's Responses API extends.
_DELTAS: Final = {
    "response.output_text.delta": "output_text",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.refusal.delta": "refusal",
    "response.audio.transcript.delta": "output_text",
    "response.output_audio_transcript.delta": "output_text",
}


def _join_pieces(chunks: Sequence[object]) -> dict[str, Any]:
    """Join LangChain message chunks: texts, blocks by position, and tool calls."""
    message: dict[str, Any] = {"role": "assistant"}
    blocks: dict[object, dict[str, Any]] = {}
    calls: dict[int, dict[str, Any]] = {}
    texts: list[str] = []
    for chunk in chunks:
        about = read(chunk, "response_metadata")
        for name, value in (
            ("id", read_name(chunk, "id")),
            ("model", read_name(about, "model_name", "model")),
            ("stop_reason", read_name(about, "finish_reason", "stop_reason")),
        ):
            message |= {} if value is None else {name: value}
        texts.append(read_text(chunk, "content") or "")
        for block in read_items(chunk, "content"):
            kind = read_name(block, "type") or "text"
            if kind in _BLOCK_FIELDS:
                _add_delta(blocks.setdefault((read(block, "index"), kind), {"type": kind}), block)
        for call in read_items(chunk, "tool_call_chunks"):
            _add_call(calls, call, call, read_text(call, "args"))
    for part in (*blocks.values(), *calls.values()):
        for name in part.keys() & {*_BLOCK_FIELDS, "arguments"}:
            part[name] = "".join(part[name])
    content = [{"type": "text", "text": "".join(texts)}] if any(texts) else []
    message["content"] = "".join(texts) if not blocks else [*blocks.values(), *content]
    return message | ({"tool_calls": [*calls.values()]} if calls else {})
