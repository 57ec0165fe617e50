"""What a host adds to the current span, done to a run of ours and to a span of the SDK's."""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
from opentelemetry.trace import Span, SpanContext, Status, StatusCode, TraceFlags, TraceState

from tests.support.interop.programs.describe import Facts, answer, describe, describe_status
from tests.support.interop.programs.services import Service

# The same as in the variables that the tests give to this program.
LIMITS = SpanLimits(
    max_events=3,
    max_links=2,
    max_event_attributes=2,
    max_link_attributes=1,
    max_attribute_length=10,
    max_span_attribute_length=20,
)
LINKED = SpanContext(0xA1, 0xB2, True, TraceFlags(1), TraceState([("k", "v")]))
WITHOUT_IDS = SpanContext(0, 0, False, TraceFlags(0), TraceState([("k", "v")]))
MANY = 200
MEETING_S = 0.2
STATUSES: list[list[tuple[Status | StatusCode, str | None]]] = [
    [(StatusCode.ERROR, "bad")],
    [(StatusCode.ERROR, "bad"), (StatusCode.OK, None)],
    [(StatusCode.OK, None), (StatusCode.ERROR, "bad")],
    [(StatusCode.ERROR, "bad"), (StatusCode.UNSET, None)],
    [(StatusCode.ERROR, "bad"), (StatusCode.ERROR, None)],
    [(Status(StatusCode.ERROR, "worse"), None), (Status(StatusCode.UNSET), None)],
    [(Status(StatusCode.OK), None)],
]


class OddError(ValueError):
    """Of a module of its own."""


def _say_all() -> None:
    span = trace.get_current_span()
    span.set_attribute("host.text", "text " * 8)
    span.set_attributes({"host.list": ["text " * 8, "b"], "host.number": 7, "host.flag": True})
    span.set_attribute("host.number", 8)
    for number in range(5):
        attributes = {f"key {index}": "text " * 4 for index in range(4)}
        span.add_event(f"event {number}", attributes, timestamp=number + 1)
        span.add_link(SpanContext(0xA1, number + 1, True), attributes)


def _host_part(span: ReadableSpan) -> Facts:
    facts = describe(span)
    attributes = {
        key: value for key, value in facts["attributes"].items() if not key.startswith("otel_ml.")
    }
    return {
        **{key: facts[key] for key in ("name", "events", "links", "status", "dropped")},
        "attributes": attributes,
    }


def _compare(body: Callable[[], object], limits: SpanLimits | None = None) -> list[Facts]:
    ours, stock = Service(span_limits=limits).pair(body)
    return [_host_part(ours), _host_part(stock)]


def additions() -> list[Facts]:
    return _compare(_say_all)


def odd_values() -> list[Facts]:
    def say() -> None:
        odd = {"none": None, "bytes": b"ab", "map": {"a": 1}, "mixed": [1, "a"], "": "no key"}
        span: Span = trace.get_current_span()
        span.set_attributes(odd)  # type: ignore[arg-type]  # what a host does wrong
        span.add_event("odd", odd, timestamp=1)  # type: ignore[arg-type]  # as above

    return _compare(say)


def limits() -> list[Facts]:
    return _compare(_say_all, LIMITS)


def own_values() -> Facts:
    """The attributes of a run whose texts are longer than the limit."""
    service = Service(span_limits=None if len(sys.argv) > 1 else LIMITS)
    model = service.client.trace(name="model", tags={"long": "text " * 8})
    model(lambda words: words)([f"word {number}" for number in range(20)])
    return describe(service.spans()[0])


def many_attributes() -> Facts:
    def say() -> None:
        for number in range(MANY):
            trace.get_current_span().set_attribute(f"host.{number:03}", number)

    service = Service(span_limits=SpanLimits(max_span_attributes=40))
    service.client.trace(name="model", tags={"a": 1, "b": 2})(say)()
    return describe(service.spans()[0])


