"""Listing data that still contains a user's name after the user's runs were deleted."""

import json
from typing import Final

from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import id_of, make_call, span_id, trace_id
from tests.support.otel_ml_collector.stores import Service

ADA: Final = "ada@example.com"


def write(service: Service, method: str, address: str, body: object) -> None:
    """Send a request that changes data, and check that it succeeds."""
    headers = {"content-type": "application/json"}
    answered = ask(
        service.app, address, method=method, body=[json.dumps(body).encode()], headers=headers
    )
    assert answered.status < 300, answered.text


def test_after_a_deletion(service: Service, project: str) -> None:
    """After a user is deleted, items, rules and labels that name the user are listed."""
    hers = make_call("answer", {"user.id": ADA}, trace_id=trace_id(1), span_id=span_id(1))
    other = make_call("answer", {}, trace_id=trace_id(2), span_id=span_id(2))
    service.store.take(project, hers, other)
    place = f"/api/v1/projects/{project}"
    items = [{"id": "greeting", "inputs": "Hello ADA@example.com"}, {"id": "x", "inputs": "no"}]
    write(service, "POST", f"{place}/datasets/qa/items", {"items": items})
    rule = {"where": f'user == "{ADA}"', "when": "error_share > 0.5", "window": "6h"}
    write(service, "PUT", f"{place}/alerts/ada-fails", rule)
    view = {"page": "runs", "parameters": {"where": 'user == "bob"'}}
    write(service, "PUT", f"{place}/views/bob", view)
    label = {"run_id": id_of(other), "judge": "tone", "label": "rude", "annotator": ADA}
    write(service, "POST", f"{place}/evaluations", {"evaluations": [label]})
    assert ask(service.app, f"{place}/users/{ADA}", method="DELETE").status in {200, 202}

    found = ask(service.app, f"{place}/mentions?who=Ada@Example.com").json
    assert found["is_complete"]
    mentions = {(one["kind"], one["name"], one["place"]) for one in found["mentions"]}
    assert mentions == {
        ("item", "greeting", "qa"),
        ("rule", "ada-fails", ""),
        ("label", "tone", id_of(other)),
    }
    assert ask(service.app, f"{place}/mentions?who=nobody").json["mentions"] == []


def test_name_with_quotes(service: Service, project: str) -> None:
    """A name is found in JSON text, where quotes are escaped."""
    rule = {"where": "user == 'Ada \"Al\" K'", "when": "error_share > 0.5", "window": "6h"}
    write(service, "PUT", f"/api/v1/projects/{project}/alerts/quoted", rule)
    found = ask(service.app, f"/api/v1/projects/{project}/mentions?who=ada%20%22al%22").json
    assert [(one["kind"], one["name"]) for one in found["mentions"]] == [("rule", "quoted")]
