"""Retention: old data is deleted by the age of its arrival, and other data stays."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from otel_ml_collector.access import OPEN
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.project_settings.storage import StorageQuery, find_storage
from otel_ml_collector.span import Span, Value
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.retention import Days, Retention, Wish
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.writer import Writer
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.deleting import BEGAN_NS, Project, make_told
from tests.support.otel_ml_collector.folded import finish
from tests.support.otel_ml_collector.spans import DAY_NS, make_call, make_record, span_id
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, sampled
from tests.support.waiting import wait_until

_TIMES: Final = itertools.count(BEGAN_NS + 1_000 * DAY_NS, 1_000 * DAY_NS)


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """Return a separate service, because retention affects all projects of a store."""
    return own_service


@dataclass(slots=True)
class Aged:
    """A project whose retention runs at a time far in the future, later for each test.

    Attributes:
        now_ns: The time at which retention runs.
    """

    project: Project
    now_ns: int

    def arrive(self, days_ago: int, *spans: Span) -> None:
        """Store spans that start now, with an arrival time some days before `now_ns`."""
        store = self.project.service.store
        writer = Writer(store.connections, clock=lambda: self.now_ns - days_ago * DAY_NS)
        for span in spans:
            writer.write(map_spans([span], Filing(self.project.name, BEGAN_NS)))

    def retention(self, days: Days) -> Retention:
        connections = self.project.service.store.connections
        retention = Retention(connections, days, clock=lambda: self.now_ns)
        retention.confirm()
        return retention


@pytest.fixture
def aged(service: Service, request: pytest.FixtureRequest) -> Aged:
    return Aged(Project(service, request.node.name), next(_TIMES))


def test_ages(aged: Aged) -> None:
    """Records and payloads are kept for their configured days, whenever their runs started."""
    project = aged.project
    for days_ago, mark in ((40, "mark-old"), (10, "mark-middle"), (1, "mark-new")):
        told = make_told(mark, f"session {mark}", "user", "model")
        aged.arrive(days_ago, *told)
    swept = aged.retention(Days(records=30, payloads=7)).sweep()
    assert project.tables_with("mark-old") == []
    assert project.tables_with("mark-middle") == [
        "late_tags",
        "metrics",
        "runs",
        "trace_index",
        "trace_keys",
    ]
    assert {"late_logs", "objects", "payloads"} <= set(project.tables_with("mark-new"))
    assert (swept.rows["runs"], swept.rows["payloads"], swept.error) == (2, 4, "")
    assert project.names() == ["mark-middle", "mark-new", "model", "model"]


def test_last_day(aged: Aged) -> None:
    """Records that are 30 days old are kept, and records that are 31 days old are deleted."""
    for days_ago in (31, 30):  # arrival times must increase
        aged.arrive(days_ago, make_call(f"{days_ago} days", start_ns=BEGAN_NS))
    aged.retention(Days(records=30)).sweep()
    assert aged.project.names() == ["30 days"]


@at_night
def test_words_about_a_session(aged: Aged) -> None:
    """Labels of sessions are kept as long as records, counted from their arrival."""
    for days_ago, session in ((40, "old"), (10, "new")):
        facts: dict[str, Value] = {
            "otel_ml.target.session": session,
            "otel_ml.judge.name": "helpful",
            "otel_ml.source": "human",
            "otel_ml.passed": True,
        }
        aged.arrive(days_ago, make_record("evaluation", make_call(), facts))
    aged.retention(Days(records=30, payloads=7)).sweep()
    assert aged.project.tables_with("session:old") == []
    assert aged.project.tables_with("session:new") == ["metrics"]


def test_for_ever(aged: Aged) -> None:
    """Without a limit nothing is deleted."""
    aged.arrive(900, *make_told("mark", "session", "user", "model"))
    assert aged.retention(Days()).sweep().rows == {}


def test_own_days(aged: Aged) -> None:
    """A project's own retention applies to that project only, and to later collectors too."""
    other = Aged(Project(aged.project.service, "as configured"), aged.now_ns)
    for one in (aged, other):
        one.arrive(40, make_call("call", start_ns=BEGAN_NS))
    aged.retention(Days()).set(aged.project.name, Wish(records=30))
    aged.retention(Days()).sweep()
    assert (aged.project.names(), other.project.names()) == ([], ["call"])


def test_set_by_api(service: Service) -> None:
    """The API sets a project's retention, and returns the values in effect."""
    target = "/api/v1/projects/set%20by%20api/retention"
    body = json.dumps({"record_days": 30, "payload_days": 90}).encode()
    headers = {"content-type": "application/json"}
    answer = ask(service.app, target, method="PUT", headers=headers, body=[body])
    assert answer.json == ask(service.app, target).json
    assert answer.json == {
        "project": "set by api",
        "record_days": 30,
        "payload_days": 90,
        "holds_record_days": 30,
        "holds_payload_days": 30,
    }


