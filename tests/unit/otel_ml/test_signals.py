"""Exceptions raised by the host's signal handlers reach the host, even from inside otel-ml."""

import asyncio
import functools
import gc
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

import pytest
from opentelemetry.context import Context, get_current

import otel_ml
from otel_ml import Client, Judge
from otel_ml.errors import trouble
from otel_ml.process import MARKS
from tests.support.otel_ml.recording import Recording, attributes, inputs, outputs

_OURS: Final = str(Path(otel_ml.__file__).parent)
_LIMITS: Final = 300
Handler = Callable[[int, FrameType | None], object]


class Limit(Exception):
    """A time limit that is an `Exception`, like Celery's soft time limit."""


class HardLimit(BaseException):
    """A time limit that is not an `Exception`, like those of gevent and Dramatiq."""


def stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Limit


@contextmanager
def handler(found: Handler) -> Iterator[None]:
    """Handle SIGALRM in this block.

    Callbacks of the garbage collector are removed, because exceptions raised in them are dropped
    (Hypothesis has such a callback).
    """
    callbacks, gc.callbacks[:] = gc.callbacks[:], []
    before = signal.signal(signal.SIGALRM, found)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.callbacks[:] = callbacks


class Striker:
    """Raises a signal at one of the points at which Python runs handlers in otel-ml's code.

    These points are the start of a Python function and the end of a C function, as a profiler
    sees them.
    """

    def __init__(self, at: int) -> None:
        self.left = at
        self.where = ""

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        if event not in {"call", "c_return"} or not code.co_filename.startswith(_OURS):
            return
        self.left -= 1
        if self.left < 0 and not self.where:
            self.where = f"{code.co_qualname} {event} {arg}"
            signal.raise_signal(signal.SIGALRM)


class Model:
    """A traced function of one kind, which notes whether its own code ran."""

    def __init__(self, client: Client, kind: str) -> None:
        self.entered = False
        call = getattr(self, kind)
        self.run: Callable[[int], object] = call(client)

    def _body(self, number: int) -> dict[str, int]:
        self.entered = True
        return {"number": number}

    def plain(self, client: Client) -> Callable[[int], object]:
        def model(number: int) -> dict[str, int]:
            return self._body(number)

        return client.trace(tags={"a": 1})(model)

    def raising(self, client: Client) -> Callable[[int], object]:
        def model(number: int) -> NoReturn:
            self._body(number)
            raise ValueError("its own")

        traced = client.trace(model)

        def run(number: int) -> None:
            with pytest.raises(ValueError, match="its own"):
                traced(number)

        return run

    def later(self, client: Client) -> Callable[[int], object]:
        async def model(number: int) -> dict[str, int]:
            return self._body(number)

        traced = client.trace(model)

        def run(number: int) -> None:
            with pytest.raises(StopIteration):
                traced(number).send(None)

        return run

    def stream(self, client: Client) -> Callable[[int], object]:
        def model(number: int) -> Iterator[int]:
            self._body(number)
            yield 1
            yield 2

        traced = client.trace(model)
        return lambda number: list(traced(number))

    def judged(self, client: Client) -> Callable[[int], object]:
        def model(number: int) -> dict[str, int]:
            return self._body(number)

        return client.assess(Judge("any", "", lambda: 1.0))(model)

    def inline(self, client: Client) -> Callable[[int], object]:
        def model(number: int) -> dict[str, int]:
            return self._body(number)

        return client.assess(Judge("any", "", lambda: 1.0), inline=True)(model)

    def chat(self, client: Client) -> Callable[[int], object]:
        def model(number: int, messages: object = "hello") -> dict[str, object]:
            return {**self._body(number), "choices": [{"message": {"content": "hi"}}]}

        return client.trace(kind="chat")(model)


KINDS: Final = ("plain", "raising", "later", "stream", "judged", "inline", "chat")
ERRORS: Final = (
    Limit,
    HardLimit,
    TimeoutError,
    RuntimeError,
    TypeError,
    KeyError,
    KeyboardInterrupt,
)


