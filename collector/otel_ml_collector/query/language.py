"""The filter language: a Python boolean expression over runs, parsed and never evaluated.

``model == "answer" and version >= 2 and latency_ms > 200 and tags["client"] == "bigshot"``
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.errors import BadQuery

Constant = str | int | float | bool

_MAX_CHARS: Final = 4_000
_MAX_NODES: Final = 1_000
_OPERATORS: Final = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
}
# Read from right to left: `5 < x` is `x > 5`.
_MIRRORED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a run, with its key when it is a mapping: ``tags["client"]``."""

    name: str
    key: str | None
    column: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field against one constant, or against several for ``in``."""

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


def parse(text: str) -> Tree | None:
    """Parse a filter.

    Args:
        text: The expression; empty for no filter.

    Returns:
        The tree, or None for no filter.

    Raises:
        BadQuery: The text is no filter; the error points at the column.
    """
    if not text.strip():
        return None
    if len(text) > _MAX_CHARS:
        raise _bad(f"The filter has {len(text)} characters: expected at most {_MAX_CHARS}", 0)
    source = text.strip()
    indent = len(text) - len(text.lstrip())
    try:
        expression = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        column = indent + _place_of(source, error)
        raise _bad(f"This is no expression: {error.msg}", column) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise _bad("This is no expression", 0) from error
    if sum(1 for _ in ast.walk(expression)) > _MAX_NODES:
        raise _bad("The filter has too many parts", 0)
    return _Reader(source, indent).tree(expression)


def conjuncts(text: str) -> list[str]:
    """Cut a filter that parses into the conditions that must all hold, as they are written."""
    source = text.strip()
    if not source:
        return []
    expression = ast.parse(source, mode="eval").body
    if isinstance(expression, ast.BoolOp) and isinstance(expression.op, ast.And):
        parts = [ast.get_source_segment(source, value) or "" for value in expression.values]
        # A part that was in parentheses gets them back: `and` binds tighter than `or`.
        return [
            f"({part})" if isinstance(value, ast.BoolOp) else part
            for part, value in zip(parts, expression.values, strict=True)
        ]
    return [source]


def fields_of(tree: Tree | None) -> set[str]:
    """Name the fields that a filter looks at."""
    if tree is None:
        return set()
    if isinstance(tree, Comparison):
        return {tree.field.name}
    if isinstance(tree, Not):
        return fields_of(tree.part)
    return {name for part in tree.parts for name in fields_of(part)}


class _Reader:
    """Turns the syntax tree of Python into ours; what it does not know is refused."""

    def __init__(self, source: str, indent: int) -> None:
        self._source = source
        self._indent = indent

    def tree(self, node: ast.expr) -> Tree:
        if isinstance(node, ast.BoolOp):
            parts = [self.tree(value) for value in node.values]
            return Both(parts) if isinstance(node.op, ast.And) else Either(parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return Not(self.tree(node.operand))
        if isinstance(node, ast.Compare):
            return self._compare(node)
        raise _bad(
            f"Expected a comparison such as latency_ms > 200, found {self._text(node)}",
            self._column(node),
        )

    def _compare(self, node: ast.Compare) -> Tree:
        sides = [node.left, *node.comparators]
        parts: list[Tree] = [
            self._pair(left, operator, right)
            for left, operator, right in zip(sides, node.ops, sides[1:], strict=False)
        ]
        return parts[0] if len(parts) == 1 else Both(parts)

    def _pair(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Comparison:
        sign = _OPERATORS.get(type(operator))
        if sign is None:
            raise _bad("Expected one of == != < <= > >= in", self._column(left))
        if self._is_field(left):
            value = self._constants(right) if sign in {"in", "not in"} else self._constant(right)
            return Comparison(self._field(left), sign, value, self._column(right))
        if self._is_field(right) and sign in _MIRRORED:
            mirrored = _MIRRORED[sign]
            return Comparison(
                self._field(right), mirrored, self._constant(left), self._column(left)
            )
        if sign in {"in", "not in"} and self._is_field(right):
            raise _bad("Searching in a text is not built yet: compare fields", self._column(right))
        raise _bad(
            f"Expected a field and a value, found {self._text(left)} and {self._text(right)}",
            self._column(left),
        )

    @staticmethod
    def _is_field(node: ast.expr) -> bool:
        return isinstance(node, ast.Name | ast.Subscript)

    def _field(self, node: ast.expr) -> Field:
        if isinstance(node, ast.Name):
            return Field(node.id, None, self._column(node))
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
        ):
            return Field(node.value.id, node.slice.value, self._column(node))
        raise _bad(
            f'Expected a field such as model or tags["client"], found {self._text(node)}',
            self._column(node),
        )

    def _constant(self, node: ast.expr) -> Constant:
        value: object = getattr(node, "value", None)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            number = self._constant(node.operand)
            if isinstance(number, int | float):
                return -number
        if isinstance(node, ast.Constant) and isinstance(value, str | int | float | bool):
            return value
        raise _bad(
            f"Expected a text, a number, True or False, found {self._text(node)}",
            self._column(node),
        )

    def _constants(self, node: ast.expr) -> tuple[Constant, ...]:
        if isinstance(node, ast.Tuple | ast.List):
            return tuple(self._constant(item) for item in node.elts)
        raise _bad(
            f'Expected values in parentheses such as ("a", "b"), found {self._text(node)}',
            self._column(node),
        )

    def _column(self, node: ast.expr) -> int:
        # The syntax tree counts bytes; the user counts characters.
        lines = self._source.splitlines(keepends=True)
        head = lines[node.lineno - 1].encode()[: node.col_offset].decode("utf-8", "ignore")
        return self._indent + sum(len(line) for line in lines[: node.lineno - 1]) + len(head)

    def _text(self, node: ast.expr) -> str:
        return (ast.get_source_segment(self._source, node) or "something else")[:40]


def _place_of(source: str, error: SyntaxError) -> int:
    """Say where in the source a mistake is; what is missing at the end is missing there."""
    if not error.offset or error.offset < 0:
        return len(source)
    lines = source.splitlines(keepends=True)
    above = sum(len(line) for line in lines[: (error.lineno or 1) - 1])
    return min(above + error.offset - 1, len(source))


def _bad(message: str, column: int) -> BadQuery:
    return BadQuery(message, "where", column)
