"""Tests of missing, refused and dropped spans in the API and on pages."""

import time
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from otel_ml_collector.access import OPEN
from otel_ml_collector.loss import LossChecker
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Scope, Span, Value
from otel_ml_collector.times import HOUR_NS, to_rfc3339
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import make_call, make_sign
from tests.support.otel_ml_collector.stores import Service


@cache
def this_hour() -> int:
    """Return the start of the hour in which this module began. Pages use the real clock."""
    return time.time_ns() // HOUR_NS * HOUR_NS


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """Return a service for this module, because the home page shows only the newest projects."""
    return own_service


def number(seq: int, hours_ago: int = 0, process: str = "0000000a") -> Span:
    """Make a call that ended at the start of an hour, with its sequence number."""
    end_ns = this_hour() - hours_ago * HOUR_NS
    attributes: dict[str, Value] = {"otel_ml.process": process, "otel_ml.seq": seq}
    return make_call("answer", attributes, start_ns=end_ns, end_ns=end_ns)


def goodbye(seq: int, process: str = "0000000a", dropped: int = 0) -> Span:
    return make_sign("goodbye", this_hour(), process, seq=seq, dropped=dropped)


def take(service: Service, project: str, *spans: Span) -> None:
    service.store.writer.write(map_spans(spans, Filing(project, this_hour())))


def ask_loss(service: Service, project: str, **parameters: object) -> Any:
    target = f"/api/v1/projects/{quote(project, safe='')}/loss?{urlencode(parameters)}"
    return ask(service.app, target).json


def test_loss(service: Service, project: str) -> None:
    """The API returns received, missing, late and dropped spans by hour and process."""
    late = "0000000b"
    take(service, project, number(2, hours_ago=2), number(4), goodbye(6, dropped=1))
    take(service, project, number(1, 2, late), goodbye(2, late))
    hour, before = to_rfc3339(this_hour()), to_rfc3339(this_hour() - 2 * HOUR_NS)
    answer = ask_loss(service, project, end=to_rfc3339(this_hour() + HOUR_NS))
    on_time = {"refused": 0, "sampled": 0, "late": 0, "dropped": 0}
    was_late = {"refused": 0, "sampled": 0, "late": 1, "dropped": 0}
    assert answer == {
        "start_time": to_rfc3339(this_hour() - 23 * HOUR_NS),
        "end_time": to_rfc3339(this_hour() + HOUR_NS),
        "hours": [
            {
                "hour": hour,
                "process": "0000000a",
                "received": 2,
                "missing": 2,
                "refused": 0,
                "sampled": 0,
                "late": 0,
                "dropped": 1,
            },
            {"hour": hour, "process": late, "received": 1, "missing": 0, **on_time},
            {"hour": before, "process": "0000000a", "received": 1, "missing": 1, **was_late},
            {"hour": before, "process": late, "received": 1, "missing": 0, **was_late},
        ],
        "left_out": 0,
        "totals": {
            "received": 5,
            "missing": 3,
            "refused": 0,
            "sampled": 0,
            "late": 2,
            "dropped": 1,
        },
        "reasons": [],
    }


def refused(answer: Any) -> dict[str, int]:
    return {reason["reason"]: reason["spans"] for reason in answer["reasons"]}


def test_refused(service: Service, project: str) -> None:
    """Refused spans count by reason, and not as missing, until they arrive."""
    old = replace(number(2), start_ns=this_hour() - 500 * 24 * HOUR_NS)
    bad = replace(number(3), span_id=b"bad")
    take(service, project, number(1), old, bad, number(5))
    answer = ask_loss(service, project)
    assert refused(answer) == {"invalid_span_id": 1, "outside_time_window": 1}
    assert (answer["totals"]["missing"], answer["totals"]["refused"]) == (1, 2)
    take(service, project, number(2), number(4))
    answer = ask_loss(service, project)
    assert refused(answer) == {"invalid_span_id": 1}
    assert (answer["totals"]["missing"], answer["totals"]["refused"]) == (0, 1)