def exceptions() -> list[Facts]:
    def say() -> None:
        span = trace.get_current_span()
        for error in (ValueError("bad"), OddError("odd"), KeyError("k")):
            span.record_exception(error, timestamp=1)
        span.record_exception(OSError(2, "gone"), {"more": 1}, timestamp=2, escaped=True)
        span.record_exception(ValueError("x"), {"exception.message": "other"}, timestamp=3)
        try:
            _raise()
        except OddError as error:
            span.record_exception(error, timestamp=4)

    return _compare(say)


def _raise() -> None:
    raise OddError("raised")


def links() -> list[Facts]:
    def say() -> None:
        span = trace.get_current_span()
        span.add_link(LINKED, {"why": "retry"})
        span.add_link(LINKED)
        span.add_link(trace.INVALID_SPAN_CONTEXT)
        span.add_link(trace.INVALID_SPAN_CONTEXT, {"why": "unknown"})
        span.add_link(WITHOUT_IDS)

    return _compare(say)


def name() -> list[Facts]:
    return _compare(lambda: trace.get_current_span().update_name("renamed"))


def statuses() -> list[list[object]]:
    found: list[list[object]] = []
    for calls in STATUSES:

        def say(calls: list[tuple[Status | StatusCode, str | None]] = calls) -> None:
            for status, description in calls:
                trace.get_current_span().set_status(status, description)

        ours, stock = Service().pair(say)
        found.append([describe_status(ours), describe_status(stock)])
    return found


def after_the_end() -> list[Facts]:
    kept: list[Span] = []
    service = Service()
    ours, stock = service.pair(lambda: kept.append(trace.get_current_span()))
    for span in kept:
        span.set_attribute("late", 1)
        span.set_attributes({"late": 1})
        span.add_event("late")
        span.add_link(LINKED)
        span.update_name("late")
        span.set_status(StatusCode.ERROR, "late")
        span.record_exception(ValueError("late"))
        span.end()
    assert not any(span.is_recording() for span in kept)
    assert not service.spans()
    return [_host_part(ours), _host_part(stock)]


def own_names() -> object:
    """A host that writes an attribute which the run writes itself."""
    service = Service()
    service.run(lambda: trace.get_current_span().set_attribute("otel_ml.outcome", "host"))
    return describe(service.spans()[0])["attributes"]["otel_ml.outcome"]


def threads() -> list[Facts]:
    """What two threads add at the same moment to a span that has nothing yet."""
    return _compare(_say_at_once, MeetingLimits())


class MeetingLimits(SpanLimits):
    """Limits at whose reading the threads of the host meet, unless a lock holds one of them off."""

    def __getattribute__(self, name: str) -> object:
        thread = threading.current_thread()
        if name in {"max_span_attributes", "max_events", "max_links"} and isinstance(
            thread, Worker
        ):
            with suppress(threading.BrokenBarrierError):
                thread.meeting.wait(MEETING_S)
        return super().__getattribute__(name)


class Worker(threading.Thread):
    """A thread of the host's."""

    def __init__(self, meeting: threading.Barrier, say: Callable[[], object]) -> None:
        super().__init__(target=say)
        self.meeting = meeting


def _say_at_once() -> None:
    span = trace.get_current_span()
    for say in (
        lambda number: span.set_attribute(f"thread {number}", number),
        lambda number: span.add_event("event", timestamp=1),
        lambda number: span.add_link(LINKED),
    ):
        meeting = threading.Barrier(2)
        workers = [Worker(meeting, partial(say, number)) for number in (0, 1)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


if __name__ == "__main__":
    if len(sys.argv) > 1:  # the limits are in the environment
        assert os.environ["OTEL_SPAN_EVENT_COUNT_LIMIT"]
        answer(additions, own_values)
    else:
        answer(
            additions,
            odd_values,
            limits,
            own_values,
            many_attributes,
            exceptions,
            links,
            name,
            statuses,
            after_the_end,
            own_names,
            threads,
        )