def strike_everywhere(
    client: Client, kind: str, error: type[BaseException] = Limit
) -> Iterator[tuple[Model, int, str, Context, bool]]:
    """Call a model once for each point at which a signal can strike, and once without a signal."""

    def stop_with(number: int, frame: FrameType | None) -> NoReturn:
        raise error

    model = Model(client, kind)
    model.run(-1)  # chooses the provider and starts the threads
    with handler(stop_with):
        for number in range(5_000):
            striker, before, is_caught = Striker(number), get_current(), False
            model.entered = False
            try:
                sys.setprofile(striker)
                model.run(number)
            except error:
                is_caught = True
            finally:
                sys.setprofile(None)
            yield model, number, striker.where, before, is_caught
            if not striker.where:
                return
    raise AssertionError("The call has no end")


@pytest.mark.parametrize("kind", KINDS)
def test_limit_reaches_the_host_wherever_it_strikes(recording: Recording, kind: str) -> None:
    """An exception that a handler raises anywhere inside a traced call leaves that call."""
    struck = [
        where
        for *_, where, _, is_caught in strike_everywhere(recording.client, kind)
        if not is_caught
    ]
    assert struck == [""]  # only the last call had no signal


@pytest.mark.parametrize("error", ERRORS)
def test_limit_of_any_class_reaches_the_host(
    recording: Recording, error: type[BaseException]
) -> None:
    """A handler's exception reaches the host even if otel-ml catches exceptions of its class."""
    found = strike_everywhere(recording.client, "plain", error)
    assert [where for *_, where, _, is_caught in found if not is_caught] == [""]


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_call_leaves_its_context(recording: Recording, kind: str) -> None:
    """After a call that a limit ended, the current context is the one from before the call."""
    left = [
        where
        for *_, where, before, _ in strike_everywhere(recording.client, kind)
        if dict(get_current()) != dict(before)
    ]
    assert not left


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_call_is_recorded_once(recording: Recording, kind: str) -> None:
    """Wherever a limit strikes, a call whose code began is recorded once, and no run stays open."""
    entered, where = [-1], {}
    for model, number, at, *_ in strike_everywhere(recording.client, kind):
        where[number] = at
        if model.entered:
            entered.append(number)
    found = [
        inputs(run).get("number") if "otel_ml.inputs" in attributes(run) else None
        for run in recording.runs()
    ]
    assert [number for number in found if number is not None and found.count(number) > 1] == []
    missing = sorted(set(entered) - set(found))
    assert len(found) >= len(entered), [where[number] for number in missing]
    assert recording.client.stats().open_runs == 0


@pytest.mark.parametrize("kind", ["judged", "inline"])
def test_interrupted_judgement_says_so(recording: Recording, kind: str) -> None:
    """Wherever a limit strikes, a judged call that returned has a score or an error."""
    for _ in strike_everywhere(recording.client, kind):
        pass
    without = [
        run
        for run in recording.runs()
        if attributes(run)["otel_ml.outcome"] == "ok" and "otel_ml.judges" not in attributes(run)
    ]
    assert not without


def test_interrupted_judge_leaves_no_mark(recording: Recording) -> None:
    """Wherever a limit ends a judge, later calls are not marked as calls of that judge."""
    for _ in strike_everywhere(recording.client, "inline"):
        assert MARKS.get() is None


def test_no_limit_of_a_timer_is_lost(recording: Recording) -> None:
    """Each of several hundred SIGALRM limits during a short function reaches the host."""
    struck = reached = 0

    def count(number: int, frame: FrameType | None) -> NoReturn:
        nonlocal struck
        struck += 1
        raise Limit

    @recording.client.trace
    def model(number: int) -> dict[str, int]:
        until = time.perf_counter() + 0.000_17
        while time.perf_counter() < until:
            pass
        return {"number": number}

    def work(before: int, number: int) -> None:  # Python 3.13 does not guard a jump back by a `try`
        while struck == before:
            model(number)

    model(0)
    with handler(count):
        for number in range(_LIMITS):
            before = struck
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.000_5 + number % 50 * 0.000_02)
                work(before, number)
            except Limit:
                reached += 1
    assert (struck, reached) == (_LIMITS, _LIMITS)
    assert recording.client.stats().open_runs == 0


class Raising:
    """A value that raises when its ``repr`` is taken."""

    def __init__(self, raise_it: Callable[[], object]) -> None:
        self._raise_it = raise_it

    def __repr__(self) -> str:
        self._raise_it()
        return "shown"


def fail_with(error: BaseException) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise error

    return fail


