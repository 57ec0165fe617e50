"""Slow cases of tests/browser/test_frame.py."""

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from otel_ml_collector.web.render import PARTS
from tests.support.browser.fixtures import Tab
from tests.support.browser.tour import DOCS, Stop
from tests.support.collector import CollectorProcess


def hosts_of(page: Page) -> set[str]:
    """Collect the hosts that a tab sends requests to, from now on."""
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    return hosts


def test_every_page_is_strict_and_its_own(chromium: Browser, stops: list[Stop]) -> None:
    """Each page sends requests to no other host, has a strict CSP, and names its API calls."""
    for stop in stops:
        page = chromium.new_page()
        hosts = hosts_of(page)
        answer = page.goto(stop.address)
        assert answer is not None
        page.wait_for_load_state("networkidle")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy, stop.name
        assert "unsafe" not in policy, stop.name
        assert hosts == {urlsplit(stop.address).netloc}, stop.name
        has_calls = page.locator("#api-call").count() == page.locator("#python-call").count() == 1
        assert has_calls is not stop.name.startswith(("error", "sign-in", "metrics-empty")), (
            stop.name
        )
        page.close()


def test_pages_work_offline(chromium: Browser, demo: CollectorProcess) -> None:
    """A page works when the collector is the only reachable host."""
    context = chromium.new_context()
    context.route(
        lambda url: not url.startswith(demo.endpoint), lambda route: route.abort("failed")
    )
    page = context.new_page()
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.goto(f"{demo.endpoint}/projects/digits/metrics")
    expect(page.locator(".plot canvas").first).to_be_visible()
    assert failed == []
    context.close()


@pytest.mark.parametrize("part", PARTS)
def test_switcher_keeps_the_place(tab: Tab, part: str) -> None:
    """Switching to another project keeps the kind of page."""
    page = tab.open(f"{DOCS}/{part}")
    page.locator("details.switch > summary").first.click()
    page.locator(".pop").get_by_role("link", name="digits").click()
    page.wait_for_url(f"**/projects/digits/{part}")
    expect(page.locator(".top nav a[aria-current=page]")).to_have_text(PARTS[part])


def test_an_error_page_leads_on(chromium: Browser, demo: CollectorProcess) -> None:
    """An error page names the problem and links back into the project."""
    page = chromium.new_page()
    page.goto(f"{demo.endpoint}{DOCS}/models/none")
    expect(page.get_by_role("alert")).to_contain_text("none")
    page.get_by_role("link", name="Models in docs-search").click()
    expect(page.get_by_role("heading", name="Models")).to_be_visible()
    page.close()


def test_projects_are_at_home(chromium: Browser, demo: CollectorProcess) -> None:
    """An address without a project name leads to the list of projects."""
    page = chromium.new_page()
    page.goto(f"{demo.endpoint}/projects/")
    expect(page.get_by_role("heading", name="All projects")).to_be_visible()
    assert urlsplit(page.url).path == "/"
    page.close()
