"""Functions that fail often, fail more than before, or cost more than before, are problems."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote

import pytest

from otel_ml_collector.findings.find import find_project_findings
from otel_ml_collector.findings.findings import Finding
from otel_ml_collector.span import Span
from otel_ml_collector.times import MINUTE_NS
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.hours import EACH, make_hours
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

NOW_NS: Final = time.time_ns()
PROJECTS: Final[dict[str, Callable[[], Iterator[Span]]]] = {
    # Two of ten runs fail for a day, one in forty before.
    "failing": lambda: make_hours(
        "answer", NOW_NS, 10**6, failures=lambda hour: 2 if hour < 24 else int(hour % 4 == 0)
    ),
    # All runs of one hour fail.
    "noisy": lambda: make_hours(
        "answer", NOW_NS, 2 * 10**6, failures=lambda hour: EACH * (hour == 5)
    ),
    # Three of ten runs always fail.
    "weak": lambda: make_hours("answer", NOW_NS, 3 * 10**6, failures=lambda hour: 3),
    # A run costs four times as much for a day.
    "costly": lambda: make_hours(
        "answer", NOW_NS, 4 * 10**6, cost=lambda hour: 8 if hour < 24 else 2
    ),
    # A run costs the same, but there are four times as many for a day.
    "busy": lambda: make_hours(
        "answer",
        NOW_NS,
        5 * 10**6,
        cost=lambda hour: 2,
        runs=lambda hour: 4 * EACH if hour < 24 else EACH,
    ),
    # One hour costs a hundred times as much.
    "costly hour": lambda: make_hours(
        "answer", NOW_NS, 6 * 10**6, cost=lambda hour: 200 if hour == 5 else 2
    ),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a service with a project for each story."""
    with open_service(tmp_path_factory.mktemp("levels")) as opened:
        for name, make in PROJECTS.items():
            opened.store.take(name, *make(), now_ns=NOW_NS)
        yield opened


def find_levels(service: Service, project: str) -> list[Finding]:
    found = find_project_findings(service.store.reader, project, NOW_NS + MINUTE_NS)
    assert not found.missing
    return [finding for finding in found.findings if finding.kind == "level"]


def test_failures_rose(service: Service) -> None:
    """A function that fails more often than in the seven days before is a problem."""
    [finding] = find_levels(service, "failing")
    now, before = (int(share) for share in re.findall(r"(\d+) %", finding.sentence))
    assert now == 20 > before
    assert finding.where == 'model == "answer" and outcome == "error"'
    assert (finding.measure, finding.weak_since_ns) == ("errors", None)
    assert "95 % interval" in finding.evidence


@sampled(1)
@pytest.mark.parametrize("project", ["noisy", "costly hour"])
def test_noisy_hour(service: Service, project: str) -> None:
    """A single hour in which everything fails, or is dear, is no problem."""
    assert find_levels(service, project) == []


@at_night
def test_always_high(service: Service) -> None:
    """A function that always fails in more than a tenth of its runs is a known weak spot."""
    [finding] = find_levels(service, "weak")
    assert finding.where == 'model == "answer" and outcome == "error"'
    assert re.findall(r"(\d+) %", finding.sentence) == ["30", "30"]
    assert finding.weak_since_ns is not None


@at_night
def test_cost_of_a_run_rose(service: Service) -> None:
    """A function that costs more per run than before is a problem, without a new version."""
    [finding] = find_levels(service, "costly")
    assert finding.title == "answer costs $ 0.0080 per run"
    assert finding.sentence.endswith(", $ 0.0020 in the 7 days before (4×)")
    assert finding.measure == "cost"


def test_spending_rose(service: Service) -> None:
    """A function that costs more per hour is a problem, although each run costs the same."""
    [finding] = find_levels(service, "busy")
    assert finding.title.endswith(" per hour")
    assert "(4×)" in finding.sentence
    assert finding.measured == "spending"


@sampled(1)
@pytest.mark.parametrize("project", ["failing", "weak", "costly", "busy"])
def test_problem(service: Service, project: str) -> None:
    """Such a problem has a page with its curve, and an alert rule that can be saved."""
    news = ask(service.app, f"/projects/{project}/news?last=24h").text
    assert "problem-curve" in news
    problems, _, _ = news.partition('id="noticed"')
    [address] = {
        part.split('"')[0] for part in problems.split(f'href="/projects/{project}/problems/')[1:]
    }
    page = ask(service.app, f"/projects/{project}/problems/{address.replace('&amp;', '&')}")
    assert page.status == 200
    assert "<svg" in page.text
    form = page.text.split(f'href="/projects/{project}/alert-rule?')[1].split('"')[0]
    past = ask(service.app, f"/projects/{project}/alert-past?{form.replace('&amp;', '&')}")
    assert past.status == 200
    assert "fired" in past.text


@at_night
def test_kind_in_the_api(service: Service) -> None:
    """The findings of the API have the kind of these problems, next to changes by the day."""
    for project, levels in (("costly hour", 0), ("failing", 1)):
        address = f"/api/v1/projects/{quote(project)}/findings"
        kinds = [item["kind"] for item in ask(service.app, address).json["findings"]]
        assert kinds.count("level") == levels
        assert {*kinds} <= {"level", "model"}
