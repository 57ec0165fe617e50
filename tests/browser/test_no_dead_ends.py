"""Actions that a newcomer takes from what the page shows, each with a limit on the clicks.

Ticks of rows and keys do not count.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_ten_tasks import Visit, visit
from tests.support.browser.fixtures import open_tab
from tests.support.browser.triage import send
from tests.support.collector import CollectorProcess, running
from tests.support.sampling import at_night

__all__ = ["visit"]


@pytest.fixture(scope="module")
def triage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """A collector with one day of the triage story."""
    with running(tmp_path_factory.mktemp("triage") / "data") as collector:
        send(collector.endpoint, days=1)
        yield collector


def tick(page: Page, number: int) -> None:
    """Tick the first rows of a list with the keyboard."""
    for _ in range(number):
        page.keyboard.press("j")
        page.keyboard.press("m")


def test_label_runs_without_a_queue(visit: Visit) -> None:
    """Ticked runs become a labelling queue, even if the project has none yet."""
    visit.project("triage")
    visit.click(visit.link("Runs"))
    page = visit.page
    visit.clicks = 0
    tick(page, 5)
    visit.click(page.get_by_role("button", name="Add to labelling queue"))
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Name of the new queue")).to_have_value("review")
    visit.click(dialog.get_by_role("button", name="Add", exact=True))
    visit.click(page.get_by_role("button", name="Start labelling"))
    expect(page.get_by_role("heading", name="Is the output right?")).to_be_visible()
    expect(page.locator("main")).to_contain_text("5 runs")
    assert visit.clicks <= 3


def open_failed_run(page: Page) -> None:
    """Open the dialog "Save as test" of a failed run."""
    root = page.url.partition("/projects/")[0].rstrip("/")
    page.goto(f"{root}/projects/triage/runs?all=true&where=outcome+%3D%3D+%22error%22&last=30d")
    run_id = page.locator("tr[data-run]").first.get_attribute("data-run")
    page.goto(f"{root}/projects/triage/runs/{run_id}")
    page.wait_for_load_state("networkidle")
    page.get_by_role("button", name="Save as test").click()


@at_night
def test_failed_run_as_test(visit: Visit) -> None:
    """A failed run is saved as a test with the right answer, which the dialog asks for."""
    page = visit.page
    open_failed_run(page)
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("the right answer")).to_be_checked()
    expect(dialog.get_by_label("recorded output")).to_have_count(0)
    dialog.get_by_label("Data set").fill("failures")
    dialog.get_by_label("Right answer, as text or JSON").fill("a refund")
    visit.click(dialog.get_by_role("button", name="Save", exact=True))
    expect(page.locator("body")).to_contain_text("Saved in failures")


@at_night
def test_error_stays_in_the_dialog(chromium: Browser, triage: CollectorProcess) -> None:
    """If a failed run cannot be saved, the dialog stays open and says why."""
    with open_tab(chromium, triage.endpoint, "light", 1280, 900) as tab:
        page = tab.open("/")
        open_failed_run(page)
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Data set").fill("refused")
        dialog.get_by_label("ground truth").check()
        dialog.get_by_role("button", name="Save", exact=True).click()
        expect(dialog.get_by_role("alert")).to_contain_text("without ground truth")
        assert [complaint for complaint in tab.complaints if "400" not in complaint] == []
        tab.complaints.clear()
