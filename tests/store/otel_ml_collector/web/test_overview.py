"""The overview of a project: its page, its JSON, and the order of its findings."""

import html
import re
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import pytest

from otel_ml_collector.overview.seen import PageVisit, SeenProblems
from otel_ml_collector.problems.news import NewsSources
from otel_ml_collector.problems.problems import find_problems
from otel_ml_collector.times import MINUTE_NS, to_rfc3339
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.desk import AFTER, BEFORE, LOST, PROJECT, make_desk
from tests.support.otel_ml_collector.spans import make_call, trace_id
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

PAGE: Final = f"/projects/{PROJECT}"
API: Final = f"/api/v1{PAGE}/overview"
CALLS: Final = BEFORE + AFTER


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a service with a help desk whose newest version is worse."""
    with open_service(tmp_path_factory.mktemp("desk")) as opened:
        now_ns = time.time_ns()
        opened.store.take(PROJECT, *make_desk(now_ns), now_ns=now_ns)
        old_ns = now_ns - 40 * 86_400 * 10**9
        opened.store.take("asleep", make_call("old", start_ns=old_ns), now_ns=old_ns)
        yield opened


@pytest.fixture(scope="module")
def told(service: Service) -> Any:
    return ask(service.app, f"{API}?last=24h").json


def test_worst_first(told: Any) -> None:
    """The worse version is first, then a new error, then a crash."""
    assert [(one["word"], one["subject"], one["by"]) for one in told["findings"]] == [
        ("worse", "reply:v2", "production"),
        ("new error", "OrderNotFound", "errors"),
        ("crashed", "index", "runs"),
    ]
    worse, failed, crashed = told["findings"]
    assert worse["sentence"].startswith("brief: ")
    assert worse["versions"] == ["reply", 2, 1]
    assert (worse["runs"], failed["runs"], crashed["runs"]) == (AFTER, LOST, 1)
    assert failed["sentence"] == "no order with id # (in find_order)"


def test_each_opens_its_runs(service: Service, told: Any) -> None:
    """The filter of each finding matches the runs it counts."""
    for one in told["findings"]:
        found = ask(service.app, f"/api/v1{PAGE}/runs?limit=1000&where={quote(one['where'])}").json
        assert len(found["runs"]) == one["runs"], one["subject"]


def test_totals(told: Any) -> None:
    """The last day's runs are counted, next to a week before, without experiment runs."""
    total, before = told["total"], told["before"]
    assert (total["runs"], total["errors"]) == (2 * CALLS + LOST, LOST)
    assert total["cost"] == pytest.approx(0.0042 * CALLS)
    assert (before["runs"], before["errors"]) == (600, 0)
    assert sum(one["runs"] for one in told["buckets"]) == total["runs"]
    assert sum(one["runs"] for one in told["buckets_before"]) == before["runs"]
    assert [one["error_type"] for one in told["errors"]["groups"]] == ["OrderNotFound"]


@at_night
@pytest.mark.parametrize(
    ("models", "names"),
    [
        ("model", {"reply", "gpt-4o", "claude-sonnet-4-5", "find_order"}),
        ("provider_model", {"gpt-4o", "claude-sonnet-4-5", ""}),
        ("version", {"reply:v1", "reply:v2", "gpt-4o", "claude-sonnet-4-5", "find_order"}),
    ],
)
def test_models_sum_to_the_total(service: Service, models: str, names: set[str]) -> None:
    """The model groups add up to all runs of the project, for any grouping."""
    told = ask(service.app, f"{API}?models={models}").json
    assert {one["group"] for one in told["models"]["groups"]} == names
    totals = [one["total"] for one in told["models"]["groups"]]
    assert sum(one["runs"] for one in totals) == told["total"]["runs"]
    assert sum(one["cost"] or 0 for one in totals) == pytest.approx(told["total"]["cost"])


