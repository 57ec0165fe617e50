"""Labels of whole sessions: on the session's page, not in its runs, deleted with the session."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

import pytest

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Span, Value
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.deleting import BEGAN_NS, Project
from tests.support.otel_ml_collector.spans import NOW_NS, id_of, make_call, make_record, make_span
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, sampled

SESSION: Final = "chat/7"
WORDS: Final[Sequence[dict[str, Any]]] = [
    {"id": "w1", "judge": "helpful", "annotator": "ann", "label": "Yes", "explanation": "at last"},
    {"id": "w2", "judge": "helpful", "annotator": "bob", "passed": False, "score": 0.25},
]


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """Return a separate service: other modules store future arrivals, which deletions miss."""
    return own_service


@pytest.fixture
def place(service: Service, project: str) -> Project:
    service.store.take(project, make_call("another"))
    return Project(service, project)


def make_turns(session: str = SESSION, attributes: Mapping[str, Value] | None = None) -> list[Span]:
    facts: dict[str, Value] = {"session.id": session, "user.id": "ada", **(attributes or {})}
    return [lately(make_call("answer", facts)) for _ in range(2)]


def lately(span: Span) -> Span:
    """Move a span to the last minutes, because spans that are 400 days old are refused."""
    return replace(span, start_ns=BEGAN_NS, end_ns=BEGAN_NS)


def post(place: Project, words: Sequence[dict[str, Any]], session: str = SESSION) -> Answered:
    body = json.dumps({"evaluations": [{**word, "session": session} for word in words]})
    return ask(
        place.service.app,
        f"/api/v1/projects/{quote(place.name)}/evaluations",
        method="POST",
        headers={"content-type": "application/json"},
        body=[body.encode()],
    )


def read(place: Project, session: str = SESSION) -> list[tuple[Any, ...]]:
    """List the labels of a whole session from its API response."""
    words = place.get(f"/sessions/{quote(session, safe='')}")["evaluations"]
    names = ("judge", "source", "annotator", "label", "passed", "score", "explanation")
    return sorted(tuple(word[name] for name in names) for word in words)


READ: Final = [
    ("helpful", "human", "ann", "Yes", None, None, "at last"),
    ("helpful", "human", "bob", "", False, 0.25, ""),
]


@sampled(1)
@pytest.mark.parametrize("is_first", [False, True])
def test_two_people(place: Project, *, is_first: bool) -> None:
    """Two people's labels of a session are two, sent twice, before or after its runs."""
    turns = make_turns()
    if is_first:
        place.send(*turns)
    answers = [post(place, WORDS).json["evaluations"] for _ in range(2)]
    assert answers[0] == answers[1]
    assert [word["known"] for word in answers[0]] == [is_first] * 2
    place.send(*turns)
    assert read(place) == READ
    page = ask(place.service.app, f"/projects/{quote(place.name)}/sessions/chat%2F7").text
    section = page.partition('id="session-scores"')[2].partition("</section>")[0]
    for text in ("helpful", "human, ann", "human, bob", "Yes: at last", "0.25", "fail"):
        assert text in section, text


def test_no_word_about_runs(place: Project) -> None:
    """Session labels are in no run, list or figure of the session's runs, nor in the judges'."""
    turns = make_turns()
    place.send(lately(tell("a1")), *turns)
    place.send(*(lately(say(turn, "a1", 1.0)) for turn in turns))
    before = [
        place.get(path)
        for path in (
            f"/runs/{id_of(turns[0])}",
            "/runs",
            "/judges",
            "/judges/grounded/agreement",
            "/sessions",
        )
    ]
    assert post(place, [{**WORDS[1], "judge": "grounded"}]).status == 200
    after = [
        place.get(path)
        for path in (
            f"/runs/{id_of(turns[0])}",
            "/runs",
            "/judges",
            "/judges/grounded/agreement",
            "/sessions",
        )
    ]
    assert after == before
    assert len(read(place)) == 1


def test_on_a_span(place: Project) -> None:
    """OpenInference's session annotations are labels of the session that their span names."""
    people = (("ann", "HUMAN"), ("bob", "HUMAN"), ("", "LLM"))
    words: dict[str, Value] = {"openinference.span.kind": "CHAIN"}
    for number, (who, kind) in enumerate(people):
        word = {"name": "helpful", "label": "Yes", "annotator_kind": kind, "identifier": who}
        words |= {
            f"session.annotations.{number}.annotation.{name}": text for name, text in word.items()
        }
    turn, nameless = make_turns(SESSION, words)[0], lately(make_call("alone", words))
    for _ in range(2):
        place.send(turn, nameless)
    assert read(place) == [
        ("helpful", "human", "ann", "Yes", None, None, ""),
        ("helpful", "human", "bob", "Yes", None, None, ""),
        ("helpful", "judge", "", "Yes", None, None, ""),
    ]
    for span in (turn, nameless):
        assert place.get(f"/runs/{id_of(span)}")["evaluations"] == []


def test_update_of_a_session() -> None:
    """A session has no tags, logs or metrics, so an update of a session is rejected."""
    attributes: dict[str, Value] = {"otel_ml.target.session": "s", "otel_ml.tag.a": 1}
    call = make_span("call")
    records = map_spans([make_record("update", call, attributes)], Filing("p", NOW_NS))
    assert (records.tags, dict(records.rejected)) == ([], {"record_without_target": 1})


# The test IDs are part of the project names, which must not look like the path of a session.
@at_night
@pytest.mark.parametrize("path", ["/sessions/chat%2F7", "/users/ada"], ids=["session", "user"])
def test_deleted(place: Project, path: str) -> None:
    """Session labels are deleted with their session or user, even if they arrive again."""
    turns, others = make_turns(), make_turns("stays", {"user.id": "eve"})
    place.send(*turns, *others)
    for session in (SESSION, "stays"):
        assert post(place, WORDS, session).status == 200
    place.delete(path)
    assert place.tables_with("session:chat/7") == []
    place.send_again(make_word())
    place.send(make_word())
    assert place.tables_with("session:chat/7") == []
    assert read(place, "stays") == READ


def make_word() -> Span:
    """Make the record of a label from before the deletion."""
    attributes: dict[str, Value] = {
        "otel_ml.target.session": SESSION,
        "otel_ml.judge.name": "helpful",
        "otel_ml.source": "human",
        "otel_ml.passed": True,
    }
    return lately(make_record("evaluation", make_span("no run"), attributes))


@at_night
def test_deleted_run_by_run(place: Project) -> None:
    """Session labels stay while the session has a run, and are deleted with its last run."""
    first, second = make_turns()
    place.send(first, second)
    assert post(place, WORDS).status == 200
    place.delete(f"/runs/{id_of(first)}")
    assert read(place) == READ
    place.delete(f"/runs/{id_of(second)}")
    assert place.tables_with("session:chat/7") == []


@at_night
def test_deleted_before_its_runs(place: Project) -> None:
    """The labels of a session without runs can be deleted by the session's name."""
    assert post(place, WORDS).status == 200
    assert place.delete("/sessions/chat%2F7")["deleted_runs"] == 0
    assert place.tables_with("session:chat/7") == []
