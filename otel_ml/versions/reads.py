"""What a function reads from outside, and what stands there; no code of the host's is run."""

import ast
import sys
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any, Final

from otel_ml.versions.code import Read, code_reads, outside_names
from otel_ml.versions.source import FunctionNode, is_a, plain_function
from otel_ml.versions.values import attributes_of

MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class ReadingFunction:
    """A function that reads names from outside.

    Attributes:
        function: The function.
        owner: The class that it is a method of, where that can be told.
        receiver: The name under which it knows its owner, or an object of it: mostly ``self``.
    """

    function: FunctionType
    owner: type | None
    receiver: str | None

    @classmethod
    def of(cls, function: FunctionType) -> "ReadingFunction":
        """Find out who reads."""
        owner, is_static = _owner(function)
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        if owner is None or is_static or not names:
            return cls(function, None, None)
        return cls(function, owner, names[0])

    def reads(self, node: FunctionNode | None) -> list[Read]:
        """List what the function reads; without its syntax only what its code tells."""
        if node is None:
            return code_reads(self.function.__code__)
        outside = outside_names(self.function.__code__)
        if self.receiver is not None:
            outside.add(self.receiver)
        chains = (_chain(child) for child in ast.walk(node))
        return sorted({chain for chain in chains if chain and chain[0] in outside})

    def find(self, read: Read) -> object:
        """Look a name and its attributes up where the function would; `MISSING` if not there.

        Attributes are looked up in modules and classes of the function's own package alone.
        """
        name, *attributes = read
        value = self._named(name)
        for attribute in attributes:
            value = _attribute(value, attribute, self.function.__module__)
        return value

    def label(self, read: Read) -> str:
        """Name a read for people: with its class, where the function says ``self``."""
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
                except ValueError:  # a cell that is not filled yet
                    break
        return self.function.__globals__.get(name, MISSING)


def is_same_package(module: object, other: object) -> bool:
    """Tell whether two modules lie in the same package, by their names if they have any."""
    if not isinstance(module, str) or not isinstance(other, str):
        return False
    return _package(module) == _package(other)


def is_in_console(function: FunctionType) -> bool:
    """Tell whether what a function reads may be defined again while the process goes on.

    So it is in a console, in a notebook, and wherever code belongs to no file.
    """
    namespace = function.__globals__
    if "__file__" not in namespace or "In" in namespace:  # the inputs of IPython
        return True
    return namespace.get("__name__") == "__main__" and (
        bool(sys.flags.interactive) or hasattr(sys, "ps1")
    )


def _package(module: str) -> str:
    if module == "__main__":  # run as ``python -m package.module``
        module = getattr(sys.modules.get(module), "__package__", None) or module
    return module.partition(".")[0]


def _owner(function: FunctionType) -> tuple[type | None, bool]:
    """Find the class that a function is a method of, and whether it is a static one."""
    first, *path = function.__qualname__.split(".")
    found = function.__globals__.get(first)
    for name in path[:-1]:
        found = vars(found).get(name) if is_a(found, type) else None
    if not path or not is_a(found, type):
        return None, False
    member = vars(found).get(path[-1])
    if plain_function(member) is not function:
        return None, False
    return found, is_a(member, staticmethod)


def _attribute(holder: Any, name: str, module: str) -> object:
    if is_a(holder, ModuleType):
        if is_same_package(vars(holder).get("__name__"), module):
            return vars(holder).get(name, MISSING)
        return MISSING
    if is_a(holder, type):
        return class_attribute(holder, name, module)
    found = class_attribute(type(holder), name, module)
    if found is MISSING and is_same_package(type(holder).__module__, module):
        # What an object itself has is a part of its value; here only the way to its methods.
        inner = dict(attributes_of(holder)).get(name, MISSING)
        return inner if is_same_package(type(inner).__module__, module) else MISSING
    return found


def class_attribute(holder: type, name: str, module: str) -> object:
    """Look a name up in a class and its bases, in those of the package of `module` alone."""
    if is_same_package(holder.__module__, module):
        for kind in holder.__mro__:
            if name in vars(kind) and is_same_package(kind.__module__, module):
                found: object = vars(kind)[name]
                # Members of an enum stand in its class on some Pythons only.
                return MISSING if holder in type(found).__mro__ else found
    return MISSING


def _chain(node: ast.AST) -> Read:
    """Return the name and the attributes that an expression reads, empty for any other."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id, *reversed(attributes)) if isinstance(node, ast.Name) else ()
