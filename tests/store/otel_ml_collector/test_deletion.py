"""Deletion: deleted data disappears everywhere and stays deleted."""

import itertools
import time
from typing import Final
from urllib.parse import quote

import pytest

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.measures.projects import find_projects
from otel_ml_collector.span import Span, Value
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.tombstones import SESSION, USER, Tombstones
from otel_ml_collector.store.writer import Writer
from otel_ml_collector.times import DAY_NS
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.deleting import BEGAN_NS, Project, make_told
from tests.support.otel_ml_collector.spans import (
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_sign,
)
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, sampled

_NUMBERS: Final = itertools.count()
GONE: Final = "gone-4711"
# The kinds of deletion and their paths. Each deletes all data with the mark.
PATHS: Final = {
    "session": "/sessions/session/gone",
    "user": "/users/user gone",
    "model": "/models/model gone",
    "project": "",
}


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    return own_service


@pytest.fixture
def project(service: Service) -> Project:
    return Project(service, f"gone {next(_NUMBERS)}")


def send_two(project: Project) -> None:
    """Send data that will be deleted, and data that stays."""
    project.send(*make_told(GONE, "session/gone", "user gone", "model gone"))
    project.send(*make_told("stays", "session stays", "user stays", "model stays"))


def answers(project: Project) -> str:
    """Return the responses of all endpoints with data of a project as one text."""
    return "\n".join(
        str(project.get(path))
        for path in ("/runs?where=kind!=''", "/models", "/metrics", "/objects?ref=data", "/loss")
    )


def test_marks(project: Project) -> None:
    """The mark is in every table that stores records of runs, so later checks can find it."""
    send_two(project)
    assert project.tables_with(GONE) == [
        "late_logs",
        "late_tags",
        "metrics",
        "objects",
        "payloads",
        "runs",
        "trace_index",
        "trace_keys",
    ]


@sampled(1)
@pytest.mark.parametrize("kind", PATHS)
def test_gone(project: Project, kind: str) -> None:
    """No response and no table has any deleted data, even if the data is sent again."""
    told = make_told(GONE, "session/gone", "user gone", "model gone")
    if kind == "model":
        del told[1]  # deleting a model deletes its calls only, not the runs below them
    project.send(*told)
    answer = project.delete(PATHS[kind])
    assert (answer["kind"], answer["deleted_runs"]) == (kind, 1 if kind == "model" else 2)
    assert (project.tables_with(GONE), GONE in answers(project)) == ([], False)
    project.send_again(*reversed(told))
    assert (project.tables_with(GONE), GONE in answers(project)) == ([], False)


@sampled(1)
@pytest.mark.parametrize("kind", ["session", "project"])
def test_others_stay(project: Project, kind: str) -> None:
    """Other data does not change."""
    other = Project(project.service, f"{project.name} other") if kind == "project" else project
    other.send(*make_told("stays", "session stays", "user stays", "model stays"))
    call = other.sent[0]
    before = [other.get(f"/runs/{id_of(call)}"), other.get("/models/model stays/versions")]
    project.send(*make_told(GONE, "session/gone", "user gone", "model gone"))
    project.delete(PATHS[kind])
    assert [other.get(f"/runs/{id_of(call)}"), other.get("/models/model stays/versions")] == before


def test_never_seen(project: Project) -> None:
    """A run of a deleted session that arrives later but started before is refused."""
    project.send(*make_told("first", "session/gone", "user", "model"))
    project.delete(PATHS["session"])
    call, _, update, told = make_told(GONE, "session/gone", "user", "model")
    reason = "deleted_session 1: the session was deleted after they started"
    assert project.send_refused(call, told) == (1, f"Spans rejected for good: {reason}")
    project.send(update)
    assert (project.names(), project.tables_with(id_of(call))) == ([], [])


@at_night
def test_deleted_model(project: Project) -> None:
    """A deleted model is not listed. If it runs again, its versions keep their numbers."""
    for digest in ("first", "second"):
        attributes = {"otel_ml.model.version": digest, "otel_ml.model.definition": '{"source":"s"}'}
        project.send(make_call("model gone", attributes, start_ns=BEGAN_NS))
    project.delete(PATHS["model"])
    assert project.get("/models") == {"models": []}
    assert project.get("/models/model gone/versions")["error"]["code"] == "not_found"
    later = make_call(
        "model gone", {"otel_ml.model.version": "second"}, start_ns=BEGAN_NS + 7200 * SECOND_NS
    )
    project.send(later)
    versions = project.get("/models/model gone/versions")["versions"]
    assert [(one["version"], one["digest"], one["runs"]) for one in versions] == [(2, "second", 1)]


