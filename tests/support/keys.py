"""Requests to a collector that requires keys: over HTTP, over gRPC, and with the CLI."""

import http.client
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import grpc
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_ml_collector.span import Span
from tests.support.collector import CollectorProcess
from tests.support.new_store import lay
from tests.support.otel_ml_collector.asgi import Answered
from tests.support.otel_ml_collector.spans import make_call
from tests.support.program import otel_ml
from tests.support.senders import EXPORT

PROTOBUF: Final = "application/x-protobuf"
WRONG: Final = f"omk_{'0' * 16}_{'0' * 64}"
UNAUTHENTICATED, FORBIDDEN, EXHAUSTED = 16, 7, 8

Send = Callable[[CollectorProcess, str, bytes], "tuple[int, ExportTraceServiceResponse | Status]"]


def ask(
    collector: CollectorProcess,
    path: str,
    key: str = "",
    *,
    method: str = "GET",
    body: bytes = b"",
    **headers: str,
) -> Answered:
    """Send one request without following redirects or keeping cookies."""
    with closing(
        http.client.HTTPConnection(urlsplit(collector.endpoint).netloc, timeout=120)
    ) as line:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        bearer = {"authorization": f"Bearer {key}"} if key else {}
        line.request(method, path, body, {**told, **bearer})
        answer = line.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Answered(answer.status, names, answer.read())


def sign_in(collector: CollectorProcess, key: str) -> str:
    """Sign in to the pages; return the session cookie."""
    answer = ask(
        collector,
        "/sign-in",
        method="POST",
        body=urlencode({"key": key}).encode(),
        content_type="application/x-www-form-urlencoded",
    )
    assert answer.status == 303, answer.text
    return answer.headers["set-cookie"].partition(";")[0]


@contextmanager
def opened(
    collector: CollectorProcess, path: str, **headers: str
) -> Iterator[http.client.HTTPResponse]:
    """Open a streaming response."""
    with closing(
        http.client.HTTPConnection(urlsplit(collector.endpoint).netloc, timeout=120)
    ) as line:
        line.request("GET", path, headers=headers)
        with closing(line.getresponse()) as answer:
            assert answer.status == 200, answer.read()
            yield answer


def make_key(
    collector: CollectorProcess,
    admin: str,
    *projects: str,
    scopes: str = "ingest,read",
    **more: Any,
) -> str:
    wanted = {"scopes": scopes.split(","), "projects": list(projects) or ["*"], **more}
    body = json.dumps(wanted).encode()
    made = ask(
        collector, "/api/v1/keys", admin, method="POST", body=body, content_type="application/json"
    )
    assert made.status == 201, made.body
    text: str = made.json["key"]
    return text


def names_of(collector: CollectorProcess, admin: str, project: str) -> list[str]:
    """Return the models of all recorded runs of a project."""
    path = f"/api/v1/projects/{quote(project, safe='')}/runs?limit=1000"
    return sorted(run["model"] for run in ask(collector, path, admin).json["runs"])


def send_http(
    collector: CollectorProcess, key: str, body: bytes, header_project: str = ""
) -> tuple[int, ExportTraceServiceResponse | Status]:
    """Send spans; return the status code, 0 for success, and the response message."""
    more = {"x_otel_ml_project": header_project} if header_project else {}
    answered = ask(
        collector, "/v1/traces", key, method="POST", body=body, content_type=PROTOBUF, **more
    )
    if answered.status == 200:
        return 0, ExportTraceServiceResponse.FromString(answered.body)
    status = Status.FromString(answered.body)
    codes = {UNAUTHENTICATED: 401, FORBIDDEN: 403, EXHAUSTED: 429}
    assert codes[status.code] == answered.status
    assert answered.headers.get("www-authenticate") == (
        "Bearer" if answered.status == 401 else None
    )
    assert ("retry-after" in answered.headers) is (answered.status == 429)
    return status.code, status


def send_grpc(
    collector: CollectorProcess, key: str, body: bytes, header_project: str = ""
) -> tuple[int, ExportTraceServiceResponse | Status]:
    """Send spans over gRPC, with the same result as `send_http`."""
    metadata = [("authorization", f"Bearer {key}")] if key else []
    metadata += [("x-otel-ml-project", header_project)] if header_project else []
    with grpc.insecure_channel(collector.grpc) as channel:
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
        try:
            return 0, ExportTraceServiceResponse.FromString(
                export(body, timeout=120, metadata=tuple(metadata))
            )
        except grpc.RpcError as caught:
            error: Any = caught
            trailers = dict(error.trailing_metadata())
            status = Status.FromString(trailers["grpc-status-details-bin"])
            assert status.code == error.code().value[0]
            assert ("google.rpc.retryinfo-bin" in trailers) is (status.code == EXHAUSTED)
            return status.code, status


def call_now(model: str, **fields: Any) -> Span:
    return make_call(model, start_ns=time.time_ns(), **fields)


def run_keys(*arguments: str, key: str = "") -> "subprocess.CompletedProcess[str]":
    """Run ``otel-ml keys`` until it exits."""
    command, *options = arguments
    if command == "add" and "--data-dir" in options:
        lay(Path(options[options.index("--data-dir") + 1]))
    return otel_ml("keys", *arguments, OTEL_ML_API_KEY=key)
