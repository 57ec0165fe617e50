"""Which requests the gate lets through, and that a key can only see its own projects.

The routes are not listed here: they are read from the application.
"""

import hashlib
import json
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from otel_ml_collector.access import SCOPES, Access
from otel_ml_collector.keyring import Keyring
from otel_ml_collector.serve.addresses import SegmentRoute
from otel_ml_collector.serve.middleware import Gate
from otel_ml_collector.span import Span, Value
from otel_ml_collector.times import DAY_NS, to_rfc3339
from otel_ml_collector.traces.live import Listening, LivePace
from tests.store.otel_ml_collector.test_datasets import make_item, make_versions
from tests.support.otel_ml_collector.asgi import HOST, Answered, ask
from tests.support.otel_ml_collector.spans import (
    id_of,
    make_artifact,
    make_call,
    make_record,
    make_span,
    make_start,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

# This word is in every record of the other project, and in requests only as part of its names.
MARK: Final = "xyzzy"
DOCUMENT: Final = f'"{MARK}"'
SHA256: Final = hashlib.sha256(DOCUMENT.encode()).hexdigest()
TRACE_KEY: Final = f"key-{MARK}"
JSON: Final = {"content-type": "application/json"}
FROM_THE_START: Final = {"last-event-id": "1"}  # live events that were already sent
# These routes respond without a key, and contain nothing about any project.
PUBLIC: Final = {"/healthz", "/readyz", "/favicon.ico", "/sign-in", "/sign-out", "/static"}
ADMINISTERED: Final = (
    "/api/v1/keys",
    "/api/v1/storage",
    "/api/v1/backup",
    "/api/v1/retention/",
    "/api/v1/alert-receivers/",
)
_TIMES: Final = "start=2026-11-01T00:00:00Z&end=2026-11-02T00:00:00Z"
OTLP: Final = {"/v1/traces", "/v1/logs", "/v1/metrics"}


@dataclass(frozen=True, slots=True)
class World:
    """A collector with two projects, which makes keys for given projects and scopes."""

    service: Service
    theirs: Span
    experiment: Span
    over: Span
    object_id: str
    mute: str
    backfill: str

    @property
    def keyring(self) -> Keyring:
        ring: Keyring = self.service.app.state.services.find(Keyring)
        return ring

    def key(self, *projects: str, scopes: Iterable[str] = SCOPES) -> str:
        name = MARK if "theirs" in projects else "mine"
        wanted = Access("", name, frozenset(scopes), projects or None)
        return self.keyring.add(wanted).text

    def ask(self, target: str, key: str, method: str = "GET", **more: str) -> Answered:
        body = (more.pop("body", "").encode(),)
        headers = {"authorization": f"Bearer {key}", **JSON, **FROM_THE_START, **more}
        return ask(self.service.app, target, method=method, headers=headers, body=body)

    def roads(self) -> list[tuple[str, str]]:
        """Return the method and address of every route, filled in for the other project."""
        return [
            (method, address + self._question(address))
            for path, methods in routes_of(self.service.app.routes)
            for address in [self._fill(path)]
            for method in methods
            if path not in PUBLIC | OTLP | {"/metrics"}
            and (method, path) != ("POST", "/")  # it only has the address of OTLP
        ]

    def _fill(self, path: str) -> str:
        told = {
            "project": "theirs",
            "run_id": id_of(self.experiment if "/experiments/" in path else self.theirs),
            "key": TRACE_KEY,
            "model": f"model-{MARK}",
            "judge": f"judge-{MARK}",
            "number": "1",
            "sha256": SHA256,
            "obj_id": self.object_id,
            "service": f"model-{MARK}",
            "trace_id": self.theirs.trace_id.hex(),
            "name": f"view-{MARK}",
            "queue": f"queue-{MARK}",
            "target": f"target-{MARK}",
            "alert": f"alert-{MARK}",
            "receiver": "nobody",
            "mute": self.mute,
            "known": "0" * 32,
            "backfill": self.backfill,
            "session": MARK,
            "user": MARK,
            "field": "latency_ms",
            "key_id": self.keyring.find_keys()[0].access.key_id,
        }
        for name, value in told.items():
            for form in (f"{{{name}}}", f"{{{name}:path}}"):
                path = path.replace(form, quote(value, safe=""))
        assert "{" not in path, f"say above what the others' {path} is"
        return path

    def _question(self, address: str) -> str:
        told = {
            "/completion": f"start=2026-11-01T00:00:00Z&where={quote('model == ')}",
            "/mentions": f"who={MARK}",
            "/model-verdict": f"model=model-{MARK}&version=1&against=1",
            "/model-curves": f"model=model-{MARK}",
            "/newest-verdict": f"model=model-{MARK}",
            "/model-variability": f"model=model-{MARK}",
            "/field-slices": f"model=model-{MARK}&field=latency_ms",
            "/dataset-coverage": f"name=view-{MARK}&version=1",
            "/dataset-item": f"name=view-{MARK}&version=1&item={MARK}",
            "/judge-people": f"judge=judge-{MARK}",
            "/judge-backfill": f"judge=judge-{MARK}",
            "/trace-pair": f"of={id_of(self.theirs)}&of={id_of(self.over)}",
            "/compare": f"of={id_of(self.theirs)}&of={id_of(self.over)}",
            "/rows": "key=top",
            "/stats": "group=model",
            "/verdict": "against=1",
            "/strictness": "against=1",
            "/diff": "against=1",
            "/slice": f"model=model-{MARK}&where={quote(f'session == {DOCUMENT}')}",
            "/fields": f"model=model-{MARK}&than=2026-11-19/2026-11-22",
            "/latency_ms": f"model=model-{MARK}&than=2026-11-19/2026-11-22",
            "/problem-curve": "where=&figure=errors&start=2026-11-01T00:00:00Z",
            "/problem-pairs": f"where=&before=&version=2&baseline=1&{_TIMES}",
            "/problem-of": f"model=model-{MARK}&version=2",
            "/version-pairs": f"model=model-{MARK}&version=2&against=1",
            "/status": "project=theirs&of=1",
            "/objects": f"trace_id={self.theirs.trace_id.hex()}",
        }
        page = address.removesuffix("/file") if address.endswith("/compare/file") else address
        asked = told.get(page[page.rindex("/") :])
        return f"?{asked}" if asked else ""


def routes_of(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, list[str]]]:
    """Yield the path and methods of every route of an application."""
    for route in routes:
        if isinstance(route, SegmentRoute):
            continue  # it passes requests on to the other routes
        methods = getattr(route, "methods", None) or {"GET", "POST"}
        yield getattr(route, "path", ""), sorted(methods)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_service(tmp_path_factory.mktemp("data")) as service:
        yield fill(service)


