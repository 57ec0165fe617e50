"""Tests of the API with any request that its description allows, and many that it does not.

Live streams are left out because they never end; purge and backup because they work on the
whole disk.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.collector import CollectorProcess, running
from tests.support.examples import examples
from tests.support.sampling import harder, sampled

# The number of requests per operation and key; `make soak` raises it.
EXAMPLES: Final = int(os.environ.get("OTEL_ML_TEST_REQUESTS", examples(5, on_commit=1)))
# The least number of operations tested; for many operations no wrong request exists.
OPERATIONS: Final = {GenerationMode.POSITIVE: 25, GenerationMode.NEGATIVE: 10}
LEFT_OUT: Final = "/(live|purge|backup)$"
JSON: Final = {"content-type": "application/json"}
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """A collector with one run."""
    with running(tmp_path_factory.mktemp("data")) as collector:
        told = {"otel_ml.project": "shop", "otel_ml.model.name": "answer"}
        span = {
            "traceId": "1".zfill(32),
            "spanId": "1".zfill(16),
            "name": "answer",
            "startTimeUnixNano": "1795158000000000000",
            "endTimeUnixNano": "1795158001000000000",
            "attributes": [
                {"key": name, "value": {"stringValue": value}} for name, value in told.items()
            ],
        }
        body = json.dumps({"resourceSpans": [{"scopeSpans": [{"scope": {}, "spans": [span]}]}]})
        collector.deliver(body.encode(), JSON)
        yield collector


@pytest.fixture(scope="module")
def everything(served: CollectorProcess) -> str:
    """A key for all projects."""
    return make_key(served, "", "*")


@pytest.fixture(scope="module")
def single(served: CollectorProcess, everything: str) -> str:
    """A key for one project."""
    return make_key(served, everything, "shop")


def make_key(collector: CollectorProcess, admin: str, project: str) -> str:
    scopes = ["ingest", "read", "annotate", "admin", "import"]
    body = json.dumps({"scopes": scopes, "projects": [project]}).encode()
    headers = {**JSON, "x-api-key": admin} if admin else JSON
    status, _, answer = collector.post("/api/v1/keys", body, headers)
    assert status == 201
    key: str = json.loads(answer)["key"]
    return key


@pytest.fixture(scope="module")
def api(served: CollectorProcess, everything: str) -> Any:
    """The API description that the collector serves, without the operations left out."""
    headers = {"x-api-key": everything}
    described = schemathesis.openapi.from_url(
        served.endpoint + "/openapi.json", headers=headers, timeout=120
    )
    return described.include(path_regex="^/api/v1/").exclude(path_regex=LEFT_OUT)


def bounded(mode: GenerationMode) -> settings:
    """Limit the requests to about half a minute in total; wrong ones take long to generate."""
    return settings(
        max_examples=EXAMPLES if mode is GenerationMode.POSITIVE else max(EXAMPLES // 5, 1),
        phases=[Phase.generate],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@harder
@sampled(only=("all",))
@pytest.mark.parametrize(
    ("whose", "mode"),
    [
        ("everything", GenerationMode.POSITIVE),
        ("single", GenerationMode.POSITIVE),
        ("everything", GenerationMode.NEGATIVE),
    ],
    ids=["all", "one project", "wrong"],
)
def test_any_request(
    api: Any, whose: str, mode: GenerationMode, request: pytest.FixtureRequest
) -> None:
    """No request makes the API fail, and every response matches the description.

    This holds for a key of all projects, for a key of one project, and for invalid requests.
    """
    headers = {"x-api-key": request.getfixturevalue(whose)}
    asked: set[str] = set()
    for found in api.get_all_operations():
        operation = found.ok()

        @bounded(mode)
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:  # it is called before the next operation
            asked.add(f"{case.method} {case.path}")
            case.call_and_validate(checks=CHECKS, headers=headers, timeout=20)

        with suppress(Unsatisfiable):  # an operation without parameters has no wrong request
            ask()
    assert len(asked) > OPERATIONS[mode]
