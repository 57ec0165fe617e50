"""Tests of the Settings page and the navigation bar in a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser.fixtures import Tab, open_tab
from tests.support.collector import CollectorProcess
from tests.support.sampling import at_night, sampled

pytestmark = sampled(without="*dark*")


@pytest.fixture
def tab(chromium: Browser, own_collector: CollectorProcess) -> Iterator[Tab]:
    """A tab on a collector without keys."""
    with open_tab(chromium, own_collector.endpoint, "light", 1280, 900) as opened:
        yield opened


def create_key(page: Page, name: str) -> str:
    """Fill in the open form; return the text of the key."""
    form = page.locator("#create")
    form.get_by_label("Name").fill(name)
    form.get_by_role("button", name="Create key").click()
    expect(page.locator("#made")).to_contain_text("it is shown only once")
    return page.locator("#new-key").inner_text()


def test_create_use_and_revoke_a_key(tab: Tab, shots: Path) -> None:
    """The first key signs its owner in, who creates another key and revokes it."""
    page = tab.open("/projects/shop")
    page.get_by_role("link", name="Settings").click()
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
    text = create_key(page, "tom")
    page.get_by_role("link", name="Settings").click()
    page.get_by_label("Key", exact=True).fill(text)
    page.keyboard.press("Enter")
    page.wait_for_url("**/projects/shop/settings")
    rows = page.locator("#key-list tbody tr")
    expect(rows).to_have_count(1)
    page.locator("#create > summary").click()
    create_key(page, "shop-api")
    expect(rows).to_have_count(2)
    rows.nth(1).get_by_text("Revoke", exact=True).click()
    confirm = rows.nth(1).get_by_role("button", name="Revoke this key")
    page.screenshot(path=shots / "settings-revoke.png")
    confirm.click()
    expect(rows).to_have_count(1)
    page.get_by_text("History of keys").click()
    expect(page.locator("#changes tbody tr")).to_have_count(3)
    expect(page.locator("#changes tbody tr").first).to_contain_text("revoked")


@at_night
def test_navigation_on_a_phone(chromium: Browser, own_collector: CollectorProcess) -> None:
    """At 390 px the name of the page is visible, and Settings is in the first line."""
    with open_tab(chromium, own_collector.endpoint, "light", 390, 800) as opened:
        for path, name in (("monitor", "Monitor"), ("judges", "Judges"), ("runs", "Runs")):
            page = opened.page  # an empty list polls and is never idle
            page.goto(f"{own_collector.endpoint}/projects/shop/{path}")
            expect(page.locator(".top nav [aria-current]")).to_have_text(name)
            shown = page.locator(".top nav [aria-current]").bounding_box()
            first = page.locator(".brand").bounding_box()
            settings = page.get_by_role("link", name="Settings").bounding_box()
            assert shown
            assert first
            assert settings
            assert 0 <= shown["x"] <= 390 - shown["width"]
            assert abs(settings["y"] - first["y"]) < first["height"]
            assert settings["x"] + settings["width"] <= 390
            assert page.evaluate("document.documentElement.scrollWidth") <= 390


@at_night
def test_times(tab: Tab) -> None:
    """The button and the key `t` switch all times between relative and absolute."""
    page = tab.open("/projects/shop/settings")
    create_key(page, "tom")
    button = page.locator("#times")
    expect(button).to_have_text("Times: relative")
    button.click()
    expect(button).to_have_text("Times: absolute")
    page.keyboard.press("t")
    expect(button).to_have_text("Times: relative")
