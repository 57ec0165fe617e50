"""Agreement between reviewers, their agreement with a judge, and the corrected pass rate."""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from typing import Any, Final
from urllib.parse import quote

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from otel_ml.statistics.intervals import corrected_rate
from otel_ml_collector.decode.json import decode_json_traces
from otel_ml_collector.span import Link, Span, Value
from otel_ml_collector.times import HOUR_NS, to_rfc3339
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.support.folders import ROOT
from tests.support.otel_ml_collector.asgi import ask
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
from tests.support.sampling import at_night

RECORDINGS: Final = ROOT / "tests/support/recorded/recordings"
JSON = {"content-type": "application/json"}
QUEUE: Final = {
    "judge": "grounded",
    "labels": [
        {"label": "Yes", "passed": True},
        {"label": "No", "passed": False},
        {"label": "Cannot say", "is_answer": False},
    ],
    "people": 3,
}
NOTHING: Final = {"value": None, "low": None, "high": None}


def take(service: Service, project: str, verdicts: Sequence[bool]) -> list[Span]:
    """Store runs with the given scores of the judge's version 1."""
    runs = [make_call(start_ns=NOW_NS - place * MS_NS) for place in range(len(verdicts))]
    said = [say(run, "a1", float(told)) for run, told in zip(runs, verdicts, strict=True)]
    service.store.take(project, tell("a1"), *runs)
    service.store.take(project, *said)
    return runs