def without_names(text: str) -> str:
    """Remove the names that a response may only repeat from its request."""
    for name in (f"model-{MARK}", f"judge-{MARK}", TRACE_KEY):
        text = text.replace(name, "")
    return text


def fill(service: Service) -> World:
    """Give the project `theirs` one of everything; `ours` only has a bare run."""
    told: dict[str, Value] = {
        "otel_ml.inputs": f'{{"text": "{MARK}"}}',
        "otel_ml.outputs": f'"{MARK}"',
        "otel_ml.tag.client": MARK,
        f"otel_ml.score.judge-{MARK}": 0.5,
        "otel_ml.trace_key": TRACE_KEY,
        "otel_ml.model.version": "0123456789abcdef",
        "otel_ml.model.definition": f'{{"source": "{MARK}"}}',
        "otel_ml.process": "00000001",
        "otel_ml.seq": 1,
        "session.id": MARK,
    }
    artifact = make_artifact(f"ref-{MARK}", DOCUMENT, type="otel_ml.types.Native")
    now_ns = time.time_ns()  # many pages only show the last 24 hours
    theirs = make_call(f"model-{MARK}", told, start_ns=now_ns, events=[artifact])
    points: dict[str, Value] = {
        "otel_ml.metric.names": [f"loss-{MARK}"],
        "otel_ml.metric.values": [0.5],
        "otel_ml.tag.late": MARK,
        "otel_ml.target.start_ns": now_ns,
    }
    about_key = {"otel_ml.target.trace_key": TRACE_KEY, "otel_ml.tag.told": MARK}
    version = {"otel_ml.record": "update", "otel_ml.target.version": "0123456789abcdef"}
    name = {**version, "otel_ml.target.model": f"model-{MARK}", "otel_ml.alias": f"alias-{MARK}"}
    rubric: dict[str, Value] = {
        **version,
        "otel_ml.target.model": f"judge-{MARK}",
        "otel_ml.target.kind": "judge",
        "otel_ml.model.definition": f'{{"source": "{MARK}"}}',
    }
    document = {"name": MARK, "version": "1", "components": [], "scores": []}
    profile: dict[str, Value] = {
        **rubric,
        "otel_ml.target.model": f"profile-{MARK}",
        "otel_ml.target.kind": "profile",
        "otel_ml.model.definition": json.dumps(document),
    }
    service.store.take(
        "theirs",
        *(make_span("otel_ml.update", of, start_ns=now_ns) for of in (name, rubric, profile)),
        theirs,
        *(
            make_record("update", theirs, told_late, start_ns=now_ns)
            for told_late in (points, about_key)
        ),
        make_start(make_call(f"open-{MARK}", start_ns=now_ns)),
        now_ns=now_ns,
    )
    item = make_item(MARK)
    service.store.take("theirs", item, *make_versions(f"view-{MARK}", {MARK: item}))
    tried = make_call(
        f"tried-{MARK}",
        {"otel_ml.kind": "experiment", "otel_ml.experiment.dataset": f"view-{MARK}"},
        trace_id=trace_id(9),
        start_ns=now_ns,
    )
    of_item: dict[str, Value] = {
        "otel_ml.experiment": id_of(tried),
        "otel_ml.item.id": MARK,
        "otel_ml.item.digest": "0" * 64,
    }
    over = make_call("over", of_item, trace_id=trace_id(10), start_ns=now_ns)
    service.store.take("theirs", tried, over, now_ns=now_ns)
    ours = make_call("ours", trace_id=theirs.trace_id, start_ns=now_ns)
    service.store.take("ours", ours, now_ns=now_ns)
    service.app.state.services.find(Listening).pace = LivePace(lifetime_s=0)
    views = "/api/v1/projects/theirs/views"
    view = json.dumps({"parameters": {"where": f'model == "{MARK}"'}}).encode()
    ask(service.app, f"{views}/view-{MARK}", method="PUT", headers=JSON, body=[view])
    rule = {"where": f'model == "{MARK}"', "when": "error_share > 0.1"}
    documents: dict[str, dict[str, Any]] = {
        "alerts/alert": rule,
        "queues/queue": {"judge": f"judge-{MARK}", "labels": [{"label": MARK, "passed": True}]},
        "targets/target": {"model": f"model-{MARK}"},
        "rubric-judges/judge": {
            "instruction": f"Is it {MARK}?",
            "model": "gpt-4o-mini",
            "connection": "nobody",
        },
    }
    for place, document in documents.items():
        saved = ask(
            service.app,
            f"/api/v1/projects/theirs/{place}-{MARK}",
            method="PUT",
            headers=JSON,
            body=[json.dumps(document).encode()],
        )
        assert saved.status == 200, saved.text
    wanted: dict[str, Any] = {
        "digest": saved.json["digest"],
        "start_ns": 0,
        "end_ns": now_ns + DAY_NS,
        "where": "",
        "sample": 1,
        "most_calls": 1,
    }
    backfill = ask(
        service.app,
        f"/api/v1/projects/theirs/rubric-judges/judge-{MARK}/backfill",
        method="POST",
        headers=JSON,
        body=[json.dumps(wanted).encode()],
    )
    until = to_rfc3339(now_ns + DAY_NS)
    mute = json.dumps({"rule": f"alert-{MARK}", "until": until, "why": MARK}).encode()
    mutes = "/api/v1/projects/theirs/mutes"
    muted = ask(service.app, mutes, method="POST", headers=JSON, body=[mute])
    found = ask(service.app, f"/api/v1/projects/theirs/objects?ref=ref-{MARK}").json["objects"]
    object_id = found[0]["obj_id"]
    mute, of_judge = muted.json["name"], backfill.json["id"]
    return World(service, theirs, tried, over, object_id, mute, of_judge)


