"""Traced callables of every kind: functions, objects, descriptors, and other decorators."""

import abc
import asyncio
import contextlib
import copy
import functools
import gc
import inspect
import math
import pickle
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from types import MethodType
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client
from tests.support.otel_ml.recording import Recording, inputs, outputs, parent_id, span_id

EXPORTER = InMemorySpanExporter()
MODULE = Client("of the module", exporter=EXPORTER)


def add(a: int, b: int = 2) -> int:
    return a + b


async def add_later(a: int, b: int = 2) -> int:
    return a + b


def count(stop: int) -> Iterator[int]:
    yield from range(stop)


class Scaled:
    """A callable object with state, such as a model with its weights."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, a: int) -> int:
        return a * self.factor

    def predict(self, a: int) -> int:
        return a * self.factor

    async def predict_later(self, a: int) -> int:
        return a * self.factor

    @classmethod
    def make(cls, factor: int) -> int:
        return cls(factor).factor


class Streaming:
    def __call__(self, stop: int) -> Iterator[int]:
        yield from range(stop)


class StreamingLater:
    async def __call__(self, stop: int) -> AsyncIterator[int]:
        for number in range(stop):
            yield number


class Inherited(Scaled):
    pass


@MODULE.trace
@functools.cache
def cached(a: int) -> int:
    return a


scaled = MODULE.trace(Scaled(3))
bound = MODULE.trace(Scaled(4).predict)
part = MODULE.trace(functools.partial(add, b=5))
root = MODULE.trace(math.sqrt)

OBJECTS: dict[str, tuple[Any, Any, Any]] = {
    "callable object": (scaled, 2, 6),
    "bound method": (bound, 2, 8),
    "partial": (part, 2, 7),
    "builtin": (root, 4, 2.0),
}
on_each_object = pytest.mark.parametrize(
    ("traced", "argument", "expected"), list(OBJECTS.values()), ids=list(OBJECTS)
)
KINDS = [
    functools.partial(add_later, 1),
    functools.partial(count, 1),
    Scaled(1).predict,
    Scaled(1).predict_later,
    functools.partial(Scaled(1).predict_later, 1),
    Scaled(1),
    Streaming(),
    StreamingLater(),
    functools.cache(add),
    math.hypot,
    print,
    str.upper,
    lambda a: a,
]


@pytest.mark.parametrize("function", KINDS)
def test_kind_and_signature_are_kept(client: Client, function: Callable[..., Any]) -> None:
    """A traced callable that is not a function has the same kind and signature for `inspect`."""
    traced = client.trace(function)
    for ask in (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
        asyncio.iscoroutinefunction,
    ):
        assert ask(traced) == ask(function)
    try:
        signature = inspect.signature(function)
    except ValueError:  # some builtins have none
        return
    assert inspect.signature(traced) == signature


@pytest.mark.parametrize("function", [add, *KINDS])
def test_original_is_wrapped(client: Client, function: Callable[..., Any]) -> None:
    """A traced callable has the original in `__wrapped__` and can be weakly referenced."""
    traced: Any = client.trace(function)
    assert traced.__wrapped__ is function
    assert weakref.ref(traced)() is traced


@on_each_object
def test_object_comes_back_from_a_pickle_traced(traced: Any, argument: Any, expected: Any) -> None:
    """A traced object that is not a function can be pickled, and the copy is traced too."""
    sent = len(spans_of_module())
    again = pickle.loads(pickle.dumps(traced))  # noqa: S301 - our own bytes
    assert again(argument) == expected
    assert len(spans_of_module()) == sent + 1


@on_each_object
def test_object_is_copied(traced: Any, argument: Any, expected: Any) -> None:
    """Shallow and deep copies of a traced object are traced too."""
    sent = len(spans_of_module())
    assert copy.copy(traced)(argument) == copy.deepcopy(traced)(argument) == expected
    assert len(spans_of_module()) == sent + 2


def test_copy_is_a_copy() -> None:
    """A deep copy of a traced object contains a copy of the object."""
    again: Any = copy.deepcopy(scaled)
    again.__wrapped__.factor = 100
    assert (again(1), scaled(1)) == (100, 3)


def test_decorated_object_is_pickled_by_reference() -> None:
    """A function that another decorator turned into an object is pickled by reference."""
    assert pickle.loads(pickle.dumps(cached)) is cached  # noqa: S301 - our own bytes


def test_attributes_of_the_object_are_there(client: Client) -> None:
    """Attributes of a traced object, and of a traced partial, can be read."""
    traced: Any = client.trace(Scaled(3))
    partial: Any = client.trace(functools.partial(add, 1, b=2))
    assert (traced.factor, traced.predict(2)) == (3, 6)
    assert (partial.func, partial.args, partial.keywords) == (add, (1,), {"b": 2})
    with pytest.raises(AttributeError, match="'Scaled' object has no attribute 'missing'"):
        _ = traced.missing


def test_partial_of_a_traced_partial_works(recording: Recording) -> None:
    """A partial of a traced partial leaves one run."""
    traced = recording.client.trace(functools.partial(add, 1))
    assert functools.partial(traced, b=5)() == 6
    assert inputs(recording.run()) == {"b": 5}


def test_partial_is_named_by_its_function(recording: Recording) -> None:
    """The model of a partial has the name of the function."""
    recording.client.trace(functools.partial(functools.partial(add), 1))()
    assert recording.run().name == "add"


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (Scaled(1).predict, "Scaled.predict"),
        (Inherited(1).predict, "Inherited.predict"),
        (Inherited.make, "Inherited.make"),
        (functools.partial(Inherited(1).predict, 2), "Inherited.predict"),
    ],
)
def test_bound_method_is_named_after_its_object(
    recording: Recording, method: Callable[..., Any], name: str
) -> None:
    """A bound method's model has the name of its object's class, even if it is inherited."""
    recording.client.trace(method)(*([] if isinstance(method, functools.partial) else [2]))
    assert recording.run().name == name


def test_object_whose_call_streams(recording: Recording) -> None:
    """An object whose call is a sync or async generator leaves one run with its chunks."""

    async def read() -> list[int]:
        return [number async for number in recording.client.trace(StreamingLater())(2)]

    assert list(recording.client.trace(Streaming())(3)) == [0, 1, 2]
    assert asyncio.run(read()) == [0, 1]
    assert [outputs(span) for span in recording.runs()] == [[0, 1, 2], [0, 1]]


def test_inherited_call_is_found(recording: Recording) -> None:
    """An object that inherits its call from a base class is traced."""
    assert recording.client.trace(Inherited(2))(2) == 4
    assert inputs(recording.run()) == {"a": 2}


def test_object_in_a_class_body_is_no_method(client: Client) -> None:
    """A traced callable object in a class body does not bind as a method, as untraced."""

    class Shop:
        scale: Any = client.trace(Scaled(2))
        upper = client.trace(str.upper)

    assert Shop().scale(4) == Shop.scale(4) == 8
    assert Shop.upper("a") == "A"


def test_cached_method_binds(recording: Recording) -> None:
    """The decorator works above a cached method, and the cache's methods are available."""

    class Shop:
        @recording.client.trace
        @functools.lru_cache  # noqa: B019 - it does not live long
        def price(self, a: int) -> int:
            return a

    shop = Shop()
    assert (shop.price(1), shop.price(1)) == (1, 1)
    price: Any = Shop.price
    assert price.cache_info().hits == 1
    assert [inputs(span) for span in recording.runs()] == [{"a": 1}] * 2
    assert isinstance(shop.price, MethodType)


