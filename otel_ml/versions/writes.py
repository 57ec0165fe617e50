"""What a module's functions change while they run: state, which is no part of a definition.

The whole module is read once, not only the function that is asked about: a cache that one function
reads is mostly filled by another one.
"""

import ast
import dis
import linecache
from itertools import groupby
from types import CodeType, FunctionType
from typing import Final

from otel_ml.versions.code import Read, inner_codes
from otel_ml.versions.source import parse, quietly

_MUTATORS: Final = frozenset(
    {
        *("add", "append", "appendleft", "clear", "difference_update", "discard", "extend"),
        *("extendleft", "insert", "intersection_update", "move_to_end", "pop", "popitem"),
        *("popleft", "remove", "reverse", "rotate", "setdefault", "sort", "subtract"),
        *("symmetric_difference_update", "update"),
    }
)
# Where an object is made: what they set is what it is.
_MAKERS: Final = frozenset(
    {"__init__", "__post_init__", "__new__", "__attrs_post_init__", "__setstate__"}
)
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_SUBSCRIPTS: Final = frozenset({"STORE_SUBSCR", "DELETE_SUBSCR"})
_MOST_MODULES: Final = 256
_MOST_CHARS: Final = 2_000_000
_known: Final[dict[str, tuple[int, frozenset[Read]]]] = {}


def written_in_module(function: FunctionType) -> frozenset[Read]:
    """Name what the functions of a function's module change: names, and attributes of them.

    Of ``self.count += 1`` it is ``("Class", "count")``, unless the object is made there.
    """
    file = function.__code__.co_filename
    text = "".join(linecache.getlines(file, function.__globals__))
    if not text or len(text) > _MOST_CHARS:
        return written_in_code(function.__code__)
    found = _known.get(file)
    if found is None or found[0] != hash(text):
        try:
            with quietly():
                tree = parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return written_in_code(function.__code__)
        if len(_known) >= _MOST_MODULES:
            _known.clear()
        found = _known[file] = hash(text), written(tree)
    return found[1]


def written(tree: ast.AST) -> frozenset[Read]:
    """Name what the functions in a piece of syntax change outside themselves."""
    found: set[Read] = set()
    waiting: list[tuple[ast.AST, str, _Scope | None]] = [(tree, "", None)]
    while waiting:
        node, owner, scope = waiting.pop()
        if isinstance(node, ast.ClassDef):
            owner, scope = f"{owner}.{node.name}".lstrip("."), None
        elif isinstance(node, _Function):
            scope = _Scope(node, owner if scope is None else "")
            owner = f"{owner}.{getattr(node, 'name', '')}.<locals>".lstrip(".")
        elif scope is not None:
            found.update(scope.writes(node))
        waiting += [(child, owner, scope) for child in ast.iter_child_nodes(node)]
    return frozenset(found)


def written_in_code(code: CodeType) -> frozenset[Read]:
    """Name what a function without source may change: what stands in a line that changes."""
    found: set[Read] = set()
    for inner in inner_codes(code):
        steps = list(dis.get_instructions(inner))
        line = 0
        lines = []
        for step in steps:
            line += bool(step.starts_line)
            lines.append(line)
        for _, group in groupby(zip(lines, steps, strict=True), key=lambda pair: pair[0]):
            here = [step for _, step in group]
            if any(_changes(step) for step in here):
                found |= {(str(step.argval),) for step in here if "LOAD" in step.opname}
    return frozenset(found)


def assigned_outside(code: CodeType) -> frozenset[str]:
    """Name what a function assigns that is not its own: after ``global`` or ``nonlocal``."""
    free = set(code.co_freevars)
    return frozenset(
        str(step.argval)
        for inner in inner_codes(code)
        for step in dis.get_instructions(inner)
        if step.opname == "STORE_GLOBAL" or (step.opname == "STORE_DEREF" and step.argval in free)
    )


def _changes(step: dis.Instruction) -> bool:
    return step.opname in _SUBSCRIPTS or (
        step.opname in {"LOAD_ATTR", "LOAD_METHOD"} and step.argval in _MUTATORS
    )


class _Scope:
    """One function: the names that are its own, and what it knows its object by."""

    def __init__(self, node: _Function, owner: str) -> None:
        self._globals: set[str] = set()
        given = node.args
        parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs]
        parameters += [one for one in (given.vararg, given.kwarg) if one is not None]
        self._own = {one.arg for one in parameters}
        self._receiver, self._owner = "", owner
        if owner and parameters and not _is_static(node):
            self._receiver = parameters[0].arg
        self._makes = getattr(node, "name", "") in _MAKERS
        for inner in _inside(node):
            if isinstance(inner, ast.Global | ast.Nonlocal):
                self._globals.update(inner.names)
            elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                self._own.add(inner.id)

    def writes(self, node: ast.AST) -> list[Read]:
        """Name what one node changes."""
        changed: ast.AST | None = None
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            return [(node.id,)] if node.id in self._globals else []
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            changed = node.value
        elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            changed = node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            changed = node.func.value if node.func.attr in _MUTATORS else None
        read = () if changed is None else self._path(changed)
        return [read] if read else []

    def _path(self, node: ast.AST) -> Read:
        """Return the name and the first attribute of what is changed, of what is not its own."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute | ast.Subscript):
            if isinstance(node, ast.Attribute):
                attributes.append(node.attr)
            else:
                attributes.clear()  # a part of the container: the whole is changed
            node = node.value
        if not isinstance(node, ast.Name):
            return ()
        name = node.id
        if name == self._receiver:
            name = self._owner
            if self._makes or not attributes:
                return ()
        elif name in self._own and name not in self._globals:
            return ()
        return (name, attributes[-1]) if attributes else (name,)


def _inside(node: _Function) -> list[ast.AST]:
    """List the nodes of a function without those of functions and classes in it."""
    body = [node.body] if isinstance(node, ast.Lambda) else [*node.body]
    found: list[ast.AST] = [*body]
    for one in found:  # which grows while it is read
        if not isinstance(one, _Function | ast.ClassDef):
            found += ast.iter_child_nodes(one)
    return found


def _is_static(node: _Function) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in decorators)
