"""Feedback and late ground truth: stored once, for any subject and at any time."""

import json
from typing import Any

import pytest

from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import hours_ago, id_of, make_call
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, sampled

JSON = {"content-type": "application/json"}
THUMB = {"judge": "thumbs", "passed": True}


def post(service: Service, project: str, *evaluations: dict[str, Any]) -> Answered:
    body = json.dumps({"evaluations": evaluations}).encode()
    path = f"/api/v1/projects/{project}/evaluations"
    return ask(service.app, path, method="POST", headers=JSON, body=[body])


def said(service: Service, run_id: str) -> list[tuple[str, str, float | None, bool | None]]:
    run = ask(service.app, f"/api/v1/runs/{run_id}").json
    return [
        (one["judge"], one["source"], one["score"], one["passed"]) for one in run["evaluations"]
    ]


def test_of_a_run(service: Service, project: str) -> None:
    """A person's label of a run is in the run and found by filters as soon as it is accepted."""
    call = make_call()
    service.store.take(project, call)
    answered = post(service, project, {**THUMB, "run_id": id_of(call), "score": 0.5})
    (stored,) = answered.json["evaluations"]
    assert (answered.status, stored["id"], stored["known"]) == (200, "", True)
    assert said(service, id_of(call)) == [("thumbs", "human", 0.5, True)]
    path = f'/api/v1/projects/{project}/runs?where=scores["thumbs"]==0.5'
    assert [run["run_id"] for run in ask(service.app, path).json["runs"]] == [id_of(call)]


def test_byte_order_mark_is_ignored(service: Service, project: str) -> None:
    """A request body may start with a byte order mark."""
    call = make_call()
    service.store.take(project, call)
    body = json.dumps({"evaluations": [{**THUMB, "run_id": id_of(call)}]}).encode("utf-8-sig")
    path = f"/api/v1/projects/{project}/evaluations"
    assert ask(service.app, path, method="POST", headers=JSON, body=[body]).status == 200
    assert said(service, id_of(call)) == [("thumbs", "human", None, True)]


@sampled(1)
@pytest.mark.parametrize("is_first", [False, True])
def test_order(service: Service, project: str, is_first: bool) -> None:
    """Feedback on an unknown run is stored, and applies once the run arrives."""
    call = make_call()
    if is_first:
        service.store.take(project, call)
    answered = post(service, project, {**THUMB, "run_id": id_of(call)})
    service.store.take(project, call)
    assert answered.json["evaluations"][0]["known"] is is_first
    assert said(service, id_of(call)) == [("thumbs", "human", None, True)]


@at_night
def test_of_a_trace(service: Service, project: str) -> None:
    """Ground truth for a trace, by its id or key, applies to its root runs."""
    root = make_call(attributes={"otel_ml.trace_key": f"key-{project}"})
    child = make_call(trace_id=root.trace_id, parent_span_id=root.span_id)
    service.store.take(project, root, child)
    truth = {"judge": "churned", "source": "actual", "score": 1}
    by_key = {**truth, "trace_key": f"key-{project}"}
    by_id = {**truth, "judge": "paid", "trace_id": root.trace_id.hex()}
    answered = post(service, project, by_key, by_id, {**by_key, "trace_key": "nobody's"})
    assert [one["known"] for one in answered.json["evaluations"]] == [True, True, False]
    told = [("churned", "actual", 1.0, None), ("paid", "actual", 1.0, None)]
    assert (said(service, id_of(root)), said(service, id_of(child))) == (told, [])


@at_night
def test_of_a_tag(service: Service, project: str) -> None:
    """Feedback on a tag applies to every run with that tag."""
    calls = [make_call(attributes={"otel_ml.tag.order": order}) for order in ("a", "a", "b")]
    service.store.take(project, *calls)
    answered = post(service, project, {"judge": "returned", "label": "yes", "tag": "order=a"})
    assert [one["known"] for one in answered.json["evaluations"]] == [None]
    found = [len(said(service, id_of(call))) for call in calls]
    assert found == [1, 1, 0]


def read_session(service: Service, project: str) -> list[str]:
    """List a session's labels in the order of the response."""
    session = ask(service.app, f"/api/v1/projects/{project}/sessions/chat").json
    return [word["label"] for word in session["evaluations"]]


@at_night
def test_words_of_one_request(service: Service, project: str) -> None:
    """Labels without a time keep the order of their request."""
    call = make_call(attributes={"session.id": "chat"})
    service.store.take(project, call)
    labels = [str(place) for place in (3, 11, 1, 10, 0, 7, 2, 9, 4, 8, 5, 6)]
    words = [{"judge": "tone", "label": label} for label in labels]
    post(service, project, *({**word, "session": "chat"} for word in words))
    post(service, project, *({**word, "run_id": id_of(call)} for word in words))
    assert read_session(service, project) == labels
    path = f'/api/v1/projects/{project}/runs?where=label["tone"]=="6"'
    assert [run["run_id"] for run in ask(service.app, path).json["runs"]] == [id_of(call)]