def refresh(listed: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Move recorded times into the last hour, in their order, because the API refuses old times."""
    times = sorted({word[name] for word in listed})
    start_ns = time.time_ns() - HOUR_NS
    return [
        {**word, name: to_rfc3339(start_ns + times.index(word[name]) * MS_NS)} for word in listed
    ]


def ask_json(
    service: Service, project: str, path: str, method: str = "GET", body: Any = None
) -> Any:
    raw = b"" if body is None else json.dumps(body).encode()
    address = f"/api/v1/projects/{quote(project, safe='')}/{path}"
    answered = ask(service.app, address, method=method, headers=JSON, body=[raw])
    assert answered.status == 200, answered.text
    return answered.json


def answer(service: Service, project: str, who: str, run: Span, label: str) -> None:
    body = {"run_id": id_of(run), "label": label, "annotator": who, "explanation": f"{who} says"}
    ask_json(service, project, "queues/q/answers", "POST", body)


@at_night
def test_nobody(service: Service, project: str) -> None:
    """Without answers there are no figures, and no error."""
    take(service, project, [True])
    ask_json(service, project, "queues/q", "PUT", QUEUE)
    nothing: dict[str, Any] = {
        "judge": "grounded",
        "versions": [],
        "people": {
            "people": 0,
            "runs": 0,
            "same": 0,
            "level": "nominal",
            "alpha": NOTHING,
            "reviewers": [],
        },
        "corrected": None,
        "benchmark": None,
        "is_cut": False,
        "judges": [],
    }
    assert ask_json(service, project, "queues/q/agreement") == nothing
    assert ask_json(service, project, "judges/grounded/agreement") == nothing


def test_confusion(service: Service, project: str) -> None:
    """Each reviewer's answer is compared with each version's verdict; versions are never mixed."""
    verdicts = [True, True, False, False]
    runs = take(service, project, verdicts)
    ask_json(service, project, "queues/q", "PUT", QUEUE)
    words = {
        "ann": ["Yes", "Yes", "No", "Yes"],
        "bob": ["Yes", "No", "No", "Cannot say"],
    }
    for who, labels in words.items():
        for run, label in zip(runs, labels, strict=True):
            answer(service, project, who, run, label)
    service.store.take(project, tell("b2"), say(runs[0], "b2", 0.0, after_s=9))
    for path in ("queues/q/agreement", "judges/grounded/agreement"):
        found = ask_json(service, project, path)
        second, first = found["versions"]
        assert (first["version"], first["runs"], first["words"]) == (1, 4, 7)
        assert first["is_few"]
        assert first["confusion"] == {
            "both_pass": 3,
            "judge_passes": 1,
            "people_pass": 1,
            "both_fail": 2,
        }
        assert first["agreement"]["value"] == pytest.approx(5 / 7)
        pairs = [(1, 1), (1, 1), (1, 1), (1, 0), (0, 1), (0, 0), (0, 0)]
        expected = cohen_kappa_score([one for one, _ in pairs], [one for _, one in pairs])
        kappa = first["kappa"]
        assert kappa["value"] == pytest.approx(expected, rel=1e-9)
        assert kappa["low"] <= kappa["value"] <= kappa["high"]
        assert [
            (run["run_id"], run["judge_passed"], run["people"], run["people_passed"])
            for run in first["differing"]
        ] == [(id_of(runs[1]), True, 2, 1), (id_of(runs[3]), False, 1, 1)]
        assert (second["version"], second["runs"], second["confusion"]["people_pass"]) == (2, 1, 2)
        table = np.array([[0, 0, 1, 0], [0, 1, 1, np.nan]])
        alpha = krippendorff.alpha(table, level_of_measurement="nominal")
        people = found["people"]
        assert (people["people"], people["runs"], people["level"]) == (2, 3, "nominal")
        assert people["alpha"]["value"] == pytest.approx(alpha, rel=1e-9)
        # The newest version scored only the first run.
        assert people["same"] == 2
        assert people["reviewers"] == [
            {
                "name": who,
                "answers": answers,
                "judge": {"name": "", "same": 0, "compared": 1},
                "others": [{"name": other, "same": 2, "compared": 3}],
            }
            for who, answers, other in (("ann", 4, "bob"), ("bob", 3, "ann"))
        ]
        assert first["differing"][0]["answers"] == [
            {"annotator": "ann", "answer": "Yes", "passed": True},
            {"annotator": "bob", "answer": "No", "passed": False},
        ]


@at_night
def test_order(service: Service, project: str) -> None:
    """The table precedes the figures, and runs that only the judge passes are listed first."""
    runs = [make_call(trace_id=bytes([place]) * 16) for place in range(1, 7)]
    verdicts = [False, False, False, True, True, True]
    scores = [say(run, "a1", float(passed)) for run, passed in zip(runs, verdicts, strict=True)]
    service.store.take(project, tell("a1"), *runs, *scores)
    ask_json(service, project, "queues/q", "PUT", QUEUE)
    for run, label in zip(runs, ["No", "Yes", "Yes", "No", "No", "Yes"], strict=True):
        answer(service, project, "ann", run, label)
    [version] = ask_json(service, project, "judges/grounded/agreement")["versions"]
    expected = [id_of(runs[place]) for place in (3, 4, 1, 2)]
    assert [run["run_id"] for run in version["differing"]] == expected
    for path in ("queues/q/agreement", "judge-people?judge=grounded"):
        page = ask(service.app, f"/projects/{quote(project)}/{path}").text
        parts = ["reviewers pass", "judge passes", "judge fails"]
        parts += ["Disagreements", *(f"/runs/{run_id}" for run_id in expected)]
        places = [page.index(part) for part in parts]
        assert places == sorted(places), (path, parts)


@at_night
def test_other_judges(service: Service, project: str) -> None:
    """The newest versions of two judges are compared on the runs that both scored."""
    cells = {(True, True): 12, (True, False): 5, (False, True): 2, (False, False): 11}
    verdicts = [cell for cell, count in cells.items() for _ in range(count)]
    runs = take(service, project, [own for own, _ in verdicts])
    alone = make_call(start_ns=NOW_NS - 2 * MS_NS)
    said = [
        say_as("polite", run, passed=other) for run, (_, other) in zip(runs, verdicts, strict=True)
    ]
    service.store.take(project, alone, *said, say_as("polite", alone, passed=True))
    words = [
        {"run_id": id_of(run), "judge": name, "passed": False}
        for run in runs[:2]
        for name in ("grounded", "thumbs")
    ]  # reviewers' labels, which do not make a judge
    ask_json(service, project, "evaluations", "POST", {"evaluations": words})
    [other] = ask_json(service, project, "judges/grounded/agreement")["judges"]
    assert (other["judge"], other["version"], other["runs"]) == ("polite", None, 30)
    names = ("both_pass", "judge_passes", "other_passes", "both_fail")
    assert tuple(other[name] for name in names) == (12, 5, 2, 11)
    assert other["agreement"]["value"] == pytest.approx(23 / 30)
    first, second = zip(*verdicts, strict=True)
    assert other["kappa"]["value"] == pytest.approx(cohen_kappa_score(first, second), rel=1e-9)
    listed = [
        len(listed_runs(service, project, other[f"where{name}"]))
        for name in ("", "_judge_passes", "_other_passes")
    ]
    assert listed == [30, 5, 2]
    [back] = ask_json(service, project, "judges/polite/agreement")["judges"]
    assert (back["judge"], back["version"], back["judge_passes"]) == ("grounded", 1, 2)
    page = ask(service.app, f"/projects/{quote(project)}/judge-people?judge=grounded").text
    assert "Compared with other judges" in page
    assert "76.7" in page


def say_as(judge: str, run: Span, *, passed: bool) -> Span:
    """Make a score of a run by a judge without a version."""
    told: dict[str, Value] = {"otel_ml.judge.name": judge, "otel_ml.passed": passed}
    return make_record("evaluation", run, {**told, "otel_ml.target.start_ns": run.start_ns})


def test_ranks(service: Service, project: str) -> None:
    """Numbers on a scale are ordinal: distant answers count more than close ones."""
    runs = take(service, project, [True] * 4)
    scale = {"labels": [], "scale": {"low": 1, "high": 5}, "people": 2}
    ask_json(service, project, "queues/q", "PUT", {**QUEUE, **scale})
    table = [[1, 2, 5, 4], [1, 3, 5, 5]]
    for who, numbers in zip(("ann", "bob"), table, strict=True):
        for run, number in zip(runs, numbers, strict=True):
            body = {"run_id": id_of(run), "score": number, "annotator": who}
            ask_json(service, project, "queues/q/answers", "POST", body)
    people = ask_json(service, project, "queues/q/agreement")["people"]
    expected = krippendorff.alpha(np.array(table), level_of_measurement="ordinal")
    assert people["level"] == "ordinal"
    assert people["alpha"]["value"] == pytest.approx(expected, rel=1e-9)


def correct(service: Service, project: str, limit: int = 30, **more: Any) -> Any:
    """Label as many runs as the limit allows; the reviewer fails one in 5 of the judge's passes."""
    runs = take(service, project, [place % 3 > 0 for place in range(2 * limit)])
    verdicts = {id_of(run): place % 3 > 0 for place, run in enumerate(runs)}
    by_id = {id_of(run): run for run in runs}
    ask_json(service, project, "queues/q", "PUT", {**QUEUE, "people": 1, "limit": limit, **more})
    for place in range(limit):
        run_id = ask_json(service, project, "queues/q/next?annotator=ann")["run"]["run_id"]
        label = "Yes" if verdicts[run_id] and place % 5 else "No"
        answer(service, project, "ann", by_id[run_id], label)
    return ask_json(service, project, "judges/grounded/agreement")


@pytest.fixture(scope="module")
def corrected(service: Service) -> tuple[str, Any]:
    """Return a project whose queue drew 50 of 100 runs at random, and its reviewer agreement."""
    return "drawn at random", correct(service, "drawn at random", limit=50)


@at_night
def test_corrected(service: Service, corrected: tuple[str, Any]) -> None:
    """The judge's pass rate is corrected by reviewers' labels of runs that were drawn at random."""
    project, found = corrected
    confusion = found["versions"][0]["confusion"]
    shifts = [(-1.0, 1)] * confusion["judge_passes"]
    shifts += [(0.0, 1)] * (50 - confusion["judge_passes"])
    expected = corrected_rate(66, 100, shifts)
    assert found["corrected"] == {
        "queue": "q",
        "version": 1,
        "judged": 100,
        "judge_rate": 66 / 100,
        "sample": 50,
        "rate": {
            "value": pytest.approx(expected.value),
            "low": pytest.approx(expected.low),
            "high": pytest.approx(expected.high),
        },
    }
    assert 0 < confusion["judge_passes"] < 50
    assert ask_json(service, project, "queues/q/agreement")["corrected"] == found["corrected"]


@at_night
def test_not_corrected(service: Service, project: str) -> None:
    """Labels of runs that were not drawn at random do not correct the pass rate."""
    found = correct(service, project, limit=8, order="disagreement")
    [version] = found["versions"]
    assert (version["runs"], found["corrected"]) == (8, None)
    ask_json(service, project, "queues/q", "PUT", {**QUEUE, "seed": 7})
    chosen = f"{project} by choice"
    runs = take(service, chosen, [True] * 3)
    ask_json(service, chosen, "queues/q", "PUT", QUEUE)
    words = [
        {"run_id": id_of(run), "judge": "grounded", "passed": False, "annotator": "eve"}
        for run in runs
    ]
    ask_json(service, chosen, "evaluations", "POST", {"evaluations": words})
    found = ask_json(service, chosen, "queues/q/agreement")
    assert (found["versions"][0]["runs"], found["corrected"]) == (3, None)


def test_page_without_labels(service: Service, project: str) -> None:
    """The page of a judge whose runs have no labels offers to create a labelling queue."""
    take(service, project, [True] * 3)
    page = ask(service.app, f"/projects/{quote(project)}/judge-people?judge=grounded").text
    assert "No reviewer has labelled a run" in page
    [link] = re.findall('href="([^"]+queue-form[^"]*)"', page)
    form = ask(service.app, unescape(link)).text
    assert 'name="judge" value="grounded"' in form
    assert 'name="where" value="scores[&#34;grounded&#34;] &gt;= 0"' in form


@at_night
def test_pages(service: Service, corrected: tuple[str, Any]) -> None:
    """The queue's page and the judge's page show the same figures."""
    project, found = corrected
    whole = f"{100 * found['corrected']['rate']['value']:.1f}"
    for path in ("queues/q/agreement", "judge-people?judge=grounded"):
        page = ask(service.app, f"/projects/{quote(project)}/{path}")
        assert page.status == 200, page.text
        for text in (
            "judge passes",
            "reviewers fail",
            "reviewers would pass about",
            whole,
            "κ",
            "ann says",
        ):
            assert text in page.text, (path, text)
    judge = ask(service.app, f"/projects/{quote(project)}/judges/grounded").text
    assert f"/projects/{quote(project)}/judge-people?judge=grounded" in judge
    assert "ann says" not in judge


def label_together(service: Service, project: str, labels: Sequence[tuple[str, str]]) -> Any:
    """Add two reviewers' labels of runs that the judge passes; return the agreement."""
    runs = take(service, project, [True] * len(labels))
    ask_json(service, project, "queues/q", "PUT", QUEUE)
    told = [
        {
            "id": f"{who}-{id_of(run)}",
            "run_id": id_of(run),
            "judge": "grounded",
            "annotator": who,
            "label": label,
            "passed": label == "Yes",
        }
        for run, of_run in zip(runs, labels, strict=True)
        for who, label in zip(("ann", "bob"), of_run, strict=True)
    ]
    ask_json(service, project, "evaluations", "POST", {"evaluations": told})
    return ask_json(service, project, "judges/grounded/agreement")


def test_worse_than_reviewers(service: Service, project: str) -> None:
    """A judge that reviewers contradict more often than each other has a warning on its page."""
    found = label_together(service, project, [("Yes", "Yes")] * 18 + [("No", "No")] * 10)
    benchmark = found["benchmark"]
    difference = benchmark.pop("difference")
    assert benchmark == {
        "runs": 28,
        "words": 56,
        "is_few": False,
        "judge": pytest.approx(18 / 28),
        "people": 1.0,
        "is_worse": True,
    }
    assert difference["value"] == pytest.approx(-10 / 28)
    # Binomial: a standard error of 9 points, and Student's t of 2.05.
    assert difference["low"] == pytest.approx(-0.54, abs=0.03)
    assert difference["high"] == pytest.approx(-0.17, abs=0.03)
    page = ask(service.app, f"/projects/{quote(project)}/judge-people?judge=grounded").text
    assert "agrees with reviewers less" in page
    assert [figure in page for figure in ("64.3", "28 runs", "-36 pts")] == [True] * 3


@at_night
def test_as_good_as_reviewers(service: Service, project: str) -> None:
    """A judge that reviewers contradict as often as each other has no warning."""
    mixed = [("Yes", "Yes")] * 20 + [("Yes", "No")] * 8 + [("No", "No")] * 2
    benchmark = label_together(service, project, mixed)["benchmark"]
    assert (benchmark["judge"], benchmark["people"]) == pytest.approx((24 / 30, 22 / 30))
    assert not benchmark["is_worse"]
    page = ask(service.app, f"/projects/{quote(project)}/judge-people?judge=grounded").text
    assert "agrees with reviewers less" not in page
    assert "agrees with reviewers in 80.0" in page


@at_night
def test_too_few_shared_runs(service: Service, project: str) -> None:
    """With fewer than 50 answers about shared runs, the page reports that and does not warn."""
    found = label_together(service, project, [("No", "No")] * 20)
    assert found["benchmark"]["difference"]["high"] < 0
    assert (found["benchmark"]["is_few"], found["benchmark"]["is_worse"]) == (True, False)
    page = ask(service.app, f"/projects/{quote(project)}/judge-people?judge=grounded").text
    assert "(20)" in page
    assert "agrees with reviewers less" not in page


def read_recipes() -> dict[str, Any]:
    """Run the code block of the docs that converts Langfuse and Phoenix labels to feedback."""
    text = (ROOT / "docs/how-to/people.md").read_text()
    [block] = [
        one for one in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "of_langfuse" in one
    ]
    defined: dict[str, Any] = {}
    exec(block, defined)  # noqa: S102 - a page of ours
    return defined


def take_recorded(service: Service, project: str, name: str) -> tuple[Any, dict[str, str]]:
    """Store the spans of a recorded client; return the recording, and trace ids by span id."""
    recording = json.loads((RECORDINGS / f"{name}.json").read_text())
    spans = decode_json_traces(json.dumps(recording["request"]).encode())
    service.store.take(project, *spans, now_ns=max(span.end_ns for span in spans))
    return recording, {span.span_id.hex(): span.trace_id.hex() for span in spans}


def listed_runs(service: Service, project: str, where: str) -> list[str]:
    address = f"/api/v1/projects/{quote(project, safe='')}/runs?where={quote(where)}"
    return [run["run_id"] for run in ask(service.app, address).json["runs"]]


def read_words(service: Service, project: str, run_id: str) -> list[tuple[Any, ...]]:
    """List reviewers' labels of a run: judge, annotator, label, score, passed."""
    run = ask(service.app, f"/api/v1/runs/{run_id}").json
    return sorted(
        (word["judge"], word["annotator"], word["label"], word["score"], word["passed"])
        for word in run["evaluations"]
        if word["source"] == "human"
    )


def read_session(service: Service, project: str, session: str) -> list[tuple[Any, ...]]:
    """List reviewers' labels of a session: judge, annotator, label, score, passed, explanation."""
    answer = ask_json(service, project, f"sessions/{quote(session)}")
    names = ("judge", "annotator", "label", "score", "passed", "explanation")
    return [tuple(word[name] for name in names) for word in answer["evaluations"]]


@at_night
def test_people_of_phoenix(service: Service, project: str) -> None:
    """Five reviewers' labels of one span are stored: two on the span, one later, two by the client.

    Annotations of the trace and of the session that Phoenix's client sends are stored for these.
    """
    recording, traces = take_recorded(service, project, "phoenix_people")
    recipe = read_recipes()["of_phoenix"]
    listed = refresh(recording["listed"], "updated_at")
    span_id = listed[0]["span_id"]
    run_id = f"{traces[span_id]}-{span_id}"
    # The client's own annotations do not arrive with the spans.
    assert {who for _, who, *_ in read_words(service, project, run_id)} == {"ann", "bob", "cyd"}
    words = [
        recipe(word, word.get("trace_id") or traces.get(word.get("span_id", ""))) for word in listed
    ]
    for _ in range(2):  # sent again, it is stored once
        ask_json(service, project, "evaluations", "POST", {"evaluations": words})
        take_recorded(service, project, "phoenix_people")
    assert read_words(service, project, run_id) == [
        ("grounded", "ann", "Yes", 1.0, None),
        ("grounded", "bob", "No", 0.0, None),
        ("grounded", "cyd", "Yes", None, None),
        ("grounded", "dan", "No", None, None),
        ("grounded", "eve", "Yes", 1.0, None),
        ("helpful", "dan", "No", None, None),
    ]
    why = "it made that up"
    assert read_session(service, project, "chat 7") == [("helpful", "dan", "", 0.5, None, why)]
    assert listed_runs(service, project, 'label["grounded"] == "Yes"') == [run_id]
    people = ask_json(service, project, "judges/grounded/agreement")["people"]
    assert (people["people"], people["runs"]) == (5, 1)


@at_night
@pytest.mark.parametrize("is_later", [False, True])
def test_people_about_a_trace(service: Service, project: str, *, is_later: bool) -> None:
    """Trace annotations are labels of the root, whether on a span of the trace or a later one."""
    said: dict[str, Value] = {"openinference.span.kind": "EVALUATOR" if is_later else "CHAIN"}
    for place, (who, label) in enumerate((("ann", "Yes"), ("bob", "No"))):
        word = {"name": "grounded", "label": label, "annotator_kind": "HUMAN", "identifier": who}
        said |= {
            f"trace.annotations.{place}.annotation.{name}": told for name, told in word.items()
        }
    root = make_call("app")
    below = make_call(trace_id=root.trace_id, parent_span_id=root.span_id, span_id=span_id(77))
    carrier = make_call("said", said, trace_id=root.trace_id, parent_span_id=root.span_id)
    if is_later:
        link = Link(below.trace_id, below.span_id, {})
        carrier = make_call("said", said, links=[link])
    for _ in range(2):  # sent again, each is stored once
        service.store.take(project, carrier)
        service.store.take(project, root, below)
    assert read_words(service, project, id_of(root)) == [
        ("grounded", "ann", "Yes", None, None),
        ("grounded", "bob", "No", None, None),
    ]
    assert listed_runs(service, project, 'label["grounded"] != ""') == [id_of(root)]
    for span in (below, carrier):
        assert read_words(service, project, id_of(span)) == []
    people = ask_json(service, project, "judges/grounded/agreement")["people"]
    assert (people["people"], people["runs"]) == (2, 1)


@at_night
def test_people_of_phoenix_about_a_trace(service: Service, project: str) -> None:
    """A trace annotation, as Phoenix's server lists it, is a label of the trace's root."""
    [run] = take(service, project, [True])
    listed = {
        "id": "annotation-1",
        "trace_id": run.trace_id.hex(),
        "name": "grounded",
        "annotator_kind": "HUMAN",
        "identifier": "ann",
        "updated_at": hours_ago(2),
        "result": {"label": "Yes", "score": 1.0, "explanation": None},
        "user_id": None,
    }
    word = read_recipes()["of_phoenix"](listed, listed["trace_id"])
    ask_json(service, project, "evaluations", "POST", {"evaluations": [word]})
    assert read_words(service, project, id_of(run)) == [("grounded", "ann", "Yes", 1.0, None)]


@at_night
def test_people_of_langfuse(service: Service, project: str) -> None:
    """Langfuse scores of an observation, trace and session are stored for the run or session."""
    recording, traces = take_recorded(service, project, "langfuse_people")
    recipe = read_recipes()["of_langfuse"]
    [(span_id, trace_id)] = traces.items()
    run_id = f"{trace_id}-{span_id}"
    assert read_words(service, project, run_id) == []  # labels do not arrive with the spans
    scores = refresh(recording["listed"], "timestamp")
    body = {"evaluations": [recipe(score) for score in scores]}
    for _ in range(2):
        ask_json(service, project, "evaluations", "POST", body)
    assert read_words(service, project, run_id) == [
        ("brief", "cyd", "", None, True),
        ("grounded", "cyd", "", None, False),
        ("sources", "cyd", "", None, None),
        ("stars", "cyd", "", 4.0, None),
        ("tone", "cyd", "friendly", None, None),
    ]
    run = ask(service.app, f"/api/v1/runs/{run_id}").json
    assert run["truth"] == {"output": "It is 42."}
    why = {word["judge"]: word["explanation"] for word in run["evaluations"]}
    assert (why["grounded"], why["sources"]) == ("it made that up", "it names none")
    assert read_session(service, project, "chat 7") == [
        ("helpful", "cyd", "", None, True, ""),
        ("mood", "cyd", "calm", None, None, ""),
    ]


@at_night
def test_people_about_a_session(service: Service, project: str) -> None:
    """Session scores from Langfuse and Phoenix are labels of the session, and of no run."""
    run = make_call(attributes={"session.id": "chat 7"})
    service.store.take(project, run)
    of_langfuse = {
        "id": "score-1",
        "name": "helpful",
        "dataType": "BOOLEAN",
        "value": True,
        "subject": {"kind": "session", "id": "chat 7"},
        "authorUserId": "cyd",
        "timestamp": hours_ago(2),
        "comment": "at last",
    }
    of_phoenix = {
        "id": "annotation-1",
        "session_id": "chat 7",
        "name": "helpful",
        "identifier": "ann",
        "annotator_kind": "HUMAN",
        "updated_at": hours_ago(1),
        "user_id": None,
        "result": {"label": "Yes", "score": 1.0, "explanation": None},
    }
    recipes = read_recipes()
    words = [recipes["of_langfuse"](of_langfuse), recipes["of_phoenix"](of_phoenix)]
    for _ in range(2):
        ask_json(service, project, "evaluations", "POST", {"evaluations": words})
    assert read_session(service, project, "chat 7") == [
        ("helpful", "cyd", "", None, True, "at last"),
        ("helpful", "ann", "Yes", 1.0, None, ""),
    ]
    assert read_words(service, project, id_of(run)) == []


@at_night
def test_people_beside_the_judge(service: Service, project: str) -> None:
    """Labels from spans and from feedback are in the confusion table, each reviewer's once."""
    [run] = take(service, project, [True])
    words = {
        "openinference.span.kind": "CHAIN",
        **{
            f"annotations.{place}.annotation.{name}": value
            for place, (who, passed) in enumerate((("ann", True), ("bob", False), ("cyd", False)))
            for name, value in (
                ("name", "grounded"),
                ("score", passed),
                ("annotator_kind", "HUMAN"),
                ("identifier", who),
            )
        },
    }
    later = replace(run, attributes={**run.attributes, **words}, end_ns=run.end_ns + MS_NS)
    for _ in range(2):
        service.store.take(project, later)
    [version] = ask_json(service, project, "judges/grounded/agreement")["versions"]
    assert (version["runs"], version["words"]) == (1, 3)
    assert (version["confusion"]["both_pass"], version["confusion"]["judge_passes"]) == (1, 2)
