"""Pages of configured origins may send OTLP from a browser; other pages may not.

Spec: https://opentelemetry.io/docs/specs/otlp/#otlphttp-request, and https://fetch.spec.whatwg.org
"""

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tests.support.collector import CollectorProcess, running

SHOP = "https://shop.example"
OTHER = "https://evil.example"
JSON = "application/json"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Yield a collector that accepts requests from the shop's pages."""
    data = tmp_path_factory.mktemp("data")
    with running(data, "--cors-origins", f"http://localhost:3000,{SHOP}") as process:
        yield process


def ask(
    collector: CollectorProcess, method: str, path: str, headers: Mapping[str, str]
) -> tuple[int, dict[str, str], bytes]:
    """Send a request as a browser would; return its status, CORS headers and body."""
    with closing(http.client.HTTPConnection(urlsplit(collector.endpoint).netloc)) as connection:
        connection.request(method, path, b"{}" if method == "POST" else None, dict(headers))
        answer = connection.getresponse()
        said = {
            name.lower(): value
            for name, value in answer.getheaders()
            if name.lower().startswith("access-control-")
        }
        return answer.status, said, answer.read()


def preflight(
    collector: CollectorProcess, origin: str, path: str = "/v1/traces"
) -> tuple[int, dict[str, str], bytes]:
    wanted = {
        "Origin": origin,
        "Sec-Fetch-Site": "cross-site",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-otel-ml-project",
    }
    return ask(collector, "OPTIONS", path, wanted)


def send(
    collector: CollectorProcess, origin: str, path: str = "/v1/traces", media_type: str = JSON
) -> tuple[int, dict[str, str], bytes]:
    sent = {"Origin": origin, "Sec-Fetch-Site": "cross-site", "Content-Type": media_type}
    return ask(collector, "POST", path, sent)


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs", "/v1/metrics"])
@pytest.mark.parametrize("origin", [SHOP, "http://localhost:3000"])
def test_preflight(shared: CollectorProcess, origin: str, path: str) -> None:
    """The preflight request of a configured origin gets permission."""
    status, said, _ = preflight(shared, origin, path)
    assert (status, said) == (
        200,
        {
            "access-control-allow-origin": origin,
            "access-control-allow-methods": "POST",
            "access-control-allow-headers": "content-type,x-otel-ml-project",
            "access-control-max-age": "600",
        },
    )


@pytest.mark.parametrize("origin", [OTHER, "https://shop.example.evil.example", "null"])
def test_foreign_preflight(shared: CollectorProcess, origin: str) -> None:
    """The preflight request of another origin does not get permission."""
    status, said, _ = preflight(shared, origin)
    assert (status, said.get("access-control-allow-origin")) == (400, None)


def test_answer(shared: CollectorProcess) -> None:
    """A page of a configured origin can read the response and its retry delay."""
    assert send(shared, SHOP) == (
        200,
        {"access-control-allow-origin": SHOP, "access-control-expose-headers": "Retry-After"},
        b"{}",
    )


def test_error(shared: CollectorProcess) -> None:
    """A page of a configured origin can read an error."""
    status, said, body = send(shared, SHOP, media_type="text/plain")
    assert (status, said["access-control-allow-origin"]) == (415, SHOP)
    assert b"Invalid content type" in body


def test_foreign_page(shared: CollectorProcess) -> None:
    """A page of another origin cannot store anything."""
    assert send(shared, OTHER) == (403, {}, b"Requests from a different site are refused")


def test_other_paths(shared: CollectorProcess) -> None:
    """A page of a configured origin may only send OTLP."""
    status, said, _ = send(shared, SHOP, "/api/v1/feedback")
    assert (status, said) == (403, {})


def test_no_browser(shared: CollectorProcess) -> None:
    """CORS settings do not affect clients that are not browsers."""
    status, said, body = ask(shared, "POST", "/v1/traces", {"Content-Type": JSON})
    assert (status, json.loads(body)) == (200, {})
    assert "access-control-allow-origin" not in said
