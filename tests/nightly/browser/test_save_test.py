"""Runs can be saved as items of a data set, from the page of a run and from a filtered list."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from otel_ml import Client
from tests.support.browser.fixtures import Tab
from tests.support.collector import CollectorProcess, running
from tests.support.waiting import wait_until

ASKED: dict[str, str] = {}


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Start a collector with three answers."""
    with running(tmp_path_factory.mktemp("data")) as opened:
        client = Client("shop", endpoint=opened.endpoint)

        @client.trace
        def answer(question: str) -> str:
            return f"no {question}"

        for question in ("a", "b", "c"):
            answer(question)
        assert client.flush()
        client.close()
        [run] = opened.runs("shop", where='inputs.question == "b"')
        ASKED["b"] = run["run_id"]
        yield opened


@pytest.fixture
def page(chromium: Browser, collector: CollectorProcess) -> Iterator[Tab]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    yield Tab(context, collector.endpoint)
    context.close()


def items_of(collector: CollectorProcess, name: str) -> dict[str, object]:
    """Return the expected output of each question in the newest version of a data set."""
    path = f"/projects/shop/datasets/{name}/versions"
    found = collector.get(path)
    if "versions" not in found:
        return {}
    number = found["versions"][0]["version"]
    items = collector.get(f"{path}/{number}/items")["items"]
    return {one["inputs"]["question"]: one["expected"] for one in items}


def test_one_run(page: Tab, collector: CollectorProcess) -> None:
    """A run is saved with its output as the expected one, then with a different expected output."""
    shown = page.open(f"/projects/shop/runs/{ASKED['b']}")
    shown.get_by_role("button", name="Save as test").click()
    dialog = shown.locator("#save-test")
    dialog.get_by_label("Data set").fill("qa")
    dialog.get_by_role("button", name="Save").click()
    expect(shown.locator(".toast")).to_have_text("Saved in qa")
    wait_until(lambda: items_of(collector, "qa") == {"b": "no b"})
    shown.get_by_role("button", name="Save as test").click()
    expect(dialog.get_by_label("Data set")).to_have_value("qa")
    dialog.get_by_label("Expected output").fill('{"right": [1, true]}')
    expect(dialog.get_by_label("this:")).to_be_checked()
    dialog.get_by_role("button", name="Save").click()
    wait_until(lambda: items_of(collector, "qa") == {"b": {"right": [1, True]}})


def test_a_filtered_list(page: Tab, collector: CollectorProcess) -> None:
    """All runs that match a filter are saved, without an expected output if "nothing" is chosen."""
    shown = page.open("/projects/shop/runs?where=inputs.question%20!%3D%20%22b%22")
    shown.get_by_role("button", name="Add to data set").click()
    dialog = shown.locator("#save-test")
    dialog.get_by_label("Data set").fill("others")
    dialog.get_by_label("nothing").check()
    dialog.get_by_role("button", name="Save").click()
    wait_until(lambda: items_of(collector, "others") == {"a": None, "c": None})


def test_selected_rows(page: Tab, collector: CollectorProcess) -> None:
    """Only ticked rows are saved as items."""
    shown = page.open("/projects/shop/runs?roots=1")
    boxes = shown.locator(".runs tbody .tk input")
    expect(boxes).to_have_count(3)
    boxes.nth(0).check()
    boxes.nth(2).check()
    shown.get_by_role("button", name="Save as tests").click()
    dialog = shown.locator("#save-test")
    expect(dialog.locator("h2")).to_have_text("Save 2 requests as tests")
    dialog.get_by_label("Data set").fill("picked")
    dialog.get_by_role("button", name="Save").click()
    wait_until(lambda: items_of(collector, "picked") == {"a": "no a", "c": "no c"})


def test_none_can_be_saved(page: Tab) -> None:
    """If no run has ground truth, the form shows the collector's error and stays open."""
    shown = page.open("/projects/shop/runs?where=inputs.question%20!%3D%20%22b%22")
    shown.get_by_role("button", name="Add to data set").click()
    shown.locator("#save-test").get_by_label("Data set").fill("none")
    shown.locator("#save-test").get_by_label("ground truth").check()
    shown.locator("#save-test").get_by_role("button", name="Save").click()
    expect(shown.locator("#save-test")).to_contain_text(
        "None of these runs can be added as an item"
    )


def test_the_form_is_seen(page: Tab, shots: Path) -> None:
    """The form has a screenshot and closes with its Cancel button."""
    shown = page.open(f"/projects/shop/runs/{ASKED['b']}")
    shown.get_by_role("button", name="Save as test").click()
    shown.screenshot(path=shots / "save-test.png")
    shown.locator("#save-test").get_by_role("button", name="Cancel").click()
    expect(shown.locator("#save-test")).to_be_hidden()
