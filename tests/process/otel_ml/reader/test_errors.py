"""The errors that the reader raises when a request fails, and how often it retries first."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from otel_ml.reader import (
    BadQuery,
    Busy,
    Forbidden,
    NotFound,
    Reader,
    ReaderError,
    Refused,
    TimedOut,
    Unreachable,
)
from tests.process.otel_ml.reader.servers import Answer, answering
from tests.support.certificates import make_certificate
from tests.support.collector import CollectorProcess, running
from tests.support.sampling import sampled

PROJECT: Final = "p"
RUN_ID: Final = f"{'f' * 32}-{'f' * 16}"


@pytest.fixture
def reader(collector: CollectorProcess) -> Iterator[Reader]:
    with Reader(PROJECT, endpoint=collector.endpoint) as made:
        yield made


def test_bad_filter_shows_its_place(reader: Reader) -> None:
    """The error for an invalid filter points at the position."""
    where = 'kind == "model" and colour == 3'
    with pytest.raises(BadQuery) as raised:
        list(reader.runs(where))
    error = raised.value
    assert (error.field, error.column, error.text) == ("where", 20, where)
    assert str(error) == f"{error.message}\n  {where}\n  {' ' * 20}^"
    assert isinstance(error, ValueError)


def test_what_is_not_there(reader: Reader) -> None:
    """A missing record raises NotFound, an invalid id BadQuery."""
    for ask in (
        lambda: reader.run(RUN_ID),
        lambda: reader.trace("none"),
        lambda: reader.versions("none"),
        lambda: reader.artifact("none", run_id=RUN_ID),
    ):
        with pytest.raises(NotFound):
            ask()
    with pytest.raises(
        BadQuery, match=r"^Invalid run ID 'none': expected 32 hex digits, a dash, 16 hex digits$"
    ):
        reader.run("none")
    with pytest.raises(BadQuery, match="exactly one of run_id"):
        reader.feedback("thumbs", passed=True)


def test_no_collector() -> None:
    """If the connection is refused, the reader raises a ConnectionError."""
    with pytest.raises(Unreachable, match=r"^No answer from http://127\.0\.0\.1:9: connection ref"):
        Reader(endpoint="http://127.0.0.1:9").projects()
    with pytest.raises(Refused, match=r"^Invalid endpoint"):
        Reader(endpoint="http://[").projects()


def test_keys(own_collector: CollectorProcess) -> None:
    """A collector with keys refuses requests without a key or without the scope."""
    made = own_collector.post(
        "/api/v1/keys",
        json.dumps({"scopes": ["read"], "projects": [PROJECT]}).encode(),
        {"content-type": "application/json"},
    )
    key = json.loads(made[2])["key"]
    assert Reader(PROJECT, key, own_collector.endpoint).models() == []
    with pytest.raises(Forbidden, match="a key is needed, or this one is not valid"):
        Reader(PROJECT, endpoint=own_collector.endpoint).models()
    with pytest.raises(Forbidden, match="scope"):
        Reader(PROJECT, key, own_collector.endpoint).feedback("j", run_id=RUN_ID, passed=True)
    with pytest.raises(NotFound):
        Reader("theirs", key, own_collector.endpoint).models()


def test_later_is_asked_again() -> None:
    """A busy collector is asked three times, after its Retry-After; then the reader raises Busy."""
    with answering(lambda _: (503, {}, b'{"error": {"message": "full"}}')) as server:
        with pytest.raises(Busy, match="cannot answer now: full"):
            Reader(endpoint=server.endpoint).projects()
        assert len(server.asked) == 3
    waits: list[float] = []

    def third(_: str) -> Answer:
        waits.append(time.monotonic())
        if len(waits) < 3:
            return 503, {"retry-after": "1"}, b""
        return 200, {}, b'{"projects": []}'

    with answering(third) as server:
        assert Reader(endpoint=server.endpoint).projects() == []
    assert waits[1] - waits[0] >= 1


def test_export_is_asked_again_before_it_begins() -> None:
    """An export that cannot start is retried, and a redirect raises an error."""
    answers: list[Answer] = [(200, {}, b"x" * 100_000), (503, {}, b""), (302, {}, b"elsewhere")]
    with answering(lambda _: answers.pop()) as server:
        with pytest.raises(Refused):
            list(Reader(endpoint=server.endpoint).export())
        assert b"".join(Reader(endpoint=server.endpoint).export()) == b"x" * 100_000


def test_wait_that_is_too_long_is_not_waited() -> None:
    """If Retry-After exceeds the time left, the reader raises at once."""
    with answering(lambda _: (503, {"retry-after": "60"}, b"")) as server:
        began = time.monotonic()
        with pytest.raises(Busy):
            Reader(endpoint=server.endpoint).projects()
        assert (len(server.asked), time.monotonic() - began < 5) == (1, True)


def test_server_that_says_nothing() -> None:
    """A server that sends single bytes slowly is abandoned at the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
                while not stop.wait(0.1):
                    connection.sendall(b" ")

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        began = time.monotonic()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(TimedOut, match="timed out"):
            Reader(endpoint=address, timeout_s=0.5).projects()
        assert time.monotonic() - began < 5
        stop.set()
        dripping.join(10)


