"""Chooses how a page shows a payload: the form that fits the value best, always limited in size.

Chats are shown as messages, rows with the same keys as a table, many numbers as their statistics,
and typed values as their description. Long text is folded. Everything else is a tree.
"""

import base64
import binascii
import json
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from otel_ml.genai.messages import read_message
from otel_ml_collector.errors import BadInput
from otel_ml_collector.mapping.chat import find_messages, text_of_part
from otel_ml_collector.store.reader import JsonValue
from otel_ml_collector.web.images import MEDIA_TYPES, read_head
from otel_ml_collector.web.view import Slice, bars, cut_slice
from otel_ml_collector.wording import shorten

NODES: Final = 400
_OPEN_NODES: Final = 24
_TREE_DEPTH: Final = 12
_NODE_CHARS: Final = 1_000
_INFINITE: Final = ("Infinity", "-Infinity")
_LABEL_CHARS: Final = 200
_CRUMBS: Final = 12
_DIGITS: Final = 9
_FEWEST_NUMBERS: Final = 8
_MOST_NUMBERS: Final = 1_000_000
_DEPTH: Final = 8
_LARGEST: Final = sys.float_info.max
_BINS: Final = 24
_HISTOGRAM_HEIGHT: Final = 40
_ROWS_OF_PART: Final = 50
_MOST_CELLS: Final = 12
_CELL_CHARS: Final = 200
_LEAST_ROWS: Final = 2
_MESSAGE_CHARS: Final = 2_000
_MESSAGES: Final = 50
_RAW_CHARS: Final = 100_000
_FOLDED_CHARS: Final = 600
_FOLDED_LINES: Final = 12
_TEXT_CHARS: Final = 20_000
IMAGE_CHARS: Final = 700_000
_BLOB_CHARS: Final = 400
_BLOB: Final = re.compile(r"(?=.*[A-Z])(?=.*[a-z])(?=.*[0-9])[A-Za-z0-9+/_-]{400,}={0,2}")
_DATA_IMAGE: Final = re.compile(r"data:(image/[a-z]+);base64,([A-Za-z0-9+/]+={0,2})")
_NO_IMAGE: Final = re.compile(r"data:(image/[A-Za-z0-9.+-]{1,80})[;,]")


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
class Numbers:
    """Statistics of an array.

    Attributes:
        shape: Length of each dimension.
        dtype: The type that was sent; empty for plain lists.
        not_numbers: Number of values that are NaN, infinite or missing.
        histogram: SVG path in a box of 240 by 40; empty if there is nothing to draw.
    """

    shape: Sequence[int]
    dtype: str
    count: int
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    deviation: float | None = None
    not_numbers: int = 0
    histogram: str = ""


def find_numbers(value: JsonValue) -> Numbers | None:
    """Return the statistics of an array of at least 8 numbers; None for any other value."""
    dtype = ""
    if isinstance(value, Mapping) and isinstance(value.get("values"), list) and "dtype" in value:
        dtype, value = str(value["dtype"])[:40], value["values"]
    if not isinstance(value, list):
        return None
    shape: list[int] = []
    items = _flatten(value, shape)
    if items is None or len(items) < _FEWEST_NUMBERS:
        return None
    # Leaves out NaN, and integers that are too large for a float.
    finite = [float(item) for item in items if item is not None and abs(item) <= _LARGEST]
    if not finite:
        return Numbers(shape, dtype, len(items), not_numbers=len(items))
    low, high = min(finite), max(finite)
    mean = math.fsum(item / len(finite) for item in finite)
    unit = max(abs(low), abs(high)) or 1.0  # scales to 1, because squares could overflow
    squares = math.fsum((item / unit - mean / unit) ** 2 for item in finite)
    deviation = unit * math.sqrt(squares / len(finite))
    histogram = ""
    spread = high / 2 - low / 2  # halves, because high - low could overflow
    if spread > 0:
        bins = [0] * _BINS
        for number in finite:
            bins[min(int((number / 2 - low / 2) / spread * _BINS), _BINS - 1)] += 1
        scale = (_HISTOGRAM_HEIGHT - 2) / max(bins)
        histogram = bars(bins, scale, ground=_HISTOGRAM_HEIGHT, least=1, width=9)
    return Numbers(
        shape,
        dtype,
        len(items),
        low,
        high,
        mean,
        deviation,
        len(items) - len(finite),
        histogram,
    )


