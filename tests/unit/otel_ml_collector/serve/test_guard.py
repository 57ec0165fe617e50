"""Tests of the protection of a loopback service against foreign web pages."""

from typing import Final

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from otel_ml_collector.serve.middleware import Guard
from tests.support.otel_ml_collector.asgi import ask

METHODS: Final = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
WRITING: Final = ["POST", "PUT", "PATCH", "DELETE"]
SECURITY: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "media-src data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def answer(request: Request) -> Response:
    return PlainTextResponse("reached")


def guarded(*hosts: str, everywhere: bool = False) -> ASGIApp:
    routes = [Route("/{path:path}", answer, methods=METHODS)]
    return Guard(Starlette(routes=routes), None if everywhere else hosts)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:4318",
        "LOCALHOST:4318",
        "127.0.0.1:4318",
        "127.0.0.1",
        "[::1]:4318",
        "[::1]",
        "otel.example:8080",
        "OTEL.example",
    ],
)
def test_known_host(host: str) -> None:
    """A request for a loopback or configured host name is accepted."""
    assert ask(guarded("otel.example"), "/", headers={"host": host}).text == "reached"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:4318",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example#localhost",
        "localhost@evil.example",
        "192.168.0.1:4318",
        "0.0.0.0:4318",
        "",
        "[::1",
        "[::2]:4318",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_foreign_host(host: str, method: str) -> None:
    """A request for any other host name, as after DNS rebinding, is answered with 403."""
    answered = ask(guarded("otel.example"), "/", method=method, headers={"host": host})
    assert answered.status == 403
    assert "--allowed-hosts" in answered.text


def test_any_host() -> None:
    """A service that is open to everybody and has no host names accepts any host name."""
    headers = {"host": "192.168.0.1:4318"}
    assert ask(guarded(everywhere=True), "/", headers=headers).text == "reached"


@pytest.mark.parametrize("method", WRITING)
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://localhost"},
        {"origin": "http://localhost:9999"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"origin": "http://localhost:4318", "sec-fetch-site": "cross-site"},
    ],
    ids=str,
)
def test_foreign_origin(method: str, headers: dict[str, str]) -> None:
    """A writing request from a page of another site is answered with 403."""
    answered = ask(guarded(), "/", method=method, headers=headers)
    assert (answered.status, answered.text) == (403, "Requests from a different site are refused")


@pytest.mark.parametrize("method", WRITING)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost:4318"},
        {"origin": "http://localhost:4318", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
    ids=str,
)
def test_own_origin(method: str, headers: dict[str, str]) -> None:
    """A writing request from our own pages, or from no page, is accepted."""
    assert ask(guarded(), "/", method=method, headers=headers).text == "reached"


def test_otlp() -> None:
    """An exporter's request, which has no origin, is accepted."""
    headers = {"content-type": "application/x-protobuf", "host": "127.0.0.1:4318"}
    assert ask(guarded(), "/v1/traces", method="POST", headers=headers).text == "reached"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_from_elsewhere(method: str) -> None:
    """A reading request from another site, for example by a link, is accepted."""
    headers = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
    assert ask(guarded(), "/", method=method, headers=headers).status == 200


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("POST", {}, 200),
        ("GET", {"host": "evil.example"}, 403),
        ("POST", {"origin": "http://evil.example"}, 403),
        ("TRACE", {}, 405),
    ],
)
def test_security_headers(method: str, headers: dict[str, str], status: int) -> None:
    """Every response, including a rejection, has the security headers."""
    answered = ask(guarded(), "/", method=method, headers=headers)
    assert answered.status == status
    assert {name: answered.headers.get(name) for name in SECURITY} == SECURITY
