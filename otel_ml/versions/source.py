"""Finds the source of a function and verifies that it is the code that runs.

A file may have changed after it was imported. So source is accepted only if it compiles to exactly
the code of the function.
"""

import __future__

import ast
import copy
import functools
import inspect
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePath
from types import (
    ClassMethodDescriptorType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    UnionType,
    WrapperDescriptorType,
)
from typing import Any, Final, NamedTuple

from otel_ml.errors import untrusted
from otel_ml.versions.canonical import canonical
from otel_ml.versions.code import inner_codes, is_same_code

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_WRAPPERS: Final = 32
_PARSES: Final = 20
_FUTURES: Final = functools.reduce(
    int.__or__,
    (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names),
)
_quiet_lock: Final = threading.Lock()
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_NEVER_OF_USER: Final = frozenset({*sys.stdlib_module_names, "otel_ml", "opentelemetry"})
# libraries for running, logging and typing, which do not affect results
_QUIET: Final = frozenset(
    {
        *("otel_ml", "opentelemetry", "logging", "warnings", "threading", "_thread", "asyncio"),
        *("concurrent", "queue", "_queue", "contextvars", "_contextvars", "weakref", "typing"),
        *("typing_extensions", "types", "abc", "_abc", "functools", "enum"),
    }
)
_QUIET_BUILTINS: Final = (
    *(object, type(...), type(NotImplemented), MethodWrapperType, WrapperDescriptorType),
    *(MethodDescriptorType, ClassMethodDescriptorType, GetSetDescriptorType, MemberDescriptorType),
)


class Source(NamedTuple):
    """The source of a function.

    Attributes:
        text: Source code without decorators; for a lambda, without the code around it.
        node: Its syntax tree.
    """

    text: str
    node: FunctionNode


def find_source(function: FunctionType) -> Source | None:
    """Return the source code of a function. None if it may differ from the code that runs.

    That is the case if there is no file (as in a console), if the file was changed after the
    import, or if there are two lambdas in one line.
    """
    try:
        text = _text(function)
        with quietly():
            nodes = _candidates(parse(text), function)
            source = [node for node in nodes if _is_code_of(node, function)]
    except (OSError, TypeError, SyntaxError, ValueError, IndexError, RecursionError, MemoryError):
        return None
    if len({canonical(node) for node in source}) != 1:
        return None
    return Source(_cut(text, source[0]), source[0])


def is_of_library(function: FunctionType) -> bool:
    """Tell whether a function belongs to an installed package or to Python."""
    installed = not _INSTALLED.isdisjoint(PurePath(function.__code__.co_filename).parts)
    return installed or root_module(function) in _NEVER_OF_USER


def is_quiet(kind: type) -> bool:
    """Tell whether objects of a class cannot affect a model's results.

    Examples are locks and loggers.
    """
    return root_module(kind) in _QUIET or kind in _QUIET_BUILTINS


def root_module(named: object) -> str:
    """Return the top-level module name of a function or class."""
    module = getattr(named, "__module__", None)
    return module.partition(".")[0] if isinstance(module, str) else ""


def is_a(value: object, kinds: type | UnionType | tuple[type, ...]) -> bool:
    """Like `isinstance`, but without running code of the value, which may raise."""
    return issubclass(type(value), kinds)


def attributes_of(value: object) -> list[tuple[str, object]]:
    """Return an object's own attributes without running its code."""
    kind = type(value)
    attributes: dict[str, object] = {}
    with_dict = getattr(kind, "__dictoffset__", 0)
    if with_dict:
        attributes.update(object.__getattribute__(value, "__dict__"))
    for base in kind.__mro__:
        for name, member in vars(base).items():
            if isinstance(member, MemberDescriptorType) and not name.startswith("__"):
                try:
                    attributes.setdefault(name, member.__get__(value))
                except AttributeError:
                    continue  # the slot is empty
    return sorted((name, item) for name, item in attributes.items() if type(name) is str)


def plain_function(target: object) -> FunctionType | None:
    """Return the Python function behind decorators, methods, partials and callable objects."""
    for _ in range(_WRAPPERS):
        if type(target) is FunctionType and "__wrapped__" not in vars(target):
            return target
        inner = _inner(target)
        if inner is None:
            return None
        target = inner
    return None


