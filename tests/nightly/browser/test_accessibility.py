"""axe-core finds no problem and nothing overflows, on every page in a light and a dark window."""

from typing import Final, Literal

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser.axe import find_violations
from tests.support.browser.tour import DOCS, Stop
from tests.support.collector import CollectorProcess

# Links in table rows that are smaller than 24 px or reach beyond the cell that clips them.
# The link of a row is included, although the whole row can be clicked.
SMALL_LINKS: Final = """() => {
  const isSmall = (link) => {
    const {left, right, width, height} = link.getBoundingClientRect();
    const cell = link.parentElement.getBoundingClientRect();
    return width < 24 || height < 24 || left < cell.left || right > cell.right;
  };
  const links = [...document.querySelectorAll(".runs tbody td > a")];
  return links.filter(isSmall).map((link) => link.outerHTML);
}"""


@pytest.mark.usefixtures("node")  # installs axe-core
@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing(
    chromium: Browser, stops: list[Stop], theme: Literal["light", "dark"], width: int
) -> None:
    """No page violates WCAG 2.2 AA in any state, and no page is wider than the window."""
    context = chromium.new_context(color_scheme=theme, viewport={"width": width, "height": 900})
    found = {}
    for stop in stops:
        page = context.new_page()
        stop.open(page)
        found[stop.name] = find_violations(page)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found[stop.name].append("wider than the window")
        page.close()
    context.close()
    assert found == {stop.name: [] for stop in stops}


def test_links_of_rows_are_large_enough(chromium: Browser, demo: CollectorProcess) -> None:
    """Links in list rows are at least 24 px in both directions and stay inside their cell."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{demo.endpoint}{DOCS}/runs?roots=1")
    expect(page.get_by_title("Worst result of the calls inside this request").first).to_be_visible()
    assert page.evaluate(SMALL_LINKS) == []
    page.close()
