"""Programs that drive generators, and example generators, to compare two generators' answers."""

from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Final

from hypothesis import strategies as st

Step = tuple[str, Any]
Answer = tuple[str, Any]

THROWN: Final = {
    "value": ValueError,
    "key": KeyError,
    "stop": StopIteration,
    "stop async": StopAsyncIteration,
    "exit": GeneratorExit,
    "interrupt": KeyboardInterrupt,
}

steps: st.SearchStrategy[list[Step]] = st.lists(
    st.just(("next", None))
    | st.tuples(st.just("send"), st.integers(0, 3))
    | st.tuples(st.just("throw"), st.sampled_from(sorted(THROWN)))
    | st.just(("close", None)),
    max_size=8,
)


def play(generator: Generator[Any, Any, Any], program: list[Step]) -> list[Answer]:
    """Drive a generator, end it, and return the answer of each step."""
    answers = [_play_step(generator, *step) for step in program]
    _play_step(generator, "throw", "key")
    return answers


def _play_step(generator: Generator[Any, Any, Any], name: str, value: Any) -> Answer:
    try:
        if name == "next":
            return "yielded", next(generator)
        if name == "send":
            return "yielded", generator.send(value)
        if name == "throw":
            return "yielded", generator.throw(THROWN[value]("thrown"))
        return "closed", generator.close()  # type: ignore[func-returns-value]  # a value since 3.13
    except BaseException as error:  # noqa: BLE001 - the answer is what is compared
        return type(error).__name__, error.args


async def play_async(generator: AsyncGenerator[Any, Any], program: list[Step]) -> list[Answer]:
    """Do the same as `play` for an async generator."""
    answers = [await _play_async_step(generator, *step) for step in program]
    await _play_async_step(generator, "throw", "key")
    return answers


async def _play_async_step(generator: AsyncGenerator[Any, Any], name: str, value: Any) -> Answer:
    try:
        if name == "next":
            return "yielded", await anext(generator)
        if name == "send":
            return "yielded", await generator.asend(value)
        if name == "throw":
            return "yielded", await generator.athrow(THROWN[value]("thrown"))
        return "closed", await generator.aclose()  # type: ignore[func-returns-value]  # as above
    except BaseException as error:  # noqa: BLE001 - the answer is what is compared
        return type(error).__name__, error.args


def plain() -> Generator[Any, Any, Any]:
    got = yield "first"
    got = yield "second", got
    return "returned", got


def catching() -> Generator[Any, Any, Any]:
    for number in range(5):
        try:
            got = yield number
            if got == 3:
                return "three"
        except ValueError as error:
            yield "caught", error.args
    return "end"


def closing() -> Generator[Any, Any, Any]:
    """Return a value when closed; `close` returns that value since Python 3.13."""
    try:
        yield 1
        yield 2
    except GeneratorExit:
        return "closed"


def stubborn() -> Generator[Any, Any, Any]:
    """Yield again every time it is closed."""
    while True:
        try:
            yield 1
        except GeneratorExit:
            yield "not yet"


def reluctant() -> Generator[Any, Any, Any]:
    """Yield once more when it is closed the first time."""
    try:
        yield 1
    except GeneratorExit:
        yield "not yet"


def failing_at_close() -> Generator[Any, Any, Any]:
    try:
        yield 1
        yield 2
    finally:
        raise KeyError("at close")


def translating() -> Generator[Any, Any, Any]:
    try:
        yield 1
    except ValueError as error:
        raise RuntimeError("translated") from error


def failing() -> Generator[Any, Any, Any]:
    yield 1
    raise ValueError("inside")


def delegating() -> Generator[Any, Any, Any]:
    first = yield from catching()
    second = yield from plain()
    return first, second


def empty() -> Generator[Any, Any, Any]:
    yield from ()
    return "nothing"


async def plain_async() -> AsyncGenerator[Any, Any]:
    got = yield "first"
    yield "second", got


async def catching_async() -> AsyncGenerator[Any, Any]:
    for number in range(5):
        try:
            got = yield number
            if got == 3:
                return
        except ValueError as error:
            yield "caught", error.args


async def closing_async() -> AsyncGenerator[Any, Any]:
    try:
        yield 1
        yield 2
    except GeneratorExit:
        return


async def reluctant_async() -> AsyncGenerator[Any, Any]:
    try:
        yield 1
    except GeneratorExit:
        yield "not yet"


async def failing_at_close_async() -> AsyncGenerator[Any, Any]:
    try:
        yield 1
        yield 2
    finally:
        raise KeyError("at close")


async def failing_async() -> AsyncGenerator[Any, Any]:
    yield 1
    raise ValueError("inside")


GENERATORS: list[Callable[[], Generator[Any, Any, Any]]] = [
    plain,
    catching,
    closing,
    stubborn,
    reluctant,
    failing_at_close,
    translating,
    failing,
    delegating,
    empty,
]
ASYNC_GENERATORS: list[Callable[[], AsyncGenerator[Any, Any]]] = [
    plain_async,
    catching_async,
    closing_async,
    reluctant_async,
    failing_at_close_async,
    failing_async,
]
