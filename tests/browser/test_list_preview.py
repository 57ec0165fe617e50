"""Tests of the list of runs with a preview, facets and new runs."""

import json
import re
import time
from collections.abc import Iterator
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_list_walk import DOCS, ROWS, RUNS, shown
from tests.support.browser.axe import find_violations
from tests.support.browser.fixtures import Tab, open_tab
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.spans import SECOND_NS, make_call
from tests.support.otel_ml_collector.wire import encode
from tests.support.sampling import at_night, sampled

pytestmark = sampled(without="*dark*")
REQUESTS = f"{RUNS}?roots=1"


@pytest.fixture
def phone(chromium: Browser, demo: CollectorProcess) -> Iterator[Tab]:
    with open_tab(chromium, demo.endpoint, "light", 390, 844) as opened:
        yield opened


def previewed(page: Page) -> str | None:
    return page.locator("#preview").get_attribute("data-run")


def test_a_click_opens_a_preview(tab: Tab) -> None:
    """A click on a row shows the run at 45 % of the width, with an address; Back closes it."""
    page = tab.open(REQUESTS)
    page.evaluate("window.isSame = true")
    runs = shown(page)
    page.locator(ROWS).nth(1).click()
    expect(page.locator("#preview #span")).to_have_attribute("data-run", runs[1])
    box, work = page.locator("#preview").bounding_box(), page.locator(".work1").bounding_box()
    assert box is not None
    assert work is not None
    assert box["width"] / work["width"] == pytest.approx(0.45, abs=0.01)
    page.locator("#preview").get_by_role("link", name="Input and output").click()
    expect(page.locator("#preview #input")).to_be_visible()
    page.locator("#preview #input").get_by_role("link", name="Raw").click()
    expect(page.locator("#preview #input .raw")).to_be_visible()
    expect(page).to_have_url(re.compile(f"preview={runs[1]}"))
    page.go_back()
    expect(page.locator("#preview")).to_be_hidden()
    assert page.evaluate("window.isSame") is True
    page.go_forward()
    page.reload()
    expect(page.locator("#preview #span")).to_have_attribute("data-run", runs[1])


@at_night
def test_one_request(tab: Tab) -> None:
    """A click on a row requests its preview once, and then another row's once."""
    page = tab.open(REQUESTS)
    runs = shown(page)
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    for place in (1, 2):
        page.locator(ROWS).nth(place).click()
        expect(page.locator("#preview #span")).to_have_attribute("data-run", runs[place])
        # A key loads a preview after a pause of 120 ms.
        shown_ms = page.evaluate("performance.now()")
        page.wait_for_function("(shown) => performance.now() > shown + 200", arg=shown_ms)
    assert [url.split("/")[-2] for url in requested if url.endswith("/preview")] == runs[1:3]


@at_night
@pytest.mark.usefixtures("node")  # installs axe-core
def test_preview_is_accessible(chromium: Browser, demo: CollectorProcess) -> None:
    """With the preview open, axe-core finds nothing, in the light and the dark theme."""
    themes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for theme in themes:
        with open_tab(chromium, demo.endpoint, theme, 1280, 900) as window:
            page = window.open(REQUESTS)
            page.locator(ROWS).nth(1).click()
            expect(page.locator("#preview #span")).to_be_visible()
            assert find_violations(page) == [], theme


def test_preview_by_keyboard(tab: Tab) -> None:
    """Space opens the preview, j and k move it, Escape closes it, Enter opens the page."""
    page = tab.open(REQUESTS)
    runs = shown(page)
    for key in ("j", " "):
        page.keyboard.press(key)
    expect(page.locator("#preview #span")).to_have_attribute("data-run", runs[0])
    for key in "jjk":
        page.keyboard.press(key)
    expect(page.locator("#preview #span")).to_have_attribute("data-run", runs[1])
    expect(page).to_have_url(re.compile(f"preview={runs[1]}"))
    page.keyboard.press("Escape")
    expect(page.locator("#preview")).to_be_hidden()
    expect(page.locator("tr.cur .open")).to_be_focused()
    page.keyboard.press(" ")
    expect(page.locator("#preview #span")).to_be_visible()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(f"{RUNS}/{runs[1]}$"))


