"""Chooses how a page shows a payload: the form that fits the value best, always limited in size.

Chats are shown as messages, tables as grids, arrays as a line or a heat map, documents as passages,
images and sounds as what they are. An object is a list of its values, each in its own form. Long
text is folded. Everything else is a tree.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from otel_ml.genai.messages import read_message
from otel_ml_collector.errors import BadInput
from otel_ml_collector.mapping.chat import find_messages, text_of_part
from otel_ml_collector.mapping.values import to_json
from otel_ml_collector.store.reader import JsonValue
from otel_ml_collector.web.amounts import is_amount, read_amount, write_amount
from otel_ml_collector.web.grids import GRID_ROWS, ShownTable, find_table
from otel_ml_collector.web.media import (
    IMAGE_CHARS,
    ShownPicture,
    ShownSound,
    find_picture,
    find_sound,
)
from otel_ml_collector.web.number_arrays import Numbers, find_numbers
from otel_ml_collector.web.passages import RetrievedPassage, find_passages
from otel_ml_collector.web.previews import write_preview
from otel_ml_collector.web.view import Slice, cut_slice
from otel_ml_collector.wording import shorten, tag_value

NODES: Final = 400
_OPEN_NODES: Final = 24
_TREE_DEPTH: Final = 12
_NODE_CHARS: Final = 1_000
_LABEL_CHARS: Final = 200
_CRUMBS: Final = 12
_DIGITS: Final = 9
_MESSAGE_CHARS: Final = 2_000
_MESSAGES: Final = 50
# The list of an object's values: of all, of those with a form of their own, and of the text and the
# elements that fit into a line. Longer lists have a search.
_MOST_MEMBERS: Final = 500
_MOST_LONG: Final = 12
_MEMBER_NODES: Final = 60
_MEMBER_ROWS: Final = 10
_MEMBER_CHARS: Final = 4_000
_LINE_CHARS: Final = 160
_LISTED: Final = 7
_SEARCHED: Final = 12
_RAW_CHARS: Final = 100_000
_FOLDED_CHARS: Final = 600
_FOLDED_LINES: Final = 12
_TEXT_CHARS: Final = 20_000
_BLOB_CHARS: Final = 400
_BLOB: Final = re.compile(r"(?=.*[A-Z])(?=.*[a-z])(?=.*[0-9])[A-Za-z0-9+/_-]{400,}={0,2}")


@dataclass(slots=True)
class Node:
    """A value in a tree.

    Attributes:
        label: Its key or position; empty at the root.
        text: The text that is shown.
        kind: text, number, word (true, false, null) or branch.
        path: Positions from the root, joined by dots; empty at the root.
        first: Position of the first child that is shown, from 0.
        hidden: Number of children after the last one that is shown.
        is_cut: Whether the text is cut.
        is_open: Whether a branch shows its children initially.
    """

    label: str
    text: str
    kind: str
    path: str = ""
    children: list["Node"] = field(default_factory=list)
    first: int = 0
    hidden: int = 0
    is_cut: bool = False
    is_open: bool = True

    @property
    def end(self) -> int:
        """Position after the last child that is shown."""
        return self.first + len(self.children)


@dataclass(frozen=True, slots=True)
class Crumb:
    """One step of the path from the root to a value."""

    label: str
    path: str


def make_tree(value: JsonValue, path: str = "", first: int = 0, nodes: int = NODES) -> Node:
    """Return the tree of a JSON value, with at most 12 levels and by default at most 400 nodes.

    In a large tree, branches below the second level are closed.
    """
    walk = _Walk(nodes)
    if first and isinstance(value, Mapping | list):
        root = Node("", "", "branch", path)
        walk.grow(root, value, 0, first)
    else:
        root = walk.node("", path, value, 0)
    if nodes - walk.left > _OPEN_NODES:
        for child in root.children:
            for branch in child.children:
                branch.is_open = False
    return root


def descend(value: JsonValue, path: str) -> tuple[JsonValue, list[Crumb]]:
    """Return the value at a path inside another, and the last steps of the path.

    Raises:
        BadInput: There is no value at the path.
    """
    crumbs: list[Crumb] = []
    places = path.split(".") if path else []
    for depth, place in enumerate(places, 1):
        is_place = place.isascii() and place.isdecimal() and len(place) <= _DIGITS
        part = next(islice(_pairs(value), int(place), None), None) if is_place else None
        if part is None:
            raise BadInput(f"This value has nothing at {path[:80]!r}", "at")
        value = part[1]
        crumbs.append(Crumb(shorten(str(part[0]), _LABEL_CHARS), ".".join(places[:depth])))
    return value, crumbs[-_CRUMBS:]


def _pairs(value: JsonValue) -> Iterable[tuple[object, Any]]:
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


@dataclass(slots=True)
class _Walk:
    """Makes nodes up to a limit.

    Attributes:
        left: Number of nodes that may still be made.
    """

    left: int

    def node(self, label: str, path: str, value: JsonValue, depth: int) -> Node:
        """Return the node of a value, with its children."""
        self.left -= 1
        if isinstance(value, Mapping | list):
            text = f"{{{len(value)}}}" if isinstance(value, Mapping) else f"[{len(value)}]"
            node = Node(label, text, "branch", path)
            self.grow(node, value, depth, 0)
            return node
        if isinstance(value, str):
            is_cut = len(value) > _NODE_CHARS
            cut = f"{value[:_NODE_CHARS]}…" if is_cut else value
            return Node(label, f'"{cut}"' if depth else cut, "text", path, is_cut=is_cut)
        if value is None or isinstance(value, bool):
            return Node(label, {None: "null", True: "true", False: "false"}[value], "word", path)
        return Node(label, str(value), "number", path)

    def grow(
        self, node: Node, value: Mapping[str, Any] | list[Any], depth: int, first: int
    ) -> None:
        """Add the children of a branch, starting at a position."""
        before = f"{node.path}." if node.path else ""
        node.first = first
        for place, (key, item) in enumerate(islice(_pairs(value), first, None), first):
            if self.left <= 0 or depth >= _TREE_DEPTH:
                break
            child = self.node(shorten(str(key), _LABEL_CHARS), f"{before}{place}", item, depth + 1)
            node.children.append(child)
        node.hidden = max(len(value) - node.end, 0)


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """One message of a chat.

    Attributes:
        chars: Length of the whole text. If it is cut, less is shown.
    """

    role: str
    text: str
    chars: int


def find_chat(value: JsonValue, first: int = 0) -> Slice[ShownMessage] | None:
    """Return some of a value's chat messages, starting at a position; None if it is not a chat."""
    messages = find_messages(value)
    if not messages:
        return None
    part = cut_slice(messages, first, _MESSAGES)
    return Slice([_message(item) for item in part.items], part.first, part.total, part.size)


