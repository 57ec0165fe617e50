"""The alert pages: rules and their states, the form with its check, mutes, and firing alerts."""

import random
import re
import time
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Final
from urllib.parse import parse_qs, quote, urlencode

import pytest

from otel_ml_collector.alerts.evaluation import AlertEvaluator
from otel_ml_collector.alerts.forms import RuleForm
from otel_ml_collector.alerts.news import find_alert_news
from otel_ml_collector.alerts.notification import Notification
from otel_ml_collector.assistants.protocol import answer
from otel_ml_collector.errors import BadInput
from otel_ml_collector.problems.news import NewsSources, find_news
from otel_ml_collector.span import Span
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, to_rfc3339
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.support.otel_ml_collector.alerts.world import targets_of
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import MS_NS, make_call
from tests.support.otel_ml_collector.stores import Service, open_service

NOW_NS: Final = time.time_ns()
FORM: Final = {"content-type": "application/x-www-form-urlencoded"}
HOSTILE: Final = "<script>alert(1)<b>\u202e\"'&"
RULE: Final = {
    "name": "grounded falls",
    "where": 'model == "answer"',
    "when": 'pass_rate("grounded") < 0.7',
    "window": "2h",
    "every": "2h",
    "hold": "1 of 1",
    "keep": "0s",
    "by": 'tags["client"]',
    "min_runs": "5",
    "delay": "0s",
}
BAD_HOURS: Final = frozenset({1, 2, 3, 4, 20, 21, 22, 23})


class Nobody:
    """A notifier without receivers."""

    def announce(self, notification: Notification) -> None: ...

    def withdraw(self, project: str, rule: str) -> None: ...


def make_hours() -> list[Span]:
    """Make 30 hours of two clients; acme fails recently and a day ago, the other client never."""
    draw = random.Random(5)  # noqa: S311 - not for secrets
    spans = [tell("j1")]
    for hour in range(30, 0, -1):
        for place in range(12):
            client = "acme" if place % 2 else HOSTILE
            start_ns = NOW_NS - hour * HOUR_NS + place * 4 * MINUTE_NS
            run = make_call(
                "answer",
                {"otel_ml.model.version": "v1", "otel_ml.tag.client": client},
                start_ns=start_ns,
                end_ns=start_ns + draw.randrange(50, 90) * MS_NS,
            )
            is_bad = client == "acme" and hour in BAD_HOURS
            spans += [run, say(run, "j1", float(not is_bad or place == 1))]
    return spans


def call(service: Service, path: str, method: str = "GET", **fields: str) -> Answered:
    body = urlencode(fields).encode()
    return ask(service.app, f"/projects/{path}", method=method, headers=FORM, body=[body])


def read(service: Service, path: str, query: Mapping[str, str] | None = None) -> str:
    answered = call(service, f"{path}?{urlencode(query)}" if query else path)
    assert answered.status == 200, answered.text
    return answered.text


def look(service: Service, *hours_ago: int) -> None:
    """Evaluate all rules at each of the given times, like the collector."""
    store = service.store

    def look_at(now_ns: int) -> None:
        AlertEvaluator(store.reader, store.connections, Nobody(), clock=lambda: now_ns).evaluate()

    for hours in hours_ago:
        look_at(NOW_NS - hours * HOUR_NS)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(
        tmp_path_factory.mktemp("alert-pages"), alert_targets=targets_of("oncall")
    ) as service:
        service.store.take("shop", *make_hours(), now_ns=NOW_NS)
        saved = call(service, "shop/alert-rule", "POST", **RULE)
        assert (saved.status, saved.headers["location"]) == (
            303,
            "/projects/shop/alerts/grounded%20falls",
        ), saved.text
        hostile = {**RULE, "name": HOSTILE, "when": "error_share > 0.5"}
        assert call(service, "shop/alert-rule", "POST", **hostile).status == 303
        look(service, 28, 18, 0)
        yield service


def test_list(service: Service) -> None:
    """The list shows how many rules are firing, draws 30 days, and marks the others as OK."""
    page = read(service, "shop/alerts")
    assert "1 of 2 rules is firing" in page
    assert 'aria-label="30 days, fired on' in page
    assert '<span class="ok">OK</span>' in page
    assert page.index("grounded falls") < page.index("error_share")
    assert "<script>alert" not in page
    assert "No alert rules yet" in read(service, "nothing/alerts")


def test_rule(service: Service) -> None:
    """A rule's page has its state by slice, its changes, and a form to mute it."""
    page = read(service, "shop/alerts/grounded%20falls")
    assert '<span class="err">firing</span>' in page
    slices = page.partition('id="slices"')[2].partition("</table>")[0]
    assert slices.index("client = acme") < slices.index(">OK<")
    changes = page.partition('id="changes"')[2].partition("</table>")[0]
    assert changes.count("firing") == 2
    assert 'action="/projects/shop/alerts/grounded%20falls/mute"' in page
    assert "<script>alert" not in page
    read(service, f"shop/alerts/{quote(HOSTILE, safe='')}")
    assert call(service, "shop/alerts/other").status == 404


