"""What two versions returned for one input becomes a test, or goes to reviewers."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser.fixtures import Tab, open_tab
from tests.support.browser.prices import PROJECT, send_prices
from tests.support.collector import CollectorProcess, running

COMPARISON = f"/projects/{PROJECT}/compare?of=estimate:v1&of=estimate:v2"


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Start a collector with a model whose version 2 is worse for equal inputs."""
    with running(tmp_path_factory.mktemp("prices") / "data") as opened:
        send_prices(opened.endpoint)
        yield opened


@pytest.fixture
def tab(chromium: Browser, collector: CollectorProcess) -> Iterator[Tab]:
    """Open a tab; its test fails if the console has an error or a warning."""
    with open_tab(chromium, collector.endpoint, "light", 1280, 900) as opened:
        yield opened


def open_pairs(tab: Tab, place: str) -> Page:
    """Open the comparison of both versions, or the page of the problem."""
    if place == "comparison":
        page = tab.open(COMPARISON)
    else:
        page = tab.open(f"/projects/{PROJECT}")
        page.locator(".why").get_by_role("link", name="estimate v2 is worse").click()
    expect(page.locator("#output-pairs").get_by_text("worse first")).to_be_visible()
    return page


@pytest.mark.parametrize("place", ["comparison", "problem"])
def test_pair_as_test(tab: Tab, place: str) -> None:
    """*Save as test* on a pair saves its input, with the output of the version that passed."""
    page = open_pairs(tab, place)
    page.locator("#output-pairs").get_by_role("button", name="Save as test").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Data set").fill(f"of-{place}")
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("body")).to_contain_text(f"Saved in of-{place}")
    page = tab.open(f"/projects/{PROJECT}/datasets/of-{place}")
    item = page.locator("table").last.locator("tbody tr")
    expect(item).to_have_count(1)
    expect(item).to_contain_text("near")


@pytest.mark.parametrize("place", ["comparison", "problem"])
def test_label_of_a_pair(tab: Tab, place: str) -> None:
    """*Label* on a pair puts the run of the new version into a labelling queue."""
    page = open_pairs(tab, place)
    page.locator("#output-pairs").get_by_role("button", name="Label").first.click()
    page.wait_for_load_state("networkidle")  # then the dialog has the names of the queues
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Add", exact=True).click()
    done = re.compile("(Created review with|Added) 1 (run|call)")  # the second place has a queue
    expect(page.locator("body")).to_contain_text(done)
