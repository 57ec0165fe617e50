"""Wraps traced functions: `wrap` returns a function that records each call of another one as a run.

Pickling limits what this module imports. A traced function of a script or notebook is pickled by
value: with the code of its wrapper and everything that this code names. dill even writes all names
of this module. Classes and functions are written by name only, but context variables and some
modules cannot be written. So this module imports no such object from otel-ml. A wrapper reaches the
code that needs them through the class `Hooks`.
"""

import copy
import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from types import FunctionType, MethodType
from typing import Any

from otel_ml.calls import NO_STREAMS, UNOPENED, Call, CallStream, Hooks, is_result, new
from otel_ml.errors import untrusted
from otel_ml.functions import TracedFunction
from otel_ml.stubs import STUBBED

Wrapper = Callable[[TracedFunction], Callable[..., Any]]

# Each wrapper ends its run inside the try that opened it, and once more if a signal handler
# raises while it does so. So the run always ends.


def decorate(target: Any, trace: Callable[[Any], Any]) -> Any:
    """Apply the decorator `trace` to a function or another callable.

    For a ``staticmethod``, ``classmethod`` or ``partialmethod``, it is applied to the function
    inside.

    Raises:
        TypeError: The target is a class or is not callable.
    """
    kind = type(target)  # not isinstance(), which asks the object's class and may raise
    if issubclass(kind, staticmethod | classmethod):
        return kind(decorate(target.__func__, trace))
    if issubclass(kind, functools.partialmethod):
        return kind(decorate(target.func, trace), *target.args, **target.keywords)
    if issubclass(kind, type):
        raise TypeError(
            f"Invalid function {type.__repr__(target)}: expected a function; decorate a method of "
            "the class, its __call__, or a function that creates it"
        )
    if not callable(target):
        raise TypeError(
            f"Invalid function of type {kind.__name__}: expected something that can be called; "
            "put @property and the like above this decorator"
        )
    return trace(target)


def wrap(traced: TracedFunction) -> Callable[..., Any]:
    """Return a function that calls the original and records each call as a run.

    Args:
        traced: The original function and the settings for its recording.

    Returns:
        For a plain function: a function with the same name, docstring and signature. For any other
        callable, such as a bound method: a `TracedObject`.
    """
    function = traced.function
    wrapper = _wrapper(function)(traced)
    if isinstance(function, FunctionType):
        made = functools.wraps(function)(wrapper)
        made._otel_ml_traced = traced  # type: ignore[attr-defined]  # as of a `TracedObject`
        return made
    return TracedObject(wrapper, traced)


def traced_of(function: Callable[..., Any]) -> TracedFunction | None:
    """Return the configuration of a traced function; None if another decorator is on top."""
    with untrusted:
        traced = getattr(function, "_otel_ml_traced", None)
        if isinstance(traced, TracedFunction) and traced.function is function.__wrapped__:  # type: ignore[attr-defined]
            return traced
    return None


def _wrapper(function: Callable[..., Any]) -> Wrapper:
    """Choose the wrapper by the result of a call: a value, an awaitable or a stream."""
    wrapper = _wrapper_of_kind(function)
    if wrapper is not None:
        return wrapper
    while isinstance(function, functools.partial):
        function = function.func
    kind: Any = type(function)
    wrapper = _wrapper_of_kind(kind.__call__)
    return _wrap_plain if wrapper is None else functools.partial(_wrap_plainly, wrapper)


def _wrapper_of_kind(function: object) -> Wrapper | None:
    with untrusted:  # a user's object, whose attributes may raise
        if inspect.isasyncgenfunction(function):
            return _wrap_async_stream
        if inspect.iscoroutinefunction(function) or _is_old_coroutine(function):
            return _wrap_async
        return _wrap_stream if inspect.isgeneratorfunction(function) else None
    return None


def _is_old_coroutine(function: object) -> bool:
    """Return whether `types.coroutine` made a generator function awaitable."""
    code = getattr(function, "__code__", None)
    return inspect.iscode(code) and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)


def _wrap_plainly(inner: Wrapper, traced: TracedFunction) -> Callable[..., Any]:
    """Wrap a callable object whose `__call__` is a coroutine or generator function."""
    later = inner(traced)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return later(*args, **kwargs)

    return wrapper


def _wrap_plain(traced: TracedFunction) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        call, token = new(Call), None
        call.stage = UNOPENED
        called = Hooks.plain(traced, call) if STUBBED else traced.function
        try:
            if call.open(traced, args, kwargs):
                token = Hooks.attach(call.context)
                output = called(*args, **kwargs)
                try:
                    Hooks.reset(token)
                except Hooks.ELSEWHERE as error:
                    Hooks.reraise_host_error(error)
                if type(output) not in NO_STREAMS and not is_result(output):
                    awaitable = Hooks.follow_awaitable(call, output)
                    if awaitable is not None:
                        return awaitable
                if traced.generative is not None:
                    followed = Hooks.follow(call, output)
                    if followed is not None:
                        return followed
                call.finish(output)
                return output
        except BaseException as error:
            try:
                call.fail(error, token)
            finally:  # again, in case a signal handler raised in the first call
                call.fail(error, token)
            raise
        return called(*args, **kwargs)

    return wrapper


