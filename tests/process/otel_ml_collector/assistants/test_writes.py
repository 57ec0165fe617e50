"""Tests of the tools that write: who has them, what they store, and that they store it once."""

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml import Client
from otel_ml_collector.assistants.definitions import ALL_TOOLS, TOOLS
from otel_ml_collector.span import Span, Value
from tests.process.otel_ml_collector.assistants.test_protocol import CALL, JSON, post
from tests.support.collector import running
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.cli.program import otel_ml
from tests.support.otel_ml_collector.spans import id_of, make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

RUNS: Final = 3
WRITERS: Final = 6


@pytest.fixture(scope="module")
def writing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(tmp_path_factory.mktemp("writing"), mcp_writes="true") as service:
        yield service


def list_tools(service: Service, **headers: str) -> list[Any]:
    listed = post(service, {**CALL, "method": "tools/list", "params": {}}, **headers)
    tools: list[Any] = listed.json["result"]["tools"]
    return tools


def call(
    service: Service, tool: str, headers: Mapping[str, str] | None = None, /, **given: Any
) -> Any:
    """Call a tool over HTTP; return its result or its error message."""
    body = {**CALL, "params": {"name": tool, "arguments": given}}
    answered = post(service, body, **(headers or {})).json
    if "error" in answered:
        return answered["error"]["message"]
    result = answered["result"]
    return result["content"][0]["text"] if result.get("isError") else result["structuredContent"]


@pytest.fixture
def runs(writing: Service, project: str) -> list[Span]:
    """Three runs with a reviewer's score each; the first one has ground truth."""
    told: list[dict[str, Value]] = [
        {"otel_ml.inputs": json.dumps({"question": place}), "otel_ml.outputs": f'"answer {place}"'}
        for place in range(RUNS)
    ]
    calls = [make_call("answer", one) for one in told]
    writing.store.take(project, *calls)
    body = {
        "evaluations": [
            *({"judge": "good", "score": 1, "run_id": id_of(one)} for one in calls),
            {"actual": "so it is", "run_id": id_of(calls[0])},
        ]
    }
    path = f"/api/v1/projects/{project}/evaluations"
    kind = {"content-type": "application/json"}
    sent = ask(writing.app, path, method="POST", headers=kind, body=[json.dumps(body).encode()])
    assert sent.status == 200
    return calls


def evaluations(service: Service, run: Span) -> list[tuple[Any, ...]]:
    found = ask(service.app, f"/api/v1/runs/{id_of(run)}").json["evaluations"]
    wanted = ("judge", "source", "score", "passed", "label", "explanation", "annotator")
    return [tuple(one[name] for name in wanted) for one in found if one["actual"] is None]


GOOD: Final = ("good", "human", 1.0, None, "", "", "")


def test_on(writing: Service) -> None:
    """If writing is enabled, all eleven tools are listed, with a mark on those that write."""
    listed = {tool["name"]: tool["annotations"] for tool in list_tools(writing)}
    assert list(listed) == list(ALL_TOOLS)
    reads = [name for name, one in listed.items() if one["readOnlyHint"]]
    assert reads == list(TOOLS)
    for name in ("add_feedback", "save_as_tests"):
        assert (listed[name]["idempotentHint"], listed[name]["destructiveHint"]) == (True, False)


def test_feedback(writing: Service, project: str, runs: list[Span]) -> None:
    """An agent's feedback is stored next to reviewers' scores, which stay unchanged."""
    short = [id_of(run)[-16:] for run in runs[:2]]
    before = ask(
        writing.app, f"/api/v1/projects/{project}/stats?start=2026-11-01&end=2026-12-01"
    ).json
    said = {"judge": "good", "score": 0, "passed": False, "explanation": "It is not"}
    told = call(writing, "add_feedback", project=project, runs=short, **said)
    assert (told["stored"], told["already_there"], told["source"]) == (2, 0, "agent")
    assert [row[0] for row in told["rows"]] == short
    after = ask(
        writing.app, f"/api/v1/projects/{project}/stats?start=2026-11-01&end=2026-12-01"
    ).json
    assert after == before
    for run in runs[:2]:
        one = ask(writing.app, f"/api/v1/runs/{id_of(run)}").json
        assert (one["scores"], one["passed"], one["agent"]) == ({"good": 1.0}, {}, {"good": 0})
        agents = ("good", "agent", 0.0, False, "", "It is not", "")
        assert evaluations(writing, run) == [GOOD, agents]
    assert evaluations(writing, runs[2]) == [GOOD]


