"""Pages show runs that have not ended."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from otel_ml_collector.span import Span
from tests.support.browser.fixtures import Tab, open_tab
from tests.support.collector import CollectorProcess, running
from tests.support.folders import SCREENSHOTS
from tests.support.otel_ml_collector.spans import SECOND_NS, id_of, make_call, make_sign, make_start
from tests.support.otel_ml_collector.wire import encode

PROJECT = "unfinished"


class Story:
    """A collector that received a running, a crashed and an ended run."""

    def __init__(self, collector: CollectorProcess) -> None:
        self.collector = collector
        now_ns = time.time_ns()
        self.running = make_call("train", start_ns=now_ns - 90 * SECOND_NS)
        self.crashed = make_call("index", start_ns=now_ns - 60 * SECOND_NS)
        ended = make_call(
            "epoch",
            start_ns=now_ns - 80 * SECOND_NS,
            end_ns=now_ns - 50 * SECOND_NS,
            trace_id=self.running.trace_id,
            parent_span_id=self.running.span_id,
        )
        self._send(
            make_start(self.running, {"otel_ml.inputs.preview": '{"data": "digits"}'}),
            make_start(self.crashed, {"otel_ml.process": "00000002"}),
            make_sign("goodbye", now_ns, "00000002"),
            ended,
        )

    def _send(self, *spans: Span) -> None:
        headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": PROJECT}
        self.collector.deliver(encode(spans), headers)

    def address(self, run: Span) -> str:
        return f"/projects/{PROJECT}/runs/{id_of(run)}"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with running(tmp_path_factory.mktemp("unfinished")) as collector:
        yield Story(collector)


@pytest.fixture(params=["light", "dark"])
def tab(request: pytest.FixtureRequest, chromium: Browser, story: Story) -> Iterator[Tab]:
    """Open a tab in one theme; fail the test if the console logged anything."""
    with open_tab(chromium, story.collector.endpoint, request.param, 1280, 700) as opened:
        yield opened
        opened.page.screenshot(path=_shot(request))


def _shot(request: pytest.FixtureRequest) -> Path:
    folder = SCREENSHOTS
    folder.mkdir(exist_ok=True)
    name = request.node.name.removeprefix("test_").replace("[", "-").rstrip("]")
    return folder / f"{name}.png"


def test_unfinished_list(tab: Tab, story: Story) -> None:
    """The list shows a running and a crashed run in order, each with its state."""
    page = tab.open(f"/projects/{PROJECT}/runs")
    rows = page.locator(".runs tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.locator("td.mark > span:not(.pick)")).to_have_text(["crashed", "ok", "running"])
    assert rows.nth(2).locator(".open").get_attribute("href") == story.address(story.running)
    expect(rows.nth(2).locator(".open")).to_have_text("digits")


def test_running_run(tab: Tab, story: Story) -> None:
    """The page of a running run shows its duration so far and draws it until now."""
    page = tab.open(story.address(story.running))
    expect(page.locator(".facts")).to_contain_text("Running for 1 min")
    expect(page.locator(".wf tbody tr")).to_have_count(2)
    bars = [bar.bounding_box() for bar in page.locator(".wf rect").all()]
    assert bars[0] is not None
    assert bars[1] is not None
    running_s = (time.time_ns() - story.running.start_ns) / SECOND_NS
    assert bars[1]["width"] / bars[0]["width"] == pytest.approx(30 / running_s, rel=0.1)


def test_unfinished_home(tab: Tab, story: Story) -> None:
    """The home page counts running and crashed runs and lists both, the newest first."""
    page = tab.open("/")
    expect(page.locator(".tiles")).to_contain_text("1 running1 crashed")
    table = page.locator("section", has=page.get_by_role("heading", name="Unfinished and crashed"))
    rows = table.locator("tbody tr")
    expect(rows).to_have_count(2)
    assert [
        [row.locator("td").nth(cell).inner_text() for cell in range(3)] for row in rows.all()
    ] == [["crashed", "index", PROJECT], ["running", "train", PROJECT]]
    rows.nth(1).get_by_role("link", name="train").click()
    expect(page).to_have_url(re.compile(f"{story.address(story.running)}$"))
    page.go_back()
    rows.nth(0).get_by_role("link", name=PROJECT).click()
    expect(page.locator(".runs tbody tr")).to_have_count(2)
    page.go_back()
    expect(rows).to_have_count(2)


def test_unfinished_models(tab: Tab) -> None:
    """A model that has only unfinished runs is listed, with 0 runs."""
    page = tab.open(f"/projects/{PROJECT}/models")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(3)
    found = {
        row.locator("td").nth(0).inner_text(): row.locator("td").nth(3).inner_text()
        for row in rows.all()
    }
    assert found == {"index": "0", "epoch": "1", "train": "0"}


def test_unfinished_on_a_phone(chromium: Browser, story: Story) -> None:
    """On a phone, pages of unfinished runs are no wider than the window."""
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    for path in ("/", f"/projects/{PROJECT}/runs", story.address(story.crashed)):
        page.goto(story.collector.endpoint + path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
