"""Judges that fail on most runs: Home, the overview and the judge's page report them."""

import html
import time
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlencode

import pytest

from otel_ml_collector.judges.news import find_judge_news
from otel_ml_collector.problems.news import ProjectFinding
from otel_ml_collector.span import Span
from otel_ml_collector.times import DAY_NS, SECOND_NS
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

RUNS: Final = 12
ERROR: Final = "KeyError: 'answer'"


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(tmp_path_factory.mktemp("judges")) as opened:
        yield opened


def judge_runs(
    service: Service, failed: int, version: str = "a1", *, runs: int = RUNS, ago_ns: int = 0
) -> None:
    """Store runs; the judge fails on the first `failed` ones."""
    now_ns = time.time_ns()
    calls = [make_call(start_ns=now_ns - ago_ns - (place + 2) * SECOND_NS) for place in range(runs)]
    said: Sequence[Span] = [
        say(call, version, ERROR if place < failed else 1.0) for place, call in enumerate(calls)
    ]
    service.store.take("shop", tell(version), now_ns=now_ns)
    service.store.take("shop", *calls, *said, now_ns=now_ns)


def find(service: Service) -> list[ProjectFinding]:
    return find_judge_news(service.store.reader, "shop", time.time_ns())


def test_problem(service: Service) -> None:
    """A judge that fails on all runs is a problem, with its error and the filter of the runs."""
    judge_runs(service, RUNS)
    [news] = find(service)
    assert (news.word, news.by, news.is_wrong, news.runs) == ("judge fails", "judge", True, RUNS)
    assert f"{news.title}{news.text}".endswith(f" all {RUNS} runs of the last 24 h: {ERROR}")
    assert '"grounded" v1' in news.title
    query = urlencode({"where": news.where})
    listed = ask(service.app, f"/api/v1/projects/shop/runs?{query}").json["runs"]
    assert len(listed) == RUNS


def test_home(service: Service) -> None:
    """Home counts a judge that fails as a problem, and the problem has a page."""
    judge_runs(service, RUNS)
    home = ask(service.app, "/status?project=shop&of=1").text
    assert "1 problem</td>" in home
    assert find(service)[0].title in html.unescape(home)
    page = ask(service.app, "/projects/shop/problems/judge-grounded?last=24h")
    assert (page.status, "Show judge" in page.text) == (200, True)


@at_night
def test_some_runs(service: Service) -> None:
    """A judge that fails on most runs is a problem too."""
    judge_runs(service, 12, runs=20)
    [news] = find(service)
    assert (news.word, news.is_wrong, news.runs) == ("judge fails", True, 12)
    assert f"{news.title}{news.text}".endswith(f" 12 of 20 runs of the last 24 h: {ERROR}")


@sampled(1)
@pytest.mark.parametrize(("failed", "runs"), [(12, 24), (9, 9)])
def test_no_problem(service: Service, failed: int, runs: int) -> None:
    """A judge that fails on half of the runs, or on few runs, is not a problem."""
    judge_runs(service, failed, runs=runs)
    assert find(service) == []


@at_night
def test_repaired_judge(service: Service) -> None:
    """A judge whose newer version scores runs is no longer a problem."""
    judge_runs(service, RUNS, ago_ns=1000 * SECOND_NS)
    judge_runs(service, 0, "b2")
    assert find(service) == []


@at_night
def test_old_failures(service: Service) -> None:
    """Failures that are more than a day old are not a problem."""
    judge_runs(service, RUNS, ago_ns=2 * DAY_NS)
    assert find(service) == []


def test_page_names_the_error(service: Service) -> None:
    """The page of a judge without scores shows its newest error, with a link to the run."""
    judge_runs(service, RUNS)
    page = ask(service.app, "/projects/shop/judges/grounded").text
    assert "Newest error: <code>KeyError" in page