@sampled(1)
@pytest.mark.parametrize("days", [-1, 36_501, "many"])
def test_wrong_days(service: Service, days: Any) -> None:
    """Invalid days are refused with the field that is wrong."""
    body = json.dumps({"record_days": days}).encode()
    headers = {"content-type": "application/json"}
    target = "/api/v1/projects/p/retention"
    answer = ask(service.app, target, method="PUT", headers=headers, body=[body])
    assert (answer.status, answer.json["error"]["field"]) == (400, "record_days")


def test_storage(aged: Aged) -> None:
    """Storage reports bytes by project, kind and model, and how much fewer days would free."""
    aged.arrive(40, *make_told("mark", "session", "user", "model"))
    store = aged.project.service.store
    # The tag that arrived later wrote the row of its run again; a merge leaves one.
    store.connections.open().command(Sql("OPTIMIZE TABLE runs FINAL"))
    answer = find_storage(store.reader, OPEN, aged.retention(Days()), StorageQuery(30), aged.now_ns)
    (told,) = [one for one in answer.projects if one.project == aged.project.name]
    rows = {kind: share.rows for kind, share in told.kinds.items()}
    assert [rows[kind] for kind in ("runs", "payloads", "logs", "artifacts")] == [2, 2, 1, 1]
    assert [(one.model, one.rows) for one in told.models] == [("", 1), ("model", 1)]
    assert told.bytes == sum(share.bytes for share in told.kinds.values()) <= answer.bytes
    assert min(told.freed_records or 0, told.freed_payloads or 0) > 0


@at_night
def test_nothing_to_free(service: Service) -> None:
    """A limit of more days than the age of all data frees nothing."""
    project = Project(service, "fresh")
    project.send(*make_told("mark", "session", "user", "model"))
    answer = ask(service.app, "/api/v1/storage?days=30").json
    (told,) = [one for one in answer["projects"] if one["project"] == "fresh"]
    assert (told["freed_records"], told["freed_payloads"]) == (0, 0)


@at_night
def test_pages_of_storage(service: Service) -> None:
    """Paging through storage lists each project once, the largest first."""
    names = [f"paged-{place}" for place in range(5)]
    for name in names:
        Project(service, name).send(*make_told("mark", "session", "user", "model"))

    def read_unchanged() -> tuple[Any, list[Any]] | None:
        """Read all projects at once and in pages, unless a merge changes the sizes meanwhile."""
        whole = ask(service.app, "/api/v1/storage").json
        pages = list(read_pages(service))
        again = ask(service.app, "/api/v1/storage").json
        return (whole, pages) if whole["projects"] == again["projects"] else None

    whole, pages = wait_until(read_unchanged, 60)
    listed = [share for page in pages for share in page]
    assert listed == whole["projects"]
    assert {len(page) for page in pages[:-1]} == {2}
    assert whole["projects_found"] == len(listed) >= len(names)
    sizes = [share["bytes"] for share in listed]
    assert sizes == sorted(sizes, reverse=True)


def read_pages(service: Service) -> Iterator[list[Any]]:
    """Read the projects of storage in pages of two."""
    cursor: str | None = ""
    while cursor is not None:
        page = ask(service.app, f"/api/v1/storage?limit=2&cursor={cursor}").json
        yield page["projects"]
        cursor = page["next_cursor"]


@sampled(1)
@pytest.mark.parametrize("cursor", ["x", "WyJhIiwxXQ"])
def test_wrong_cursor_of_storage(service: Service, cursor: str) -> None:
    """An invalid cursor is refused."""
    answer = ask(service.app, f"/api/v1/storage?cursor={cursor}")
    assert (answer.status, answer.json["error"]["field"]) == (400, "cursor")


@at_night
def test_expired_score_of_tag(aged: Aged) -> None:
    """When a score for a tag expires, the rows of newer runs with the tag lose it."""
    project = aged.project
    store = project.service.store
    watch = CallResolver(store.connections)
    call = make_call("answer", {"otel_ml.tag.client": "big"})
    told: dict[str, Value] = {"otel_ml.target.tag": "client=big", "otel_ml.score.value": 0.5}
    for days_ago, judge in ((40, "old"), (2, "new")):
        about = {**told, "otel_ml.judge.name": judge}
        aged.arrive(days_ago, make_record("evaluation", call, about, span_id=span_id(days_ago)))
    aged.arrive(1, call)
    finish(store, watch)
    rows = Sql("SELECT final_scores FROM runs FINAL WHERE project = {project:String}")
    named = {"project": project.name}
    assert store.reader.rows(rows, named) == [{"final_scores": {"new": 0.5, "old": 0.5}}]
    aged.retention(Days(records=30)).sweep()
    finish(store, watch)
    assert store.reader.rows(rows, named) == [{"final_scores": {"new": 0.5}}]
