"""A relay between a sender and the collector that can lose requests."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.collector import CollectorProcess

PROTOBUF = {"Content-Type": "application/x-protobuf"}


class Relay:
    """Forwards export requests, but acknowledges and drops some of them.

    Args:
        collector: The destination.
        loses: Returns whether to drop a request, given the names of its spans.

    Attributes:
        passed: The bodies that were forwarded, in order.
        lost: The bodies that were dropped.
    """

    def __init__(
        self,
        collector: CollectorProcess,
        loses: Callable[[set[str]], bool] = lambda names: False,
    ) -> None:
        self.passed: list[bytes] = []
        self.lost: list[bytes] = []
        self._collector = collector
        self._loses = loses
        relay = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                status, answer = relay._take(self.path, self.rfile.read(_length(self)))
                self.send_response(status)
                self.send_header("Content-Type", PROTOBUF["Content-Type"])
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_arguments: object) -> None:
                """Log nothing, to keep the test's output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, path: str, body: bytes) -> tuple[int, bytes]:
        if self._loses(_names(body)):
            self.lost.append(body)
            return 200, b""
        self.passed.append(body)
        request = Request(self._collector.endpoint + path, body, PROTOBUF, method="POST")
        with urlopen(request, timeout=120) as response:
            return response.status, response.read()


def _length(handler: BaseHTTPRequestHandler) -> int:
    return int(handler.headers["Content-Length"])


def _names(body: bytes) -> set[str]:
    request = ExportTraceServiceRequest.FromString(body)
    return {
        span.name
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }
