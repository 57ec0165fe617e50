"""Raymon's traces: their ids, the current trace, and how a trace ends."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from otel_ml.compat.raymon import (
    RaymonAPILogger,
    Tag,
    Trace,
    TraceException,
    clear_trace,
    current_trace,
    set_current_trace,
)
from tests.support.otel_ml.otlp_sink import Sink
from tests.support.waiting import run_other_tasks, wait_until

ID = "472b649d-cce8-4d50-9682-6b81a80755c0"


@pytest.fixture
def logger(sink: Sink) -> Iterator[RaymonAPILogger]:
    logger = RaymonAPILogger("shop", url=sink.address)
    yield logger
    clear_trace()
    logger.client.close()


@pytest.mark.parametrize("given", [ID, UUID(ID)])
def test_id_is_kept(logger: RaymonAPILogger, given: str | UUID) -> None:
    """A trace keeps the text or UUID passed as its id, and its str is the id."""
    trace = Trace(logger=logger, trace_id=given)
    assert (trace.trace_id, str(trace)) == (ID, ID)


def test_id_is_made(logger: RaymonAPILogger) -> None:
    """Without an id, each trace gets a random UUID."""
    ids = [Trace(logger=logger, trace_id=None).trace_id for _ in range(2)]
    assert [str(UUID(one)) for one in ids] == ids
    assert ids[0] != ids[1]


def test_trace_is_a_run(logger: RaymonAPILogger, sink: Sink) -> None:
    """Text, tags and id of a trace are recorded with a run that ends with the trace."""
    trace = Trace(logger, ID)
    trace.info("hello")
    trace.tag([Tag("client", "acme", "label"), {"name": "ms", "value": "120", "type": "metric"}])
    trace.end()
    logger.flush()
    [span] = sink.runs
    said = ("name", "otel_ml.kind", "otel_ml.trace_key", "otel_ml.outcome")
    assert [span[name] for name in said] == ["trace", "chain", ID, "ok"]
    assert (span["otel_ml.tag.client"], span["otel_ml.tag.ms"]) == ("acme", "120")


class ListLogger:
    """A custom logger, like raymon's `RaymonFileLogger`."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def info(self, trace_id: str, text: str) -> None:
        self.calls.append(("info", trace_id, text))

    def tag(self, trace_id: str, tags: object) -> None:
        self.calls.append(("tag", trace_id, tags))

    def log(self, trace_id: str, ref: str, data: object) -> None:
        self.calls.append(("log", trace_id, ref, data))

    def flush(self) -> None:
        self.calls.append(("flush",))


def test_logger_of_the_user_s() -> None:
    """Any object with Raymon's methods is called with the trace id and the arguments."""
    logger, tags = ListLogger(), [Tag("client", "acme", "label")]
    with Trace(logger=logger, trace_id=ID) as trace:
        assert current_trace() is trace
        trace.info("hello")
        trace.tag(tags)
        trace.log("sample", [1, 2])
    assert logger.calls == [
        ("info", ID, "hello"),
        ("tag", ID, tags),
        ("log", ID, "sample", [1, 2]),
        ("flush",),
    ]


def test_no_logger_is_refused() -> None:
    """An object without these methods is refused at once, with the name of a missing one."""
    with pytest.raises(ValueError, match=r"logger\.info"):
        Trace(logger=object())  # type: ignore[arg-type]  # that is the point


def test_logger_reaches_a_trace_by_its_id(logger: RaymonAPILogger, sink: Sink) -> None:
    """Data logged without a trace object is recorded for the trace with the given id."""
    logger.info(UUID(ID), "hello")
    logger.tag(ID, [Tag("client", "acme", "label")])
    logger.log(ID, "ref", [1, 2])
    logger.flush()
    assert [span["otel_ml.target.trace_key"] for span in sink.spans] == [ID] * 3


def test_trace_ends_when_nobody_holds_it(logger: RaymonAPILogger, sink: Sink) -> None:
    """A trace that is no longer referenced ends; the current trace is referenced."""
    trace = Trace(logger, "dropped", set_global=False)
    held = Trace(logger, "held")
    del trace, held
    gc.collect()
    logger.flush()
    wait_until(lambda: bool(sink.runs))
    assert [span["otel_ml.trace_key"] for span in sink.runs] == ["dropped"]
    clear_trace()
    gc.collect()
    logger.flush()
    assert [span["otel_ml.trace_key"] for span in sink.runs] == ["dropped", "held"]


def test_block_ends_with_its_error(logger: RaymonAPILogger, sink: Sink) -> None:
    """An exception in a block is raised and is the trace's outcome; inner traces are child runs."""

    def fail() -> None:
        with Trace(logger, "outer") as outer:
            with Trace(logger, "inner"):
                pass
            assert current_trace() is outer
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(TraceException):
        current_trace()
    logger.flush()
    inner, ended = sink.runs
    assert (inner["otel_ml.trace_key"], inner["otel_ml.outcome"]) == ("inner", "ok")
    assert (ended["otel_ml.trace_key"], ended["otel_ml.outcome"]) == ("outer", "error")
    assert sink.ids[sink.spans.index(inner)][:32] == sink.ids[sink.spans.index(ended)][:32]


def test_current_trace(logger: RaymonAPILogger) -> None:
    """The newest trace is current, unless it is created with `set_global=False`."""
    with pytest.raises(TraceException, match=r"^No current trace"):
        current_trace()
    first = Trace(logger)
    Trace(logger, set_global=False)
    assert current_trace() is first
    second = Trace(logger)
    assert current_trace() is second
    set_current_trace(first)
    assert current_trace() is first
    clear_trace()
    with pytest.raises(TraceException):
        current_trace()
    with pytest.raises(TypeError, match=r"^Invalid trace of type str"):
        set_current_trace("trace")  # type: ignore[arg-type]  # what is refused


def test_current_trace_is_the_threads_own(logger: RaymonAPILogger) -> None:
    """Concurrent threads and tasks each have their own current trace."""
    seen: dict[str, str] = {}
    both = threading.Barrier(2)

    def serve(key: str) -> None:
        Trace(logger, key)
        both.wait(10)
        seen[key] = current_trace().trace_id

    threads = [threading.Thread(target=serve, args=(key,)) for key in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def handle(key: str, ready: asyncio.Event) -> None:
        Trace(logger, key)
        await ready.wait()
        seen[key] = current_trace().trace_id

    async def main() -> None:
        ready = asyncio.Event()
        tasks = [asyncio.create_task(handle(key, ready)) for key in "cd"]
        await run_other_tasks()
        ready.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert seen == {key: key for key in "abcd"}


def test_traces_before_are_let_go(logger: RaymonAPILogger, sink: Sink) -> None:
    """In a loop that creates traces, only the current one is still referenced."""
    keys = [str(uuid4()) for _ in range(50)]
    for key in keys:
        Trace(logger, key)
    gc.collect()
    logger.flush()
    assert [span["otel_ml.trace_key"] for span in sink.runs] == keys[:-1]