def test_cache_above_records_what_runs(recording: Recording) -> None:
    """With a cache above the decorator, only calls that really run leave a run."""
    traced = functools.cache(recording.client.trace(add))
    assert (traced(1), traced(1)) == (3, 3)
    assert len(recording.runs()) == 1


def test_context_manager_above_and_below(recording: Recording) -> None:
    """The decorator works above and below @contextmanager."""

    def opened() -> Iterator[int]:
        yield 1

    with contextlib.contextmanager(recording.client.trace(opened))() as number:
        assert number == 1
    with recording.client.trace(contextlib.contextmanager(opened))() as number:
        assert number == 1
    assert len(recording.runs()) == 2


def test_single_dispatch_above_and_below(recording: Recording) -> None:
    """The decorator works above and below @singledispatch."""
    traced = recording.client.trace

    @traced
    @functools.singledispatch
    def above(a: object) -> str:
        return "object"

    @functools.singledispatch
    @traced
    def below(a: object) -> str:
        return "object"

    functions: list[Any] = [above, below]
    for function in functions:
        function.register(int, lambda a: "int")
        assert (function("a"), function(1)) == ("object", "int")
    assert [outputs(span) for span in recording.runs()] == ["object", "int", "object"]


def test_partial_method_is_traced(recording: Recording) -> None:
    """The decorator works above a partial method."""
    trace: Any = recording.client.trace

    class Shop:
        def price(self, a: int, b: int) -> int:
            return a + b

        cheap = trace(functools.partialmethod(price, 1))

    assert Shop().cheap(2) == 3
    assert inputs(recording.run()) == {"a": 1, "b": 2}


