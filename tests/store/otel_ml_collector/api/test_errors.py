"""Errors in the common format, and responses without a body."""

from typing import Any

import pytest

from otel_ml_collector.api.bodies import LIMIT_BYTES
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import id_of, make_artifact, make_call
from tests.support.otel_ml_collector.stores import Service

JSON = {"content-type": "application/json"}
EVALUATIONS = "/api/v1/projects/p/evaluations"
TOO_LARGE = f"The body has more than {LIMIT_BYTES} bytes"


def error(code: str, message: str, field: str | None = None) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "field": field, "column": None}}


@pytest.mark.parametrize(
    ("method", "path", "status", "wanted"),
    [
        ("GET", "/api/v1/nothing", 404, error("not_found", "Unknown address")),
        (
            "PATCH",
            "/api/v1/projects",
            405,
            error("wrong_method", "Invalid method PATCH: expected GET"),
        ),
        (
            "GET",
            "/api/v1/projects/p/runs?limit=0",
            400,
            error("bad_query", "limit: Input should be greater than or equal to 1", "limit"),
        ),
    ],
)
def test_shape(service: Service, method: str, path: str, status: int, wanted: Any) -> None:
    """Errors from the framework have the common format."""
    answered = ask(service.app, path, method=method)
    assert (answered.status, answered.json) == (status, wanted)


@pytest.mark.parametrize(
    ("headers", "body", "status", "wanted"),
    [
        (
            JSON,
            [b"{"],
            400,
            error(
                "bad_query",
                "body: Invalid JSON at character 1: "
                "Expecting property name enclosed in double quotes",
                "body",
            ),
        ),
        (JSON, [b""], 400, error("bad_query", "body: Field required", "body")),
        (JSON, [bytes(1_000_000)] * 5, 413, error("too_large", TOO_LARGE)),
        (JSON | {"content-length": "9999999"}, [b""], 413, error("too_large", TOO_LARGE)),
        (
            {"content-type": "text/plain"},
            [b"{}"],
            415,
            error(
                "unknown_media_type", "Invalid content type 'text/plain': expected application/json"
            ),
        ),
        (
            JSON | {"content-encoding": "gzip"},
            [b"{}"],
            415,
            error("unknown_media_type", "Invalid content encoding 'gzip': expected none"),
        ),
    ],
)
def test_bodies(
    service: Service, headers: dict[str, str], body: list[bytes], status: int, wanted: Any
) -> None:
    """A body that is not JSON, is too large, or has a content encoding is refused."""
    answered = ask(service.app, EVALUATIONS, method="POST", headers=headers, body=body)
    assert (answered.status, answered.json) == (status, wanted)


def test_deep_body(service: Service) -> None:
    """A deeply nested body is refused, and does no harm."""
    answered = ask(service.app, EVALUATIONS, method="POST", headers=JSON, body=[b"[" * 1_000_000])
    assert (answered.status, answered.json["error"]["code"]) == (400, "bad_request")


def test_head(service: Service, project: str) -> None:
    """HEAD returns GET's status and headers without a body; exports and zip files refuse HEAD."""
    call = make_call(events=[make_artifact("table", "[1]")])
    service.store.take(project, call)
    base = f"/api/v1/projects/{project}"
    (shown,) = ask(service.app, f"{base}/runs/{id_of(call)}").json["artifacts"]
    for path in (f"{base}/runs", f"{base}/runs/{id_of(call)}", shown["url"], f"{base}/nothing"):
        get, head = ask(service.app, path), ask(service.app, path, method="HEAD")
        assert (head.status, head.body) == (get.status, b"")
        assert head.headers["content-length"] == get.headers["content-length"]
    for path in (
        f"{base}/export",
        f"{base}/live",
        f"/api/v1/traces/{call.trace_id.hex()}?format=zip",
    ):
        assert ask(service.app, path, method="HEAD").status == 405
