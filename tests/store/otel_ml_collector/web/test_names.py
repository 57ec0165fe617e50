"""Names that are words of an address, or have slashes and dots, have pages and routes."""

import json
import time
from typing import Any, Final
from urllib.parse import quote

import pytest

from otel_ml.addresses import write_segment
from otel_ml_collector.judge_budget import RUBRIC_JUDGE
from otel_ml_collector.judges.rubric_judge import WantedRubricJudge, write_rubric_body
from otel_ml_collector.store.documents import Documents
from tests.store.otel_ml_collector.query.test_judges import say
from tests.store.otel_ml_collector.test_experiments import make_experiment
from tests.support.examples import AT_NIGHT
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, harder

_NAMES: Final = (
    *("runs", "models/1", "runs/1", "models", "sessions", "datasets", "new", "api", "versions"),
    *("..", ".", "~..", "/a", "a//b", "a/", "back\\slash", "what?now=1&b=2", "feature/x#1"),
    *("100% sure", "%2F", "größe ☃", "monitor/findings", "..;/x", "../../settings"),
)
NAMES: Final = (
    _NAMES if AT_NIGHT else ("runs", "models", "models/1", "..", "~..", "a//b", "größe ☃?#1")
)
# Fewer names for pages that take long.
FEW: Final = (
    (
        *("runs", "models", "models/1", "versions", "items", "new", "off"),
        *("..", "/a", "a//b", "größe ☃?#1"),
    )
    if AT_NIGHT
    else ("models/1", "models", "..", "größe ☃?#1")
)
pytestmark = harder
JSON: Final = {"content-type": "application/json"}


def send(service: Service, method: str, path: str, body: Any = None) -> Answered:
    raw = [json.dumps(body).encode()] if body is not None else [b""]
    return ask(service.app, path, method=method, headers=JSON, body=raw)


@pytest.fixture
def named(service: Service, project: str) -> str:
    """A project with a model, a session and a user of each name."""
    now_ns = time.time_ns()
    spans = [
        make_call(
            name,
            {
                "otel_ml.model.version": f"{number:016x}",
                "otel_ml.model.definition": '{"source": "def f(): pass"}',
                "session.id": name,
                "otel_ml.score.value": 1.0,
                "otel_ml.trace_key": f"{project} {name}",
            },
            start_ns=now_ns - number,
        )
        for number, name in enumerate(NAMES)
    ]
    service.store.take(project, *spans, now_ns=now_ns)
    return project


@at_night
def test_records_of_any_name(service: Service, named: str) -> None:
    """The pages and the API answer about the session or the model that the address names."""
    api = f"/api/v1/projects/{write_segment(named)}"
    pages = f"/projects/{write_segment(named)}"
    for name in NAMES:
        plain = quote(name, safe="")
        for segment in {write_segment(name), plain} if name != "~.." else {"~~.."}:
            session = send(service, "GET", f"{api}/sessions/{segment}")
            assert (session.status, session.json.get("session")) == (200, name), name
            versions = send(service, "GET", f"{api}/models/{segment}/versions")
            assert (versions.status, len(versions.json["versions"])) == (200, 1), name
            trace = send(service, "GET", f"/api/v1/traces/{write_segment(f'{named} {name}')}")
            assert (trace.status, len(trace.json["runs"])) == (200, 1), name
            for kind in ("sessions", "models"):
                page = send(service, "GET", f"{pages}/{kind}/{segment}")
                assert page.status == 200, (kind, name)


@at_night
def test_links_of_any_name(service: Service, named: str) -> None:
    """Lists link to addresses that browsers leave as they are."""
    models = send(service, "GET", f"/projects/{write_segment(named)}/models").text
    links = [f'/models/{write_segment(name)}"' for name in NAMES]
    assert [link for link in links if link not in models] == []


@at_night
@pytest.mark.parametrize("kind", ["views", "alerts", "queues", "targets"])
def test_documents_of_any_name(service: Service, project: str, kind: str) -> None:
    """Views, alert rules, queues and prediction targets can have any name."""
    bodies: dict[str, Any] = {
        "views": {"page": "runs", "parameters": {"where": "latency_ms > 1"}},
        "alerts": {"when": "runs > 1"},
        "queues": {"judge": "helpful", "labels": [{"label": "yes"}, {"label": "no"}]},
        "targets": {"model": "answer"},
    }
    for name in NAMES:
        path = f"/api/v1/projects/{write_segment(project)}/{kind}/{write_segment(name)}"
        saved = send(service, "PUT", path, bodies[kind])
        assert saved.status == 200, (name, saved.text)
        read = send(service, "GET", path)
        assert read.status == 200, (name, read.text)
    listed = send(service, "GET", f"/api/v1/projects/{write_segment(project)}/{kind}")
    assert listed.status == 200
    assert all(json.dumps(name) in json.dumps(listed.json) for name in NAMES)


