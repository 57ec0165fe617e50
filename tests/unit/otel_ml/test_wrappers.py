"""Traced functions: they keep their kind and leave a run per call."""

import asyncio
import functools
import inspect
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, NoReturn

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client
from tests.support.otel_ml.recording import (
    Recording,
    events,
    inputs,
    outputs,
    stable,
)
from tests.support.waiting import run_other_tasks

PICKLED = Client("shop", exporter=InMemorySpanExporter())


def add(a: int, b: int = 2) -> int:
    """The sum."""
    return a + b


async def add_later(a: int, b: int = 2) -> int:
    await run_other_tasks()
    return a + b


def count(a: int) -> Iterator[int]:
    yield from range(a)


async def count_later(a: int) -> AsyncIterator[int]:
    for number in range(a):
        yield number


@PICKLED.trace
def pickled(a: int) -> int:
    return a


class Model:
    """A class with a traced bound method."""

    def __init__(self, traced: Callable[..., Any]) -> None:
        self.bound = traced(self.method)

    def method(self, a: int) -> int:
        return a


async def awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


KINDS = [add, add_later, count, count_later, Model.method, len, functools.partial(add, 1)]
PREDICATES = [
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
    asyncio.iscoroutinefunction,
    callable,
]


@pytest.mark.parametrize("predicate", PREDICATES, ids=lambda predicate: predicate.__name__)
@pytest.mark.parametrize("function", KINDS)
def test_kind_is_kept(
    client: Client, function: Callable[..., Any], predicate: Callable[[object], bool]
) -> None:
    """A traced function has the same kind for `inspect` as the original."""
    assert predicate(client.trace(function)) == predicate(function)


@pytest.mark.parametrize("function", KINDS[:5])
def test_face_is_kept(client: Client, function: Callable[..., Any]) -> None:
    """A traced function keeps its name, module, docstring, annotations and signature."""
    traced = client.trace(function)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__"):
        assert getattr(traced, name) == getattr(function, name)
    assert inspect.signature(traced) == inspect.signature(function)
    assert inspect.unwrap(traced) is function


def test_traced_function_is_pickled_by_reference() -> None:
    """A traced function of a module is pickled by reference."""
    assert pickle.loads(pickle.dumps(pickled)) is pickled  # noqa: S301 - our own bytes


def test_call_leaves_one_run(recording: Recording) -> None:
    """A call leaves one span with its inputs and output."""
    assert recording.client.trace(add)(1) == 3
    span = recording.run()
    assert span.name == "add"
    assert stable(span) == {
        "otel_ml.project": "shop",
        "otel_ml.kind": "model",
        "otel_ml.model.name": "add",
        "otel_ml.inputs": '{"a":1,"b":2}',
        "otel_ml.outputs": "3",
        "otel_ml.outcome": "ok",
    }
    assert (span.status.status_code, events(span)) == (trace.StatusCode.UNSET, [])


def test_async_call_leaves_one_run(recording: Recording) -> None:
    """An awaited call leaves one span with its inputs and output."""
    assert asyncio.run(recording.client.trace(add_later)(1)) == 3
    assert stable(recording.run()) == {
        "otel_ml.project": "shop",
        "otel_ml.kind": "model",
        "otel_ml.model.name": "add_later",
        "otel_ml.inputs": '{"a":1,"b":2}',
        "otel_ml.outputs": "3",
        "otel_ml.outcome": "ok",
    }


def test_result_is_the_same_object(client: Client) -> None:
    """The caller gets the same object that the function returned."""
    result = object()
    assert client.trace(lambda: result)() is result


def test_exception_is_the_same_object(recording: Recording) -> None:
    """The caller gets the same exception that the function raised, with its traceback."""
    error = ValueError("wrong")

    def model() -> NoReturn:
        raise error

    with pytest.raises(ValueError, match=r"^wrong$") as caught:
        recording.client.trace(model)()
    assert caught.value is error
    assert caught.traceback[-1].name == "model"
    assert (error.__cause__, error.__context__) == (None, None)


def test_exception_is_recorded(recording: Recording) -> None:
    """A call that raises leaves a run with outcome, error type, status and an exception event."""

    class NoStockError(Exception):
        pass

    @recording.client.trace(name="sell")
    def model(a: int) -> NoReturn:
        raise NoStockError("nothing left")

    with pytest.raises(NoStockError):
        model(1)
    span = recording.run()
    name = f"{__name__}.test_exception_is_recorded.<locals>.NoStockError"
    assert stable(span) == {
        "otel_ml.project": "shop",
        "otel_ml.kind": "model",
        "otel_ml.model.name": "sell",
        "otel_ml.inputs": '{"a":1}',
        "otel_ml.outcome": "error",
        "error.type": name,
    }
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description == f"{name}: nothing left"
    assert events(span) == [
        ("exception", {"exception.type": name, "exception.message": "nothing left"})
    ]


