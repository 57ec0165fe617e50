"""The API call that completes filters."""

from urllib.parse import urlencode

import pytest

from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service

URL = "/api/v1/projects/completion-api/completion"


def test_completion(service: Service) -> None:
    """The API returns completions of a filter, their position, and the number of runs with each."""
    service.store.take("completion-api", make_call(attributes={"otel_ml.tag.client": "bigshot"}))
    asked = {
        "where": 'tags["client"] == "bi',
        "start": "2026-11-01",
        "end": "2026-11-21",
    }
    answered = ask(service.app, f"{URL}?{urlencode(asked)}")
    assert (answered.status, answered.json) == (
        200,
        {
            "start": 18,
            "end": 21,
            "items": [
                {
                    "text": "bigshot",
                    "kind": "value",
                    "count": 1,
                    "insert": '"bigshot"',
                    "about": "",
                }
            ],
        },
    )


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"start": "soon"}, "start"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"where": "x" * 4_001}, "where"),
    ],
    ids=["start", "none", "many", "long"],
)
def test_wrong_parameter(service: Service, asked: dict[str, str], field: str) -> None:
    """The error names a parameter that is out of bounds."""
    answered = ask(service.app, f"{URL}?{urlencode(asked)}")
    assert (answered.status, answered.json["error"]["field"]) == (400, field)