@at_night
@pytest.mark.parametrize(
    ("order", "key", "is_falling"),
    [
        ("runs", lambda one: one["runs"], True),
        ("errors", lambda one: one["error_share"], True),
        ("p95", lambda one: one["p95_ms"], True),
        ("tokens", lambda one: one["tokens"]["input"], True),
        ("cost", lambda one: one["cost"] or 0, True),
        ("quality", lambda one: one["judges"][0]["pass_rate"] if one["judges"] else 2, False),
    ],
)
def test_order(service: Service, order: str, key: Any, is_falling: bool) -> None:
    """Users are sorted as requested, the worst or the highest first."""
    told = ask(service.app, f"{API}?order={order}").json
    values = [key(one["total"]) for one in told["users"]["groups"]]
    assert values == sorted(values, reverse=is_falling)
    assert len(set(values)) > 1


@at_night
def test_by_tag(service: Service) -> None:
    """The users table can be grouped by a tag, and its rows link to the counted runs."""
    now_ns = time.time_ns()
    clients = {"acme": 120, "nova": 60}
    calls = [
        make_call(
            "reply",
            {"otel_ml.tag.client": client},
            trace_id=trace_id(9_000 + 200 * place + number),
            start_ns=now_ns - (number + 1) * MINUTE_NS,
        )
        for place, (client, runs) in enumerate(clients.items())
        for number in range(runs)
    ]
    service.store.take("tagged", *calls, now_ns=now_ns)
    news = html.unescape(ask(service.app, "/projects/tagged/news?last=24h").text)
    assert re.findall(r"users=(tags[^#\"]+)#by-users", news) == [quote('tags["client"]', safe="")]
    query = urlencode({"users": 'tags["client"]'})
    told = ask(service.app, f"/api/v1/projects/tagged/overview?{query}").json["users"]
    assert {one["group"]: one["total"]["runs"] for one in told["groups"]} == clients
    page = html.unescape(ask(service.app, f"/projects/tagged?{query}").text)
    table = page.partition('id="by-users"')[2]
    assert "<h2>By client</h2>" in table
    where = urlencode({"where": 'tags["client"] == "acme"'})
    assert f"/projects/tagged/runs?{where}&last=24h" in table


@at_night
def test_curve_of_a_problem(service: Service) -> None:
    """Overview and Monitor plot a problem's figure over time, in red since the problem began."""
    for part in ("news", "monitor/findings"):
        text = ask(service.app, f"{PAGE}/{part}").text
        [link] = re.findall(r'hx-get="([^"]+/problem-curve[^"]+)"', text)
        curve = ask(service.app, html.unescape(link)).text
        assert "figure=brief" in link
        assert len(re.findall(r'<polyline points="[^"]+ [^"]+"/>', curve)) == 1
        assert len(re.findall(r'<polyline class="e" points="[^"]+ [^"]+"/>', curve)) == 1
        assert "red since the problem began" in curve


@sampled(1)
@pytest.mark.parametrize(
    ("start", "message"),
    [("tomorrow", "Invalid time"), ("2222-01-01T00:00:00Z", "Invalid start")],
)
def test_wrong_curve(service: Service, start: str, message: str) -> None:
    """A curve with an invalid time is refused with the reason."""
    asked = {"where": 'model == "reply"', "figure": "errors", "start": start}
    answer = ask(service.app, f"{PAGE}/problem-curve?{urlencode(asked)}")
    assert (answer.status, message in answer.text) == (400, True)


def test_lists_agree_with_their_numbers(service: Service) -> None:
    """The list of each problem has exactly as many runs as the problem states."""
    found = find_problems(
        service.store.reader, PROJECT, "24h", time.time_ns(), sources=NewsSources([])
    )
    assert {problem.first.kind for problem in found.problems} == {"release", "error", "crash"}
    for problem in found.problems:
        first = problem.first
        start, end = (to_rfc3339(at) for at in (first.window.start_ns, first.window.end_ns))
        query = urlencode({"limit": 1_000, "where": first.where, "start": start, "end": end})
        runs = ask(service.app, f"/api/v1{PAGE}/runs?{query}").json["runs"]
        assert len(runs) == first.runs > 0, first.title


