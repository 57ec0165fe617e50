"""The wrappers: a call becomes a run, and returns or raises exactly as without us.

Each wrapper ends its run within the ``try`` that it was opened in, and once more where a handler
of a signal raises while it does so: wherever that strikes, the run is in the wrapper's hands.
"""

import copy
import functools
import inspect
import itertools
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextvars import Token
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from opentelemetry.context import Context, get_current

from otel_ml.calls import Call, new
from otel_ml.errors import hand_on, untrusted
from otel_ml.functions import Judging, Options, TracedFunction
from otel_ml.late import late
from otel_ml.recorder import find_recorder
from otel_ml.spans import ELSEWHERE, attach, detach, reset

if TYPE_CHECKING:
    from otel_ml.calls import Left
    from otel_ml.judges import awaiting
else:
    awaiting = late("judges.awaiting")

P = ParamSpec("P")
R = TypeVar("R")

Wrapper = Callable[[TracedFunction, Callable[..., Any]], Callable[..., Any]]

_CHUNKS: Final = 10_000
_FIRST: Final = range(1)
_KEPT: Final = range(1, _CHUNKS)


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


def wrap(traced: TracedFunction, function: Callable[P, R]) -> Callable[P, R]:
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
    with untrusted:  # an object of the host's, whose attributes may raise
        if inspect.isasyncgenfunction(function):
            return _wrap_async_stream
        if inspect.iscoroutinefunction(function) or _is_old_coroutine(function):
            return _wrap_async
        return _wrap_stream if inspect.isgeneratorfunction(function) else None
    return None


def _is_old_coroutine(function: object) -> bool:
    """Tell a generator function that `types.coroutine` made awaitable."""
    code = getattr(function, "__code__", None)
    return inspect.iscode(code) and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)


def _wrap_plainly(
    inner: Wrapper, traced: TracedFunction, function: Callable[..., Any]
) -> Callable[..., Any]:
    """Wrap an object whose `__call__` is a coroutine or generator function: itself it is none."""
    later = inner(traced, function)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return later(*args, **kwargs)

    return wrapper


def _wrap_plain(traced: TracedFunction, function: Callable[..., Any]) -> Callable[..., Any]:
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
            finally:  # once more, where a handler of a signal raised in it
                call.fail(error, token)
            raise
        return function(*args, **kwargs)

    return wrapper


