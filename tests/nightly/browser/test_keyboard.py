"""Everything can be reached by keyboard in reading order, and the focus is visible."""

from itertools import pairwise
from typing import Any, Final

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser.fixtures import Tab
from tests.support.browser.tour import DOCS

# The focused element: its position in the document and the window, and its outline.
FOCUSED: Final = """() => {
  const one = document.activeElement;
  if (one === document.body) return null;
  const box = one.getBoundingClientRect();
  const style = getComputedStyle(one);
  let scrolled = 0; // by the boxes around it, including the window
  for (let around = one.parentElement; around; around = around.parentElement) {
    scrolled += around.scrollTop;
  }
  return {
    place: [...document.querySelectorAll("*")].indexOf(one),
    width: box.width, height: box.height,
    left: box.left, right: box.right, top: box.top + scrolled,
    outline: style.outlineStyle, outlineWidth: parseFloat(style.outlineWidth),
    isBar: one.closest("header") !== null,
    text: (one.getAttribute("aria-label") ?? one.textContent).trim().slice(0, 40),
  };
}"""
MOST: Final = 60
PATHS: Final = ["/", f"{DOCS}/runs", f"{DOCS}/models", f"{DOCS}/models/answer"]


def walk(page: Page) -> list[dict[str, Any]]:
    """Press Tab until the focus leaves the page, at most 60 times."""
    seen: list[dict[str, Any]] = []
    for _ in range(MOST):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None or (seen and focused["place"] == seen[0]["place"]):
            break
        seen.append(focused)
    return seen


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", PATHS)
def test_tab_walks_in_reading_order(tab: Tab, path: str, width: int) -> None:
    """Tab goes down each column, from left to right; each stop is visible and outlined."""
    tab.page.set_viewport_size({"width": width, "height": 900})
    seen = walk(tab.open(path))
    assert len(seen) > 5
    assert [one["place"] for one in seen] == sorted(one["place"] for one in seen)
    for one in seen:
        assert (one["outline"], one["outlineWidth"]) == ("solid", 2), one
        assert min(one["width"], one["height"]) > 0, one
    for before, after in pairwise(seen):
        if after["isBar"]:  # on a phone the bar has two rows, with the pages in the lower one
            continue
        is_beside = after["left"] >= before["left"] and after["top"] > before["top"] - 20
        is_next_column = after["left"] >= before["right"]
        assert is_beside or is_next_column or after["top"] >= before["top"] - 2, (
            before["text"],
            before["top"],
            after["text"],
            after["top"],
        )


def test_the_first_stop_skips_the_frame(tab: Tab) -> None:
    """The first tab stop skips the common header and leads to the content."""
    page = tab.open(f"{DOCS}/runs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("main").locator("a, button, input, summary").first).to_be_focused()


def test_help_gives_the_focus_back(tab: Tab) -> None:
    """Closing the help returns the focus to the element that had it before."""
    page = tab.open(f"{DOCS}/runs")
    link = page.get_by_role("link", name="Models", exact=True)
    link.focus()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert dialog.evaluate("dialog => dialog.contains(document.activeElement)")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(link).to_be_focused()


def test_a_list_gives_the_focus_back(tab: Tab) -> None:
    """Enter opens a floating list; Escape closes it and returns the focus to its button."""
    page = tab.open(f"{DOCS}/runs")
    button = page.locator("#more > summary")
    first = page.locator("#by > summary")
    button.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(first).to_be_focused()
    page.keyboard.press("Escape")
    expect(first).to_be_hidden()
    expect(button).to_be_focused()


def test_going_with_keys(tab: Tab) -> None:
    """The key g and a letter go to the project's home, runs and models from any page."""
    page = tab.open(f"{DOCS}/models")
    for key, path in (("r", f"{DOCS}/runs?roots=1"), ("m", f"{DOCS}/models"), ("h", DOCS)):
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_url(f"**{path}")