def test_past(service: Service) -> None:
    """The form shows when the rule would have fired: both times acme failed."""
    past = read(service, "shop/alert-past", RULE)
    assert " fired 2 times " in past
    fired = past.partition('id="fired"')[2]
    assert fired.count("client = acme") == 2
    assert "still firing" in fired
    assert past.count("<rect") == 2
    periods = re.findall(r"last (\d+ \w+)", past)
    assert {*periods} == {"30 days"}  # of the sentence as of the chart
    # The axis covers the whole history, although acme's first run is one day old.
    first = (NOW_NS - 30 * DAY_NS) // DAY_NS * DAY_NS
    labels = re.findall(r'<text class="b" x="0.0%"[^>]*>([^<]*)<', past)
    assert {*labels} <= {to_rfc3339(first + days * DAY_NS)[:10] for days in (-1, 0, 1)}
    assert labels
    never = read(service, "shop/alert-past", {**RULE, "when": "error_share > 0.5"})
    assert "would not have fired" in never
    assert 'id="fired"' not in never
    few = read(service, "shop/alert-past", {**RULE, "min_runs": "1000000"})
    assert "1,000,000 runs" in few
    assert "would have fired" not in few
    wrong = read(service, "shop/alert-past", {**RULE, "when": "pass_rat > 1"})
    assert "did you mean pass_rate" in unescape(wrong)


def test_form(service: Service) -> None:
    """The form of a saved rule has all its fields; an error appears above the form."""
    page = read(service, "shop/alert-rule", {"edit": "grounded falls"})
    for name, value in RULE.items():
        assert (
            f'name="{name}" value="{value.replace(chr(34), "&#34;").replace("<", "&lt;")}"' in page
        )
    assert 'name="base" value="1"' in page
    wrong = call(service, "shop/alert-rule", "POST", **{**RULE, "base": "1", "window": "soon"})
    assert wrong.status == 400
    assert "Invalid window" in wrong.text
    assert 'value="soon"' in wrong.text
    tab = call(service, "shop/alert-rule", "POST", **{**RULE, "name": "a\tb"})
    assert "none of them a control character" in unescape(tab.text)
    assert '<details open id="more">' in tab.text
    taken = call(service, "shop/alert-rule", "POST", **RULE)
    assert (taken.status, "newest version" in taken.text) == (400, True)


@pytest.mark.parametrize("field", ["when", "window", "hold", "min_runs", "severity"])
def test_emptied_field(field: str) -> None:
    """Emptying a required field is refused, and the error names the field."""
    form = RuleForm.model_validate({"when": "runs > 3"} | {field: ""})
    with pytest.raises(BadInput, match=field):
        _ = form.wanted


def test_mute(service: Service) -> None:
    """A muted firing rule shows both states, who muted it and why; deleting the mute removes it."""
    path = "shop/alerts/grounded%20falls"
    fields = {"length": "4h", "who": "mira", "why": "known <b>", "where": 'client == "acme"'}
    assert call(service, f"{path}/mute", "POST", **fields).status == 303
    page = read(service, path)
    assert 'firing</span> <span class="cancel">muted' in page
    mutes = page.partition('id="mutes"')[2].partition("</table>")[0]
    assert "mira" in mutes
    assert "known &lt;b&gt;" in mutes
    assert "muted" in read(service, "shop/alert-firing")
    findings = find_news(
        service.store.reader, "shop", NOW_NS, sources=NewsSources([find_alert_news])
    ).findings
    [alert] = [finding for finding in findings if finding.by == "alert"]
    assert (alert.word, alert.is_wrong) == ("firing", False)
    assert "muted until" in alert.sentence
    name = mutes.partition('name="mute" value="')[2].partition('"')[0]
    assert call(service, f"{path}/mute", "POST", mute=name).status == 303
    assert "muted</span>" not in read(service, path)
    assert call(service, f"{path}/mute", "POST", length="9y").status == 400


def test_first(service: Service) -> None:
    """A firing alert belongs to the problem that caused it, and the Monitor page lists it first."""
    news = read(service, "shop/news")
    [first, *_] = news.partition("<ol")[2].split("<li>")[1:]
    assert "client acme" in first
    assert 'href="/projects/shop/alerts/grounded%20falls"' in first
    assert "client acme" in ask(service.app, "/status?project=shop&of=1").text
    assert "/projects/shop/alert-firing" in read(service, "shop/monitor")
    part = read(service, "shop/alert-firing")
    assert "grounded falls" in part
    assert "client = acme" in part
    answered = ask(service.app, "/api/v1/projects/shop/overview")
    assert answered.json["findings"][0]["subject"] == "grounded falls"


