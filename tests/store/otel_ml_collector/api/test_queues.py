"""Labelling queues: remaining runs are computed when read, and answers are reviewers' labels."""

import json
import re
from collections.abc import Sequence
from html import unescape
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from otel_ml_collector.queues.find import OpenedRuns, QueuedRun
from otel_ml_collector.span import Span
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    hours_ago,
    id_of,
    make_call,
    make_record,
    span_id,
)
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, sampled

JSON = {"content-type": "application/json"}
YES_NO: Final = {
    "judge": "grounded",
    "question": "Is it grounded?",
    "labels": [
        {"label": "Yes", "passed": True},
        {"label": "No", "passed": False, "note": "one claim or more"},
        {"label": "Cannot say", "is_answer": False},
    ],
}


def call(
    service: Service,
    method: str,
    project: str,
    path: str = "",
    body: Any = None,
    **query: str | Sequence[str],
) -> Answered:
    asked = f"?{urlencode(query, doseq=True)}" if query else ""
    address = f"/api/v1/projects/{quote(project, safe='')}/queues{path and '/'}{path}{asked}"
    raw = b"" if body is None else json.dumps(body).encode()
    return ask(service.app, address, method=method, headers=JSON, body=[raw])


def save(service: Service, project: str, **wanted: Any) -> None:
    answered = call(service, "PUT", project, "q", {**YES_NO, **wanted})
    assert answered.status == 200, answered.text


def take(service: Service, project: str, number: int = 4) -> list[Span]:
    """Store runs with a judge's verdict each, and a judge's own call, which queues leave out."""
    runs = [
        make_call(
            attributes={
                "otel_ml.inputs": json.dumps({"question": f"question {place}"}),
                "otel_ml.outputs": json.dumps(f"answer {place}"),
                "otel_ml.score.grounded": 0.25,
                "otel_ml.passed.grounded": False,
            },
            start_ns=NOW_NS - place * MS_NS,
        )
        for place in range(number)
    ]
    judging = make_call(
        "judge's call",
        {"otel_ml.judging": "grounded", "otel_ml.judging.run": id_of(runs[0])},
        trace_id=runs[0].trace_id,
        start_ns=NOW_NS,
    )
    service.store.take(project, *runs, judging)
    return runs


def next_of(service: Service, project: str, who: str, **more: str | Sequence[str]) -> Any:
    answered = call(service, "GET", project, "q/next", annotator=who, **more)
    assert answered.status == 200, answered.text
    return answered.json


def answer(service: Service, project: str, who: str, run_id: str, label: str, **more: Any) -> Any:
    body = {"run_id": run_id, "label": label, "annotator": who, **more}
    answered = call(service, "POST", project, "q/answers", body)
    assert answered.status == 200, answered.text
    return answered.json


def evaluations(service: Service, run_id: str) -> list[tuple[str, str, str, bool | None]]:
    run = ask(service.app, f"/api/v1/runs/{run_id}").json
    return [
        (one["source"], one["annotator"], one["label"], one["passed"]) for one in run["evaluations"]
    ]


def test_saved(service: Service, project: str) -> None:
    """A queue is returned as it was saved, with its progress, until it is deleted."""
    take(service, project)
    saved = call(service, "PUT", project, "q", YES_NO).json
    assert (saved["name"], saved["version"], saved["people"], saved["hidden"]) == ("q", 1, 1, True)
    progress = {"runs": 4, "done": 0, "answered": 0, "left": 4}
    assert call(service, "GET", project, "q").json == {**saved, "progress": progress}
    assert call(service, "GET", project).json == {"queues": [{**saved, "progress": progress}]}
    assert call(service, "PUT", project, "q", YES_NO, base="0").status == 409
    assert call(service, "DELETE", project, "q", base="1").json == saved
    assert call(service, "GET", project, "q").status == 404


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"where": "slow"}, "where"),
    ({"labels": []}, "body"),
    ({"scale": {"low": 1, "high": 5}}, "body"),
    ({"labels": [{"label": "a"}, {"label": "a"}]}, "body"),
    ({"labels": [{"label": "a", "is_answer": False}]}, "body"),
    ({"labels": [], "scale": {"low": 1, "high": 10}}, "scale"),
    ({"labels": [{"label": str(n)} for n in range(10)]}, "labels"),
    ({"people": 0}, "people"),
    ({"order": "newest"}, "order"),
    ({"limit": 10_001}, "limit"),
    ({"colour": "red"}, "colour"),
]


