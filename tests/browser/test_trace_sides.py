"""Two traces side by side, from the page of a trace and from two selected rows."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser.agents import make_research, send_research
from tests.support.browser.fixtures import open_tab
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.spans import id_of
from tests.support.sampling import at_night

NAME = "comparer"
SIDES = f"/projects/{NAME}"


@pytest.fixture(scope="module")
def run_ids(collector: CollectorProcess) -> list[str]:
    """Two runs of one agent; the first has more rounds."""
    traces = [send_research(collector, make_research(rounds, NAME), NAME) for rounds in (5, 3)]
    return [id_of(trace[0]) for trace in traces]


@pytest.fixture
def page(chromium: Browser, collector: CollectorProcess, run_ids: list[str]) -> Iterator[Page]:
    with open_tab(chromium, collector.endpoint, "light", 1280, 900) as tab:
        yield tab.open(f"{SIDES}/runs/{run_ids[0]}")


def expect_sides(page: Page) -> None:
    expect(page.locator("h1")).to_have_text("Compare two traces")
    expect(page.locator("main")).to_contain_text(re.compile(r"Only [AB] has \d+ steps\."))
    rows = page.locator("#pairs tbody tr")
    expect(rows.filter(has_text=re.compile("only [AB]")).first).to_be_visible()


@at_night
def test_from_a_trace(page: Page) -> None:
    """*Compare with …* lists other runs of the agent; both runs of a step can be compared."""
    page.get_by_text("Compare with …").click()
    page.locator(".pop:visible a[href*='trace-pair']").first.click()
    expect_sides(page)
    page.get_by_role("link", name=re.compile(r"^All *\d+$")).click()
    step = page.locator("#pairs details").first
    step.locator("summary").click()
    expect(step.locator("del")).to_be_visible()
    step.get_by_role("link", name="Compare both").click()
    expect(page.locator("h1")).to_have_text("Compare")


@at_night
def test_from_two_rows(page: Page, collector: CollectorProcess) -> None:
    """Two selected rows of the list of requests are compared side by side."""
    page.goto(f"{collector.endpoint}{SIDES}/runs?roots=1&where=model+%3D%3D+%22{NAME}%22")
    boxes = page.locator("tr[data-run] input[type=checkbox]")
    expect(boxes).to_have_count(2)
    for box in boxes.all():
        box.check()
    page.get_by_role("button", name="Traces side by side").click()
    expect_sides(page)
