"""Tests of the API against any request that its description allows, and many that it does not.

Left out are what is told live, which never ends by itself, and what works on the whole disk.
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

# Each operation with so many requests by each key; `make soak` asks for more.
EXAMPLES: Final = int(os.environ.get("OTEL_ML_TEST_REQUESTS", examples(5, on_commit=1)))
# At least so many operations were asked: few can be asked wrongly.
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
    """A collector with a run."""
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
    """A key of all projects."""
    return make_key(served, "", "*")


@pytest.fixture(scope="module")
def single(served: CollectorProcess, everything: str) -> str:
    """A key of one project."""
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
    """The description that the collector serves, without what is left out."""
    headers = {"x-api-key": everything}
    described = schemathesis.openapi.from_url(
        served.endpoint + "/openapi.json", headers=headers, timeout=120
    )
    return described.include(path_regex="^/api/v1/").exclude(path_regex=LEFT_OUT)


def bounded(mode: GenerationMode) -> settings:
    """So many requests that the whole takes half a minute; wrong ones take long to think of."""
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
    """No request makes the API fail, and every answer is one that it describes.

    By a key of all projects and of a single one; also of requests that are not as described.
    """
    headers = {"x-api-key": request.getfixturevalue(whose)}
    asked: set[str] = set()
    for found in api.get_all_operations():
        operation = found.ok()

        @bounded(mode)
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:  # it is called before the next one is made
            asked.add(f"{case.method} {case.path}")
            case.call_and_validate(checks=CHECKS, headers=headers, timeout=20)

        with suppress(Unsatisfiable):  # of an operation without parameters no request is wrong
            ask()
    assert len(asked) > OPERATIONS[mode]