def test_deleted_project(project: Project) -> None:
    """A deleted project is not listed, and deleting an unknown project gets a 404 response."""
    project.send(make_call(start_ns=BEGAN_NS))
    project.delete()
    reader = project.service.store.reader
    assert project.name not in {one.project for one in find_projects(reader)}
    other = Project(project.service, "never used")
    assert other.delete()["error"]["code"] == "not_found"


@at_night
def test_history_of_a_deleted_project(project: Project) -> None:
    """Old spans that are sent again after their project was deleted are refused and reported."""
    calls = [make_call(f"call {at}", start_ns=BEGAN_NS + at) for at in range(3)]
    project.send(*calls)
    project.delete()
    new = make_call("new", start_ns=time.time_ns() + SECOND_NS)
    told = (
        "Spans rejected for good: deleted_project 3: the project was deleted after they started; "
        "to store them, use a different project"
    )
    for _ in range(2):
        assert project.send_refused(*calls, new) == (3, told)
    assert project.names() == ["new"]
    loss = project.get("/loss")
    assert [(one["reason"], one["spans"]) for one in loss["reasons"]] == [("deleted_project", 6)]
    page = ask(project.service.app, f"/projects/{quote(project.name)}").text
    assert "6 spans of the last 24 hours were refused: deleted project" in page


@at_night
def test_numbers_of_a_deleted_project(project: Project) -> None:
    """Sequence numbers of spans deleted or refused with a project do not count as missing."""

    def number(seq: int, start_ns: int) -> Span:
        attributes: dict[str, Value] = {"otel_ml.process": "0000000a", "otel_ml.seq": seq}
        return make_call(f"call {seq}", attributes, start_ns=start_ns, end_ns=start_ns)

    project.send(*(number(seq, BEGAN_NS) for seq in (1, 2, 3)))
    project.delete()
    ahead_ns = time.time_ns() + SECOND_NS
    spans = number(4, BEGAN_NS), number(5, ahead_ns), number(6, ahead_ns)
    goodbye = make_sign("goodbye", ahead_ns, "0000000a", seq=7)
    assert project.send_refused(*spans, goodbye)[0] == 1
    totals = project.get("/loss")["totals"]
    assert (totals["received"], totals["missing"], totals["refused"]) == (3, 0, 1)


@sampled(1)
@pytest.mark.parametrize(
    "path", ["/runs/nonsense", f"/runs/{'0' * 32}-{'0' * 16}", "/sessions/no", "/models/no"]
)
def test_nothing_to_delete(project: Project, path: str) -> None:
    """Deleting something unknown gets an error."""
    project.send(make_call(start_ns=BEGAN_NS))
    assert project.delete(path)["error"]["code"] == "not_found"


def test_run(project: Project) -> None:
    """Deleting a run deletes its own records, and the run below it stays."""
    project.send(*make_told(GONE, "session", "user", "model"))
    call, below = project.sent[:2]
    assert project.delete(f"/runs/{id_of(call)}")["deleted_runs"] == 1
    assert project.names() == [GONE]
    assert project.get(f"/runs/{id_of(below)}")["parent_run_id"] == id_of(call)
    project.send_again(*project.sent)
    assert project.names() == [GONE]


@at_night
def test_later_runs(project: Project) -> None:
    """Runs of a deleted session that start after the deletion are stored."""
    project.send(*make_told(GONE, "session/gone", "user gone", "model gone"))
    project.delete(PATHS["session"])
    later = make_call("later", {"session.id": "session/gone"}, start_ns=BEGAN_NS + 7200 * SECOND_NS)
    project.send(later)
    assert project.names() == ["later"]


def write_again(project: Project, *spans: Span, ahead_ns: int = 0) -> None:
    """Store spans as a restarted collector whose clock is ahead."""

    def clock() -> int:
        return time.time_ns() + ahead_ns

    writer = Writer(project.service.store.connections, clock)
    writer.write(map_spans(spans, Filing(project.name, clock())))