@at_night
def test_roads(world: World) -> None:
    """With their key, read routes return the other project's records, so leaks would be seen."""
    key = world.key("theirs")
    blind = {"/openapi.json", "/api/v1/stats", "/api/v1/disk"}  # these contain no names
    blind |= {f"/projects/theirs/{part}" for part in ("news", "chart", "error-groups", "sums")}
    blind.add("/projects/theirs/switch")  # has only counts
    blind.add("/api/v1/projects/theirs/unread")  # empty for a project with runs
    blind.add("/api/v1/projects/theirs/known-problems")  # no problem is known there
    blind.add("/api/v1/projects/theirs/findings")  # there are no problems
    blind.add("/projects/theirs/monitor/findings")
    blind.add("/projects/theirs/monitor/progress")  # contains no names
    blind.add("/api/v1/projects/theirs/reported")  # no metrics were reported there
    blind.add("/api/v1/projects/theirs/deletions")  # no deletion is in progress there
    blind.add("/api/v1/rubric-judges")  # all judges are off
    blind.add(f"/api/v1/projects/theirs/rubric-judges/judge-{MARK}/due")  # the judge is off
    blind.add("/api/v1/projects/theirs/alert-changes")  # nothing has changed there
    blind.add("/api/v1/projects/theirs/alert-deliveries")  # nothing was sent there
    blind |= {f"/projects/theirs/alert-{part}" for part in ("firing", "rule", "past")}
    blind.add(f"/projects/theirs/run-unusual/{id_of(world.theirs)}")
    blind.add("/projects/theirs/profiles")  # leads to another page
    blind |= {
        address
        for _, address in world.roads()
        if address.partition("?")[0].endswith(
            ("/release", "/releases", "/newest-verdict", "/model-verdict")
        )
    }
    silent = []
    for method, address in world.roads():
        is_jaeger = address.startswith("/jaeger/") or not address.startswith(("/api/v1", "/p"))
        is_part = address.endswith(("/image", "/calls", "/others", "-mark"))
        is_part |= any(
            part in address
            for part in (
                "/dataset-coverage?",
                "/judge-people?",
                "-variability?",
                "-curves?",
                "-curve?",
                "-pairs?",
                "/field-sl",
                "/problems/",
                "/problem-of?",
            )
        )
        is_part |= "/experiments/" in address and ("/verdict" in address or "/varia" in address)
        is_seen = address not in blind and not is_part and not is_jaeger
        if method == "GET" and is_seen:
            answered = world.ask(address, key)
            assert answered.status == 200, (address, answered.text)
            told = (MARK, "00000001", '"theirs"', ">theirs<")  # one of these is in the response
            silent += [] if any(word in answered.text for word in told) else [address]
    assert silent == []


