"""The activity of a project: who changed what, from the store's tables and through its API."""

import json
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import pytest

from otel_ml_collector.activity.find import find_activity
from otel_ml_collector.activity.routes import ActivityVisit, read_visit
from otel_ml_collector.assistants.protocol import answer
from otel_ml_collector.store.activity import compare_fields, digest_user, note_change
from otel_ml_collector.store.retention import Days, Retention
from otel_ml_collector.times import DAY_NS, MINUTE_NS
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import id_of, make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.waiting import wait_until

_JSON: Final = {"content-type": "application/json"}
_USERS: Final = {
    "ada": {"scopes": ["read", "annotate", "admin"], "projects": ["*"]},
    "ben": {"scopes": ["read"], "projects": ["*"]},
}
_RULE: Final = {"when": "surely(error_share > 0.05)", "window": "1h"}


@pytest.fixture(scope="module")
def signed_on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open an application behind a proxy that signs users in, with an audit of reads."""
    with open_service(
        tmp_path_factory.mktemp("data"),
        auth_header="X-User",
        trusted_proxies="127.0.0.1",
        auth_access=json.dumps(_USERS),
        audit_reads="true",
    ) as opened:
        yield opened


def call(
    service: Service, target: str, *, user: str = "ada", method: str = "GET", **more: Any
) -> Answered:
    body = more.pop("body", None)
    headers = {"x-user": user, **_JSON, **more}
    parts = (json.dumps(body).encode() if body is not None else b"",)
    return ask(service.app, target, method=method, headers=headers, body=parts)


def list_entries(service: Service, project: str, user: str = "ada", **asked: Any) -> list[Any]:
    query = "&".join(f"{name}={quote(str(value))}" for name, value in asked.items())
    answered = call(service, f"/api/v1/projects/{project}/activity?{query}", user=user)
    assert answered.status == 200, answered.text
    entries: list[Any] = answered.json["entries"]
    return entries


def test_rule(signed_on: Service, project: str) -> None:
    """Each change of a rule names the user, the program, and the old and new values, once."""
    path = f"/api/v1/projects/{project}/alerts/slow"
    call(signed_on, path, method="PUT", body=_RULE, **{"x-otel-ml-program": "command"})
    for _ in range(2):  # the second save changes nothing
        wanted = {**_RULE, "window": "2h"}
        answered = call(signed_on, path, method="PUT", body=wanted, origin="http://localhost:4318")
        assert answered.status == 200, answered.text
    call(signed_on, path, method="DELETE")
    deleted, changed, created = list_entries(signed_on, project)
    named = [(one["who"], one["program"], one["action"]) for one in (deleted, changed, created)]
    assert named == [
        ("ada", "api", "deleted"),
        ("ada", "page", "changed"),
        ("ada", "command", "created"),
    ]
    assert changed["changes"] == [{"field": "window", "before": "1h", "after": "2h"}]
    assert {"field": "window", "before": None, "after": "1h"} in created["changes"]
    assert {one["kind"] for one in (deleted, changed, created)} == {"alert rule"}


def test_derived(signed_on: Service, project: str) -> None:
    """New versions, aliases and labels appear without a second copy, also if they arrive twice."""
    now_ns = time.time_ns()
    spans = [
        make_call(attributes={"otel_ml.model.version": digest}, start_ns=now_ns + place)
        for place, digest in enumerate(("aa", "bb"))
    ]
    for _ in range(2):
        signed_on.store.take(project, *spans, now_ns=now_ns)
    run_id = f"{spans[0].trace_id.hex()}-{spans[0].span_id.hex()}"
    body = {
        "evaluations": [
            {"id": f"{place}", "run_id": run_id, "judge": "good", "passed": True}
            for place in range(2)
        ]
    }
    path = f"/api/v1/projects/{project}"
    assert call(signed_on, f"{path}/evaluations", method="POST", body=body).status == 200
    model = find_activity(signed_on.store.reader, project, time.time_ns()).entries
    versions = sorted(one.name for one in model if one.kind == "version")
    assert versions == ["answer:v1", "answer:v2"]
    name, _, number = versions[0].rpartition(":v")
    moved = {"alias": "champion", "version": int(number)}
    answered = call(signed_on, f"{path}/models/{quote(name)}/aliases", method="POST", body=moved)
    assert answered.status == 200, answered.text
    [alias] = list_entries(signed_on, project, kind="alias")
    assert (alias["name"], alias["who"], alias["action"]) == (f"{name}@champion", "ada", "set")
    assert alias["changes"] == [{"field": "version", "before": None, "after": f"v{number}"}]
    [label] = list_entries(signed_on, project, kind="label")
    assert (label["name"], label["who"], label["changes"][0]["after"]) == ("good", "ada", "2")
    stored = [row for row in list_entries(signed_on, project) if row["kind"] == "alert rule"]
    assert stored == []


def test_deleted_user(signed_on: Service, project: str) -> None:
    """After the deletion of a user, only a digest of the name is left in the activity."""
    now_ns = time.time_ns()
    rule = {**_RULE, "where": 'user == "ada"'}
    path = f"/api/v1/projects/{project}"
    call(signed_on, f"{path}/alerts/of ada".replace(" ", "%20"), method="PUT", body=rule)
    span = make_call(attributes={"user.id": "ada"}, start_ns=now_ns)
    signed_on.store.take(project, span, now_ns=now_ns)
    assert call(signed_on, f"{path}/users/ada", method="DELETE").status in {200, 202}
    digest = digest_user("ada")
    # It is the author, and in the filter.
    wait_until(lambda: str(list_entries(signed_on, project)[-1]).count(digest) > 1)
    deletion, *_, created = list_entries(signed_on, project)
    assert (deletion["kind"], deletion["action"]) == ("deletion", "deleted user")
    assert (deletion["name"], created["who"]) == (digest, digest)
    [where] = [one["after"] for one in created["changes"] if one["field"] == "where"]
    assert where == f'user == "{digest}"'


def test_reads(signed_on: Service, project: str) -> None:
    """With `audit_reads`, administrators see who read a payload, once a minute."""
    now_ns = time.time_ns()
    span = make_call(start_ns=now_ns)
    signed_on.store.take(project, span, now_ns=now_ns)
    run_id = f"{span.trace_id.hex()}-{span.span_id.hex()}"
    for _ in range(2):
        assert (
            call(signed_on, f"/api/v1/projects/{project}/runs/{run_id}", user="ben").status == 200
        )
    call(signed_on, f"/api/v1/projects/{project}/stats", user="ben")
    call(signed_on, f"/api/v1/runs/{run_id}")
    read = {(one["who"], one["name"]) for one in list_entries(signed_on, project, kind="read")}
    assert read == {("ben", f"runs/{run_id}"), ("ada", f"runs/{run_id}")}
    assert list_entries(signed_on, project, user="ben", kind="read") == []
    assert "read" not in {one["kind"] for one in list_entries(signed_on, project)}


def test_shared_files(signed_on: Service, project: str) -> None:
    """Each file that is made is an entry, with its sender, program, page and redaction."""
    span = make_call(attributes={"session.id": "chat 1/2"}, start_ns=time.time_ns())
    signed_on.store.take(project, span, now_ns=time.time_ns())
    run, session = f"runs/{id_of(span)}", "sessions/chat%201%2F2"
    path = f"/api/v1/projects/{project}"
    page, command = {"sec-fetch-site": "same-origin"}, {"x-otel-ml-program": "command"}
    assert call(signed_on, f"{path}/{run}/file", user="ben").status == 200
    assert call(signed_on, f"{path}/{session}/file?redact=1", **page).status == 200
    assert call(signed_on, f"{path}/compare/file?of={id_of(span)}", **command).status == 400
    assert call(signed_on, f"{path}/{run}/file", **command).status == 200
    entries = list_entries(signed_on, project, user="ben", kind="shared file")
    shown = [(one["who"], one["program"], one["action"], one["name"]) for one in entries]
    assert shown == [
        ("ada", "command", "created", run),
        ("ada", "page", "created", session),
        ("ben", "api", "created", run),
    ]
    redacted = [{"field": "redacted", "before": None, "after": True}]
    assert [one["changes"] for one in entries] == [[], redacted, []]
    text = call(signed_on, f"/projects/{project}/activity").text
    assert f'href="/projects/{project}/{session}"' in text


def test_other_changes(signed_on: Service, project: str) -> None:
    """Keys, retention and the deletion of a project are entries, keys only for administrators."""
    path = f"/api/v1/projects/{project}"
    key = {"name": "ci", "scopes": ["ingest"], "projects": [project]}
    assert call(signed_on, "/api/v1/keys", method="POST", body=key).status == 201
    call(signed_on, f"{path}/retention", method="PUT", body={"record_days": 30})
    kept, made = list_entries(signed_on, project)
    assert (made["kind"], made["name"], made["who"]) == ("key", "ci", "ada")
    assert kept["changes"] == [{"field": "record_days", "before": None, "after": 30}]
    assert [one["kind"] for one in list_entries(signed_on, project, user="ben")] == ["retention"]
    signed_on.store.take(project, make_call(start_ns=time.time_ns()), now_ns=time.time_ns())
    assert call(signed_on, path, method="DELETE").status in {200, 202}
    gone = [one["action"] for one in list_entries(signed_on, project, kind="deletion")]
    assert gone == ["deleted project"]
    wait_until(lambda: list_entries(signed_on, project, kind="retention") == [])


def test_pages_of_a_list(signed_on: Service, project: str) -> None:
    """Following `next_cursor` lists each change once, also if it was written twice."""
    client = signed_on.store.connections.open()
    now_ns = time.time_ns() - MINUTE_NS
    for place in (*range(5), 4):  # the last is written by two collectors
        note_change(
            client, project, "view", "created", f"v{place}", time_ns=now_ns, identity=f"{place}"
        )
    names, cursor = [], None
    while True:
        found = find_activity(
            signed_on.store.reader, project, time.time_ns(), limit=2, cursor=cursor
        )
        names += [entry.name for entry in found.entries]
        cursor = found.next_cursor
        if cursor is None:
            break
    assert names == ["v4", "v3", "v2", "v1", "v0"]


def test_moments(signed_on: Service, project: str) -> None:
    """A moment that is stored in nanoseconds is RFC 3339; a length stays a number."""
    before = {"ended_ns": 0, "window_ns": MINUTE_NS, "start_ns": 0}
    after = {"ended_ns": 20_000 * DAY_NS, "window_ns": DAY_NS, "end_ns": 0}
    client, changes = signed_on.store.connections.open(), compare_fields(before, after)
    note_change(client, project, "judge", "changed", "a", time_ns=time.time_ns(), changes=changes)
    [entry] = list_entries(signed_on, project)
    assert entry["changes"] == [
        {"field": "ended", "before": None, "after": "2024-10-04T00:00:00Z"},
        {"field": "window_ns", "before": MINUTE_NS, "after": DAY_NS},
    ]


def test_unchangeable(signed_on: Service, project: str) -> None:
    """No request changes or deletes the activity."""
    path = f"/api/v1/projects/{project}/activity"
    statuses = {
        call(signed_on, path, method=method, body={}).status
        for method in ("POST", "PUT", "PATCH", "DELETE")
    }
    assert statuses == {405}


def test_kept(signed_on: Service, project: str) -> None:
    """Retention deletes the activity after 400 days."""
    connections = signed_on.store.connections
    client, now_ns = connections.open(), time.time_ns()
    for days in (402, 399):
        note_change(client, project, "view", "created", f"{days}", time_ns=now_ns - days * DAY_NS)
    retention = Retention(connections, Days())
    retention.confirm()
    retention.sweep()
    rows = call(signed_on, f"/api/v1/projects/{project}/activity").json["entries"]
    assert [row["name"] for row in rows] == ["399"]
    assert find_activity(signed_on.store.reader, project, now_ns - 400 * DAY_NS).entries == []


def test_page(signed_on: Service, project: str) -> None:
    """The page shows old and new values, and counts what changed since the last visit."""
    path = f"/projects/{project}/activity"
    now_ns = time.time_ns()
    signed_on.store.take(project, make_call(start_ns=now_ns), now_ns=now_ns)
    first = call(signed_on, path)
    assert "since you last looked" not in first.text
    hour_ago_s = now_ns // 10**9 - 3_600
    cookie = f"otel-ml-activity={hour_ago_s}.{hour_ago_s}"
    rule = f"/api/v1/projects/{project}/alerts/slow"
    for window in ("1h", "2h"):
        call(signed_on, rule, method="PUT", body={**_RULE, "window": window})
    shown = call(signed_on, path, cookie=cookie)
    assert "<b>2 changes</b> since you last looked" in shown.text
    assert "<del>1h</del> → <ins>2h</ins>" in shown.text
    mark = call(signed_on, f"{path}-mark", cookie=cookie)
    assert ">2</span>" in mark.text
    now_s = time.time_ns() // 10**9 + 1
    mark = call(signed_on, f"{path}-mark", cookie=f"otel-ml-activity=0.{now_s}")
    assert "span" not in mark.text


def test_assistant(signed_on: Service, project: str) -> None:
    """The tool lists the same changes as the API."""
    path = f"/api/v1/projects/{project}/alerts/slow"
    now_ns = time.time_ns()
    signed_on.store.take(project, make_call(start_ns=now_ns), now_ns=now_ns)
    for window in ("1h", "2h"):
        call(signed_on, path, method="PUT", body={**_RULE, "window": window})
    given = {"project": project, "kind": "alert rule"}
    digest = answer("activity", given, signed_on.store.reader, "http://x", time.time_ns() + 10**9)
    assert [row[1:6] for row in digest["rows"]] == [
        ["ada", "api", "alert rule", "slow", "changed"],
        ["ada", "api", "alert rule", "slow", "created"],
    ]
    assert digest["rows"][0][6] == ["window: 1h -> 2h"]


def test_visits() -> None:
    """A visit goes on while pages open within half an hour; a wrong cookie is none."""
    hour_ns = 3_600 * 10**9
    assert read_visit("x") == read_visit("1.") == ActivityVisit()
    visit = ActivityVisit(before_ns=hour_ns, last_ns=9 * hour_ns)
    assert visit.seen_until(9 * hour_ns + 10 * MINUTE_NS) == hour_ns
    assert visit.seen_until(10 * hour_ns) == 9 * hour_ns


def test_fields() -> None:
    """Nested fields are named by their path, equal ones are left out, long values are cut."""
    before = {"a": {"b": 1, "c": [1]}, "gone": True}
    after = {"a": {"b": 2, "c": [1]}, "text": "x" * 1_200}
    assert compare_fields(before, after) == [
        {"field": "a.b", "before": 1, "after": 2},
        {"field": "text", "before": None, "after": "x" * 1_000 + "…(+200)"},
        {"field": "gone", "before": True, "after": None},
    ]
