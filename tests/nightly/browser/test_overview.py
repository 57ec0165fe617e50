"""The overview of a project answers questions with few clicks, in both themes and on a phone."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect

from otel_ml_collector.span import Span, Value
from tests.browser.test_pages import shoot
from tests.support.browser.axe import find_violations
from tests.support.browser.fixtures import Tab, open_tab
from tests.support.collector import CollectorProcess, running
from tests.support.otel_ml_collector.desk import AFTER, PROJECT, make_desk
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    SECOND_NS,
    id_of,
    make_call,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.wire import encode

HOME: Final = f"/projects/{PROJECT}"
DEEP: Final = 9
LISTS: Final = ("", "/models", "/models/gpt-4o", "/runs?roots=1", "/runs", "/sessions", "/judges")
# The first row of the first list. On a page that starts with findings, those are its rows.
FIRST_ROW: Final = """() => Math.min(...[...document.querySelectorAll(
  "main .why li, main .t tbody tr, main .tiles")].map(
  (row) => row.getBoundingClientRect().top).filter((top) => top > 0))"""
# Cells that have room for no letter of their text, only for the ellipsis.
CUT_CELLS: Final = """() => [...document.querySelectorAll("main .t tbody td, main .t tbody td a")]
  .filter((cell) => cell.offsetParent && cell.innerText.trim().length > 3
    && getComputedStyle(cell).textOverflow === "ellipsis" && cell.scrollWidth > cell.clientWidth
    && cell.clientWidth < 36 && parseFloat(getComputedStyle(cell).fontSize) > 0)
  .map((cell) => cell.outerHTML)"""
# How many letters of each name in a waterfall are visible, and how many the name has.
SEEN: Final = """() => [...document.querySelectorAll(".wf .who > a.of")].map((link) => {
  const text = document.createTreeWalker(link, NodeFilter.SHOW_TEXT).nextNode();
  const { right, bottom } = link.getBoundingClientRect();
  const range = document.createRange();
  let seen = 0;
  for (let at = 0; at < text.length; at++) {
    range.setStart(text, at);
    range.setEnd(text, at + 1);
    const letter = range.getBoundingClientRect();
    if (letter.right <= right + 0.5 && letter.bottom <= bottom + 0.5) seen++;
  }
  return [seen, text.length];
})"""


def make_deep(now_ns: int) -> Iterator[Span]:
    """Yield a trace of nested calls with long names, versions, tokens and costs."""
    for level in range(1, DEEP + 1):
        told: dict[str, Value] = {
            "otel_ml.model.version": "cc",
            "gen_ai.usage.input_tokens": 12_345,
            "gen_ai.usage.cost": 0.12345,
        }
        yield make_call(
            f"retrieve_and_rerank_{level}",
            told,
            trace_id=trace_id(7_000),
            span_id=span_id(7_000 + level),
            parent_span_id=span_id(6_999 + level) if level > 1 else b"",
            start_ns=now_ns - 60 * SECOND_NS + level * MS_NS,
            end_ns=now_ns - 50 * SECOND_NS - level * MS_NS,
        )


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Start a collector with the help desk, and with a deep trace in a separate project."""
    with running(tmp_path_factory.mktemp("data")) as opened:
        now_ns = time.time_ns()
        headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": PROJECT}
        opened.deliver(encode([*make_desk(now_ns)]), headers)
        opened.deliver(encode([*make_deep(now_ns)]), headers | {"x-otel-ml-project": "deep"})
        yield opened


@pytest.fixture(params=["light", "dark"])
def wide(
    request: pytest.FixtureRequest, chromium: Browser, desk: CollectorProcess
) -> Iterator[Tab]:
    """Open a tab in one theme; fail the test if the console logged anything."""
    with open_tab(chromium, desk.endpoint, request.param, 1280, 1000) as opened:
        yield opened


@pytest.fixture
def phone(chromium: Browser, desk: CollectorProcess) -> Iterator[Tab]:
    with open_tab(chromium, desk.endpoint, "dark", 390, 844) as opened:
        yield opened


def say(page: Page) -> list[str]:
    """Wait for the findings, and return their text."""
    expect(page.locator(".why li").first).to_be_visible()
    return page.locator(".why li").all_inner_texts()


def test_which_version_got_worse(wide: Tab, shots: Path) -> None:
    """The overview names the worse version and the judge; one click opens its runs."""
    page = wide.open(HOME)
    worst = say(page)[0]
    assert re.search(r"reply v2 is worse: \d+.% pass, 90.% with v1", worst)
    assert '(judge "brief"' in worst
    shoot(page, shots, "overview")
    page.locator(".why li").first.get_by_role("link").first.click()
    page.get_by_role("link", name=re.compile("^Show")).first.click()
    expect(page.locator("#found tbody tr").first).to_be_visible()
    assert f"{AFTER} with v2" in worst


