"""A bounded tree of any JSON value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from otel_ml_collector.query.answers.values import JsonValue

_NODES: Final = 400
_OPEN_NODES: Final = 24
_DEPTH: Final = 12
_CHARS: Final = 4_000


@dataclass(slots=True)
class Node:
    """One value of a tree.

    Attributes:
        label: Its key or position; empty at the root.
        text: What is shown of it.
        kind: text, number, word (true, false, null) or branch.
        hidden: How many children of a branch are left out.
        is_open: Whether a branch shows its children from the start.
    """

    label: str
    text: str
    kind: str
    children: list["Node"] = field(default_factory=list)
    hidden: int = 0
    is_open: bool = True


def make_tree(value: JsonValue) -> Node:
    """Make a tree of a JSON value, at most 400 nodes and 12 levels of it.

    In a large one the branches below the second level are closed.
    """
    left = [_NODES]
    root = _node("", value, left, 0)
    if _NODES - left[0] > _OPEN_NODES:
        for child in root.children:
            for branch in child.children:
                branch.is_open = False
    return root


def _node(label: str, value: JsonValue, left: list[int], depth: int) -> Node:
    left[0] -= 1
    if isinstance(value, Mapping):
        return _branch(label, f"{{{len(value)}}}", list(value.items()), left, depth)
    if isinstance(value, list):
        items = [(str(position), item) for position, item in enumerate(value)]
        return _branch(label, f"[{len(value)}]", items, left, depth)
    if isinstance(value, str):
        cut = f"{value[:_CHARS]}… ({len(value):,} characters)" if len(value) > _CHARS else value
        return Node(label, f'"{cut}"' if depth else cut, "text")
    if value is None or isinstance(value, bool):
        return Node(label, {None: "null", True: "true", False: "false"}[value], "word")
    return Node(label, str(value), "number")


def _branch(
    label: str, text: str, items: Sequence[tuple[str, Any]], left: list[int], depth: int
) -> Node:
    node = Node(label, text, "branch")
    for key, item in items if depth < _DEPTH else ():
        if left[0] <= 0:
            break
        node.children.append(_node(key, item, left, depth + 1))
    node.hidden = len(items) - len(node.children)
    return node