@sampled(only=("projects[02]",))
@pytest.mark.parametrize("projects", [("ours",), ("ours", "other"), ("ours", "their")])
def test_other_projects(world: World, projects: tuple[str, ...]) -> None:
    """For a key without access, no route returns anything about other projects, not even a name."""
    world.key("theirs")
    key = world.key(*projects)
    for method, address in world.roads():
        answered = world.ask(address, key, method, body="{}")
        echo = without_names(answered.text)
        assert MARK not in echo, (method, address, answered.text)
        if address.startswith("/status"):  # a project that the key cannot read is not checked
            assert "No project could be checked" in answered.text
        elif "theirs" in address:
            assert answered.status == 404, (method, address, answered.text)
        assert "theirs" not in echo or "There is no project" in echo, (method, address)


@at_night
def test_other_projects_by_cookie(world: World) -> None:
    """A session can read no more than its key."""
    ring = world.keyring
    access = ring.find_key(world.key("ours"))
    assert access is not None
    cookie = f"otel_ml_session={ring.open_session(access)}"
    headers = {"cookie": cookie, **JSON}
    for method, address in world.roads():
        answered = ask(world.service.app, address, method=method, headers=headers)
        echo = without_names(answered.text)
        assert MARK not in echo, (method, address, answered.text)
        if "theirs" in address and not address.startswith("/status"):
            assert answered.status in {403, 404}, (method, address, answered.text)


@pytest.mark.parametrize("scope", SCOPES)
def test_scopes(world: World, scope: str) -> None:
    """Every route refuses a key without the scope that the route needs."""
    key = world.key(scopes=[scope])
    for method, address in world.roads():
        if address != "/openapi.json":
            status = world.ask(address.replace("theirs", "nobody's"), key, method).status
            is_enough = scope in needs_of(method, address)
            assert (status == 403) is not is_enough, (method, address, status)


