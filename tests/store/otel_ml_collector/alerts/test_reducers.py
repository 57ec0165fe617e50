"""Raymon's reducers as alert rules: checks by slice, "k of last n checks", mutes by slice."""

import json
import re
from collections.abc import Iterator
from typing import Final

import pytest

from otel_ml.compat.raymon.api import to_filter
from otel_ml_collector.alerts.rule import WantedAlert, make_plan
from otel_ml_collector.span import Span
from otel_ml_collector.store.alerts import read_alert_rows
from otel_ml_collector.times import HOUR_NS, MINUTE_NS
from tests.store.otel_ml_collector.alerts.test_evaluation import END_NS, Told, call, look
from tests.support.folders import ROOT
from tests.support.otel_ml_collector.alerts.world import targets_of
from tests.support.otel_ml_collector.spans import SECOND_NS, make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night

PAGE: Final = ROOT / "docs/how-to/from-raymon.md"
# Raymon's syntax for a slice.
SLICE: Final = "client==Remax && app==v1.0.0"
# The last checks of each slice, oldest first; b is bad.
CHECKS: Final = {
    ("Remax", "v1.0.0"): "bbb",
    ("Remax", "v1.1.0"): "b.b",
    ("Century", "v1.0.0"): "b..",
    ("Century", "v1.1.0"): "..b",
}
RULE: Final = {
    "when": "error_share > 0.2",
    "window": "1h",
    "every": "1h",
    "by": ['tags["client"]', 'tags["app"]'],
    "hold": "2 of 3",
    "keep": "0s",
    "min_runs": 10,
    "notify": ["slack"],
}


def make_runs() -> Iterator[Span]:
    """Make three hours of each slice; in a bad one every second run fails."""
    for (client, app), checks in CHECKS.items():
        for hour, check in enumerate(checks):
            for place in range(20):
                start_ns = END_NS - (3 - hour) * HOUR_NS + place * MINUTE_NS
                yield make_call(
                    "predict",
                    {"otel_ml.tag.client": client, "otel_ml.tag.app": app},
                    start_ns=start_ns,
                    end_ns=start_ns + SECOND_NS,
                    status_code=2 if check == "b" and place % 2 else 0,
                )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(
        tmp_path_factory.mktemp("reducers"), alert_targets=targets_of("slack")
    ) as opened:
        for project in ("checked", "narrowed"):
            opened.store.take(project, *make_runs())
        yield opened


def look_thrice(service: Service, project: str) -> Told:
    """Evaluate a project's rules after each of the three hours."""
    told = Told(project)
    for hour in (2, 1, 0):
        look(service, told, END_NS - hour * HOUR_NS + 5 * MINUTE_NS)
    return told


def test_k_of_last_n_checks(service: Service) -> None:
    """A slice with 2 bad checks of its last 3 is announced, unless the slice is muted."""
    assert call(service, "PUT", "checked/alerts/errors", RULE)["status"] == 200
    mute = {
        "rule": "errors",
        "where": to_filter(SLICE),
        "until": "2100-01-01T00:00:00Z",
        "who": "mira",
        "why": "Remax sends test data",
    }
    assert call(service, "POST", "checked/mutes", mute)["status"] == 200
    told = look_thrice(service, "checked")
    assert [
        (item.status, [part.labels for part in item.slices]) for item in told.notifications.values()
    ] == [("firing", [{"client": "Remax", "app": "v1.1.0"}])]
    states = {
        tuple(json.loads(row.slice)): row.state
        for row in read_alert_rows(service.store.reader, "checked")
        if row.slice
    }
    assert states == {
        ("Remax", "v1.0.0"): "firing",
        ("Remax", "v1.1.0"): "firing",
        ("Century", "v1.0.0"): "pending",
        ("Century", "v1.1.0"): "pending",
    }
    [alert] = call(service, "GET", "checked/alerts")["alerts"]
    muted = {part["name"]: part["muted"] for part in alert["slices"] if part["muted"]}
    assert [*muted] == ["client = Remax and app = v1.0.0"]
    [by] = muted.values()
    assert (by["who"], by["why"]) == ("mira", "Remax sends test data")


@at_night
def test_rule_of_one_slice(service: Service) -> None:
    """A filter in Raymon's slice syntax limits a rule to the runs of that slice."""
    rule = {**RULE, "where": to_filter(SLICE), "by": []}
    assert call(service, "PUT", "narrowed/alerts/errors", rule)["status"] == 200
    told = look_thrice(service, "narrowed")
    [notification] = told.notifications.values()
    [alerted] = notification.slices
    assert (notification.status, alerted.value) == ("firing", 0.5)


def test_words_of_the_page() -> None:
    """The page for Raymon users shows a valid rule that replaces a reducer."""
    [row] = [line for line in PAGE.read_text().splitlines() if "profile_reducer" in line]
    assert '"k of last n checks", muted by slice' in row
    words = dict(re.findall(r"`(\w+) = [\"'](.+?)[\"']`", row))
    assert words.keys() == {"where", "when", "window", "hold", "by"}
    plan = make_plan(WantedAlert.model_validate(words))
    assert plan.hold == (2, 3)
    assert plan.window_ns == HOUR_NS
    assert [figure.name for figure in plan.condition.figures] == ["drift"]
