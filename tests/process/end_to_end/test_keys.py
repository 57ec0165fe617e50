"""A key cannot write to other projects in any way, or exceed its scopes and quota.

`test_gate` proves for each route that it does not reveal other projects.
"""

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from otel_ml_collector.span import Scope, Value
from tests.support.collector import CollectorProcess
from tests.support.keys import (
    EXHAUSTED,
    FORBIDDEN,
    PROTOBUF,
    UNAUTHENTICATED,
    WRONG,
    Send,
    ask,
    call_now,
    make_key,
    names_of,
    send_grpc,
    send_http,
)
from tests.support.otel_ml_collector.spans import id_of, make_record
from tests.support.otel_ml_collector.wire import encode

on_each_transport = pytest.mark.parametrize("send", [send_http, send_grpc], ids=["http", "grpc"])


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """Return a project name unique to the test."""
    name: str = request.node.name
    return name


@on_each_transport
def test_wrong_keys(admin: str, closed: CollectorProcess, project: str, send: Send) -> None:
    """Without a valid key nothing is stored, and the error is permanent."""
    revoked = make_key(closed, admin, project)
    key_id = revoked.split("_")[1]
    assert ask(closed, f"/api/v1/keys/{key_id}", admin, method="DELETE").status == 200
    body = encode([call_now("never")])
    for key in ("", WRONG, admin[:-1], revoked, "a b"):
        code, status = send(closed, key, body)
        assert code == UNAUTHENTICATED
        assert isinstance(status, Status)
        assert not status.details
    assert names_of(closed, admin, project) == []


@on_each_transport
def test_scope(admin: str, closed: CollectorProcess, project: str, send: Send) -> None:
    """A key without the ingest scope is refused permanently."""
    key = make_key(closed, admin, project, scopes="read,annotate,admin,import")
    code, status = send(closed, key, encode([call_now("never")]))
    message = "This key does not have the scope ingest"
    assert (code, getattr(status, "message", "")) == (FORBIDDEN, message)
    assert names_of(closed, admin, project) == []


@on_each_transport
@pytest.mark.parametrize("kind", ["one", "two"])
def test_claims(
    admin: str, closed: CollectorProcess, project: str, kind: str, send: Callable[..., Any]
) -> None:
    """No span, scope, resource or header attribute can file a record under another project."""
    theirs, own = f"{project} theirs", [f"{project} own", f"{project} second"]
    key = make_key(closed, admin, *own[: 1 if kind == "one" else 2])
    send(closed, admin, encode([call_now("theirs")]), theirs)
    claim = {"otel_ml.project": theirs}
    calls = [
        call_now("span", attributes=claim),
        call_now("scope", scope=Scope({}, "tests", "1", claim)),
        call_now("resource", scope=Scope(claim, "tests", "1", {})),
        call_now("openinference", scope=Scope({"openinference.project.name": theirs}, "", "", {})),
    ]
    rejected = ExportTracePartialSuccess(
        rejected_spans=4,
        error_message="Spans rejected for good: project_not_allowed 4: the key may not write to "
        "the project that they name",
    )
    told = None if kind == "one" else rejected
    expected = ExportTraceServiceResponse(partial_success=told)
    assert send(closed, key, encode(calls)) == (0, expected)
    code, answer = send(closed, key, encode([call_now("header")]), theirs)
    assert (code, answer.HasField("partial_success")) == (0, kind == "two")
    assert names_of(closed, admin, theirs) == ["theirs"]
    filed = ["header", "openinference", "resource", "scope", "span"] if kind == "one" else []
    assert names_of(closed, admin, own[0]) == filed


def test_default_project(admin: str, closed: CollectorProcess, project: str) -> None:
    """A span without a project is filed under the first project of its key."""
    key = make_key(closed, admin, f"z {project}", f"a {project}")
    assert send_http(closed, key, encode([call_now("unnamed")])) == (
        0,
        ExportTraceServiceResponse(),
    )
    assert names_of(closed, admin, f"z {project}") == ["unnamed"]


