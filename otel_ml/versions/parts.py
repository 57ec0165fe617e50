"""What a function is made of: helpers and constants, found by following the names that it reads."""

import ast
import hashlib
from collections import deque
from dataclasses import dataclass, field
from types import FunctionType
from typing import Final, NamedTuple

from otel_ml.redaction import Redaction
from otel_ml.versions.canonical import BODY, HEAD, canonical, canonical_value
from otel_ml.versions.code import Read, canonical_code, canonical_parameters
from otel_ml.versions.reads import MISSING, Reader, is_in_console, is_same_package
from otel_ml.versions.source import FunctionNode, Source, find_source, plain_function
from otel_ml.versions.version_on import Part

_HELPER_DEPTH: Final = 3
_MAX_HELPERS: Final = 32
_MAX_CONSTANT_BYTES: Final = 16 * 1024
_CONSTANTS: Final = (str, int, float, bool)
_SECRETS: Final = Redaction()
HASHED: Final = "sha256:"


class Watched(NamedTuple):
    """A name that was read in a console, where it may be given another value."""

    reader: Reader
    read: Read
    value: object

    def is_current(self) -> bool:
        """Tell whether the name still has the value that was counted."""
        return _counted(self.reader.find(self.read)) is self.value


@dataclass(slots=True)
class Parts:
    """What a function is made of, as far as it counts.

    Attributes:
        module: Where the function is written; only its package is followed.
        counts: The parts that count.
        source: The function itself.
        signature: Its parameters with annotations, and the return annotation.
        helpers: Source of the helpers, by name.
        constants: Values of the constants, by name.
        watched: What to look at again before each call; empty outside consoles.
    """

    module: str
    counts: frozenset[Part]
    source: str | None = None
    signature: str = ""
    helpers: dict[str, str] = field(default_factory=dict)
    constants: dict[str, object] = field(default_factory=dict)
    watched: list[Watched] = field(default_factory=list)
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
        source = find_source(function)
        text, facts = self._text(function, source, depth), []
        if source is not None:
            self._show(function, source, depth)
        if depth > 0 or "signature" in self.counts:
            facts += [f"default {name}={value}" for name, value in _defaults(function)]
        reader, in_console = Reader.of(function), is_in_console(function)
        for read in reader.reads(source and source.node):
            value = reader.find(read)
            if in_console:
                self.watched.append(Watched(reader, read, _counted(value)))
            fact = self._fact(reader, read, value, depth)
            if fact is not None:
                facts.append(f"{'.'.join(read)}={fact}")
        return f"{text} {facts}"

    def _text(self, function: FunctionType, source: Source | None, depth: int) -> str:
        body, head = "source" in self.counts, "signature" in self.counts
        if depth > 0:
            body, head = True, True
        if not body and not head:
            return ""
        if source is not None:
            return canonical(source.node, frozenset() if body and head else HEAD if body else BODY)
        return (
            canonical_code(function.__code__) if body else canonical_parameters(function.__code__)
        )

    def _show(self, function: FunctionType, source: Source, depth: int) -> None:
        if depth == 0:
            self.source = source.text
            self.signature = _signature(source.node)
        else:
            self.helpers[self._name(function, function.__qualname__)] = source.text

    def _fact(self, reader: Reader, read: Read, value: object, depth: int) -> str | None:
        if is_constant(value):
            if "constants" not in self.counts:
                return None
            return self._constant(self._name(reader.function, reader.label(read)), value)
        helper = _helper(value)
        if helper is None or "helpers" not in self.counts:
            return None
        if helper in self._numbers:
            return f"#{self._numbers[helper]}"
        if not is_same_package(helper.__module__, self.module) or depth >= _HELPER_DEPTH:
            return None
        return f"#{self._number(helper, depth + 1)}" if len(self._numbers) <= _MAX_HELPERS else None

    def _constant(self, name: str, value: object) -> str:
        text = canonical_value(value)
        self._constant_bytes += len(text)
        if _SECRETS.is_secret(name) or self._constant_bytes > _MAX_CONSTANT_BYTES:
            self._constant_bytes -= len(text)
            value = text = f"{HASHED}{digest([text])}"
        self.constants[name] = value
        return text

    def _name(self, function: FunctionType, name: str) -> str:
        return name if function.__module__ == self.module else f"{function.__module__}.{name}"


def is_constant(value: object) -> bool:
    """Tell whether a value counts by itself: a text, number or bool, or a tuple of these."""
    if type(value) is tuple:
        return all(is_constant(item) for item in value)
    return type(value) in _CONSTANTS


def digest(lines: list[str]) -> str:
    """Return the 16 hex digits that stand for some lines."""
    return hashlib.sha256("\n".join(lines).encode("utf-8", "replace")).hexdigest()[:16]


def _helper(value: object) -> FunctionType | None:
    return None if isinstance(value, type) else plain_function(value)


def _counted(value: object) -> object:
    """Return a value that may count; any other is not held on to."""
    return value if is_constant(value) or _helper(value) is not None else MISSING


def _defaults(function: FunctionType) -> list[tuple[str, str]]:
    defaults = function.__defaults__ or ()
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    values = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
    values.update(function.__kwdefaults__ or {})
    return [(name, canonical_value(value)) for name, value in values.items() if is_constant(value)]


def _signature(node: FunctionNode) -> str:
    try:
        text = f"({ast.unparse(node.args)})"
        if isinstance(node, ast.Lambda) or node.returns is None:
            return text
        return f"{text} -> {ast.unparse(node.returns)}"
    except RecursionError:  # a default of hundreds of terms
        return ""
