"""Slow cases of tests/browser/test_list_walk.py."""

from urllib.parse import quote

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.test_list_walk import ANSWERS, ROWS, RUNS, scroll_on, shown
from tests.support.browser.fixtures import Tab


def place_of(page: Page, run: str) -> float:
    """Return the distance of a row from the top of the window."""
    place: float = page.locator(f"tr[data-run='{run}']").evaluate(
        "row => row.getBoundingClientRect().top"
    )
    return place


@pytest.mark.parametrize("late_ms", [0, 11_000])
def test_back_finds_the_same_place(tab: Tab, late_ms: int) -> None:
    """Going back from a run restores the filter, the loaded rows, and the position of the row."""
    page = tab.open(f"{RUNS}?where={quote(ANSWERS)}")
    expect(page.locator(".hist")).to_be_visible()  # the histogram moves the rows when it appears
    scroll_on(page)
    scroll_on(page)
    before = shown(page)
    run = before[100]
    row = page.locator(f"tr[data-run='{run}']")
    row.evaluate("row => scrollTo(0, scrollY + row.getBoundingClientRect().top - 300)")
    row.locator(".open").scroll_into_view_if_needed()  # else the click scrolls
    place = place_of(page, run)
    row.locator(".open").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{RUNS}/{run}")
    held: list[Route] = []
    page.route("**/chart?*", lambda route: held.append(route))  # noqa: PLW0108 - it is written on
    page.go_back()
    expect(page.locator(ROWS)).to_have_count(len(before))
    assert shown(page) == before
    assert page.locator("input[role=combobox]").input_value() == ANSWERS
    due_ms = page.evaluate("performance.now()") + late_ms
    page.wait_for_function("due => performance.now() >= due", arg=due_ms)
    held[0].continue_()
    expect(page.locator(".hist")).to_be_visible()  # appears above the rows and after them
    page.wait_for_function(
        "([run, place]) => Math.abs(document.querySelector(`tr[data-run='${run}']`)"
        ".getBoundingClientRect().top - place) < 2",
        arg=[run, place],
    )
