"""Calls on other threads, as children of the run that wrapped the function."""

import asyncio
import functools
import inspect
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import otel_ml
from otel_ml import Client
from otel_ml.loading import start_detached
from tests.support.otel_ml.recording import Recording, outputs, parent_id, span_id
from tests.support.waiting import run_other_tasks


def start_thread(function: Callable[[int], int]) -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(function(1)))
    thread.start()
    thread.join()
    return found[0]


def start_bare_thread(function: Callable[[int], int]) -> int:
    thread = threading.Thread(target=function, args=(1,))
    thread.start()
    thread.join()
    return 1


def submit(function: Callable[[int], int]) -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, 1).result()


def map_all(function: Callable[[int], int]) -> int:
    with ThreadPoolExecutor(1) as pool:
        return next(pool.map(function, [1]))


def run_in_executor(function: Callable[[int], int]) -> int:
    async def main() -> int:
        return await asyncio.get_running_loop().run_in_executor(None, function, 1)

    return asyncio.run(main())


def call_later(function: Callable[[int], int]) -> int:
    found: list[int] = []
    timer = threading.Timer(0, lambda: found.append(function(1)))
    timer.start()
    timer.join()
    return found[0]


def double(number: int) -> int:
    return 2 * number


WAYS = [start_thread, start_bare_thread, submit, map_all, run_in_executor, call_later]


@pytest.mark.parametrize("way", WAYS)
def test_wrapped_function_is_a_child(recording: Recording, way: Callable[..., int]) -> None:
    """A call on another thread is a child of the run that wrapped the function."""
    child = recording.client.trace(name="child")(double)
    recording.client.trace(name="parent")(lambda: way(otel_ml.wrap(child)))()
    inner, outer = recording.runs()
    assert (inner.name, parent_id(inner)) == ("child", span_id(outer))


@pytest.mark.parametrize("way", WAYS)
def test_function_that_is_not_wrapped_is_a_root(
    recording: Recording, way: Callable[..., int]
) -> None:
    """A call of an unwrapped function on another thread starts its own trace."""
    child = recording.client.trace(name="child")(double)
    recording.client.trace(name="parent")(lambda: way(child))()
    assert [parent_id(span) for span in recording.runs()] == [None, None]


def test_current_run_is_taken_along(recording: Recording) -> None:
    """Inside a wrapped function the current run is the one that wrapped it."""

    @recording.client.trace
    def model() -> bool:
        here = otel_ml.current_run()
        return submit(otel_ml.wrap(lambda _: int(otel_ml.current_run() is here))) == 1

    assert model()


def test_worker_keeps_nothing(recording: Recording) -> None:
    """After a wrapped function a pool thread has no current run, even if the function raised."""
    child = recording.client.trace(name="child")(double)

    def fail(number: int) -> int:
        raise ValueError(number)

    with ThreadPoolExecutor(1) as pool:
        with recording.client.run("training"):
            wrapped = otel_ml.wrap(fail)
        assert isinstance(pool.submit(wrapped, 1).exception(), ValueError)
        pool.submit(child, 2).result()
    [found] = [span for span in recording.runs() if span.name == "child"]
    assert parent_id(found) is None


def test_coroutine_function_stays_one(recording: Recording) -> None:
    """A wrapped coroutine function stays one, and its calls are children in any event loop."""
    child = recording.client.trace(name="child")(double)

    async def later(number: int) -> int:
        await run_other_tasks()
        return child(number)

    with recording.client.run("parent"):
        wrapped = otel_ml.wrap(later)
    assert inspect.iscoroutinefunction(wrapped)
    assert asyncio.run(wrapped(1)) == 2
    inner, outer = sorted(recording.runs(), key=lambda span: span.name)
    assert parent_id(inner) == span_id(outer)


def test_awaitable_object_is_wrapped(recording: Recording) -> None:
    """A wrapped object whose call is a coroutine runs inside the run, wherever it is awaited."""
    child = recording.client.trace(name="child")(double)

    class Later:
        async def __call__(self, number: int) -> int:
            return child(number)

    with recording.client.run("parent"):
        wrapped = otel_ml.wrap(Later())
    assert asyncio.run(wrapped(1)) == 2
    inner, outer = sorted(recording.runs(), key=lambda span: span.name)
    assert parent_id(inner) == span_id(outer)


def test_wrapped_function_is_called_many_times(recording: Recording) -> None:
    """One wrapped function can run on many threads at the same time."""
    child = recording.client.trace(name="child")(double)
    together = threading.Barrier(8)

    def wait(number: int) -> int:
        together.wait(10)
        return child(number)

    with recording.client.run("parent"), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(otel_ml.wrap(wait), range(8))) == list(range(0, 16, 2))
    *children, parent = recording.runs()
    assert {parent_id(span) for span in children} == {span_id(parent)}
    assert sorted(outputs(span) for span in children) == list(range(0, 16, 2))


def test_wrapped_function_keeps_its_face() -> None:
    """A wrapped function keeps its name, docstring and signature; a partial can be wrapped."""

    def named(a: int) -> int:
        """Named."""
        return a

    wrapped: Any = otel_ml.wrap(named)
    assert (wrapped.__name__, wrapped.__doc__, wrapped.__wrapped__) == ("named", "Named.", named)
    assert inspect.signature(wrapped) == inspect.signature(named)
    assert otel_ml.wrap(functools.partial(named, 1))() == 1


def a_generator() -> Iterator[int]:
    yield 1


async def a_later_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("function", [a_generator, a_later_generator])
def test_generator_function_is_refused(function: Callable[[], object]) -> None:
    """A generator function is refused, because its body runs where it is read."""
    with pytest.raises(TypeError, match=r"expected no generator function, because its body runs"):
        otel_ml.wrap(function)


def test_pool_is_refused() -> None:
    """A pool is refused, and the error suggests to wrap the functions."""
    with ThreadPoolExecutor(1) as pool, pytest.raises(TypeError) as caught:
        otel_ml.wrap(pool)  # type: ignore[arg-type]  # that is the point
    assert str(caught.value) == (
        "Invalid function of type ThreadPoolExecutor: expected something that can be called; "
        "for a pool, wrap the functions that you pass to it"
    )


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """`follow_threads` names the package to install if it is missing."""
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.threading", None)
    with pytest.raises(ImportError) as caught:
        otel_ml.follow_threads()
    assert str(caught.value) == (
        "follow_threads() needs opentelemetry-instrumentation-threading: "
        "pip install opentelemetry-instrumentation-threading"
    )


def test_our_threads_are_in_no_run(client: Client) -> None:
    """The SDK's own threads start outside every run, whoever starts them."""
    found: list[object] = []
    with client.run("parent"):
        wrapped = threading.Thread(target=lambda: found.append(otel_ml.current_run().is_recorded))
        start_detached(wrapped)
    wrapped.join()
    assert found == [False]