@sampled(3)
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((200, {}, b"<html>hello"), Refused),
        ((404, {}, b"<html>"), Refused),
        ((500, {}, b'{"error": 5}'), Refused),
        ((302, {"location": "http://127.0.0.1:9/"}, b""), Refused),
        ((200, {"content-length": "100"}, b""), Unreachable),
        ((200, {"content-encoding": "gzip"}, b"no gzip"), Unreachable),
        ((400, {}, b'{"error": {"message": "a\\u001b[2Jb\\nc"}}'), BadQuery),
    ],
    ids=["page", "no page", "failed", "redirect", "cut", "no gzip", "escape"],
)
def test_what_is_no_answer(answer: Answer, error: type[ReaderError]) -> None:
    """An invalid response raises one error with a printable message."""
    with answering(lambda _: answer) as server:
        with pytest.raises(ReaderError) as raised:
            Reader(endpoint=server.endpoint, timeout_s=2).projects()
        assert type(raised.value) in {error, TimedOut}
        assert str(raised.value).isprintable()


def test_key_is_sent_and_redirects_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API key from the environment is sent to the endpoint only; redirects are not followed."""
    monkeypatch.setenv("OTEL_ML_API_KEY", "omk_secret")
    with answering(lambda _: (200, {}, b"{}")) as other:
        with answering(lambda _: (302, {"location": other.endpoint}, b"")) as server:
            with pytest.raises(Refused):
                Reader(endpoint=server.endpoint).projects()
            assert server.headers["authorization"] == "Bearer omk_secret"
        assert other.asked == []


def test_proxy_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests use the proxy from the environment, as the exporter does."""
    with answering(lambda _: (200, {}, b'{"projects": []}')) as proxy:
        monkeypatch.setenv("http_proxy", proxy.endpoint)
        monkeypatch.setenv("no_proxy", "")
        assert Reader(endpoint="http://collector.test").projects() == []
        assert proxy.asked == ["http://collector.test/api/v1/projects"]


def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With TLS, the certificate must be trusted, for which the exporter's variable is used too."""
    certificate = make_certificate(tmp_path)
    arguments = ("--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key))
    with running(tmp_path / "data", *arguments) as collector:
        with pytest.raises(Unreachable, match="certificate not accepted"):
            Reader(endpoint=collector.endpoint, timeout_s=5).projects()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(certificate.cert))
        assert Reader(endpoint=collector.endpoint).projects() == []


def test_child_shares_no_connection(reader: Reader) -> None:
    """A forked child opens new connections."""
    assert reader.models() == []
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if reader.models() == [] else 1)
        except BaseException:  # noqa: BLE001 - whatever it is, the parent tells
            os._exit(2)
    assert reader.models() == []
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_optional_packages_are_not_loaded() -> None:
    """Importing the reader loads neither the collector nor the packages for tables."""
    script = (
        "import sys, otel_ml.reader\n"
        "print([name for name in sys.modules if name.split('.')[0] in "
        "('otel_ml_collector', 'pandas', 'pyarrow', 'numpy', 'urllib3', 'rich')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
