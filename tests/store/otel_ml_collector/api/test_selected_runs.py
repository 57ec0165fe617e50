"""Actions on selected runs: tags, labelling queues and deletion."""

import json
from typing import Any, Final

import pytest

from otel_ml_collector.span import Span
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import NOW_NS, id_of, make_call, make_span
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, sampled

QUEUE: Final = {"judge": "right", "labels": [{"label": "Yes", "passed": True}]}


def call(service: Service, method: str, project: str, path: str, body: Any = None) -> Answered:
    """Call the API of a project."""
    raw = b"" if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    address = f"/api/v1/projects/{project}/{path}"
    return ask(service.app, address, method=method, headers=headers, body=[raw])


def read(service: Service, method: str, project: str, path: str, body: Any = None) -> Any:
    """Call the API of a project; the call must succeed."""
    answered = call(service, method, project, path, body)
    assert answered.status == 200, answered.text
    return answered.json


def take(service: Service, project: str, number: int = 4) -> list[Span]:
    """Store some runs, the newest first."""
    runs = [
        make_call("answer", {"otel_ml.tag.client": "x"}, start_ns=NOW_NS - place)
        for place in range(number)
    ]
    service.store.take(project, *runs)
    return runs


def tags_of(service: Service, project: str) -> list[str]:
    """Return the tag `client` of each run, the newest run first."""
    runs = read(service, "GET", project, "runs")["runs"]
    return [run["tags"]["client"] for run in runs]


def test_tags_are_undone(service: Service, project: str) -> None:
    """Tags are added to selected runs at once; undoing that restores the earlier tags."""
    runs = take(service, project)
    run_ids = [id_of(run) for run in runs[:2]]
    wanted = {"run_ids": run_ids, "tags": {"client": "y"}}
    stored = read(service, "POST", project, "run-tags", wanted)
    assert tags_of(service, project) == ["y", "y", "x", "x"]
    read(service, "POST", project, "run-tags/undo", stored)
    assert tags_of(service, project) == ["x", "x", "x", "x"]


@sampled(1)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), [], None])
def test_invalid_tag(service: Service, project: str, value: object) -> None:
    """A tag that is not a text, a finite number or a boolean is refused, and none is stored."""
    run_ids = [id_of(run) for run in take(service, project, 1)]
    wanted = {"run_ids": run_ids, "tags": {"client": "y", "share": value}}
    answered = call(service, "POST", project, "run-tags", wanted)
    assert (answered.status, answered.json["error"]["message"]) == (
        400,
        "tags.share: Expected a text, a finite number or a boolean",
    )
    assert tags_of(service, project) == ["x"]


@at_night
def test_only_own_tags_are_undone(service: Service, project: str) -> None:
    """Undo removes the tags of its records only."""
    run_ids = [id_of(run) for run in take(service, project, 2)]
    first = read(
        service, "POST", project, "run-tags", {"run_ids": run_ids, "tags": {"client": "y"}}
    )
    second = read(
        service, "POST", project, "run-tags", {"run_ids": run_ids, "tags": {"client": "z"}}
    )
    assert tags_of(service, project) == ["z", "z"]
    read(service, "POST", project, "run-tags/undo", second)
    assert tags_of(service, project) == ["y", "y"]
    read(service, "POST", project, "run-tags/undo", first)
    assert tags_of(service, project) == ["x", "x"]


def runs_in(service: Service, project: str) -> int:
    """Return how many runs a queue has."""
    number: int = read(service, "GET", project, "queues/q")["progress"]["runs"]
    return number


def test_runs_are_added_to_a_queue(service: Service, project: str) -> None:
    """Runs that do not match a queue's filter can be added, and taken out again."""
    runs = take(service, project)
    run_ids = [id_of(run) for run in runs[:2]]
    read(service, "PUT", project, "queues/q", {**QUEUE, "where": 'model == "other"'})
    assert runs_in(service, project) == 0
    queue = read(service, "POST", project, "queues/q/runs", {"add": run_ids})
    assert (queue["run_ids"], runs_in(service, project)) == (run_ids, 2)
    following = read(service, "GET", project, "queues/q/next?annotator=ann")
    assert following["run"]["run_id"] in run_ids
    read(service, "POST", project, "queues/q/runs", {"remove": run_ids[:1]})
    assert runs_in(service, project) == 1


@at_night
def test_added_runs_come_first(service: Service, project: str) -> None:
    """A queue's limit drops matching runs before runs that were added."""
    runs = take(service, project)
    read(service, "PUT", project, "queues/q", {**QUEUE, "where": 'model == "answer"', "limit": 1})
    read(service, "POST", project, "queues/q/runs", {"add": [id_of(runs[3]), id_of(runs[2])]})
    assert runs_in(service, project) == 2


def test_queue_of_selected_runs(service: Service, project: str) -> None:
    """A queue with runs and no filter has these runs only."""
    runs = take(service, project)
    read(service, "PUT", project, "queues/q", {**QUEUE, "run_ids": [id_of(runs[1])]})
    assert runs_in(service, project) == 1


def test_queue_of_all_runs(service: Service, project: str) -> None:
    """No run can be added to a queue of all runs."""
    runs = take(service, project)
    read(service, "PUT", project, "queues/q", QUEUE)
    answered = call(service, "POST", project, "queues/q/runs", {"add": [id_of(runs[0])]})
    assert answered.status == 400
    assert "already contains all recorded runs" in answered.json["error"]["message"]


def test_selected_runs_are_deleted(service: Service, project: str) -> None:
    """Several runs are deleted at once, and on request the runs and spans inside them."""
    kept, alone, top = take(service, project, 3)
    middle = make_span("middle", trace_id=top.trace_id, parent_span_id=top.span_id)
    inner = make_call("inner", trace_id=top.trace_id, parent_span_id=middle.span_id)
    service.store.take(project, middle, inner)
    deleted = read(service, "POST", project, "delete-runs", {"run_ids": [id_of(alone)]})
    assert deleted["deleted_runs"] == 1
    wanted = {"run_ids": [id_of(top)], "inside": True}
    assert read(service, "POST", project, "delete-runs", wanted)["deleted_runs"] == 3
    runs = read(service, "GET", project, "runs")["runs"]
    assert [run["run_id"] for run in runs] == [id_of(kept)]