@pytest.mark.parametrize("kind", PATHS)
def test_later_runs_of_a_late_deletion(project: Project, kind: str) -> None:
    """A deletion that is carried out after a restart keeps runs that began after its request."""
    project.send(*make_told(GONE, "session/gone", "user gone", "model gone"))
    connections = project.service.store.connections
    tombstones = Tombstones(connections)
    target = PATHS[kind].rpartition("/")[2] if kind != "session" else "session/gone"
    asked = tombstones.add(project.name, kind, target, time.time_ns())
    names: dict[str, Value] = {"session.id": "session/gone", "user.id": "user gone"}
    later = make_call(
        "model gone", names | {"otel_ml.score.grounded": 1.0}, start_ns=asked.deleted_ns + 1
    )
    write_again(project, later)
    Deleter(connections, tombstones).complete()
    assert project.names().count("model gone") == 1
    tag: dict[str, Value] = {"otel_ml.tag.late": "yes"}
    write_again(project, make_record("update", later, tag, start_ns=asked.deleted_ns + 2))
    project.service.store.resolve()
    where = quote('tags["late"] == "yes" and scores["grounded"] > 0.5')
    [run] = project.get(f"/runs?where={where}")["runs"]
    assert run["run_id"] == id_of(later)


def test_clock_that_was_ahead(project: Project) -> None:
    """After the clock was ahead for a time, a project is deleted all the same, and used again."""
    spans = make_told(GONE, "session/gone", "user gone", "model gone")
    write_again(project, *spans, ahead_ns=31 * DAY_NS)
    project.delete()
    assert project.tables_with(GONE) == []
    project.send(make_call("new", start_ns=time.time_ns()))
    assert project.names() == ["new"]


@at_night
def test_progress(project: Project) -> None:
    """An unfinished deletion is listed with its progress until it is completed."""
    project.send(*make_told(GONE, "session gone", "user gone", "model gone"))
    connections = project.service.store.connections
    tombstones = Tombstones(connections)
    tombstones.add(project.name, USER, "user gone", time.time_ns())
    [shown] = project.get("/deletions")["deletions"]
    facts = {
        name: shown[name] for name in ("kind", "target", "state", "steps_done", "deleted_runs")
    }
    assert facts == {
        "kind": "user",
        "target": "user gone",
        "state": "waiting",
        "steps_done": 0,
        "deleted_runs": None,
    }
    page = ask(project.service.app, f"/projects/{quote(project.name)}/settings").text
    assert f"Deleting user user gone: 0 of {shown['steps']} steps" in page
    storage = ask(project.service.app, "/api/v1/storage").json
    assert shown in storage["deletions"]

    deleter = Deleter(connections, tombstones)
    assert deleter.complete() == 1
    assert (project.names(), project.get("/deletions")["deletions"]) == ([], [])


@at_night
def test_same_deletion_again(project: Project) -> None:
    """Requesting a deletion that is in progress does not start it again."""
    project.send(*make_told(GONE, "session gone", "user gone", "model gone"))
    connections = project.service.store.connections
    deleter = Deleter(connections, Tombstones(connections))
    first = deleter.begin(project.name, USER, "user gone", answer_s=0)
    assert first.state in {"waiting", "running"}
    again = deleter.begin(project.name, USER, "user gone", answer_s=60)
    assert again.deletion == first.deletion
    assert (again.state, again.steps_done, again.runs) == ("done", again.steps, 2)
    assert deleter.list_unfinished() == []
    deleter.close()


@at_night
def test_deletions_in_turn(project: Project) -> None:
    """A deletion that is requested during another one is carried out after it."""
    for name in ("a", "b"):
        project.send(*make_told(name, f"session {name}", f"user {name}", f"model {name}"))
    connections = project.service.store.connections
    deleter = Deleter(connections, Tombstones(connections))
    deleter.begin(project.name, SESSION, "session a", answer_s=0)
    last = deleter.begin(project.name, SESSION, "session b", answer_s=60)
    assert (last.state, last.runs, deleter.list_unfinished()) == ("done", 2, [])
    assert project.names() == []
    deleter.close()
