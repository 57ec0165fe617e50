"""From the end of a call to its delivery: when calls wait, and what is retried or lost."""

import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_ml import Client
from otel_ml.export.answer import Answer
from otel_ml.export.delivery import Delivery
from otel_ml.export.pipeline import Pace, Pipeline
from otel_ml.export.queue import SpanBatch, SpanQueue
from otel_ml.recorder import Stats
from tests.support.folders import ROOT
from tests.support.otel_ml.otlp_sink import Received, Reply, Sink, closed_address, open_sink
from tests.support.otel_ml.recording import attributes
from tests.support.otel_ml.scripts import ask_script, run_script
from tests.support.sampling import at_night, sampled
from tests.support.waiting import elapsed, wait_until

LATE_MS = "60000"
LONG_S = 20.0


@pytest.fixture
def client(sink: Sink) -> Iterator[Client]:
    """Yield a client of the sink."""
    client = Client("shop", endpoint=sink.address, join=False)
    yield client
    client.close()


@pytest.fixture
def refused() -> Iterator[Client]:
    """Yield a client whose receiver starts only when the test ends."""
    address = closed_address()
    client = Client("shop", endpoint=address, join=False)
    yield client
    with open_sink(urlsplit(address).port or 0):
        client.close()


def call(client: Client, times: int = 1, value: object = None) -> None:
    traced = client.trace(name="model")(lambda value: value)
    for number in range(times):
        traced(number if value is None else value)


def outputs(sink: Sink) -> list[str]:
    return [span["otel_ml.outputs"] for span in sink.spans]


def said(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    """Return the messages of logged warnings that match."""
    texts = [item.getMessage() for item in caplog.records if item.levelno >= logging.WARNING]
    return [text for text in texts if re.search(words, text)]


# A full queue.


@sampled(1)
@pytest.mark.parametrize(("most", "calls"), [(1, 100), (10, 500), (100, 5_000)])
def test_tight_loop_through_a_small_queue(
    tmp_path: Path, sink: Sink, most: int, calls: int
) -> None:
    """A loop faster than the sender waits for it; no span is dropped before a wait of 100 ms."""
    script = f"""
        import json
        from otel_ml import Client

        client = Client("shop", endpoint={sink.address!r})
        traced = client.trace(lambda a: a)
        for number in range({calls}):
            traced(number)
        client.flush()
        stats = client.stats()
        print(json.dumps([stats.delivered, stats.lost, stats.blocked_ms]))
    """
    delivered, lost, blocked_ms = ask_script(tmp_path, script, OTEL_BSP_MAX_QUEUE_SIZE=str(most))
    number = lost.pop("queue full", 0)
    assert lost == {}
    assert blocked_ms > 100 * number  # an overloaded machine may stop the sender for so long
    assert len(set(sink.ids)) == delivered == calls - number


def test_no_call_waits_for_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, refused: Client
) -> None:
    """While nothing is delivered, no call waits: spans are dropped, and this is logged once."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    call(refused)
    assert refused.flush(0.3).reason == "connection refused"
    call(refused, 1_000)
    stats = refused.stats()
    assert (stats.blocked_ms, list(stats.lost)) == (0.0, ["queue full"])
    assert stats.queued + stats.lost["queue full"] == 1_001
    assert len(said(caplog, "queue is full")) == 1


def test_event_loop_never_waits(tmp_path: Path, sink: Sink) -> None:
    """A call in a thread with a running event loop never waits, even if the sender progresses."""
    script = f"""
        import asyncio, json
        from otel_ml import Client
        from tests.support.waiting import async_wait_until

        client = Client("shop", endpoint={sink.address!r})

        @client.trace
        async def model(a):
            return a

        async def main():
            await model(0)
            # From now on the sender gets on.
            await async_wait_until(lambda: client.stats().delivered)
            for number in range(2_000):
                await model(number)

        asyncio.run(main())
        client.flush()
        stats = client.stats()
        print(json.dumps([stats.blocked_ms, stats.delivered + stats.lost["queue full"]]))
    """
    variables = {"OTEL_BSP_MAX_QUEUE_SIZE": "5", "PYTHONPATH": str(ROOT)}
    assert ask_script(tmp_path, script, **variables) == [0.0, 2_001]


WAITING = """
    import json, time
    from otel_ml import Client

    client = Client("shop", endpoint={address!r})
    traced = client.trace(lambda a: a)
    durations = []

    def call():
        began = time.monotonic()
        traced(1)
        durations.append(time.monotonic() - began)

    call()
    minute = time.monotonic() // 60
    while len(durations) < 100:
        call()
    minutes = time.monotonic() // 60 - minute + 1
    print(json.dumps([durations, minutes, client.stats().lost["queue full"]]))
