"""Alerts whose figure moves around its limit, over a real store."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from otel_ml_collector.alerts.history import check_rule, make_unsaved
from otel_ml_collector.alerts.rule import WantedAlert
from otel_ml_collector.span import Span
from otel_ml_collector.store.alerts import read_alert_rows
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS
from tests.store.otel_ml_collector.alerts.test_evaluation import END_NS, Told, call, look
from tests.support.otel_ml_collector.alerts.world import targets_of
from tests.support.otel_ml_collector.spans import MS_NS, make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

RULE: Final[dict[str, Any]] = {
    "when": "error_share > 0.3",
    "by": 'tags["client"]',
    "every": "1h",
    "min_runs": 10,
    "notify": ["oncall"],
}
# Failed runs of 20 in each of 36 hours, which are bad from 7 on. Never three good hours in a row.
AROUND: Final = (7, 7, 6, 6, 7, 6, 8, 7, 6, 6, 7, 7) * 3
# Now 2 of 20 fail. That is better than 5.6 of 20, a tenth of the way from the limit of 6 to the
# usual 2.
AFTER: Final = (2, 2, 7, 2)


def make_hour(hour: int, client: str, failed: int | None) -> list[Span]:
    """Make a client's 20 runs of the hour that begins `hour` hours before the end; None for 0."""
    start_ns = END_NS - hour * HOUR_NS
    return [
        make_call(
            "answer",
            {"otel_ml.model.version": "v1", "otel_ml.tag.client": client},
            start_ns=start_ns + place * MINUTE_NS,
            end_ns=start_ns + place * MINUTE_NS + 100 * MS_NS,
            status_code=2 if place < failed else 0,
        )
        for place in range(0 if failed is None else 20)
        if failed is not None
    ]


def take(service: Service, project: str, usual: int, course: tuple[int | None, ...]) -> None:
    """Store a week with an hour of runs every six hours, and then a course of whole hours."""
    spans: list[Span] = []
    for hour in range(len(course) + 1, len(course) + 7 * 24, 6):
        spans += make_hour(hour, "Remax", usual)
    for place, failed in enumerate(course):
        spans += make_hour(len(course) - place, "Remax", failed)
        spans += make_hour(len(course) - place, "Century", 1)
    service.store.take(project, *spans)


def follow(service: Service, project: str, hours: int) -> list[str]:
    """Evaluate each hour with a new evaluator, as after a restart, and return the messages."""
    told = Told(project)
    for hour in range(hours - 1, -1, -1):
        look(service, told, END_NS - hour * HOUR_NS + 5 * MINUTE_NS)
    return told.lines


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector without runs."""
    path = tmp_path_factory.mktemp("ends")
    with open_service(path, alert_targets=targets_of("oncall")) as service:
        yield service


def count_firings(service: Service, project: str, days: int = 2, **changes: str) -> int:
    rule = make_unsaved(WantedAlert.model_validate({**RULE, **changes}))
    span_ns = END_NS - days * DAY_NS, END_NS + MINUTE_NS
    history = check_rule(service.store.reader, project, rule, *span_ns, budget_s=600)
    return len(history.firings)


@at_night
def test_around_the_limit(service: Service) -> None:
    """A figure that moves around its limit for 36 hours sends one message and one end."""
    course = AROUND + AFTER
    take(service, "around", 2, course)
    call(service, "PUT", "around/alerts/a", RULE)
    assert follow(service, "around", len(course)) == ["firing Remax", "resolved Remax"]
    # Checking the rule on past runs finds the same, whether or not it begins with the quiet week.
    assert count_firings(service, "around") == count_firings(service, "around", 9) == 1
    assert count_firings(service, "around", keep="0s") > 3
    call(service, "DELETE", "around/alerts/a")


@at_night
def test_one_process(service: Service) -> None:
    """An evaluator that catches up all hours at once sends the same."""
    course = AROUND + AFTER
    take(service, "once", 2, course)
    call(service, "PUT", "once/alerts/a", RULE)
    told = Told("once")
    for hour in (len(course) - 1, len(AFTER), 0):
        look(service, told, END_NS - hour * HOUR_NS + 5 * MINUTE_NS)
    assert told.lines == ["firing Remax", "resolved Remax"]
    call(service, "DELETE", "once/alerts/a")


@sampled(1)
@pytest.mark.parametrize(
    ("name", "usual", "course", "lines"),
    [
        ("far", 2, (7, 7, 5), ["firing Remax", "resolved Remax"]),
        ("near", 2, (7, 7, 6), ["firing Remax"]),
        ("bad-median", 9, (9, 9, 2, 2), ["firing Remax"]),
        ("bad-median-end", 9, (9, 9, 2, 2, 2), ["firing Remax", "resolved Remax"]),
        ("gap", 2, (7, 7, 6, None, None, 6), ["firing Remax"]),
        ("gap-end", 2, (7, 7, 6, None, None, 6, 6), ["firing Remax", "resolved Remax"]),
        ("silence", 2, (7, 7, None, None), ["firing Remax"]),
        ("silence-end", 2, (7, 7, None, None, None), ["firing Remax", "resolved Remax"]),
    ],
)
def test_ends(
    service: Service, name: str, usual: int, course: tuple[int | None, ...], lines: list[str]
) -> None:
    """An alert ends by three good hours, by a far one, or by three hours without runs."""
    take(service, name, usual, course)
    call(service, "PUT", f"{name}/alerts/a", RULE)
    assert follow(service, name, len(course)) == lines
    call(service, "DELETE", f"{name}/alerts/a")


@at_night
def test_week_is_measured_once(service: Service) -> None:
    """The usual value of an alert is found once, and stays on disk with its state."""
    take(service, "median", 2, (7, 7, 6, 6))
    call(service, "PUT", "median/alerts/a", RULE)
    follow(service, "median", 4)
    [row] = [row for row in read_alert_rows(service.store.reader, "median") if "Remax" in row.slice]
    assert (row.state, row.body["usual"], row.body["usual_ns"]) == ("firing", 0.1, row.since_ns)
    call(service, "DELETE", "median/alerts/a")
