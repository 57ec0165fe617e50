"""Finds messages in the inputs and outputs of runs, and writes previews of one line.

Lists, pages and filters use only this module to read payloads of any provider or dialect. The
preview is the last question or the text of the answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from otel_ml.counts import write_number
from otel_ml.genai.messages import PROMPTS, SPEAKERS, Message, find_output, read_message, unwrap
from otel_ml_collector.mapping.values import parse, to_json
from otel_ml_collector.span import Value

# Text shown for a stream that the function returned and otel-ml did not follow.
NOT_FOLLOWED: Final = "a stream, not followed"

_LINE_CHARS: Final = 200
# Leaves room for spaces around the text.
_HEAD_CHARS: Final = _LINE_CHARS + 2
_ROLE_CHARS: Final = 256
# Number of fields of a message with a single text, and of its only part.
_FIELDS_OF_TEXT: Final = 2
_TIMES_SIGN: Final = "\u00d7"
_LISTS: Final = ("messages", "input", "contents", "replies")
# Members of a request besides its input.
_REQUEST: Final = frozenset({"model", "instructions"})
_CALLED: Final = ("tool_calls", "function_call")
_MESSAGE_KEYS: Final = frozenset({"content", "parts", "blocks", *_CALLED, "call_id", "summary"})
# Keys that wrap the value when a LangChain callback, or any call, is recorded as a whole.
_WRAPPED: Final = ("inputs", "outputs", "output", "input_str")
_WRAPPING: Final = frozenset({*_WRAPPED, "args", "kwargs", "tags", "metadata", "name"})
_QUESTIONS: Final = (*PROMPTS, "query_str", "contents")
# Members of an object that are its answer, also next to other texts.
_ANSWER_FIELDS: Final = ("answer", "reply", "response", "output", "text")
# Members that can be next to an answer but are not part of it.
_THOUGHTS: Final = frozenset({"reasoning", "reasoning_content", "rationale", "thinking"})
_EMBEDDED: Final = ("input", "inputs", "texts", "text", "values", "value", "documents", "content")
_VECTORS: Final = ("data", "embeddings", "embedding", "vectors", "vector")
_DOCUMENT: Final = ("content", "page_content", "text", *PROMPTS)
# Members of a message that are not its content.
_WHO: Final = frozenset({"role", "type", "name", "index", "finish_reason"})
_CALLS: Final = ("tool_call", "tool-call", "tool_use", "toolUse", "function", "function_call")
# Members that hold the message of an answer, next to usage or what led to it.
_ANSWER_MEMBERS: Final = ("message", "response")
# Key of a framework's final answer, and keys of its own records that identify the framework.
_FINAL: Final = {
    "final_output": frozenset[str](),
    "raw": frozenset({"pydantic", "json_dict", "tasks_output"}),
    "answer": frozenset({"messages"}),
    "text": frozenset({"files", "toolCalls", "toolResults", "finishReason"}),
}
_GIVEN: Final = frozenset({"args", "arguments", "input"})
_MESSAGE_KINDS: Final = frozenset({*SPEAKERS, "function_call", "function_call_output", "reasoning"})


def find_messages(value: object) -> Sequence[object]:
    """Find the chat messages in a payload.

    The payload can be a list of messages, a single message, or a whole request or response with
    messages. If most entries of a list are messages, all others are left out. If the input of a
    request is only a text, it becomes a message of the user; its instructions become one of the
    system.

    Returns:
        Messages in order, in a form that `otel_ml.genai.messages.read_message` accepts. Empty if
        there are none.
    """
    value = _open(value)
    if not isinstance(value, dict):
        return _pick_messages(value)
    if _is_message(value):
        return [value]
    listed = next((value[name] for name in (*_LISTS, "prompt") if name in value), None)
    if isinstance(listed, str) and listed and not _REQUEST.isdisjoint(value):
        messages: Sequence[object] = [{"role": "user", "content": listed}]
    else:
        messages = _pick_messages(listed if isinstance(listed, list) else _find_response(value))
    system = value.get("instructions")
    if not messages or not isinstance(system, str) or not system:
        return messages
    return [{"role": "system", "content": system}, *messages]


def _pick_messages(value: object) -> Sequence[object]:
    """Return the messages of a list; empty if fewer than half of its entries are messages."""
    entries = _flatten(value) if isinstance(value, list) else []
    messages = entries if all(map(_has_speaker, entries)) else [*filter(_has_speaker, entries)]
    has_messages = (
        bool(messages) and len(entries) <= 2 * len(messages) and _is_message(messages[-1])
    )
    return messages if has_messages else []


def _flatten(entries: list[Any]) -> list[Any]:
    """Join the lists inside a list, because LangChain writes batches of messages."""
    if not any(isinstance(entry, list) for entry in entries):
        return entries
    return [item for entry in entries for item in (entry if isinstance(entry, list) else [entry])]


def line_in(value: object, kind: str = "") -> str:
    """Return the preview of a run's input: one line of plain text of at most 200 characters."""
    if kind == "tool" and isinstance(value, dict) and _is_number_only(value):
        return _line(_object(value))
    return _line(_embedded(value) if kind == "embedding" else _asked(value))


