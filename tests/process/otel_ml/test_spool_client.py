"""A client with a spool keeps its runs when its process is killed or its receiver is down."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client, Judge
from tests.support.otel_ml.otlp_sink import Reply, Sink, closed_address, open_sink
from tests.support.otel_ml.scripts import run_script
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

LONG_S = 20.0
KILLED = -9
KILL = "os.kill(os.getpid(), 9)"

# Tests append how it ends; by default its receiver is down.
PROGRAM = """
import os, sys, threading
from otel_ml import Client, Judge, current_run

client = Client("shop", endpoint={address!r}, spool={spool!r})

@client.trace(name="model")
def model(a):
    return a
"""


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def run_program(
    spool: Path, text: str, *, status: int = 0, address: str | None = None
) -> subprocess.CompletedProcess[str]:
    start = PROGRAM.format(address=address or closed_address(), spool=str(spool))
    return run_script(spool.parent, start + dedent(text), status=status)


@contextmanager
def opened(spool: Path, address: str) -> Iterator[Client]:
    client = Client("shop", endpoint=address, spool=spool, join=False)
    try:
        yield client
    finally:
        client.close()


def deliver(spool: Path, sink: Sink, spans: int) -> None:
    """Deliver `spans` left spans with another client, in addition to its own."""
    with opened(spool, sink.address) as client:
        client.trace(name="next")(lambda: None)()
        wait_until(lambda: len(set(sink.ids)) >= spans + 1)


def outputs(sink: Sink) -> list[str]:
    return sorted(span["otel_ml.outputs"] for span in sink.spans if span["name"] == "model")


def segments(spool: Path) -> list[Path]:
    return list(spool.glob("*.spool"))


# Killed processes.


def test_call_outlives_its_process(spool: Path, sink: Sink) -> None:
    """A call that returned before its process was killed is delivered by the next process."""
    run_program(spool, f"model(7)\n{KILL}", status=KILLED)
    deliver(spool, sink, 1)
    assert outputs(sink) == ["7"]


def test_call_arrives_as_it_would_have(spool: Path, sink: Sink) -> None:
    """A call delivered by another process has the same content as one delivered by its own."""
    text = """
        @client.trace(name="first", tags={"day": "monday"}, params={"depth": 3})
        def first(question):
            current_run().info("asked")
            return [question]

        first("why?")
    """
    run_program(spool, f"{dedent(text)}\n{KILL}", status=KILLED)
    deliver(spool, sink, 1)
    run_program(spool, text, address=sink.address)
    found = [span for span in sink.spans if span["name"] == "first"]
    for span in found:
        for name in ("otel_ml.process", "otel_ml.latency_ms"):
            del span[name]
    assert len(found) == 2
    assert found[0] == found[1]


def test_records_outlive_their_process(spool: Path, sink: Sink) -> None:
    """A run's start, metric points and log lines survive a kill; the open run has no end."""
    run_program(
        spool,
        f"""
        run = client.run("fit")
        run.log_metrics({{"loss": 0.5}})
        {KILL}
        """,
        status=KILLED,
    )
    deliver(spool, sink, 2)
    found = [span.get("otel_ml.record", span["name"]) for span in sink.spans]
    assert sorted(found) == ["next", "start", "update"]


@at_night
def test_short_process_delivers_all_that_was_left(spool: Path, sink: Sink) -> None:
    """A process with a single call delivers everything that a killed one left before it ends."""
    run_program(spool, f"for number in range(6_000):\n    model(number)\n{KILL}", status=KILLED)
    run_program(spool, "model('next')", address=sink.address)
    assert len(set(sink.ids)) == 6_001
    assert segments(spool) == []


def test_flush_delivers_what_was_left(spool: Path, sink: Sink) -> None:
    """A flush also delivers what ended processes left, and reports it."""
    run_program(spool, f"for number in range(6_000):\n    model(number)\n{KILL}", status=KILLED)
    with opened(spool, sink.address) as client:
        client.trace(name="next")(lambda: None)()
        delivery = client.flush()
        assert len(set(sink.ids)) == 6_001
    assert (bool(delivery), delivery.delivered) == (True, 6_001)


def test_second_flush_delivers_what_was_left(spool: Path, sink: Sink) -> None:
    """A flush delivers what a process left since the last flush, however recent that was."""
    with opened(spool, sink.address) as client:
        client.trace(name="next")(lambda: None)()
        assert client.flush()
        run_program(spool, f"model(7)\n{KILL}", status=KILLED)
        assert client.flush()
        assert outputs(sink) == ["7"]


