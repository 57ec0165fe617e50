"""Tests of forwarding: which requests the pipeline sends to other collectors, and when."""

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import pytest
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from otel_ml_collector.access import Access
from otel_ml_collector.decode.signals import Form, Signal
from otel_ml_collector.errors import Rejected, Unavailable
from otel_ml_collector.forward.otlp import OtlpForward
from otel_ml_collector.receive.answers import ExportAnswer
from otel_ml_collector.receive.commit import Commit
from otel_ml_collector.receive.pipeline import Export, Intake
from otel_ml_collector.records import Records
from otel_ml_collector.settings.targets import OtlpTarget
from otel_ml_collector.span import Span
from otel_ml_collector.telemetry.service import OtlpForwardNumbers, Telemetry
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.wire import encode
from tests.support.otlp_sink import Sink, http_sink
from tests.support.waiting import wait_until

WAIT_S = 10
SHOP = Access("key", "", frozenset({"ingest"}), ("shop", "shed"))
DROPPED = 'otel_ml_otlp_forward_dropped_total{reason="not_allowed",signal="traces",target="there"}'


@dataclass
class Way:
    """A pipeline with one destination and a store that can block or fail."""

    sink: Sink
    signals: frozenset[str] = frozenset({"traces"})
    refuses_metrics: bool = False
    is_writing: threading.Event = field(default_factory=threading.Event)
    may_write: threading.Event = field(default_factory=threading.Event)
    fails: bool = False
    stored_at_s: float = 0.0

    def __post_init__(self) -> None:
        self.may_write.set()
        self.telemetry, numbers = Telemetry(), OtlpForwardNumbers()
        self.telemetry.register(numbers)
        target = OtlpTarget("there", f"http://{self.sink.address}", signals=self.signals)
        self.forward = OtlpForward([target], numbers)
        self._commit = Commit(self._write, self.telemetry, collect_s=0)
        self._pipeline = Intake(
            self._commit,
            self.telemetry,
            forward=self.forward,
            refuses_metrics=self.refuses_metrics,
        )

    def _write(self, records: Records) -> None:
        self.is_writing.set()
        self.may_write.wait(WAIT_S)
        if self.fails:
            raise Unavailable("no disk")
        self.stored_at_s = time.monotonic()

    async def accept(self, export: Export) -> ExportAnswer:
        with self._pipeline.hold() as reservation:
            return await self._pipeline.accept(export, reservation)

    def close(self) -> None:
        self.may_write.set()
        self._commit.close(WAIT_S)
        self._pipeline.close()
        self.forward.close(0)


@pytest.fixture
def way() -> Iterator[Way]:
    with http_sink() as sink:
        opened = Way(sink)
        yield opened
        opened.close()


def make_now(project: str = "") -> Span:
    attributes = {"otel_ml.project": project} if project else {}
    now_ns = time.time_ns()
    return make_call("one", attributes, start_ns=now_ns, end_ns=now_ns + 1)


def test_after_commit(way: Way) -> None:
    """A request is forwarded after it is stored, not before."""

    async def send() -> None:
        way.may_write.clear()
        body = encode([make_now()])
        sending = asyncio.create_task(way.accept(Export(body, "identity", None)))
        await asyncio.to_thread(way.is_writing.wait, WAIT_S)
        way.may_write.set()
        assert await sending == ExportAnswer(0, "")
        await asyncio.to_thread(wait_until, lambda: bool(way.sink.requests))
        [sent] = way.sink.requests
        assert sent.body == body
        assert sent.at_s > way.stored_at_s

    asyncio.run(send())


def test_not_stored(way: Way) -> None:
    """A request that could not be stored is not forwarded, because its sender sends it again."""

    async def send() -> None:
        way.fails = True
        with pytest.raises(Unavailable):
            await way.accept(Export(encode([make_now()]), "identity", None))
        way.fails = False
        body = encode([make_now()])
        await way.accept(Export(body, "identity", None))
        await asyncio.to_thread(wait_until, lambda: bool(way.sink.requests))
        assert [one.body for one in way.sink.requests] == [body]

    asyncio.run(send())


def test_not_allowed(way: Way) -> None:
    """A request with a span that its key may not write is not forwarded, and counted."""

    async def send() -> None:
        mixed = encode([make_now("shop"), make_now("bank")])
        answer = await way.accept(Export(mixed, "identity", None, access=SHOP))
        assert answer.rejected == 1
        assert f"{DROPPED} 1.0" in way.telemetry.render().decode()
        allowed = encode([make_now()])
        await way.accept(Export(allowed, "identity", None, access=SHOP))
        await asyncio.to_thread(wait_until, lambda: bool(way.sink.requests))
        [sent] = way.sink.requests
        assert (sent.body, sent.headers["x-otel-ml-project"]) == (allowed, "shop")

    asyncio.run(send())


