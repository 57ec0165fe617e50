"""What a handler of a signal raises is the host's, wherever in our code it strikes."""

import _thread
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
from tests.otel_ml.otlp_sink import Sink
from tests.otel_ml.recording import Recording, attributes, inputs, outputs
from tests.support.waiting import wait_until

_OURS: Final = str(Path(otel_ml.__file__).parent)
_LIMITS: Final = 300
Handler = Callable[[int, FrameType | None], object]


class Limit(Exception):
    """As Celery's soft time limit: an `Exception`."""


class HardLimit(BaseException):
    """As those of gevent and Dramatiq: none."""


def stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Limit


@contextmanager
def handler(found: Handler) -> Iterator[None]:
    """Handle SIGALRM in this block.

    What is raised in a callback of the garbage collector reaches nobody; Hypothesis has one.
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
    """Raises a signal at one of the points at which Python calls handlers in our code.

    Those are the beginning of a Python function and the end of a C function, which a profiler
    is told of.
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
    """One way of being called; notes whether the function's own code ran."""

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
    """Call a model once for each point, and once beyond the last."""

    def stop_with(number: int, frame: FrameType | None) -> NoReturn:
        raise error

    model = Model(client, kind)
    model.run(-1)  # the provider is chosen, the threads run
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
    """What a handler raises anywhere within a traced call comes out of that call."""
    struck = [
        where
        for *_, where, _, is_caught in strike_everywhere(recording.client, kind)
        if not is_caught
    ]
    assert struck == [""]  # but for the last call, which nothing struck


@pytest.mark.parametrize("error", ERRORS)
def test_limit_of_any_class_reaches_the_host(
    recording: Recording, error: type[BaseException]
) -> None:
    """A handler may raise what our own code expects to be raised: it is the host's all the same."""
    found = strike_everywhere(recording.client, "plain", error)
    assert [where for *_, where, _, is_caught in found if not is_caught] == [""]


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_call_leaves_its_context(recording: Recording, kind: str) -> None:
    """After a call that a limit ended the context is current that was so before."""
    left = [
        where
        for *_, where, before, _ in strike_everywhere(recording.client, kind)
        if dict(get_current()) != dict(before)
    ]
    assert not left


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_call_is_recorded_once(recording: Recording, kind: str) -> None:
    """A call whose code began is one run, and none stays open, wherever a limit strikes."""
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
    """A judged call that returned has a score or an error, wherever a limit strikes."""
    for _ in strike_everywhere(recording.client, kind):
        pass
    without = [
        run
        for run in recording.runs()
        if attributes(run)["otel_ml.outcome"] == "ok" and "otel_ml.judges" not in attributes(run)
    ]
    assert not without


def test_interrupted_judge_leaves_no_mark(recording: Recording) -> None:
    """Calls after a judge that a limit broke off are none of the judge's, wherever it struck."""
    for _ in strike_everywhere(recording.client, "inline"):
        assert MARKS.get() is None


def test_no_limit_of_a_timer_is_lost(recording: Recording) -> None:
    """Of several hundred limits that SIGALRM brings at a short function each reaches the host."""
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

    def work(before: int, number: int) -> None:  # Python 3.13 guards no jump back by a `try`
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
    """A value that raises when it is shown."""

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
    """Whatever a value's ``__repr__`` raises itself, the call returns and its run is recorded."""
    value = Raising(raise_it)
    assert recording.client.trace(lambda given: given)(value) is value
    shown = outputs(recording.run())
    assert shown["type"] == "tests.otel_ml.test_signals.Raising"
    assert shown["unserialisable"]


class Ender:
    """A handler that is a method."""

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
    """A limit that strikes while a value is shown is the host's, whatever its handler is."""
    model = recording.client.trace(lambda given: given)
    with handler(found), pytest.raises(Limit):
        model(Raising(lambda: signal.raise_signal(signal.SIGALRM)))
    assert attributes(recording.run())["otel_ml.outcome"] == "error"


def replace_limit() -> None:
    """Let a limit strike, and end with another error, as a thread's start does."""
    try:
        signal.raise_signal(signal.SIGALRM)
    except Limit:
        raise KeyError("started")  # noqa: B904 - as threading does


class Named:
    """What a class in the making tells its name; Python 3.11 makes a RuntimeError of an error."""

    def __set_name__(self, owner: type, name: str) -> None:
        signal.raise_signal(signal.SIGALRM)


def make_class() -> None:
    type("Made", (), {"named": Named()})


@pytest.mark.parametrize("break_off", [replace_limit, make_class])
def test_limit_that_became_another_error_reaches_the_host(
    recording: Recording, break_off: Callable[[], None]
) -> None:
    """A limit that what it broke off ends with another error for comes out all the same."""
    model = recording.client.trace(lambda given: given)
    with handler(stop), pytest.raises(Limit):
        model(Raising(break_off))
    assert attributes(recording.run())["otel_ml.outcome"] == "error"


def test_limit_while_a_thread_starts_reaches_the_host(sink: Sink) -> None:
    """A limit that strikes between the start of our thread and its own word of it comes out."""
    struck: list[str] = []

    def strike(frame: FrameType, event: str, started: object) -> None:
        if event == "c_return" and started is _thread.start_new_thread and not struck:
            struck.append(frame.f_code.co_name)
            wait_until(frame.f_locals["self"].is_alive)  # the new thread says that it runs
            signal.raise_signal(signal.SIGALRM)

    client = Client("shop", endpoint=sink.address, join=False)
    model = client.trace(lambda given: given)

    def profiled() -> None:
        sys.setprofile(strike)
        try:
            model(1)
        finally:
            sys.setprofile(None)

    with handler(stop), pytest.raises(Limit):
        profiled()
    assert struck == ["start"]
    assert model(5) == 5
    assert client.flush()
    client.close()


def test_limit_that_the_host_handles_is_not_raised_again(recording: Recording) -> None:
    """What the host was handling before it called us is none of what we hand on."""
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
    """Control-C while a value is shown is the host's."""
    model = recording.client.trace(lambda given: given)
    # Where the tests run in the background the shell lets them ignore Control-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            model(Raising(lambda: signal.raise_signal(signal.SIGINT)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert attributes(recording.run())["otel_ml.outcome"] == "cancelled"


def test_limits_are_no_trouble_of_ours(recording: Recording) -> None:
    """A limit that strikes in our code is counted as no trouble."""
    before = trouble()
    for _ in strike_everywhere(recording.client, "plain"):
        pass
    assert trouble() == before


@pytest.mark.parametrize("kind", ["plain", "stream"])
def test_interrupted_call_is_spooled(tmp_path: Path, sink: Sink, kind: str) -> None:
    """With a spool a call whose code began is on disk and delivered, wherever a limit strikes."""
    client = Client("shop", endpoint=sink.address, spool=tmp_path / "spool", join=False)
    entered = 1
    for model, _, where, _, is_caught in strike_everywhere(client, kind):
        assert is_caught == bool(where)
        entered += model.entered
    client.close()
    assert len(sink.runs) >= entered


def test_interrupted_block_ends_its_run(recording: Recording) -> None:
    """A run by hand whose block a limit ends has failed."""
    client = recording.client
    with handler(stop), pytest.raises(Limit), client.run("by hand"):
        signal.raise_signal(signal.SIGALRM)
    assert attributes(recording.run())["otel_ml.outcome"] == "error"
    assert client.stats().open_runs == 0