def test_same_number_everywhere(service: Service) -> None:
    """Home, the overview and Monitor show the same number of problems."""
    parts = [ask(service.app, f"{PAGE}/{part}").text for part in ("news", "monitor/findings")]
    assert all('<b class="worse-w">3 problems.</b>' in part for part in parts)
    assert '<span class="worse-w">worse</span>' in parts[0]  # in the list of newest versions
    home = ask(service.app, f"/status?project={PROJECT}&of=1").text
    assert "3 problems</td>" in home
    assert '</a> has <b class="worse-w">3 problems</b>.' in home


@at_night
def test_alert_on_each_problem(service: Service) -> None:
    """The alert form opens without an error for each problem, including a crash."""
    found = find_problems(
        service.store.reader, PROJECT, "24h", time.time_ns(), sources=NewsSources([])
    )
    for problem in found.problems:
        assert problem.suggestion, problem.key
        past = ask(service.app, f"{PAGE}/alert-past?{urlencode(problem.suggestion)}")
        assert past.status == 200
        assert "error" not in past.text, problem.key
        assert "<h2>" in past.text


@at_night
def test_page_of_a_problem(service: Service) -> None:
    """The project list of a problem's page leads to Monitor; a resolved problem has no page."""
    page = ask(service.app, f"{PAGE}/problems/reply-v2-quality?last=24h").text
    assert 'hx-get="/switcher?part=monitor"' in page
    gone = ask(service.app, f"{PAGE}/problems/none")
    assert (gone.status, "This problem is resolved" in gone.text) == (404, True)


def test_visits(service: Service) -> None:
    """The page lists problems that are new or resolved since the last visit."""
    first = ask(service.app, f"{PAGE}/news")
    cookie = first.headers["set-cookie"].partition(";")[0]
    assert "Since " not in first.text
    visit = PageVisit(1_000, {"old": "timeouts of search"})
    earlier = SeenProblems(visit, visit)
    found = find_problems(
        service.store.reader, PROJECT, "24h", time.time_ns(), sources=NewsSources([])
    )
    assert earlier.write_since(found, time.time_ns(), ZoneInfo("UTC")).endswith(
        ", 3 problems are new and 1 problem is resolved (timeouts of search)."
    )
    again = ask(service.app, f"{PAGE}/news", headers={"cookie": cookie})
    assert "Nothing has changed since your last visit (" in again.text


def test_asleep(service: Service) -> None:
    """A project without recent runs shows when its last run started."""
    text = ask(service.app, "/projects/asleep").text
    assert "No runs in 24 hours. The last run started" in text


def test_nothing_here(service: Service) -> None:
    """A project without runs shows how to record one, and links to projects with runs."""
    text = ask(service.app, "/projects/nothing-here").text
    assert 'Client("nothing-here", endpoint="http://' in text
    assert PROJECT in text


@at_night
def test_wrong_order(service: Service) -> None:
    """An invalid order is refused with the parameter's name."""
    answer = ask(service.app, f"{API}?order=colour")
    assert (answer.status, answer.json["error"]["field"]) == (400, "order")


@at_night
def test_alert_from_a_tile(service: Service) -> None:
    """Each tile offers an alert whose condition is valid and does not hold now."""
    page = html.unescape(ask(service.app, PAGE).text)
    forms = re.findall(rf'href="{PAGE}/alert-rule\?([^"]*)" aria-label="Alert on ([^"]*)"', page)
    names = [name for _, name in forms]
    assert names[:4] == ["Runs", "Errors", "Latency p95", "Cost"]
    assert any("Pass rate" in name for name in names)
    for form, _ in forms:
        past = ask(service.app, f"{PAGE}/alert-past?{form}").text
        assert "fired" in past or "No window" in past


def test_alert_from_a_run(service: Service) -> None:
    """The page of a run offers an alert on the runs of its model, and the form has this filter."""
    listed = ask(service.app, f"/api/v1{PAGE}/runs?limit=1").json["runs"][0]
    page = html.unescape(ask(service.app, f"{PAGE}/runs/{listed['run_id']}").text)
    [form] = re.findall(rf'href="{PAGE}/alert-rule\?([^"]*)"', page)
    shown = html.unescape(ask(service.app, f"{PAGE}/alert-rule?{form}").text)
    assert f'model == "{listed["model"]}"' in shown