def test_stack_begins_with_the_host_s_frame(recording: Recording) -> None:
    """The recorded stack trace has only the function's own frames."""

    @recording.client.trace
    def model() -> NoReturn:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match=r"^wrong$"):
        model()
    [event] = recording.run().events
    stack = str((event.attributes or {})["exception.stacktrace"]).splitlines()
    assert stack[0] == "Traceback (most recent call last):"
    assert stack[1].startswith(f'  File "{__file__}", line ')
    assert stack[1].endswith(", in model")
    assert stack[-1] == "ValueError: wrong"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_stop_passes_and_is_recorded(recording: Recording, stop: type[BaseException]) -> None:
    """A KeyboardInterrupt, SystemExit or cancellation propagates and leaves a cancelled run."""

    @recording.client.trace
    def model() -> NoReturn:
        raise stop

    with pytest.raises(stop):
        model()
    span = recording.run()
    assert stable(span)["otel_ml.outcome"] == "cancelled"
    assert span.status.status_code is trace.StatusCode.UNSET


def test_cancelled_task_is_recorded(recording: Recording) -> None:
    """A cancelled task stays cancelled and leaves a cancelled run."""
    entered = asyncio.Event()

    @recording.client.trace
    async def model() -> None:
        entered.set()
        await asyncio.Event().wait()

    async def main() -> bool:
        task = asyncio.ensure_future(model())
        await entered.wait()
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(main())
    assert stable(recording.run())["otel_ml.outcome"] == "cancelled"


def test_wrong_call_is_the_function_s_own_error(recording: Recording) -> None:
    """A call with wrong arguments raises the function's own error and leaves a failed run."""
    with pytest.raises(TypeError) as own:
        add(1, 2, 3)  # type: ignore[call-arg]  # that is the point
    with pytest.raises(TypeError) as ours:
        recording.client.trace(add)(1, 2, 3)  # type: ignore[call-arg]  # that is the point
    assert ours.value.args == own.value.args
    assert stable(recording.run()) == {
        "otel_ml.project": "shop",
        "otel_ml.kind": "model",
        "otel_ml.model.name": "add",
        "otel_ml.inputs": '{"args":[1,2,3]}',
        "otel_ml.outcome": "error",
        "error.type": "TypeError",
    }


def test_inputs_are_those_of_the_call(recording: Recording) -> None:
    """If the function changes an input, the value before the call is recorded."""

    @recording.client.trace
    def model(items: list[int]) -> list[int]:
        items.append(2)
        return items

    model([1])
    assert (inputs(recording.run()), outputs(recording.run())) == ({"items": [1]}, [1, 2])


def test_output_is_that_of_the_return(recording: Recording) -> None:
    """An output that the caller changes is recorded as of the return."""
    result = recording.client.trace(lambda: [1])()
    result.append(2)
    assert outputs(recording.run()) == [1]


def test_methods_are_traced(recording: Recording) -> None:
    """Traced methods of every kind work, and their object is not an input."""
    traced = recording.client.trace

    class Shop:
        @traced
        def method(self, a: int) -> int:
            return a

        @classmethod
        @traced
        def of_class(cls, a: int) -> int:
            return a

        @staticmethod
        @traced
        def of_nothing(a: int) -> int:
            return a

        @property
        @traced
        def value(self) -> int:
            return 1

    shop = Shop()
    assert (shop.method(1), Shop.of_class(1), Shop.of_nothing(1), shop.value) == (1, 1, 1, 1)
    assert [inputs(span) for span in recording.runs()] == [{"a": 1}, {"a": 1}, {"a": 1}, {}]


@pytest.mark.parametrize("kind", [classmethod, staticmethod])
def test_decorator_may_stand_above(recording: Recording, kind: type) -> None:
    """The decorator also works above @classmethod and @staticmethod."""

    def method(*args: Any) -> int:
        return len(args)

    plain: Any = type("Shop", (), {"method": kind(method)})
    traced: Any = type("Shop", (), {"method": recording.client.trace(kind(method))})
    assert traced.method(1) == plain.method(1)
    assert traced().method(1) == plain().method(1)


def test_bound_method_is_traced(recording: Recording) -> None:
    """A traced bound method works, and its object is not an input."""
    assert Model(recording.client.trace).bound(3) == 3
    assert inputs(recording.run()) == {"a": 3}


def test_callable_object_is_traced(recording: Recording) -> None:
    """A traced callable object works, and its class names the model."""

    class Doubled:
        def __call__(self, a: int) -> int:
            return a * 2

    assert recording.client.trace(Doubled())(2) == 4
    assert inputs(recording.run()) == {"a": 2}
    assert recording.run().name == "test_callable_object_is_traced.Doubled"


def test_awaitable_object_is_recorded_when_awaited(recording: Recording) -> None:
    """An object whose call is a coroutine is recorded with its output when awaited."""

    class Later:
        async def __call__(self, a: int) -> int:
            await run_other_tasks()
            return a * 2

    assert asyncio.run(awaited(recording.client.trace(Later())(2))) == 4
    assert outputs(recording.run()) == 4


def test_local_function_is_named_without_locals(recording: Recording) -> None:
    """A model's name is the qualified name of its function without `<locals>`."""

    def model() -> None: ...

    recording.client.trace(model)()
    assert recording.run().name == "test_local_function_is_named_without_locals.model"
