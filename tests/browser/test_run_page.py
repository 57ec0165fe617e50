"""Tests of a run's page in a browser: trace, warnings, tags, copy buttons and downloads."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from otel_ml_collector.span import Scope, Span, Value
from tests.support.browser.fixtures import Tab
from tests.support.collector import CollectorProcess, running
from tests.support.folders import SCREENSHOTS
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    SECOND_NS,
    id_of,
    make_artifact,
    make_call,
    make_sign,
    make_span,
    make_start,
)
from tests.support.otel_ml_collector.wire import encode
from tests.support.sampling import at_night, sampled

pytestmark = sampled(without="*dark*")
PROJECT = "run page"
NAME = "run%20page"
THIN = "\u202f"
SHOP = Scope({"service.name": "shop"}, "tests", "1", {})
HOST = Scope({"service.name": "model-host"}, "tests", "1", {})
# A tag's name, type and group. All values are text, even of metrics, as in Raymon.
TAGS = [
    ("client", "label", "request"),
    ("prediction_time_ms", "metric", "request"),
    ("embedding", "vector", "quality"),
    ("miss", "error", "quality"),
    ("age", "profile-input", "quality"),
    ("age_bound", "profile-input-error", "quality"),
    ("own", "season", ""),
    ("plain", "", ""),
]
DOCUMENT = json.dumps({"type": "otel_ml.types.Native", "params": {"data": {"a": 1}}})


class Story:
    """A collector with a trace of many kinds of spans, a run with tags, and a long trace."""

    def __init__(self, collector: CollectorProcess) -> None:
        self.collector = collector
        self.now_ns = time.time_ns() - 60 * SECOND_NS
        self.ask = self._root("ask", 0, 1_000)
        usage: dict[str, Value] = {"otel_ml.kind": "agent", "gen_ai.usage.input_tokens": 120}
        self.agent = self._below(self.ask, "agent", 20, 900, usage)
        self.answer = self._below(
            self.agent,
            "answer",
            -300,
            800,
            {
                "gen_ai.usage.input_tokens": 1_200,
                "gen_ai.usage.output_tokens": 30,
                "gen_ai.usage.cache_read.input_tokens": 200,
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o",
            },
            scope=HOST,
        )
        self.cache = self._below(
            self.agent, "cache.get", 100, 110, status_code=2, status_message="miss"
        )
        self.backwards = self._below(self.ask, "backwards", 500, 400)
        self.train = self._root("train", -3_000, 1_000)
        running = self._below(self.train, "stream", 950, 960)
        dead = self._below(self.train, "worker", -2_000, 20)
        self.tagged = self._make_tagged()
        self.root = self._root("crawl", -500, 5_000)
        pages = [self._below(self.root, f"page {n}", n, n + 3) for n in range(600)]
        self.page = pages[-1]
        links = [self._below(self.page, f"link {n}", 4_000 + n, 4_900) for n in range(3)]
        self._send(
            self.ask,
            self.agent,
            self.answer,
            self.cache,
            self.backwards,
            self.train,
            make_start(running, scope=SHOP),
            make_start(dead, {"otel_ml.process": "00000002"}, scope=SHOP),
            make_sign("goodbye", self.now_ns + SECOND_NS, "00000002"),
            self.tagged,
            self.root,
            *pages,
            *links,
        )

    def address(self, run: Span, suffix: str = "") -> str:
        return f"/projects/{NAME}/runs/{id_of(run)}{suffix}"

    def _root(self, name: str, start_ms: int, end_ms: int) -> Span:
        start_ns = self.now_ns + start_ms * MS_NS
        end_ns = self.now_ns + end_ms * MS_NS
        return make_call(name, start_ns=start_ns, end_ns=end_ns, scope=SHOP)

    def _until(self, ms: int) -> dict[str, int]:
        return {"end_ns": self.now_ns + ms * MS_NS}

    def _below(
        self,
        parent: Span,
        name: str,
        start_ms: int,
        end_ms: int,
        attributes: Mapping[str, Value] | None = None,
        **fields: Any,
    ) -> Span:
        times = {"start_ns": self.now_ns + start_ms * MS_NS, **self._until(end_ms)}
        ids = {"trace_id": parent.trace_id, "parent_span_id": parent.span_id}
        make = make_call if attributes else make_span
        return make(name, attributes or {}, **{**times, **ids, "scope": SHOP, **fields})

    def _make_tagged(self) -> Span:
        told = {name: {"type": of, "group": group} for name, of, group in TAGS}
        attributes: dict[str, Value] = {"otel_ml.tags": json.dumps(told)}
        attributes |= {f"otel_ml.tag.{name}": "120" for name, _, _ in TAGS}
        events = [make_artifact("sample", DOCUMENT, type="otel_ml.types.Native", at_ns=self.now_ns)]
        times = {"start_ns": self.now_ns - SECOND_NS, **self._until(0)}
        return make_call("tagged", attributes, events=events, scope=SHOP, **times)

    def _send(self, *spans: Span) -> None:
        headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": PROJECT}
        self.collector.deliver(encode(spans), headers)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with running(tmp_path_factory.mktemp("run-page")) as collector:
        yield Story(collector)


@pytest.fixture(params=["light", "dark"])
def tab(request: pytest.FixtureRequest, chromium: Browser, story: Story) -> Iterator[Tab]:
    """A tab in one theme; its test fails if the console has an error or a warning."""
    context = chromium.new_context(
        color_scheme=request.param, viewport={"width": 1280, "height": 900}
    )
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened = Tab(context, story.collector.endpoint)
    yield opened
    folder = SCREENSHOTS
    folder.mkdir(exist_ok=True)
    name = request.node.name.removeprefix("test_").replace("[", "-").rstrip("]")
    opened.page.screenshot(path=folder / f"run-page-{name}.png", full_page=True)
    context.close()
    assert opened.complaints == []


def row_of(page: Page, name: str) -> Locator:
    link = page.get_by_role("link", name=name, exact=True)
    return page.locator(".wf tbody tr").filter(has=link)


def focused(page: Page) -> str:
    text: str = page.evaluate("document.activeElement.textContent.trim()")
    return text


@at_night
def test_clock_skew(tab: Tab, story: Story) -> None:
    """A child that starts before its parent shows the difference and whose clocks differ."""
    page = tab.open(story.address(story.ask))
    row = row_of(page, "answer")
    expect(row.locator(".flag").nth(1)).to_have_text(f"320{THIN}ms early")
    told = f"starts 320{THIN}ms before its parent: the clocks of shop and model-host differ"
    expect(page.locator(".clocks li")).to_have_text([f"Clocks: answer {told}."])
    assert told in row.inner_text()
    picture, bar = row.locator(".axis svg").bounding_box(), row.locator("rect").bounding_box()
    assert picture is not None
    assert bar is not None
    assert picture["x"] - 1 <= bar["x"]
    assert bar["x"] + bar["width"] <= picture["x"] + picture["width"] + 1


@at_night
def test_end_before_start(tab: Tab, story: Story) -> None:
    """A span that ends before it starts has no duration, and is drawn at its start."""
    page = tab.open(story.address(story.ask))
    row = row_of(page, "backwards")
    expect(row.locator("td.n").last).to_have_text("–")
    bar = row.locator("rect").bounding_box()
    assert bar is not None
    assert bar["width"] >= 1


def test_outcomes(tab: Tab, story: Story) -> None:
    """A failed span is marked with a shape and a word."""
    page = tab.open(story.address(story.ask))
    failed = row_of(page, "cache.get")
    assert "error" in failed.inner_text()
    shape = "one => getComputedStyle(one, '::before').rotate"
    assert failed.locator(".err").evaluate(shape) == "45deg"
    expect(page.locator(".notes")).to_contain_text("5 spans, 1 error.")


@at_night
def test_unfinished(tab: Tab, story: Story) -> None:
    """A span without an end is marked with its state as a word and with an open bar."""
    page = tab.open(story.address(story.train))
    for name, state in (("stream", "running"), ("worker", "crashed")):
        expect(row_of(page, name).locator("small")).to_have_text(state)
        expect(row_of(page, name).locator("rect")).to_have_class("open")
    expect(page.locator(".notes")).to_contain_text("3 spans, no errors. 2 spans are unfinished.")


@at_night
def test_folding_with_keys(tab: Tab, story: Story) -> None:
    """Enter on a span's arrow folds its children, and the arrow exposes the state."""
    page = tab.open(story.address(story.ask))
    arrow = page.get_by_role("button", name="Spans below agent")
    expect(arrow).to_have_attribute("aria-expanded", "true")
    arrow.focus()
    page.keyboard.press("Enter")
    expect(arrow).to_have_attribute("aria-expanded", "false")
    expect(arrow).to_be_focused()
    expect(row_of(page, "answer")).to_be_hidden()
    expect(row_of(page, "backwards")).to_be_visible()
    page.get_by_role("button", name="Spans below ask").press("Enter")
    page.get_by_role("button", name="Spans below ask").press("Space")
    expect(row_of(page, "agent")).to_be_visible()
    expect(row_of(page, "answer")).to_be_hidden()  # because it was folded on its own
    arrow.press("Space")
    expect(row_of(page, "answer")).to_be_visible()


