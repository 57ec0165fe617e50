"""What a traced call costs its caller, as a ratio to a span that is written by hand.

The reference is what a careful user writes on the stock SDK: ``json.dumps`` of input and output,
four attributes, the batch processor and the OTLP/HTTP exporter, sending to a local sink process.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final

CALLS: Final = 20_000
ROUNDS: Final = 5
TEXT: Final = "lorem ipsum " * 340  # 4 KB
ITEMS: Final[dict[str, object]] = {"numbers": list(range(100)), "text": "dolor sit " * 150}  # 2 KB


def tiny(x: int, y: str) -> dict[str, object]:
    return {"x": x, "y": y}


def large(text: str) -> dict[str, object]:
    return ITEMS


WORKLOADS: Final[dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]] = {
    "tiny": (tiny, (1, "hello")),
    "4 KB in, 2 KB out": (large, (TEXT,)),
}


def by_hand(endpoint: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The reference."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("bench")

    def trace(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any) -> Any:
            attributes = {
                "input.value": json.dumps(args),
                "input.mime_type": "application/json",
            }
            with tracer.start_as_current_span("bench", attributes=attributes) as span:
                output = function(*args)
                span.set_attribute("output.value", json.dumps(output))
                span.set_attribute("output.mime_type", "application/json")
                return output

        return wrapper

    return trace


def ours(endpoint: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Ours, with everything on."""
    from otel_ml import Client

    return Client("bench", endpoint=endpoint).trace


def measure() -> dict[str, tuple[list[float], list[float]]]:
    """Time both in turn, each round in a process of its own.

    Returns:
        By workload: microseconds a call by hand, and ours, round by round.
    """
    with get_context("spawn").Manager():
        receiver, sender = get_context("spawn").Pipe(duplex=False)
        sink = get_context("spawn").Process(target=_sink, args=(sender,), daemon=True)
        sink.start()
        endpoint = receiver.recv()
        figures: dict[str, tuple[list[float], list[float]]] = {}
        for workload in WORKLOADS:
            rounds = [
                (_round("by_hand", workload, endpoint), _round("ours", workload, endpoint))
                for _ in range(ROUNDS)
            ]
            figures[workload] = ([one for one, _ in rounds], [other for _, other in rounds])
        sink.terminate()
    return figures


def ratio(pair: tuple[Sequence[float], Sequence[float]]) -> float:
    """The median of ours to by hand, pair by pair."""
    return statistics.median(b / a for a, b in zip(*pair, strict=True))


def _round(contender: str, workload: str, endpoint: str) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.caller", contender, workload, endpoint],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def _time_calls(contender: str, workload: str, endpoint: str) -> float:
    function, arguments = WORKLOADS[workload]
    traced = {"by_hand": by_hand, "ours": ours}[contender](endpoint)(function)
    for _ in range(1_000):
        traced(*arguments)
    started = time.perf_counter()
    for _ in range(CALLS):
        traced(*arguments)
    took_s = time.perf_counter() - started
    for _ in range(CALLS):
        function(*arguments)
    bare_s = time.perf_counter() - started - took_s
    return (took_s - bare_s) / CALLS * 1e6


class _Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def _sink(sender: "Connection[str, str]") -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    sender.send(f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()


if __name__ == "__main__":
    print(_time_calls(*sys.argv[1:]))
