"""Cases of tests/unit/otel_ml/test_stats.py that start processes."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otel_ml import Client
from otel_ml.export.delivery import Delivery
from tests.support.otel_ml.otlp_sink import Reply, Sink, closed_address, open_sink
from tests.unit.otel_ml.test_stats import call

LATE_MS = "60000"


MakeClient = Callable[[str], Client]


@pytest.fixture
def make(sink: Sink) -> Iterator[MakeClient]:
    """Yield a function that creates a client of the sink with its own project."""
    clients: list[Client] = []

    def make(project: str) -> Client:
        clients.append(Client(project, endpoint=sink.address, join=False))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_delivered_spans_are_counted(make: MakeClient) -> None:
    """Delivered spans are counted, including those of records."""
    client = make("delivered")
    call(client, 10)
    with client.run("fit"):
        pass
    assert client.flush()
    stats = client.stats()
    assert (stats.delivered, stats.lost, stats.queued, stats.retries) == (12, {}, 0, 0)


def test_waiting_spans_are_counted(monkeypatch: pytest.MonkeyPatch, make: MakeClient) -> None:
    """Pending spans are counted until they are delivered."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", LATE_MS)
    client = make("waiting")
    call(client, 10)
    assert client.stats().queued == 10
    client.flush()
    assert client.stats().queued == 0


def test_retries_are_counted(make: MakeClient, sink: Sink) -> None:
    """Each retried request is counted."""
    replies = iter([Reply(503), Reply(429), Reply()])
    sink.reply = lambda _: next(replies)
    client = make("retried")
    call(client)
    assert client.flush()
    assert client.stats().retries == 2


def test_losses_are_counted_by_reason(make: MakeClient, sink: Sink) -> None:
    """Lost spans are counted by reason."""
    replies = iter([Reply(400), Reply(401), Reply(401), Reply()])
    sink.reply = lambda _: next(replies)
    client = make("lost")
    for times in (1, 2, 3, 4):
        call(client, times)
        client.flush()
    stats = client.stats()
    assert stats.lost == {"400 Bad Request": 1, "401 Unauthorized": 5}
    assert stats.delivered == 4


def test_calls_after_close_are_counted(make: MakeClient) -> None:
    """Calls of a closed client are lost and counted."""
    client = make("closed")
    call(client)
    client.close()
    call(client, 2)
    assert client.stats().lost == {"closed": 2}
    assert client.flush() == Delivery(lost={"closed": 2})


def test_dropped_calls_leave_a_gap(monkeypatch: pytest.MonkeyPatch, make: MakeClient) -> None:
    """Sequence numbers are assigned before the queue, so that dropped spans leave gaps."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "5")
    address = closed_address()
    client = Client("gap", endpoint=address, join=False)
    call(client)
    client.flush(0.3)
    call(client, 20)
    lost = client.stats().lost["queue full"]
    with open_sink(int(address.rpartition(":")[2])) as sink:
        assert client.flush().delivered == 21 - lost
        call(client)
        client.close()
    numbers = sorted(span["otel_ml.seq"] for span in sink.spans)
    assert (numbers[0], numbers[-1]) == (1, 22)
    assert numbers[-1] - len(numbers) == lost > 0


def test_clients_of_a_project_share_its_numbers(make: MakeClient, sink: Sink) -> None:
    """Two clients of one project share one sequence of numbers."""
    one, other = make("shared"), make("shared")
    for client in (one, other, one):
        call(client)
        client.flush()
    assert [span["otel_ml.seq"] for span in sink.spans] == [1, 2, 3]


def test_documented_defaults(make: MakeClient, sink: Sink) -> None:
    """Without settings, the documented defaults apply."""
    client = make("defaults")
    call(client)
    configuration = dict(client.stats().configuration)
    assert str(configuration.pop("sampler")).startswith("ParentBased{root:AlwaysOnSampler,")
    assert configuration == {
        "provider": "own",
        "endpoint": sink.address,
        "compression": "none",
        "queue_spans": 50_000,
        "queue_bytes": 64 * 1024 * 1024,
        "batch_spans": 2_048,
        "delay_ms": 1_000.0,
        "spool": None,
    }


def test_configuration_is_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, make: MakeClient
) -> None:
    """The configuration has the values from the environment."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    client = make("set")
    call(client)
    found = client.stats().configuration
    assert {name: found[name] for name in found if name not in {"endpoint", "queue_bytes"}} == {
        "provider": "own",
        "sampler": "AlwaysOnSampler",
        "compression": "gzip",
        "queue_spans": 100,
        "batch_spans": 10,
        "delay_ms": 50.0,
        "spool": None,
    }


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "1e3"])
def test_odd_number_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, make: MakeClient, text: str
) -> None:
    """An invalid number is logged, and the default applies."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", text)
    client = make("odd")
    call(client)
    assert client.stats().configuration["queue_spans"] == 50_000
    assert f"Invalid OTEL_BSP_MAX_QUEUE_SIZE {text!r}" in caplog.text


def test_no_secret_is_told(sink: Sink) -> None:
    """The statistics contain neither API key nor password."""
    address = sink.address.replace("//", "//me:s3cr3t-password@")
    client = Client("secret", "sk-s3cr3t-key", address, join=False)
    call(client)
    client.close()
    assert "s3cr3t" not in repr(client.stats())


def test_statistics_may_be_asked_at_any_time(tmp_path: Path) -> None:
    """Threads can call `stats` of a client with a spool while others record, without errors."""
    errors: list[BaseException] = []
    with open_sink() as sink:
        client = Client("busy", endpoint=sink.address, join=False, spool=tmp_path / "spool")
        over = threading.Event()

        def ask() -> None:
            try:
                while not over.is_set():
                    client.stats()
            except BaseException as error:  # noqa: BLE001 - it is what is looked for
                errors.append(error)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        call(client, 500)
        assert client.flush()
        over.set()
        for thread in threads:
            thread.join()
        client.close()
    assert errors == []
