"""Chat messages in a payload, of whichever provider: who said what, and which tools were called."""

from dataclasses import dataclass
from typing import Final

from otel_ml.genai.messages import read_message
from otel_ml_collector.mapping.chat import find_messages, text_of_part
from otel_ml_collector.query.answers.values import JsonValue
from otel_ml_collector.web.slices import Slice, cut_slice

_CHARS: Final = 2_000
_MESSAGES: Final = 50


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
    found = find_messages(value)
    if not found:
        return None
    part = cut_slice(found, first, _MESSAGES)
    return Slice([_message(item) for item in part.items], part.first, part.total, part.size)


def _message(item: object) -> Message:
    message = read_message(item)
    if message is None:
        return Message("", "", 0)
    text = "\n".join(filter(None, map(text_of_part, message["parts"])))
    return Message(message["role"], text[:_CHARS], len(text))