@at_night
def test_datasets_of_any_name(service: Service, project: str) -> None:
    """Data sets have pages and routes, and are saved and read under their own name."""
    api = f"/api/v1/projects/{write_segment(project)}/datasets"
    for number, name in enumerate(FEW):
        path = f"{api}/{write_segment(name)}"
        body = {"items": [{"inputs": {"question": f"{number} {place}"}} for place in range(2)]}
        saved = send(service, "POST", f"{path}/items", body)
        assert saved.status == 200, (name, saved.text)
        versions = send(service, "GET", f"{path}/versions")
        assert [item["name"] for item in versions.json["versions"]] == [name], versions.text
        items = send(service, "GET", f"{path}/versions/1/items")
        questions = {item["inputs"]["question"] for item in items.json["items"]}
        assert questions == {f"{number} 0", f"{number} 1"}, name
        page = send(service, "GET", f"/projects/{project}/datasets/{write_segment(name)}")
        assert (page.status, f"{number} 0" in page.text) == (200, True), name
    names = [item["name"] for item in send(service, "GET", api).json["datasets"]]
    assert sorted(names) == sorted(FEW)


@at_night
def test_experiments_of_any_name(service: Service, project: str) -> None:
    """Experiments with any name are listed, and are found by their run ID."""
    experiments = [
        make_experiment(number, name=name, dataset=name) for number, name in enumerate(FEW)
    ]
    service.store.take(project, *experiments)
    pages, api = f"/projects/{project}", f"/api/v1/projects/{project}"
    for span, name in zip(experiments, FEW, strict=True):
        run_id = f"{span.trace_id.hex()}-{span.span_id.hex()}"
        found = send(service, "GET", f"{api}/experiments/{run_id}")
        assert (found.status, found.json["experiment"]["name"]) == (200, name), found.text
        assert send(service, "GET", f"{pages}/experiments/{run_id}").status == 200, name


@at_night
def test_judges_of_any_name(service: Service, project: str) -> None:
    """Judges have a page, versions and agreement with reviewers under their own name."""
    now_ns = time.time_ns()
    run = make_call("answer", start_ns=now_ns, end_ns=now_ns + 1)
    scores = [
        say(run, "j1", 1.0, after_s=number / 1e3, more={"otel_ml.judge.name": name})
        for number, name in enumerate(FEW)
    ]
    service.store.take(project, run, *scores, now_ns=now_ns)
    api = f"/api/v1/projects/{project}/judges"
    for name in FEW:
        segment = write_segment(name)
        versions = send(service, "GET", f"{api}/{segment}/versions")
        assert (versions.status, versions.json["judge"]) == (200, name), versions.text
        assert send(service, "GET", f"{api}/{segment}/agreement").status == 200, name
        page = send(service, "GET", f"/projects/{project}/judges/{segment}")
        assert (page.status, "1 run was scored" in page.text) == (200, True), name


@at_night
def test_rubric_judges_of_any_name(service: Service, project: str) -> None:
    """Rubric judges are saved, read, listed, turned off and deleted under their own name."""
    api = f"/api/v1/projects/{project}/rubric-judges"
    wanted = WantedRubricJudge(instruction="Is it polite?", model="small", connection="here")
    documents, body = Documents(service.store.connections), write_rubric_body(wanted, None, 1)
    for name in FEW:
        path = f"{api}/{write_segment(name)}"
        documents.save(service.store.reader, project, RUBRIC_JUDGE, name, body)
        found = send(service, "GET", path)
        assert (found.status, found.json.get("name")) == (200, name), found.text
        refused = send(service, "PUT", path, wanted.model_dump())
        assert refused.json["error"]["field"] == "connection", refused.text
        assert send(service, "POST", f"{path}/off").json["name"] == name
        edit = quote(name, safe="")
        assert send(service, "GET", f"/projects/{project}/judge-rubric?edit={edit}").status == 200
    names = [item["name"] for item in send(service, "GET", api).json["judges"]]
    assert sorted(names) == sorted(FEW)
    assert send(service, "DELETE", f"{api}/{write_segment('models/1')}").status == 200
    assert send(service, "GET", f"{api}/models").status == 200


def test_projects_of_any_name(service: Service, project: str) -> None:
    """Projects have pages and routes, even if one is called like a page of another."""
    now_ns = time.time_ns()
    names = [f"{project}/runs", f"{project}/models/answer", "runs", "..a"]
    names += ["models", "api", "new"] if AT_NIGHT else []
    for name in names:
        service.store.take(name, make_call(f"of {name}", start_ns=now_ns), now_ns=now_ns)
    for name in names:
        segment = write_segment(name)
        counts = send(service, "GET", f"/api/v1/projects/{segment}")
        assert (counts.status, counts.json.get("project")) == (200, name), counts.text
        for page in ("", "/runs", "/models", "/monitor", "/settings"):
            assert send(service, "GET", f"/projects/{segment}{page}").status == 200, (name, page)
        [run] = send(service, "GET", f"/api/v1/projects/{segment}/runs").json["runs"]
        assert run["model"] == f"of {name}"


@at_night
def test_a_name_deletes_only_itself(service: Service, named: str) -> None:
    """Deleting a session called like a page leaves the project."""
    path = f"/api/v1/projects/{write_segment(named)}"
    assert send(service, "DELETE", f"{path}/sessions/runs").status in {200, 202}
    assert send(service, "GET", f"{path}/sessions/models").status == 200
