"""Lists that were flattened into attribute names, such as ``gen_ai.prompt.0.content``, made whole.

What the list looks like is decided by the names alone, so it is worked out once for each set of
names; reading a span only puts the values in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.span import Value

MAX_NAMES: Final = 1_024
MAX_DEPTH: Final = 12
_MAX_DIGITS: Final = 6
# What stands around each item of a list, and says nothing.
_WRAPPERS: Final = frozenset({"message", "message_content", "tool_call", "document", "image"})
# A message with several parts has them where a message with one has its text.
_PARTS: Final = ("contents", "content")


@dataclass(frozen=True, slots=True)
class Leaf:
    """The place of one attribute."""

    name: str


Shape = Leaf | Sequence["Shape"] | Mapping[str, "Shape"]
_Tree = dict[str, "_Tree | Leaf"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A list that stands in names, and those names."""

    names: tuple[str, ...]
    shape: Shape


def find_list(names: Iterable[str], prefix: str, suffix: str = "") -> Listed | None:
    """Find the list whose items stand below a number in each name.

    Args:
        names: Those of a span, in any order.
        prefix: What stands before the number, with its dot.
        suffix: What stands right after it, without a dot.

    Returns:
        Its items in the order of their numbers, whatever is missing between them; None when there
        is none. Names that do not fit (too deep, too many, beside others below the same name) are
        left out.
    """
    tree: _Tree = {}
    fitting = (name for name in names if name.startswith(prefix))
    for name in sorted(fitting, key=_places)[:MAX_NAMES]:
        path = name.removeprefix(prefix).split(".")
        inner = _inner(path, suffix)
        if inner is not None and len(path) <= MAX_DEPTH:
            _put(tree, inner, name)
    shape = _shape(tree)
    used = tuple(_names(shape))
    return Listed(used, shape) if used else None


def fill(shape: Shape, attributes: Mapping[str, Value]) -> Value:
    """Put a span's values into a list that was found in its names."""
    if isinstance(shape, Leaf):
        return attributes[shape.name]
    if isinstance(shape, Mapping):
        return {name: fill(inner, attributes) for name, inner in shape.items()}
    return [fill(inner, attributes) for inner in shape]


def _places(name: str) -> list[tuple[bool, int, str]]:
    """Order names by their numbers, so that what is left out of a long list is its end."""
    return [(_is_number(part), *_place(part)) for part in name.split(".")]


def _place(part: str) -> tuple[int, str]:
    return (int(part) if _is_number(part) else 0), part


def _is_number(part: str) -> bool:
    return part.isascii() and part.isdigit() and len(part) <= _MAX_DIGITS


def _inner(path: Sequence[str], suffix: str) -> list[str] | None:
    """Return a path without what follows each number; None when it is no item's."""
    if not path or not _is_number(path[0]):
        return None
    skipped = suffix.split(".") if suffix else []
    if list(path[1 : 1 + len(skipped)]) != skipped:
        return None
    return [path[0], *path[1 + len(skipped) :]]


def _put(tree: _Tree, path: Sequence[str], name: str) -> None:
    """Put a name at its place; what has names below it is no value itself."""
    *above, last = path
    for part in above:
        below = tree.get(part)
        if not isinstance(below, dict):
            below = tree[part] = {}
        tree = below
    if not isinstance(tree.get(last), dict):
        tree[last] = Leaf(name)


def _shape(tree: _Tree | Leaf) -> Shape:
    if isinstance(tree, Leaf):
        return tree
    if tree and all(map(_is_number, tree)):
        return [_item(tree[number]) for number in sorted(tree, key=_place)]
    shape = {name: _shape(inner) for name, inner in tree.items()}
    several, one = _PARTS
    if several in shape and one not in shape:
        shape[one] = shape.pop(several)
    return shape


def _item(tree: _Tree | Leaf) -> Shape:
    """Make an item of what its wrappers hold, unless two of them hold the same name."""
    if not isinstance(tree, dict) or not tree.keys() <= _WRAPPERS:
        return _shape(tree)
    held = list(tree.values())
    if len(held) == 1:
        return _shape(held[0])
    joined: _Tree = {}
    for one in held:
        if not isinstance(one, dict) or not joined.keys().isdisjoint(one):
            return _shape(tree)
        joined |= one
    return _shape(joined)


def _names(shape: Shape) -> Iterable[str]:
    if isinstance(shape, Leaf):
        yield shape.name
        return
    for inner in shape.values() if isinstance(shape, Mapping) else shape:
        yield from _names(inner)