def _message(item: object) -> ShownMessage:
    message = read_message(item)
    if message is None:
        return ShownMessage("", "", 0)
    text = "\n".join(filter(None, map(text_of_part, message["parts"])))
    return ShownMessage(message["role"], text[:_MESSAGE_CHARS], len(text))


@dataclass(frozen=True, slots=True)
class ShownText:
    """A text: its beginning, and one part of it if it is long."""

    head: str
    part: Slice[str]

    @property
    def is_long(self) -> bool:
        """Whether the text is longer than its shown beginning."""
        return len(self.head) < self.part.total


@dataclass(frozen=True, slots=True)
class Blob:
    """Encoded bytes. Only their number is shown."""

    size: int


@dataclass(frozen=True, slots=True)
class Tree:
    """The tree or text at the end of a path into a value."""

    crumbs: Sequence[Crumb]
    root: Node
    text: ShownText | None


@dataclass(frozen=True, slots=True)
class Raw:
    """JSON with line breaks, cut at 100,000 characters."""

    text: str
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Passages:
    """Retrieved documents, ranked."""

    passages: Sequence[RetrievedPassage]

    @property
    def about(self) -> str:
        """Their number in words."""
        number = len(self.passages)
        return f"{number} document{'' if number == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class ShownMember:
    """A value of an object, under its name.

    Attributes:
        path: Path of the field, as in filters; empty if it is unknown.
        text: A short value as text; empty if `payload` shows it.
        exact: The whole value, if the text is rounded.
        kind: number, word or text.
        payload: The form of any other value.
        note: What is usual, or why the value is unusual.
        is_unusual: Whether the value is unusual.
    """

    name: str
    text: str = ""
    exact: str = ""
    kind: str = ""
    payload: "Payload | None" = None
    path: str = ""
    note: str = ""
    is_unusual: bool = False


