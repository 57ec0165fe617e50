"""The definition of a model version: digest of source, signature, params, helpers, constants.

It is computed locally, at a function's first call, and never touches the network.
"""

import ast
import functools
import hashlib
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any, Final

import orjson

from otel_ml.source import (
    FunctionNode,
    canonical,
    canonical_code,
    canonical_value,
    function_node,
    global_reads,
    outside_names,
    own_source,
    plain_function,
    source_text,
)
from otel_ml.values import encode

_HELPER_DEPTH: Final = 3
_MAX_HELPERS: Final = 32
_MAX_CONSTANT_BYTES: Final = 16 * 1024
_CONSTANTS: Final = (str, int, float, bool)
SECRET_NAME: Final = re.compile(r"passw|secret|token|authorization|api_?key", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Definition:
    """What one version of a model (or judge) is made of.

    Attributes:
        digest: 16 hex digits over everything below; the same on every supported Python when
            there is source.
        source: The function without its decorators, or None (REPL, frozen code, builtins).
        signature: The parameters with their annotations and the return annotation.
        params: Declared parameters, as the user gave them.
        helpers: Source of the functions of the same package that it calls, by name.
        constants: Values of the module constants and closure cells that it names.
    """

    digest: str
    source: str | None
    signature: str
    params: Mapping[str, object]
    helpers: Mapping[str, str]
    constants: Mapping[str, object]

    def to_json(self, output: str | None = None) -> str:
        """Write the definition for the wire; `output` is its output structure, when known."""
        content = {
            "source": self.source,
            "signature": self.signature,
            "params": self.params,
            "helpers": self.helpers,
            "constants": self.constants,
            "output": output,
        }
        return encode(content).text


def define(target: Callable[..., Any], params: Mapping[str, object] | None = None) -> Definition:
    """Compute the definition of a callable. Never raises for a callable without source."""
    params = dict(params or {})
    declared = [*_bound_arguments(target), _params_text(params)]
    function = plain_function(target)
    if function is None:
        named = target if hasattr(target, "__qualname__") else type(target)
        name = f"{getattr(named, '__module__', '')}.{named.__qualname__}"
        return Definition(_digest([name, *declared]), None, "", params, {}, {})
    parts = _Parts(function.__module__ or "")
    lines = parts.read(function)
    return Definition(
        digest=_digest([*lines, *declared]),
        source=parts.source,
        signature=parts.signature,
        params=params,
        helpers=parts.helpers,
        constants=parts.constants,
    )


def _bound_arguments(target: object) -> list[str]:
    lines = []
    while isinstance(target, functools.partial):
        bound = [*enumerate(target.args), *sorted(target.keywords.items())]
        lines += [
            f"{name}={canonical_value(value)}" for name, value in bound if _is_constant(value)
        ]
        target = target.func
    return lines


def join(definition: Definition, name: str, other: Definition) -> Definition:
    """Make one definition of two: it changes with either, and shows the other one as a helper."""
    shown = {} if other.source is None else {name: other.source}
    return Definition(
        digest=_digest([definition.digest, other.digest]),
        source=definition.source,
        signature=definition.signature,
        params=definition.params,
        helpers={**definition.helpers, **other.helpers, **shown},
        constants={**definition.constants, **other.constants},
    )


@dataclass(slots=True)
class _Parts:
    """What a function is made of, gathered by following the names that it reads."""

    module: str
    source: str | None = None
    signature: str = ""
    helpers: dict[str, str] = field(default_factory=dict)
    constants: dict[str, object] = field(default_factory=dict)
    _numbers: dict[FunctionType, int] = field(default_factory=dict)
    _waiting: deque[tuple[FunctionType, int]] = field(default_factory=deque)
    _constant_bytes: int = 0

    def read(self, function: FunctionType) -> list[str]:
        """Read a function and its helpers, the near ones first; one canonical line for each."""
        self._number(function, 0)
        lines = []
        while self._waiting:
            lines.append(self._line(*self._waiting.popleft()))
        return lines

    def _number(self, function: FunctionType, depth: int) -> int:
        if function not in self._numbers:
            self._numbers[function] = len(self._numbers)
            self._waiting.append((function, depth))
        return self._numbers[function]

    def _line(self, function: FunctionType, depth: int) -> str:
        source = source_text(function)
        node = function_node(source, function) if source else None
        reads: list[tuple[str, str | None]]
        if source is None or node is None:
            text = canonical_code(function.__code__)
            reads = [(name, None) for name in sorted(outside_names(function.__code__))]
        else:
            text = canonical(node)
            reads = global_reads(node, function.__code__)
            self._show(function, own_source(source, node), node, depth)
        facts = [f"default {name}={value}" for name, value in _defaults(function)]
        for name, attribute in reads:
            found, value = _resolve(function, name, attribute)
            label = name if attribute is None else f"{name}.{attribute}"
            fact = self._fact(function, label, value, depth) if found else None
            if fact is not None:
                facts.append(f"{label}={fact}")
        return f"{text} {facts}"

    def _show(self, function: FunctionType, text: str, node: FunctionNode, depth: int) -> None:
        if depth == 0:
            self.source = text
            self.signature = _signature(node)
        else:
            self.helpers[self._name(function, function.__qualname__)] = text

    def _fact(self, reader: FunctionType, label: str, value: object, depth: int) -> str | None:
        if _is_constant(value):
            return self._constant(self._name(reader, label), value)
        helper = plain_function(value) if callable(value) else None
        if helper is None or isinstance(value, type):
            return None
        if helper in self._numbers:
            return f"#{self._numbers[helper]}"
        if not _same_package(helper.__module__, self.module) or depth >= _HELPER_DEPTH:
            return None
        return f"#{self._number(helper, depth + 1)}" if len(self._numbers) <= _MAX_HELPERS else None

    def _constant(self, name: str, value: object) -> str:
        text = canonical_value(value)
        self._constant_bytes += len(text)
        if SECRET_NAME.search(name) or self._constant_bytes > _MAX_CONSTANT_BYTES:
            self._constant_bytes -= len(text)
            value = text = f"sha256:{_digest([text])}"
        self.constants[name] = value
        return text

    def _name(self, reader: FunctionType, name: str) -> str:
        return name if reader.__module__ == self.module else f"{reader.__module__}.{name}"


def _defaults(function: FunctionType) -> list[tuple[str, str]]:
    defaults = function.__defaults__ or ()
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    values = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
    values.update(function.__kwdefaults__ or {})
    return [(name, canonical_value(value)) for name, value in values.items() if _is_constant(value)]


def _resolve(function: FunctionType, name: str, attribute: str | None) -> tuple[bool, object]:
    """Look a name up where the function would, without running code of the host's."""
    scope: dict[str, object] = {}
    for cell_name, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=False
    ):
        try:
            scope[cell_name] = cell.cell_contents
        except ValueError:  # a cell that is not filled yet
            continue
    if name in scope:
        value = scope[name]
    elif name in function.__globals__:
        value = function.__globals__[name]
    else:
        return False, None
    if attribute is None:
        return not isinstance(value, ModuleType), value
    if isinstance(value, ModuleType) and _same_package(value.__name__, function.__module__):
        return attribute in vars(value), vars(value).get(attribute)
    return False, None


def _is_constant(value: object) -> bool:
    if type(value) is tuple:
        return all(_is_constant(item) for item in value)
    return type(value) in _CONSTANTS


def _same_package(module: str | None, other: str) -> bool:
    return module is not None and module.partition(".")[0] == other.partition(".")[0]


def _signature(node: FunctionNode) -> str:
    text = f"({ast.unparse(node.args)})"
    if isinstance(node, ast.Lambda) or node.returns is None:
        return text
    return f"{text} -> {ast.unparse(node.returns)}"


def _params_text(params: Mapping[str, object]) -> str:
    return orjson.dumps(orjson.loads(encode(params).text), option=orjson.OPT_SORT_KEYS).decode()


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "replace")).hexdigest()[:16]