@at_night
def test_arrow_keys(tab: Tab, story: Story) -> None:
    """Arrow keys move between spans, fold and unfold; the focused span is outlined."""
    page = tab.open(story.address(story.ask))
    row_of(page, "ask").get_by_role("link").focus()
    page.keyboard.press("ArrowDown")
    assert focused(page) == "agent"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("ArrowLeft")
    expect(row_of(page, "answer")).to_be_hidden()
    page.keyboard.press("ArrowDown")
    assert focused(page) == "backwards"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert focused(page) == "answer"
    page.keyboard.press("ArrowLeft")
    assert focused(page) == "agent"
    page.keyboard.press("[")
    assert focused(page) == "ask"
    expect(page.locator(".wf tbody tr:visible")).to_have_count(1)
    page.keyboard.press("]")
    expect(page.locator(".wf tbody tr:visible")).to_have_count(5)


@at_night
def test_lazy_children(tab: Tab, story: Story) -> None:
    """A button loads more spans and passes the focus to the first of them."""
    page = tab.open(story.address(story.root))
    rows = page.locator(".wf tbody tr")
    expect(rows).to_have_count(102)
    expect(page.locator(".notes")).to_contain_text("604 spans, no errors.")
    page.get_by_role("button", name="500 more").press("Enter")
    expect(row_of(page, "page 100").get_by_role("link")).to_be_focused()
    for left in ("400", "300", "200", "100"):
        page.get_by_role("button", name=f"{left} more").press("Enter")
    arrow = page.get_by_role("button", name="Spans below page 599")
    expect(arrow).to_have_attribute("aria-expanded", "false")
    arrow.press("Enter")
    expect(row_of(page, "link 2").get_by_role("link")).to_be_attached()
    expect(row_of(page, "link 0")).to_have_attribute("data-level", "3")
    page.get_by_role("button", name="Spans below crawl").press("Enter")
    expect(page.locator(".wf tbody tr:visible")).to_have_count(1)


