"""Tests of values that people recognise: a table, an image, a sound, an array, many keys."""

import base64
import io
import json
import wave
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from otel_ml.capture.taker import describe
from otel_ml_collector.span import Span
from tests.support.browser.fixtures import open_tab
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.spans import id_of, make_call
from tests.support.otel_ml_collector.wire import encode
from tests.support.sampling import sampled

PROJECT = "recognised"


def make_sound() -> str:
    content = io.BytesIO()
    with wave.open(content, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        sound.writeframes(bytes(16_000))
    return f"data:audio/wav;base64,{base64.b64encode(content.getvalue()).decode()}"


def make_inputs() -> dict[str, object]:
    """Return a value of each kind, as the SDK describes it."""
    pixels = np.random.default_rng(0).integers(0, 256, (72, 96, 3), dtype=np.uint8)
    return {
        "houses": [{"city": "Halle", "area": 119.5}, {"city": None, "area": 64}],
        "photo": describe(Image.fromarray(pixels)),
        "pixels": describe(pixels),
        "call": make_sound(),
        "prices": describe(np.arange(1_000) / 4),
        "matrix": [[1, 2, 3, 4], [5, 6, 7, 8]],
        "found": [{"content": "69 hours", "score": 0.91}],
    }


OUTPUTS = {f"feature {place}": place / 7 for place in range(200)}


@pytest.fixture(scope="module")
def run(collector: CollectorProcess) -> Span:
    """A run with a value of each kind."""
    attributes = {
        "otel_ml.inputs": json.dumps(make_inputs()),
        "otel_ml.outputs": json.dumps(OUTPUTS),
    }
    span = make_call("recognise", attributes)
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": PROJECT}
    collector.deliver(encode([span]), headers)
    return span


def send(collector: CollectorProcess, method: str, path: str, body: object) -> None:
    """Send a change of the project to the API."""
    address = f"{collector.endpoint}/api/v1/projects/{PROJECT}/{path}"
    headers = {"content-type": "application/json"}
    request = Request(address, json.dumps(body).encode(), headers, method=method)
    with urlopen(request, timeout=60) as answered:
        assert answered.status == 200


def check(page: Page, outputs: str = "output") -> None:
    """Check the values of a page or of a preview."""
    grid = page.get_by_role("region", name="Table")
    expect(grid.get_by_role("columnheader", name="area")).to_contain_text("64.0 to 119.5")
    expect(grid.get_by_role("cell", name="missing")).to_be_visible()
    images = page.get_by_role("img", name="Recorded image")
    expect(images).to_have_count(2)
    for image in images.all():
        image.scroll_into_view_if_needed()
        page.wait_for_function("image => image.naturalWidth > 0", arg=image.element_handle())
    expect(page.locator("#input")).to_contain_text("96 × 72")
    sound = page.locator("audio").element_handle()
    page.wait_for_function("sound => sound.duration === 1", arg=sound)
    expect(page.get_by_role("img", name="Line of 63 numbers from 0 to 248")).to_be_visible()
    expect(page.locator(".line1 div span")).to_have_text(["400", "200", "0"])
    expect(page.get_by_role("img", name="Heat map from 1 to 8")).to_be_visible()
    expect(page.locator(".pas1")).to_contain_text("69 hours")
    search = page.get_by_role("searchbox", name="Search in 200 values")
    search.fill("feature 19")
    expect(page.locator(f"#{outputs} .vlist > div:visible")).to_have_count(11)
    expect(page.locator(f"#{outputs} .vlist > div:visible").first).to_have_text("feature 192.714")


@sampled(1)
@pytest.mark.parametrize("width", [1280, 390])
def test_values(chromium: Browser, collector: CollectorProcess, run: Span, width: int) -> None:
    """The page of a run and its preview show the same, no wider than the window."""
    with open_tab(chromium, collector.endpoint, "light", width, 900) as tab:
        page = tab.open(f"/projects/{PROJECT}/runs/{id_of(run)}")
        check(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page = tab.open(f"/projects/{PROJECT}/runs")
        page.locator("tr[data-run]").first.click()
        expect(page.locator("#preview #input")).to_be_visible()
        check(page)


def test_values_of_an_item(chromium: Browser, collector: CollectorProcess) -> None:
    """An item of a data set shows its values like a run, and leads back to its list."""
    item = {"id": "all kinds", "inputs": make_inputs(), "expected": OUTPUTS}
    send(collector, "POST", "datasets/kinds/items", {"items": [item]})
    with open_tab(chromium, collector.endpoint, "light", 1280, 900) as tab:
        page = tab.open(f"/projects/{PROJECT}/datasets/kinds")
        page.locator("#items tbody a").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("all kinds")
        check(page, "expected")
        page.get_by_role("link", name="kinds", exact=True).click()
        expect(page.locator("#items")).to_be_visible()


def test_values_in_a_queue(chromium: Browser, collector: CollectorProcess, run: Span) -> None:
    """A labelling queue shows the values of a run like the run's own page."""
    choices = [{"label": "Right", "passed": True}, {"label": "Wrong", "passed": False}]
    queue = {"judge": "seen", "labels": choices, "where": 'model == "recognise"'}
    send(collector, "PUT", "queues/kinds", queue)
    with open_tab(chromium, collector.endpoint, "light", 1280, 900) as tab:
        page = tab.open(f"/projects/{PROJECT}/queues/kinds?as=Mira")
        check(page)
