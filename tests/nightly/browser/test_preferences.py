"""Pages respect system preferences: less motion, forced colours and larger text."""

from typing import Final

from playwright.sync_api import Browser, expect

from tests.support.browser.tour import DOCS, Stop
from tests.support.collector import CollectorProcess

MOVING: Final = """() => [...document.querySelectorAll("*")].filter((one) => {
  const style = getComputedStyle(one);
  return style.animationName !== "none" || style.scrollBehavior === "smooth"
    || style.transitionDuration.split(", ").some((each) => each !== "0s");
}).map((one) => one.outerHTML.slice(0, 80)).concat(document.getAnimations().map(String))"""
MARK: Final = "cell => getComputedStyle(cell, '::before').backgroundColor"
OUTLINE: Final = "row => getComputedStyle(row).outlineStyle"
UNDERLINE: Final = "link => getComputedStyle(link).borderBottomStyle"
BACKGROUND: Final = "button => getComputedStyle(button).backgroundColor"
GROUND: Final = "() => getComputedStyle(document.body).backgroundColor"


def test_nothing_moves_when_that_is_asked(chromium: Browser, stops: list[Stop]) -> None:
    """With reduced motion, nothing on any page is animated or slides."""
    context = chromium.new_context(reduced_motion="reduce")
    moving = {}
    for stop in stops:
        page = context.new_page()
        stop.open(page)
        moving[stop.name] = page.evaluate(MOVING)
        page.close()
    context.close()
    assert moving == {stop.name: [] for stop in stops}


def test_states_are_seen_in_forced_colours(chromium: Browser, demo: CollectorProcess) -> None:
    """With forced colours, the marked row, the current page and outcomes are still visible."""
    context = chromium.new_context(forced_colors="active", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(f"{demo.endpoint}{DOCS}/runs")
    page.keyboard.press("j")
    ground = page.evaluate(GROUND)
    assert page.locator("tr.cur").evaluate(OUTLINE) == "solid"
    assert page.locator(".top nav a[aria-current]").evaluate(UNDERLINE) == "solid"
    assert page.locator("td .ok").first.evaluate(MARK) != ground
    live = page.get_by_role("switch", name="Live").locator("i")
    before = live.evaluate(BACKGROUND)
    live.click()
    assert live.evaluate(BACKGROUND) != before
    context.close()


def test_large_text_is_not_cut(chromium: Browser, demo: CollectorProcess) -> None:
    """At 200 % zoom, which halves the window, no page is wider than the window."""
    page = chromium.new_page(viewport={"width": 640, "height": 450}, device_scale_factor=2)
    for path in ("/", f"{DOCS}/runs", f"{DOCS}/models/answer"):
        page.goto(demo.endpoint + path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 640, path
    expect(page.get_by_role("heading", name="answer", exact=True)).to_be_visible()
    page.close()