@sampled(3)
@pytest.mark.parametrize(("wrong", "field"), WRONG)
def test_wrong(service: Service, wrong: dict[str, Any], field: str) -> None:
    """An invalid queue is refused with the field that is wrong."""
    answered = call(service, "PUT", "wrong", "q", {**YES_NO, **wrong})
    assert (answered.status, answered.json["error"]["field"]) == (400, field), answered.text


def test_worked(service: Service, project: str) -> None:
    """Each run is labelled once until none is left, and the labels are in the runs."""
    runs = take(service, project)
    save(service, project)
    for left in range(4, 0, -1):
        told = next_of(service, project, "ann")
        assert told["progress"]["left"] == left
        answer(service, project, "ann", told["run"]["run_id"], "Yes")
    told = next_of(service, project, "ann")
    assert told["run"] is None
    assert told["progress"] == {"runs": 4, "done": 4, "answered": 4, "left": 0}
    assert [one["label"] for one in told["last"]] == ["Yes"] * 4
    assert next_of(service, project, "bob")["progress"]["left"] == 0
    for run in runs:
        said = [("judge", "", "", False), ("human", "ann", "Yes", True)]
        assert sorted(evaluations(service, id_of(run))) == sorted(said)


def test_shown(service: Service, project: str) -> None:
    """Before the answer, a run hides all its scores and labels; afterwards it shows them."""
    [run] = take(service, project, 1)
    below = make_call(
        "search", trace_id=run.trace_id, parent_span_id=run.span_id, span_id=span_id(77)
    )
    service.store.take(project, below)
    save(service, project, where='model == "answer"', people=2)
    answer(service, project, "bob", id_of(run), "No", explanation="a secret reason")
    told = next_of(service, project, "ann")
    shown = told["run"]
    assert (shown["inputs"], shown["outputs"]) == ({"question": "question 0"}, "answer 0")
    assert [(one["name"], one["level"]) for one in shown["spans"]] == [("answer", 0), ("search", 1)]
    assert shown["evaluations"] is None
    for secret in ("secret", "bob", "0.25", "judge's call"):
        assert secret not in json.dumps(told)
    answer(service, project, "ann", id_of(run), "Yes")
    path = f"q/answers/{id_of(run)}"
    again = call(service, "GET", project, path, annotator="ann").json["run"]["evaluations"]
    assert sorted(one["annotator"] for one in again) == ["", "ann", "bob"]
    assert call(service, "GET", project, path, annotator="eve").json["run"]["evaluations"] is None
    save(service, project, where='model == "answer"', people=3, hidden=False)
    assert len(next_of(service, project, "eve")["run"]["evaluations"]) == 3


@at_night
def test_changed(service: Service, project: str) -> None:
    """A reviewer's newer answer about a run replaces the earlier one."""
    [run] = take(service, project, 1)
    save(service, project)
    first = answer(service, project, "ann", id_of(run), "Yes")
    second = answer(service, project, "ann", id_of(run), "No")
    assert first == second
    said = [one for one in evaluations(service, id_of(run)) if one[0] == "human"]
    assert said == [("human", "ann", "No", False)]


@at_night
def test_taken_back(service: Service, project: str) -> None:
    """A run whose answer was taken back is offered again, and its label is empty."""
    [run] = take(service, project, 1)
    save(service, project)
    answer(service, project, "ann", id_of(run), "Yes")
    path = f"q/answers/{id_of(run)}"
    assert call(service, "DELETE", project, path, annotator="ann").status == 200
    told = next_of(service, project, "ann")
    assert (told["run"]["run_id"], told["progress"]["left"]) == (id_of(run), 1)
    said = [one for one in evaluations(service, id_of(run)) if one[0] == "human"]
    assert said == [("human", "ann", "", None)]


