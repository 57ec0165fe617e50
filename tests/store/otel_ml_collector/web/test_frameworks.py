"""The pages of traces that real agent frameworks recorded."""

import json
import re
from typing import Final

from tests.support.folders import ROOT
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.stores import Service

RECORDINGS: Final = ROOT / "tests/support/recorded/recordings"
UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-")


def show(service: Service, project: str, library: str, where: str) -> str:
    """Send a recording, and return the page of the last run that matches."""
    request = json.loads((RECORDINGS / f"{library}.json").read_text())["request"]
    headers = {"content-type": "application/json", "x-otel-ml-project": project}
    body = [json.dumps(request).encode()]
    assert ask(service.app, "/v1/traces", method="POST", headers=headers, body=body).status == 200
    found = ask(service.app, f"/api/v1/projects/{project}/runs?where={where}").json["runs"]
    return ask(service.app, f"/projects/{project}/runs/{found[0]['run_id']}").text


def test_crewai(service: Service, project: str) -> None:
    """The name of a crew has no ID in the sentence above its trace, nor in the tree."""
    where = "model+%3D%3D+%22Crew.kickoff%22+and+latency_ms+%3E+150"
    page = show(service, project, "openinference_crewai", where)
    [sentence] = re.findall(r'id="trace-sentence">.*?</p>', page, re.DOTALL)
    assert ">Crew.kickoff</a>" in sentence
    names = re.findall(r'<a class="of"[^>]*>(?:<span[^>]*>)?([^<]+)', page)
    assert "Crew.kickoff" in names
    assert not [name for name in names if UUID.search(name)]


def test_pydantic_ai(service: Service, project: str) -> None:
    """The instructions of an agent are shown as text next to its settings."""
    where = "model+%3D%3D+%22weather%22"
    page = show(service, project, "pydantic_ai", where)
    [call] = re.findall(r"<h2>Call</h2>.*?</dl>", page, re.DOTALL)
    assert "<dd>Be short.</dd>" in call


def test_langgraph(service: Service, project: str) -> None:
    """The graph of an agent of LangGraph has a box for each of its nodes."""
    where = "model+%3D%3D+%22LangGraph%22"
    page = show(service, project, "openinference_langgraph", where)
    [graph] = re.findall(r'href="([^"]*view=graph[^"]*)"', page)[:1]
    drawn = ask(service.app, graph.replace("&amp;", "&")).text
    assert len(re.findall(r'class="box1', drawn)) == 3
    assert len(re.findall(r'class="nd', drawn)) == 2
