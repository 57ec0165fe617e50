"""The time to record a value over the limit does not grow with the value's size."""

import dataclasses
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from otel_ml import Client
from otel_ml.capture.taker import ValueTaker
from tests.support.otel_ml.recording import Recording, outputs, stable
from tests.support.sampling import sampled

KIB = 1024
# One good round is enough: other load on the machine only makes a call slower.
ROUNDS = 9


@dataclasses.dataclass
class Item:
    id: int
    name: str


def dicts(count: int) -> list[Any]:
    return [{"id": number, "name": "abc", "ok": True} for number in range(count)]


# Functions that make a value of about the given number of bytes of JSON.
MAKERS: dict[str, Callable[[int], Any]] = {
    "small dicts": lambda size: dicts(size // 35),
    "numbers": lambda size: list(range(10_000, 10_000 + size // 6)),
    "text": lambda size: "x" * (size - 100),
    "texts": lambda size: [f"word {number:05}" for number in range(size // 14)],
    "keys": lambda size: {f"key {number:06}": number % 10 for number in range(size // 15)},
    "nested": lambda size: {"a": {"b": [[dicts(5)] for _ in range(size // 180)]}},
    "objects": lambda size: [Item(number, "abc") for number in range(size // 26)],
    "an object": lambda size: Item(1, dicts(size // 35)),  # type: ignore[arg-type]  # any field
}


def cost_ns(call: Callable[[], object]) -> int:
    tracer = sys.gettrace()
    sys.settrace(None)  # the line counting of coverage would be measured too
    try:
        began = time.thread_time_ns()
        call()
        return time.thread_time_ns() - began
    finally:
        sys.settrace(tracer)


@sampled(3)
@pytest.mark.parametrize("name", MAKERS)
def test_cost_ends_at_the_limit(client: Client, name: str) -> None:
    """A value over the limit takes at most a few times as long as a value at the limit."""
    at_limit, beyond, far = (MAKERS[name](size * KIB) for size in (62, 80, 6_000))

    @client.trace(name="take")
    def take(value: object) -> None:
        """Take a value."""

    values = (None, at_limit, beyond, far)
    times = [[cost_ns(partial(take, value)) for value in values] for _ in range(ROUNDS)]
    # Compare within each round: the machine's speed changes between rounds.
    within = [max(cut, far) <= 3 * whole + 5 * nothing for nothing, whole, cut, far in times]
    assert any(within), times


@pytest.mark.parametrize("name", MAKERS)
def test_cut_value_says_so(recording: Recording, name: str) -> None:
    """A cut value keeps at least half of the limit, and its run notes that it is cut."""

    @recording.client.trace
    def give() -> object:
        return MAKERS[name](200 * KIB)

    give()
    run = recording.run()
    assert outputs(run)
    assert 32 * KIB < len(stable(run)["otel_ml.outputs"]) <= 64 * KIB
    assert stable(run)["otel_ml.capture"] == '{"outputs":["truncated"]}'


def test_rest_of_a_long_list_is_one_ellipsis() -> None:
    """After the limit, a long list gets one ellipsis. Short containers around it keep texts."""
    items = [Item(number, "abc") for number in range(50_000)]
    taken: Any = ValueTaker().take({"items": items, "next": Item(1, "x"), "answer": "yes"})
    assert taken["items"][-2:] == [{"id": len(taken["items"]) - 2, "name": "abc"}, "…"]
    assert 5_000 < len(taken["items"]) < 6_000
    assert (taken["next"], taken["answer"]) == ("…", "yes")


class Slow:
    """An object whose ``repr`` takes 50 ms, like a table that is computed for it."""

    asked = 0

    def __repr__(self) -> str:
        type(self).asked += 1
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            pass
        return "slow" + "x" * 400


@pytest.mark.parametrize("long", ["", "x" * 2_000, "x" * 100_000])
def test_slow_repr_is_asked_once(client: Client, long: str) -> None:
    """If a class has a slow ``repr``, only one of its values is shown, and only once."""

    class Kind(Slow):
        """A new class, whose ``repr`` no other test has measured."""

    @client.trace
    def take(values: object, more: object) -> object:
        return values

    take([Kind() for _ in range(20)], long)
    take(Kind(), long)
    assert Kind.asked == 1


def test_quick_repr_is_asked_once_a_value(client: Client) -> None:
    """The ``repr`` of a value is computed once, even for a run with a preview."""

    class Counted:
        asked = 0

        def __repr__(self) -> str:
            type(self).asked += 1
            return "counted"

    @client.trace
    def take(value: object, more: object) -> None:
        """Take values."""

    take(Counted(), "x" * 2_000)
    assert Counted.asked == 1
