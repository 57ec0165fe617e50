"""The share of production runs by tag value, compared with a data set's items."""

import json
import time

from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import MS_NS, make_call
from tests.support.otel_ml_collector.stores import Service


def test_shares_of_runs_and_items(service: Service, project: str) -> None:
    """A client's share counts all of its runs, whatever their outcome."""
    now_ns = time.time_ns()
    spans = [
        make_call(
            "answer",
            {
                "otel_ml.tag.client": "acme" if place % 4 else "beta",
                "otel_ml.inputs": json.dumps({"q": place}),
                "otel_ml.outcome": "error" if place % 10 == 1 else "ok",
            },
            start_ns=now_ns - (place + 2) * MS_NS,
        )
        for place in range(40)
    ]
    service.store.take(project, *spans, now_ns=now_ns)
    path = f"/api/v1/projects/{project}/datasets/qa"
    where = {"where": 'model == "answer" and tags["client"] == "acme"'}
    headers = {"content-type": "application/json"}
    body = [json.dumps(where).encode()]
    made = ask(service.app, f"{path}/runs", method="POST", headers=headers, body=body)
    assert made.json["version"]["items"] == 30
    coverage = ask(service.app, f"{path}/versions/1/coverage").json
    assert [
        (one["value"], one["runs"], one["run_share"], one["items"]) for one in coverage["slices"]
    ] == [("acme", 30, 0.75, 30), ("beta", 10, 0.25, 0)]
