"""Converts syntax and values to canonical text, which does not depend on code layout.

It walks the syntax tree itself, because the output of `ast.dump` and `ast.unparse` differs between
Python versions, but a model version must not.
"""

import ast
from typing import Any, Final

# fields of a function's syntax tree: those outside its body, and the body
HEAD: Final = frozenset({"args", "returns", "type_params"})
BODY: Final = frozenset({"body"})

# fields that depend on how code is written, not on what it does
_SKIPPED_FIELDS: Final = frozenset({"type_comment", "kind", "ctx"})
_OWN_SKIPPED: Final = frozenset({"name", "decorator_list"})
_LONG_BITS: Final = 64
_HAS_DOCSTRING: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def canonical(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
    without: frozenset[str] = frozenset(),
) -> str:
    """Return a function's code as normalized text, to find out whether it has changed.

    The text does not depend on comments, layout, docstrings, decorators and the function's name. It
    is the same on every Python version.

    Args:
        node: Syntax tree of the function.
        without: Part to leave out: `HEAD` (the parameters) or `BODY`.
    """
    pieces: list[str] = []
    waiting = _parts(node, _OWN_SKIPPED | without)[::-1]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            pieces.append(part)
        else:
            waiting.extend(reversed(_parts(part, frozenset())))
    return "".join(pieces)


def canonical_value(value: object) -> str:
    """Return a constant as text that shows its type, so that ``1``, ``True`` and ``"1"`` differ."""
    if isinstance(value, tuple):
        return f"({','.join(map(canonical_value, value))})"
    if isinstance(value, frozenset):
        return f"{{{','.join(sorted(map(canonical_value, value)))}}}"
    # Python refuses to print very long integers in decimal
    if type(value) is int and value.bit_length() > _LONG_BITS:
        return f"int:{value:#x}"
    return f"{type(value).__name__}:{value!a}"


def _parts(node: object, skipped: frozenset[str]) -> list[object]:
    if not isinstance(node, ast.AST):
        return [ascii(node)]
    fields = [
        [f"{name}=", *content]
        for name in node._fields
        if name not in _SKIPPED_FIELDS and name not in skipped
        for content in [_field(node, name, getattr(node, name, None))]
        if content
    ]
    return [f"{type(node).__name__}(", *_joined(fields), ")"]


def _joined(groups: list[list[object]]) -> list[object]:
    parts: list[object] = []
    for group in groups:
        parts += [",", *group] if parts else group
    return parts


def _field(node: ast.AST, name: str, value: object) -> list[object]:
    if isinstance(node, ast.Constant):
        return [canonical_value(value)]
    if isinstance(value, ast.AST):
        return [value]
    if isinstance(value, list):
        children = _significant(node, name, value)
        text = _joined(
            [[child if isinstance(child, ast.AST) else ascii(child)] for child in children]
        )
        return ["[", *text, "]"] if text else []
    return [] if value is None else [ascii(value)]


def _significant(node: ast.AST, name: str, children: list[Any]) -> list[Any]:
    """Remove docstrings, and the empty parts that some Python versions add to f-strings."""
    if isinstance(node, ast.JoinedStr):
        return [child for child in children if _text_of(child) != ""]
    if name == "body" and isinstance(node, _HAS_DOCSTRING) and children:
        first = children[0]
        if isinstance(first, ast.Expr) and _text_of(first.value) is not None:
            return children[1:]
    return children


def _text_of(node: object) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None