@sampled(1)
@pytest.mark.parametrize("request_of", [{}, {"request": "r-1"}])
def test_once(writing: Service, project: str, runs: list[Span], request_of: dict[str, str]) -> None:
    """The same request id, or the same content without one, is stored once under the same ids."""
    given = {"project": project, "runs": [id_of(runs[0])], "judge": "seen", "label": "yes"}
    first, second = (call(writing, "add_feedback", **given, **request_of) for _ in range(2))
    assert (first["stored"], second["stored"], second["already_there"]) == (1, 0, 1)
    assert first["rows"] == second["rows"]
    assert [one[0] for one in evaluations(writing, runs[0])] == ["good", "seen"]
    more = {**given, "runs": [id_of(run) for run in runs]}
    third = call(writing, "add_feedback", **more, **request_of)
    assert (third["stored"], third["already_there"]) == (2, 1)


def test_other_words(writing: Service, project: str, runs: list[Span]) -> None:
    """A request id that is reused with different content is refused, and nothing is stored."""
    given = {"project": project, "runs": [id_of(runs[0])], "request": "r-2"}
    call(writing, "add_feedback", judge="seen", label="yes", **given)
    for other in ({"judge": "seen", "label": "no"}, {"judge": "heard", "label": "yes"}):
        refused = call(writing, "add_feedback", **other, **given)
        assert refused.startswith("request: 'r-2' already stored another evaluation of ")
    assert [one[:2] for one in evaluations(writing, runs[0])] == [GOOD[:2], ("seen", "agent")]


@sampled(1)
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"runs": []}, "runs: 0 is less than 1"),
        ({"runs": ["0" * 16] * 21}, "runs: 21 is more than 20"),
        ({}, "score: missing: expected a score, passed, a label or an explanation"),
        ({"score": "1"}, "score: '1': expected a number"),
        ({"score": True}, "score: 'True': expected a number"),
        ({"passed": 1}, "passed: '1': expected true or false"),
        ({"score": 1, "judge": ""}, "judge: '': expected a name such as triage"),
        ({"score": 1, "source": "human"}, "source: add_feedback does not have this argument"),
        ({"label": "x" * 257}, "label: 257 characters is more than 256"),
        ({"score": 1, "runs": ["ab" * 16 + "-" + "cd" * 8]}, "runs: there is no 'abab"),
        ({"score": 1, "runs": ["nothing"]}, "runs: there is no 'nothing'"),
    ],
)
def test_wrong_feedback(
    writing: Service, project: str, runs: list[Span], given: dict[str, Any], told: str
) -> None:
    """Wrong feedback is refused with a message that names the problem, and nothing is stored."""
    whole = {"project": project, "runs": [id_of(runs[0])], "judge": "good", **given}
    assert call(writing, "add_feedback", **whole).startswith(told)
    assert evaluations(writing, runs[0]) == [GOOD]


def test_tests(writing: Service, project: str, runs: list[Span]) -> None:
    """Runs become items of a new version with their outputs as expected values, each run once."""
    ids = [id_of(run) for run in runs]
    given = {"project": project, "dataset": "qa", "expected": "outputs"}
    first = call(writing, "save_as_tests", runs=ids[:2], **given)
    assert (first["dataset"], first["added"], first["already_there"]) == ("qa:v1", 2, 0)
    again = call(writing, "save_as_tests", runs=ids[:2], **given)
    assert (again["dataset"], again["added"], again["already_there"]) == ("qa:v1", 0, 2)
    more = call(writing, "save_as_tests", runs=ids, **given)
    assert (more["dataset"], more["added"], more["items"]) == ("qa:v2", 1, 3)
    path = f"/api/v1/projects/{project}/datasets/qa/versions/2/items"
    items = ask(writing.app, path).json["items"]
    assert sorted((one["inputs"]["question"], one["expected"]) for one in items) == [
        (place, f"answer {place}") for place in range(RUNS)
    ]
    assert {one["source_run"] for one in items} == {*ids}