@dataclass(frozen=True, slots=True)
class Members:
    """The values of an object, the short ones apart from the others.

    Attributes:
        short: Values that fit into a line.
        long: Tables, images and other values with a form of their own.
        total: Number of all values; fewer may be shown.
    """

    short: Sequence[ShownMember]
    long: Sequence[ShownMember]
    total: int

    @property
    def has_search(self) -> bool:
        """Whether the list is long enough for a search."""
        return len(self.short) > _SEARCHED

    @property
    def unusual(self) -> int:
        """Number of unusual values."""
        return sum(member.is_unusual for member in self.short)


Form = (
    Slice[ShownMessage]
    | ShownTable
    | Numbers
    | ShownText
    | ShownPicture
    | ShownSound
    | Passages
    | Members
    | Blob
    | Tree
    | Raw
)


@dataclass(frozen=True, slots=True)
class Payload:
    """A value in one of its forms.

    Attributes:
        forms: The possible forms, the best one first.
        form: The chosen form.
    """

    forms: Sequence[str]
    form: str
    shown: Form


def make_payload(
    value: JsonValue, chosen: str = "", at: str = "", first: int = 0, nodes: int = NODES
) -> Payload:
    """Prepare a JSON value for display in one of its views, such as messages, tree or raw text.

    Args:
        value: Any JSON value.
        chosen: The name of a view, such as `Tree`. If the value cannot be shown in it, the most
            readable view is used.
        at: In a tree, the path to the part that is shown.
        first: Number of the first shown message, row, child or character of a long view.
        nodes: Maximum number of nodes of a tree.

    Raises:
        BadInput: There is no value at the path.
    """
    inner = alone(value)
    forms = _forms(value, inner, first)
    names = [*forms, *([] if isinstance(inner, str) else ["Tree"]), "Raw"]
    form = chosen if chosen in names else names[0]
    if form == "Tree":
        focus, crumbs = descend(value, at)
        text = _text(focus, first) if at and isinstance(focus, str) else None
        return Payload(names, form, Tree(crumbs, make_tree(focus, at, first, nodes), text))
    return Payload(names, form, forms[form] if form in forms else write_raw(value))


def alone(value: JsonValue) -> JsonValue:
    """Return the only value of an object with a single member, such as a model's only input."""
    if isinstance(value, Mapping) and len(value) == 1:
        return next(iter(value.values()))
    return value


def _forms(
    value: JsonValue, inner: JsonValue, first: int, rows: int = GRID_ROWS
) -> dict[str, Form]:
    if isinstance(inner, str):
        return _forms_of_text(inner, first)
    named = value if isinstance(value, Mapping) else {"value": inner}
    if isinstance(inner, int | float) and is_amount(inner):
        return {"Values": list_members(named)}
    if not isinstance(inner, Mapping | list) or not inner:
        return {}
    passages = find_passages(inner, is_retriever=False)
    facts: dict[str, Form | None] = {
        "Chat": find_chat(value, first) or find_chat(inner, first),
        "Audio": find_sound(inner),
        "Image": find_picture(inner),
        "Passages": Passages(passages) if passages else None,
        "Table": find_table(inner, first, rows),
        "Numbers": find_numbers(inner),
    }
    forms = {name: form for name, form in facts.items() if form is not None}
    if not forms and isinstance(inner, Mapping) and "$" not in inner:
        forms["Values"] = list_members(inner)
    elif not forms and _short_member("", inner) is not None:
        forms["Values"] = list_members(named)
    return forms


