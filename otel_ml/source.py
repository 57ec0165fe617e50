"""Source code read as structure: what a function says, apart from how it is written.

The walk over the syntax tree is our own, because `ast.dump` and `ast.unparse` change between
Python versions and a model version must not.
"""

import ast
import dis
import functools
import inspect
import textwrap
from collections.abc import Callable
from types import CodeType, FunctionType, MethodType
from typing import Any, Final, NamedTuple

_GLOBAL_READS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

# How it is written, not what it does.
_SKIPPED_FIELDS: Final = frozenset({"type_comment", "kind", "ctx"})
_OWN_SKIPPED: Final = frozenset({"name", "decorator_list"})
_LONG_BITS: Final = 64
_HAS_DOCSTRING: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def source_text(function: FunctionType) -> str | None:
    """Return the function's source as it stands in its file, or None where there is none."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError, SyntaxError, IndexError):
        return None


def function_node(source: str, function: FunctionType) -> FunctionNode | None:
    """Find the function in its source, or None where it cannot be told for sure."""
    try:
        tree = ast.parse(_at_margin(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    wanted: tuple[type[ast.AST], ...] = (ast.FunctionDef, ast.AsyncFunctionDef)
    if function.__name__ == "<lambda>":
        wanted = (ast.Lambda,)
    found = [node for node in ast.walk(tree) if isinstance(node, wanted)]
    if not found or (wanted == (ast.Lambda,) and len(found) > 1):
        return None
    first = found[0]
    assert isinstance(first, FunctionNode)  # noqa: S101 - narrows the union for the type checker
    return first


def own_source(source: str, node: FunctionNode) -> str:
    """Cut the function itself out: without its decorators, a lambda without what is around it."""
    own = ast.get_source_segment(_at_margin(source), node)
    if own is None:
        return source
    return textwrap.dedent(" " * node.col_offset + own).lstrip()


def _at_margin(source: str) -> str:
    """Make indented source parseable without changing the texts in it, as dedenting would."""
    return f"if 1:\n{source}" if source[:1].isspace() else source


def canonical(node: FunctionNode) -> str:
    """Write the function as text that is the same on every Python that can run it.

    Comments, layout, docstrings, decorators and the function's own name do not count.
    """
    pieces: list[str] = []
    waiting: list[object] = [_Whole(node)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            pieces.append(part)
        elif isinstance(part, _Whole):
            waiting.extend(reversed(_parts(part.node, _OWN_SKIPPED)))
        else:
            waiting.extend(reversed(_parts(part, frozenset())))
    return "".join(pieces)


def canonical_value(value: object) -> str:
    """Write a constant with its type, so that ``1``, ``True`` and ``"1"`` differ."""
    if isinstance(value, tuple):
        return f"({','.join(map(canonical_value, value))})"
    if isinstance(value, frozenset):
        return f"{{{','.join(sorted(map(canonical_value, value)))}}}"
    if type(value) is int and value.bit_length() > _LONG_BITS:  # Python refuses to write them
        return f"int:{value:#x}"
    return f"{type(value).__name__}:{value!a}"


def canonical_code(code: CodeType) -> str:
    """Write a code object as text, for a function that has no source. It is this Python's own."""
    constants = [
        canonical_code(constant) if isinstance(constant, CodeType) else canonical_value(constant)
        for constant in code.co_consts
    ]
    return f"code({code.co_code.hex()},{constants},{code.co_names},{code.co_varnames})"


def global_reads(node: FunctionNode, code: CodeType) -> list[tuple[str, str | None]]:
    """List what the function reads from outside: ``(name, None)`` or ``(module, attribute)``."""
    outside = outside_names(code)
    reads: dict[tuple[str, str | None], None] = {}
    for child in ast.walk(node):
        if isinstance(child, ast.Name) and child.id in outside:
            reads[child.id, None] = None
        elif (
            isinstance(child, ast.Attribute)
            and isinstance(child.value, ast.Name)
            and child.value.id in outside
        ):
            reads[child.value.id, child.attr] = None
    return sorted(reads, key=lambda read: (read[0], read[1] or ""))


def plain_function(target: Callable[..., Any]) -> FunctionType | None:
    """Return the Python function behind decorators, methods, partials and callable objects."""
    for _ in range(32):
        if isinstance(target, FunctionType) and not hasattr(target, "__wrapped__"):
            return target
        inner = _inner(target)
        if inner is None:
            return None
        target = inner
    return None


def _inner(target: Any) -> Any:
    wrapped = getattr(target, "__wrapped__", None)
    if wrapped is not None:
        return wrapped
    if isinstance(target, MethodType | staticmethod | classmethod):
        return target.__func__
    if isinstance(target, functools.partial | functools.partialmethod):
        return target.func
    calls = (vars(kind).get("__call__") for kind in type(target).__mro__)
    call = next((call for call in calls if call is not None), None)
    return call if isinstance(call, FunctionType) else None


def outside_names(code: CodeType) -> set[str]:
    """Name what a function's code reads from its module and its closure, inner code included."""
    return set(code.co_freevars) | _global_names(code)


def _global_names(code: CodeType) -> set[str]:
    found = {
        str(step.argval) for step in dis.get_instructions(code) if step.opname in _GLOBAL_READS
    }
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _global_names(constant)
    return found


class _Whole(NamedTuple):
    node: ast.AST


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
        found = _joined(
            [[child if isinstance(child, ast.AST) else ascii(child)] for child in children]
        )
        return ["[", *found, "]"] if found else []
    return [] if value is None else [ascii(value)]


def _significant(node: ast.AST, name: str, children: list[Any]) -> list[Any]:
    """Leave out docstrings, and the empty pieces that some Pythons put into f-strings."""
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
