"""Collects the parts of a function by following the names that it reads.

Helpers, classes and values of the same package count. Parts that cannot be read are noted, so that
pages can show them.
"""

import ast
import functools
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final, NamedTuple

from otel_ml.errors import warn_once
from otel_ml.versions.canonical import BODY, HEAD, canonical, canonical_value
from otel_ml.versions.code import Read, canonical_code, canonical_parameters
from otel_ml.versions.scopes import (
    MISSING,
    ReadingFunction,
    assigned_outside,
    class_attribute,
    is_in_console,
    is_same_package,
    written,
    written_in_code,
    written_in_module,
)
from otel_ml.versions.source import (
    FunctionNode,
    Source,
    find_source,
    is_a,
    is_of_library,
    is_quiet,
    plain_function,
)
from otel_ml.versions.state import WeightKind
from otel_ml.versions.uses import ASKED
from otel_ml.versions.values import (
    CONTAINERS,
    SECRETS,
    TooManyParts,
    Value,
    ValueReader,
    Weighed,
    hashed,
    is_record,
    models_in,
)
from otel_ml.versions.version_on import Part
from otel_ml.versions.weights import Weights, WeightsJob, kind_of, modules_of, weights_of

_HELPER_DEPTH: Final = 3
_MAX_HELPERS: Final = 32
_MAX_CONSTANT_BYTES: Final = 16 * 1024
_MAX_UNSEEN: Final = 32
_CONSTANTS: Final = (str, int, float, bool)
_FUNCTIONS: Final = (
    FunctionType,
    MethodType,
    BuiltinFunctionType,
    staticmethod,
    classmethod,
    property,
    functools.cached_property,
    functools.partialmethod,
)
_FITS: Final = ("fit", "partial_fit", "fit_transform", "fit_predict", "load_state_dict")
_UNREADABLE: Final = "No new version is created when this part changes: %s. Declare it with params="
_COMPUTED: Final = (functools.cached_property,)


class Watched(NamedTuple):
    """A name that a function read in a notebook or console, where it may be redefined."""

    reader: ReadingFunction
    read: Read
    value: object

    def is_current(self) -> bool:
        """Tell whether the name still has the same value."""
        value = _counted(self.reader, self.read)
        return value is self.value or (type(value) is _ObjectText and value == self.value)


class _ObjectText(NamedTuple):
    """Text that represents a mutable object, and the function behind it if it is callable."""

    helper: FunctionType | None
    text: str