def _flatten(value: Sequence[Any], shape: list[int]) -> list[Any] | None:
    """Flatten nested lists of the same shape; None if they contain anything but numbers."""
    items: Sequence[Any] = value
    while True:
        shape.append(len(items) // math.prod(shape) if shape else len(items))
        if not items or len(items) > _MOST_NUMBERS or len(shape) > _DEPTH:
            return None
        if not any(isinstance(item, list) for item in items):
            break
        if not all(isinstance(item, list) for item in items):
            return None
        if len({len(item) for item in items}) != 1:
            return None
        items = [inner for item in items for inner in item]
    items = [None if item in _INFINITE else item for item in items]
    if not all(item is None or _is_number(item) for item in items):
        return None
    return items if any(item is not None for item in items) else None


def _is_number(item: object) -> bool:
    return isinstance(item, int | float) and not isinstance(item, bool)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table. Numbers are right-aligned."""

    text: str
    is_number: bool


@dataclass(frozen=True, slots=True)
class ShownTable:
    """Some rows and the first columns of a table, and the number of all columns."""

    columns: Sequence[str]
    rows: Slice[Sequence[Cell]]
    column_count: int


def find_table(value: JsonValue, first: int = 0) -> ShownTable | None:
    """Read a value as a table.

    Args:
        value: A list of objects with the same keys, or an object with lists of equal length under
            at least two keys.
        first: Position of the first row that is shown.

    Returns:
        None if the value is not a table.
    """
    if not isinstance(value, list | Mapping) or len(value) < _LEAST_ROWS:
        return None
    if isinstance(value, list):
        if not all(isinstance(item, Mapping) and item for item in value):
            return None
        names, count = list(value[0]), len(value)
        if any("role" in item or list(item) != names for item in value):
            return None
    else:
        names = list(value)
        lengths = {len(item) if isinstance(item, list) else -1 for item in value.values()}
        count = min(lengths)
        if len(lengths) > 1 or count < _LEAST_ROWS:
            return None
    part = cut_slice(range(count), first, _ROWS_OF_PART)
    rows: list[Sequence[Cell]] = [
        [
            _cell(value[place][name] if isinstance(value, list) else value[name][place])
            for name in names[:_MOST_CELLS]
        ]
        for place in part.items
    ]
    shown = [name[:_CELL_CHARS] for name in names[:_MOST_CELLS]]
    page = Slice(rows, part.first, part.total, part.size)
    return ShownTable(shown, page, len(names))


def _cell(value: JsonValue) -> Cell:
    text = "–" if value is None else value
    if not isinstance(text, str):
        text = json.dumps(value, ensure_ascii=False)
    return Cell(shorten(text, _CELL_CHARS), _is_number(value))


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
class ShownPicture:
    """An image in a text.

    Attributes:
        address: Data URL of the image; None if it is not drawn.
        why: Why it is not drawn.
        width, height: In pixels; 0 if it is not drawn.
    """

    address: str | None
    why: str = ""
    width: int = 0
    height: int = 0


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


Form = Slice[ShownMessage] | ShownTable | Numbers | ShownText | ShownPicture | Blob | Tree | Raw


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


def _forms(value: JsonValue, inner: JsonValue, first: int) -> dict[str, Form]:
    if not isinstance(inner, str):
        facts = {
            "Chat": find_chat(value, first) or find_chat(inner, first),
            "Table": find_table(inner, first),
            "Numbers": find_numbers(inner),
        }
        return {name: form for name, form in facts.items() if form is not None}
    picture = read_picture(inner)
    if picture is not None:
        return {"Image": picture}
    if len(inner) >= _BLOB_CHARS and _BLOB.fullmatch(inner[:_RAW_CHARS]):
        return {"Blob": Blob(len(inner) * 3 // 4)}
    return {"Text": _text(inner, first)}


def _text(text: str, first: int) -> ShownText:
    lines = text[:_FOLDED_CHARS].split("\n", _FOLDED_LINES)
    return ShownText("\n".join(lines[:_FOLDED_LINES]), cut_slice(text, first, _TEXT_CHARS))


def read_picture(text: str) -> ShownPicture | None:
    """Read a text that claims to be an image. Its bytes must match the declared type."""
    form = _NO_IMAGE.match(text)
    if form is None:
        return None
    if len(text) > IMAGE_CHARS:
        return ShownPicture(None, f"it is too large (over {IMAGE_CHARS:,} characters)")
    match = _DATA_IMAGE.fullmatch(text)
    if match is None or match[1] not in MEDIA_TYPES:
        return ShownPicture(None, f"this form of {form[1]} is not supported")
    try:
        content = base64.b64decode(match[2], validate=True)
    except (binascii.Error, ValueError):
        return ShownPicture(None, "its base64 encoding is invalid")
    head = read_head(content)
    if head is None or head.media_type != match[1]:
        return ShownPicture(None, f"it is declared as {match[1]}, but is something else")
    if head.why:
        return ShownPicture(None, head.why)
    return ShownPicture(text, width=head.width, height=head.height)


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
