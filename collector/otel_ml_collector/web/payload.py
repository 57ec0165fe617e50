"""Payloads for the eye: each value in the form that shows it best, and never more than is bounded.

A chat is a chat, rows of one shape are a table, many numbers are their statistics, what was typed
is its description, long text is folded, and everything else is a tree.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.query.answers.values import JsonValue
from otel_ml_collector.query.image_head import MEDIA_TYPES, read_head
from otel_ml_collector.web.chat import Message, find_chat
from otel_ml_collector.web.numbers import Numbers, find_numbers
from otel_ml_collector.web.slices import Slice, cut_slice
from otel_ml_collector.web.table import Table, find_table
from otel_ml_collector.web.tree import NODES, Crumb, Node, descend, make_tree

_RAW_CHARS: Final = 100_000
_FOLDED_CHARS: Final = 600
_FOLDED_LINES: Final = 12
_TEXT_CHARS: Final = 20_000
_IMAGE_CHARS: Final = 700_000
_BLOB_CHARS: Final = 400
_BLOB: Final = re.compile(r"(?=.*[A-Z])(?=.*[a-z])(?=.*[0-9])[A-Za-z0-9+/_-]{400,}={0,2}")
_DATA_IMAGE: Final = re.compile(r"data:(image/[a-z]+);base64,([A-Za-z0-9+/]+={0,2})")
_NO_IMAGE: Final = re.compile(r"data:(image/[A-Za-z0-9.+-]{1,80})[;,]")


@dataclass(frozen=True, slots=True)
class Text:
    """A text: its beginning, and a part of it when it is long."""

    head: str
    part: Slice[str]

    @property
    def is_long(self) -> bool:
        """Whether the head is not all."""
        return len(self.head) < self.part.total


@dataclass(frozen=True, slots=True)
class Picture:
    """An image in a text.

    Attributes:
        address: A data address to show it by; None when it is not to be drawn.
        why: Why it is not.
    """

    address: str | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Blob:
    """Encoded bytes, of which only the number is told."""

    size: int


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree, or a text, at the end of a way into a value."""

    crumbs: Sequence[Crumb]
    root: Node
    text: Text | None


@dataclass(frozen=True, slots=True)
class Raw:
    """JSON with line breaks, cut at 100,000 characters."""

    text: str
    is_cut: bool


Form = Slice[Message] | Table | Numbers | Text | Picture | Blob | Tree | Raw


@dataclass(frozen=True, slots=True)
class Payload:
    """A value in one of its forms.

    Attributes:
        forms: Which it has, the best one first.
        form: Which of them this is.
    """

    forms: Sequence[str]
    form: str
    shown: Form


def make_payload(
    value: JsonValue, chosen: str = "", at: str = "", first: int = 0, nodes: int = NODES
) -> Payload:
    """Show a value in one of its forms.

    Args:
        value: Any JSON value.
        chosen: Which form; the best one where it has none of that name.
        at: In a tree, the way to what is shown of it.
        first: Where a long form begins: a message, a row, a child or a character.
        nodes: How many nodes a tree has at most.

    Raises:
        BadQuery: There is nothing at the end of that way.
    """
    inner = alone(value)
    found = _forms_of_text(inner, first) if isinstance(inner, str) else _forms(inner, first)
    names = [*found, *([] if isinstance(inner, str) else ["Tree"]), "Raw"]
    form = chosen if chosen in names else names[0]
    if form == "Tree":
        return Payload(names, form, _tree(value, at, first, nodes))
    return Payload(names, form, found[form] if form in found else _raw(value))


def alone(value: JsonValue) -> JsonValue:
    """Return the one value of an object that has but one, such as the only input of a model."""
    if isinstance(value, Mapping) and len(value) == 1:
        return next(iter(value.values()))
    return value


def _forms(value: JsonValue, first: int) -> dict[str, Form]:
    found = {
        "Chat": find_chat(value, first),
        "Table": find_table(value, first),
        "Numbers": find_numbers(value),
    }
    return {name: form for name, form in found.items() if form is not None}


def _forms_of_text(text: str, first: int) -> dict[str, Form]:
    picture = _picture(text)
    if picture is not None:
        return {"Image": picture}
    if len(text) >= _BLOB_CHARS and _BLOB.fullmatch(text[:_RAW_CHARS]):
        return {"Blob": Blob(len(text) * 3 // 4)}
    return {"Text": _text(text, first)}


def _text(text: str, first: int) -> Text:
    lines = text[:_FOLDED_CHARS].split("\n", _FOLDED_LINES)
    return Text("\n".join(lines[:_FOLDED_LINES]), cut_slice(text, first, _TEXT_CHARS))


def _picture(text: str) -> Picture | None:
    """Read a text that says that it is an image: by what it holds, not by what it says."""
    told = _NO_IMAGE.match(text)
    if told is None:
        return None
    if len(text) > _IMAGE_CHARS:
        return Picture(None, f"it has more than {_IMAGE_CHARS:,} characters")
    match = _DATA_IMAGE.fullmatch(text)
    if match is None or match[1] not in MEDIA_TYPES:
        return Picture(None, f"{told[1]} in this form is not shown here")
    try:
        content = base64.b64decode(match[2], validate=True)
    except (binascii.Error, ValueError):
        return Picture(None, "it is not encoded as it says")
    head = read_head(content)
    if head is None or head.media_type != match[1]:
        return Picture(None, f"it is not the {match[1]} that it says it is")
    return Picture(None, head.why) if head.why else Picture(text)


def _tree(value: JsonValue, at: str, first: int, nodes: int) -> Tree:
    focus, crumbs = descend(value, at)
    text = _text(focus, first) if at and isinstance(focus, str) else None
    return Tree(crumbs, make_tree(focus, at, first, nodes), text)


def _raw(value: JsonValue) -> Raw:
    """Write JSON until there is enough of it: all of it may be very long."""
    parts: list[str] = []
    chars = 0
    for part in json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(value):
        parts.append(part)
        chars += len(part)
        if chars > _RAW_CHARS:
            break
    return Raw("".join(parts)[:_RAW_CHARS], chars > _RAW_CHARS)