def needs_of(method: str, address: str) -> Collection[str]:
    """Return the scopes that are each enough for a route."""
    if "/mutes" in address or address.endswith("/mute"):
        return ["read"] if method == "GET" else ["annotate", "admin"]
    if "/targets/" in address and method in {"PUT", "DELETE"}:
        return []  # needs read and annotate: saving a target selects the outputs it shows
    is_marked = "/known" in address and method != "GET"
    if is_marked or "/settings/" in address or address.endswith("/queue-form"):
        return []  # needs two scopes: the response has data for readers only
    at = address.partition("/queues")[2]
    if "/queues" not in address:
        return [need_of(method, address)]
    if at.endswith("/runs"):
        return []  # needs read and annotate: adding runs to a queue requires seeing them
    if method in {"PUT", "DELETE"} and at.count("/") == 1:
        return []  # needs read and annotate: saving a queue selects the runs it shows
    if at.endswith("/agreement"):
        return ["read"]
    is_page_of_one = at.count("/") == 1 and not address.startswith("/api/")
    is_worked = at.count("/") > 1 or is_page_of_one
    return ["annotate"] if is_worked else ["read", "annotate"]


def need_of(method: str, address: str) -> str:
    """Return the scope that a route needs."""
    if address.endswith(
        ("/retention", "/purge", "/delete-runs", "/deletions")
    ) or address.startswith(ADMINISTERED):
        return "admin"
    forms = ("/alert-rule", "/judge-rubric", "/judge-trial", "-start", "-stop")
    is_form = address.endswith(forms) or "/judge-backfill" in address or "/alert-rule/" in address
    if address.endswith(("/lease", "/end")):
        return "ingest"
    if "/alerts/" in address or "/rubric-judges/" in address or is_form:
        return "read" if method == "GET" else "admin"
    if "/views/" in address or address.endswith(
        ("/evaluations", "/aliases", "/items", "/runs", "/tags", "/run-tags", "/undo")
    ):
        return "read" if method == "GET" else "annotate"
    return {"PUT": "ingest", "DELETE": "admin"}.get(method, "read")


def test_annotators(world: World) -> None:
    """A key with the scope annotate can read queues and their runs, but no scores or labels."""
    key = world.key("theirs", scopes=["annotate"])
    queue = f"/api/v1/projects/theirs/queues/queue-{MARK}"
    told = world.ask(f"{queue}/next", key).json
    run = f"{queue}/answers/{told['run']['run_id']}"
    pages = ("/projects/theirs/queues", f"/projects/theirs/queues/queue-{MARK}")
    for address in ("/api/v1/projects/theirs/queues", queue, run, *pages):
        answered = world.ask(address, key)
        assert (answered.status, MARK in answered.text) == (200, True), (address, answered.text)
    assert told["run"]["evaluations"] is None
    for method, address in world.roads():
        answered = world.ask(address, key, method, body="{}")
        if "annotate" not in needs_of(method, address) and address != "/openapi.json":
            assert answered.status == 403, (method, address, answered.text)


def test_nobody(world: World) -> None:
    """Without a valid key, every route refuses or redirects to the sign-in page."""
    world.key()
    for headers in ({}, {"authorization": f"Bearer omk_{'0' * 16}_{'0' * 64}"}, {"cookie": "a=b"}):
        for method, address in world.roads():
            answered = ask(world.service.app, address, method=method, headers=headers)
            is_form = method == "POST" and address.startswith("/projects/")
            if is_form or address.startswith(("/api/", "/jaeger/", "/openapi.json", "/mcp")):
                assert answered.status == 401, (method, address)
                assert answered.headers["www-authenticate"] == "Bearer"
            else:
                assert answered.status == 303, (method, address)
                target = f"/sign-in?next={quote(address, safe='')}"
                assert answered.headers["location"] == target
            assert MARK not in answered.text


@pytest.mark.parametrize("path", sorted(OTLP))
def test_otlp_without_a_key(world: World, path: str) -> None:
    """An OTLP request without a key gets an OTLP error."""
    world.key()
    sent = {"host": HOST, **JSON}
    answered = ask(world.service.app, path, method="POST", headers=sent, body=[b"{}"])
    assert (answered.status, answered.json["code"]) == (401, 16)
    assert answered.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", sorted(OTLP))
def test_otlp_without_the_scope(world: World, path: str) -> None:
    """An OTLP request whose key lacks the scope gets an OTLP error."""
    answered = world.ask(path, world.key(scopes=["read"]), "POST", body="{}")
    assert (answered.status, answered.json["code"]) == (403, 7)


def test_short_forms(world: World) -> None:
    """A run id without a project is looked up in the key's projects only."""
    run_id = id_of(world.theirs)
    world.service.store.take(
        "ours too", make_call("mine", trace_id=world.theirs.trace_id, span_id=world.theirs.span_id)
    )
    path = f"/api/v1/runs/{run_id}"
    assert world.ask(path, world.key("ours too")).json["model"] == "mine"
    assert world.ask(path, world.key("theirs")).json["model"] == f"model-{MARK}"
    assert world.ask(path, world.key("other")).status == 404
    several = world.ask(path, world.key("theirs", "ours too"))
    assert several.json["error"]["field"] == "project"


