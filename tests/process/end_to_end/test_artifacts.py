"""Artifact uploads to a real collector: valid, invalid, interrupted and concurrent ones."""

import hashlib
import json
import secrets
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.bench.artifacts import make_document, put
from tests.support.collector import CollectorProcess, running
from tests.support.sampling import sampled
from tests.support.waiting import wait_until

JSON: Final = {"content-type": "application/json"}
DOCUMENT: Final = b'{"type":"otel_ml.types.Native","params":{"data":7}}'
SHA256: Final = hashlib.sha256(DOCUMENT).hexdigest()
LIMIT: Final = 2_000_000


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Yield a collector that accepts artifacts of up to 2 MB."""
    folder = tmp_path_factory.mktemp("limited")
    with running(folder, "--artifact-limit-bytes", str(LIMIT)) as process:
        yield process


def path_of(project: str, sha256: str) -> str:
    return f"/api/v1/projects/{project}/artifacts/{sha256}"


def send(
    collector: CollectorProcess,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] = JSON,
) -> tuple[int, Mapping[str, str], bytes]:
    """Send a request over a new connection; an iterable body is sent in chunks."""
    connection = HTTPConnection(urlsplit(collector.endpoint).netloc, timeout=180)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        content = response.read()
        said = {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()
    return response.status, said, content


def begin(collector: CollectorProcess, path: str, size: int, part: bytes) -> socket.socket:
    """Start an upload on a raw socket: send its headers and the first part of its body."""
    host, port = urlsplit(collector.endpoint).netloc.split(":")
    connection = socket.create_connection((host, int(port)), timeout=180)
    head = f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode() + part)
    return connection


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    response = HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def test_up_and_down(collector: CollectorProcess, project: str) -> None:
    """A large document uploaded in chunks is returned byte for byte."""
    document = make_document(7_000_000)
    path = path_of(project, hashlib.sha256(document).hexdigest())
    chunks = (document[at : at + 77_777] for at in range(0, len(document), 77_777))
    status, _, body = send(collector, "PUT", path, chunks)
    assert (status, json.loads(body)) == (
        201,
        {"sha256": path[-64:], "bytes": len(document), "url": path},
    )
    status, headers, body = send(collector, "GET", path)
    assert (status, body == document) == (200, True)
    assert headers["content-length"] == str(len(document))
    status, headers, body = send(collector, "HEAD", path)
    assert (status, body, headers["content-length"]) == (200, b"", str(len(document)))


def test_known(collector: CollectorProcess, project: str) -> None:
    """Uploading a stored document is answered at once, before its whole body has arrived."""
    assert put(collector.endpoint, project, DOCUMENT) == 201
    with begin(collector, path_of(project, SHA256), 10**8, DOCUMENT[:9]) as connection:
        status, body = read_answer(connection)
    assert (status, json.loads(body)["bytes"]) == (200, len(DOCUMENT))
    assert send(collector, "GET", path_of(project, SHA256))[2] == DOCUMENT


@sampled(4)
@pytest.mark.parametrize(
    ("sha256", "headers", "body", "said"),
    [
        ("0" * 64, JSON, DOCUMENT, (400, "bad_request")),
        (SHA256, JSON, DOCUMENT[:-1], (400, "bad_request")),
        (SHA256, JSON, b"", (400, "bad_request")),
        (SHA256.upper(), JSON, DOCUMENT, (400, "bad_request")),
        (SHA256[:-1], JSON, DOCUMENT, (400, "bad_request")),
        ("..", JSON, DOCUMENT, (400, "bad_request")),
        ("%2e%2e", JSON, DOCUMENT, (400, "bad_request")),
        ("%00", JSON, DOCUMENT, (400, "bad_request")),
        (SHA256, {}, DOCUMENT, (415, "unknown_media_type")),
        (SHA256, {"content-type": "text/html"}, DOCUMENT, (415, "unknown_media_type")),
        (SHA256, {**JSON, "content-encoding": "gzip"}, DOCUMENT, (415, "unknown_media_type")),
        (SHA256, JSON, b"x" * (LIMIT + 1), (413, "too_large")),
        (SHA256, JSON, [b"x" * 100_000] * 21, (413, "too_large")),
        (SHA256, {**JSON, "connection": "close"}, [b"x" * 100_000] * 30, (413, "too_large")),
    ],
)
def test_refused(
    limited: CollectorProcess, sha256: str, headers: Any, body: Any, said: tuple[int, str]
) -> None:
    """Invalid uploads get a permanent error, even with a long body, and nothing is stored."""
    status, _, content = send(limited, "PUT", path_of("refused", sha256), body, headers)
    assert (status, json.loads(content)["error"]["code"]) == said
    assert send(limited, "GET", path_of("refused", SHA256))[0] == 404


@pytest.mark.parametrize(
    "name", ["", "%00", "x" * 129, "a%0ab"], ids=["empty", "nul", "long", "line"]
)
def test_bad_project(limited: CollectorProcess, name: str) -> None:
    """Uploads with an invalid project name are refused."""
    status, _, _ = send(limited, "PUT", path_of(name, SHA256), DOCUMENT)
    assert status in {400, 404}


@pytest.mark.parametrize("name", ["a%2Fb", "..%2F..%2Fetc", "日本".encode().hex()])
def test_odd_project(limited: CollectorProcess, name: str) -> None:
    """A project name is never used as a path: an upload is found only under the same name."""
    assert send(limited, "PUT", path_of(name, SHA256), DOCUMENT)[0] == 201
    assert send(limited, "GET", path_of(name, SHA256))[2] == DOCUMENT
    assert send(limited, "GET", path_of("etc", SHA256))[0] == 404


@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH"])
def test_other_methods(collector: CollectorProcess, method: str) -> None:
    """Artifacts can only be uploaded and read; other methods are refused."""
    assert send(collector, method, path_of("methods", SHA256), DOCUMENT)[0] == 405


def test_cut(collector: CollectorProcess, project: str) -> None:
    """An interrupted upload stores nothing, and it can be sent again."""
    with begin(collector, path_of(project, SHA256), len(DOCUMENT), DOCUMENT[:-3]):
        pass
    counted = 'otel_ml_artifact_uploads_total{answer="broken"} 1.0'
    wait_until(lambda: counted in collector.get_text("/metrics"))
    assert send(collector, "GET", path_of(project, SHA256))[0] == 404
    assert put(collector.endpoint, project, DOCUMENT) == 201


def test_same_at_once(collector: CollectorProcess, project: str) -> None:
    """Concurrent uploads of one document all succeed, and the document can be read."""
    document = make_document(3_000_000)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: put(collector.endpoint, project, document), range(4)))
    assert set(answers) <= {200, 201}
    path = path_of(project, hashlib.sha256(document).hexdigest())
    assert send(collector, "GET", path)[2] == document


def test_busy(collector: CollectorProcess, project: str) -> None:
    """A ninth concurrent upload gets 503 with `Retry-After`, and succeeds later."""
    begun = [begin(collector, path_of(project, SHA256), 99, DOCUMENT[:9]) for _ in range(8)]
    try:
        found: list[tuple[int, Mapping[str, str], bytes]] = []

        def is_busy() -> bool:
            other = secrets.token_hex(8).encode()
            path = path_of(project, hashlib.sha256(other).hexdigest())
            found.append(send(collector, "PUT", path, other))
            return found[-1][0] == 503

        wait_until(is_busy)
        _, headers, body = found[-1]
        assert headers["retry-after"] == "2"
        assert json.loads(body)["error"]["code"] == "unavailable"
    finally:
        for connection in begun:
            connection.close()
    wait_until(lambda: put(collector.endpoint, project, DOCUMENT) in {200, 201})


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """Return a project name unique to the test."""
    name: str = request.node.name
    return name
