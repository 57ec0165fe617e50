"""Alert rules on the daily budget of a rubric judge."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from otel_ml_collector.alerts.history import check_rule, make_unsaved
from otel_ml_collector.alerts.rule import WantedAlert
from otel_ml_collector.judge_budget import RUBRIC_JUDGE
from otel_ml_collector.judges.rubric_judge import WantedRubricJudge, write_rubric_body
from otel_ml_collector.span import Value
from otel_ml_collector.store.documents import Documents
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS
from otel_ml_collector.wording import THIN
from tests.store.otel_ml_collector.alerts.test_evaluation import Told, call, look
from tests.support.otel_ml_collector.alerts.world import targets_of
from tests.support.otel_ml_collector.spans import NOW_NS, make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import sampled

# Midnight, UTC.
DAY_END_NS: Final = NOW_NS // DAY_NS * DAY_NS
USED_AT_NS: Final = DAY_END_NS - 2 * HOUR_NS
STOPPED: Final = {
    "when": 'budget_used("polite") >= 1',
    "window": "5m",
    "hold": "1 of 1",
    "notify": ["oncall"],
}


def judge_calls(times_ns: list[int], cost: float) -> list[Any]:
    """Make one call of the judge's model at each of the given times."""
    facts: dict[str, Value] = {
        "otel_ml.kind": "judge",
        "otel_ml.judging": "polite",
        "otel_ml.judging.run": "0" * 32 + "-" + "0" * 16,
        "gen_ai.operation.name": "chat",
        "gen_ai.usage.cost": cost,
    }
    return [make_call("chat small", facts, start_ns=at_ns, end_ns=at_ns + 1) for at_ns in times_ns]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a service whose judge made four $0.50 calls in one day, the last 2 h before midnight."""
    folder = tmp_path_factory.mktemp("budgets")
    with open_service(folder, alert_targets=targets_of("oncall")) as service:
        times_ns = [USED_AT_NS - place * HOUR_NS for place in range(4)]
        limits: dict[str, Any] = {"calls": {"calls_per_day": 4}, "dollars": {"dollars_per_day": 2}}
        for project, limit in limits.items():
            service.store.take(project, *judge_calls(times_ns, 0.5))
            wanted = WantedRubricJudge(
                instruction="Is it polite?", model="small", connection="here", is_on=True, **limit
            )
            body = write_rubric_body(wanted, None, DAY_END_NS - DAY_NS)
            documents = Documents(service.store.connections)
            documents.save(service.store.reader, project, RUBRIC_JUDGE, "polite", body)
        yield service


@sampled(1)
@pytest.mark.parametrize("project", ["calls", "dollars"])
def test_used_up(service: Service, project: str) -> None:
    """An alert fires once when the budget is used up, and is resolved on the next day."""
    assert call(service, "PUT", f"{project}/alerts/stopped", STOPPED)["status"] == 200
    told = Told(project)
    minutes = [-150, -121, -118, -60, -10, -1, 2, 4, 30, 600]
    lines = []
    for minute in minutes:
        look(service, told, DAY_END_NS + minute * MINUTE_NS)
        lines.append(len(told.notifications))
    assert [item.status for item in told.notifications.values()] == ["firing", "resolved"]
    assert lines == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    firing = next(iter(told.notifications.values()))
    [part] = firing.slices
    assert part.text == f'judge "polite" has used 100{THIN}% of its daily budget'
    assert part.path.startswith(f"/projects/{project}/judge-rubric?edit=polite")
    assert firing.annotations["summary"] == (
        f'Judge "polite" has used 100{THIN}% of its daily budget (limit 100{THIN}%)'
    )


@sampled(3)
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"where": 'model == "answer"'}, "where"),
        ({"by": 'tags["client"]'}, "by"),
        ({"when": 'budget_used("polite") >= 1 and runs > 0'}, "when"),
        ({"when": 'budget_used("polite") > previous("1d")'}, "when"),
        ({"when": 'surely(budget_used("polite") >= 1)'}, "when"),
    ],
    ids=["where", "by", "runs", "previous", "surely"],
)
def test_budget_of_runs(service: Service, changes: dict[str, Any], field: str) -> None:
    """A budget rule with filters, groups or run figures is refused: budgets belong to judges."""
    answered = call(service, "PUT", "calls/alerts/wrong", {**STOPPED, **changes})
    assert (answered["status"], answered["error"]["field"]) == (400, field), answered


def test_past(service: Service) -> None:
    """Checking a rule reports when it would have fired."""
    rule = {**STOPPED, "window": "1h", "every": "1h"}
    unsaved = make_unsaved(WantedAlert.model_validate(rule))
    now_ns = DAY_END_NS + DAY_NS
    history = check_rule(service.store.reader, "calls", unsaved, now_ns - 30 * DAY_NS, now_ns)
    assert [firing.hours for firing in history.firings] == [2.0]


def test_unknown_judge(service: Service) -> None:
    """Checking a rule on an unknown judge returns 404 and names the judge."""
    rule = {**STOPPED, "when": 'budget_used("other") >= 1'}
    answered = call(service, "POST", "calls/alert-check?since=1d", rule)
    assert (answered["status"], answered["error"]["message"]) == (
        404,
        "There is no rubric judge 'other'",
    )
