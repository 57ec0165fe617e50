"""The judges' API calls and pages."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import pytest
from fastapi import FastAPI

from tests.store.otel_ml_collector.query.test_judges import calls, say, tell
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import DAY_NS, SECOND_NS, make_call
from tests.support.otel_ml_collector.stores import Service, open_service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector with a judge that has two versions."""
    with open_service(tmp_path_factory.mktemp("judges")) as service:
        runs = calls(4)
        service.store.take("a/b", tell("a1"))
        service.store.take("a/b", tell("b2"), *runs)
        said = [say(run, "a1", place / 4) for place, run in enumerate(runs)]
        service.store.take("a/b", *said, say(runs[0], "b2", 0.75, after_s=2))
        yield service


def get(app: FastAPI, path: str) -> Any:
    answer = ask(app, path)
    assert answer.status == 200, answer.text
    return answer.json


def test_api(service: Service) -> None:
    """The API returns the list and versions of judges, also for a project with a slash."""
    [judge] = get(service.app, "/api/v1/projects/a/b/judges")["judges"]
    assert (judge["judge"], judge["versions"], judge["newest"]["mean_score"]) == (
        "grounded",
        2,
        0.75,
    )
    assert [(one["version"], one["mean_score"]) for one in judge["others"]] == [(1, 0.375)]
    answer = get(service.app, "/api/v1/projects/a/b/judges/grounded/versions?last=7d")
    assert [one["version"] for one in answer["versions"]] == [2, 1]
    missing = ask(service.app, "/api/v1/projects/a/b/judges/nobody/versions")
    assert missing.status == 404


PAGES: Final[Sequence[tuple[str, Callable[[str], bool]]]] = [
    ("judges", lambda page: "v1 passed 50.0" in page),
    ("judges/grounded", lambda page: "does it follow?" in page and "What changed" in page),
    (
        "judges/grounded?digest=a1&last=7d",
        lambda page: "v1" in page.partition('id="scores"')[2].partition("</h2>")[0],
    ),
    ("judges/grounded?to=1", lambda page: "Passing criterion" in page),
]


@pytest.mark.parametrize(("path", "holds"), PAGES, ids=[path for path, _ in PAGES])
def test_pages(service: Service, path: str, holds: Callable[[str], bool]) -> None:
    """The pages show the API's data."""
    page = ask(service.app, f"/projects/a/b/{path}")
    assert page.status == 200, page.text
    assert holds(page.text)


def test_curves(service: Service) -> None:
    """The lists of judges and models draw the pass rate of the last days, and the runs."""
    now_ns = time.time_ns()
    runs = [make_call(start_ns=now_ns - place * DAY_NS - SECOND_NS) for place in range(4)]
    said = [say(run, "a1", place / 4) for place, run in enumerate(runs)]
    service.store.take("curves", tell("a1"), *runs, *said, now_ns=now_ns)
    line = re.compile('aria-label="([^"]*) over time"><polyline points="[^"]* [^"]*"')
    assert line.findall(ask(service.app, "/projects/curves/judges").text) == ["score"]
    assert line.findall(ask(service.app, "/projects/curves/models").text) == ["runs", "score"]
    assert not line.search(ask(service.app, "/projects/a/b/judges").text)
