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
from typing import Any, Final

from otel_ml_collector.query.answers.values import JsonValue
from otel_ml_collector.web.chat import Message, find_chat
from otel_ml_collector.web.numbers import Numbers, find_numbers
from otel_ml_collector.web.table import Table, find_table
from otel_ml_collector.web.tree import Node, make_tree

_RAW_CHARS: Final = 100_000
_FOLDED_CHARS: Final = 600
_FOLDED_LINES: Final = 12
_TEXT_CHARS: Final = 200_000
_IMAGE_CHARS: Final = 700_000
_BLOB_CHARS: Final = 400
_BLOB: Final = re.compile(r"(?=.*[A-Z])(?=.*[a-z])(?=.*[0-9])[A-Za-z0-9+/_-]{400,}={0,2}")
_DATA_IMAGE: Final = re.compile(r"data:image/(png|jpeg|gif|webp);base64,([A-Za-z0-9+/]+={0,2})")
_MAGIC: Final = {
    "png": b"\x89PNG\r\n\x1a\n",
    "jpeg": b"\xff\xd8\xff",
    "gif": b"GIF8",
    "webp": b"RIFF",
}
_SIDES: Final = 4_096  # pixels: a larger image is only named, so that none is a bomb


@dataclass(frozen=True, slots=True)
class Text:
    """A text: its beginning, and the rest when it is long.

    Attributes:
        chars: How long it is.
        is_cut: Whether even `whole` is only its beginning.
    """

    head: str
    whole: str
    chars: int
    is_cut: bool

    @property
    def is_long(self) -> bool:
        """Whether the head is not all."""
        return len(self.head) < self.chars


@dataclass(frozen=True, slots=True)
class Payload:
    """A value as it is shown; of the forms the first one that is there comes first.

    Attributes:
        tree: Its tree, None for a text.
        raw: Its JSON with line breaks, cut at 100,000 characters.
        image: A data address of a small image in it.
    """

    raw: str
    is_raw_cut: bool
    chat: Sequence[Message] = ()
    table: Table | None = None
    numbers: Numbers | None = None
    text: Text | None = None
    tree: Node | None = None
    image: str | None = None
    blob_bytes: int | None = None

    @property
    def forms(self) -> list[str]:
        """Name the forms that it has, the best one first."""
        named = {
            "Chat": self.chat,
            "Image": self.image,
            "Table": self.table,
            "Numbers": self.numbers,
            "Text": self.text,
            "Blob": self.blob_bytes,
            "Tree": self.tree,
        }
        return [*(name for name, form in named.items() if form), "Raw"]


def make_payload(value: JsonValue) -> Payload:
    """Choose the forms in which a value is shown."""
    raw = json.dumps(value, ensure_ascii=False, indent=2)
    shown: dict[str, Any] = {"raw": raw[:_RAW_CHARS], "is_raw_cut": len(raw) > _RAW_CHARS}
    inner = alone(value)
    if isinstance(inner, str):
        return Payload(**shown, **_text_forms(inner))
    return Payload(
        **shown,
        chat=find_chat(inner),
        table=find_table(inner),
        numbers=find_numbers(inner),
        tree=make_tree(value),
    )


def alone(value: JsonValue) -> JsonValue:
    """Return the one value of an object that has but one, such as the only input of a model."""
    if isinstance(value, Mapping) and len(value) == 1:
        return next(iter(value.values()))
    return value


def _text_forms(text: str) -> dict[str, Any]:
    image = _DATA_IMAGE.fullmatch(text) if len(text) <= _IMAGE_CHARS else None
    if image and _is_small_image(image[1], image[2]):
        return {"image": text}
    if len(text) >= _BLOB_CHARS and (image or _BLOB.fullmatch(text[:_RAW_CHARS])):
        return {"blob_bytes": len(text) * 3 // 4}
    lines = text.split("\n", _FOLDED_LINES)
    head = "\n".join(lines[:_FOLDED_LINES])[:_FOLDED_CHARS]
    return {"text": Text(head, text[:_TEXT_CHARS], len(text), len(text) > _TEXT_CHARS)}


def _is_small_image(kind: str, encoded: str) -> bool:
    """Tell whether a text is what it says, and no bomb: few bytes can unpack to many pixels."""
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    if not content.startswith(_MAGIC[kind]):
        return False
    if kind == "png":
        sides = content[16:20], content[20:24]
        return all(0 < int.from_bytes(side) <= _SIDES for side in sides)
    return len(encoded) <= _IMAGE_CHARS // 4