@pytest.mark.parametrize(
    "raise_it",
    [
        sys.exit,
        *map(
            fail_with,
            [SystemExit(1), KeyboardInterrupt(), HardLimit(), GeneratorExit(), Limit()],
        ),
        fail_with(asyncio.CancelledError()),
    ],
)
def test_value_ends_no_call(recording: Recording, raise_it: Callable[[], object]) -> None:
    """If a value's ``__repr__`` raises any exception, the call returns and its run is recorded."""
    value = Raising(raise_it)
    assert recording.client.trace(lambda given: given)(value) is value
    shown = outputs(recording.run())
    assert shown["type"] == "tests.unit.otel_ml.test_signals.Raising"
    assert shown["unserialisable"]


class Ender:
    """An object with handlers: a callable object and a bound method."""

    def __call__(self, number: int, frame: FrameType | None) -> NoReturn:
        raise Limit

    def end(self, number: int, frame: FrameType | None) -> NoReturn:
        raise Limit


def stop_once(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    raise Limit


def stop_of(limit: type[Exception], *_: object) -> NoReturn:
    raise limit


def stop_bare(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise Limit


@functools.wraps(stop)
def stop_wrapped(*args: Any) -> None:
    stop(*args)


@pytest.mark.parametrize(
    "found",
    [
        stop,
        stop_once,
        stop_bare,
        stop_wrapped,
        functools.partial(stop_of, Limit),
        Ender(),
        Ender().end,
    ],
)
def test_limit_within_a_value_reaches_the_host(recording: Recording, found: Handler) -> None:
    """A limit that strikes inside a value's ``repr`` reaches the host, for any kind of handler."""
    model = recording.client.trace(lambda given: given)
    with handler(found), pytest.raises(Limit):
        model(Raising(lambda: signal.raise_signal(signal.SIGALRM)))
    assert attributes(recording.run())["otel_ml.outcome"] == "error"


def replace_limit() -> None:
    """Let a limit strike, and raise another error instead, as starting a thread does."""
    try:
        signal.raise_signal(signal.SIGALRM)
    except Limit:
        raise KeyError("started")  # noqa: B904 - as threading does


class Named:
    """An attribute that raises as its class is made; Python 3.11 makes it a RuntimeError."""

    def __set_name__(self, owner: type, name: str) -> None:
        signal.raise_signal(signal.SIGALRM)


def make_class() -> None:
    type("Made", (), {"named": Named()})


@pytest.mark.parametrize("break_off", [replace_limit, make_class])
def test_limit_that_became_another_error_reaches_the_host(
    recording: Recording, break_off: Callable[[], None]
) -> None:
    """A limit reaches the host even if the interrupted code replaces it with another error."""
    model = recording.client.trace(lambda given: given)
    with handler(stop), pytest.raises(Limit):
        model(Raising(break_off))
    assert attributes(recording.run())["otel_ml.outcome"] == "error"


def test_limit_that_the_host_handles_is_not_raised_again(recording: Recording) -> None:
    """An exception that the host was already handling is not raised again."""
    model = recording.client.trace(lambda given: given)

    def fail() -> None:
        raise KeyError("nothing")

    with handler(stop):
        try:
            signal.raise_signal(signal.SIGALRM)
        except Limit:
            model(Raising(fail))
    assert attributes(recording.run())["otel_ml.outcome"] == "ok"


def test_control_c_within_a_value_reaches_the_host(recording: Recording) -> None:
    """Control-C inside a value's ``repr`` reaches the host."""
    model = recording.client.trace(lambda given: given)
    # If the tests run in the background, the shell makes them ignore Control-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            model(Raising(lambda: signal.raise_signal(signal.SIGINT)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert attributes(recording.run())["otel_ml.outcome"] == "cancelled"


def test_limits_are_no_trouble_of_ours(recording: Recording) -> None:
    """A limit that strikes in otel-ml's code is not counted as trouble."""
    before = trouble()
    for _ in strike_everywhere(recording.client, "plain"):
        pass
    assert trouble() == before


def test_interrupted_block_ends_its_run(recording: Recording) -> None:
    """An opened run whose block ends by a limit has failed."""
    client = recording.client
    with handler(stop), pytest.raises(Limit), client.run("by hand"):
        signal.raise_signal(signal.SIGALRM)
    assert attributes(recording.run())["otel_ml.outcome"] == "error"
    assert client.stats().open_runs == 0