@dataclass(slots=True)
class Parts:
    """Collects everything that determines the version of a function: code, helpers and constants.

    Attributes:
        module: Module of the function. Helpers in other packages are not collected.
        counts: Kinds of parts that determine the version, such as ``source`` or ``helpers``.
            Changes in other parts create no new version.
        skips_weights: Whether to leave out the weights of models.
        source: Source of the function. None if unavailable.
        signature: Parameters with annotations, and the return annotation.
        helpers: Source of the functions that it calls, by name.
        constants: Values that it uses, by name.
        unseen: Descriptions of parts that are not included, with the reason.
        read_by: For each helper and constant, the name of the function that uses it.
        watched: Names to check before each call, because a notebook or console can redefine them.
            Empty for functions in files.
        jobs: Background jobs that are still hashing model weights.
        models: Functions without arguments. Each returns model objects that the traced function
            uses at the time of the call, such as fitted estimators.
    """

    module: str
    counts: frozenset[Part]
    skips_weights: bool = False
    source: str | None = None
    signature: str = ""
    helpers: dict[str, str] = field(default_factory=dict)
    constants: dict[str, object] = field(default_factory=dict)
    unseen: list[str] = field(default_factory=list)
    read_by: dict[str, str] = field(default_factory=dict)
    watched: list[Watched] = field(default_factory=list)
    jobs: list[WeightsJob] = field(default_factory=list)
    models: list[Callable[[], Iterable[object]]] = field(default_factory=list)
    _numbers: dict[FunctionType, int] = field(default_factory=dict)
    _waiting: deque[tuple[FunctionType, int]] = field(default_factory=deque)
    _used: set[str] = field(default_factory=set)
    _constant_bytes: int = 0
    _reader: str = ""

    def read(self, function: FunctionType) -> list[str]:
        """Collect the code of a function and of its helpers, and the constants that they use.

        Helpers are the functions of the same package that it calls, directly or indirectly.

        Returns:
            One line of text per function. If the code or a constant changes, at least one line
            changes.
        """
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
            defaults = function.__defaults__ or ()
            names = function.__code__.co_varnames[: function.__code__.co_argcount]
            values = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
            for name, value in {**values, **(function.__kwdefaults__ or {})}.items():
                if is_constant(value):
                    facts.append(f"default {name}={canonical_value(value)}")
                elif not _is_in_source(value, source and _default_node(source.node, name)):
                    self.note(f"default of `{name}`, {_indefinite(type(value))}")
        reader, in_console = ReadingFunction.of(function), is_in_console(function)
        self._used.update(_attributes_used(function, source))
        following = _Following(self, reader, source, depth)
        self._reader = function.__qualname__
        for read in reader.reads(source and source.node):
            if in_console:
                self.watched.append(Watched(reader, read, _counted(reader, read)))
            fact = following.fact(read)
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
            self.helpers[self.name(function, function.__qualname__)] = source.text

    def helper(self, helper: FunctionType, depth: int) -> str | None:
        """Include a helper: a function of the same package that the traced function calls.

        Args:
            helper: The called function.
            depth: How deep the helper is: 0 if the traced function calls it directly, 1 if a helper
                of the traced function calls it, and so on.

        Returns:
            The number of the helper, such as ``#3``: its position in the result of `read`. None if
            the helper is not included, for example because it is in another package or `depth` is
            too large.
        """
        if "helpers" not in self.counts:
            return None
        if helper in self._numbers:
            return f"#{self._numbers[helper]}"
        name = helper.__qualname__
        if not is_same_package(helper.__module__, self.module):
            if PurePath(helper.__code__.co_filename).is_absolute() and not is_of_library(helper):
                self.note(f"`{name}`, of another package (`{helper.__module__}`)")
            return None
        if depth >= _HELPER_DEPTH:
            self.note(f"`{name}`, more than {_HELPER_DEPTH} calls deep")
            return None
        if len(self._numbers) > _MAX_HELPERS:
            self.note(f"`{name}`, beyond {_MAX_HELPERS} helpers")
            return None
        self.read_by[self.name(helper, helper.__qualname__)] = self._reader
        return f"#{self._number(helper, depth + 1)}"

    def methods(self, kind: type, depth: int, also: Iterable[str] = ()) -> list[str]:
        """Add the methods of a class that the traced function may call to the model version.

        They are special methods such as ``__call__``, methods whose name appears in the code, and
        those in `also`.

        Args:
            kind: The class.
            depth: Number of calls between the traced function and the code that uses the class.
            also: Names of further methods to include.

        Returns:
            One text per method, such as ``__call__=#3``: its name, and the number of its code, as
                returned by `helper`.
        """
        special = {
            name
            for base in kind.__mro__
            if is_same_package(base.__module__, self.module)
            for name in vars(base)
            if name.startswith("__") and name.endswith("__")
        }
        methods = []
        for name in sorted(special | self._used | {*also}):
            member = class_attribute(kind, name, self.module)
            helper = None if is_a(member, type) else plain_function(member)
            # methods generated for dataclasses and enums have no source and add nothing
            if helper is None or not _is_written(helper):
                continue
            number = self.helper(helper, depth)
            if number is not None:
                methods.append(f"{name}={number}")
        return methods

    def constant(self, name: str, value: Value) -> str:
        """Make a value that the code uses part of the version. Return the value's text.

        Secrets and long values are replaced by a hash.
        """
        self._constant_bytes += len(value.text)
        if SECRETS.is_secret(name) or self._constant_bytes > _MAX_CONSTANT_BYTES:
            self._constant_bytes -= len(value.text)
            value = hashed(value)
        self.constants[name] = value.shown
        self.read_by.setdefault(name, self._reader)
        return value.text

    def bound(self, partial: "functools.partial[Any]", name: str) -> list[tuple[object, str]]:
        """Return the constant arguments that a `functools.partial` sets, with name or position.

        Other arguments are noted in `unseen`.
        """
        constants = []
        for key, value in [*enumerate(partial.args), *sorted(partial.keywords.items())]:
            if is_constant(value):
                constants.append((key, canonical_value(value)))
            elif value is not None and not is_quiet(type(value)):
                self.note(f"`{key}` that `{name}` binds, {_indefinite(type(value))}")
        return constants

    def uses(self, *names: str) -> bool:
        """Tell whether the code read so far uses any attribute with one of these names."""
        return not self._used.isdisjoint(names)

    def note(self, unseen: str) -> None:
        """Add a description to `unseen`, unless it is there already."""
        if unseen not in self.unseen and len(self.unseen) < _MAX_UNSEEN:
            self.unseen.append(unseen)

    def name(self, function: FunctionType, name: str) -> str:
        """Return the name under which a model version lists a helper function or a constant.

        It has the module of `function` in front, unless that is the module of the traced function.

        Args:
            function: The helper, or the function that uses the constant.
            name: Name of the helper or constant.
        """
        return name if function.__module__ == self.module else f"{function.__module__}.{name}"