@on_each_transport
def test_targets(
    admin: str, closed: CollectorProcess, project: str, send: Callable[..., Any]
) -> None:
    """Records about another project's run, trace key, tag or model change nothing there."""
    theirs = f"{project} theirs"
    told = {"otel_ml.trace_key": "shared", "otel_ml.tag.client": "acme"}
    call = call_now("model", attributes=told)
    send(closed, admin, encode([call]), theirs)
    before = ask(closed, f"/api/v1/runs/{id_of(call)}", admin).json
    key = make_key(closed, admin, project)
    tag: dict[str, Value] = {"otel_ml.tag.planted": "yes", "otel_ml.project": theirs}
    score: dict[str, Value] = {"otel_ml.judge.name": "planted", "otel_ml.score.value": 0.0}
    metric: dict[str, Value] = {"otel_ml.metric.names": ["planted"], "otel_ml.metric.values": [1.0]}
    now = {"start_ns": time.time_ns()}
    records = [
        make_record("update", call, {**tag, **metric}, **now),
        make_record("evaluation", call, score, **now),
        make_record("update", call, {**tag, "otel_ml.target.run": id_of(call)}, **now),
        make_record("update", call, {**tag, "otel_ml.target.trace_key": "shared"}, **now),
        make_record("evaluation", call, {**score, "otel_ml.target.trace_key": "shared"}, **now),
        make_record("update", call, {**tag, "otel_ml.target.tag": "client=acme"}, **now),
        call_now("planted", trace_id=call.trace_id, span_id=call.span_id),
        call_now("planted", trace_id=call.trace_id, parent_span_id=call.span_id),
    ]
    assert send(closed, key, encode(records), theirs) == (0, ExportTraceServiceResponse())
    path = f"/api/v1/projects/{quote(theirs, safe='')}/runs/{id_of(call)}"
    assert ask(closed, path, admin).json == before
    assert names_of(closed, admin, theirs) == ["model"]
    trace = ask(closed, f"/api/v1/traces/{call.trace_id.hex()}", key).json
    assert {run["project"] for run in trace["runs"]} == {project}
    trace = ask(closed, "/api/v1/traces/shared", key).json
    assert {one["project"] for one in [*trace["runs"], *trace["records"]]} == {project}


def test_artifacts(admin: str, closed: CollectorProcess, project: str) -> None:
    """Only keys of the project with the right scope can upload or read an artifact."""
    document = json.dumps(secrets.token_hex()).encode()
    sha256 = hashlib.sha256(document).hexdigest()
    path = f"/api/v1/projects/{project}/artifacts/{sha256}"
    other = make_key(closed, admin, f"{project} other")
    writer = make_key(closed, admin, project, scopes="ingest")
    reader = make_key(closed, admin, project, scopes="read")

    def put(key: str) -> int:
        sent = {"content_type": "application/json"}
        return ask(closed, path, key, method="PUT", body=document, **sent).status

    assert [put(key) for key in ("", WRONG, reader, other)] == [401, 401, 403, 404]
    assert ask(closed, path, reader).status == 404
    assert [put(writer), put(other)] == [201, 404]
    assert ask(closed, path, reader).body == document
    assert [ask(closed, path, key).status for key in (writer, other)] == [403, 404]
    own = path.replace(project, quote(f"{project} other"))
    assert ask(closed, own, other).status == 404


@on_each_transport
def test_quota_of_bytes(admin: str, closed: CollectorProcess, project: str, send: Send) -> None:
    """A key over its quota is refused with a retry delay; other keys are not."""
    limited = make_key(closed, admin, project, bytes_per_second=1_000)
    other = make_key(closed, admin, project)
    body = encode([call_now("large", attributes={"otel_ml.inputs": '"' + "a" * 9_000 + '"'})])
    assert send(closed, limited, body)[0] == 0
    code, status = send(closed, limited, body)
    assert code == EXHAUSTED
    assert isinstance(status, Status)
    delay = RetryInfo()
    assert status.details[0].Unpack(delay)
    assert 1 <= delay.retry_delay.seconds <= 10
    assert send(closed, other, body)[0] == 0
    counted = ask(closed, "/metrics", admin).body.decode()
    assert re.search('requests_total{answer="over_quota",.*} [1-9]', counted)
    assert re.search('quota_refusals_total{quota="bytes"} [1-9]', counted)


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/traces"), ("PUT", f"/api/v1/projects/p/artifacts/{'0' * 64}")],
)
def test_large_refusal(
    admin: str, closed: CollectorProcess, method: str, path: str, connection: str
) -> None:
    """A large upload without a key gets a readable refusal, also with `Connection: close`."""
    kind = PROTOBUF if method == "POST" else "application/json"
    sent = {"content_type": kind, "connection": connection}
    assert ask(closed, path, method=method, body=bytes(20_000_000), **sent).status == 401
