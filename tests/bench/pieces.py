"""Measure the parts of a traced call one by one.

Each part runs in a loop on one thread. The figure is the CPU time of that thread without the loop,
the minimum of several rounds, so other load on the machine does not count.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from opentelemetry.context import Context

from otel_ml.calls import Call, new
from otel_ml.export.encoder import encode_spans
from otel_ml.functions import Options, TracedFunction
from otel_ml.outlet import Route
from otel_ml.recorder import Recorder
from otel_ml.runs import RUN_KEY, Run
from otel_ml.spans import SPAN_KEY, RunSpan, attach, detach
from otel_ml.wrappers import wrap
from tests.bench.sink import open_sink
from tests.bench.table import print_table
from tests.bench.workloads import CHUNKS, TEXT, answer, look_up

ROUNDS: Final = 9
TIMES: Final = 2_000  # the sender's batch size
_WHOLE: Final = "whole traced call"
_SENDER: Final = "on the sender's thread: encoded as OTLP"

_STREAMS: Final = range(200)

T = TypeVar("T")
Piece = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Example:
    """One call that is measured in parts."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    @property
    def output(self) -> object:
        """The return value of the call."""
        return self.function(*self.arguments)


EXAMPLES: Final = {
    "tiny values": Example(answer, (1, "hello")),
    "4 KB in, 2 KB out": Example(look_up, (TEXT,)),
}


def measure(example: Example) -> dict[str, float]:
    """Time every part of a call; return microseconds by part, with the whole call last but one."""
    with _recording() as recorder:
        pieces = _Pieces(TracedFunction(recorder, example.function, Options()), example)
        found: dict[str, float] = {}
        for title, piece in pieces.all():
            found[title] = _least(recorder, piece)
    known = sum(us for title, us in found.items() if title not in {_WHOLE, _SENDER})
    rest = {"wrapper and the functions between these parts": found[_WHOLE] - known}
    ends = {title: found.pop(title) for title in (_WHOLE, _SENDER)}
    return {**found, **rest, **ends}


def measure_chunk() -> float:
    """Time the cost of each chunk of a stream in µs, including its share of the output."""
    with _recording() as recorder:
        traced = wrap(TracedFunction(recorder, _stream, Options()))

        def time_stream(chunks: int) -> float:
            return _time(_STREAMS, lambda _: _read(traced(chunks))) - _time(
                _STREAMS, lambda _: _read(_stream(chunks))
            )

        whole, empty = (_least(recorder, partial(time_stream, n)) for n in (len(CHUNKS), 0))
    return (whole - empty) / len(CHUNKS)


def report() -> None:
    """Measure and print."""
    columns = [measure(example) for example in EXAMPLES.values()]
    rows = [[title, *(f"{column[title]:.2f}" for column in columns)] for title in columns[0]]
    print_table(("µs of one call", *EXAMPLES), rows)
    print(f"Each chunk of a stream of {len(CHUNKS)} adds {measure_chunk():.2f} µs\n", flush=True)


@contextmanager
def _recording() -> Iterator[Recorder]:
    """Open a recorder that sends to its own sink."""
    with open_sink() as endpoint:
        recorder = Recorder(Route("bench", endpoint=endpoint))
        yield recorder
        recorder.close()


def _least(recorder: Recorder, piece: Piece) -> float:
    """Return the minimum time of a part; flush its spans after each round."""
    times_us = []
    for _ in range(ROUNDS):
        times_us.append(piece())
        recorder.flush(10)
    return min(times_us)


def _stream(chunks: int) -> Iterator[str]:
    yield from CHUNKS[:chunks]


def _read(stream: Iterable[str]) -> None:
    deque(stream, maxlen=0)


def _time(items: Sequence[T], step: Callable[[T], object]) -> float:
    """Return the microseconds that a step takes per item."""
    empty_s = _loop(items, _nothing)
    return (_loop(items, step) - empty_s) / len(items) * 1e6


def _loop(items: Sequence[T], step: Callable[[T], object]) -> float:
    began_s = time.thread_time()
    for item in items:
        step(item)
    return time.thread_time() - began_s