def test_flush_ends_while_others_call(spool: Path, sink: Sink) -> None:
    """A flush returns once earlier calls are delivered, even if other threads keep calling."""
    over = threading.Event()
    with opened(spool, sink.address) as client:
        model = client.trace(name="model")(lambda: 7)

        def work() -> None:
            while not over.wait(0.001):
                model()

        thread = threading.Thread(target=work)
        thread.start()
        began = time.monotonic()
        client.flush(LONG_S)
        took_s = time.monotonic() - began
        over.set()
        thread.join()
    assert took_s < 5.0


def test_process_that_ends_leaves_what_waits(spool: Path, sink: Sink) -> None:
    """A process that ends while its receiver is down ends soon and leaves its calls on disk."""
    result = run_program(
        spool, "import time\nfor number in range(100):\n    model(number)\nprint(time.monotonic())"
    )
    assert time.monotonic() - float(result.stdout) < 5.0
    assert "could not be delivered" not in result.stderr
    deliver(spool, sink, 100)
    assert outputs(sink) == sorted(map(str, range(100)))


@at_night
def test_child_outlives_its_kill(spool: Path, sink: Sink) -> None:
    """The calls of a killed child are delivered, and those of its parent arrive once."""
    run_program(
        spool,
        f"""
        for number in range(100):
            model(number)
        child = os.fork()
        if child == 0:
            model(100)
            {KILL}
        os.waitpid(child, 0)
        model(101)
        """,
        address=sink.address,
    )
    deliver(spool, sink, 102)
    assert outputs(sink) == sorted(map(str, range(102)))


# Judges.


@at_night
def test_judge_of_a_killed_process_is_lost(spool: Path, sink: Sink) -> None:
    """A judged call whose process was killed before the score arrives, and its judge is lost."""
    run_program(
        spool,
        f"""
        judge = Judge("slow", "", lambda: threading.Event().wait(), lambda score: True)
        client.assess(judge, name="model")(lambda: 7)()
        {KILL}
        """,
        status=KILLED,
    )
    deliver(spool, sink, 1)
    [run] = [span for span in sink.spans if span["name"] == "model"]
    assert run["otel_ml.outputs"] == "7"
    assert "otel_ml.score.slow" not in run
    assert "otel_ml.passed.slow" not in run
    [(name, detail)] = json.loads(run["otel_ml.judges"]).items()
    assert (name, set(detail)) == ("slow", {"version", "error"})
    assert detail["error"].startswith("lost: ")


def test_judged_call_arrives_once(spool: Path, sink: Sink) -> None:
    """A judged call of a process that ends normally arrives once, with its score."""
    with opened(spool, sink.address) as client:
        for _ in range(20):
            client.assess(Judge("any", "", lambda: 0.5), name="model")(lambda: 7)()
        assert client.flush()
    runs = [span for span in sink.runs if span["name"] == "model"]
    assert [span["otel_ml.score.any"] for span in runs] == [0.5] * 20
    assert len(set(sink.ids)) == len(sink.ids)
    assert segments(spool) == []


def test_judged_call_of_a_killed_process_arrives_once(spool: Path, sink: Sink) -> None:
    """A judged call whose score was on disk when its process was killed arrives once with it."""
    run_program(
        spool,
        f"""
        client.assess(Judge("any", "", lambda: 0.5), name="model")(lambda: 7)()
        client.flush(0.5)
        {KILL}
        """,
        status=KILLED,
    )
    deliver(spool, sink, 1)
    [run] = [span for span in sink.spans if span["name"] == "model"]
    assert run["otel_ml.score.any"] == 0.5
    assert "error" not in json.loads(run["otel_ml.judges"])["any"]


# A receiver that is down.


def test_outage_loses_nothing(spool: Path) -> None:
    """Calls made during an outage are delivered once when the receiver is back."""
    address = closed_address()
    with opened(spool, address) as client:
        model = client.trace(name="model")(lambda number: number)
        for number in range(3_000):
            model(number)
        assert client.flush(0.3).reason == "connection refused"
        with open_sink(int(address.rpartition(":")[2])) as sink:
            assert client.flush().delivered == 3_000
            assert (len(sink.ids), len(set(sink.ids))) == (3_000, 3_000)
    assert segments(spool) == []


def test_refused_calls_are_removed(spool: Path, sink: Sink) -> None:
    """Permanently refused calls are lost and removed from the spool, and not sent again."""
    sink.reply = lambda _: Reply(400)
    with opened(spool, sink.address) as client:
        client.trace(lambda: 1)()
        assert client.flush().lost == {"400 Bad Request": 1}
    assert segments(spool) == []


