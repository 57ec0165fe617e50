"""Items of a data set can be added, changed and removed on its page, each in a new version."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from otel_ml import Client, Dataset
from otel_ml.judges.ready import exact
from tests.support.browser.fixtures import Tab
from tests.support.collector import CollectorProcess, running

ITEMS = [
    {"id": "plain", "inputs": {"question": "2+2"}, "expected": "4", "tags": {"topic": "sums"}},
    {"id": "number", "inputs": {"question": "3+3"}, "expected": 6},
    {"id": "typed", "inputs": {"values": np.arange(3)}, "expected": 3},
]


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    with running(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@pytest.fixture
def client(collector: CollectorProcess) -> Iterator[Client]:
    opened = Client("shop", endpoint=collector.endpoint, join=False)
    yield opened
    opened.close()


@pytest.fixture
def page(chromium: Browser, collector: CollectorProcess) -> Iterator[Tab]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    yield Tab(context, collector.endpoint)
    context.close()


def items_of(collector: CollectorProcess, name: str, version: int) -> dict[str, object]:
    """Return the expected value of each item of a version, by item id."""
    path = f"/projects/shop/datasets/{name}/versions/{version}/items"
    return {one["id"]: one["expected"] for one in collector.get(path)["items"]}


def test_changed(page: Tab, client: Client, collector: CollectorProcess) -> None:
    """Editing an item changes only the edited field; saving the same content adds no version."""
    client.save(Dataset("changed", ITEMS))
    shown = page.open("/projects/shop/datasets/changed")
    shown.get_by_role("button", name="Edit item plain").click()
    dialog = shown.locator("#edit-item")
    expect(dialog.get_by_label("Expected")).to_have_value('"4"')
    dialog.get_by_label("Expected").fill("four")
    dialog.get_by_label("Note for this version").fill("in words")
    dialog.get_by_role("button", name="Save as v2").click()
    expect(shown.locator("h1 + b")).to_have_text("v2")
    expect(shown.locator("#versions tbody tr").first).to_contain_text("in words")
    assert items_of(collector, "changed", 2) == {"number": 6, "plain": "four", "typed": 3}
    path = "/projects/shop/datasets/changed/versions/2/diff"
    assert collector.get(path, against=1)["changed"] == 1
    shown.get_by_role("button", name="Edit item number").click()
    dialog.get_by_role("button", name="Save as v3").click()
    expect(dialog).to_be_hidden()  # the same content is the same version
    assert items_of(collector, "changed", 2)["number"] == 6


def test_added_and_removed(page: Tab, client: Client, collector: CollectorProcess) -> None:
    """A new item gets its own id, and an item with typed values can only be removed."""
    client.save(Dataset("grown", ITEMS))
    shown = page.open("/projects/shop/datasets/grown")
    shown.get_by_role("button", name="Add item").click()
    dialog = shown.locator("#edit-item")
    expect(dialog.get_by_role("button", name="Remove item")).to_be_hidden()
    dialog.get_by_label("Inputs").fill('{"question": "4+4"}')
    dialog.get_by_label("Tags").fill("topic")
    dialog.get_by_role("button", name="Save as v2").click()
    expect(shown.locator(".toast")).to_contain_text("Tags must be a JSON object")
    dialog.get_by_label("Tags").fill('{"topic": "sums"}')
    dialog.get_by_role("button", name="Save as v2").click()
    expect(shown.locator("h1 + b")).to_have_text("v2")
    assert len(items_of(collector, "grown", 2)) == 4
    shown.get_by_role("button", name="Edit item typed").click()
    expect(dialog.get_by_role("button", name="Save as v3")).to_be_hidden()
    expect(dialog.get_by_label("Inputs")).to_be_hidden()
    dialog.get_by_role("button", name="Remove item").click()
    expect(shown.locator("h1 + b")).to_have_text("v3")
    assert "typed" not in items_of(collector, "grown", 3)


def test_somebody_was_faster(page: Tab, client: Client, collector: CollectorProcess) -> None:
    """A change based on an outdated version is refused, and nothing is lost."""
    client.save(Dataset("raced", ITEMS[:2]))
    shown = page.open("/projects/shop/datasets/raced")
    client.save(Dataset("raced", ITEMS))
    shown.get_by_role("button", name="Edit item plain").click()
    dialog = shown.locator("#edit-item")
    dialog.get_by_role("button", name="Remove item").click()
    expect(dialog).to_contain_text("The newest version of 'raced' is 2")
    assert len(items_of(collector, "raced", 2)) == 3


def test_history(page: Tab, client: Client) -> None:
    """Each item shows its results in the last experiments, which filter the list of items."""
    items = [{"id": f"n{n}", "inputs": {"n": n}, "expected": n} for n in range(4)]
    tried = Dataset("tried", items)
    client.save(tried)
    with ThreadPoolExecutor(1) as apart:  # Playwright's event loop runs in this thread
        for answer in (lambda n: n, lambda n: n if n != 2 else None):
            apart.submit(client.evaluate, answer, tried, [exact]).result()
    assert client.flush()
    shown = page.open("/projects/shop/datasets/tried")
    expect(shown.locator(".note")).to_contain_text("3 items always pass, 0 never pass.")
    assert marks(shown) == ["passed, passed"] * 2 + ["passed, failed"] + ["passed, passed"]
    shown.get_by_role("link", name="Different results 1").click()
    expect(shown.locator("#items tbody tr")).to_have_count(1)
    assert marks(shown) == ["passed, failed"]


def marks(shown: Page) -> list[str | None]:
    """Return the labels of the items' result strips."""
    return [one.get_attribute("aria-label") for one in shown.locator("#items .strip").all()]
