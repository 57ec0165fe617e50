"""Keys walk through the items of an experiment, the largest regression first."""

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from otel_ml import Client, Dataset
from otel_ml.judges.ready import exact
from tests.support.browser.fixtures import Tab
from tests.support.collector import CollectorProcess, running

NUMBERS = range(30)


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    with running(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@pytest.fixture(scope="module")
def experiment(collector: CollectorProcess) -> str:
    """Run an experiment in which three items got worse, and return its address."""
    told: list[str] = []

    def evaluate() -> None:
        client = Client("shop", endpoint=collector.endpoint, join=False)
        items = [{"id": f"n{n:02}", "inputs": {"n": n}, "expected": n} for n in NUMBERS]
        right = client.evaluate(lambda n: n, Dataset("n", items), [exact])
        wrong = client.evaluate(lambda n: n % 27, Dataset("n", items), [exact], baseline=right)
        client.close()
        told.append(f"/projects/shop/experiments/{wrong.experiment.id}")

    apart = threading.Thread(target=evaluate)  # Playwright's event loop may run in this thread
    apart.start()
    apart.join()
    return told[0]


@pytest.fixture
def page(chromium: Browser, collector: CollectorProcess) -> Iterator[Tab]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    yield Tab(context, collector.endpoint)
    context.close()


def test_walk(page: Tab, experiment: str) -> None:
    """`j` opens the first item, then the next; `k` goes back; both stop at the end of the list."""
    shown = page.open(f"{experiment}?show=regression")
    heading = shown.locator("#item h3")
    for key, item in (("j", "n27"), ("k", "n27"), ("j", "n28"), ("j", "n29"), ("k", "n28")):
        shown.keyboard.press(key)
        expect(heading).to_have_text(f"Item {item}")
    shown.keyboard.press("j")
    expect(shown.get_by_role("link", name="Next")).to_have_count(0)
    expect(shown.get_by_role("link", name="Previous")).to_have_count(1)


def test_mark(page: Tab, experiment: str) -> None:
    """`m` marks the open item, and the mark survives a reload; a second `m` removes the mark."""
    shown = page.open(f"{experiment}?show=regression")
    for key in ("j", "j"):
        shown.keyboard.press(key)
        shown.wait_for_url("**item=*")
    mark = shown.get_by_role("button", name="Mark")
    expect(shown.locator("#item h3")).to_have_text("Item n28")
    expect(mark).to_have_attribute("aria-pressed", "false")
    shown.keyboard.press("m")
    expect(mark).to_have_attribute("aria-pressed", "true")
    shown.reload()
    expect(mark).to_have_attribute("aria-pressed", "true")
    address = shown.url
    shown.get_by_role("link", name="show marked").click()
    expect(shown.locator("tbody tr[data-run]")).to_have_count(1)
    expect(shown.locator("tbody tr[data-run]")).to_contain_text("28")
    shown.goto(address)
    shown.keyboard.press("m")
    expect(mark).to_have_attribute("aria-pressed", "false")
    shown.reload()
    expect(mark).to_have_attribute("aria-pressed", "false")


def test_baseline(page: Tab, collector: CollectorProcess, experiment: str) -> None:
    """The page of an experiment makes it the baseline, and takes that back."""
    named = 'tags["baseline"] == True'
    run_id = experiment.rpartition("/")[2]

    def find() -> list[str]:
        found = collector.get("/projects/shop/experiments", where=named)["experiments"]
        return [one["run_id"] for one in found]

    shown = page.open(experiment)
    button = shown.get_by_role("button", name="Set as baseline")
    for is_pressed, wanted in (("true", [run_id]), ("false", [])):
        button.focus()
        shown.keyboard.press("Enter")
        expect(button).to_have_attribute("aria-pressed", is_pressed)
        assert find() == wanted
        shown.reload()
        expect(button).to_have_attribute("aria-pressed", is_pressed)
    report = shown.get_by_role("link", name="Show as Markdown")
    report.focus()
    shown.keyboard.press("Enter")
    expect(shown.locator("body")).to_contain_text("[the experiment](http")
    expect(shown.locator("body")).to_contain_text("| worse | by |")