def test_assistants(service: Service) -> None:
    """The assistants' overview starts with firing alerts: the rule, the slice, and the filter."""
    given = {"project": "shop"}
    overview = answer("overview", given, service.store.reader, "http://here", NOW_NS)
    firing = overview["firing"]
    fires = [dict(zip(firing["columns"], row, strict=True)) for row in firing["rows"]]
    assert [(row["alert"], row["state"], row["for"]) for row in fires] == [
        ("grounded falls", "firing", "client = acme")
    ]
    assert fires[0]["where"] == 'model == "answer" and tags["client"] == "acme"'


def test_delete(service: Service) -> None:
    """A deleted rule disappears from the list."""
    assert call(service, "shop/alert-rule", "POST", **{**RULE, "name": "away"}).status == 303
    assert "away" in read(service, "shop/alerts")
    assert call(service, "shop/alerts/away/delete", "POST").status == 303
    assert ">away<" not in read(service, "shop/alerts")


def test_alert_on_slice(service: Service) -> None:
    """A worse slice's page links to a form whose rule would have fired at that time."""
    query = {"model": "answer", "where": 'tags["client"] == "acme"', "last": "24h"}
    page = read(service, "shop/monitor/slice", query)
    link = unescape(page.partition('href="/projects/shop/alert-rule?')[2].partition('"')[0])
    fields = {name: values[0] for name, values in parse_qs(link).items()}
    assert fields["when"].startswith('surely(pass_rate("grounded") <')
    assert 'id="fired"' in read(service, "shop/alert-past", fields)


def test_new_form(service: Service) -> None:
    """A new form has four fields, shows no error, and lists the receivers."""
    page = read(service, "shop/alert-rule")
    asked, _, _ = page.partition('<details id="more">')
    assert re.findall(r'name="(\w+)" value', asked) == ["base", "where", "when", "by", "notify"]
    assert '<input type="checkbox" name="notify" value="oncall">' in asked
    assert 'value="surely(error_share &gt; 0.05)"' in asked
    assert '<option value="tags[&#34;client&#34;]">' in asked
    assert 'role="alert"' not in page
    past = read(service, "shop/alert-past", {"when": "surely(error_share > 0.05)"})
    assert " above 5\u202f% " in past


def test_receiver_typo(service: Service) -> None:
    """The form and the API refuse a misspelled receiver; the form lists it with the others."""
    fields = {**RULE, "name": "typo"}
    wrong = call(service, "shop/alert-rule", "POST", **fields, notify="oncal")
    assert wrong.status == 400
    assert "There is no receiver 'oncal': did you mean oncall?" in unescape(wrong.text)
    assert "unknown receiver" in wrong.text
    answered = ask(
        service.app,
        "/api/v1/projects/shop/alerts/typo",
        method="PUT",
        headers={"content-type": "application/json"},
        body=[b'{"when": "runs > 3", "notify": ["oncal"]}'],
    )
    assert (answered.status, answered.json["error"]["field"]) == (400, "notify")
    assert ">typo<" not in read(service, "shop/alerts")


def test_named_by_its_condition(service: Service) -> None:
    """A rule saved without a name is named after its model, condition and groups."""
    saved = call(service, "shop/alert-rule", "POST", **{**RULE, "name": ""}, notify="oncall")
    location = "/projects/shop/alerts/answer%3A%20pass%20rate%20by%20judge%20grounded%20by%20client"
    assert (saved.status, saved.headers["location"]) == (303, location)
    page = read(
        service, "shop/alerts/answer%3A%20pass%20rate%20by%20judge%20grounded%20by%20client"
    )
    assert "Not evaluated yet." in page
    assert "oncall" in page.partition('id="sent"')[2]
    assert call(service, f"{location[10:]}/delete", "POST").status == 303


def test_rule_from_a_list(service: Service) -> None:
    """A list offers an alert on its filter: on the number of runs if it selects failed ones."""
    address = re.compile(
        r'href="/projects/shop/alert-rule\?([^"]*)" aria-label="Alert on this filter"'
    )
    for where, when in (('model == "answer"', None), ('outcome == "error"', ["runs > 0"])):
        page = read(service, "shop/runs", {"where": where, "all": "true"})
        [query] = address.findall(unescape(page))
        asked = parse_qs(query)
        assert (asked["where"], asked.get("when")) == ([where], when)
        form = read(service, f"shop/alert-rule?{query}", {})
        assert unescape(form).count(when[0] if when else "surely(error_share > 0.05)") > 0