def list_where(service: Service, project: str, where: str) -> list[str]:
    address = f"/api/v1/projects/{quote(project, safe='')}/runs?{urlencode({'where': where})}"
    answered = ask(service.app, address)
    assert answered.status == 200, answered.text
    return [run["run_id"] for run in answered.json["runs"]]


@at_night
def test_taken_back_is_no_score(service: Service, project: str) -> None:
    """After an answer is taken back, the judge's score and the other answers apply again."""
    [run] = take(service, project, 1)
    save(service, project, people=2)
    answer(service, project, "ann", id_of(run), "Yes")
    assert list_where(service, project, 'passed["grounded"] == True') == [id_of(run)]
    path = f"q/answers/{id_of(run)}"
    for _ in range(2):  # repeating it is harmless
        assert call(service, "DELETE", project, path, annotator="ann").status == 200
    assert list_where(service, project, 'passed["grounded"] == False') == [id_of(run)]
    assert list_where(service, project, 'scores["grounded"] == 0.25') == [id_of(run)]
    assert list_where(service, project, 'label["grounded"] == "Yes"') == []
    answer(service, project, "bob", id_of(run), "No")
    answer(service, project, "ann", id_of(run), "Yes")
    assert list_where(service, project, 'label["grounded"] == "Yes"') == [id_of(run)]
    assert call(service, "DELETE", project, path, annotator="ann").status == 200
    assert list_where(service, project, 'label["grounded"] == "No"') == [id_of(run)]


@at_night
def test_people(service: Service, project: str) -> None:
    """A run is left until the requested number of different people answered; one counts once."""
    [run] = take(service, project, 1)
    save(service, project, people=2)
    for who, done in (("ann", 0), ("ann", 0), ("bob", 1)):
        answer(service, project, who, id_of(run), "Yes")
        assert call(service, "GET", project, "q").json["progress"]["done"] == done
    assert next_of(service, project, "eve")["run"] is None


@at_night
def test_two_in_a_nanosecond(service: Service, project: str) -> None:
    """Two people's labels of one run with the same judge and nanosecond are both stored."""
    [run] = take(service, project, 1)
    save(service, project, people=2)
    moment = hours_ago(1)
    said = [
        {
            "run_id": id_of(run),
            "judge": "grounded",
            "annotator": who,
            "passed": is_passed,
            "time": moment,
        }
        for who, is_passed in (("ann", True), ("bob", False))
    ]
    path = f"/api/v1/projects/{project}/evaluations"
    body = json.dumps({"evaluations": said}).encode()
    assert ask(service.app, path, method="POST", headers=JSON, body=[body]).status == 200
    people = [one for one in evaluations(service, id_of(run)) if one[0] == "human"]
    assert sorted(people) == [("human", "ann", "", True), ("human", "bob", "", False)]
    assert call(service, "GET", project, "q").json["progress"]["done"] == 1


@at_night
def test_cannot_say(service: Service, project: str) -> None:
    """A reviewer who cannot say is not asked again, and the run waits for someone else."""
    [run] = take(service, project, 1)
    save(service, project)
    answer(service, project, "ann", id_of(run), "Cannot say")
    assert next_of(service, project, "ann")["run"] is None
    assert next_of(service, project, "bob")["run"]["run_id"] == id_of(run)


def test_skipped(service: Service, project: str) -> None:
    """Skipped runs come after all others."""
    take(service, project, 3)
    save(service, project)
    skipped: list[str] = []
    for _ in range(3):
        skipped.append(next_of(service, project, "ann", skip=skipped)["run"]["run_id"])
    assert len(set(skipped)) == 3
    assert next_of(service, project, "ann", skip=skipped)["run"]["run_id"] == skipped[0]


def test_page_skips_each_run_once(service: Service, project: str) -> None:
    """The link Skip of the page leads through all runs before a skipped run is shown again."""
    runs = take(service, project, 3)
    save(service, project)
    address = f"/projects/{quote(project, safe='')}/queues/q?as=ann"
    for _ in runs:
        page = ask(service.app, address).text
        [link] = re.findall('id="skip" href="([^"]+)"', page)
        address = unescape(link)
    skipped = parse_qs(urlsplit(address).query)["skip"]
    assert sorted(skipped) == sorted(map(id_of, runs))


