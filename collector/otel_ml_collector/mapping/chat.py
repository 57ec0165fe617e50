"""What was asked and what was answered: the messages in a payload, and the one line of each.

Lists, pages and filters read a payload here and nowhere else, whichever provider or dialect it is
from. A line is what a person would look for: the last question, the answer's text.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from otel_ml.genai.messages import PROMPTS, SPEAKERS, Message, find_output, read_message
from otel_ml_collector.mapping.values import to_json
from otel_ml_collector.span import Value

# What stands for a stream that was returned and not followed.
NOT_FOLLOWED: Final = "a stream, not followed"

_LINE_CHARS: Final = 200
# With room for the spaces around it.
_HEAD_CHARS: Final = _LINE_CHARS + 2
_ROLE_CHARS: Final = 256
# How many fields a message has that is one text, and its only part.
_PLAIN: Final = 2
_FIELDS: Final = 16
_TIMES: Final = "\u00d7"
_LISTS: Final = ("messages", "input", "contents")
_SAID: Final = frozenset({"content", "parts", "tool_calls", "call_id", "summary"})
_KINDS: Final = frozenset({*SPEAKERS, "function_call", "function_call_output", "reasoning"})


def find_messages(value: object) -> Sequence[object]:
    """Find the messages in a payload: a list of them, a lone one, a request's or a response's.

    Returns:
        In order, each as `otel_ml.genai.messages.read_message` takes it; empty where there is none.
    """
    if isinstance(value, dict):
        if _is_message(value):
            return [value]
        listed = next((value[name] for name in _LISTS if name in value), None)
        found = listed if isinstance(listed, list) else _find_response(value)
    else:
        found = value if isinstance(value, list) else []
    return found if found and all(map(_has_speaker, found)) and _is_message(found[-1]) else []


def line_in(value: object) -> str:
    """Return one short line of plain text for what a run was given."""
    return _line(_asked(value))


def line_out(value: object) -> str:
    """Return one short line of plain text for what a run gave."""
    return _line(_answered(value))


def text_of(message: Message) -> str:
    """Return what a message says: its text, else the calls of tools that it is; never a thought."""
    parts = [part for part in message["parts"] if part.get("type") != "reasoning"]
    texts = [text_of_part(part) for part in parts if part.get("type") == "text"]
    return " ".join(filter(None, texts)) or ", ".join(filter(None, map(text_of_part, parts)))


def text_of_part(part: Mapping[str, Any]) -> str:
    """Write a part of a message: text, a thought, the call of a tool, its result, what was sent."""
    kind = part.get("type")
    if kind == "tool_call":
        given = part.get("arguments")
        if isinstance(given, Mapping):
            given = ", ".join(f"{name}={to_json(item)}" for name, item in given.items())
        return f"{part.get('name', '')}({'' if given is None else given})"
    if kind == "tool_call_response":
        response = part.get("response", part.get("result"))
        if isinstance(response, list):
            return " ".join(text_of_part(one) for one in response if isinstance(one, Mapping))
        return response if isinstance(response, str) else to_json(response)
    content = part.get("content") or part.get("text")
    return content if isinstance(content, str) else f"[{part.get('modality') or kind}]"


def _find_response(value: dict[str, Any]) -> Sequence[object]:
    if isinstance(value.get("choices"), list) or isinstance(value.get("output"), list):
        return find_output(value)
    return []


def _has_speaker(item: object) -> bool:
    if not isinstance(item, dict):
        return False
    kind = item.get("type")
    return isinstance(item.get("role"), str) or (isinstance(kind, str) and kind in _KINDS)


def _is_message(item: object) -> bool:
    """Tell a message from an object that has a role, or a type, for another reason."""
    return _has_speaker(item) and not _SAID.isdisjoint(cast("dict[str, Any]", item))


def _asked(value: object) -> str:
    """Find the last question: of several inputs that of their messages, or the prompt."""
    if isinstance(value, list) and value and _is_message(value[-1]):
        return next(filter(None, map(_question, reversed(value))), "") or _last(value)
    if not isinstance(value, dict):
        return _headline(value)
    if _is_message(value):
        return _asked([value])
    if len(value) == 1:
        return _asked(next(iter(value.values())))
    for name in (*_LISTS, *value):
        listed = value.get(name)
        if isinstance(listed, list) and listed and _is_message(listed[-1]):
            return _asked(listed)
    prompt = next((value[name] for name in PROMPTS if isinstance(value.get(name), str)), None)
    return _headline(value) if prompt is None else prompt


def _answered(value: object) -> str:
    """Find the answer's text; an object of several fields reads as the object."""
    if isinstance(value, list) and value and _is_message(value[-1]):
        return _last(value)
    if not isinstance(value, dict):
        return _headline(value)
    if found := find_messages(value):
        return _last(found)
    if len(value) == 1:
        return _answered(next(iter(value.values())))
    if vectors := _vectors(value):
        return vectors
    fields = [f"{json.dumps(name)}: {_field(item)}" for name, item in list(value.items())[:_FIELDS]]
    more = ", …" if len(value) > _FIELDS else ""
    return f"{{{', '.join(fields)}{more}}}" if fields else ""


def _question(item: object) -> str:
    """Return the text of a message of the user's that has one, which a tool's result has not."""
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
    """Read the text of a message that is one text, as most are; None of any other message.

    `read_message` says the same of it and takes twenty times as long: it trusts no type.
    """
    if not isinstance(item, dict) or len(item) != _PLAIN:
        return None
    content, parts, role = item.get("content"), item.get("parts"), item.get("role")
    if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], dict):
        is_text = len(parts[0]) == _PLAIN and parts[0].get("type") == "text"
        content = parts[0].get("content") if is_text else None
    is_role = isinstance(role, str) and 0 < len(role) <= _ROLE_CHARS
    return content if is_role and isinstance(content, str) else None


def _vectors(value: dict[str, Any]) -> str:
    """Write embeddings as how many there are and how long they are."""
    rows = value.get("data")
    first = rows[0] if isinstance(rows, list) and rows else None
    vector = first.get("embedding") if isinstance(first, dict) else None
    if not isinstance(vector, list) or not isinstance(rows, list):
        return ""
    return f"{len(rows):,} {_TIMES} {len(vector):,}"


def _headline(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        first = next(iter(value.values()), None)
        if len(value) == 1 or isinstance(first, str):  # a question with its context
            return _headline(first)
        return ", ".join(f"{name}: {_text(item)}" for name, item in list(value.items())[:_FIELDS])
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return _headline(value[0])
    return "" if value is None else _text(value)


def _field(value: object) -> str:
    return to_json(value[: 2 * _LINE_CHARS] if isinstance(value, str) else value)


def _text(value: object) -> str:
    text = value if isinstance(value, str) else to_json(cast("Value", value))
    return text[: 2 * _LINE_CHARS]


def _line(text: str) -> str:
    """Cut a text to one line: single spaces between words, at most 200 characters."""
    head = text[:_HEAD_CHARS].strip()
    is_cut_short = len(head) <= _LINE_CHARS and len(text) > _HEAD_CHARS
    if is_cut_short or "  " in head or not head.isprintable():
        head = " ".join(text.lstrip()[: 2 * _LINE_CHARS].split())
    return head if len(head) <= _LINE_CHARS else f"{head[: _LINE_CHARS - 1]}…"
