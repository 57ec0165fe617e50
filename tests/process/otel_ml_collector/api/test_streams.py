"""Tests of long responses over a real connection: cut off, abandoned, compressed."""

import gzip
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from otel_ml_collector.store.sql import Sql
from otel_ml_collector.web.render import TEMPLATES
from tests.support.otel_ml_collector.asgi import ask, served
from tests.support.otel_ml_collector.spans import NOW_NS, make_call
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, sampled
from tests.support.waiting import wait_until

LARGE = "/api/v1/projects/long-answers/export?columns=run_id,inputs"


@pytest.fixture(scope="module")
def address(service: Service) -> Iterator[str]:
    """The address of a service with more runs than a connection buffers: 48 MB."""
    inputs = json.dumps("x" * 16_000)
    for first in range(0, 3_000, 500):
        calls = [
            make_call("m", {"otel_ml.inputs": inputs}, start_ns=NOW_NS + first + number)
            for number in range(500)
        ]
        service.store.take("long-answers", *calls)
    with served(service.app) as address:
        yield address


def begin(address: str, path: str = LARGE) -> tuple[http.client.HTTPConnection, Any]:
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", path)
    return connection, connection.getresponse()


def test_whole(address: str) -> None:
    """A large export arrives complete."""
    connection, response = begin(address)
    assert len(response.read().splitlines()) == 3_000
    connection.close()


def test_broken(address: str, service: Service) -> None:
    """If an export fails in the middle, the client sees that it is incomplete."""
    connection, response = begin(address)
    assert response.read(1_000)
    client = service.store.connections.open()
    client.command(Sql("RENAME TABLE payloads TO elsewhere"))
    try:
        with pytest.raises(http.client.IncompleteRead):
            response.read()
    finally:
        client.command(Sql("RENAME TABLE elsewhere TO payloads"))
        connection.close()


def test_given_up(address: str) -> None:
    """At most two exports run at once; a client that disconnects frees its place."""
    started = [begin(address) for _ in range(2)]
    assert [response.status for _, response in started] == [200, 200]
    third, refused = begin(address)
    assert (refused.status, refused.headers["retry-after"]) == (503, "2")
    assert json.loads(refused.read())["error"]["code"] == "unavailable"
    third.close()
    for connection, response in started:
        response.close()
        connection.close()

    def is_free() -> bool:
        connection, response = begin(address, f"{LARGE}&end=2026-11-20T07:00:00.000000001Z")
        response.read()
        connection.close()
        return bool(response.status == 200)

    wait_until(is_free)


GZIP = {"accept-encoding": "br, gzip;q=0.8"}


@sampled(1)
@pytest.mark.parametrize(
    "path", ["/runs", "/export", "/export?format=csv"], ids=["json", "lines", "csv"]
)
def test_compressed(service: Service, project: str, path: str) -> None:
    """Lists and exports are compressed only for clients that accept gzip."""
    service.store.take(project, *[make_call() for _ in range(20)])
    address = f"/api/v1/projects/{project}{path}"
    plain, packed = ask(service.app, address), ask(service.app, address, headers=GZIP)
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 3
    for taken in ("gzip;q=0, *;q=0", "*, gzip;q=0", "br", "*;q=0"):
        assert ask(service.app, address, headers={"accept-encoding": taken}).body == plain.body
    anything = ask(service.app, address, headers={"accept-encoding": "identity, *"})
    assert anything.body == packed.body


def test_not_compressed(service: Service, project: str) -> None:
    """Short responses, compressed formats and responses with secrets are not compressed."""
    service.store.take(project, *[make_call() for _ in range(20)])
    for path in (
        f"/projects/{project}/export?format=parquet",
        f"/projects/{project}/views",
        "/keys",
    ):
        answered = ask(service.app, f"/api/v1{path}", headers=GZIP)
        assert answered.status == 200
        assert "content-encoding" not in answered.headers


@at_night
def test_compressed_pages(service: Service, project: str) -> None:
    """Pages and scripts are compressed, but not for requests that another site caused."""
    service.store.take(project, *[make_call() for _ in range(20)])
    style = f"{TEMPLATES.globals['static']}/style.css"
    for path in ("/", f"/projects/{project}/runs", f"/projects/{project}/chart", style):
        plain, packed = ask(service.app, path), ask(service.app, path, headers=GZIP)
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert len(packed.body) < len(plain.body) / 2
        assert len(gzip.decompress(packed.body)) == pytest.approx(len(plain.body), rel=0.01)
        for site in ("cross-site", "same-site"):
            foreign = ask(service.app, path, headers={**GZIP, "sec-fetch-site": site})
            assert "content-encoding" not in foreign.headers
