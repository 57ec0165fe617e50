"""Raymon's API with a real collector: logged data is found by id, reference and slice."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import otel_ml.compat.raymon.types as rt
from otel_ml.compat.raymon import RaymonAPI, RaymonAPILogger, Tag, Trace, clear_trace
from otel_ml.compat.raymon.api import RequestFailed
from otel_ml.reader import Reader
from tests.support.collector import CollectorProcess

PROJECT = "shop/raymon"


@pytest.fixture(scope="module")
def api(collector: CollectorProcess) -> Iterator[RaymonAPI]:
    """Record three traces of two clients with data under two references; yield the API."""
    logger = RaymonAPILogger(PROJECT, url=collector.endpoint)
    for key, client, ms in [("t-1", "Remax", "80"), ("t-2", "Remax", "120"), ("t-3", "acme", "90")]:
        trace = Trace(logger, key)
        trace.tag([Tag("client", client, "label"), Tag("Time ms", ms, "metric", "speed")])
        trace.log("input", rt.Native({"key": key}))
        if key != "t-3":
            trace.log("output", [1, 2])
        trace.end()
    clear_trace()
    logger.flush()
    yield RaymonAPI(url=collector.endpoint)
    logger.client.close()


def keys(answer: Any) -> list[str]:
    assert answer.ok, answer.text
    return [run["trace_key"] for run in answer.json()["runs"]]


def test_object_is_found_and_fetched_by_its_id(api: RaymonAPI) -> None:
    """A trace and a reference lead to an object and its id, and the id to the same object."""
    found = api.object_search(project_id=PROJECT, trace_id="t-1", ref="input")
    assert (found.ok, found.status_code) == (True, 200)
    told = found.json()
    assert rt.load_jcr(told["obj_data"]).data == {"key": "t-1"}
    assert api.object_get(PROJECT, told["obj_id"]).json() == told


def test_objects_are_listed(api: RaymonAPI) -> None:
    """Objects of a reference are listed by project, slice and time."""
    now = datetime.now(UTC)
    hour = timedelta(hours=1)

    def listed(ref: str, *arguments: Any, **more: Any) -> list[str]:
        answer = api.object_ls(PROJECT, ref, *arguments, **more)
        assert answer.ok, answer.text
        assert {item["ref"] for item in answer.json()} <= {ref}
        ids = [item["obj_id"] for item in answer.json()]
        found = [api.object_get(PROJECT, one).json()["obj_data"] for one in ids]
        return [rt.load_jcr(form).data["key"] for form in found]

    assert listed("input") == ["t-3", "t-2", "t-1"]
    assert listed("input", "client==Remax") == ["t-2", "t-1"]
    assert listed("input", "client==Remax", now - hour, now + hour, limit=1) == ["t-2"]
    assert listed("input", "client==Remax", now + hour) == []
    assert listed("input", None, (now + hour).isoformat()) == []
    assert listed("nothing") == []


def test_traces_are_listed_by_slice(api: RaymonAPI) -> None:
    """A slice compares texts and numbers, and all of its conditions must hold."""
    assert keys(api.trace_ls(PROJECT)) == ["t-3", "t-2", "t-1"]
    assert keys(api.trace_ls(PROJECT, "client==Remax && Time ms>100")) == ["t-2"]
    assert keys(api.trace_ls(PROJECT, "time_ms<100", limit=1)) == ["t-3"]
    later = datetime.now(UTC) + timedelta(hours=1)
    assert keys(api.trace_ls(PROJECT, None, later)) == []


def test_trace_is_read_by_its_id(api: RaymonAPI) -> None:
    """A trace is returned as its runs; traces of other projects are not found."""
    assert keys(api.trace_get(PROJECT, "t-2")) == ["t-2"]
    assert keys(api.trace_get("other", "t-2")) == []
    missing = api.trace_get(PROJECT, "none")
    assert (missing.ok, missing.status_code) == (False, 404)
    with pytest.raises(RequestFailed, match=r"^404 of http"):
        missing.raise_for_status()


def test_names_are_listed(api: RaymonAPI) -> None:
    """References and tags of a project are lists of texts."""
    assert api.refs_ls(PROJECT).json() == ["input", "output"]
    assert api.refs_ls(PROJECT, "client==acme").json() == ["input"]
    assert api.tags_ls(PROJECT).json() == ["client", "time_ms"]


def test_tags_of_a_trace(api: RaymonAPI) -> None:
    """The tags of a trace have type and group in Raymon's format."""
    assert sorted(api.tags_get(PROJECT, "t-2").json(), key=lambda tag: str(tag["name"])) == [
        {"name": "client", "value": "Remax", "type": "label", "group": None},
        {"name": "time_ms", "value": "120", "type": "metric", "group": "speed"},
    ]


