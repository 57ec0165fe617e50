"""What a filter says, as a typed tree."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ago:
    """A moment, told as the time that has passed since."""

    length_ns: int


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time: ``200ms``, ``1.5s``."""

    length_ns: int


Constant = str | int | float | bool | Ago | Duration


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a run, and the way into it: ``tags["client"]``, ``inputs.items[0]``."""

    name: str
    path: tuple[str | int, ...]
    column: int

    @property
    def key(self) -> str | None:
        """The name under which a mapping has what is meant, when the path is just that."""
        if len(self.path) == 1 and isinstance(self.path[0], str):
            return self.path[0]
        return None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field against one constant, or against several for ``in``.

    Attributes:
        operator: One of ``== != < <= > >= in``, ``not in``; ``contains`` and ``not contains`` for
            a text in the field; ``matches`` for a regular expression; ``is`` for JSON that is true
            in Python's sense.
        column: Where the value stands.
    """

    field: Field
    operator: str
    value: Constant | tuple[Constant, ...]
    column: int


@dataclass(frozen=True, slots=True)
class Not:
    """True where its part is false."""

    part: "Tree"


@dataclass(frozen=True, slots=True)
class Both:
    """True where all its parts are."""

    parts: "Sequence[Tree]"


@dataclass(frozen=True, slots=True)
class Either:
    """True where one of its parts is."""

    parts: "Sequence[Tree]"


Tree = Comparison | Not | Both | Either


def comparisons_of(tree: Tree | None) -> Iterator[Comparison]:
    """Yield the comparisons of a filter in the order in which they stand."""
    if isinstance(tree, Comparison):
        yield tree
    elif isinstance(tree, Not):
        yield from comparisons_of(tree.part)
    elif tree is not None:
        for part in tree.parts:
            yield from comparisons_of(part)


def fields_of(tree: Tree | None) -> set[str]:
    """Name the fields that a filter looks at."""
    return {comparison.field.name for comparison in comparisons_of(tree)}