def test_back_again(way: Way) -> None:
    """A request that already passed through this collector is refused before it is stored."""
    passed = way.forward.add_self("elsewhere")
    export = Export(encode([make_now()]), "identity", None, passed=passed)
    with pytest.raises(Rejected, match="The destinations form a loop"):
        asyncio.run(way.accept(export))


METRICS: Final = ExportMetricsServiceRequest()
_GROUP: Final = METRICS.resource_metrics.add()
_GROUP.resource.attributes.add(key="service.name").value.string_value = "till"
_GROUP.scope_metrics.add().metrics.add(name="m").gauge.data_points.add(as_int=1)


def test_metrics_go_on() -> None:
    """A destination for metrics gets them, and their sender gets an empty response."""
    with http_sink() as sink:
        way = Way(sink, frozenset({"traces", "metrics"}))

        async def send() -> None:
            export = Export(METRICS.SerializeToString(), "identity", None, Signal.METRICS)
            assert await way.accept(export) == ExportAnswer(0, "")
            await asyncio.to_thread(wait_until, lambda: bool(way.sink.requests))
            [sent] = way.sink.requests
            assert (sent.path, sent.body) == ("/v1/metrics", export.body)

        asyncio.run(send())
        way.close()


def test_metrics_that_go_nowhere(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    """Metrics without a destination are answered with success, counted, and logged once a day."""
    caplog.set_level("INFO")
    export = Export(METRICS.SerializeToString(), "identity", None, Signal.METRICS)

    async def send() -> None:
        for _ in range(2):
            assert await way.accept(export) == ExportAnswer(0, "")

    asyncio.run(send())
    assert [one for one in caplog.messages if "till" in one] == [
        "These OTLP metrics of till are not stored: m. Forward them, or stop sending them here "
        "(logged once a day)"
    ]
    assert "otel_ml_data_points_left_out_total 2.0" in way.telemetry.render().decode()


@pytest.mark.parametrize(
    ("others", "listed"),
    [
        (["my.counter"], "my.counter"),
        (["a", "b", "c"], "a, b, c"),
        (["a", "b", "c", "d", "e", "a"], "a, b, c and 2 more"),
    ],
)
@pytest.mark.parametrize("form", Form)
def test_names_of_metrics_that_go_nowhere(
    way: Way, caplog: pytest.LogCaptureFixture, others: list[str], listed: str, form: Form
) -> None:
    """The log names only metrics that are not stored."""
    caplog.set_level("INFO")
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    point = metrics.add(name="gen_ai.client.token.usage").histogram.data_points.add()
    point.time_unix_nano, point.count, point.sum = time.time_ns(), 1, 5
    for name in others:
        metrics.add(name=name).sum.data_points.add(as_int=1)
    body = request.SerializeToString()
    if form is Form.JSON:
        body = MessageToJson(request).encode()
    export = Export(body, "identity", "shop", Signal.METRICS, form)
    assert asyncio.run(way.accept(export)) == ExportAnswer(0, "")
    assert [line for line in caplog.messages if "not stored" in line] == [
        f"These OTLP metrics of a service without a name are not stored: {listed}. Forward them, "
        "or stop sending them here (logged once a day)"
    ]


def test_refused_metrics() -> None:
    """If the settings say so, metrics without a destination are rejected with their number."""
    with http_sink() as sink:
        way = Way(sink, refuses_metrics=True)
        export = Export(METRICS.SerializeToString(), "identity", None, Signal.METRICS)
        answer = asyncio.run(way.accept(export))
        assert (answer.rejected, answer.service) == (1, "till")
        assert answer.message.startswith("Metrics are not kept here")
        way.close()


def test_other_signals(way: Way) -> None:
    """A destination gets only its configured signals; metrics are not among the default ones."""

    async def send() -> None:
        for signal in (Signal.LOGS, Signal.METRICS):
            await way.accept(Export(b"", "identity", None, signal))
        body = encode([make_now()])
        await way.accept(Export(body, "identity", "far"))
        await asyncio.to_thread(wait_until, lambda: bool(way.sink.requests))
        assert [one.path for one in way.sink.requests] == ["/v1/traces"]

    asyncio.run(send())
