"""Finds the global and closure names that a function reads or that its module's functions change.

Values that change while the program runs are state and not part of a definition. The whole module
is analysed, because a cache that one function reads is mostly filled by another. No user code is
run.
"""

import ast
import dis
import linecache
import sys
from dataclasses import dataclass
from itertools import groupby
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from otel_ml.versions.code import Read, code_reads, inner_codes, outside_names
from otel_ml.versions.source import (
    FunctionNode,
    attributes_of,
    is_a,
    parse,
    plain_function,
    quietly,
)

MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class ReadingFunction:
    """A function, and where to find the values that it uses but does not define.

    Such values are globals of its module, variables of an enclosing function, and attributes of
    ``self``. They can be part of the function's version.

    Attributes:
        function: The function.
        owner: The class of a method, if known. None for other functions.
        receiver: Name of a method's first parameter, usually ``self``. None for other functions.
    """

    function: FunctionType
    owner: type | None
    receiver: str | None

    @classmethod
    def of(cls, function: FunctionType) -> "ReadingFunction":
        """Create the object for a function. Finds the class if the function is a method."""
        owner, is_static = _owner(function)
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        if owner is None or is_static or not names:
            return cls(function, None, None)
        return cls(function, owner, names[0])

    def reads(self, node: FunctionNode | None) -> list[Read]:
        """Return the names that the function uses but does not define.

        They are globals of its module, variables of an enclosing function, and attributes of
        ``self``. A name includes the attributes read from it, such as ``config.limit``.

        Args:
            node: Syntax tree of the function. With None, the bytecode is analysed instead, which is
                less exact.
        """
        if node is None:
            return code_reads(self.function.__code__)
        outside = outside_names(self.function.__code__)
        if self.receiver is not None:
            outside.add(self.receiver)
        chains = (_chain(child) for child in ast.walk(node))
        return sorted({chain for chain in chains if chain and chain[0] in outside})

    def find(self, read: Read) -> object:
        """Return the value of a name as the function would read it. `MISSING` if undefined.

        Args:
            read: The name, split at its dots: ``config.limit`` is ``("config", "limit")``.
                Attributes are only read from modules and classes of the function's own package.
        """
        name, *attributes = read
        value = self._named(name)
        for attribute in attributes:
            value = _attribute(value, attribute, self.function.__module__)
        return value

    def label(self, read: Read) -> str:
        """Return a name to show, in which ``self`` is replaced by the class."""
        if self.owner is not None and read[0] == self.receiver:
            read = (self.owner.__qualname__, *read[1:])
        return ".".join(read)

    def _named(self, name: str) -> object:
        if name == self.receiver:
            return self.owner
        cells = zip(
            self.function.__code__.co_freevars, self.function.__closure__ or (), strict=False
        )
        for cell_name, cell in cells:
            if cell_name == name:
                try:
                    return cell.cell_contents
                except ValueError:  # the cell is still empty
                    break
        return self.function.__globals__.get(name, MISSING)


def is_same_package(module: object, other: object) -> bool:
    """Tell whether two module names belong to the same package."""
    if not isinstance(module, str) or not isinstance(other, str):
        return False
    return _package(module) == _package(other)


def is_in_console(function: FunctionType) -> bool:
    """Return whether a function was defined in a notebook or console, or in code without a file.

    In these cases, the functions and variables that it uses can be redefined at any time.
    """
    namespace = function.__globals__
    if "__file__" not in namespace or "In" in namespace:  # `In` is IPython's list of inputs
        return True
    return namespace.get("__name__") == "__main__" and (
        bool(sys.flags.interactive) or hasattr(sys, "ps1")
    )


def _package(module: str) -> str:
    if module == "__main__":  # started with ``python -m package.module``
        module = getattr(sys.modules.get(module), "__package__", None) or module
    return module.partition(".")[0]


def _owner(function: FunctionType) -> tuple[type | None, bool]:
    """Return the class that a function is a method of, and whether it is a static method."""
    first, *path = function.__qualname__.split(".")
    value = function.__globals__.get(first)
    for name in path[:-1]:
        value = vars(value).get(name) if is_a(value, type) else None
    if not path or not is_a(value, type):
        return None, False
    member = vars(value).get(path[-1])
    if plain_function(member) is not function:
        return None, False
    return value, is_a(member, staticmethod)


def _attribute(holder: Any, name: str, module: str) -> object:
    if is_a(holder, ModuleType):
        if is_same_package(vars(holder).get("__name__"), module):
            return vars(holder).get(name, MISSING)
        return MISSING
    if is_a(holder, type):
        return class_attribute(holder, name, module)
    attribute = class_attribute(type(holder), name, module)
    if attribute is MISSING and is_same_package(type(holder).__module__, module):
        # An object's own attributes are part of its value. They are read here only to find methods.
        inner = dict(attributes_of(holder)).get(name, MISSING)
        return inner if is_same_package(type(inner).__module__, module) else MISSING
    return attribute


