"""An error in one part of a page, or in the check of one project, does not affect the others."""

import time
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlencode

import pytest

from otel_ml_collector.problems.news import NewsSources, ProjectFinding
from otel_ml_collector.store.reader import Reader
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night

PART: Final = {"hx-request": "true"}
NOTE: Final = (
    "This part cannot be shown.</span> <small>An internal error (OverflowError) in this part. "
    "The collector&#39;s log has the details. Recorded runs are safe.</small>"
)


@pytest.fixture
def failing(service: Service, project: str) -> Iterator[str]:
    """A project with a run, for which a source of messages raises an error."""
    now_ns = time.time_ns()
    service.store.take(project, make_call(start_ns=now_ns), now_ns=now_ns)

    def fail(_: Reader, of_project: str, __: int) -> Sequence[ProjectFinding]:
        if of_project == project:
            raise OverflowError("math range error")
        return []

    services = service.app.state.services
    before = services.find(NewsSources)
    services.put(NewsSources((fail,)))
    yield project
    services.put(before)


def test_error_in_a_part_is_a_note(
    service: Service, failing: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A part that fails shows a note, its traceback is logged, and the page is complete."""
    part = ask(service.app, f"/projects/{failing}/news", headers=PART)
    assert (part.status, NOTE in part.text) == (503, True)
    assert "OverflowError: math range error" in caplog.text
    assert ask(service.app, f"/projects/{failing}").status == 200


def test_error_of_a_page_is_a_page(service: Service, failing: str) -> None:
    """A page that fails says so in the frame of all pages."""
    page = ask(service.app, f"/projects/{failing}/news")
    assert (page.status, "An internal error (OverflowError) in this page" in page.text) == (
        503,
        True,
    )
    assert "No run is lost, and other pages are not affected." in page.text


@at_night
def test_home_checks_the_other_projects(service: Service, failing: str) -> None:
    """A project whose check fails says so on Home, and the projects after it are checked."""
    now_ns = time.time_ns()
    service.store.take(f"{failing}-2", make_call(start_ns=now_ns), now_ns=now_ns)
    query = urlencode({"project": [failing, f"{failing}-2"], "of": 2}, doseq=True)
    page = ask(service.app, f"/status?{query}", headers=PART)
    assert page.status == 200
    first, second = page.text.split("<hx-partial")[1:]
    assert "not checked" in first
    assert "An internal error (OverflowError) in the check of this project" in first
    assert ">OK<" in second
    assert "1 could not be checked." in page.text