def test_order(service: Service, project: str) -> None:
    """The random order is the same for everyone, and another seed draws other runs."""
    take(service, project, 40)
    drawn: list[list[str]] = []
    for seed in (1, 1, 2):
        save(service, project, seed=seed, limit=10, people=3)
        skipped: list[str] = []
        for _ in range(10):
            who = f"person {len(drawn)}"
            skipped.append(next_of(service, project, who, skip=skipped)["run"]["run_id"])
        drawn.append(skipped)
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 10
    assert drawn[0] != drawn[2]


@at_night
def test_disagreement(service: Service, project: str) -> None:
    """By disagreement, the runs come first whose judges are most evenly split."""
    runs = take(service, project, 6)
    split = make_record(
        "evaluation",
        runs[4],
        {
            "otel_ml.judge.name": "polite",
            "otel_ml.passed": True,
            "otel_ml.target.start_ns": runs[4].start_ns,
        },
    )
    service.store.take(project, split)
    save(service, project, order="disagreement", people=5)
    # Reviewers' labels do not change the order.
    answer(service, project, "bob", id_of(runs[2]), "Yes")
    assert next_of(service, project, "ann")["run"]["run_id"] == id_of(runs[4])


@at_night
def test_where(service: Service, project: str) -> None:
    """A queue has only the runs that match its filter."""
    runs = take(service, project, 3)
    other = make_call("other", {"otel_ml.tag.client": "big"})
    service.store.take(project, other, make_call("other"))
    save(service, project, where='tags["client"] == "big"')
    assert call(service, "GET", project, "q").json["progress"]["runs"] == 1
    assert next_of(service, project, "ann")["run"]["run_id"] == id_of(other)
    outside = call(service, "GET", project, f"q/answers/{id_of(runs[0])}", annotator="ann")
    assert outside.status == 404


@at_night
def test_scale(service: Service, project: str) -> None:
    """Numbers on a scale are scores, and pass from the queue's limit up."""
    [run] = take(service, project, 1)
    wanted = {"labels": [], "scale": {"low": 1, "high": 5, "passes_from": 4}, "judge": "stars"}
    save(service, project, **wanted)
    choices = next_of(service, project, "ann")["choices"]
    assert [(one["key"], one["score"], one["passed"]) for one in choices] == [
        ("1", 1, False),
        ("2", 2, False),
        ("3", 3, False),
        ("4", 4, True),
        ("5", 5, True),
    ]
    answer(service, project, "ann", id_of(run), "", score=4)
    run_json = ask(service.app, f"/api/v1/runs/{id_of(run)}").json
    assert (run_json["scores"]["stars"], run_json["passed"]["stars"]) == (4.0, True)
    assert next_of(service, project, "ann")["last"][0]["score"] == 4


@sampled(1)
@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"label": "Perhaps"}, "label"),
        ({"label": ""}, "label"),
        ({"label": "Yes", "score": 1}, "label"),
        ({"label": "Yes", "save": True}, "save"),
        ({"label": "Yes", "run_id": "1"}, "run_id"),
    ],
)
def test_wrong_answers(service: Service, project: str, more: dict[str, Any], field: str) -> None:
    """An answer that is not one of the choices is refused with its field, and is not stored."""
    [run] = take(service, "wrong answers", 1)
    save(service, "wrong answers")
    answered = call(service, "POST", "wrong answers", "q/answers", {"run_id": id_of(run), **more})
    assert (answered.status, answered.json["error"]["field"]) == (400, field)
    assert len(evaluations(service, id_of(run))) == 1


@sampled(1)
@pytest.mark.parametrize(("expected", "right"), [("label", "No"), ("outputs", "answer 0")])
def test_saved_as_expected(service: Service, expected: str, right: str) -> None:
    """An answered run also becomes an item that expects the answer or the run's output."""
    project = f"expects the {expected}"
    [run] = take(service, project, 1)
    save(service, project, dataset="qa", expected=expected)
    saved = answer(service, project, "ann", id_of(run), "No", save=True)
    assert (saved["dataset"]["name"], saved["dataset"]["version"]) == ("qa", 1)
    path = f"/api/v1/projects/{quote(project)}/datasets/qa/versions/1/items"
    [item] = ask(service.app, path).json["items"]
    assert (item["expected"], item["source_run"]) == (right, id_of(run))