def _is_number_only(value: dict[str, Any]) -> bool:
    """Return whether an object has only one number, which says nothing without its name."""
    return len(value) == 1 and isinstance(next(iter(value.values())), int | float)


def line_out(value: object, kind: str = "") -> str:
    """Return the preview of a run's output: one line of plain text of at most 200 characters."""
    vectors = _vectors(value) if kind == "embedding" else ""
    return vectors or _line(_answered(value))


def line_of_error(error_type: str, message: str) -> str:
    """Return the preview of a failed run: the error message without the type name before it.

    If the message is empty, the preview is the last part of the type name.
    """
    path = error_type.removeprefix("<class '").removesuffix("'>")
    name = path.rpartition(".")[2]
    for before in (path, name) if name else ():
        message = message.removeprefix(f"{before}:")
    return _line(message) or _line(name)


def text_of(message: Message) -> str:
    """Return the text of a message, or its tool calls as text. Reasoning is left out."""
    parts = [part for part in message["parts"] if part.get("type") != "reasoning"]
    texts = [text_of_part(part) for part in parts if part.get("type") == "text"]
    return " ".join(filter(None, texts)) or ", ".join(filter(None, map(text_of_part, parts)))


def text_of_part(part: Mapping[str, Any]) -> str:
    """Return a part of a message as text.

    Parts are text, reasoning, tool calls, tool responses and files.
    """
    kind = part.get("type")
    if kind == "tool_call":
        given = part.get("arguments")
        parsed = parse(given) if isinstance(given, str) else given
        given = parsed if isinstance(parsed, Mapping) else given
        if isinstance(given, Mapping):
            given = ", ".join(f"{name}={to_json(item)}" for name, item in given.items())
        return f"{part.get('name', '')}({'' if given is None else given})"
    if kind == "tool_call_response":
        response = part.get("response", part.get("result"))
        if isinstance(response, list):
            return " ".join(text_of_part(piece) for piece in response if isinstance(piece, Mapping))
        if isinstance(response, Mapping) and len(response) == 1:
            (response,) = response.values()
        return response if isinstance(response, str) else to_json(response)
    content = part.get("content") or part.get("text")
    if kind == "text" and not content:  # next to a tool call
        return ""
    return content if isinstance(content, str) else f"[{part.get('modality') or kind}]"


def _find_response(value: dict[str, Any]) -> Sequence[object]:
    if isinstance(value.get("choices"), list) or isinstance(value.get("output"), list):
        return find_output(value)
    for name in _ANSWER_MEMBERS:
        if isinstance(value.get(name), dict) and (name == "message" or _is_message(value[name])):
            return [value[name]]
    if isinstance(candidates := value.get("candidates"), list):  # Gemini
        contents = [item.get("content") for item in candidates if isinstance(item, dict)]
        return [item for item in contents if _is_message(item)]
    if isinstance(generations := value.get("generations"), list):  # LangChain
        return [*filter(None, map(_read_generation, _flatten(generations)))]
    streamed = value.get("combined_chunk_content")  # Logfire: the joined chunks of a stream
    if isinstance(streamed, str):
        return [{"role": "assistant", "content": streamed}]
    return []


