"""The traced functions and the ways to call them."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.bench.pace import pace_async

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
Run = Callable[[int], None]

TEXT: Final = "lorem ipsum " * 340  # 4 KB
ITEMS: Final[dict[str, object]] = {"numbers": list(range(100)), "text": "dolor sit " * 150}  # 2 KB
CHUNKS: Final = [f"token {number} " for number in range(50)]
AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Workload:
    """One way of calling.

    Attributes:
        calls: How many calls are timed: more than any queue holds.
        prepare: Decorates the functions; returns a function that makes that many calls.
        spans: Spans per call.
    """

    calls: int
    prepare: Callable[[Decorator], Run]
    spans: int = 1


def answer(x: int, y: str) -> dict[str, object]:
    """The smallest model."""
    return {"x": x, "y": y}


def look_up(text: str) -> dict[str, object]:
    """Long text in, a larger object out."""
    return ITEMS


async def _answer_later(x: int, y: str) -> dict[str, object]:
    await pace_async(0)
    return {"x": x, "y": y}


def _stream(x: int, y: str) -> Iterator[str]:
    yield from CHUNKS


def _tiny(trace: Decorator) -> Run:
    traced = trace(answer)

    def run(calls: int) -> None:
        for _ in range(calls):
            traced(1, "hello")

    return run


def _large(trace: Decorator) -> Run:
    traced = trace(look_up)

    def run(calls: int) -> None:
        for _ in range(calls):
            traced(TEXT)

    return run


def _nested(trace: Decorator) -> Run:
    inner = trace(answer)

    @trace
    def middle(x: int, y: str) -> object:
        return inner(x, y)

    @trace
    def outer(x: int, y: str) -> object:
        return middle(x, y)

    def run(calls: int) -> None:
        for _ in range(calls):
            outer(1, "hello")

    return run


def _together(trace: Decorator) -> Run:
    traced = trace(_answer_later)

    async def gather(calls: int) -> None:
        for _ in range(calls // AT_ONCE):
            await asyncio.gather(*[traced(1, "hello") for _ in range(AT_ONCE)])

    def run(calls: int) -> None:
        asyncio.run(gather(calls))

    return run


def _streamed(trace: Decorator) -> Run:
    traced = trace(_stream)

    def run(calls: int) -> None:
        for _ in range(calls):
            deque(traced(1, "hello"), maxlen=0)  # reads it to the end

    return run


WORKLOADS: Final = {
    "tiny": Workload(60_000, _tiny),
    "large": Workload(30_000, _large),
    "nested": Workload(30_000, _nested, spans=3),
    "async": Workload(60_000, _together),
    "stream": Workload(60_000, _streamed),
}
