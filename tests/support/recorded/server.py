"""The provider with fixed responses and the OTLP receiver, on one free port."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final

from tests.support.recorded.sink import Sink
from tests.support.recorded.stub import Answer, answer, usage_of

_SCENARIO: Final = "/scenario/"
# The version response that Phoenix's client expects.
_VERSIONS: Final = {"/arize_phoenix_version": Answer(200, "text/plain", b"20.26.1")}
_NOTHING: Final = Answer(200, "application/json", b"{}")


def _answer(path: str, body: bytes, sink: Sink) -> Answer:
    if (taken := sink.words.take(path, body)) is not None:
        return _json(taken)
    told = answer(path, json.loads(body or b"{}"))
    if told is not None:
        sink.note(told.status, usage_of(told))
    return told or _NOTHING


def _json(told: object) -> Answer:
    return Answer(200, "application/json", json.dumps(told).encode())


@contextmanager
def serving(sink: Sink) -> Iterator[str]:
    """Serve the provider and the receiver on one free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # name required by http.server
            body = self._read()
            media_type = self.headers.get("Content-Type", "")
            encoding = self.headers.get("Content-Encoding", "")
            if self.path.startswith(_SCENARIO):
                sink.begin(self.path.removeprefix(_SCENARIO))
                self._send(_NOTHING)
            elif sink.take(self.path, media_type, encoding, body):
                self._send(Answer(200, media_type, b"{}" if "json" in media_type else b""))
            else:
                self._send(_answer(self.path, body, sink))

        def do_GET(self) -> None:  # name required by http.server
            listed = sink.words.answer(self.path)
            answered = _VERSIONS.get(self.path, _NOTHING) if listed is None else _json(listed)
            self._send(answered)

        def _read(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _send(self, told: Answer) -> None:
            self.send_response(told.status)
            self.send_header("Content-Type", told.media_type)
            self.send_header("Content-Length", str(len(told.body) + told.is_cut))
            self.end_headers()
            self.wfile.write(told.body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