def _read_generation(generation: object) -> object:
    """Return the message of one of LangChain's generations; None if it has none."""
    if not isinstance(generation, dict):
        return None
    message, text = generation.get("message"), generation.get("text")
    if isinstance(message, dict):
        return message
    return {"role": "assistant", "content": text} if isinstance(text, str) else None


def _open(value: object) -> object:
    """Unwrap wrappers of frameworks: call arguments, LangChain objects, LangGraph commands."""
    while isinstance(value, dict):
        if "kwargs" in value and value.keys() <= _WRAPPING:
            value = _take_wrapped(value)
        elif "update" in value and "graph" in value:
            value = value["update"]
        elif value.get("lc") == 1 and isinstance(value.get("kwargs"), dict):
            value = value["kwargs"]
        else:
            return value
    return value


def _take_wrapped(value: dict[str, Any]) -> object:
    """Return what a wrapper holds: an input, an output, or the arguments of a recorded call."""
    for name in _WRAPPED:
        if name in value:
            return value[name]
    args, kwargs = value.get("args") or [], value["kwargs"] or {}
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        return list(value.values())
    if not args:
        return {name: item for name, item in kwargs.items() if name != "kwargs"}
    if kwargs:
        return [*args, *(f"{name}={to_json(item)}" for name, item in kwargs.items())]
    return args[0] if len(args) == 1 else args


def _has_speaker(item: object) -> bool:
    if not isinstance(item, dict):
        return False
    kind = item.get("type")
    if isinstance(item.get("role"), str) or (isinstance(kind, str) and kind in _MESSAGE_KINDS):
        return True
    if "role" not in item and any(item.get(name) for name in _CALLED):  # a message of the model
        return not any(_is_message(item.get(name)) for name in _ANSWER_MEMBERS)
    return item.get("lc") == 1 and (inner := unwrap(item)) is not item and _has_speaker(inner)


def _is_message(item: object) -> bool:
    """Return whether an object is a message. Other objects can have a role or a type as well."""
    if not _has_speaker(item):
        return False
    message = cast("dict[str, Any]", item)
    return not _MESSAGE_KEYS.isdisjoint(message) or not _MESSAGE_KEYS.isdisjoint(
        cast("dict[str, Any]", unwrap(message))
    )


def _asked(value: object) -> str:
    """Return the last question in an input: from its messages, or the prompt."""
    value = _open(value) if isinstance(value, dict) else value
    if isinstance(value, list) and value:
        if (text := _plain_text(value[-1])) and value[-1]["role"] == "user":
            return text
        if text is None and not _is_message(value[-1]):
            value = _pick_messages(value) or value
        if text is not None or _is_message(value[-1]):
            return next(filter(None, map(_question, reversed(value))), "") or _last(value)
    if not isinstance(value, dict):
        return _headline(value)
    if _is_message(value):
        return _asked([value])
    if len(value) == 1:
        return _asked(next(iter(value.values())))
    for name in (*_LISTS, *value):
        listed = value.get(name)
        if isinstance(listed, list) and (messages := _pick_messages(listed)):
            return _asked(messages)
    prompt = next((value[name] for name in _QUESTIONS if isinstance(value.get(name), str)), None)
    if prompt is None and isinstance(given := value.get("inputs"), dict):
        return _asked(given)
    return (_table(value) or _object(value)) if prompt is None else prompt


def _answered(value: object) -> str:
    """Return the text of an answer. An object with several texts is shown as an object."""
    value = _open(value) if isinstance(value, dict) else value
    if isinstance(value, list) and value:
        if (text := _plain_text(value[-1])) is not None:
            return text
        if messages := _pick_messages(value):
            return _last(messages)
        if len(value) == 1 and (inner := _open(value[0])) is not value[0]:
            return _answered(inner)
    if not isinstance(value, dict):
        return _headline(value)
    if answer := _final(value) or _table(value):
        return answer
    if messages := find_messages(value):
        return _last(messages)
    if not _THOUGHTS.isdisjoint(value):
        value = {name: item for name, item in value.items() if name not in _THOUGHTS}
    if len(value) == 1:
        return _answered(next(iter(value.values())))
    vectors = _vectors(value) if "data" in value else ""
    return vectors or _text_field(value) or _object(value)


def _text_field(value: dict[str, Any]) -> str:
    """Return an object as its text, with a number next to it; empty if it has more to show.

    An object with a member such as ``answer`` is that text, whatever else it has.
    """
    answer = next(
        (value[name] for name in _ANSWER_FIELDS if isinstance(value.get(name), str)), None
    )
    if answer is not None:
        return cast("str", answer)
    texts = [item for item in value.values() if isinstance(item, str)]
    others = [item for item in value.values() if isinstance(item, bool | int | float)]
    if len(texts) != 1 or len(others) > 1 or any(isinstance(item, bool) for item in others):
        return ""
    return ", ".join([texts[0], *(write_number(number, 4) for number in others)])


def _final(value: dict[str, Any]) -> str:
    """Return the final answer that a framework stored next to its own records; empty if none."""
    for name, markers in _FINAL.items():
        answer = value.get(name)
        if isinstance(answer, str) and (not markers or not markers.isdisjoint(value)):
            return answer
    return ""


def _question(item: object) -> str:
    """Return the text of a user's message; empty for tool results and other roles."""
    text = _plain_text(item)
    if text is not None:
        return text if cast("dict[str, Any]", item)["role"] == "user" else ""
    message = read_message(item)
    if message is None or message["role"] != "user":
        return ""
    return text_of(message) if any(part.get("type") == "text" for part in message["parts"]) else ""


def _last(messages: Sequence[object]) -> str:
    text = _plain_text(messages[-1])
    if text is not None:
        return text
    message = read_message(messages[-1])
    return "" if message is None else text_of(message)


def _plain_text(item: Any) -> str | None:
    """Return the text of a message that is a single text; None for any other message.

    `read_message` gives the same result but takes 20 times as long, because it validates all types.
    """
    if not isinstance(item, dict) or len(item) != _FIELDS_OF_TEXT:
        return None
    content, parts, role = item.get("content"), item.get("parts"), item.get("role")
    if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], dict):
        is_text = len(parts[0]) == _FIELDS_OF_TEXT and parts[0].get("type") == "text"
        content = parts[0].get("content") if is_text else None
    is_role = isinstance(role, str) and 0 < len(role) <= _ROLE_CHARS and "." not in role
    return content if is_role and isinstance(content, str) else None


def _embedded(value: object) -> str:
    """Return the input of an embedding: a single text, or the number of texts."""
    value = _open(value)
    if isinstance(value, dict) and not _is_message(value):
        match = next((value[name] for name in _EMBEDDED if name in value), None)
        if match is None:
            return "" if value.keys() == {"model"} else _asked(value)
        return _embedded(match)
    if not isinstance(value, list) or not value:
        return _asked(value)
    if isinstance(value[0], int):
        return f"{len(value):,} tokens"
    return _embedded(value[0]) if len(value) == 1 else f"{len(value):,} texts"


def _vectors(value: object) -> str:
    """Return the number and the length of embeddings as text."""
    if isinstance(value, dict):
        if isinstance(length := value.get("dimensions"), int):
            return f"{value.get('count', 1):,} {_TIMES_SIGN} {length:,}"
        rows = next((value[name] for name in _VECTORS if name in value), None)
        return _vectors(next(iter(rows.values()), None) if isinstance(rows, dict) else rows)
    if not isinstance(value, list) or not value:
        return ""
    first = value[0]
    if isinstance(first, dict):
        first = next((first[name] for name in _VECTORS if name in first), None)
    if isinstance(first, float):
        return f"1 {_TIMES_SIGN} {len(value):,}"
    return f"{len(value):,} {_TIMES_SIGN} {len(first):,}" if isinstance(first, list) else ""


