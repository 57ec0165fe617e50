"""Alert rules over a real store: evaluating windows, storing states and sending notifications."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html import unescape
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from otel_ml_collector.alerts.evaluation import AlertEvaluator
from otel_ml_collector.alerts.find import find_changes_of
from otel_ml_collector.alerts.history import check_rule, make_unsaved
from otel_ml_collector.alerts.notification import Notification
from otel_ml_collector.alerts.rule import WantedAlert, read_file_alerts
from otel_ml_collector.errors import BadSetting
from otel_ml_collector.span import Scope, Span
from otel_ml_collector.store.alerts import read_alert_events, read_alert_rows
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, to_rfc3339
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.support.otel_ml_collector.alerts.world import targets_of
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS, make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

# The end of the newest window, on a whole hour.
END_NS: Final = NOW_NS // HOUR_NS * HOUR_NS
RULE: Final = {
    "where": 'model == "answer"',
    "when": 'pass_rate("grounded") < 0.8',
    "window": "1h",
    "every": "1h",
    "by": 'tags["client"]',
    "hold": "2 of 3",
    "keep": "0s",
    "min_runs": 10,
    "severity": "page",
    "notify": ["oncall"],
    "annotations": {"summary": "{{ by }}: {{ value }} over {{ window }}"},
}


def make_hour(
    hour: int, client: str, passed: int, *, version: str = "j1", last_ns: int = END_NS
) -> list[Span]:
    """Make a client's 20 runs of one hour, which starts `hour` hours before `last_ns`."""
    spans: list[Span] = []
    for place in range(20):
        start_ns = last_ns - hour * HOUR_NS + place * MINUTE_NS
        run = make_call(
            "answer",
            {
                "otel_ml.model.version": "v1",
                "otel_ml.tag.client": client,
                "otel_ml.inputs": '{"question": "why"}' if place else "{}",
            },
            start_ns=start_ns,
            end_ns=start_ns + (100 + 10 * place) * MS_NS,
            status_code=2 if place < 2 else 0,
        )
        spans += [run, say(run, version, float(place < passed))]
    return spans