class _Reference(str):
    """The displayed form of a function or class inside a value."""

    __slots__ = ()


class _Following:
    """Follows the names that a function reads.

    Each one becomes part of the version or is noted as unseen.
    """

    def __init__(
        self, parts: Parts, reader: ReadingFunction, source: Source | None, depth: int
    ) -> None:
        self._parts = parts
        self._reader = reader
        self._depth = depth
        self._node = source and source.node
        code = reader.function.__code__
        self._changed_here = written_in_code(code) if source is None else written(source.node)
        self._assigned = assigned_outside(code)
        self._state: dict[type, frozenset[str]] = {}
        self._set: frozenset[str] = frozenset()

    def fact(self, read: Read) -> str | None:
        """Return the text for a name that the function reads, or None if it does not count."""
        value: Any = self._reader.find(read)
        if value is MISSING or value is os.environ or is_a(value, ModuleType):
            if read == ("open",) and value is MISSING:
                self._parts.note("contents of files that are opened")
            elif value is os.environ or (value is os and self._parts.uses("environ", "getenv")):
                self._parts.note("environment variables")
            elif read[0] == self._reader.receiver and read[1:] and self._depth == 0:
                self._parts.note(f"`{'.'.join(read[:2])}`, which only the object has")
            return None
        if is_a(value, type):
            is_own = read == (self._reader.receiver,)  # `self`: its attributes are read one by one
            return None if is_own else self._class(value)
        if is_a(value, _FUNCTIONS):
            return self._function(value)
        if "constants" not in self._parts.counts:
            # values do not count, but a callable object counts as the function that it calls
            return None if is_constant(value) else self._function(value)
        name = self._parts.name(self._reader.function, self._reader.label(read))
        if is_constant(value):
            if read[-1] in self._assigned and len(read) == 1:
                return None
            return self._parts.constant(name, Value(canonical_value(value), value))
        return self._value(read, value, name)

    def _class(self, kind: type) -> str | None:
        counts = self._parts.counts
        if "helpers" not in counts or not is_same_package(kind.__module__, self._parts.module):
            return None
        facts = self._parts.methods(kind, self._depth)
        if "constants" in counts:
            facts += [f"{name}:{text}" for name, text in _fields(kind)]
        return f"{{{','.join(facts)}}}" if facts else None

    def _function(self, value: object) -> str | None:
        helper = plain_function(value)
        return None if helper is None else self._parts.helper(helper, self._depth)

    def _value(self, read: Read, value: object, name: str) -> str | None:
        writes = self._writes
        if issubclass(type(value), (*CONTAINERS,)) and not writes.isdisjoint(self._names(read)):
            self._parts.note(f"`{name}`, which functions change")
            return None
        # of an object, only assigned attributes are state; called methods are not
        self._set = frozenset(write[1] for write in writes if write[:1] == read and write[1:])
        try:
            value_read = ValueReader(self._follow, self._is_own, self._is_state_of).read(
                value, name
            )
        except TooManyParts:
            self._parts.note(f"`{name}`, which is too large")
            return None
        except RuntimeError:  # another thread changes the container, or the class is hostile
            self._parts.note(f"`{name}`, which cannot be read")
            return None
        if any(True for _ in models_in(value, self._is_own)):
            find = self._reader.find
            self._parts.models.append(lambda: models_in(find(read), self._is_own))
        if value_read is None or type(value_read.shown) is _Reference:
            return None if value_read is None else value_read.text
        return self._parts.constant(name, value_read)

    def _is_own(self, kind: type) -> bool:
        return is_same_package(kind.__module__, self._parts.module)

    @functools.cached_property
    def _writes(self) -> frozenset[Read]:
        return self._changed_here | written_in_module(self._reader.function)

    def _names(self, read: Read) -> set[Read]:
        """Return the names under which functions of the module change this value."""
        if self._reader.owner is not None and read[0] == self._reader.receiver:
            return {(kind.__qualname__, read[1]) for kind in self._reader.owner.__mro__}
        return {read, read[:1]}

    def _is_state_of(self, kind: type, name: str) -> bool:
        """Tell whether an attribute is state: changed by methods, or computed."""
        if kind not in self._state:
            self._state[kind] = frozenset(_state_of(kind))
        if name not in self._state[kind] | self._set:
            return False
        self._parts.note(f"`{kind.__qualname__}.{name}`, which functions change")
        return True

    def _follow(self, value: Any, name: str) -> Value | None:
        """Read a value that is not plain data: a function, a class or an object."""
        kind = type(value)
        weights = kind_of(value)
        if weights is not None:
            return self._weigh(value, weights, name)
        if is_a(value, type):
            shown = _Reference(f"<{value.__qualname__}>")
            return Value(f"{value.__qualname__}{self._class(value) or ''}", shown)
        helper = plain_function(value)
        number = None if helper is None else self._parts.helper(helper, self._depth)
        text = number or ""
        if is_a(value, functools.partial):
            text += "".join(f",{key}={value}" for key, value in self._parts.bound(value, name))
        elif not is_a(value, _FUNCTIONS) and self._is_own(kind):
            if "helpers" in self._parts.counts:
                methods = self._parts.methods(kind, self._depth)
                text += f"{{{','.join(methods)}}}" if methods else ""
        elif number is None and not is_record(kind):
            if is_a(value, PurePath):
                self._parts.note(f"`{name}`, a path on this machine")
            elif not is_a(value, _FUNCTIONS) and not is_quiet(kind):
                closed = f"`{name}`, {_indefinite(kind)}, which cannot be read"
                has_attributes = getattr(kind, "__dictoffset__", 0)
                self._parts.note(f"attributes of `{name}`" if has_attributes else closed)
        named = kind if helper is None else helper
        return Value(text, _Reference(f"<{named.__qualname__}>")) if text else None

    def _weigh(self, value: Any, weights: WeightKind, name: str) -> Value:
        """Identify a model object by its weights and the methods of its own class."""
        fits = {(*name.split("."), fit) for fit in _FITS}
        if not fits.isdisjoint(self._reader.reads(self._node)):
            self._parts.note(f"weights of `{name}`, which the function fits")
            return Value(type(value).__qualname__, Weighed(type=type(value).__qualname__))
        shown = Weighed(type=type(value).__qualname__)
        if self._parts.skips_weights:
            self._parts.note(f"weights of `{name}`, which were not read in time")
            return Value("weights:pending", shown)
        read_weights = weights_of(value, weights)
        if isinstance(read_weights, WeightsJob):
            self._parts.jobs.append(read_weights)
            return Value("weights:pending", shown)
        for gap in read_weights.gaps:
            unseen = f"`{name}{gap.path}`, {gap.reason}"
            self._parts.note(unseen)
            if read_weights.is_unreadable:
                warn_once(_UNREADABLE, unseen)
        methods = (
            self._methods_of(value, read_weights) if "helpers" in self._parts.counts else set()
        )
        shown["weights"] = read_weights.digest
        return Value(f"weights:{read_weights.digest}{{{','.join(sorted(methods))}}}", shown)

    def _methods_of(self, model: object, weights: Weights) -> set[str]:
        """Follow the functions of the same package that a model object calls or contains."""
        methods: set[str] = set()
        kinds: dict[type, Sequence[str]] = dict.fromkeys(weights.kinds, ASKED)
        kinds |= {type(part): ("forward",) for part in (model, *modules_of(model))}
        for kind in sorted(filter(self._is_own, kinds), key=attrgetter("__qualname__")):
            methods.update(self._parts.methods(kind, self._depth, kinds[kind]))
        for path, reference in weights.functions.items():
            function = reference()
            number = None if function is None else self._parts.helper(function, self._depth)
            if number is not None:
                methods.add(f"{path}={number}")
        return methods