def test_what_changed(wide: Tab) -> None:
    """One click shows the changes of the version that got worse."""
    page = wide.open(HOME)
    say(page)
    page.locator(".why li").first.locator(".ev a").first.click()
    expect(page.locator(".diff ins").first).to_be_visible()
    expect(page.locator("#versus h2")).to_have_text("v2 vs v1")


def test_cost_by_model_and_user(wide: Tab, shots: Path) -> None:
    """Cost by model and by user needs no click; one click sorts both tables by another column."""
    page = wide.open(HOME)
    first = page.locator("#by-models tbody tr:not(.sum)").first
    expect(first).to_contain_text("gpt-4o")
    expect(first).to_contain_text("1.01")
    expect(page.locator("#by-users tbody tr:not(.sum)").first).to_contain_text("u-0482")
    page.locator("#by-users").get_by_role("link", name="Errors").click()
    expect(page.locator("#by-users th[aria-sort]")).to_contain_text("Errors")
    expect(page.locator("#by-models tbody tr:not(.sum)").first).to_contain_text("find_order")
    page.locator("#by-models").get_by_role("link", name="LLM").click()
    expect(page.locator("#by-models [aria-current]")).to_contain_text("LLM")
    shoot(page, shots, "overview-ordered")


def test_ways_home(wide: Tab) -> None:
    """The project's name and Home lead to its overview, and the switcher to all projects."""
    page = wide.open(f"{HOME}/runs")
    page.get_by_role("link", name="Home").click()
    expect(page.locator("h1")).to_have_text(PROJECT)
    expect(page.locator(".top nav [aria-current]")).to_have_text("Home")
    page.locator("details.switch > summary").first.click()
    page.locator(".pop").get_by_role("link", name="All projects").click()
    expect(page.locator("h1")).to_have_text("All projects")


def test_a_model_without_a_version(wide: Tab, shots: Path) -> None:
    """A model without a version opens from the list, with its users and their runs."""
    page = wide.open(f"{HOME}/models")
    page.get_by_role("link", name="Runs", exact=True).last.click()
    expect(page.locator("#models th[aria-sort]")).to_contain_text("Runs")
    shoot(page, shots, "models-ordered")
    page.get_by_role("link", name="gpt-4o").click()
    expect(page.locator("h1")).to_have_text("gpt-4o")
    shoot(page, shots, "model-alone")
    page.get_by_role("link", name="u-3107").first.click()
    expect(page.locator("#found tbody tr").first).to_be_visible()


def test_names_in_a_waterfall(wide: Tab, desk: CollectorProcess, shots: Path) -> None:
    """Each span's name is readable at any depth and with any cost."""
    run = desk.runs("deep", where='model == "retrieve_and_rerank_1"')[0]["run_id"]
    page = wide.open(f"/projects/deep/runs/{run}")
    seen = page.evaluate(SEEN)
    shoot(page, shots, "waterfall-deep")
    assert len(seen) == DEEP
    assert [letters for letters, of in seen if letters < of] == []
    assert id_of(next(make_deep(time.time_ns()))) == run


@pytest.mark.parametrize("path", LISTS)
def test_lists_on_a_phone(phone: Tab, shots: Path, path: str) -> None:
    """On a phone, the first row is within 240 px, and no cell is only an ellipsis."""
    page = phone.open(HOME + path)
    if not path:
        say(page)
    page.wait_for_load_state("networkidle")
    shoot(page, shots, f"phone{path.partition('?')[0].replace('/', '-') or '-overview'}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate(CUT_CELLS) == []
    assert page.evaluate(FIRST_ROW) <= 240
    pages, current = (
        page.locator(place).bounding_box() for place in (".top nav", ".top nav [aria-current]")
    )
    assert pages is not None
    assert current is not None
    assert pages["width"] > 200
    left, right = (pages["x"], pages["x"] + pages["width"])
    assert left - 8 <= current["x"] <= current["x"] + current["width"] <= right


@pytest.mark.usefixtures("node")  # installs axe-core
@pytest.mark.parametrize("path", ["", "/models", "/models/gpt-4o", "/models/reply"])
def test_axe_finds_nothing(wide: Tab, path: str) -> None:
    """None of these pages violates WCAG 2.2 AA after it has loaded completely."""
    page = wide.open(HOME + path)
    if not path:
        say(page)
    page.wait_for_load_state("networkidle")
    assert find_violations(page) == []