@at_night
def test_own_row_of_a_long_trace(tab: Tab, story: Story) -> None:
    """The page of a run far down a long trace marks its row, in view, among its neighbours."""
    trace = story.collector.get(f"/traces/{story.root.trace_id.hex()}?limit=1000")["runs"]
    [run] = [run for run in trace if run["name"] == "page 550"]
    page = tab.open(f"/projects/{run['project']}/runs/{run['run_id']}")
    own = page.locator(".wf tr[aria-current]")
    expect(own).to_have_count(1)
    expect(own).to_contain_text("page 550")
    expect(own).to_be_in_viewport()
    expect(row_of(page, "page 551")).to_be_visible()
    page.locator(".wf .rest button").first.press("Enter")
    expect(row_of(page, "page 99")).to_be_attached()
    expect(row_of(page, "page 550")).to_have_count(1)


@at_night
def test_tag_types(tab: Tab, story: Story) -> None:
    """Tags are listed by group; each type has its name and its own line style."""
    page = tab.open(story.address(story.tagged))
    lines = set()
    for name, of, _ in TAGS:
        tag = page.locator(".tag").filter(has=page.locator("i", has_text=re.compile(f"^{name}$")))
        expect(tag).to_contain_text("120")
        if of:
            expect(tag.locator("small")).to_have_text(of)
        lines.add(
            tag.evaluate("""one => {
              const style = getComputedStyle(one);
              return [style.borderLeftStyle, style.borderLeftWidth, style.borderLeftColor].join();
            }""")
        )
    assert len(lines) == 6  # label, metric, vector, error, profile, and all others
    groups = page.locator("section", has=page.get_by_role("heading", name="Tags")).locator("dt")
    expect(groups).to_have_text(["no group", "quality", "request"])


def test_neighbours_by_key(tab: Tab, story: Story) -> None:
    """`j` opens the older run, `k` the newer one."""
    page = tab.open(story.address(story.agent))
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile(f"{id_of(story.ask)}$"))
    page.wait_for_load_state("networkidle")
    page.keyboard.press("k")
    expect(page).to_have_url(re.compile(f"{id_of(story.agent)}$"))


@at_night
def test_copied_code(tab: Tab, story: Story) -> None:
    """The copied code reads the value back."""
    page = tab.open(story.address(story.tagged))
    page.locator(".artifact").get_by_role("button", name="Copy code").click()
    expect(page.get_by_role("status")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    names: dict[str, Any] = {}
    exec(copied, names)  # noqa: S102 - what the page tells its reader to run
    assert names["value"] == {"a": 1}
    page.get_by_role("button", name="Copy run id").click()
    expect(page.get_by_role("status")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == id_of(story.tagged)


@at_night
def test_phone(chromium: Browser, story: Story) -> None:
    """On a phone the page does not scroll sideways, and warnings and names are not cut off."""
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    folder = SCREENSHOTS
    folder.mkdir(exist_ok=True)
    for run in (story.ask, story.tagged):
        page.goto(story.collector.endpoint + story.address(run))
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.screenshot(path=folder / f"run-page-phone-{run.name}.png", full_page=True)
    page.goto(story.collector.endpoint + story.address(story.ask))
    flag = row_of(page, "answer").locator(".flag").last.bounding_box()
    cell = row_of(page, "answer").locator("td").first.bounding_box()
    assert flag is not None
    assert cell is not None
    assert flag["x"] + flag["width"] <= cell["x"] + cell["width"] + 1
    page.goto(story.collector.endpoint + story.address(story.root))
    name = row_of(page, "page 10").get_by_role("link")
    assert name.evaluate("one => one.scrollWidth <= one.clientWidth")
    page.close()
