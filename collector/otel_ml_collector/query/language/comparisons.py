"""Turns the syntax tree of Python into ours; what it does not know is refused."""

import ast
from collections.abc import Mapping
from typing import Final

from otel_ml_collector.query.language.names import FIELD_NAMES, SHORT, Kind, nearest
from otel_ml_collector.query.language.source import Source, bad
from otel_ml_collector.query.language.tree import (
    Both,
    Comparison,
    Constant,
    Duration,
    Either,
    Field,
    Not,
    Tree,
)
from otel_ml_collector.query.language.values import (
    LAST,
    as_ago,
    as_constant,
    as_constants,
    as_pattern,
)

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
# Read from right to left: `5 < x` is `x > 5`, and `"a" in x` says what x contains.
_MIRRORED: Final = {
    "==": "==",
    "!=": "!=",
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
    "in": "contains",
    "not in": "not contains",
}
_MATCHES: Final = "matches"
# What a field says that stands alone, as Python has it: that it is there, and not empty or 0.
_TRUTH: Final[Mapping[Kind, tuple[str, Constant | tuple[Constant, ...]]]] = {
    Kind.TEXT: ("!=", ""),
    Kind.NUMBER: ("!=", 0),
    Kind.DURATION: ("!=", Duration(0)),
    Kind.TIME: (">=", "1970-01-01"),
    Kind.TAG: ("not in", ("", 0, False)),
    Kind.SCORE: ("!=", 0),
    Kind.METRIC: ("!=", 0),
    Kind.PASSED: ("==", True),
    Kind.PAYLOAD: ("is", True),
    Kind.JSON: ("is", True),
}

_MAX_PATH: Final = 20
_EXAMPLE: Final = 'Expected a field such as model, tags["client"] or inputs.items[0]'


def read_tree(source: Source) -> Tree:
    """Read an expression.

    Raises:
        BadQuery: It is none of the language.
    """
    return _tree(source, source.expression)


def _tree(source: Source, node: ast.expr) -> Tree:
    if isinstance(node, ast.BoolOp):
        parts = [_tree(source, value) for value in node.values]
        return Both(parts) if isinstance(node.op, ast.And) else Either(parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return Not(_tree(source, node.operand))
    if isinstance(node, ast.Compare):
        return _compare(source, node)
    if isinstance(node, ast.Call):
        return _call(source, node)
    if _is_field(node):
        field = _field(source, node)
        if field.name in FIELD_NAMES or nearest(field.name):
            known = FIELD_NAMES.get(field.name)  # the name nearest to another is told later
            operator, value = _TRUTH[known.kind if known else Kind.TEXT]
            return Comparison(field, operator, value, field.column)
    raise bad(
        f"Expected a comparison such as latency_ms > 200, found {source.shown(node)}",
        source.column(node),
    )


def _call(source: Source, node: ast.Call) -> Comparison:
    """Read ``last("24h")`` or ``matches(field, "...")`` where a condition stands."""
    called = node.func.id if isinstance(node.func, ast.Name) else ""
    column = source.column(node)
    if called == LAST:
        return Comparison(Field("start", (), column), ">=", as_ago(source, node), column)
    if called != _MATCHES:
        raise bad(
            f'Unknown function {source.shown(node.func)}: expected matches(model, "^gpt") or '
            'last("24h")',
            column,
        )
    if len(node.args) != 2 or node.keywords:  # noqa: PLR2004 - field and pattern
        raise bad('Expected a field and a pattern, as in matches(model, "^gpt")', column)
    field, pattern = node.args
    return Comparison(
        _field(source, field),
        _MATCHES,
        as_pattern(source, pattern),
        source.column(pattern),
    )


def _compare(source: Source, node: ast.Compare) -> Tree:
    sides = [node.left, *node.comparators]
    parts: list[Tree] = [
        _pair(source, left, operator, right)
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False)
    ]
    return parts[0] if len(parts) == 1 else Both(parts)


def _pair(source: Source, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Comparison:
    sign = _OPERATORS.get(type(operator))
    if sign is None:
        raise bad("Expected one of == != < <= > >= in", source.column(left))
    if _is_field(left):
        among = sign in {"in", "not in"}
        value = as_constants(source, right) if among else as_constant(source, right)
        return Comparison(_field(source, left), sign, value, source.column(right))
    if _is_field(right):
        mirrored = _MIRRORED[sign]
        value = as_constant(source, left)
        _check_contained(source, left, mirrored, value)
        return Comparison(_field(source, right), mirrored, value, source.column(left))
    raise bad(
        f"Expected a field and a value, found {source.shown(left)} and {source.shown(right)}",
        source.column(left),
    )


def _check_contained(source: Source, node: ast.expr, operator: str, value: Constant) -> None:
    if operator.endswith("contains") and not isinstance(value, str):
        raise bad(f"Expected a text in quotes before in, found {value!r}", source.column(node))


def _is_field(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Subscript | ast.Attribute)


def _field(source: Source, node: ast.expr) -> Field:
    """Read a field from its end: the path is written behind the name."""
    path: list[str | int] = []
    inner = node
    while not isinstance(inner, ast.Name):
        if isinstance(inner, ast.Attribute):
            path.append(inner.attr)
        elif isinstance(inner, ast.Subscript):
            path.append(_step(source, node, inner.slice))
        else:
            raise bad(f"{_EXAMPLE}, found {source.shown(node)}", source.column(node))
        inner = inner.value
    if len(path) > _MAX_PATH:
        raise bad(
            f"The path has {len(path)} steps: expected at most {_MAX_PATH}", source.column(node)
        )
    name = SHORT.get(inner.id, inner.id)
    return Field(name, tuple(reversed(path)), source.column(node))


def _step(source: Source, node: ast.expr, part: ast.expr) -> str | int:
    if isinstance(part, ast.Constant | ast.UnaryOp):
        value = as_constant(source, part)
        if isinstance(value, str) or (isinstance(value, int) and abs(value) < 2**31):
            return value
    raise bad(f"{_EXAMPLE}, found {source.shown(node)}", source.column(node))