@at_night
def test_facets(tab: Tab, demo: CollectorProcess) -> None:
    """A click on a value writes the filter, a second click stays; `f` hides the rail for good."""
    page = tab.open(REQUESTS)
    rail = page.get_by_role("complementary", name="Facets")
    error = rail.get_by_role("link", name=re.compile("^error"))
    number = len(demo.runs(DOCS, where='outcome == "error"', roots=True))
    expect(error).to_have_text(f"error{number}")
    headings = rail.get_by_role("heading").all_inner_texts()
    assert headings[:5] == ["Outcome", "Function", "Version", "User", "Session"]
    assert "client" in headings[5:]
    error.click()
    expect(page.locator(ROWS)).to_have_count(number)
    expect(page.get_by_role("combobox", name="Filter")).to_have_value('outcome == "error"')
    expect(error).to_have_attribute("aria-current", "true")
    page.keyboard.press("f")
    expect(rail).to_be_hidden()
    page.reload()
    expect(rail).to_be_hidden()
    page.get_by_role("button", name="Facets", exact=True).click()
    expect(rail).to_be_visible()


@at_night
def test_bar_on_a_phone(phone: Tab) -> None:
    """On a phone, no button of the bar is cut off; *Add to data set* is in the menu *More*."""
    page = phone.open(REQUESTS)
    bar = page.locator("#actions").bounding_box()
    alert = page.get_by_role("link", name="Alert on this filter")
    last = alert.bounding_box()
    assert bar is not None
    assert last is not None
    assert last["x"] + last["width"] <= bar["x"] + bar["width"]
    add = page.get_by_role("button", name="Add to data set")
    expect(add).to_be_hidden()
    page.get_by_text("More", exact=True).click()
    add.click()
    expect(page.get_by_role("dialog")).to_be_visible()


@at_night
def test_list_on_a_phone(phone: Tab) -> None:
    """On a phone the preview covers the list until Back, and the facets are a drawer."""
    page = phone.open(REQUESTS)
    page.locator(ROWS).first.click()
    expect(page.locator("#preview #span")).to_be_visible()
    box = page.locator("#preview").bounding_box()
    assert box is not None
    assert (box["x"], box["width"]) == (0, 390)
    page.go_back()
    expect(page.locator("#preview")).to_be_hidden()
    rail = page.locator("#facets")
    expect(rail).to_be_hidden()
    page.get_by_role("button", name="Facets", exact=True).click()
    expect(rail).to_be_visible()
    rail.get_by_role("link", name=re.compile("^error")).click()
    expect(page).to_have_url(re.compile("outcome"))


def test_inputs_are_no_json(tab: Tab) -> None:
    """No preview in a list is JSON; the placeholder of the filter has the project's values."""
    page = tab.open("/projects/digits/runs")
    texts = page.locator("td.asked").all_inner_texts()
    assert texts
    assert not [text for text in texts if text.startswith(("{", "["))]
    filters = page.get_by_role("combobox", name="Filter")
    expect(filters).to_have_attribute("placeholder", re.compile('model == "classify"'))


@at_night
def test_questions_after_the_same_history(tab: Tab, demo: CollectorProcess) -> None:
    """Inputs that begin with the same conversation show their own questions."""
    project = f"same-history-{time.time_ns()}"  # one for each theme
    history = [
        {"role": "system", "content": "You answer questions about the tides."},
        {"role": "user", "content": "Good morning"},
        {"role": "assistant", "content": "How can I help?"},
    ]
    asked = ["When is high water in Husum?", "Why are there two tides a day?"]
    calls = [
        make_call(
            "tides",
            {
                "otel_ml.inputs": json.dumps(
                    {"messages": [*history, {"role": "user", "content": question}]}
                )
            },
            start_ns=time.time_ns() - 60 * SECOND_NS,
        )
        for question in asked
    ]
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": project}
    demo.deliver(encode(calls), headers)
    page = tab.open(f"/projects/{project}/runs")
    expect(page.locator("td.asked").first).to_be_visible()
    assert set(page.locator("td.asked").all_inner_texts()) == set(asked)