def _wrap_async(traced: TracedFunction) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        call, token = new(Call), None
        call.stage = UNOPENED
        called = Hooks.awaited(traced, call) if STUBBED else traced.function
        try:
            if call.open(traced, args, kwargs):
                token = Hooks.attach(call.context)
                output = await called(*args, **kwargs)
                try:
                    Hooks.reset(token)
                except Hooks.ELSEWHERE as error:
                    Hooks.reraise_host_error(error)
                if traced.generative is not None:
                    followed = Hooks.follow(call, output)
                    if followed is not None:
                        return followed
                left = call.finish(output, awaits=True)
                if left is not None:
                    await Hooks.judge_on_loop(*left)
                return output
        except BaseException as error:
            try:
                call.fail(error, token)
            finally:  # again, in case a signal handler raised in the first call
                call.fail(error, token)
            raise
        return await called(*args, **kwargs)

    return wrapper


# While the reader's code runs, the run is not the current one: it is current only inside the
# generator's own body. Both wrappers are written inline, because a function call per chunk would
# cost too much.


def _wrap_stream(traced: TracedFunction) -> Callable[..., Any]:
    """Wrap a generator function."""

    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        attach, reset = Hooks.attach, Hooks.reset
        call, token = new(Call), None
        call.stage = UNOPENED
        called = Hooks.stream(traced, call) if STUBBED else traced.function
        generator = called(*args, **kwargs)
        stream = CallStream(call)
        try:
            if not call.open(traced, args, kwargs):
                return (yield from generator)
            context, send = call.context, generator.send
            resume, value, left = send, None, False
            for keep, slots in stream.stages(True):
                for _ in slots:
                    token = attach(context)
                    try:
                        chunk = resume(value)
                    except StopIteration as stop:
                        Hooks.detach(token)
                        stream.finish(left)
                        return stop.value
                    try:
                        reset(token)
                    except Hooks.ELSEWHERE as error:
                        Hooks.reraise_host_error(error)
                    keep(chunk)
                    try:
                        value = yield chunk
                        resume, left = send, False
                    except BaseException as thrown:  # noqa: BLE001 - thrown into the generator
                        resume, value = generator.throw, thrown
                        left = isinstance(thrown, GeneratorExit)
        except BaseException as error:
            try:
                stream.fail(error, token)
            finally:  # again, in case a signal handler raised in the first call
                stream.fail(error, token)
            raise
        return None  # unreachable: the last stage is infinite

    return wrapper


def _wrap_async_stream(traced: TracedFunction) -> Callable[..., Any]:
    """Wrap an async generator function."""

    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        attach, reset = Hooks.attach, Hooks.reset
        call, token = new(Call), None
        call.stage = UNOPENED
        called = Hooks.async_stream(traced, call) if STUBBED else traced.function
        generator = called(*args, **kwargs)
        stream = CallStream(call)
        try:
            is_open = call.open(traced, args, kwargs)
            context, send = call.context if is_open else None, generator.asend
            resume, value, left = send, None, False
            for keep, slots in stream.stages(is_open):
                for _ in slots:
                    token = attach(context or Hooks.current_context())
                    try:
                        chunk = await resume(value)
                    except StopAsyncIteration:
                        Hooks.detach(token)
                        judging = stream.finish(left, awaits=True)
                        if judging is not None:
                            await Hooks.judge_on_loop(*judging)
                        return
                    try:
                        reset(token)
                    except Hooks.ELSEWHERE as error:
                        Hooks.reraise_host_error(error)
                    keep(chunk)
                    try:
                        value = yield chunk
                        resume, left = send, False
                    except BaseException as thrown:  # noqa: BLE001 - thrown into the generator
                        resume, value = generator.athrow, thrown
                        left = isinstance(thrown, GeneratorExit)
        except BaseException as error:
            try:
                stream.fail(error, token)
            finally:  # again, in case a signal handler raised in the first call
                stream.fail(error, token)
            raise

    return wrapper


class TracedObject(functools.partial):  # type: ignore[type-arg]  # no subscript at run time in 3.10
    """A traced callable that is not a function: a partial, a bound method, a builtin, an object.

    It behaves like the original object and can be copied and pickled. If you unpickle it in another
    process, its calls are recorded there too. If they cannot be recorded there, unpickling returns
    the original object.
    """

    def __new__(cls, wrapper: Callable[..., Any], traced: TracedFunction) -> "TracedObject":
        """Create the wrapper with the attributes of its function."""
        made = super().__new__(cls, wrapper)
        function = traced.function
        # in the wrapper's own __dict__, which does not affect the object
        vars(made).update(
            __wrapped__=function,
            __doc__=getattr(function, "__doc__", None),
            __module__=getattr(function, "__module__", None),
            _otel_ml_traced=traced,
        )
        return made

    @property
    def func(self) -> Any:
        """The original function, if the traced object is a `functools.partial`.

        For other objects it is the tracing wrapper.
        """
        return getattr(self.__wrapped__, "func", super().func)

    @property
    def args(self) -> Any:
        """The positional arguments of a partial."""
        return getattr(self.__wrapped__, "args", ())

    @property
    def keywords(self) -> Any:
        """The keyword arguments of a partial."""
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
        traced: TracedFunction = self._otel_ml_traced
        name = getattr(self.__wrapped__, "__qualname__", None)
        if isinstance(name, str) and _find(self.__module__, name) is self:
            return name
        return _restore, (traced,)

    def _around(self, function: Callable[..., Any]) -> Any:
        traced: TracedFunction = self._otel_ml_traced
        return wrap(TracedFunction(traced.recorder, function, traced.options, traced.judging))


def _find(module: str, name: str) -> object:
    """Look up an object by module and qualified name, as pickle does."""
    value: object = sys.modules.get(module)
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def _restore(traced: TracedFunction) -> Callable[..., Any]:
    """Trace an unpickled object again, or return it untraced if its calls cannot be recorded."""
    if not traced.recorder.enabled:
        return traced.function
    return wrap(traced)
