"""The items of an experiment are walked through with keys, the one that got worse most first."""

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from otel_ml import Client, Dataset
from otel_ml.judges.ready import exact
from tests.browser.conftest import Tab
from tests.support.collector import CollectorProcess, running

pytestmark = pytest.mark.browser
NUMBERS = range(30)


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    with running(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@pytest.fixture(scope="module")
def experiment(collector: CollectorProcess) -> str:
    """The address of an experiment in which three items got worse."""
    told: list[str] = []

    def evaluate() -> None:
        client = Client("shop", endpoint=collector.endpoint, join=False)
        items = [{"id": f"n{n:02}", "inputs": {"n": n}, "expected": n} for n in NUMBERS]
        right = client.evaluate(lambda n: n, Dataset("n", items), [exact])
        wrong = client.evaluate(lambda n: n % 27, Dataset("n", items), [exact], baseline=right)
        client.close()
        told.append(f"/projects/shop/experiments/{wrong.experiment.id}")

    apart = threading.Thread(target=evaluate)  # this thread may have a loop, Playwright's
    apart.start()
    apart.join()
    return told[0]


@pytest.fixture
def page(chromium: Browser, collector: CollectorProcess) -> Iterator[Tab]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    yield Tab(context, collector.endpoint)
    context.close()


def test_walk(page: Tab, experiment: str) -> None:
    """`j` opens the first item, then the next one; `k` goes back; both end where the list ends."""
    shown = page.open(f"{experiment}?show=regression")
    heading = shown.locator("#item h3")
    for key, item in (("j", "n27"), ("k", "n27"), ("j", "n28"), ("j", "n29"), ("k", "n28")):
        shown.keyboard.press(key)
        expect(heading).to_have_text(f"Item {item}")
    shown.keyboard.press("j")
    expect(shown.get_by_role("link", name="Next")).to_have_count(0)
    expect(shown.get_by_role("link", name="Previous")).to_have_count(1)
