"""The wrappers: a call becomes a run, and returns or raises exactly as without us."""

import copy
import functools
import inspect
import sys
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, ParamSpec, TypeVar

from otel_ml.calls import Call, new
from otel_ml.errors import report
from otel_ml.functions import Traced
from otel_ml.recorder import find_recorder
from otel_ml.settings import Settings
from otel_ml.spans import attach, detach
from otel_ml.streams import wrap_async_generator, wrap_generator

P = ParamSpec("P")
R = TypeVar("R")

Wrapper = Callable[[Traced, Callable[..., Any]], Callable[..., Any]]


def decorate(target: Any, trace: Callable[[Any], Any]) -> Any:
    """Apply `trace` to a function, or to the function within a descriptor of a class body.

    Raises:
        TypeError: The target is a class, or cannot be called.
    """
    kind = type(target)  # not isinstance(): it asks the object, whose answer may raise
    if issubclass(kind, staticmethod | classmethod):
        return kind(decorate(target.__func__, trace))
    if issubclass(kind, functools.partialmethod):
        return kind(decorate(target.func, trace), *target.args, **target.keywords)
    if issubclass(kind, type):
        raise TypeError(
            f"Invalid function {type.__repr__(target)}: expected no class; decorate a method of "
            "it, its __call__, or a function that makes one"
        )
    if not callable(target):
        raise TypeError(
            f"Invalid function of type {kind.__name__}: expected something that can be called; "
            "@property and the like stand above this decorator"
        )
    return trace(target)


def wrap(traced: Traced, function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function, so that it stays what it is under `inspect`.

    Returns:
        A function for a function; for any other object that can be called, a `TracedObject`.
    """
    wrapper = _wrapper(function)(traced, function)
    if isinstance(function, FunctionType):
        return functools.wraps(function)(wrapper)
    traced_object: Callable[P, R] = TracedObject(wrapper, traced)
    return traced_object


def _wrapper(function: Callable[..., Any]) -> Wrapper:
    """Choose by what a call returns: a value, an awaitable, a stream."""
    wrapper = _wrapper_of_kind(function)
    if wrapper is not None:
        return wrapper
    while isinstance(function, functools.partial):
        function = function.func
    method = getattr(type(function), "__call__")  # noqa: B004,B009 - the method, not whether
    wrapper = _wrapper_of_kind(method)
    return _wrap_plain if wrapper is None else functools.partial(_wrap_plainly, wrapper)


def _wrapper_of_kind(function: object) -> Wrapper | None:
    try:
        if inspect.isasyncgenfunction(function):
            return wrap_async_generator
        if inspect.iscoroutinefunction(function) or _is_old_coroutine(function):
            return _wrap_async
        return wrap_generator if inspect.isgeneratorfunction(function) else None
    except Exception as error:  # noqa: BLE001 - an object of the host's whose attributes raise
        report("decorate", error)
        return None


def _is_old_coroutine(function: object) -> bool:
    """Tell a generator function that `types.coroutine` made awaitable."""
    code = getattr(function, "__code__", None)
    return inspect.iscode(code) and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)


def _wrap_plainly(
    inner: Wrapper, traced: Traced, function: Callable[..., Any]
) -> Callable[..., Any]:
    """Wrap an object whose `__call__` is a coroutine or generator function: itself it is none."""
    return plainly(inner(traced, function))


def plainly(later: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that is a plain one under `inspect`, whatever it returns."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return later(*args, **kwargs)

    return wrapper


def _wrap_plain(traced: Traced, function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        call, token = new(Call), None
        try:
            if call.open(traced, args, kwargs):
                token = attach(call.context)
                output = function(*args, **kwargs)
                detach(token)
                call.finish(output)
                return output
        except BaseException as error:
            try:
                call.fail(error, token)
            except BaseException as stop:  # of a signal's handler
                call.fail(stop, token)
                raise
            raise
        return function(*args, **kwargs)

    return wrapper


def _wrap_async(traced: Traced, function: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        call, token = new(Call), None
        try:
            if call.open(traced, args, kwargs):
                token = attach(call.context)
                output = await function(*args, **kwargs)
                detach(token)
                call.finish(output)
                return output
        except BaseException as error:
            try:
                call.fail(error, token)
            except BaseException as stop:  # of a signal's handler
                call.fail(stop, token)
                raise
            raise
        return await function(*args, **kwargs)

    return wrapper


class TracedObject(functools.partial):  # type: ignore[type-arg]  # no subscript at run time in 3.10
    """A traced object that is no function: a partial, a bound method, a builtin, a callable.

    It answers for the object: its attributes can be read, `inspect` finds its signature and
    kind, it binds in a class body as the object does, and where the object can be copied or
    pickled, so can it. In another process it is traced by a client of the same project, else
    it is the bare object there.
    """

    def __new__(cls, wrapper: Callable[..., Any], traced: Traced) -> "TracedObject":
        """Put the wrapper around what `traced` knows."""
        made = super().__new__(cls, wrapper)
        function = traced.function
        # In a dict of its own: what stands there is no attribute of the object's.
        vars(made).update(
            __wrapped__=function,
            __doc__=getattr(function, "__doc__", None),
            __module__=getattr(function, "__module__", None),
            _otel_ml_traced=traced,
        )
        return made

    @property
    def func(self) -> Any:
        """The partial's own function; of another object the wrapper, whose kind is the same."""
        return getattr(self.__wrapped__, "func", super().func)

    @property
    def args(self) -> Any:
        """The partial's own arguments."""
        return getattr(self.__wrapped__, "args", ())

    @property
    def keywords(self) -> Any:
        """The partial's own named arguments."""
        return getattr(self.__wrapped__, "keywords", {})

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["__wrapped__"], name)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        wrapped = self.__wrapped__
        bind = getattr(type(wrapped), "__get__", None)
        bound = wrapped if bind is None else bind(wrapped, instance, owner)
        if bound is wrapped:
            return self
        if isinstance(bound, MethodType) and bound.__func__ is wrapped:
            return MethodType(self, instance)
        return self._around(bound)

    def __copy__(self) -> Any:
        return self._around(copy.copy(self.__wrapped__))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self._around(copy.deepcopy(self.__wrapped__, memo))

    def __reduce__(self) -> Any:
        traced: Traced = self._otel_ml_traced
        name = getattr(self.__wrapped__, "__qualname__", None)
        if isinstance(name, str) and _find(self.__module__, name) is self:
            return name
        recorder = traced.recorder
        return _restore, (recorder.project, id(recorder), self.__wrapped__, traced.settings)

    def _around(self, function: Callable[..., Any]) -> Any:
        traced: Traced = self._otel_ml_traced
        return wrap(Traced(traced.recorder, function, traced.settings), function)


def _find(module: str, name: str) -> object:
    """Look up what pickle finds by a qualified name."""
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _restore(
    project: str, mark: int, function: Callable[..., Any], settings: Settings
) -> Callable[..., Any]:
    """Trace an unpickled object again; without a client of its project it stays bare."""
    recorder = find_recorder(project, mark)
    return function if recorder is None else wrap(Traced(recorder, function, settings), function)
