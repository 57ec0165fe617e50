"""The page of a run shows its artifacts in a browser."""

import hashlib
import json
import time
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

import otel_ml.types
from tests.bench.artifacts import put
from tests.support.browser.fixtures import Tab
from tests.support.collector import CollectorProcess, running
from tests.support.folders import SCREENSHOTS
from tests.support.otel_ml_collector.spans import id_of, make_artifact, make_call
from tests.support.otel_ml_collector.wire import encode

PROJECT = "artifacts of a/run"
NAME = "artifacts%20of%20a%2Frun"
ARRAY = np.linspace(0.0, 1.0, 60_000).reshape(300, 200)
PICTURE = Image.linear_gradient("L").resize((64, 48))


def told(value: object) -> tuple[str, str]:
    """Return the document and the preview of a value."""
    wrapped = otel_ml.types.wrap(value)
    return otel_ml.types.dump(wrapped).decode(), json.dumps(otel_ml.types.describe(wrapped))


class Story:
    """A collector that received a run with an uploaded array and images."""

    def __init__(self, collector: CollectorProcess) -> None:
        self.collector = collector
        now_ns = time.time_ns()
        array, of_array = told(ARRAY)
        picture, of_picture = told(PICTURE)
        events = [
            make_artifact("photo", picture, type="otel_ml.types.Image", preview=of_picture),
            make_artifact(
                "pixels",
                sha256=hashlib.sha256(array.encode()).hexdigest(),
                bytes=len(array),
                type="otel_ml.types.Numpy",
                preview=of_array,
            ),
            make_artifact("gone", sha256="0a" * 32, type="otel_ml.types.Text", preview='"short"'),
        ]
        assert put(collector.endpoint, NAME, array.encode()) == 201
        run = make_call("train", start_ns=now_ns, events=events)
        headers = {"content-type": "application/x-protobuf"}
        headers["x-otel-ml-project"] = PROJECT
        collector.deliver(encode([run]), headers)
        self.address = f"/projects/{NAME}/runs/{id_of(run)}"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with running(tmp_path_factory.mktemp("artifacts")) as collector:
        yield Story(collector)


@pytest.fixture(params=["light", "dark"])
def tab(request: pytest.FixtureRequest, chromium: Browser, story: Story) -> Iterator[Tab]:
    """Open a tab in one theme; fail the test if the console logged anything."""
    context = chromium.new_context(
        color_scheme=request.param, viewport={"width": 1280, "height": 1400}
    )
    opened = Tab(context, story.collector.endpoint)
    yield opened
    folder = SCREENSHOTS
    folder.mkdir(exist_ok=True)
    opened.page.screenshot(path=folder / f"artifacts-{request.param}.png")
    context.close()
    assert opened.complaints == []


def test_artifacts(tab: Tab, story: Story) -> None:
    """An array is shown with shape, dtype and statistics, and an image is shown as an image."""
    page = tab.open(story.address)
    shown = page.locator(".artifact")
    expect(shown).to_have_count(3)
    by_ref = {one.locator("h3").inner_text(): one for one in shown.all()}
    assert set(by_ref) == {"photo", "pixels", "gone"}
    facts = by_ref["pixels"].locator(".kv").inner_text()
    assert "300 × 200" in facts
    assert "float64" in facts
    assert "mean\n0.5\n" in facts
    image = by_ref["photo"].locator("img")
    image.scroll_into_view_if_needed()
    expect(image).to_have_js_property("complete", value=True)
    assert image.evaluate("one => [one.naturalWidth, one.naturalHeight]") == [64, 48]
    expect(by_ref["gone"]).to_contain_text("not stored")
    assert by_ref["gone"].get_by_role("button", name="Copy code").count() == 0


def test_artifacts_on_a_phone(chromium: Browser, story: Story) -> None:
    """On a phone, the page of a run with artifacts is no wider than the window."""
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    page.goto(story.collector.endpoint + story.address)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
