"""The page of a problem in the browser: its chart, and the way to an alert."""

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser.fixtures import open_tab
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.desk import PROJECT, make_desk
from tests.support.otel_ml_collector.wire import encode

PROBLEM = f"/projects/{PROJECT}/problems/reply-v2-quality"


@pytest.fixture
def page(chromium: Browser, collector: CollectorProcess) -> Iterator[Page]:
    """The page of a new version that is worse."""
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": PROJECT}
    spans = [*make_desk(time.time_ns())]
    for first in range(0, len(spans), 1_000):
        collector.deliver(encode(spans[first : first + 1_000]), headers)
    with open_tab(chromium, collector.endpoint, "light", 1280, 900) as tab:
        yield tab.open(PROBLEM)


def test_figures_and_alert(page: Page) -> None:
    """The chart switches between figures, with the versions marked; an alert keeps the problem."""
    since = page.locator("#since")
    expect(since).to_contain_text("Pass rate by judge")
    expect(since.locator(".mark").first).to_be_attached()
    for name, caption in (("Latency", "Typical latency."), ("Runs", "Number of runs.")):
        since.get_by_role("link", name=name).click()
        expect(since).to_contain_text(caption)
        expect(since.get_by_role("link", name=name)).to_have_attribute("aria-current", "true")
        expect(since).to_contain_text(re.compile("v2, "))
    page.get_by_role("link", name="Alert on this").first.click()
    expect(page.locator("main form").first).to_be_visible()
    assert "reply" in page.url