@dataclass
class Told:
    """Collect a project's notifications, each state change once, as delivery does."""

    project: str
    notifications: dict[str, Notification] = field(default_factory=dict)
    withdrawn: list[str] = field(default_factory=list)

    def announce(self, notification: Notification) -> None:
        if notification.project == self.project:
            self.notifications.setdefault(notification.id, notification)

    def withdraw(self, project: str, rule: str) -> None:
        if project == self.project:
            self.withdrawn.append(rule)

    @property
    def lines(self) -> list[str]:
        return [
            f"{item.status} {','.join(part.labels.get('client', '') for part in item.slices)}"
            for item in self.notifications.values()
        ]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector with five hours of two clients; Remax fails in hours 3 and 2 only."""
    with open_service(
        tmp_path_factory.mktemp("alerts"), alert_targets=targets_of("oncall")
    ) as service:
        spans = [tell("j1")]
        for hour, passed in ((5, 20), (4, 18), (3, 8), (2, 9), (1, 19)):
            spans += [*make_hour(hour, "Remax", passed), *make_hour(hour, "Century", 19)]
        for project in ("p", "q", "r", "s"):
            service.store.take(project, *spans)
        yield service


def call(service: Service, method: str, path: str, body: object = None) -> Any:
    answered = ask(
        service.app,
        f"/api/v1/projects/{path}",
        method=method,
        headers={"content-type": "application/json"} if body is not None else None,
        body=(b"" if body is None else json.dumps(body).encode(),),
    )
    return {**answered.json, "status": answered.status}


def look(service: Service, told: Told, now_ns: int) -> AlertEvaluator:
    """Evaluate all rules at a given time with a new evaluator, like a process that just started."""
    evaluator = AlertEvaluator(
        service.store.reader, service.store.connections, told, clock=lambda: now_ns
    )
    evaluator.evaluate()
    return evaluator


def test_course(service: Service) -> None:
    """A slice fires once enough windows are bad, then resolves; each change is announced once."""
    assert call(service, "PUT", "p/alerts/grounded%20falls", RULE)["version"] == 1
    told = Told("p")
    states = []
    for hour in (4, 3, 2, 1, 0):
        now_ns = END_NS - hour * HOUR_NS + 5 * MINUTE_NS
        for _ in range(2):  # a second evaluation, like one after a kill, changes nothing
            look(service, told, now_ns)
        rows = {row.slice: row.state for row in read_alert_rows(service.store.reader, "p")}
        states.append((rows['["Remax"]'], rows['["Century"]']))
    assert states == [
        ("inactive", "inactive"),
        ("inactive", "inactive"),
        ("pending", "inactive"),
        ("firing", "inactive"),
        ("firing", "inactive"),
    ]
    assert told.lines == ["firing Remax"]
    [notification] = told.notifications.values()
    assert notification.annotations == {"summary": "Remax: 45\u202f% over 1h"}
    assert (notification.severity, notification.notify) == ("page", ("oncall",))
    events = read_alert_events(service.store.reader, "p", 0, "grounded falls")
    assert [(event.state, event.before) for event in events] == [
        ("firing", "pending"),
        ("pending", "inactive"),
    ]
    changes = find_changes_of(service.store.reader, "p", 0, "grounded falls")
    assert [(change.slice, change.state) for change in changes] == [
        ("client = Remax", "firing"),
        ("client = Remax", "pending"),
    ]
    state = call(service, "GET", "p/alerts")["alerts"][0]
    assert (state["state"], state["firing"], state["slices"][0]["name"]) == (
        "firing",
        1,
        "client = Remax",
    )
    assert state["slices"][0]["where"] == 'model == "answer" and tags["client"] == "Remax"'


def test_failed_run_without_score(service: Service) -> None:
    """A rule on scores fires as soon as the window ends, even if a failed run has no score."""
    call(service, "PUT", "fails/alerts/a", {**RULE, "hold": "1 of 1"})
    failed, _, *others = make_hour(1, "Remax", 5)
    service.store.take("fails", tell("j1"), failed, *others)
    told = Told("fails")
    look(service, told, END_NS + MINUTE_NS)
    assert told.lines == ["firing Remax"]
    call(service, "DELETE", "fails/alerts/a")


@at_night
@pytest.mark.parametrize(("name", "is_import"), [("live", False), ("history", True)])
def test_imported_runs(service: Service, name: str, is_import: bool) -> None:
    """Imported past runs never fire an alert, although live runs with the same values do.

    Checking the rule still reports when it would have fired, including imported runs.
    """
    spans = [*make_hour(2, "Remax", 8), *make_hour(3, "Remax", 8)]
    if is_import:
        scope = Scope({"otel_ml.import": "table"}, "", "", {})
        spans = [replace(span, scope=scope) for span in spans]
    rule = {**RULE, "window": "1d", "hold": "1 of 1", "when": "error_share > 0.05"}
    drifted = {**rule, "when": "missing(inputs.question) > 0.01"}
    for key, body in (("fails", rule), ("gaps", drifted)):
        call(service, "PUT", f"{name}/alerts/{key}", body)
    told = Told(name)
    look(service, told, END_NS - HOUR_NS + 5 * MINUTE_NS)
    service.store.take(name, tell("j1"), *spans)
    look(service, told, END_NS + 5 * MINUTE_NS)
    fired = {item.rule for item in told.notifications.values()}
    assert fired == (set() if is_import else {"fails", "gaps"})
    unsaved = make_unsaved(WantedAlert.model_validate(rule))
    span_ns = END_NS - 6 * HOUR_NS, END_NS + MINUTE_NS
    history = check_rule(service.store.reader, name, unsaved, *span_ns)
    assert [firing.slice for firing in history.firings] == ["client = Remax"]


def test_changed(service: Service) -> None:
    """A changed rule starts with a new state, and the alerts it had fired are resolved."""
    rule = {**RULE, "hold": "1 of 1"}
    call(service, "PUT", "q/alerts/a", rule)
    told = Told("q")
    look(service, told, END_NS - HOUR_NS + MINUTE_NS)
    call(service, "PUT", "q/alerts/a", {**rule, "when": 'pass_rate("grounded") < 0.1'})
    look(service, told, END_NS - HOUR_NS + 2 * MINUTE_NS)
    look(service, told, END_NS - HOUR_NS + 3 * MINUTE_NS)
    assert told.lines == ["firing Remax", "resolved Remax"]
    call(service, "DELETE", "q/alerts/a")


def test_muted(service: Service) -> None:
    """A muted alert is still evaluated and shown, but not sent."""
    call(service, "PUT", "r/alerts/a", {**RULE, "hold": "1 of 1"})
    mute = {
        "rule": "a",
        "where": 'client == "Remax"',
        "until": "2100-01-01T00:00:00Z",
        "who": "mira",
        "why": "known",
    }
    refused = call(service, "POST", "r/mutes", {**mute, "where": 'clint == "Remax"'})
    assert refused["error"]["message"] == "Unknown label 'clint': did you mean client?"
    name = call(service, "POST", "r/mutes", mute)["name"]
    told = Told("r")
    look(service, told, END_NS - HOUR_NS + MINUTE_NS)
    assert (told.lines, told.withdrawn) == ([], ["a"])
    state = call(service, "GET", "r/alerts")["alerts"][0]
    assert (state["state"], state["is_muted"]) == ("firing", True)
    assert state["slices"][0]["muted"]["why"] == "known"
    assert call(service, "DELETE", f"r/mutes/{name}")["status"] == 200
    look(service, told, END_NS - HOUR_NS + 2 * MINUTE_NS)
    assert told.lines == ["firing Remax"]
    call(service, "DELETE", "r/alerts/a")
    look(service, told, END_NS - HOUR_NS + 3 * MINUTE_NS)
    assert told.lines == ["firing Remax", "resolved Remax"]


@at_night
def test_versions_of_a_mute(service: Service) -> None:
    """Saving a mute again adds a version, and earlier versions can still be read."""
    call(service, "PUT", "m/alerts/a", {**RULE, "hold": "1 of 1"})
    service.store.take("m", tell("j1"), *make_hour(1, "Remax", 5), *make_hour(1, "Century", 5))
    mutes = [
        {"rule": "a", "where": where, "until": until, "who": who, "why": why}
        for where, until, who, why in (
            ('client == "Remax"', "2100-01-01T00:00:00Z", "mira", "known since Monday"),
            ('client == "Century"', "2101-01-01T00:00:00Z", "tom", "it was the other one"),
        )
    ]
    saved = [call(service, "PUT", "m/mutes/known", mute) for mute in mutes]
    assert [mute["version"] for mute in saved] == [1, 2]
    for version, mute in enumerate(mutes, 1):
        stored = call(service, "GET", f"m/mutes/known?version={version}")
        assert {name: stored[name] for name in mute} == mute
        assert (stored["name"], stored["version"]) == ("known", version)
        assert stored["saved_time"] == saved[version - 1]["saved_time"]
        assert [before["who"] for before in stored["earlier"]] == ["mira"][: version - 1]
    assert call(service, "GET", "m/mutes/known") == saved[1]
    [listed] = call(service, "GET", "m/mutes")["mutes"]
    assert (listed["version"], [before["why"] for before in listed["earlier"]]) == (
        2,
        ["known since Monday"],
    )
    refused = call(service, "PUT", "m/mutes/known?base=1", mutes[0])
    assert refused["status"] == 409
    assert "newest version of the mute 'known' is 2, not 1" in refused["error"]["message"]
    assert call(service, "GET", "m/mutes/known?version=3")["status"] == 404
    # Only the newest version decides which slice is muted.
    told = Told("m")
    look(service, told, END_NS + MINUTE_NS)
    assert told.lines == ["firing Remax"]
    for hour in range(2, 14):
        mute = {**mutes[0], "until": f"2100-01-01T{hour:02}:00:00Z"}
        newest = call(service, "PUT", "m/mutes/known", mute)
    assert [before["version"] for before in newest["earlier"]] == [*range(13, 3, -1)]
    call(service, "DELETE", "m/alerts/a")
    assert call(service, "DELETE", "m/mutes/known")["version"] == 14
    assert call(service, "GET", "m/mutes/known?version=14")["status"] == 404


def test_check(service: Service) -> None:
    """Checking a rule reports when it would have fired, without storing a state."""
    rule = make_unsaved(WantedAlert.model_validate({**RULE, "hold": "1 of 1"}))
    history = check_rule(service.store.reader, "s", rule, END_NS - 6 * HOUR_NS, END_NS + MINUTE_NS)
    assert [(firing.slice, firing.hours, firing.worst) for firing in history.firings] == [
        ("client = Remax", 2.0, 0.4)
    ]
    assert (history.windows, history.judged, history.bad, history.brief) == (7, 10, 2, 0)
    words = [point.word for point in history.slices[0].points]
    assert words == ["good", "good", "bad", "bad", "good"]
    assert read_alert_rows(service.store.reader, "s") == []


def test_check_that_takes_too_long(service: Service) -> None:
    """If time runs out, only the newest windows are checked; the sentence names the period."""
    wanted = {**RULE, "hold": "1 of 1", "window": "30m", "every": "30m"}
    rule = make_unsaved(WantedAlert.model_validate(wanted))
    reader, now_ns = service.store.reader, END_NS + MINUTE_NS
    whole = check_rule(reader, "s", rule, now_ns - 7 * DAY_NS, now_ns, budget_s=600)
    assert whole.week.is_complete
    assert whole.week.sentence == whole.sentence
    assert (whole.fired, re.findall(r"\d+", whole.sentence)) == (2, ["2", "1", "7"])
    part = check_rule(reader, "s", rule, now_ns - 7 * DAY_NS, now_ns, budget_s=0)
    assert (part.windows, part.fired, part.week.is_complete) == (48, 2, False)
    first, second = part.sentence.split(". ")
    assert re.findall(r"\d+ ?\w*", first) == ["2 times", "24 hours"]
    assert "not checked" in second


def test_saved(service: Service) -> None:
    """The response to saving a rule reports how often it would have fired in the last 7 days."""
    now_ns = time.time_ns() // HOUR_NS * HOUR_NS
    spans = [tell("j1"), *make_hour(20, "Remax", 20, last_ns=now_ns)]
    spans += make_hour(16, "Remax", 0, last_ns=now_ns) + make_hour(2, "Remax", 0, last_ns=now_ns)
    service.store.take("saved", *spans, now_ns=now_ns)
    wanted = {**RULE, "hold": "1 of 1"}
    past = call(service, "PUT", "saved/alerts/a", wanted)["past"]
    assert past["fired"] == 2
    assert " 2 times " in past["sentence"]
    never = {**wanted, "when": "error_share > 0.9"}
    past = call(service, "PUT", "saved/alerts/b", never)["past"]
    assert (past["fired"], "not have fired" in past["sentence"]) == (0, True)
    past = call(service, "PUT", "saved/alerts/c", {**wanted, "min_runs": 1_000})["past"]
    assert "have fired" not in past["sentence"]
    unknown = {**wanted, "when": 'accuracy("x") < 0.9'}
    past = call(service, "PUT", "saved/alerts/d", unknown)["past"]
    assert past["sentence"].startswith("Past runs could not be checked: ")
    for name in "abcd":
        call(service, "DELETE", f"saved/alerts/{name}")


@sampled(1)
@pytest.mark.parametrize(
    ("when", "sentence"),
    [
        (
            'pass_rate("groundd") < 0.9',
            'The project has no judge or score "groundd" yet: did you mean grounded?',
        ),
        ('share(tags["cleint"] == "Remax") > 0.9', 'No recent run has the tag "cleint".'),
        ('share(not passed["nope"]) > 0.1', 'The project has no judge or score "nope" yet'),
        ('worse("truth price")', 'The project has no ground truth "price" yet.'),
        ('pass_rate("grounded") < 0.1', ""),
        ('share(tags["client"] == "Remax") > 2', ""),
    ],
)
def test_unknown_name(service: Service, when: str, sentence: str) -> None:
    """A rule with an unknown judge or tag is saved, and the response names it."""
    now_ns = time.time_ns() // HOUR_NS * HOUR_NS
    service.store.take(
        "names", tell("j1"), *make_hour(2, "Remax", 20, last_ns=now_ns), now_ns=now_ns
    )
    saved = call(service, "PUT", "names/alerts/a", {**RULE, "when": when})
    past = saved["past"]
    assert saved["status"] == 200
    assert sentence in "".join(past["unknown"])
    assert bool(past["unknown"]) == bool(sentence)
    assert sentence in past["sentence"]
    assert "min_runs" not in past["sentence"]
    query = urlencode({"when": when, "window": "1h", "where": RULE["where"]})
    shown = ask(service.app, f"/projects/names/alert-past?{query}").text
    assert sentence in unescape(shown)
    call(service, "DELETE", "names/alerts/a")


@sampled(1)
@pytest.mark.parametrize(
    "wrong", [{"where": 'tags["cleint"] == "Remax"'}, {"by": 'tags["cleint"]'}]
)
def test_unknown_tag(service: Service, wrong: dict[str, str]) -> None:
    """An unknown tag is reported, also if the rule filters or groups by it."""
    now_ns = time.time_ns() // HOUR_NS * HOUR_NS
    service.store.take(
        "tags", tell("j1"), *make_hour(2, "Remax", 20, last_ns=now_ns), now_ns=now_ns
    )
    past = call(service, "PUT", "tags/alerts/a", {**RULE, **wrong})["past"]
    assert past["unknown"] == ['No recent run has the tag "cleint".']
    assert past["sentence"].endswith(past["unknown"][0])
    call(service, "DELETE", "tags/alerts/a")


@at_night
def test_saved_from_the_file(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """The log has the same sentence once for each rule from the configuration file."""
    alerts = read_file_alerts([{"name": "filed", "project": "s", **RULE, "hold": "1 of 1"}])
    evaluator = AlertEvaluator(
        service.store.reader, service.store.connections, Told("s"), alerts, lambda: END_NS
    )
    with caplog.at_level("INFO", logger="otel_ml_collector.alerts.evaluation"):
        evaluator.evaluate()
        evaluator.evaluate()
    lines = [record.getMessage() for record in caplog.records if "filed" in record.getMessage()]
    [line] = lines
    assert line.startswith("Alert rule 'filed' of project s: ")
    assert " once " in line
    AlertEvaluator(
        service.store.reader, service.store.connections, Told("s"), [], lambda: END_NS
    ).evaluate()


@at_night
def test_two_processes(service: Service) -> None:
    """A second process repeats no notification of the first, and reports that others run."""
    call(
        service,
        "PUT",
        "s/alerts/a",
        {**RULE, "hold": "1 of 1", "when": 'pass_rate("grounded") < 0.99'},
    )
    told = Told("s")
    now_ns = END_NS + 30 * MINUTE_NS
    first = AlertEvaluator(
        service.store.reader, service.store.connections, told, clock=lambda: now_ns
    )
    second = AlertEvaluator(
        service.store.reader, service.store.connections, told, clock=lambda: now_ns - 1
    )
    first.evaluate()
    second.evaluate()
    assert (first.numbers.has_others, second.numbers.has_others) == (False, True)
    # An evaluator that started after both may be the same process, restarted.
    third = AlertEvaluator(
        service.store.reader, service.store.connections, told, clock=lambda: now_ns + 1
    )
    third.evaluate()
    assert not third.numbers.has_others
    assert told.lines == ["firing Century,Remax"]
    events = read_alert_events(service.store.reader, "s", 0, "a")
    assert [event.state for event in events] == ["firing", "firing"]
    call(service, "DELETE", "s/alerts/a")


def test_file(service: Service) -> None:
    """Rules from the configuration file exist after the first evaluation and only change there."""
    alerts = read_file_alerts([{"name": "filed", "project": "file", **RULE}])
    for wanted in (alerts, []):
        AlertEvaluator(
            service.store.reader, service.store.connections, Told("file"), wanted, lambda: END_NS
        ).evaluate()
        names = [item["rule"]["name"] for item in call(service, "GET", "file/alerts")["alerts"]]
        assert names == [alert.name for alert in wanted]
        if wanted:
            assert call(service, "PUT", "file/alerts/filed", RULE)["status"] == 409


@sampled(3)
@pytest.mark.parametrize(
    ("part", "field", "column"),
    [
        ({"when": "error_shar > 1"}, "when", 0),
        ({"when": "share(latenc_ms > 3) > 0.1"}, "when", 6),
        ({"when": "p90(model) > 3"}, "when", 4),
        ({"when": "surely(runs > 3)"}, "when", 0),
        ({"when": "surely(max(latency_ms) > 3)"}, "when", 0),
        ({"when": "surely(error_share > 3)"}, "when", 0),
        ({"when": "runs > 1 and drift(inputs.a) > 0.1", "by": []}, "window", None),
        ({"where": "modl == 3"}, "where", 0),
        ({"window": "10s"}, "window", None),
        ({"hold": "4 of 3"}, "hold", None),
        ({"by": "session"}, "by", None),
        ({"annotations": {"a": "{{ env }}"}}, "annotations", None),
        ({"annotations": {"a": "{{ by.__class__ }}"}}, "annotations", None),
    ],
)
def test_refused(service: Service, part: Any, field: str, column: int | None) -> None:
    """An invalid rule is refused with the field that is wrong, and its column."""
    rule = {**RULE, **part}
    if field == "window" and "drift" in rule["when"]:
        rule["window"] = rule["every"] = "2h"
    answered = call(service, "PUT", "p/alerts/wrong", rule)
    assert answered["status"] in {400, 422}
    assert field in str(answered["error"])
    if column is not None:
        assert answered["error"]["column"] == column


@sampled(1)
@pytest.mark.parametrize(
    ("when", "expected"),
    [
        # Runs take 195 ms on average. Their mean is certainly above 100, but not certainly above
        # 190.
        ("surely(mean(latency_ms) > 100)", ["bad", "bad", "bad", "bad", "bad"]),
        ("surely(mean(latency_ms) > 190)", ["good", "good", "good", "good", "good"]),
        ("mean(latency_ms) > 190", ["bad", "bad", "bad", "bad", "bad"]),
        # Of the 20 scores per window, 20, 18, 8, 9 and 19 are 1. The first window shows the range.
        ('surely(mean_score("grounded") < 0.8)', ["good", "good", "good", "bad", "good"]),
        ('surely(mean_score("grounded") < 0.3)', ["good", "good", "good", "good", "good"]),
    ],
)
def test_means_must_be_certain(service: Service, when: str, expected: list[str]) -> None:
    """With surely, a mean is bad only if the runs so far prove that it is beyond its limit."""
    wanted = {**RULE, "when": when, "where": 'tags["client"] == "Remax"', "by": []}
    wanted |= {"windows_between": 20, "hold": "1 of 1"}
    rule = make_unsaved(WantedAlert.model_validate(wanted))
    history = check_rule(service.store.reader, "s", rule, END_NS - 4 * HOUR_NS, END_NS + MINUTE_NS)
    assert [point.word for point in history.slices[0].points] == expected


@at_night
def test_range_is_remembered(service: Service) -> None:
    """A restarted process knows the range of scores that earlier windows have shown."""
    rule = {**RULE, "when": 'surely(mean_score("grounded") < 0.8)', "windows_between": 20}
    call(service, "PUT", "range/alerts/a", {**rule, "hold": "1 of 1"})
    service.store.take("range", tell("j1"), *make_hour(2, "Remax", 15), *make_hour(1, "Remax", 0))
    told = Told("range")
    for hour in (1, 0):
        look(service, told, END_NS - hour * HOUR_NS + MINUTE_NS)
    assert told.lines == ["firing Remax"]
    [row] = [row for row in read_alert_rows(service.store.reader, "range") if row.slice]
    assert row.body["distance"] == pytest.approx(0.8)
    call(service, "DELETE", "range/alerts/a")


@at_night
@pytest.mark.parametrize("no_data", ["end", "notify"])
def test_runs_stop(service: Service, no_data: str) -> None:
    """If runs stop, the alert shows "no runs since" and no value, then ends or notifies."""
    project = f"stop-{no_data}"
    spans = [tell("j1")]
    for hour, passed in ((3, 8), (2, 9)):
        spans += make_hour(hour, "Remax", passed)
    service.store.take(project, *spans)
    rule = {**RULE, "keep": "2h", "no_data": no_data}
    assert call(service, "PUT", f"{project}/alerts/falls", rule)["status"] == 200
    told = Told(project)
    for hours in (2, 1):
        look(service, told, END_NS - hours * HOUR_NS + 5 * MINUTE_NS)
    state = call(service, "GET", f"{project}/alerts/falls")
    assert (state["state"], state["note"], state["slices"][0]["value"]) == ("firing", "", 0.45)
    look(service, told, END_NS + 5 * MINUTE_NS)
    state = call(service, "GET", f"{project}/alerts/falls")
    last_ns = END_NS - 2 * HOUR_NS + 19 * MINUTE_NS
    note = f"no runs since {to_rfc3339(last_ns)[11:16]}"
    assert (state["state"], state["note"], state["slices"][0]["value"]) == ("firing", note, None)
    for path in (f"{project}/alerts/falls", f"{project}/alerts", f"{project}/alert-firing"):
        assert note in ask(service.app, f"/projects/{path}").text
    assert told.lines == ["firing Remax"]
    look(service, told, END_NS + HOUR_NS + 5 * MINUTE_NS)
    state = call(service, "GET", f"{project}/alerts/falls")
    assert (state["state"], state["firing"]) == ("no data", 0)
    ends = no_data == "end"
    assert state["note"] == ("" if ends else note)
    assert told.lines == ["firing Remax", "resolved Remax" if ends else "firing Remax"]
    newest = [*told.notifications.values()][-1]
    assert newest.annotations.get("no_data") == (None if ends else f"{note} (UTC)")
    [change, *_] = find_changes_of(service.store.reader, project, 0)
    assert (change.state, change.reason) == ("no data", "no runs")
    later = make_hour(-1, "Remax", 20)
    service.store.take(project, *later, now_ns=END_NS + 2 * HOUR_NS)
    look(service, told, END_NS + 2 * HOUR_NS + 5 * MINUTE_NS)
    assert call(service, "GET", f"{project}/alerts/falls")["state"] == "pending"
    assert told.lines[-1] == "resolved Remax"


@pytest.mark.parametrize("notify", [["nobody"], ["oncall", "oncal"]])
def test_unknown_receiver(service: Service, notify: list[str]) -> None:
    """A rule with an unknown receiver is refused by the API and in the configuration file."""
    refused = call(service, "PUT", "p/alerts/unknown", {**RULE, "notify": notify})
    assert (refused["status"], refused["error"]["field"]) == (400, "notify")
    assert refused["error"]["message"].startswith(f"There is no receiver {notify[-1]!r}: ")
    assert call(service, "GET", "p/alerts/unknown")["status"] == 404
    filed = {"name": "filed", "project": "file", **RULE, "notify": notify}
    with pytest.raises(BadSetting, match="There is no receiver"):
        read_file_alerts([filed], {"oncall"})
