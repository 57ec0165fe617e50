"""Ticked rows of a list show a bar with their number and with actions for them."""

import json
from collections.abc import Iterator
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, Page, expect

from otel_ml import Client
from tests.support.browser.fixtures import Tab
from tests.support.collector import CollectorProcess, running
from tests.support.waiting import wait_until

SHOP = "/projects/shop"


@pytest.fixture
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Start a collector with three requests of two calls each, and a labelling queue."""
    with running(tmp_path_factory.mktemp("data")) as opened:
        client = Client("shop", endpoint=opened.endpoint)

        @client.trace
        def look_up(question: str) -> str:
            return f"no {question}"

        @client.trace
        def answer(question: str) -> str:
            return look_up(question)

        for question in ("a", "b", "c"):
            answer(question)
        assert client.flush()
        client.close()
        queue = {"judge": "right", "where": 'model == "none"', "labels": [{"label": "Yes"}]}
        address = f"{opened.endpoint}/api/v1{SHOP}/queues/checks"
        headers = {"content-type": "application/json"}
        with urlopen(Request(address, json.dumps(queue).encode(), headers, method="PUT")):
            yield opened


@pytest.fixture
def page(chromium: Browser, collector: CollectorProcess) -> Iterator[Page]:
    """Open the list of requests, with the first two rows ticked."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    opened = Tab(context, collector.endpoint).open(f"{SHOP}/runs?roots=1")
    for place in range(2):
        opened.locator(".runs tbody .tk input").nth(place).check()
    expect(opened.locator("#compare b")).to_have_text("2 selected")
    yield opened
    context.close()


def press(page: Page, name: str) -> None:
    """Click a button of the bar."""
    page.locator("#compare").get_by_role("button", name=name).click()


def tagged(collector: CollectorProcess) -> int:
    return len(collector.runs("shop", where='tags["topic"] == "late"'))


def test_tag_and_undo(page: Page, collector: CollectorProcess) -> None:
    """A tag is added to the selected rows only, and one click removes it."""
    press(page, "Tag")
    dialog = page.locator("#tag-runs")
    expect(dialog.locator("h2")).to_have_text("Tag 2 requests")
    dialog.get_by_label("Name").fill("topic")
    dialog.get_by_label("Value").fill("late")
    dialog.get_by_role("button", name="Add tag").click()
    expect(page.locator(".toast")).to_contain_text("Tagged 2 requests")
    wait_until(lambda: tagged(collector) == 2)
    expect(page.locator("#compare")).to_be_hidden()
    page.locator(".toast").get_by_role("button", name="Undo").click()
    wait_until(lambda: tagged(collector) == 0)


def test_queue_and_undo(page: Page, collector: CollectorProcess) -> None:
    """The selected rows are added to a labelling queue, and one click removes them."""
    press(page, "Add to labelling queue")
    dialog = page.locator("#queue-runs")
    expect(dialog.locator("option")).to_have_text(["checks", "New queue"])
    dialog.get_by_role("button", name="Add").click()

    def waiting() -> int:
        number: int = collector.get(f"{SHOP}/queues/checks")["progress"]["runs"]
        return number

    wait_until(lambda: waiting() == 2)
    page.locator(".toast").get_by_role("button", name="Undo").click()
    wait_until(lambda: waiting() == 0)


def test_delete(page: Page, collector: CollectorProcess) -> None:
    """Deleting asks for confirmation with the number of rows, and also deletes the calls inside."""
    press(page, "Delete 2 requests")
    dialog = page.locator("#delete-runs")
    expect(dialog.locator("h2")).to_have_text("Delete 2 requests?")
    dialog.get_by_role("button", name="Cancel").click()
    assert len(collector.runs("shop")) == 6
    press(page, "Delete 2 requests")
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator(".runs tbody tr[data-run]")).to_have_count(1)
    assert len(collector.runs("shop")) == 2


def test_clear(page: Page) -> None:
    """Escape clears the selection, and the first box selects all rows."""
    page.locator("body").press("Escape")
    expect(page.locator("#compare")).to_be_hidden()
    page.locator(".runs thead .tk input").check()
    expect(page.locator("#compare b")).to_have_text("3 selected")
