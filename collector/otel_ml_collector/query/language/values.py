"""Constants of a filter: texts, numbers, True and False, times that lie some time back."""

import ast
import re
from typing import Final

from otel_ml_collector.query.language.source import UNITS_NS, Source, bad
from otel_ml_collector.query.language.tree import Ago, Constant, Duration

LAST: Final = "last"
_MAX_PATTERN: Final = 200
_LENGTH: Final = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
_MAX_AGO_NS: Final = 100 * 366 * UNITS_NS["d"]


def as_constant(source: Source, node: ast.expr) -> Constant:
    """Read one constant.

    Raises:
        BadQuery: It is none.
    """
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = as_constant(source, node.operand)
        if isinstance(number, int | float):
            return -number
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float):
        length_ns = source.length_ns(node)
        return node.value if length_ns is None else Duration(length_ns)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == LAST:
        return as_ago(source, node)
    hint = f'; a text stands in quotes: "{node.id}"' if isinstance(node, ast.Name) else ""
    raise bad(
        f"Expected a text, a number, True or False, found {source.shown(node)}{hint}",
        source.column(node),
    )


def as_constants(source: Source, node: ast.expr) -> tuple[Constant, ...]:
    """Read the constants of a tuple or a list.

    Raises:
        BadQuery: It is neither, or holds something else.
    """
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(as_constant(source, item) for item in node.elts)
    raise bad(
        f'Expected values in parentheses such as ("a", "b"), found {source.shown(node)}',
        source.column(node),
    )


def as_pattern(source: Source, node: ast.expr) -> str:
    """Read a regular expression.

    Raises:
        BadQuery: It is no text, or too long.
    """
    value = as_constant(source, node)
    if not isinstance(value, str):
        raise bad(f"Expected a pattern in quotes, found {value!r}", source.column(node))
    if len(value) > _MAX_PATTERN:
        raise bad(
            f"The pattern has {len(value)} characters: expected at most {_MAX_PATTERN}",
            source.column(node),
        )
    return value


def as_ago(source: Source, node: ast.Call) -> Ago:
    """Read ``last("24h")``, which ``last(24h)`` is too.

    Raises:
        BadQuery: Its argument is no length of time.
    """
    given = node.args[0] if len(node.args) == 1 and not node.keywords else None
    text = given.value if isinstance(given, ast.Constant) else None
    match = _LENGTH.fullmatch(text) if isinstance(text, str) else None
    length_ns = int(match[1]) * UNITS_NS[match[2]] if match else 0
    if isinstance(given, ast.Constant):
        length_ns = source.length_ns(given) or length_ns
    if not 0 < length_ns <= _MAX_AGO_NS:
        raise bad(
            f'Expected a number of s, m, h, d or w such as last("24h"), found {source.shown(node)}',
            source.column(given or node),
        )
    return Ago(length_ns)