"""


@pytest.fixture(scope="module")
def durations(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[float], float, int]:
    """Return durations of 100 calls with a slow receiver, the minutes they took, and the drops."""

    def reply(_: Received) -> Reply:
        wait_until(elapsed(0.5))
        return Reply()

    with open_sink() as sink:
        sink.reply = reply
        found, minutes, dropped = ask_script(
            tmp_path_factory.mktemp("waiting"),
            WAITING.format(address=sink.address),
            OTEL_BSP_MAX_QUEUE_SIZE="1",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="1",
        )
    return found, minutes, dropped


def test_call_waits_a_tenth_of_a_second(durations: tuple[list[float], float, int]) -> None:
    """A call waits 100 ms for room, then its span is dropped."""
    waited = sorted(duration for duration in durations[0] if duration > 0.05)
    assert 0.09 < waited[len(waited) // 2] < 0.15


@at_night
def test_calls_wait_five_seconds_a_minute(durations: tuple[list[float], float, int]) -> None:
    """All calls together wait at most 5 s a minute, however many spans are delivered."""
    waited_s = sum(durations[0][1:])
    assert 4.0 < waited_s < 8 * durations[1]


def test_exporter_does_not_wait_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced calls by the exporter itself do not wait, because only the exporter makes room."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
    inner: list[float] = []

    def call_back() -> SpanExportResult:
        began = time.monotonic()
        call(calling, 100)
        inner.append(time.monotonic() - began)
        return SpanExportResult.SUCCESS

    calling = Client("shop", exporter=Taking(call_back))
    call(calling)
    calling.flush()
    calling.close()
    assert inner[0] < 1.0
    assert calling.stats().blocked_ms == 0.0


# Retries.


class Failing:
    """Responds with a failure the given number of times, then with success."""

    def __init__(self, reply: Reply, times: int) -> None:
        self._reply = reply
        self._left = times

    def __call__(self, _: Received) -> Reply:
        self._left -= 1
        return Reply() if self._left < 0 else self._reply


@pytest.mark.parametrize("status", [429, 503])
def test_failed_request_is_sent_again(client: Client, sink: Sink, status: int) -> None:
    """Spans refused by an overloaded receiver are sent again until they are accepted, once."""
    sink.reply = Failing(Reply(status), 2)
    call(client, 10)
    assert client.flush() == Delivery(delivered=10)
    assert (len(sink.requests), len(sink.taken)) == (3, 1)
    assert client.stats().retries == 2


def test_retry_after_is_kept(client: Client, sink: Sink) -> None:
    """The sender waits for as long as the receiver's Retry-After."""
    sink.reply = Failing(Reply(503, {"retry-after": "1"}), 2)
    call(client)
    wait_until(lambda: len(sink.taken) == 1)
    first, second, third = (request.at_s for request in sink.requests)
    assert second - first >= 1.0
    assert third - second >= 1.0


