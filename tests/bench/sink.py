"""An OTLP/HTTP receiver in a separate process: responds at once, counts on request."""

import gzip
import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_ml import attributes as names


@contextmanager
def open_sink(*, keep: bool = False, port: int = 0, is_as_collector: bool = False) -> Iterator[str]:
    """Serve until the block ends; yield the base address.

    Args:
        keep: Keep the requests, so that `count` can read them.
        port: Port on loopback; 0 takes a free one.
        is_as_collector: Announce that it makes previews itself, like a collector without
            forwarding.
    """
    receiver, sender = get_context("spawn").Pipe(duplex=False)
    process = get_context("spawn").Process(
        target=_serve, args=(sender, keep, port, is_as_collector), daemon=True
    )
    process.start()
    try:
        yield receiver.recv()
    finally:
        process.kill()
        process.join()


def count(address: str) -> tuple[int, int]:
    """Return how many runs and how many distinct runs the sink got since the last count."""
    with urllib.request.urlopen(f"{address}/count", timeout=60) as answer:
        runs, different = json.load(answer)
    return runs, different


def find_process(address: str) -> int:
    """Return the sink's process id, to stop and continue it."""
    with urllib.request.urlopen(f"{address}/process", timeout=10) as answer:
        return int(answer.read())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, keep: bool, port: int, is_as_collector: bool) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.keep = keep
        self.is_as_collector = is_as_collector
        self.bodies: list[bytes] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore senders that disconnect: some are killed on purpose."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # as it came


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.keep and self.path.endswith("/v1/traces"):
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            self.server.bodies.append(body)
        self._answer(b"")

    def do_PUT(self) -> None:
        """Accept a value that is uploaded separately from its run."""
        self.do_POST()

    def do_GET(self) -> None:
        if self.path == "/process":
            self._answer(str(os.getpid()).encode())
            return
        bodies, self.server.bodies = self.server.bodies, []
        ids = [
            span.trace_id + span.span_id
            for body in bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if not any(item.key == "otel_ml.record" for item in span.attributes)
        ]
        self._answer(json.dumps([len(ids), len(set(ids))]).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        if self.server.is_as_collector:
            self.send_header(names.PREVIEWS_HEADER, "own")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


def _serve(sender: "Connection[str, str]", keep: bool, port: int, is_as_collector: bool) -> None:
    server = _Server(keep, port, is_as_collector)
    sender.send(f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()
