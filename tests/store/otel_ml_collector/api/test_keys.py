"""Managing keys with the API: it needs the scope admin, and is limited to the key's projects."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml_collector.access import ADMIN, Access
from otel_ml_collector.keyring import Keyring
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.stores import Service, open_service

WANTED = {"name": "nightly", "scopes": ["read", "ingest"], "projects": ["b", "a"]}
IMPOSSIBLE: Final[list[tuple[dict[str, Any], str]]] = [
    ({**WANTED, "scopes": ["write"]}, "scopes"),
    ({**WANTED, "scopes": []}, "scopes"),
    ({**WANTED, "projects": []}, "projects"),
    ({**WANTED, "projects": ["a", "*"]}, "projects"),
    ({**WANTED, "spans_per_second": -1}, "spans_per_second"),
    ({**WANTED, "bytes_per_second": "many"}, "bytes_per_second"),
    ({**WANTED, "hash": "0"}, "hash"),
    ({"scopes": ["read"]}, "projects"),
]


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """Return a separate service, because a key closes the store to everyone without one."""
    return own_service


@pytest.fixture
def open_to_all(tmp_path: Path) -> Iterator[Service]:
    """Open a service without keys."""
    with open_service(tmp_path) as opened:
        yield opened


def ring_of(service: Service) -> Keyring:
    ring: Keyring = service.app.state.services.find(Keyring)
    return ring


def make_admin(service: Service, *projects: str) -> str:
    return ring_of(service).add(Access("", "", frozenset({ADMIN}), projects or None)).text


def call(
    service: Service, method: str, path: str = "/api/v1/keys", key: str = "", body: object = None
) -> Answered:
    headers = {"content-type": "application/json"}
    if key:
        headers["x-api-key"] = key
    sent = [b"" if body is None else json.dumps(body).encode()]
    return ask(service.app, path, method=method, headers=headers, body=sent)


def test_key(open_to_all: Service) -> None:
    """Creating a key returns its text, listing it does not, and revoking it is final."""
    service = open_to_all
    admin = make_admin(service)
    made = call(service, "POST", key=admin, body=WANTED)
    told = made.json
    text = told.pop("key")
    created = told["created_time"]
    expected: dict[str, Any] = {
        **WANTED,
        "id": text.split("_")[1],
        "scopes": ["ingest", "read"],
        "spans_per_second": 0,
        "bytes_per_second": 0,
        "created_time": created,
        "revoked_time": None,
        "made_by": admin.split("_")[1],
        "last_used_time": None,
    }
    assert (made.status, told) == (201, expected)
    listed = call(service, "GET", key=admin)
    assert listed.json["keys"][1:] == [expected]
    assert text.split("_")[2] not in listed.text
    revoked = call(service, "DELETE", f"/api/v1/keys/{expected['id']}", admin)
    again = call(service, "DELETE", f"/api/v1/keys/{expected['id']}", admin)
    assert revoked.json["revoked_time"] >= created
    assert (again.status, again.json) == (200, revoked.json)
    assert call(service, "GET", "/api/v1/projects", text).status == 401


def test_changes(open_to_all: Service) -> None:
    """Each change of a key is listed, newest first, with the key that made the change."""
    service = open_to_all
    admin = make_admin(service)
    admin_id = admin.split("_")[1]
    key_id = call(service, "POST", key=admin, body=WANTED).json["id"]
    call(service, "DELETE", f"/api/v1/keys/{key_id}", admin)
    changes = call(service, "GET", "/api/v1/keys/changes", admin).json["changes"]
    assert [(each["change"], each["id"], each["by"]) for each in changes] == [
        ("revoked", key_id, admin_id),
        ("created", key_id, admin_id),
        ("created", admin_id, "local"),
    ]
    assert changes[0]["time"] >= changes[1]["time"] >= changes[2]["time"]
    reading = call(service, "POST", key=admin, body=WANTED).json["key"]
    assert call(service, "GET", "/api/v1/keys/changes", reading).status == 403


def test_first_key(open_to_all: Service) -> None:
    """The first key can be created without a key, but only from the same machine."""

    async def from_afar(scope, receive, send):  # type: ignore[no-untyped-def]
        await open_to_all.app({**scope, "client": ("10.0.0.7", 50_000)}, receive, send)

    headers = {"content-type": "application/json"}
    body = [json.dumps(WANTED).encode()]
    path = "/api/v1/keys"
    assert ask(from_afar, path, method="POST", headers=headers, body=body).status == 403
    assert not ring_of(open_to_all).is_on
    assert call(open_to_all, "POST", body=WANTED).status == 201
    assert call(open_to_all, "POST", body=WANTED).status == 401


def test_beyond_own_projects(open_to_all: Service) -> None:
    """An admin of some projects cannot create keys for other projects or for all."""
    admin = make_admin(open_to_all, "a", "b")
    for projects in (["a", "c"], ["c"], ["*"], ["b", "*"]):
        refused = call(open_to_all, "POST", key=admin, body={**WANTED, "projects": projects})
        assert (refused.status, refused.json["error"]["code"]) == (403, "forbidden")
    assert call(open_to_all, "POST", key=admin, body=WANTED).status == 201
    assert len(ring_of(open_to_all).find_keys()) == 2


def test_all_projects(open_to_all: Service) -> None:
    """A key for all projects is listed with a star."""
    body = {**WANTED, "projects": ["*"], "spans_per_second": 5, "bytes_per_second": 7}
    made = call(open_to_all, "POST", body=body).json
    assert (made["projects"], made["spans_per_second"], made["bytes_per_second"]) == (["*"], 5, 7)
    [key] = ring_of(open_to_all).find_keys()
    assert key.access.projects is None


def test_impossible(open_to_all: Service) -> None:
    """An invalid key is refused with the field that is wrong."""
    for body, field in IMPOSSIBLE:
        refused = call(open_to_all, "POST", body=body)
        assert (refused.status, refused.json["error"]["field"]) == (400, field)
    assert not ring_of(open_to_all).is_on


def test_unknown_key(open_to_all: Service) -> None:
    """Revoking an unknown key gets a 404 response."""
    admin = make_admin(open_to_all)
    assert call(open_to_all, "DELETE", "/api/v1/keys/0", admin).status == 404
