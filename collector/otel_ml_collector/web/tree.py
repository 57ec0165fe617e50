"""A bounded tree of any JSON value, and the ways to what is left out of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.store.rows import JsonValue

NODES: Final = 400
_OPEN_NODES: Final = 24
_DEPTH: Final = 12
_CHARS: Final = 1_000
_LABEL_CHARS: Final = 200
_CRUMBS: Final = 12
_DIGITS: Final = 9


@dataclass(slots=True)
class Node:
    """One value of a tree.

    Attributes:
        label: Its key or position; empty at the root.
        text: What is shown of it.
        kind: text, number, word (true, false, null) or branch.
        path: Positions from the root, with points between them; empty at the root.
        first: Which child of a branch is shown first, from 0.
        hidden: How many children behind the last one shown are left out.
        is_cut: Whether a text is shown in part.
        is_open: Whether a branch shows its children from the start.
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
        """The place behind the last child that is shown."""
        return self.first + len(self.children)


@dataclass(frozen=True, slots=True)
class Crumb:
    """One step of the way from the root to a value."""

    label: str
    path: str


def make_tree(value: JsonValue, path: str = "", first: int = 0, nodes: int = NODES) -> Node:
    """Make a tree of a JSON value, at most 400 nodes and 12 levels of it.

    In a large one the branches below the second level are closed.

    Args:
        value: What is at the root of this tree.
        path: Where that stands in a larger one.
        first: Which of its children is shown first.
        nodes: How many nodes there are at most.
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
    """Find the value at some path below another one, and the last steps of the way to it.

    Raises:
        BadQuery: There is none.
    """
    crumbs: list[Crumb] = []
    places = path.split(".") if path else []
    for depth, place in enumerate(places, 1):
        is_place = place.isascii() and place.isdecimal() and len(place) <= _DIGITS
        found = next(islice(_pairs(value), int(place), None), None) if is_place else None
        if found is None:
            raise BadQuery(f"There is nothing at {path[:80]!r} of this value", "at")
        value = found[1]
        crumbs.append(Crumb(_label(str(found[0])), ".".join(places[:depth])))
    return value, crumbs[-_CRUMBS:]


def _pairs(value: JsonValue) -> Iterable[tuple[object, Any]]:
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _label(text: str) -> str:
    return text if len(text) <= _LABEL_CHARS else f"{text[: _LABEL_CHARS - 1]}…"


@dataclass(slots=True)
class _Walk:
    """Makes nodes until there are enough.

    Attributes:
        left: How many more there may be.
    """

    left: int

    def node(self, label: str, path: str, value: JsonValue, depth: int) -> Node:
        """Make the node of a value with those below it."""
        self.left -= 1
        if isinstance(value, Mapping | list):
            text = f"{{{len(value)}}}" if isinstance(value, Mapping) else f"[{len(value)}]"
            node = Node(label, text, "branch", path)
            self.grow(node, value, depth, 0)
            return node
        if isinstance(value, str):
            is_cut = len(value) > _CHARS
            cut = f"{value[:_CHARS]}…" if is_cut else value
            return Node(label, f'"{cut}"' if depth else cut, "text", path, is_cut=is_cut)
        if value is None or isinstance(value, bool):
            return Node(label, {None: "null", True: "true", False: "false"}[value], "word", path)
        return Node(label, str(value), "number", path)

    def grow(
        self, node: Node, value: Mapping[str, Any] | list[Any], depth: int, first: int
    ) -> None:
        """Add the children of a branch, from one on."""
        before = f"{node.path}." if node.path else ""
        node.first = first
        for place, (key, item) in enumerate(islice(_pairs(value), first, None), first):
            if self.left <= 0 or depth >= _DEPTH:
                break
            child = self.node(_label(str(key)), f"{before}{place}", item, depth + 1)
            node.children.append(child)
        node.hidden = max(len(value) - node.end, 0)