@at_night
def test_words_of_one_time(service: Service, project: str) -> None:
    """Labels with the same time are sorted by record, in any order of arrival."""
    call = make_call(attributes={"session.id": "chat"})
    service.store.take(project, call)
    time = hours_ago(1)
    words = [
        {"judge": "tone", "label": str(place), "id": f"word {place}", "time": time}
        for place in range(12)
    ]
    answered = post(service, project, *({**word, "session": "chat"} for word in words))
    records = {
        word["label"]: stored["record_id"]
        for word, stored in zip(words, answered.json["evaluations"], strict=True)
    }
    expected = sorted(records, key=records.__getitem__)
    assert read_session(service, project) == expected
    for word in reversed(words):
        post(service, project, {**word, "session": "chat"})
        post(service, project, {**word, "run_id": id_of(call)})
        assert read_session(service, project) == expected
    run = ask(service.app, f"/api/v1/runs/{id_of(call)}").json
    assert [word["label"] for word in run["evaluations"]] == expected
    path = f'/api/v1/projects/{project}/runs?where=label["tone"]=="{expected[-1]}"'
    assert [run["run_id"] for run in ask(service.app, path).json["runs"]] == [id_of(call)]


def test_twice(service: Service, project: str) -> None:
    """Feedback that is sent again with the same id is stored once."""
    call = make_call()
    service.store.take(project, call)
    click = {**THUMB, "run_id": id_of(call), "id": "click-1"}
    first, second = post(service, project, click), post(service, project, click)
    assert first.json == second.json
    post(service, project, {**click, "id": "click-2", "passed": False})
    assert [one[3] for one in said(service, id_of(call))] == [True, False]


def test_latest_holds(service: Service, project: str) -> None:
    """If a run has two scores of one name, the later one counts, in any order of arrival."""
    call = make_call()
    service.store.take(project, call)
    about = {"judge": "stars", "run_id": id_of(call)}
    post(
        service,
        project,
        {**about, "score": 5, "time": hours_ago(1)},
        {**about, "score": 1, "time": hours_ago(2)},
    )
    run = ask(service.app, f"/api/v1/runs/{id_of(call)}").json
    assert run["scores"] == {"stars": 5.0}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({**THUMB}, "evaluations.0"),
    ({**THUMB, "trace_key": "a", "tag": "a=b"}, "evaluations.0"),
    ({**THUMB, "session": "a", "tag": "a=b"}, "evaluations.0"),
    ({**THUMB, "session": ""}, "evaluations.0.session"),
    ({"judge": "thumbs", "tag": "a=b"}, "evaluations.0"),
    ({**THUMB, "run_id": "1"}, "evaluations.0.run_id"),
    ({**THUMB, "tag": "a"}, "evaluations.0.tag"),
    ({**THUMB, "tag": "a=b", "judge": ""}, "evaluations.0.judge"),
    ({**THUMB, "tag": "a=b", "source": "judge"}, "evaluations.0.source"),
    ({**THUMB, "tag": "a=b", "colour": "red"}, "evaluations.0.colour"),
    ({**THUMB, "tag": "a=b", "score": float("nan")}, "evaluations.0.score"),
    ({**THUMB, "tag": "a=b", "time": "1999-01-01"}, "evaluations.0.time"),
    ({**THUMB, "tag": "a=b", "time": "soon"}, "evaluations.0.time"),
]


@sampled(4)
@pytest.mark.parametrize(("wrong", "field"), WRONG)
def test_wrong(service: Service, project: str, wrong: dict[str, Any], field: str) -> None:
    """Invalid feedback is refused with its position, and nothing of the request is stored."""
    call = make_call()
    service.store.take("wrong", call)
    answered = post(service, "wrong", wrong, {**THUMB, "run_id": id_of(call)})
    assert (answered.status, answered.json["error"]["field"]) == (400, field)
    assert said(service, id_of(call)) == []


def test_too_many(service: Service, project: str) -> None:
    """A request holds at most 1,000 evaluations."""
    answered = post(service, project, *[{**THUMB, "tag": "a=b"}] * 1_001)
    assert (answered.status, answered.json["error"]["field"]) == (400, "evaluations")


def test_matched_ground_truth(service: Service, project: str) -> None:
    """The answer counts ground truth with a run, without one yet, and with a key of no run."""
    call = make_call(attributes={"otel_ml.tag.order": "o-1"})
    service.store.take(project, call)
    truth = {"judge": "returned", "actual": True}
    answered = post(
        service,
        project,
        {**truth, "run_id": id_of(call)},
        {**truth, "tag": "order=o-1"},
        {**truth, "tag": "order=o-2"},
        {**truth, "tag": "order=o-3", "time": hours_ago(25)},
        {**truth, "trace_key": "o-1"},
        {**truth, "session": "s"},
    )
    matches = answered.json["ground_truth"]
    assert matches == {
        "received": 5,
        "matched": 2,
        "waiting": 1,
        "unmatched": 2,
        "unmatched_keys": ["order=o-3", "o-1"],
        "tags": [],
    }
    stored = ask(service.app, f"/api/v1/projects/{project}/targets/returned").json
    assert stored["matches"] == {**matches, "unmatched_keys": ["o-1", "order=o-3"]}
    assert post(service, project, {**THUMB, "tag": "order=o-1"}).json["ground_truth"] is None


@at_night
def test_tags_with_values_of_unmatched_keys(service: Service, project: str) -> None:
    """If no key matches a run, the answer and the page name the tag that has such values."""
    service.store.take(
        project,
        *(make_call(attributes={"otel_ml.tag.order": f"o-{place}"}) for place in range(3)),
    )
    truths = [
        {"judge": "returned", "actual": True, "tag": f"order_id=o-{place}"} for place in range(2)
    ]
    matches = post(service, project, *truths).json["ground_truth"]
    assert (matches["received"], matches["unmatched"], matches["tags"]) == (2, 2, ["order"])
    page = ask(service.app, f"/projects/{project}/targets/returned").text
    assert "Such values are in the tag <code>order</code>" in page
    assert "<code>order_id=o-1</code>" in page
