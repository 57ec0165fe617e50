"""Internal errors are counted, logged once, and never reach the host."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import NoOpTracerProvider

from otel_ml import Client
from otel_ml.errors import InvalidMetricError, report, trouble
from tests.support.otel_ml.recording import Recording, attributes
from tests.support.sampling import sampled


class RaisingExporter(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise RuntimeError("export")

    def shutdown(self) -> None:
        raise RuntimeError("shutdown")

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        raise RuntimeError("flush")


class RaisingSampler(Sampler):
    def should_sample(self, *_args: Any, **_options: Any) -> SamplingResult:
        raise RuntimeError("sampler")

    def get_description(self) -> str:
        return "raising"


class RaisingProcessor(SpanProcessor):
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        raise RuntimeError("start")

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("end")


def raising_exporter() -> Client:
    return Client("shop", exporter=RaisingExporter())


def raising_sampler() -> Client:
    return Client(
        "shop", tracer_provider=TracerProvider(sampler=RaisingSampler(), shutdown_on_exit=False)
    )


def raising_processor() -> Client:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(RaisingProcessor())
    return Client("shop", tracer_provider=provider)


def no_provider() -> Client:
    return Client("shop", tracer_provider=NoOpTracerProvider())


def bad_setting() -> Client:
    return Client("shop")


BROKEN: list[Callable[[], Client]] = [
    raising_exporter,
    raising_sampler,
    raising_processor,
    no_provider,
    bad_setting,
]


@pytest.fixture(params=BROKEN, ids=lambda make: make.__name__)
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Return a client with one broken part."""
    if request.param is bad_setting:
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    made: Client = request.param()
    return made


def add(a: int, b: int) -> int:
    return a + b


def count(stop: int) -> Iterator[int]:
    yield from range(stop)


def test_broken_part_changes_no_call(broken: Client) -> None:
    """Whatever part of telemetry is broken, a call returns its usual result."""
    assert broken.trace(add)(1, 2) == 3


def test_broken_part_changes_no_exception(broken: Client) -> None:
    """Whatever part of telemetry is broken, a call raises its usual exception."""
    with pytest.raises(ZeroDivisionError, match=r"^division by zero$"):
        broken.trace(lambda: 1 / 0)()


def test_broken_part_changes_no_stream(broken: Client) -> None:
    """Whatever part of telemetry is broken, a stream yields its usual chunks."""
    assert list(broken.trace(count)(3)) == [0, 1, 2]


def test_broken_part_changes_no_block(broken: Client) -> None:
    """Whatever part of telemetry is broken, the block of a run is executed."""
    with broken.run("training", params={"a": 1}, tags={"b": 2}) as run:
        run.tag(c=3)
        run.info("text")
        run.log_metrics({"loss": 0.5})


@sampled(2)
def test_broken_part_changes_no_flush(broken: Client) -> None:
    """Whatever part of telemetry is broken, flush returns."""
    broken.trace(add)(1, 2)
    assert bool(broken.flush(1)) in {True, False}


@sampled(2)
def test_broken_part_changes_no_close(broken: Client) -> None:
    """Whatever part of telemetry is broken, close returns."""
    broken.trace(add)(1, 2)
    broken.close()


def test_blocked_exporter_blocks_no_call() -> None:
    """Calls return while the exporter hangs."""
    hanging, entered = threading.Event(), threading.Event()

    class HangingExporter(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            entered.set()
            assert hanging.wait(30)
            return SpanExportResult.SUCCESS

    client = Client("shop", exporter=HangingExporter())
    traced = client.trace(add)
    assert traced(1, 2) == 3
    assert entered.wait(10)
    assert [traced(number, 1) for number in range(100)] == list(range(1, 101))
    hanging.set()
    client.close()


def test_flush_keeps_its_deadline() -> None:
    """While the exporter hangs, flush returns a false result at its timeout."""
    hanging = threading.Event()
    answers: list[bool] = []

    class HangingExporter(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            hanging.wait(30)
            return SpanExportResult.SUCCESS

    client = Client("shop", exporter=HangingExporter())
    client.trace(add)(1, 2)
    thread = threading.Thread(target=lambda: answers.append(bool(client.flush(0.05))))
    thread.start()
    thread.join(5)
    in_time = not thread.is_alive()
    hanging.set()
    thread.join()
    client.close()
    assert (in_time, answers) == (True, [False])


def test_error_without_attributes_is_the_hosts(recording: Recording) -> None:
    """An error without readable attributes is raised unchanged, and its run has outcome error."""

    class Hostile(Exception):
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError("hostile")

    error = Hostile()

    @recording.client.trace
    def fail() -> None:
        raise error

    caught: BaseException | None = None
    try:
        fail()
    except BaseException as raised:  # noqa: BLE001 - whatever it is
        caught = raised
    assert caught is error
    [run] = recording.runs()
    assert attributes(run)["otel_ml.outcome"] == "error"


def test_trouble_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Errors at one place are all counted, but logged only the first time, by type."""
    for number in range(3):
        report("a place of this test", ValueError(f"the customer's words {number}"))
    assert trouble()["a place of this test"] == 3
    [record] = [item for item in caplog.records if item.levelno >= logging.INFO]
    assert (record.name, record.levelname) == ("otel_ml", "WARNING")
    assert record.getMessage() == (
        "Telemetry error in a place of this test (ValueError): "
        "your call is not affected, further errors are only counted"
    )


def test_trouble_is_a_copy() -> None:
    """Changing the result of `trouble` does not change the counts."""
    trouble().clear()
    report("another place of this test", ValueError())
    assert trouble()["another place of this test"] == 1


def test_refused_metric_is_a_value_error() -> None:
    """A refused metric can be caught as a ValueError."""
    assert issubclass(InvalidMetricError, ValueError)


def test_client_that_cannot_be_set_up_is_tried_once() -> None:
    """A tracer provider that raises causes an internal error at the first call only."""

    class Refusing(trace.TracerProvider):
        def get_tracer(self, *_: object, **__: object) -> trace.Tracer:
            raise KeyError("no tracer")

    before = trouble().get("trace", 0)
    client = Client("shop", tracer_provider=Refusing())
    traced = client.trace(add)
    assert [traced(1, 2) for _ in range(3)] == [3, 3, 3]
    assert trouble()["trace"] == before + 1
    assert client.flush().lost == {"not recorded: KeyError": 3}