def _headline(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and isinstance(value[0], dict):
        calls = [_call(item) for item in value]
        return ", ".join(calls) if all(calls) else _document(value[0])
    if isinstance(value, list) and value and isinstance(value[0], list) and value[0]:
        return _asked(value[0]) if _is_message(value[0][-1]) else _text(value)
    return "" if value is None else _text(value)


def _call(item: object) -> str:
    """Return a tool call outside of a message as text; empty for anything else."""
    if not isinstance(item, dict):
        return ""
    given = item.get("function", item)
    is_call = "toolName" in item or item.get("type") in _CALLS
    if not is_call or not isinstance(given, dict) or _GIVEN.isdisjoint(given):
        return ""
    message = read_message({"role": "assistant", "content": [{**item, "type": "tool_use"}]})
    return "" if message is None else text_of(message)


def _document(value: dict[str, Any]) -> str:
    """Return an object as text. If it is a document, return the document's text."""
    match = next((value[name] for name in _DOCUMENT if isinstance(value.get(name), str)), None)
    if match is not None:
        return cast("str", match)
    return "" if value.keys() <= _WHO else _answered(value)


def _object(value: dict[str, Any]) -> str:
    """Return the first fields of an object as text, as many as fit into a line."""
    fields: list[str] = []
    room = _LINE_CHARS
    for name, item in value.items():
        fields.append(f"{to_json(name)}: {_field(item)}")
        room -= len(fields[-1])
        if room < 0:
            break
    return f"{{{', '.join(fields)}}}" if fields else ""


def _table(value: dict[str, Any]) -> str:
    """Return a described table or array as text; empty for any other object.

    One row is shown with its values, anything larger with its shape and columns, an image with its
    size.
    """
    if value.get("type") == "PIL.Image" and isinstance(value.get("size"), list):
        sides = [length for length in value["size"][:2] if isinstance(length, int)]
        size = f" {_TIMES_SIGN} ".join(f"{length:,}" for length in sides)
        return f"{size} image"
    if "shape" not in value:
        return ""
    shape, cells, values = value["shape"], value.get("cells"), value.get("values")
    if not isinstance(value.get("type"), str) or not isinstance(shape, list) or not shape:
        return ""
    size = f" {_TIMES_SIGN} ".join(f"{length:,}" for length in shape if isinstance(length, int))
    if isinstance(cells, dict) and cells:
        if shape == [1, len(cells)]:
            row = {name: of[0] for name, of in cells.items() if isinstance(of, list) and of}
            return _object(row)
        return f"{size} table: {', '.join(cells)}"
    if isinstance(values, list) and values:
        if shape[0] == 1 and isinstance(values[0], list):
            values = values[0]
        is_nested = bool(values) and isinstance(values[0], list)
        return f"{size} array" if is_nested else _text(values)
    return ""


def _field(value: object) -> str:
    if isinstance(value, dict) and (table := _table(value)):
        return table
    return to_json(value[: 2 * _LINE_CHARS] if isinstance(value, str) else value)


def _text(value: object) -> str:
    text = value if isinstance(value, str) else to_json(cast("Value", value))
    return text[: 2 * _LINE_CHARS]


def _line(text: str) -> str:
    """Shorten a text to one line: single spaces between words, at most 200 characters."""
    head = text[:_HEAD_CHARS].strip()
    is_cut_short = len(head) <= _LINE_CHARS and len(text) > _HEAD_CHARS
    if is_cut_short or "  " in head or not head.isprintable():
        head = " ".join(text.lstrip()[: 2 * _LINE_CHARS].split())
    return head if len(head) <= _LINE_CHARS else f"{head[: _LINE_CHARS - 1]}…"
