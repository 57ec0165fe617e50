"""Chat messages in a payload, of whichever provider: who said what, and which tools were called."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from otel_ml_collector.query.answers.values import JsonValue
from otel_ml_collector.web.slices import Slice, cut_slice

_CHARS: Final = 2_000
_MESSAGES: Final = 50
_LISTS: Final = ("messages", "input", "contents")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat.

    Attributes:
        chars: How long its text is; more than is shown when it was cut.
    """

    role: str
    text: str
    chars: int


def find_chat(value: JsonValue, first: int = 0) -> Slice[Message] | None:
    """Read a value as chat messages, some of them from one on; None when it is no chat."""
    if isinstance(value, Mapping):
        if isinstance(value.get("role"), str):
            value = [value]
        else:
            value = next((value[name] for name in _LISTS if name in value), None)
    if not isinstance(value, list) or not value or not all(map(_is_message, value)):
        return None
    part = cut_slice(value, first, _MESSAGES)
    return replace(part, items=[_message(item) for item in part.items])


def _is_message(item: JsonValue) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get("role"), str)


def _message(item: Mapping[str, Any]) -> Message:
    text = _content(item.get("parts", item.get("content")))
    calls = item.get("tool_calls")
    if isinstance(calls, list):
        text = "\n".join([*([text] if text else []), *map(_part, calls)])
    return Message(item["role"], text[:_CHARS], len(text))


def _content(content: JsonValue) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(_part(part) for part in content)
    return "" if content is None else str(content)


def _part(part: JsonValue) -> str:
    if isinstance(part, Mapping):
        for key in ("content", "text", "result"):
            if isinstance(part.get(key), str):
                return str(part[key])
        called = part.get("function", part)
        if isinstance(called, Mapping) and called.get("name"):
            return f"{called['name']}({called.get('arguments', '')})"
        if part.get("type"):
            return f"[{part['type']}]"
    return str(part)