def test_unknown_reference_is_not_ok(api: RaymonAPI) -> None:
    """A missing object gives a response with an error, not an exception."""
    answer = api.object_search(PROJECT, "t-1", "none")
    assert (answer.ok, answer.status_code) == (False, 404)
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    "name",
    [
        "profile_create",
        "profile_ls",
        "profile_get",
        "profile_reduce",
        "project_create",
        "project_search",
        "project_ls",
        "projects_ls",
        "project_transfer",
        "project_m2mclient_add",
        "project_m2mclient_get",
        "org_create",
        "org_get",
        "org_add_user",
        "org_rm_user",
        "orchestration_apply",
        "orchestration_get",
        "login",
        "get",
        "post",
        "put",
        "delete",
    ],
)
def test_what_is_not_built_says_what_to_use(name: str) -> None:
    """Each unsupported method of Raymon raises an error with its name and its replacement."""
    with pytest.raises(NotImplementedError, match=rf"^RaymonAPI\.{name}: \w.+$"):
        getattr(RaymonAPI(), name)("any", cfg=1)


@pytest.mark.parametrize("name", ["orchestration_apply", "orchestration_get", "profile_reduce"])
def test_reducers_are_alert_rules(collector: CollectorProcess, name: str) -> None:
    """Methods for reducers name alert rules as their replacement, and such a rule can be saved."""
    with pytest.raises(NotImplementedError) as refusal:
        getattr(RaymonAPI(url=collector.endpoint), name)(PROJECT, cfg="actions: {reduce: []}")
    line = str(refusal.value)
    assert "an alert rule with hold='2 of 3'" in line
    assert "Reader.save_alert" in line
    assert ("Reader.fields(model, than='profile:NAME', where=slice)" in line) == (
        name == "profile_reduce"
    )
    reader = Reader(PROJECT, endpoint=collector.endpoint)
    rule = {
        "where": 'model == "trace"',
        "when": 'drift(inputs.lotarea, than="28d") > 0.1',
        "window": "1h",
        "hold": "2 of 3",
        "by": 'tags["client"]',
    }
    reader.save_alert(name, **rule)
    rules = [alert["rule"] for alert in reader.alerts()["alerts"]]
    [kept] = [saved for saved in rules if saved["name"] == name]
    assert kept["hold"] == rule["hold"]
    assert kept["when"] == rule["when"]


def test_unknown_method_is_an_attribute_error() -> None:
    """A method that Raymon's API never had is not an attribute."""
    assert not hasattr(RaymonAPI(), "trace_delete")


def test_no_collector_is_a_connection_error() -> None:
    """A request without a response raises an error with the address."""
    with pytest.raises(ConnectionError, match=r"^No answer from http://127\.0\.0\.1:9: "):
        RaymonAPI(url="http://127.0.0.1:9").tags_ls(PROJECT)


class _Echo(BaseHTTPRequestHandler):
    """Responds with the key it received."""

    def do_GET(self) -> None:
        body = json.dumps(self.headers["authorization"]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API key of the environment is sent as a bearer token."""
    monkeypatch.setenv("OTEL_ML_API_KEY", "sk-1")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        api = RaymonAPI(url=f"http://127.0.0.1:{server.server_port}")
        assert api.trace_ls(PROJECT).json() == "Bearer sk-1"
        server.shutdown()