@at_night
def test_tests_beside_others(tmp_path: Path) -> None:
    """Agents and people change a data set at once, and no item is lost."""
    with running(tmp_path, "--mcp-writes") as collector:
        client = Client("shop", endpoint=collector.endpoint, join=False)

        @client.trace
        def answer(question: str) -> str:
            return question.upper()

        for place in range(WRITERS):
            answer(f"why {place}")
        assert client.flush()
        client.close()
        runs = [one["run_id"] for one in collector.get("/projects/shop/runs")["runs"]]
        began = threading.Barrier(2 * WRITERS)

        def save(run_id: str) -> str:
            began.wait(60)
            given = {"project": "shop", "dataset": "raced", "runs": [run_id]}
            request = json.dumps({**CALL, "params": {"name": "save_as_tests", "arguments": given}})
            return collector.post("/mcp", request.encode(), JSON)[2].decode()

        def add(place: int) -> int:
            began.wait(60)
            body = json.dumps({"items": [{"id": f"own-{place}", "inputs": place}]}).encode()
            path = "/api/v1/projects/shop/datasets/raced/items"
            return collector.post(path, body, {"content-type": "application/json"})[0]

        with ThreadPoolExecutor(2 * WRITERS) as pool:
            saved, added = pool.map(save, runs), pool.map(add, range(WRITERS))
            assert [*added] == [200] * WRITERS
            told = [json.loads(one)["result"]["structuredContent"] for one in saved]
        assert [one["added"] for one in told] == [1] * WRITERS
        versions = collector.get("/projects/shop/datasets/raced/versions")["versions"]
        assert [one["items"] for one in versions] == [*range(2 * WRITERS, 0, -1)]


def test_truth_as_expected(writing: Service, project: str, runs: list[Span]) -> None:
    """If ground truth is required, runs without it are left out and counted with the reason."""
    given = {"project": project, "dataset": "true", "expected": "actual"}
    found = call(writing, "save_as_tests", runs=[id_of(run) for run in runs], **given)
    assert (found["added"], found["not_saved"]) == (1, {"without ground truth": 2})
    refused = call(writing, "save_as_tests", runs=[id_of(runs[1])], **given)
    assert refused == "None of these runs can be added as an item: 1 without ground truth"


def test_log(
    writing: Service, project: str, runs: list[Span], caplog: pytest.LogCaptureFixture
) -> None:
    """The log shows the key's id for a write, but no content."""
    with caplog.at_level(logging.INFO, "otel_ml_collector.assistants"):
        given = {"project": project, "runs": [id_of(runs[0])], "judge": "seen"}
        call(writing, "add_feedback", label="a secret", **given)
    [record] = [one for one in caplog.records if "add_feedback" in one.getMessage()]
    expected = f"add_feedback: key (none) stored 1 evaluations in project {project}"
    assert record.getMessage() == expected


@at_night
def test_shell(tmp_path: Path) -> None:
    """The shell writes as well, if the collector's settings enable it."""
    with running(tmp_path, "--mcp-writes") as collector:
        run = replace(make_call("answer"), attributes={"otel_ml.project": "shop"})
        sent = {
            "traceId": run.trace_id.hex(),
            "spanId": run.span_id.hex(),
            "name": "answer",
            "startTimeUnixNano": str(run.start_ns),
            "endTimeUnixNano": str(run.end_ns),
            "attributes": [
                {"key": "otel_ml.project", "value": {"stringValue": "shop"}},
                {"key": "otel_ml.kind", "value": {"stringValue": "model"}},
            ],
        }
        body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [sent]}]}]}).encode()
        assert collector.post("/v1/traces", body, {"content-type": "application/json"})[0] == 200
        words = ("project=shop", f"runs={id_of(run)}", "judge=triage", "score=0.5", "passed=true")
        done = otel_ml(collector.endpoint, "mcp", "call", "add_feedback", *words)
        assert done.stderr == b""
        assert json.loads(done.stdout)["stored"] == 1
        found = collector.get(f"/runs/{id_of(run)}")
        assert found["agent"] == {"triage": 0.5}