def _wrap_async(traced: TracedFunction, function: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        call, token = new(Call), None
        try:
            if call.open(traced, args, kwargs):
                token = attach(call.context)
                output = await function(*args, **kwargs)
                detach(token)
                left = call.finish(output, awaits=True)
                if left is not None:
                    await awaiting.judge_on_loop(*left)
                return output
        except BaseException as error:
            try:
                call.fail(error, token)
            finally:  # once more, where a handler of a signal raised in it
                call.fail(error, token)
            raise
        return await function(*args, **kwargs)

    return wrapper


# Nothing of ours stays attached to the context while the reader's code runs: the run is current
# only while the generator's own body does. Both wrappers hold everything themselves: a call of our
# own would be felt at each chunk.


def _wrap_stream(traced: TracedFunction, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a generator function."""

    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        call, token = new(Call), None
        stream = _Stream(call)
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
                        detach(token)
                        stream.finish(left)
                        return stop.value
                    try:
                        reset(token)
                    except ELSEWHERE as error:
                        hand_on(error)
                    keep(chunk)
                    try:
                        value = yield chunk
                        resume, left = send, False
                    except BaseException as thrown:  # noqa: BLE001 - it goes on into the generator
                        resume, value = generator.throw, thrown
                        left = isinstance(thrown, GeneratorExit)
        except BaseException as error:
            try:
                stream.fail(error, token)
            finally:  # once more, where a handler of a signal raised in it
                stream.fail(error, token)
            raise
        return None  # never: the last stage has no end

    return wrapper


def _wrap_async_stream(traced: TracedFunction, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an async generator function."""

    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*args, **kwargs)
        call, token = new(Call), None
        stream = _Stream(call)
        try:
            is_open = call.open(traced, args, kwargs)
            context, send = call.context if is_open else None, generator.asend
            resume, value, left = send, None, False
            for keep, slots in stream.stages(is_open):
                for _ in slots:
                    token = attach(context or get_current())
                    try:
                        chunk = await resume(value)
                    except StopAsyncIteration:
                        detach(token)
                        judging = stream.finish(left, awaits=True)
                        if judging is not None:
                            await awaiting.judge_on_loop(*judging)
                        return
                    try:
                        reset(token)
                    except ELSEWHERE as error:
                        hand_on(error)
                    keep(chunk)
                    try:
                        value = yield chunk
                        resume, left = send, False
                    except BaseException as thrown:  # noqa: BLE001 - it goes on into the generator
                        resume, value = generator.athrow, thrown
                        left = isinstance(thrown, GeneratorExit)
        except BaseException as error:
            try:
                stream.fail(error, token)
            finally:  # once more, where a handler of a signal raised in it
                stream.fail(error, token)
            raise

    return wrapper


class _Stream:
    """The chunks of one stream, and its run; of a call that is not open it keeps nothing."""

    def __init__(self, call: Call) -> None:
        self._chunks: list[Any] = []
        self._call = call
        self._is_open = False
        self._not_kept = 0
        self._began = 0.0
        self._first_chunk_ms = 0.0

    def stages(self, is_open: bool) -> tuple[tuple[Callable[[Any], None], Iterable[object]], ...]:
        """Return what is done with a chunk, and with how many of them; the last one has no end."""
        self._is_open = is_open
        self._began = time.perf_counter()
        rest = (self._count, itertools.repeat(None))
        if not is_open:
            return (rest,)
        return (self._keep_first, _FIRST), (self._chunks.append, _KEPT), rest

    def finish(self, left: bool, *, awaits: bool = False) -> "Left | None":
        """End the run of a stream that ended by itself, or quietly when its reader left it.

        Returns:
            What `Call.finish` does.
        """
        if left:
            self.fail(GeneratorExit())
        elif self._is_open:
            self._describe()
            return self._call.finish(self._chunks, awaits=awaits)
        return None

    def fail(self, error: BaseException, token: Token[Context] | None = None) -> None:
        """End the run of a stream that raised or was left, see `Call.fail`."""
        if self._is_open:
            self._describe()
        self._call.fail(error, token, self._chunks if self._is_open else None)

    def _keep_first(self, chunk: Any) -> None:
        self._first_chunk_ms = (time.perf_counter() - self._began) * 1e3
        self._chunks.append(chunk)

    def _count(self, _chunk: Any) -> None:
        self._not_kept += 1

    def _describe(self) -> None:
        kept = len(self._chunks)
        self._call.describe_stream(kept + self._not_kept, self._first_chunk_ms, kept)


class TracedObject(functools.partial):  # type: ignore[type-arg]  # no subscript at run time in 3.10
    """A traced object that is no function: a partial, a bound method, a builtin, a callable.

    It answers for the object: its attributes can be read, `inspect` finds its signature and
    kind, it binds in a class body as the object does, and where the object can be copied or
    pickled, so can it. In another process it is traced by a client of the same project, else
    it is the bare object there.
    """

    def __new__(cls, wrapper: Callable[..., Any], traced: TracedFunction) -> "TracedObject":
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
        traced: TracedFunction = self._otel_ml_traced
        name = getattr(self.__wrapped__, "__qualname__", None)
        if isinstance(name, str) and _find(self.__module__, name) is self:
            return name
        recorder = traced.recorder
        options, judging = traced.options, traced.judging
        return _restore, (recorder.project, id(recorder), self.__wrapped__, options, judging)

    def _around(self, function: Callable[..., Any]) -> Any:
        traced: TracedFunction = self._otel_ml_traced
        return wrap(
            TracedFunction(traced.recorder, function, traced.options, traced.judging), function
        )


def _find(module: str, name: str) -> object:
    """Look up what pickle finds by a qualified name."""
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _restore(
    project: str, mark: int, function: Callable[..., Any], options: Options, judging: Judging
) -> Callable[..., Any]:
    """Trace an unpickled object again; without a client of its project it stays bare."""
    recorder = find_recorder(project, mark)
    if recorder is None:
        return function
    return wrap(TracedFunction(recorder, function, options, judging), function)