@pytest.mark.parametrize("above", [True, False])
def test_abstract_method_stays_abstract(client: Client, above: bool) -> None:
    """An abstract method stays abstract with the decorator above or below."""

    def method(self: object) -> None: ...

    marked = client.trace(abc.abstractmethod(method)) if above else None
    kind = abc.ABCMeta("Shop", (), {"m": marked or abc.abstractmethod(client.trace(method))})
    with pytest.raises(TypeError, match="abstract"):
        kind()


def test_other_decorator_above(recording: Recording) -> None:
    """The decorator works above and below a decorator that uses functools.wraps."""

    def twice(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def doubled(*args: Any) -> int:
            return 2 * function(*args)

        return doubled

    assert twice(recording.client.trace(add))(1) == recording.client.trace(twice(add))(1) == 6
    assert [outputs(span) for span in recording.runs()] == [3, 6]
    assert [inputs(span) for span in recording.runs()] == [{"a": 1, "b": 2}] * 2


def test_decorated_twice_leaves_parent_and_child(recording: Recording) -> None:
    """A function decorated twice leaves two runs, and the outer one is the parent."""
    trace = recording.client.trace
    assert trace(name="outer")(trace(name="inner")(add))(1) == 3
    inner, outer = recording.runs()
    assert (inner.name, outer.name, parent_id(inner)) == ("inner", "outer", span_id(outer))


@pytest.mark.parametrize("kind", [Scaled, int, type("Meta", (type,), {})("Made", (), {})])
def test_class_is_refused(client: Client, kind: type) -> None:
    """A class is refused at decoration, and the error lists alternatives."""
    with pytest.raises(TypeError) as caught:
        client.trace(kind)
    assert str(caught.value) == (
        f"Invalid function {kind!r}: expected a function; decorate a method of the class, its "
        "__call__, or a function that creates it"
    )


@pytest.mark.parametrize("target", [property(add), 3])
def test_what_cannot_be_called_is_refused(client: Client, target: Any) -> None:
    """A property or another object that cannot be called is refused at decoration."""
    with pytest.raises(TypeError) as caught:
        client.trace(target)
    assert str(caught.value) == (
        f"Invalid function of type {type(target).__name__}: expected something that can be "
        "called; put @property and the like above this decorator"
    )


def test_hostile_callable_is_traced(recording: Recording) -> None:
    """A callable object whose attributes all raise is traced."""

    class Hostile:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __call__(self, *args: int) -> int:
            return sum(args)

    assert recording.client.trace(Hostile())(1, 2) == 3
    assert outputs(recording.run()) == 3


def test_object_that_answers_everything_is_traced(recording: Recording) -> None:
    """A callable object that has every attribute is traced."""

    class Eager:
        def __getattr__(self, name: str) -> Any:
            return Eager()

        def __call__(self, a: int) -> int:
            return a

    assert recording.client.trace(Eager())(1) == 1
    assert outputs(recording.run()) == 1


def test_traced_object_is_let_go(client: Client) -> None:
    """A traced object is freed when the last reference to it is gone."""
    gc.collect()
    model = Scaled(1)
    gone = weakref.ref(model)
    client.trace(model)
    client.trace(model.predict)
    del model
    gc.collect()
    assert gone() is None


def spans_of_module() -> tuple[object, ...]:
    assert MODULE.flush()
    return EXPORTER.get_finished_spans()
