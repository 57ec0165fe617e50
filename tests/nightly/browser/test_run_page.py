"""Slow cases of tests/browser/test_run_page.py."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.test_run_page import Story, row_of
from tests.support.browser.fixtures import Tab
from tests.support.collector import running
from tests.support.folders import SCREENSHOTS


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with running(
        tmp_path_factory.mktemp("run-page"),
        "--trace-url",
        "https://jaeger.example:16686/trace/{trace_id}?from=otel-ml",
    ) as collector:
        yield Story(collector)


@pytest.fixture(params=["light", "dark"])
def tab(request: pytest.FixtureRequest, chromium: Browser, story: Story) -> Iterator[Tab]:
    """Open a tab in one theme; fail the test if the console logged anything."""
    context = chromium.new_context(
        color_scheme=request.param, viewport={"width": 1280, "height": 900}
    )
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened = Tab(context, story.collector.endpoint)
    yield opened
    folder = SCREENSHOTS
    folder.mkdir(exist_ok=True)
    name = request.node.name.removeprefix("test_").replace("[", "-").rstrip("]")
    opened.page.screenshot(path=folder / f"run-page-{name}.png", full_page=True)
    context.close()
    assert opened.complaints == []


def test_slow_span(tab: Tab, story: Story) -> None:
    """The span that took most of the trace's time is marked as slow, and the page says why."""
    page = tab.open(story.address(story.ask))
    expect(row_of(page, "answer").locator(".flag")).to_contain_text(["slow"])
    assert page.locator(".wf .flag", has_text="slow").count() == 1
    expect(page.locator("#trace-sentence")).to_contain_text("77\u202f% in one model call")


def test_slow_span_of_a_long_trace(tab: Tab, story: Story) -> None:
    """Slow spans are found among all spans of a trace, including spans that are not loaded yet."""
    page = tab.open(story.address(story.root))
    expect(page.locator(".notes")).to_contain_text("604 spans, no errors.")
    expect(page.locator("#trace-sentence")).to_contain_text("100\u202f% in one model call")
    expect(row_of(page, "crawl").locator(".flag")).to_contain_text("slow")