def _nothing(item: object) -> None:
    pass


class _Pieces:
    """The parts in the order in which a call runs through them."""

    def __init__(self, traced: TracedFunction, example: Example) -> None:
        self._traced = traced
        self._recorder = traced.recorder
        self._start = traced.recorder.open()
        self._arguments = example.arguments
        self._inputs = traced.bind(example.arguments, {})
        self._output = example.output
        self._function = example.function
        self._call = wrap(traced)
        self._call(*example.arguments)  # the first call computes the version

    def all(self) -> Iterator[tuple[str, Piece]]:
        yield "start of the span: IDs, sampler, parent", self._span
        yield "context with the span and the call", self._hold
        yield "arguments bound to their names", self._bind
        yield "inputs written as JSON", lambda: self._write(self._inputs)
        yield "registered as an open call", self._open
        yield "context attached and detached", self._attach
        yield "output written as JSON", lambda: self._write(self._output)
        yield "version found by the output's shape", self._version
        yield "span numbered and enqueued", self._hand_on
        yield "clock read four times, own cost recorded", self._clock
        yield _WHOLE, self._whole
        yield _SENDER, self._encode

    def _new_span(self) -> RunSpan:
        traced = self._traced
        span = self._start(traced.name, Context(), time.time_ns(), traced.start_attributes, False)
        assert isinstance(span, RunSpan)
        return span

    def _new_call(self) -> Call:
        call: Call = new(Call)
        assert call.open(self._traced, self._arguments, {})
        return call

    def _finished(self) -> list[RunSpan]:
        """Return spans of calls as the sender gets them."""
        calls = _many(self._new_call)
        for call in calls:
            call.finish(self._output)
        return [span for call in calls if isinstance(span := call._span, RunSpan)]

    def _span(self) -> float:
        start, traced, context = self._start, self._traced, Context()
        now_ns = time.time_ns()
        return _time(
            range(TIMES),
            lambda _: start(traced.name, context, now_ns, traced.start_attributes, False),
        )

    def _hold(self) -> float:
        context, span = Context(), self._new_span()
        return _time(
            range(TIMES), lambda _: Context({**context, SPAN_KEY: span, RUN_KEY: self._call})
        )

    def _bind(self) -> float:
        bind, arguments, keywords = self._traced.bind, self._arguments, dict[str, Any]()
        return _time(range(TIMES), lambda _: bind(arguments, keywords))

    def _write(self, payload: object) -> float:
        capture = self._recorder.redaction.capture
        return _time(range(TIMES), lambda _: capture(payload))

    def _open(self) -> float:
        open_runs = self._recorder.open_runs
        first = self._traced.start_attributes
        runs = _many(lambda: Run(self._recorder, self._new_span(), time.time_ns(), first))
        try:
            return _time(runs, open_runs.add)
        finally:
            for run in runs:
                open_runs.remove(run)

    def _attach(self) -> float:
        context = Context()
        return _time(range(TIMES), lambda _: detach(attach(context)))

    def _version(self) -> float:
        find, output, recorder = self._traced.known_constants, self._output, self._recorder
        now_ns = time.time_ns()
        return _time(range(TIMES), lambda _: find(output, now_ns, recorder))

    def _hand_on(self) -> float:
        now_ns, count = time.time_ns(), self._recorder.count
        return _time(_many(self._new_span), lambda span: span.end_and_queue(now_ns + count() * 0))

    def _clock(self) -> float:
        now, note = time.time_ns, self._recorder.cost.add
        return _time(range(TIMES), lambda _: note(now() + now() - now() - now()))

    def _whole(self) -> float:
        call, function, arguments = self._call, self._function, self._arguments
        traced = _time(range(TIMES), lambda _: call(*arguments))
        return traced - _time(range(TIMES), lambda _: function(*arguments))

    def _encode(self) -> float:
        spans = self._finished()
        return _time([spans], encode_spans) / len(spans)


def _many(make: Callable[[], T]) -> list[T]:
    return [make() for _ in range(TIMES)]


if __name__ == "__main__":
    report()
