"""OTLP is forwarded by real collectors to destinations that accept, refuse or loop it."""

import gzip
import json
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import grpc
import pytest
from backports import zstd
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.collector import CollectorProcess, running
from tests.support.load import make_request
from tests.support.otel_ml_collector.json_wire import encode_json
from tests.support.otel_ml_collector.log_wire import encode_logs
from tests.support.otel_ml_collector.logs import make_log
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.wire import encode
from tests.support.otlp_sink import Reply, Sink, grpc_sink, http_sink
from tests.support.ports import free_port
from tests.support.prometheus import numbers_in
from tests.support.sampling import at_night
from tests.support.senders import EXPORT
from tests.support.waiting import wait_until

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"


def forwarding(**targets: Mapping[str, object]) -> tuple[str, str]:
    """Return the flag that configures destinations."""
    return "--forward-otlp", json.dumps(targets)


def send(
    collector: CollectorProcess,
    body: bytes,
    form: str = PROTOBUF,
    signal: str = "traces",
    **headers: str,
) -> int:
    """Send a request over HTTP; return the status of the response."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    status, _, _ = collector.post(f"/v1/{signal}", body, {"content-type": form, **told})
    return status


def send_grpc(collector: CollectorProcess, body: bytes) -> bytes:
    """Send a request over gRPC that must be accepted; return the bytes of the response."""
    with grpc.insecure_channel(collector.grpc) as channel:
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
        return export(body, timeout=120)


def numbers(collector: CollectorProcess, name: str) -> dict[str, float]:
    """Return the forwarding metrics that are not 0, by their labels."""
    return numbers_in(collector.get_text("/metrics"), f"otel_ml_otlp_{name}")


def new_spans(number: int = 2) -> bytes:
    return make_request("shop", number).SerializeToString()


@pytest.fixture(scope="module")
def http() -> Iterator[Sink]:
    with http_sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def rpc() -> Iterator[Sink]:
    with grpc_sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def both(
    http: Sink, rpc: Sink, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CollectorProcess]:
    """Yield a collector that forwards to both sinks."""
    targets = forwarding(
        there={"endpoint": f"http://{http.address}/otlp", "headers": {"X-Team": "blue"}},
        rpc={"endpoint": f"grpc://{rpc.address}"},
    )
    with running(tmp_path_factory.mktemp("data"), *targets) as process:
        yield process


@contextmanager
def emptied(*sinks: Sink) -> Iterator[None]:
    """Clear the sinks, and at the end wait until each has received a request."""
    for sink in sinks:
        sink.requests.clear()
    yield
    wait_until(lambda: all(sink.requests for sink in sinks))


SPANS: Final = encode([make_call("one"), make_call("two", span_id=b"22222222")])
ONE: Final = encode([JSON_SPAN := make_call("one")])
JSON_SPANS: Final = encode_json([JSON_SPAN], Random(7))  # noqa: S311 - chooses forms


@dataclass(frozen=True, slots=True)
class Case:
    """A request body with its content type, encoding and decoded message."""

    body: bytes
    form: str
    encoding: str | None
    message: bytes


CASES: Final = {
    "protobuf": Case(SPANS, PROTOBUF, None, SPANS),
    "protobuf gzip": Case(gzip.compress(SPANS), PROTOBUF, "gzip", SPANS),
    "json": Case(JSON_SPANS, JSON, None, ONE),
    "json gzip": Case(gzip.compress(JSON_SPANS), JSON, "gzip", ONE),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bytes(both: CollectorProcess, http: Sink, rpc: Sink, case: Case) -> None:
    """A request is forwarded over HTTP byte for byte, and over gRPC as the same message."""
    told = {"content_encoding": case.encoding} if case.encoding else {}
    with emptied(http, rpc):
        assert send(both, case.body, case.form, x_otel_ml_project="far", **told) == 200
    [there], [called] = http.requests, rpc.requests
    assert (there.path, there.body) == ("/otlp/v1/traces", case.body)
    assert there.headers["content-type"] == case.form
    assert there.headers.get("content-encoding") == case.encoding
    assert (there.headers["x-team"], there.headers["x-otel-ml-project"]) == ("blue", "far")
    assert called.headers["x-otel-ml-project"] == "far"
    if case.form == PROTOBUF:
        assert called.body == case.message
    else:
        read = ExportTraceServiceRequest.FromString
        assert read(called.body) == read(case.message)


def test_logs(both: CollectorProcess, http: Sink, rpc: Sink) -> None:
    """Log records are forwarded like spans."""
    now_ns = time.time_ns()
    log = make_log("a line", of=make_call("one"), time_ns=now_ns, observed_ns=now_ns)
    body = encode_logs([log])
    with emptied(http, rpc):
        assert send(both, body, signal="logs") == 200
    assert [(one.path, one.body) for one in http.requests] == [("/otlp/v1/logs", body)]
    assert [one.body for one in rpc.requests] == [body]


@pytest.mark.parametrize(
    ("encoding", "compress"), [("deflate", zlib.compress), ("zstd", zstd.compress)]
)
def test_other_compressions(
    both: CollectorProcess, http: Sink, rpc: Sink, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    """Bodies compressed with anything but gzip are forwarded uncompressed, for compatibility."""
    with emptied(http, rpc):
        assert send(both, compress(SPANS), content_encoding=encoding) == 200
    [there] = http.requests
    assert (there.body, there.headers.get("content-encoding")) == (SPANS, None)


def test_from_grpc(both: CollectorProcess, http: Sink, rpc: Sink) -> None:
    """Messages received over gRPC are forwarded unchanged, over HTTP and gRPC."""
    body = new_spans()
    with emptied(http, rpc):
        assert send_grpc(both, body) == b""
    assert [(one.body, one.headers["content-type"]) for one in http.requests] == [(body, PROTOBUF)]
    assert [one.body for one in rpc.requests] == [body]


def test_nothing_stored(both: CollectorProcess, http: Sink, rpc: Sink) -> None:
    """Requests without stored spans are not forwarded."""
    with emptied(http, rpc):
        assert send(both, b"no OTLP") == 400
        assert send(both, encode([make_call(span_id=bytes(8))])) == 200
        assert send(both, SPANS) == 200
    assert [one.body for one in http.requests] == [SPANS]


@at_night
def test_drain(tmp_path: Path) -> None:
    """At a stop, queued requests are sent, also to a destination that asked for a delay."""
    with http_sink() as sink:
        sink.replies.append(Reply(429, [("retry-after", "60")]))
        targets = forwarding(there={"endpoint": f"http://{sink.address}"})
        with running(tmp_path / "data", *targets) as collector:
            bodies = [new_spans() for _ in range(3)]
            for body in bodies:
                assert send(collector, body) == 200
            wait_until(lambda: bool(sink.requests))
            wait_until(lambda: bool(numbers(collector, "forward_retries_total")))
            assert collector.stop() == 0
        assert sorted({one.body for one in sink.requests}) == sorted(bodies)


def test_loop(tmp_path: Path) -> None:
    """A request that returns in a forwarding loop is refused with the reason."""
    first_port, second_port = free_port(), free_port()
    with (
        running(
            tmp_path / "first",
            *("--http", f"127.0.0.1:{first_port}"),
            *forwarding(second={"endpoint": f"grpc://127.0.0.1:{second_port}"}),
        ) as first,
        running(
            tmp_path / "second",
            *("--grpc", f"127.0.0.1:{second_port}"),
            *forwarding(first={"endpoint": f"http://127.0.0.1:{first_port}"}),
        ) as second,
    ):
        assert send(first, new_spans()) == 200
        wait_until(lambda: bool(numbers(second, "forward_dropped_total")))
        assert numbers(second, "forward_dropped_total") == {
            'reason="refused",signal="traces",target="first"': 1
        }
        assert "The destinations form a loop" in second.output
        assert numbers(first, "forwarded_total") == {'signal="traces",target="second"': 1}


def test_itself(tmp_path: Path) -> None:
    """A collector configured to forward to itself does not start, and reports why."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "otel_ml_collector", "serve", "--http", "0.0.0.0:4918"),
            *("--forward-otlp", "me=http://localhost:4918"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        2,
        "otel-ml: Invalid --forward-otlp 'me=http://localhost:4918': me is this collector itself: "
        "expected the address of another one\n",
    )


@at_night
def test_previews_are_wanted_where_something_goes_on(
    both: CollectorProcess, tmp_path: Path
) -> None:
    """A collector that forwards no spans tells clients that it makes previews itself."""
    told = {"content-type": PROTOBUF}
    _, headers, _ = both.post("/v1/traces", new_spans(), told)
    assert "x-otel-ml-previews" not in headers
    with running(tmp_path / "data") as alone:
        _, headers, _ = alone.post("/v1/traces", new_spans(), told)
        assert headers["x-otel-ml-previews"] == "own"
    only_logs = forwarding(
        logs={"endpoint": "http://127.0.0.1:9", "signals": "logs"},
    )
    with running(tmp_path / "logs", *only_logs) as alone:
        _, headers, _ = alone.post("/v1/traces", new_spans(), told)
        assert headers["x-otel-ml-previews"] == "own"