def _state_of(kind: type) -> Iterator[str]:
    """Yield the attributes of a class's objects that its own module changes or computes."""
    for base in kind.__mro__:
        members = vars(base)
        yield from (name for name, member in members.items() if is_a(member, _COMPUTED))
        functions = (
            plain_function(member) for member in members.values() if not is_a(member, type)
        )
        function = next(
            (function for function in functions if function is not None and _is_written(function)),
            None,
        )
        if function is not None:
            writes = written_in_module(function)
            yield from (read[1] for read in writes if read[0] == base.__qualname__ and read[1:])


def _is_written(function: FunctionType) -> bool:
    """Tell whether a function has source, unlike those generated for dataclasses."""
    return not function.__code__.co_filename.startswith(("<string>", "<attrs generated"))


def _attributes_used(function: FunctionType, source: Source | None) -> Iterator[str]:
    if source is None:
        yield from function.__code__.co_names
        return
    for node in ast.walk(source.node):
        if isinstance(node, ast.Attribute):
            yield node.attr


def _fields(kind: type) -> list[tuple[str, str]]:
    """Return the fields of a record or enum class, with their plain defaults."""
    names: dict[str, object] = {}
    for mark in ("__dataclass_fields__", "__pydantic_fields__", "_member_map_"):
        value = getattr(kind, mark, None)
        names.update(value if isinstance(value, dict) else {})
    fields = getattr(kind, "_fields", None)
    if issubclass(kind, tuple) and isinstance(fields, tuple):
        names.update(dict.fromkeys(fields, MISSING), **getattr(kind, "_field_defaults", {}))
    return [(name, _default_of(item)) for name, item in sorted(names.items())]


