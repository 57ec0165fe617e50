"""Finds the attributes that using an estimator changes, from the source of its class.

An estimator is defined by what fitting left in it. Attributes that `predict`, `transform` and
similar methods change do not count, even if `fit` sets them first: caches, counters, the last
input. No user code is run.
"""

import ast
import dis
import functools
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Final
from weakref import WeakKeyDictionary

from otel_ml.versions.scopes import MAKING_METHODS, written, written_in_code
from otel_ml.versions.source import find_source, is_a, is_of_library, plain_function

# methods that libraries and users call on a fitted estimator
ASKED: Final = (
    *("predict", "predict_proba", "predict_log_proba", "decision_function", "transform"),
    *("inverse_transform", "score", "score_samples", "get_feature_names_out", "forward"),
)
_ASKED: Final = frozenset({*ASKED, "__call__"})
# methods whose name contains one of these words define the estimator
_MAKES: Final = frozenset(
    {
        *("fit", "refit", "train", "retrain", "learn", "calibrate", "compile", "build", "init"),
        *("set", "setstate", "load", "restore", "from", "reset", "initialize"),
    }
)
_LETTERS: Final = re.compile("[a-z]+")
_STORES: Final = frozenset({"STORE_ATTR", "DELETE_ATTR"})
_RECEIVER: Final = "self"
_COMPUTED: Final = "cached_property"
_CACHES: Final = frozenset({"cache", "caches", "cached", "memo", "memos", "memoized"})
_CONTAINERS: Final = (dict, list, set, deque)
Attribute = tuple[str, Any]


@dataclass(frozen=True, slots=True)
class _Method:
    """A method as written in a class.

    Attributes:
        changes: Attributes of its object that it changes.
        reads: Attributes of its object that it reads, including methods.
    """

    changes: frozenset[str]
    reads: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Uses:
    """How using an object changes it.

    Attributes:
        is_of_host: Whether the user wrote at least one of its methods.
        changes: Changed attributes, each with a method that changes it.
    """

    is_of_host: bool
    changes: Mapping[str, str]


def drop_uses(kind: type, attributes: Iterable[Attribute]) -> list[Attribute]:
    """Return an estimator's attributes without those that change when the estimator is used.

    Call counters and caches are left out, so that calling `predict` does not create a new model
    version. To find these attributes, the methods of your own classes are analysed, but not those
    of libraries.
    """
    uses = _uses_of(kind)
    if not uses.is_of_host:
        return [*attributes]
    return [
        (name, item)
        for name, item in attributes
        if name not in uses.changes and not _is_cache(name, item)
    ]


def name_uses(kind: type, attributes: Iterable[Attribute]) -> Iterator[tuple[str, str]]:
    """Yield each attribute that `drop_uses` leaves out, with the reason, for messages."""
    uses = _uses_of(kind)
    if uses.is_of_host:
        for name, use in sorted(uses.changes.items()):
            if use != _COMPUTED:  # computed from other attributes
                yield name, f"which `{use}` changes"
        for name, item in attributes:
            if name not in uses.changes and _is_cache(name, item):
                yield name, "a cache by its name"


def _is_cache(name: str, item: object) -> bool:
    return is_a(item, _CONTAINERS) and not _CACHES.isdisjoint(_LETTERS.findall(name.lower()))


def _uses_of(kind: type) -> _Uses:
    uses = _known.get(kind)
    if uses is None:
        methods = _methods_of(kind)
        uses = _known[kind] = _Uses(bool(methods), _find_changes(methods) | _computed(kind))
    return uses


def _computed(kind: type) -> dict[str, str]:
    """Return the attributes that `functools.cached_property` stores."""
    members = [pair for base in kind.__mro__ for pair in vars(base).items()]
    return {name: _COMPUTED for name, value in members if is_a(value, functools.cached_property)}


def _find_changes(methods: Mapping[str, Sequence[_Method]]) -> dict[str, str]:
    makers = {name for name in methods if _makes(name)}
    of_makers = _reach(methods, makers, frozenset())
    uses = {name for name in methods if name in _ASKED or name not in of_makers}
    changes: dict[str, str] = {}
    for name in sorted(_reach(methods, uses - makers, makers)):
        for attribute in (attribute for item in methods[name] for attribute in item.changes):
            changes.setdefault(attribute, name)
    return changes


def _makes(name: str) -> bool:
    return name in MAKING_METHODS or not _MAKES.isdisjoint(_LETTERS.findall(name.lower()))


def _reach(
    methods: Mapping[str, Sequence[_Method]], names: Iterable[str], without: Iterable[str]
) -> set[str]:
    """Return these methods and all methods that they call on the same object."""
    waiting, reached = [*names], set[str]()
    while waiting:
        name = waiting.pop()
        if name in methods and name not in reached:
            reached.add(name)
            waiting += {read for item in methods[name] for read in item.reads}.difference(without)
    return reached


def _methods_of(kind: type) -> dict[str, list[_Method]]:
    """Return the methods of a class and its bases that the user wrote."""
    methods: dict[str, list[_Method]] = {}
    for base in kind.__mro__:
        for name, member in vars(base).items():
            if is_a(member, type | staticmethod | classmethod):
                continue
            setter = plain_function(member.fset) if is_a(member, property) else None
            for key, function in ((name, plain_function(member)), (f"set {name}", setter)):
                if function is not None and not is_of_library(function):
                    methods.setdefault(key, []).append(_read_method(function))
    return methods


def _read_method(function: FunctionType) -> _Method:
    receiver = next(iter(function.__code__.co_varnames[: function.__code__.co_argcount]), "")
    source = find_source(function)
    if source is None:
        return _Method(frozenset(_changed_in_code(function)), frozenset(function.__code__.co_names))
    owner = ast.parse("class self: pass").body[0]
    assert isinstance(owner, ast.ClassDef)  # noqa: S101 - narrows the union
    owner.body = [source.node] if isinstance(source.node, ast.stmt) else []
    writes = written(owner)
    return _Method(
        frozenset(read[1] for read in writes if read[0] in {_RECEIVER, receiver} and read[1:]),
        frozenset(_read_of(source.node, receiver)),
    )


def _read_of(node: ast.AST, receiver: str) -> Iterator[str]:
    """Yield the attributes that are read from an object or through ``super()``."""
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute):
            holder = part.value
            is_super = isinstance(holder, ast.Call) and isinstance(holder.func, ast.Name)
            if is_super or (isinstance(holder, ast.Name) and holder.id == receiver):
                yield part.attr


def _changed_in_code(function: FunctionType) -> Iterator[str]:
    """Yield the attributes that a method may change, found in its bytecode."""
    names = {read[0] for read in written_in_code(function.__code__)}
    yield from names.difference(function.__code__.co_varnames)
    for step in dis.get_instructions(function.__code__):
        if step.opname in _STORES:
            yield str(step.argval)


_known: Final[WeakKeyDictionary[type, _Uses]] = WeakKeyDictionary()