def class_attribute(holder: type, name: str, module: str) -> object:
    """Return an attribute of a class or its bases.

    Only classes in the package of `module` are searched.
    """
    if is_same_package(holder.__module__, module):
        for kind in holder.__mro__:
            if name in vars(kind) and is_same_package(kind.__module__, module):
                attribute: object = vars(kind)[name]
                # on some Python versions only, enum members are attributes of the class
                return MISSING if holder in type(attribute).__mro__ else attribute
    return MISSING


def _chain(node: ast.AST) -> Read:
    """Return the name and the attributes that an expression reads, or () for other expressions."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id, *reversed(attributes)) if isinstance(node, ast.Name) else ()


_MUTATORS: Final = frozenset(
    {
        *("add", "append", "appendleft", "clear", "difference_update", "discard", "extend"),
        *("extendleft", "insert", "intersection_update", "move_to_end", "pop", "popitem"),
        *("popleft", "remove", "reverse", "rotate", "setdefault", "sort", "subtract"),
        *("symmetric_difference_update", "update"),
    }
)
# Methods that create an object. The attributes that they set are part of its value.
MAKING_METHODS: Final = frozenset(
    {"__init__", "__post_init__", "__new__", "__attrs_post_init__", "__setstate__"}
)
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_SUBSCRIPTS: Final = frozenset({"STORE_SUBSCR", "DELETE_SUBSCR"})
_MOST_MODULES: Final = 256
_MOST_CHARS: Final = 2_000_000
_known: Final[dict[str, tuple[int, frozenset[Read]]]] = {}


def written_in_module(function: FunctionType) -> frozenset[Read]:
    """Return the global names and attributes that a module's functions change at run time.

    For example, ``self.count += 1`` in a method of ``Class`` gives ``("Class", "count")``. A value
    that changes is not part of the version of the functions that read it. Changes in ``__init__``
    and similar methods are left out.

    Args:
        function: Any function of the module. If the source of the module is not available, only
            this function's bytecode is analysed, see `written_in_code`.
    """
    file = function.__code__.co_filename
    text = "".join(linecache.getlines(file, function.__globals__))
    if not text or len(text) > _MOST_CHARS:
        return written_in_code(function.__code__)
    value = _known.get(file)
    if value is None or value[0] != hash(text):
        try:
            with quietly():
                tree = parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return written_in_code(function.__code__)
        if len(_known) >= _MOST_MODULES:
            _known.clear()
        value = _known[file] = hash(text), written(tree)
    return value[1]


def written(tree: ast.AST) -> frozenset[Read]:
    """Return the module-level names and attributes that functions in a syntax tree change."""
    reads: set[Read] = set()
    waiting: list[tuple[ast.AST, str, _Scope | None]] = [(tree, "", None)]
    while waiting:
        node, owner, scope = waiting.pop()
        if isinstance(node, ast.ClassDef):
            owner, scope = f"{owner}.{node.name}".lstrip("."), None
        elif isinstance(node, _Function):
            scope = _Scope(node, owner if scope is None else "")
            owner = f"{owner}.{getattr(node, 'name', '')}.<locals>".lstrip(".")
        elif scope is not None:
            reads.update(scope.writes(node))
        waiting += [(child, owner, scope) for child in ast.iter_child_nodes(node)]
    return frozenset(reads)


def written_in_code(code: CodeType) -> frozenset[Read]:
    """Return the names whose values a function may change, found in its bytecode.

    Use it if the source is not available. The bytecode of a line shows that it changes a value, but
    not which one. So for such a line, all names that it reads are returned.
    """
    reads: set[Read] = set()
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
                reads |= {(str(step.argval),) for step in here if "LOAD" in step.opname}
    return frozenset(reads)


def assigned_outside(code: CodeType) -> frozenset[str]:
    """Return the names that a function declares ``global`` or ``nonlocal`` and assigns."""
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
    """The scope of a function: its local names and the name of its receiver."""

    def __init__(self, node: _Function, owner: str) -> None:
        self._globals: set[str] = set()
        given = node.args
        parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs]
        parameters += [part for part in (given.vararg, given.kwarg) if part is not None]
        self._own = {parameter.arg for parameter in parameters}
        self._receiver, self._owner = "", owner
        if owner and parameters and not _is_static(node):
            self._receiver = parameters[0].arg
        self._makes = getattr(node, "name", "") in MAKING_METHODS
        for inner in _inside(node):
            if isinstance(inner, ast.Global | ast.Nonlocal):
                self._globals.update(inner.names)
            elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                self._own.add(inner.id)

    def writes(self, node: ast.AST) -> list[Read]:
        """Return the global and closure names and the attributes that a node changes."""
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
        """Return the name and first attribute of a changed target, or () if the name is local."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute | ast.Subscript):
            if isinstance(node, ast.Attribute):
                attributes.append(node.attr)
            else:
                attributes.clear()  # changing an element changes the container itself
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
    """Return the nodes of a function, without those of inner functions and classes."""
    body = [node.body] if isinstance(node, ast.Lambda) else [*node.body]
    items: list[ast.AST] = [*body]
    for item in items:  # the list grows during the loop
        if not isinstance(item, _Function | ast.ClassDef):
            items += ast.iter_child_nodes(item)
    return items


def _is_static(node: _Function) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any(
        isinstance(decorator, ast.Name) and decorator.id == "staticmethod"
        for decorator in decorators
    )