def _inner(target: Any) -> object:
    wrapped = _wrapped(target)
    if wrapped is not None:
        return wrapped
    if is_a(target, MethodType | staticmethod | classmethod):
        return target.__func__
    if is_a(target, functools.partial | functools.partialmethod | functools.cached_property):
        return target.func
    if is_a(target, property):
        return target.fget
    calls = (vars(kind).get("__call__") for kind in type(target).__mro__)
    call = next((call for call in calls if call is not None), None)
    return call if isinstance(call, FunctionType) else None


def _wrapped(target: Any) -> object:
    """Return the function inside a wrapper. Dynamically created attributes do not count."""
    if inspect.getattr_static(target, "__wrapped__", None) is None:
        return None
    with untrusted:
        wrapped: object = target.__wrapped__
        return wrapped
    return None


def _text(function: FunctionType) -> str:
    """Return the text that contains the function. For a lambda, this is the whole file."""
    if function.__code__.co_name == "<lambda>":
        return "".join(inspect.findsource(function)[0])
    source = inspect.getsource(function)
    # an indented function is not dedented, because that would change its multi-line strings
    return f"if 1:\n{source}" if source[:1].isspace() else source


def parse(text: str) -> ast.Module:
    """Parse source text to a syntax tree. Retry after a `SystemError`.

    Some Python versions raise it while another thread is parsing:
    https://github.com/python/cpython/issues/106905
    """
    for _ in range(_PARSES):
        with suppress(SystemError):
            return ast.parse(text)
    return ast.parse(text)


def _candidates(tree: ast.Module, function: FunctionType) -> list[FunctionNode]:
    if function.__code__.co_name != "<lambda>":
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        first = next((node for node in ast.walk(tree) if isinstance(node, kinds)), None)
        return [] if first is None else [first]
    line = function.__code__.co_firstlineno
    lambdas = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
    return [node for node in lambdas if node.lineno == line]


def _cut(text: str, node: FunctionNode) -> str:
    own = ast.get_source_segment(text, node)
    if own is None:
        return text
    return textwrap.dedent(" " * node.col_offset + own).lstrip()


def _is_code_of(node: FunctionNode, function: FunctionType) -> bool:
    """Compile a function in its original context and compare the code."""
    code = function.__code__
    flags = code.co_flags & _FUTURES
    module = ast.Module([_in_place(node, function)], [])
    compiled = compile(module, "<source>", "exec", flags=flags, dont_inherit=True)
    return any(
        inner_code.co_name == code.co_name and is_same_code(inner_code, code)
        for inner_code in inner_codes(compiled)
    )


def _in_place(node: FunctionNode, function: FunctionType) -> ast.stmt:
    """Wrap a function in its enclosing classes and functions, because names depend on them."""
    own = _bare(node)
    inside: ast.stmt = ast.copy_location(ast.Expr(own), own) if isinstance(own, ast.expr) else own
    code = function.__code__
    free = [name for name in code.co_freevars if name.isidentifier() and name != "__class__"]
    in_function = False
    path: str = getattr(code, "co_qualname", function.__qualname__)  # since Python 3.11
    for name in reversed(path.split(".")[:-1]):
        if name == "<locals>":
            in_function = True
        elif in_function or not name.isidentifier():  # a lambda or comprehension
            inside = _around(f"def function({', '.join(free)}): pass", name, inside)
            in_function = False
        else:
            inside = _around("class Class: pass", name, inside)
    return inside


def _around(text: str, name: str, inside: ast.stmt) -> ast.stmt:
    [outside] = parse(text).body
    assert isinstance(outside, ast.FunctionDef | ast.ClassDef)  # noqa: S101 - narrows the union
    outside.name = name
    outside.body = [inside]
    return outside


def _bare(node: FunctionNode) -> FunctionNode:
    """Copy a function without decorators and defaults."""
    bare, arguments = copy.copy(node), copy.copy(node.args)
    arguments.defaults = [_nothing(default) for default in arguments.defaults]
    arguments.kw_defaults = [item and _nothing(item) for item in arguments.kw_defaults]
    bare.args = arguments
    if not isinstance(bare, ast.Lambda):
        bare.decorator_list = []
    return bare


def _nothing(where: ast.expr) -> ast.expr:
    return ast.copy_location(ast.Constant(None), where)


@contextmanager
def quietly() -> Iterator[None]:
    """Suppress compiler warnings inside the block, because Python has already shown them.

    If another thread is inside such a block, they are not suppressed.
    """
    # warning filters are global; waiting for the lock could deadlock a finalizer
    if not _quiet_lock.acquire(blocking=False):
        yield
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _quiet_lock.release()