def test_too_large_batch_is_split(spool: Path, sink: Sink) -> None:
    """A spooled batch that is too large is halved; only a call too large alone is lost."""
    sink.reply = lambda request: Reply(
        413
        if len(request.spans) > 3 or any(span["otel_ml.outputs"] == "7" for span in request.spans)
        else 200
    )
    with opened(spool, sink.address) as client:
        model = client.trace(name="model")(lambda number: number)
        for number in range(20):
            model(number)
        delivery = client.flush()
    assert (delivery.delivered, sum(delivery.lost.values())) == (19, 1)
    assert outputs(sink) == sorted(str(number) for number in range(20) if number != 7)
    assert segments(spool) == []


def test_waiting_calls_are_counted(spool: Path) -> None:
    """Calls on disk count as queued, and do not count as lost after the client is closed."""
    with opened(spool, closed_address()) as client:
        for _ in range(10):
            client.trace(lambda: 1)()
        stats = client.stats()
        assert (stats.queued, stats.configuration["spool"]) == (10, str(spool))
    assert client.stats().lost == {}


# Directories.


def test_processes_share_a_directory(spool: Path, sink: Sink) -> None:
    """Processes that share a directory deliver each call once."""
    start = PROGRAM.format(address=sink.address, spool=str(spool))
    texts = [
        f"{start}\nfor number in range({first}, {first + 500}):\n    model(number)"
        for first in (0, 500, 1_000)
    ]
    processes = [subprocess.Popen([sys.executable, "-c", text]) for text in texts]
    assert [process.wait(LONG_S) for process in processes] == [0, 0, 0]
    assert outputs(sink) == sorted(map(str, range(1_500)))
    assert segments(spool) == []


@at_night
def test_clients_share_a_directory(spool: Path, sink: Sink) -> None:
    """Two clients of one process can share a directory."""
    with opened(spool, sink.address) as one, opened(spool, sink.address) as other:
        for number in range(100):
            for client in (one, other):
                client.trace(name="model")(lambda number=number: number)()
        assert one.flush()
        assert other.flush()
    assert outputs(sink) == sorted(2 * [str(number) for number in range(100)])


def test_unusable_directory_is_said(
    tmp_path: Path, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    """If the directory cannot be used, one warning is logged, and calls are kept in memory."""
    (tmp_path / "file").touch()
    with opened(tmp_path / "file" / "spool", sink.address) as client:
        for _ in range(3):
            client.trace(lambda: 1)()
        assert client.flush()
        assert client.stats().configuration["spool"] is None
    said = [item.getMessage() for item in caplog.records if "No spool" in item.getMessage()]
    assert len(said) == 1
    assert len(sink.ids) == 3


def test_spool_takes_no_exporter(spool: Path) -> None:
    """A client with a custom exporter and a spool is refused."""
    with pytest.raises(ValueError, match=r"^Invalid spool: expected no exporter, because"):
        Client("shop", exporter=InMemorySpanExporter(), spool=spool)


def test_grpc_has_no_spool(
    spool: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Over gRPC, there is no spool, and a warning says so."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    with opened(spool, closed_address()) as client:
        client.trace(lambda: 1)()
        assert client.stats().configuration["spool"] is None
    assert "No spool" in caplog.text


def test_provider_that_sends_has_no_spool(spool: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If only a given provider sends the spans, there is no spool, and a warning says so."""
    provider = TracerProvider(shutdown_on_exit=False)
    client = Client("shop", tracer_provider=provider, spool=spool)
    client.trace(lambda: 1)()
    client.close()
    assert "No spool" in caplog.text


def test_call_under_a_given_provider_outlives_its_process(spool: Path, sink: Sink) -> None:
    """With a given provider and an endpoint, calls for the endpoint are spooled."""
    text = f"""
        from opentelemetry.sdk.trace import TracerProvider

        client = Client(
            "shop", endpoint={closed_address()!r}, spool={str(spool)!r},
            tracer_provider=TracerProvider(),
        )
        client.trace(name="model")(lambda: 7)()
        {KILL}
    """
    run_program(spool, text, status=KILLED)
    deliver(spool, sink, 1)
    assert outputs(sink) == ["7"]


def test_threads_write_whole_calls(spool: Path, sink: Sink) -> None:
    """Calls of many threads are each written completely and delivered once."""
    with opened(spool, sink.address) as client:
        model = client.trace(name="model")(lambda number: number)
        threads = [
            threading.Thread(target=lambda: [model(number) for number in range(200)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.flush()
    assert outputs(sink) == sorted(8 * [str(number) for number in range(200)])
