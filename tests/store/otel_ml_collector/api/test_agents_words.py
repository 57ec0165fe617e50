"""Agents' labels are separate from scores, even if reviewers label with the same judge."""

import csv
import io
import json
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import unquote_plus

import pytest

from otel_ml import attributes as names
from otel_ml_collector.completion import CompletionQuery, find_completion
from otel_ml_collector.span import Span, Value
from otel_ml_collector.windows import Window
from tests.store.otel_ml_collector.api.test_feedback import JSON
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import NOW_NS, id_of, make_call, make_span
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import sampled

DAY_NS = 86_400 * 10**9


@dataclass(frozen=True)
class Told:
    """A run that a person scored 1, and an agent then scored 0 and labelled wrong."""

    project: str
    call: Span


def tell(service: Service, project: str, **told: Any) -> None:
    body = json.dumps({"evaluations": [told]}).encode()
    path = f"/api/v1/projects/{project}/evaluations"
    assert ask(service.app, path, method="POST", headers=JSON, body=[body]).status == 200


@pytest.fixture(params=["run_id", "tag", "trace_key", "record"])
def told(service: Service, project: str, request: pytest.FixtureRequest) -> Told:
    call = make_call(attributes={"otel_ml.tag.order": project, "otel_ml.trace_key": f"k-{project}"})
    service.store.take(project, call)
    targets = {"run_id": id_of(call), "tag": f"order={project}", "trace_key": f"k-{project}"}
    name = "run_id" if request.param == "record" else request.param
    target = {name: targets[name]}
    tell(service, project, judge="correct", score=1, passed=True, **target)
    if request.param == "record":
        record: dict[str, Value] = {
            names.RECORD: "evaluation",
            names.TARGET_RUN: id_of(call),
            names.JUDGE_NAME: "correct",
            names.SOURCE: "agent",
            names.SCORE_VALUE: 0.0,
            names.PASSED: False,
            names.SCORE_LABEL: "wrong",
        }
        service.store.take(project, make_span("e", record, start_ns=NOW_NS, end_ns=NOW_NS))
    else:
        wrong = {"source": "agent", "score": 0, "passed": False, "label": "wrong", **target}
        tell(service, project, judge="correct", **wrong)
    return Told(project, call)


def found(service: Service, told: Told, where: str) -> bool:
    path = f"/api/v1/projects/{told.project}/runs?where={where}"
    return [run["run_id"] for run in ask(service.app, path).json["runs"]] == [id_of(told.call)]


@sampled(1)
def test_run(service: Service, told: Told) -> None:
    """A run keeps the agent's label separate from scores and reviewer labels."""
    run = ask(service.app, f"/api/v1/runs/{id_of(told.call)}").json
    assert (run["scores"], run["passed"]) == ({"correct": 1.0}, {"correct": True})
    assert (run["label"], run["agent"], run["truth"]) == ({"correct": 1}, {"correct": "wrong"}, {})
    assert {one["source"] for one in run["evaluations"]} == {"human", "agent"}


@sampled(1)
def test_filters(service: Service, told: Told) -> None:
    """Only the agent filter finds the agent's label, and filters complete it."""
    assert found(service, told, 'agent["correct"] == "wrong"')
    assert found(service, told, '"correct" in agent')
    assert found(service, told, 'scores["correct"] == 1 and passed["correct"] == True')
    assert not found(service, told, 'scores["correct"] == 0')
    assert not found(service, told, 'label["correct"] == "wrong"')
    window = Window(NOW_NS - DAY_NS, NOW_NS + DAY_NS)

    def complete(text: str) -> list[str]:
        query = CompletionQuery(told.project, text, window, 50)
        return [one.text for one in find_completion(service.store.reader, query).items]

    assert complete('agent["') == ["correct"]
    assert complete('agent["correct"] == ') == ["wrong"]
    assert complete('label["correct"] == ') == ["1"]


@sampled(1)
def test_statistics(service: Service, told: Told) -> None:
    """The statistics of runs and of the judge use only the person's score."""
    stats = ask(
        service.app, f"/api/v1/projects/{told.project}/stats?start=2026-11-01&end=2026-12-01"
    ).json
    [judge] = stats["total"]["judges"]
    assert (judge["evaluations"], judge["mean_score"], judge["pass_rate"]) == (1, 1.0, 1.0)


@sampled(1)
def test_export(service: Service, told: Told) -> None:
    """An export has agents' labels in a separate column."""
    path = f"/api/v1/projects/{told.project}/export?format=csv&columns=scores,label,agent"
    [row] = csv.DictReader(io.StringIO(ask(service.app, path).text))
    assert {name: json.loads(text) for name, text in row.items()} == {
        "scores": {"correct": 1.0},
        "label": {"correct": 1},
        "agent": {"correct": "wrong"},
    }


@sampled(1)
def test_pages(service: Service, told: Told) -> None:
    """The run's page marks the agent's label, and lists offer it as a column."""
    page = ask(service.app, f"/projects/{told.project}/runs/{id_of(told.call)}").text
    assert page.count('title="Reported by an agent: not part of the scores') == 1
    assert '<td class="wrap">wrong</td>' in page
    listed = ask(service.app, f"/projects/{told.project}/runs?columns=agent:correct").text
    assert "correct <small>agent</small></th>" in listed
    assert "not agent[" in unquote_plus(unescape(listed))