def _default_of(item: Any) -> str:
    for name in ("default", "_value_"):
        item = getattr(item, name, item)
    return canonical_value(item) if is_constant(item) else ""


def is_constant(value: object) -> bool:
    """Tell whether a value is a string, number, bool, or a tuple of these."""
    if type(value) is tuple:
        return all(is_constant(item) for item in value)
    return type(value) in _CONSTANTS


def digest(lines: list[str]) -> str:
    """Return a digest of lines, as 16 hex digits."""
    return hashlib.sha256("\n".join(lines).encode("utf-8", "replace")).hexdigest()[:16]


def _counted(reader: ReadingFunction, read: Read) -> object:
    """Return a value or its text, to compare with later. The text does not keep it alive."""
    value = reader.find(read)
    if is_constant(value) or is_a(value, (type, *_FUNCTIONS)):
        return value
    if value is MISSING or is_a(value, ModuleType):
        return MISSING
    helper = plain_function(value)

    def own(kind: type) -> bool:
        return is_same_package(kind.__module__, reader.function.__module__)

    def follow(part: object, name: str) -> Value | None:
        inner = plain_function(part)
        return None if inner is None else Value(f"{inner.__qualname__}@{id(inner)}", name)

    try:
        value_read = ValueReader(follow, own, lambda kind, name: False).read(value, "")
    except (TooManyParts, RuntimeError):
        return MISSING
    return MISSING if value_read is None else _ObjectText(helper, value_read.text)


def _default_node(node: FunctionNode, name: str) -> ast.AST | None:
    """Return the expression of a parameter's default, or None."""
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    pairs = [*zip(positional[len(positional) - len(given.defaults) :], given.defaults, strict=True)]
    pairs += [
        (parameter, default)
        for parameter, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
        if default is not None
    ]
    return next((default for parameter, default in pairs if parameter.arg == name), None)


def _is_in_source(value: object, node: ast.AST | None) -> bool:
    """Tell whether a parameter's default is clear from its source: a literal, a library's name."""
    if value is None or is_quiet(type(value)):
        return True
    function = plain_function(value)
    if is_a(value, (type, *_FUNCTIONS)):
        return function is None or is_of_library(function)
    reads = (ast.Name, ast.Call)
    return node is not None and not any(isinstance(part, reads) for part in ast.walk(node))


def _indefinite(kind: type) -> str:
    return f"a `{kind.__module__}.{kind.__qualname__}`"


def _signature(node: FunctionNode) -> str:
    try:
        text = f"({ast.unparse(node.args)})"
        if isinstance(node, ast.Lambda) or node.returns is None:
            return text
        return f"{text} -> {ast.unparse(node.returns)}"
    except RecursionError:  # a default with hundreds of terms
        return ""