@at_night
def test_two_at_once(service: Service, project: str) -> None:
    """Two reviewers at work get different runs while there are enough."""
    take(service, project, 2)
    save(service, project)
    first, second = (next_of(service, project, who)["run"]["run_id"] for who in ("ann", "bob"))
    assert first != second
    assert next_of(service, project, "ann")["run"]["run_id"] == first
    # If no other run is left, a third reviewer gets one that is already assigned.
    assert next_of(service, project, "eve")["run"] is not None


def test_in_hand_ends() -> None:
    """A run that a reviewer got ten minutes ago is given to others."""
    now = [0.0]
    hand = OpenedRuns(lambda: now[0])
    runs = [QueuedRun("a", 0, None), QueuedRun("b", 0, None)]
    place = ("project", "queue")
    assert hand.give(place, "ann", runs, 1) == runs[0]
    assert hand.give(place, "bob", runs, 1) == runs[1]
    assert hand.give(("project", "other"), "bob", runs, 1) == runs[0]
    now[0] = 601.0
    assert hand.give(place, "eve", runs, 1) == runs[0]


@sampled(1)
@pytest.mark.parametrize("who", ["", "  "])
def test_no_reviewer(service: Service, project: str, who: str) -> None:
    """An answer without a reviewer's name is refused, and so is taking one back."""
    [run] = take(service, project, 1)
    save(service, project)
    path = f"q/answers/{id_of(run)}"
    for answered in (
        call(
            service,
            "POST",
            project,
            "q/answers",
            {"run_id": id_of(run), "label": "Yes", "annotator": who},
        ),
        call(service, "DELETE", project, path, annotator=who),
    ):
        assert (answered.status, answered.json["error"]["field"]) == (400, "annotator")
    assert call(service, "GET", project, path, annotator="ann").json["progress"]["done"] == 0


def test_name_first(service: Service, project: str) -> None:
    """Without a name nobody gets a run: the page asks for the name, and the API refuses."""
    [run] = take(service, project, 1)
    save(service, project, question="Is it right?", people=2)
    page = ask(service.app, f"/projects/{quote(project)}/queues/q").text
    assert 'name="as"' in page
    assert "<h1>Is it right?</h1>" in page
    assert "2 reviewers label each run" in page
    assert "question 0" not in page
    for path in ("q/next", f"q/answers/{id_of(run)}"):
        answered = call(service, "GET", project, path)
        assert (answered.status, answered.json["error"]["field"]) == (400, "annotator")
    named = ask(service.app, f"/projects/{quote(project)}/queues/q?as=ann").text
    assert "question 0" in named
    assert "ann \u00b7 <b>0 of 1</b>" in named


def test_form(service: Service, project: str) -> None:
    """The form makes a queue and opens it; a name in use is refused, and nothing is replaced."""
    take(service, project, 1)
    path = f"/projects/{quote(project)}/queue-form"
    shown = ask(service.app, f"{path}?where=latency_ms+%3E+5").text
    assert 'value="latency_ms &gt; 5"' in shown

    def post(**fields: str) -> Answered:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return ask(
            service.app, path, method="POST", headers=headers, body=[urlencode(fields).encode()]
        )

    made = post(question="Is it right?", answers="Yes = pass\nNo = fail", people="2", hidden="")
    assert (made.status, made.headers["location"]) == (
        303,
        f"/projects/{quote(project)}/queues/Is%20it%20right",
    )
    stored = ask(service.app, f"/api/v1/projects/{quote(project)}/queues/Is%20it%20right").json
    assert (stored["people"], stored["hidden"], stored["where"]) == (2, False, 'last("7d")')
    again = post(question="Is it right?", answers="1 to 5")
    assert again.status == 400
    assert "Is it right" in again.text
    wrong = post(question="Is it?", answers="Yes = pass", where="latency_ms >")
    assert (wrong.status, "Something is missing after" in wrong.text) == (400, True)