def _forms_of_text(text: str, first: int) -> dict[str, Form]:
    sound = find_sound(text)
    if sound is not None:
        return {"Audio": sound}
    picture = find_picture(text)
    if picture is not None:
        return {"Image": picture}
    if len(text) >= _BLOB_CHARS and _BLOB.fullmatch(text[:_RAW_CHARS]):
        return {"Blob": Blob(len(text) * 3 // 4)}
    return {"Text": _text(text, first)}


def list_members(value: Mapping[str, JsonValue]) -> Members:
    """List the values of an object, at most 500, each in its own form."""
    short: list[ShownMember] = []
    long: list[ShownMember] = []
    room = IMAGE_CHARS
    for key, item in islice(value.items(), _MOST_MEMBERS):
        name = shorten(str(key), _LABEL_CHARS)
        member = _short_member(name, item)
        if member is not None:
            short.append(member)
        elif len(long) < _MOST_LONG:
            forms = _forms(item, item, 0, rows=_MEMBER_ROWS)
            chosen = next(iter(forms), "")
            form = forms.get(chosen)
            if isinstance(form, ShownPicture | ShownSound) and form.address:
                room -= len(form.address)
                if room < 0:
                    forms[chosen] = ShownPicture(None, "the others take too much room")
            elif isinstance(item, str) and isinstance(form, ShownText):
                forms[chosen] = _text(item, 0, _MEMBER_CHARS)
            if chosen in ("", "Values"):
                chosen, forms = (
                    "Tree",
                    {"Tree": Tree((), make_tree(item, nodes=_MEMBER_NODES), None)},
                )
            long.append(ShownMember(name, payload=Payload([chosen], chosen, forms[chosen])))
    return Members(short, long, len(value))


def _short_member(name: str, item: JsonValue) -> ShownMember | None:
    """Return a value that fits into a line; None for any other value."""
    if item is None:
        return ShownMember(name, "–", kind="word")
    if isinstance(item, bool):
        return ShownMember(name, "yes" if item else "no", kind="word")
    if is_amount(item):
        text = write_amount(item)
        return ShownMember(name, text, "" if read_amount(text) == item else str(item), "number")
    if isinstance(item, str):
        is_line = len(item) <= _LINE_CHARS and "\n" not in item
        return ShownMember(name, item or "–", kind="text") if is_line else None
    if isinstance(item, list | Mapping) and not item:
        return ShownMember(name, "empty", kind="word")
    if isinstance(item, list) and len(item) <= _LISTED and all(map(_is_plain, item)):
        texts = [write_amount(part) if is_amount(part) else str(part) for part in item]
        line = ", ".join(texts)
        return ShownMember(name, line, kind="text") if len(line) <= _LINE_CHARS else None
    return None


def write_setting(value: JsonValue) -> str:
    """Write a parameter of a call for people: the text of instructions, else a preview."""
    if isinstance(value, list) and value:
        parts = [part for part in value if isinstance(part, dict) and part.get("type") == "text"]
        if len(parts) == len(value):
            return "\n".join(filter(None, map(text_of_part, parts)))
    return write_preview(to_json(value)) if isinstance(value, list | dict) else tag_value(value)


def _is_plain(item: object) -> bool:
    return is_amount(item) or (isinstance(item, str) and "\n" not in item)


def _text(text: str, first: int, chars: int = _TEXT_CHARS) -> ShownText:
    lines = text[:_FOLDED_CHARS].split("\n", _FOLDED_LINES)
    return ShownText("\n".join(lines[:_FOLDED_LINES]), cut_slice(text, first, chars))


def write_raw(value: JsonValue) -> Raw:
    """Write JSON up to the limit, because the whole may be very long."""
    parts: list[str] = []
    chars = 0
    for part in json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(value):
        parts.append(part)
        chars += len(part)
        if chars > _RAW_CHARS:
            break
    return Raw("".join(parts)[:_RAW_CHARS], chars > _RAW_CHARS)