@at_night
@pytest.mark.parametrize(("headers", "least_s"), [({"retry-after": "1"}, 1.0), ({}, 0.25)])
def test_receiver_is_left_alone_in_a_hurry(
    client: Client, sink: Sink, headers: dict[str, str], least_s: float
) -> None:
    """Concurrent flushes do not make the sender retry before the delay is over."""
    sink.reply = Failing(Reply(503, headers), 1)
    call(client)
    threads = [threading.Thread(target=client.flush, args=(LONG_S,)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = (request.at_s for request in sink.requests)
    assert second - first >= least_s


@at_night
def test_flush_waits_as_long_as_the_receiver_asks(
    client: Client, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    """A flush waits for twice the requested delay, and the log reports that it waits."""
    sink.reply = Failing(Reply(503, {"retry-after": "3"}), 2)  # 6 s without progress
    call(client, 7)
    assert client.flush() == Delivery(delivered=7)
    [text] = said(caplog, "Waiting for")
    assert (sink.address in text, "7 spans" in text) == (True, True)


@at_night
def test_flush_remembers_the_longest_pause(client: Client, sink: Sink) -> None:
    """A success does not shorten how long a flush waits for a receiver that asks for delays."""
    replies = [Reply(503, {"retry-after": "3"}), Reply()]
    replies += [Reply(503, {"retry-after": "1"})] * 6
    sink.reply = lambda _: replies.pop(0) if replies else Reply()
    call(client)
    assert client.flush() == Delivery(delivered=1)
    call(client)
    assert client.flush() == Delivery(delivered=1)  # after 6 s without progress


@at_night
def test_exit_waits_as_long_as_the_receiver_asks(tmp_path: Path, sink: Sink) -> None:
    """A process that ends waits for twice the requested delay, and reports it."""
    sink.reply = Failing(Reply(503, {"retry-after": "3"}), 2)
    script = f"""
        from otel_ml import Client

        client = Client("shop", endpoint={sink.address!r})
        client.trace(lambda a: a)(1)
    """
    ended = run_script(tmp_path, script)
    assert "Waiting for" in ended.stderr
    assert len(sink.taken) == 1


def test_recovery_is_reported(client: Client, sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    """After an outage, the log reports that delivery works again, and how late the spans were."""
    sink.reply = Failing(Reply(503, {"retry-after": "1"}), 1)
    call(client, 5)
    assert client.flush() == Delivery(delivered=5)
    [text] = said(caplog, "works again")
    assert re.fullmatch(
        rf"Delivery to {sink.address} works again: 5 spans were late, by up to 1\.\d s", text
    )


@at_night
def test_losses_of_an_outage_are_reported(
    monkeypatch: pytest.MonkeyPatch, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    """After an outage, the log reports how many spans were lost."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    sink.reply = Failing(Reply(503, {"retry-after": "1"}), 1)
    client = Client("shop", endpoint=sink.address, join=False)
    call(client)
    wait_until(lambda: said(caplog, r"is busy \(503\); [\d,]+ spans? waiting, retrying$"))
    call(client, 20)
    client.flush()
    lost = client.stats().lost["queue full"]
    [text] = said(caplog, "works again")
    assert text.endswith(f"; {lost} were lost")
    client.close()


@at_night
def test_recovery_is_reported_once_a_minute(
    client: Client, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    """Two outages within a minute are reported once, so that a busy collector fills no log."""
    for _ in range(2):
        sink.reply = Failing(Reply(503), 1)
        call(client)
        assert client.flush() == Delivery(delivered=1)
    assert len(said(caplog, "works again|is busy")) == 2


@at_night
def test_flush_ends_a_long_pause(refused: Client) -> None:
    """A flush retries soon, however long the sender's retry delay has become."""
    call(refused)
    wait_until(lambda: refused.stats().retries >= 3)  # now the delay is at least 2 s
    with open_sink(urlsplit(str(refused.stats().configuration["endpoint"])).port or 0) as sink:
        began = time.monotonic()
        assert refused.flush()
        assert time.monotonic() - began < 1.5
    assert len(sink.ids) == 1


def test_failure_is_said_once(client: Client, sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    """Repeated failures of a receiver are logged once, with its address."""
    sink.reply = Failing(Reply(503), 2)
    call(client)
    assert client.flush()
    [text] = said(caplog, r"is busy \(503\)")
    assert sink.address in text


def test_outage_loses_nothing(refused: Client) -> None:
    """Calls made during an outage are delivered once the receiver is back, each exactly once."""
    call(refused, 1_000)
    wait_until(lambda: refused.stats().retries >= 1)
    call(refused, 1_000)
    with open_sink(urlsplit(str(refused.stats().configuration["endpoint"])).port or 0) as sink:
        wait_until(lambda: refused.stats().delivered == 2_000)
    assert (len(sink.ids), len(set(sink.ids))) == (2_000, 2_000)


# Refusals.


def test_refused_batch_is_lost(client: Client, sink: Sink) -> None:
    """Permanently refused spans are counted by reason and not sent again."""
    sink.reply = Failing(Reply(400), 1)
    call(client, 10)
    assert client.flush() == Delivery(lost={"400 Bad Request": 10})
    call(client, 5)
    assert client.flush() == Delivery(delivered=5)
    assert client.stats().lost == {"400 Bad Request": 10}
    assert len(sink.requests) == 2


def test_refusal_is_said_once(client: Client, sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    """Refusals are logged once, with the reason and the address."""
    sink.reply = lambda _: Reply(401)
    for _ in range(3):
        call(client)
        client.flush()
    [text] = said(caplog, "401 Unauthorized")
    assert sink.address in text


def test_batch_that_is_too_large_is_split(client: Client, sink: Sink) -> None:
    """A batch that is too large for the receiver is halved until it is accepted."""
    sink.reply = lambda request: Reply(413 if len(request.spans) > 3 else 200)
    call(client, 20)
    assert client.flush() == Delivery(delivered=20)
    assert sorted(map(int, outputs(sink))) == list(range(20))


class Breaking:
    """Refuses a batch of four as too large, and raises on its first half."""

    page = "nowhere"
    is_out_of_reach = False

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def send(self, batch: SpanBatch, timeout_s: float) -> Answer:
        self.sizes.append(batch.count)
        if len(self.sizes) == 1:
            return Answer(delivered=False, too_large=True)
        if len(self.sizes) == 2:
            raise MemoryError
        return Answer(delivered=True)

    def close(self) -> None:
        """Do nothing: no connection is open."""

    def after_fork(self) -> None:
        """Do nothing: no connection is open."""


def test_part_that_breaks_is_lost_alone() -> None:
    """If one half of a split batch fails, it is lost, the other is sent, and counts are right."""
    destination = Breaking()
    queue = SpanQueue()
    for _ in range(4):
        assert queue.put(ReadableSpan("any"))  # before a thread can send the first ones
    pipeline = Pipeline(queue, destination, Pace())
    delivery = pipeline.flush(LONG_S)
    assert (destination.sizes, pipeline.pending) == ([4, 2, 2], 0)
    assert delivery == Delivery(delivered=2, lost={"MemoryError": 2})
    pipeline.close(LONG_S)


@at_night
def test_first_span_after_a_pause_leaves_at_once(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first span after a pause is sent at once, the next ones after the schedule delay."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "2000")
    client = Client("shop", endpoint=sink.address, join=False)
    call(client)
    client.flush()  # the sender's modules are loaded and its pause begins
    wait_until(elapsed(2.1))
    began = time.monotonic()
    call(client)
    wait_until(lambda: len(sink.spans) == 2, timeout_s=LONG_S)
    first_s = time.monotonic() - began
    call(client, 5)
    wait_until(lambda: len(sink.spans) == 7, timeout_s=LONG_S)
    assert first_s < 1.0
    assert time.monotonic() - began - first_s > 1.0
    client.close()


def test_continuous_traffic_is_one_request_a_second(client: Client, sink: Sink) -> None:
    """A process that calls continuously sends one request per second."""
    call(client)
    client.flush()
    wait_until(elapsed(0.1))  # the sender's pause begins
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        call(client)
        wait_until(elapsed(0.02))
    sent_at_s = [request.at_s for request in sink.requests]
    gaps_s = [later - earlier for earlier, later in pairwise(sent_at_s)]
    assert len(gaps_s) in {1, 2}
    assert min(gaps_s) >= 0.95


@pytest.mark.parametrize(("calls", "value"), [(3_000, None), (200, "x" * 20_000)])
def test_full_batch_leaves_at_once(
    client: Client, sink: Sink, calls: int, value: str | None
) -> None:
    """A batch that is full, by spans or by bytes, is sent without waiting for the delay."""
    call(client)
    client.flush()
    began = time.monotonic()
    call(client, calls, value)
    wait_until(lambda: len(sink.requests) > 1)
    assert sink.requests[1].at_s - began < 0.9


def test_request_that_takes_long_is_not_followed_at_once(client: Client, sink: Sink) -> None:
    """Spans that end during a request also wait for the delay."""

    def reply(_: Received) -> Reply:
        wait_until(elapsed(0.3))
        return Reply()

    sink.reply = reply
    call(client)
    wait_until(lambda: len(sink.requests) == 1)
    call(client)
    wait_until(lambda: len(sink.taken) == 2)
    first, second = (request.at_s for request in sink.requests)
    assert second - first >= 1.0


@at_night
def test_span_that_is_too_large_is_lost_alone(client: Client, sink: Sink) -> None:
    """A span that is too large alone is lost, and all others of its batch are delivered."""
    sink.reply = lambda request: Reply(
        413 if any(span["otel_ml.outputs"] == "7" for span in request.spans) else 200
    )
    call(client, 20)
    delivery = client.flush()
    assert (delivery.delivered, sum(delivery.lost.values())) == (19, 1)
    assert sorted(map(int, outputs(sink))) == [number for number in range(20) if number != 7]


def partial_success(rejected: int) -> Reply:
    """Return a response that accepts a request except some spans."""
    partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message="too old")
    body = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    return Reply(200, {"content-type": "application/x-protobuf"}, body)


def test_rejected_spans_are_counted(client: Client, sink: Sink) -> None:
    """Spans of a batch that the receiver rejects are lost, and the others are delivered."""
    sink.reply = lambda _: partial_success(3)
    call(client, 10)
    assert client.flush() == Delivery(delivered=7, lost={"rejected": 3})
    call(client, 10)
    assert client.flush() == Delivery(delivered=7, lost={"rejected": 3})
    stats = client.stats()
    assert (stats.delivered, stats.lost) == (14, {"rejected": 6})


def test_rejection_is_said_once(
    client: Client, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    """Rejections are logged once, with the receiver's message."""
    sink.reply = lambda _: partial_success(1)
    for _ in range(3):
        call(client, 2)
        client.flush()
    assert len(said(caplog, "reject.*too old")) == 1


@at_night
def test_no_more_is_rejected_than_was_sent(client: Client, sink: Sink) -> None:
    """If a receiver rejects more spans than were sent, all of them count as rejected."""
    sink.reply = lambda _: partial_success(1_000)
    call(client, 2)
    assert client.flush() == Delivery(lost={"rejected": 2})


# Flush and close.


@dataclass(slots=True)
class Quiet:
    """Results of flushes and a close when nothing can be delivered.

    Attributes:
        took_s: How long each took, by name.
        deliveries: The results of the flushes.
        stats: The stats of the closed client.
    """

    took_s: dict[str, float] = field(default_factory=dict)
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    stats: Stats = field(default_factory=Stats)

    def flush(self, name: str, client: Client) -> None:
        began = time.monotonic()
        self.deliveries[name] = client.flush()
        self.took_s[name] = time.monotonic() - began

    def close(self, client: Client) -> None:
        began = time.monotonic()
        client.close()
        self.took_s["close"] = time.monotonic() - began
        self.stats = client.stats()


@pytest.fixture(scope="module")
def quiet() -> Quiet:
    """Flush with a silent receiver and with none, and close a client, all at the same time."""
    over, quiet, address = threading.Event(), Quiet(), closed_address()
    with open_sink() as sink:
        sink.reply = lambda _: Reply(200 if over.wait(LONG_S) else 500)
        hanging, closing, refused = (
            Client("shop", endpoint=place, join=False)
            for place in (sink.address, sink.address, address)
        )
        for client in (hanging, closing, refused):
            call(client, 3)
        threads = [
            threading.Thread(target=quiet.flush, args=("hanging", hanging)),
            threading.Thread(target=quiet.flush, args=("refused", refused)),
            threading.Thread(target=quiet.close, args=(closing,)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        over.set()
        hanging.close()
    with open_sink(urlsplit(address).port or 0):
        refused.close()
    return quiet


@at_night
@pytest.mark.parametrize("name", ["hanging", "refused"])
def test_flush_gives_up_early(quiet: Quiet, name: str) -> None:
    """A flush returns after 5 s without progress, long before its timeout."""
    assert 4.9 < quiet.took_s[name] < 8.0


@pytest.mark.parametrize("name", ["hanging", "refused"])
def test_flush_tells_that_it_gave_up(quiet: Quiet, name: str) -> None:
    """A flush that gave up reports the number of pending spans."""
    delivery = quiet.deliveries[name]
    assert (delivery.delivered, delivery.pending, delivery.lost) == (0, 3, {})
    assert not delivery


@at_night
def test_flush_tells_that_nobody_listens(quiet: Quiet) -> None:
    """A flush that gave up because the connection was refused reports this reason."""
    assert quiet.deliveries["refused"].reason == "connection refused"


@at_night
def test_flush_tells_that_nobody_answers(quiet: Quiet) -> None:
    """A flush that gave up because the receiver is silent reports a reason."""
    assert quiet.deliveries["hanging"].reason


@at_night
def test_close_gives_up(quiet: Quiet) -> None:
    """Closing takes at most 10 s if the receiver accepts the request and never responds."""
    assert quiet.took_s["close"] < 10.0


def test_closed_client_has_nothing_queued(quiet: Quiet) -> None:
    """After a client is closed, undelivered spans count as lost and no longer as queued."""
    assert (quiet.stats.queued, sum(quiet.stats.lost.values())) == (0, 3)


def test_flush_of_many_threads_tells_each_span_once(client: Client, sink: Sink) -> None:
    """The results of concurrent flushes add up to the number of delivered spans."""
    traced = client.trace(lambda value: value)
    told: list[Delivery] = []

    def work() -> None:
        for number in range(30):
            traced(number)
            told.append(client.flush())

    run_threads(work, 8)
    assert sum(delivery.delivered for delivery in told) == len(sink.ids) == 240


def test_flush_tells_all_that_it_delivered(client: Client) -> None:
    """The result of a flush includes every span delivered before it returned."""
    traced, told = client.trace(lambda: 1), set[tuple[int, int]]()

    def work() -> None:
        for _ in range(200):
            traced()
            delivery = client.flush()
            told.add((delivery.delivered, delivery.pending))

    run_threads(work, 1)
    assert told == {(1, 0)}


def test_flush_waits_for_what_was_put_before(client: Client, sink: Sink) -> None:
    """When a flush returns, everything its thread recorded before is delivered."""
    missing: list[str] = []

    def work() -> None:
        for _ in range(30):
            with client.run("model") as run:
                pass
            client.flush()
            if run.id not in sink.ids:
                missing.append(run.id)

    run_threads(work, 4)
    assert missing == []


def run_threads(work: Callable[[], None], number: int) -> None:
    """Run threads with a minimal switch interval, so that they are interrupted often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(before)


# Batches.


def test_batches_are_bounded_by_number(
    monkeypatch: pytest.MonkeyPatch, client: Client, sink: Sink
) -> None:
    """A request has at most as many spans as the environment allows."""
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    call(client, 95)
    assert client.flush()
    sizes = [len(request.spans) for request in sink.requests]
    assert (sum(sizes), max(sizes)) == (95, 10)


def test_batches_are_bounded_by_bytes(client: Client, sink: Sink) -> None:
    """A request with long payloads stays below 9 MiB."""
    call(client, 200, "x" * 60_000)
    assert client.flush()
    sizes = [int(request.headers["content-length"]) for request in sink.requests]
    assert sum(sizes) > 200 * 120_000
    assert max(sizes) < 9 * 1024 * 1024


def test_first_span_waits_for_others(
    monkeypatch: pytest.MonkeyPatch, client: Client, sink: Sink
) -> None:
    """Spans that end at about the same time are sent in one request."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", LATE_MS)
    call(client, 100)
    assert client.flush()
    assert [len(request.spans) for request in sink.requests] == [100]


# A custom exporter.


class Taking(SpanExporter):
    """Accepts all spans, except that its first export runs the given function."""

    def __init__(self, first: Callable[[], SpanExportResult] | None = None) -> None:
        self._first = first
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        first, self._first = self._first, None
        if first is not None:
            return first()
        self.spans += spans
        return SpanExportResult.SUCCESS


def fail() -> SpanExportResult:
    return SpanExportResult.FAILURE


def raise_error() -> SpanExportResult:
    raise RuntimeError("no")


@pytest.mark.parametrize(
    ("first", "reason"), [(fail, "the exporter failed"), (raise_error, "RuntimeError")]
)
def test_failed_export_is_lost(first: Callable[[], SpanExportResult], reason: str) -> None:
    """A batch that the exporter refuses or raises on is lost, and reported once."""
    exporter = Taking(first)
    client = Client("shop", exporter=exporter)
    call(client, 3)
    assert client.flush() == Delivery(lost={reason: 3})
    call(client, 2)
    assert client.flush() == Delivery(delivered=2)
    client.close()


def test_dead_thread_is_started_again(tmp_path: Path) -> None:
    """An exporter that ends the sending thread loses only its batch."""
    script = """
        import dataclasses, json
        from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
        from otel_ml import Client

        class Ending(SpanExporter):
            told = []

            def export(self, spans):
                self.told.append(len(spans))
                if len(self.told) == 1:
                    raise SystemExit
                return SpanExportResult.SUCCESS

        client = Client("shop", exporter=Ending())
        traced = client.trace(lambda: 1)
        [traced() for _ in range(3)]
        first = client.flush(5)
        [traced() for _ in range(2)]
        print(json.dumps([dataclasses.asdict(one) for one in (first, client.flush(5))]))
    """
    assert ask_script(tmp_path, script) == [
        {"delivered": 0, "pending": 0, "lost": {"SystemExit": 3}, "reason": ""},
        {"delivered": 2, "pending": 0, "lost": {}, "reason": ""},
    ]


# Forks and finalisers.


def test_child_begins_empty(tmp_path: Path, sink: Sink) -> None:
    """Spans pending at a fork are delivered by the parent only."""
    script = f"""
        import json, os
        from otel_ml import Client

        client = Client("shop", endpoint={sink.address!r})
        traced = client.trace(lambda a: a)
        for number in range(100):
            traced(number)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            waiting = client.stats().queued
            traced("child")
            os.write(writer, json.dumps([waiting, client.flush().delivered]).encode())
            os._exit(0)
        os.waitpid(child, 0)
        print(json.dumps([json.loads(os.read(reader, 100)), client.flush().delivered]))
    """
    found = ask_script(tmp_path, script, OTEL_BSP_SCHEDULE_DELAY=LATE_MS)
    assert found == [[0, 1], 100]
    assert sorted(outputs(sink)) == sorted(['"child"', *map(str, range(100))])


# Finalisers run at each function call, not in the garbage collector: before Python 3.12, a
# finaliser that the collector runs inside `ContextVar.set` crashes the interpreter.
FINALISERS = """
    import faulthandler, sys, threading
    from otel_ml import Client, Judge, current_run

    class Trouble:
        def __str__(self):
            raise ValueError("no")

    faulthandler.dump_traceback_later(60, exit=True)
    client = Client("shop", endpoint={address!r})
    traced = client.{decorator}(lambda key: current_run().tag({{key: 1}}))
    traced("opens the client")
    client.flush(0.5)

    class Garbage:
        def __del__(self):
            traced(Trouble())

    def work():
        sys.setprofile(lambda *event: Garbage())
        for number in range(5):
            traced(Trouble())
        sys.setprofile(None)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("went on", flush=True)
    client.flush()
    stats = client.stats()
    print(stats.sequence == stats.delivered + sum(stats.lost.values()))
"""


@sampled(1)
@pytest.mark.parametrize("decorator", ["trace", "assess(Judge('any', '', lambda: 1))"])
def test_finaliser_may_call(tmp_path: Path, sink: Sink, decorator: str) -> None:
    """A finaliser that calls a traced function neither hangs nor loses spans, wherever it runs."""
    script = FINALISERS.format(address=sink.address, decorator=decorator)
    assert run_script(tmp_path, script).stdout == "went on\nTrue\n"


@at_night
@pytest.mark.parametrize("decorator", ["trace", "assess(Judge('any', '', lambda: 1))"])
def test_finaliser_may_call_when_the_queue_is_full(
    tmp_path: Path, sink: Sink, decorator: str
) -> None:
    """A finaliser that calls a traced function does not hang when spans are dropped."""
    sink.reply = lambda _: Reply(503)
    script = FINALISERS.format(address=sink.address, decorator=decorator)
    script = script.replace("    client.flush()\n", "    import os; os._exit(0)\n")
    result = run_script(tmp_path, script, OTEL_BSP_MAX_QUEUE_SIZE="2")
    assert result.stdout == "went on\n"


def test_exporter_sees_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A custom exporter receives batches of ordinary spans of the usual size."""
    exporter = Taking()
    client = Client("shop", exporter=exporter)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", LATE_MS)
    call(client, 3)
    assert client.flush()
    client.close()
    assert [attributes(span)["otel_ml.outputs"] for span in exporter.spans] == ["0", "1", "2"]