def test_refused_and_stored_as_history(service: Service, project: str) -> None:
    """A span refused as too old that arrives again as an import is neither refused nor missing."""
    ended = this_hour() - 500 * 24 * HOUR_NS
    old = replace(number(2), start_ns=ended, end_ns=ended)
    take(service, project, number(1), old, number(3))
    imported = replace(old, scope=Scope({"otel_ml.import": True}, "", "", {}))
    service.store.writer.write(map_spans([imported], Filing(project, this_hour(), OPEN)))
    answer = ask_loss(service, project)
    assert (refused(answer), answer["totals"]["missing"]) == ({}, 0)


def test_refused_without_number(service: Service, project: str) -> None:
    """Refused spans without sequence numbers, from other SDKs, are counted by reason."""
    old = make_call("answer", start_ns=this_hour() - 500 * 24 * HOUR_NS)
    take(service, project, old, old)
    answer = ask_loss(service, project)
    assert (refused(answer), answer["totals"]["refused"]) == ({"outside_time_window": 2}, 0)
    page = ask(service.app, f"/projects/{quote(project, safe='')}").text
    assert "2 spans of the last 24 hours were refused: outside time window" in page


def test_limit(service: Service, project: str) -> None:
    """Rows beyond the limit are counted as left out, and are included in the totals."""
    take(service, project, number(1, 3), number(3, 2), number(5, 1), goodbye(5))
    answer = ask_loss(service, project, limit=1)
    assert (len(answer["hours"]), answer["left_out"], answer["totals"]["missing"]) == (1, 3, 2)


def test_nothing(service: Service, project: str) -> None:
    """A project without sequence numbers has no missing spans."""
    answer = ask_loss(service, project)
    assert (answer["hours"], answer["totals"]) == (
        [],
        {"received": 0, "missing": 0, "refused": 0, "sampled": 0, "late": 0, "dropped": 0},
    )


def test_times(service: Service, project: str) -> None:
    """The result contains every hour that overlaps the requested time range."""
    take(service, project, *(number(seq, 6 - seq) for seq in range(1, 6)))
    answer = ask_loss(
        service,
        project,
        start=to_rfc3339(this_hour() - 3 * HOUR_NS + 1),
        end=to_rfc3339(this_hour() - 2 * HOUR_NS + 1),
    )
    assert [row["hour"] for row in answer["hours"]] == [
        to_rfc3339(this_hour() - hours * HOUR_NS) for hours in (2, 3)
    ]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"start": "2026-01-01T00:00:00Z", "end": "2026-02-02T00:00:00Z"}, "start"),
        ({"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "start"),
        ({"start": "yesterday"}, "start"),
        ({"end": "tomorrow"}, "end"),
        ({"limit": 0}, "limit"),
        ({"limit": 1_001}, "limit"),
    ],
)
def test_bounds(service: Service, parameters: dict[str, object], field: str) -> None:
    """An empty, too long or invalid time range, or a limit out of bounds, is rejected."""
    answer = ask(service.app, f"/api/v1/projects/p/loss?{urlencode(parameters)}")
    assert (answer.status, answer.json["error"]["field"]) == (400, field)


def test_pages(service: Service, project: str) -> None:
    """The home page and the project's page show the missing spans with a link to the API."""
    take(service, project, number(1), goodbye(4))
    service.app.state.services.find(LossChecker).run_pass(time.time_ns())
    address = f"/api/v1/projects/{quote(project)}/loss"
    for page in ("/", f"/projects/{quote(project)}/runs"):
        text = ask(service.app, page).text
        assert "2 spans of the last 24 hours are missing" in text
        assert f'href="{address}"' in text


def test_quiet_page(service: Service, project: str) -> None:
    """A project without missing spans has no such line."""
    take(service, project, number(1), goodbye(2))
    service.app.state.services.find(LossChecker).run_pass(time.time_ns())
    assert (
        "of the last 24 hours are missing" not in ask(service.app, f"/projects/{project}/runs").text
    )
