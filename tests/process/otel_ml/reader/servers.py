"""Servers that replace a collector: they send given responses and count requests."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import urlopen

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Server:
    """A server at `endpoint`; `asked` has the paths of its requests, in order."""

    endpoint: str = ""
    asked: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)


@contextmanager
def answering(answer: Callable[[str], Answer]) -> Iterator[Server]:
    """Serve the responses that a function returns for each path."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.asked.append(self.path)
            server.headers = {name.lower(): value for name, value in self.headers.items()}
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Ignore errors, because clients time out and disconnect."""

    with Quiet(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        server.endpoint = f"http://127.0.0.1:{http.server_port}"
        try:
            yield server
        finally:
            http.shutdown()


def passing_on(endpoint: str) -> Callable[[str], Answer]:
    """Return a function that passes requests on to a real collector."""

    def answer(path: str) -> Answer:
        with urlopen(endpoint + path, timeout=120) as response:
            return response.status, {}, response.read()

    return answer
