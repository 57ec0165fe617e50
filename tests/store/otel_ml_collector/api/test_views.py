"""Saved views."""

import json
from typing import Any

import pytest

from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.stores import Service

JSON = {"content-type": "application/json"}
SLOW = {"page": "runs", "parameters": {"where": "latency_ms > 200", "order": "oldest"}}


def call(service: Service, method: str, project: str, name: str = "", body: Any = None) -> Answered:
    path = f"/api/v1/projects/{project}/views{name and '/'}{name}"
    raw = b"" if body is None else json.dumps(body).encode()
    return ask(service.app, path, method=method, headers=JSON, body=[raw])


def names(service: Service, project: str) -> list[str]:
    return [view["name"] for view in call(service, "GET", project).json["views"]]


def test_saved(service: Service, project: str) -> None:
    """A view is returned as it was saved, in the list and by its name."""
    saved = call(service, "PUT", project, "slow%20ones", SLOW)
    assert saved.status == 200
    saved_time = saved.json["saved_time"]
    view = {**SLOW, "name": "slow ones", "version": 1, "saved_time": saved_time}
    assert saved.json == view
    assert call(service, "GET", project, "slow%20ones").json == view
    assert call(service, "GET", project).json == {"views": [view]}


def test_saved_again(service: Service, project: str) -> None:
    """Saving a view again replaces it."""
    call(service, "PUT", project, "a", SLOW)
    call(service, "PUT", project, "a", {"page": "models"})
    call(service, "PUT", project, "b", SLOW)
    assert names(service, project) == ["a", "b"]
    assert call(service, "GET", project, "a").json["page"] == "models"


def test_deleted(service: Service, project: str) -> None:
    """A deleted view is gone, and its name can be used again."""
    call(service, "PUT", project, "a", SLOW)
    assert call(service, "DELETE", project, "a").json["parameters"] == SLOW["parameters"]
    assert call(service, "GET", project, "a").status == 404
    assert call(service, "DELETE", project, "a").status == 404
    assert names(service, project) == []
    call(service, "PUT", project, "a", SLOW)
    assert names(service, project) == ["a"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"parameters": {"where": "slow"}}, "where"),
    ({"page": "secrets"}, "page"),
    ({"parameters": {"where": 5}}, "parameters.where"),
    ({"parameters": {f"p{n}": "" for n in range(41)}}, "parameters"),
    ({"parameters": {"where": "a" * 4_001}}, "parameters.where"),
    ({"colour": "red"}, "colour"),
]


@pytest.mark.parametrize(("body", "field"), WRONG)
def test_wrong(service: Service, project: str, body: dict[str, Any], field: str) -> None:
    """An invalid view is refused with the field that is wrong."""
    answered = call(service, "PUT", "wrong", "a", body)
    assert (answered.status, answered.json["error"]["field"]) == (400, field)
    assert names(service, "wrong") == []


def test_base(service: Service, project: str) -> None:
    """A view is saved only over the version it names; if another one is the newest, it stays."""
    for base, status in ((1, 409), (0, 200), (0, 409), (1, 200), (1, 409), (2, 200)):
        answered = call(service, "PUT", project, f"a?base={base}", SLOW)
        assert answered.status == status, (base, answered.text)
    assert call(service, "GET", project, "a").json["version"] == 3
    refused = call(service, "DELETE", project, "a?base=2").json["error"]
    assert refused["code"] == "conflict"
    assert "'a' is 3, not 2" in refused["message"]
    assert call(service, "DELETE", project, "a?base=3").status == 200
    assert call(service, "PUT", project, "a?base=3", SLOW).status == 409
    assert call(service, "PUT", project, "a?base=0", SLOW).json["version"] == 5
