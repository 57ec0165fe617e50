"""The page of a problem in the browser: its chart, and the way to an alert."""

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser.fixtures import Tab, open_tab
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.desk import PROJECT, make_desk
from tests.support.otel_ml_collector.wire import encode
from tests.support.sampling import sampled

PROBLEM = f"/projects/{PROJECT}/problems/reply-v2-quality"


@pytest.fixture
def page(tab: Tab) -> Page:
    """The page of a new version that is worse."""
    return tab.open(PROBLEM)


@pytest.fixture
def tab(chromium: Browser, desk: CollectorProcess) -> Iterator[Tab]:
    with open_tab(chromium, desk.endpoint, "light", 1280, 900) as opened:
        yield opened


@pytest.fixture(scope="module")
def desk(collector: CollectorProcess) -> CollectorProcess:
    """The collector with two weeks of a help desk."""
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": PROJECT}
    spans = [*make_desk(time.time_ns())]
    for first in range(0, len(spans), 1_000):
        collector.deliver(encode(spans[first : first + 1_000]), headers)
    return collector


def test_figures_and_alert(page: Page) -> None:
    """The chart switches between figures, with the versions marked; an alert keeps the problem."""
    since = page.locator("#since")
    expect(since.locator(".mark").first).to_be_attached()
    for name, caption in (("Latency", "Typical latency."), ("Runs", "Number of runs.")):
        since.get_by_role("link", name=name).click()
        expect(since).to_contain_text(caption)
        expect(since.get_by_role("link", name=name)).to_have_attribute("aria-current", "true")
        expect(since).to_contain_text(re.compile("v2, "))
    page.get_by_role("link", name="Alert on this").first.click()
    expect(page.locator("main form").first).to_be_visible()
    assert "reply" in page.url


@sampled(1)
@pytest.mark.parametrize(
    ("path", "link"),
    [
        ("", "reply v2 is worse"),
        ("/monitor", "reply v2 is worse"),
        ("/models/reply", "Open the problem"),
        ("/compare?of=reply:v1&of=reply:v2", "Open the problem"),
    ],
)
def test_ways_to_a_problem(tab: Tab, path: str, link: str) -> None:
    """Overview, finding, model and comparison lead to the same page of a problem."""
    page = tab.open(f"/projects/{PROJECT}{path}")
    page.get_by_role("link", name=link).first.click()
    expect(page.locator("h1")).to_have_text("reply v2 is worse")
    assert "/problems/reply-v2-quality" in page.url


def test_label_and_save(page: Page) -> None:
    """*Label these* and *Save as tests* begin with the failed runs of the problem."""
    save = page.get_by_role("link", name="Save as tests").first
    expect(save).to_have_attribute("href", re.compile("passed.*#save$"))
    page.get_by_role("link", name="Label these").first.click()
    expect(page.locator("main form").first).to_contain_text("Runs")
    assert "passed" in page.get_by_label("Runs", exact=True).input_value()
    page.go_back()
    save.click()
    expect(page.get_by_role("dialog").get_by_label("Data set")).to_be_visible()
