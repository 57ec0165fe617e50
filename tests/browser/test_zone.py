"""Tests of time zones: pages use the browser's zone, and charts name it at their axis."""

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser.fixtures import Tab
from tests.support.browser.tour import DOCS
from tests.support.collector import CollectorProcess
from tests.support.sampling import at_night

ZONE = "Australia/Adelaide"


@pytest.fixture
def adelaide(chromium: Browser, demo: CollectorProcess) -> Iterator[Tab]:
    """A tab on its first visit, in a browser whose zone is Adelaide's."""
    context = chromium.new_context(timezone_id=ZONE)
    opened = Tab(context, demo.endpoint)
    yield opened
    context.close()
    assert opened.complaints == []


def axis_of(tab: Tab, path: str) -> tuple[list[str], str]:
    """Return the labels below a histogram, and the time of its right end."""
    page = tab.open(path)
    expect(page.locator(".hist figcaption span")).to_have_count(3)
    labels = page.locator(".hist figcaption span").all_text_contents()
    edges = page.locator(".hist svg").get_attribute("data-edges") or ""
    return labels, edges.split()[-1]


def clock(time: str, zone: ZoneInfo) -> str:
    """Format a time of the API as a clock in a zone shows it."""
    moment = datetime.fromisoformat(time[:19]).replace(tzinfo=UTC)
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def test_axis_names_the_zone_of_the_browser(adelaide: Tab) -> None:
    """The first page is in UTC and says so; the next page uses the browser's zone."""
    (*_, first), end = axis_of(adelaide, f"{DOCS}/runs")
    assert first.endswith(" UTC")
    assert first.removesuffix(" UTC") in clock(end, ZoneInfo("UTC"))
    (*_, later), end = axis_of(adelaide, f"{DOCS}/runs")
    assert later.endswith(f" {ZONE}")
    assert later.removesuffix(f" {ZONE}") in clock(end, ZoneInfo(ZONE))
    expect(adelaide.page.locator("#time")).to_contain_text(f"From, {ZONE}")


@at_night
def test_address_names_a_zone(adelaide: Tab) -> None:
    """A zone in the address takes precedence over the browser's, and links keep it."""
    adelaide.open(f"{DOCS}/runs")
    (*_, label), _ = axis_of(adelaide, f"{DOCS}/runs?tz=Europe/Berlin")
    assert label.endswith(" Europe/Berlin")
    page = adelaide.page
    page.get_by_role("link", name="All calls").click()
    expect(page.locator(".hist figcaption span").last).to_contain_text("Europe/Berlin")
    assert "tz=Europe" in page.url
