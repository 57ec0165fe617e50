"""Reads a filter: bounded in length and number of parts, in Python's form or as Raymon's slices."""

import ast
from typing import Final

from otel_ml_collector.query.language.comparisons import read_tree
from otel_ml_collector.query.language.slices import find_slices, write_condition
from otel_ml_collector.query.language.source import Source, bad
from otel_ml_collector.query.language.tree import Both, Tree

_MAX_CHARS: Final = 4_000
_MAX_NODES: Final = 1_000


def parse(text: str) -> Tree | None:
    """Parse a filter.

    Args:
        text: The expression, or slices such as ``client==Remax && app==v1.0.0``; empty for no
            filter.

    Returns:
        The tree, or None for no filter.

    Raises:
        BadQuery: The text is no filter; the error points at the column.
    """
    if not text.strip():
        return None
    if len(text) > _MAX_CHARS:
        raise bad(f"The filter has {len(text)} characters: expected at most {_MAX_CHARS}", 0)
    slices = find_slices(text)
    if slices:
        return slices[0] if len(slices) == 1 else Both(slices)
    source = Source(text)
    if sum(1 for _ in ast.walk(source.expression)) > _MAX_NODES:
        raise bad("The filter has too many parts", 0)
    return read_tree(source)


def conjuncts(text: str) -> list[str]:
    """Cut a filter that parses into the conditions that must all hold, as they are written.

    Slices are written as the conditions on tags that they are.
    """
    if not text.strip():
        return []
    slices = find_slices(text)
    if slices:
        return [write_condition(part) for part in slices]
    source = Source(text)
    expression = source.expression
    if not (isinstance(expression, ast.BoolOp) and isinstance(expression.op, ast.And)):
        return [source.text]
    # A part that was in parentheses gets them back: `and` binds tighter than `or`.
    return [
        f"({source.whole(part)})" if isinstance(part, ast.BoolOp) else source.whole(part)
        for part in expression.values
    ]