def test_hidden_parent(world: World) -> None:
    """A parent in an unreadable project is listed as hidden, without any of its data."""
    child = make_call("child", trace_id=world.theirs.trace_id, parent_span_id=world.theirs.span_id)
    world.service.store.take("children", child)
    path = f"/api/v1/traces/{world.theirs.trace_id.hex()}"
    assert world.ask(path, world.key("children")).json["hidden_parents"] == [id_of(world.theirs)]
    assert world.ask(path, world.key("children", "theirs")).json["hidden_parents"] == []
    assert world.ask(path, world.key()).json["hidden_parents"] == []
    page = world.ask(f"/projects/children/runs/{id_of(child)}", world.key("children")).text
    assert "1 parent is in projects that your key cannot read." in page


def test_projects(world: World) -> None:
    """The list of projects has the key's projects, or all for a key for all projects."""

    def names(key: str) -> set[str]:
        projects = world.ask("/api/v1/projects", key).json["projects"]
        return {project["project"] for project in projects}

    assert names(world.key("ours", "nothing yet")) == {"ours"}
    assert {"ours", "theirs"} <= names(world.key())


def test_page_of_a_session(world: World) -> None:
    """A signed-in user can open a page, which has a way to sign out."""
    ring = world.keyring
    access = ring.find_key(world.key("ours"))
    assert access is not None
    headers = {"cookie": f"otel_ml_session={ring.open_session(access)}"}
    answered = ask(world.service.app, "/projects/ours/runs", headers=headers)
    assert answered.status == 200
    assert "Sign out" in answered.text
    rows = ask(world.service.app, "/projects/ours/more-runs", headers={"hx-request": "true"})
    assert (rows.status, rows.headers["hx-refresh"]) == (401, "true")


def test_nothing_is_kept(world: World) -> None:
    """Browsers must not cache anything that needs a key: pages, JSON and documents."""
    ring = world.keyring
    key = world.key("theirs", scopes=["read"])
    access = ring.find_key(key)
    assert access is not None
    cookie = {"cookie": f"otel_ml_session={ring.open_session(access)}"}
    for address in (
        "/",
        "/projects/theirs/runs",
        f"/projects/theirs/runs/{id_of(world.theirs)}",
        "/api/v1/projects",
        "/api/v1/projects/theirs/runs",
        f"/api/v1/projects/theirs/artifacts/{SHA256}",
        "/api/v1/projects/nothing/runs/here",
    ):
        for headers in (cookie, {"authorization": f"Bearer {key}"}):
            answered = ask(world.service.app, address, headers=headers)
            assert answered.headers["cache-control"] == "no-store", address
    assert "no-store" not in ask(
        world.service.app, "/static/style.css", headers=cookie
    ).headers.get("cache-control", "")


def test_metrics(world: World) -> None:
    """Metrics are readable for keys that can read all projects or have the scope admin."""
    gate = Gate(PlainTextResponse("counts"), world.keyring, "nobody")
    for scopes, projects, status in (
        (["read"], (), 200),
        (["admin"], (), 200),
        (["ingest", "annotate", "import"], (), 403),
        (SCOPES, ("ours",), 403),
    ):
        key = world.key(*projects, scopes=scopes)
        headers = {"authorization": f"Bearer {key}"}
        assert ask(gate, "/metrics", headers=headers).status == status
    assert ask(gate, "/metrics").status == 401


@pytest.mark.parametrize(
    ("who", "peer", "status"),
    [
        ("loopback", "127.0.0.1", 200),
        ("loopback", "10.0.0.7", 401),
        ("everyone", "10.0.0.7", 200),
        ("nobody", "127.0.0.1", 401),
    ],
)
def test_metrics_without_a_key(world: World, who: str, peer: str, status: int) -> None:
    """Without a key, the setting decides who can read metrics; by default this machine."""
    world.key()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("counts")(scope, receive, send)

    gate = Gate(answer, world.keyring, who)

    async def from_peer(scope: Scope, receive: Receive, send: Send) -> None:
        await gate({**scope, "client": (peer, 50_000)}, receive, send)

    assert ask(from_peer, "/metrics").status == status
