"""Pairs of two versions in two panes, and two runs compared in the forms of their values."""

import json
import re
import time
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect

from otel_ml_collector.span import Span
from tests.support.browser.fixtures import Tab, open_tab
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.spans import SECOND_NS, id_of, make_call
from tests.support.otel_ml_collector.wire import encode
from tests.support.sampling import at_night

PROJECT: Final = "pairs-in-panes"
INPUTS: Final = 12
CHANGED: Final = 5


def _rate(place: int, version: int, start_ns: int) -> Span:
    """Make a call of one of two versions; the first inputs get a new answer from the second."""
    is_high = version == 1 or place >= CHANGED
    return make_call(
        "rate",
        {
            "otel_ml.model.version": f"{version}" * 16,
            "otel_ml.inputs": json.dumps({"country": "PL", "items": place, "total": 412}),
            "otel_ml.outputs": json.dumps("high" if is_high else "low"),
        },
        start_ns=start_ns,
        end_ns=start_ns + 10**6,
    )


def _score(area: int, start_ns: int) -> Span:
    houses = [{"area": area, "rooms": 4}, {"area": 64, "rooms": 2}]
    given = {"houses": houses, "city": "Leipzig", "limit": area}
    return make_call(
        "score",
        {"otel_ml.inputs": json.dumps(given), "otel_ml.outputs": json.dumps({"price": area * 9})},
        start_ns=start_ns,
        end_ns=start_ns + 10**6,
    )


@pytest.fixture(scope="module")
def scores(collector: CollectorProcess) -> list[Span]:
    """Two runs with a table among their inputs, stored with 12 pairs of two versions."""
    now_ns = time.time_ns() - 3_600 * SECOND_NS
    calls = [
        _rate(place, version, now_ns + (100 * version + place) * SECOND_NS)
        for version in (1, 2)
        for place in range(INPUTS)
    ]
    scores = [_score(119, now_ns), _score(88, now_ns + SECOND_NS)]
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": PROJECT}
    collector.deliver(encode([*calls, *scores]), headers)
    return scores


@pytest.fixture
def tab(chromium: Browser, collector: CollectorProcess, scores: list[Span]) -> Iterator[Tab]:
    assert scores
    with open_tab(chromium, collector.endpoint, "light", 1280, 900) as opened:
        yield opened


def _open_pairs(tab: Tab) -> Page:
    page = tab.open(f"/projects/{PROJECT}/compare?of=rate:v1&of=rate:v2")
    expect(page.locator("#output-pairs")).to_be_visible()
    return page


@at_night
def test_pairs_in_two_panes(tab: Tab) -> None:
    """A click on a pair in the list shows both outputs next to it; a switch adds equal pairs."""
    page = _open_pairs(tab)
    rows, shown = page.locator(".plist tbody tr"), page.locator("#output-pairs [data-both]:visible")
    expect(rows).to_have_count(CHANGED)
    expect(rows.first).to_contain_text("PL · items")
    expect(rows.first).to_contain_text("high → low")
    expect(shown).to_have_count(1)
    expect(shown.locator(".vs p")).to_have_text(["high", "low"])
    first = shown.locator("p").first.inner_text()
    rows.nth(2).click()
    expect(shown).to_have_count(1)
    expect(shown.locator("p").first).not_to_have_text(first)
    expect(rows.nth(2)).to_have_class("cur")
    page.get_by_role("link", name=re.compile(f"All *{INPUTS}")).click()
    expect(rows).to_have_count(INPUTS)
    expect(rows.last).to_contain_text("same")
    rows.last.click()
    expect(shown.locator(".vs p")).to_have_text(["high", "high"])
    page.get_by_role("link", name=re.compile(f"Changed *{CHANGED}")).click()
    expect(rows).to_have_count(CHANGED)


@at_night
def test_pairs_by_keyboard(tab: Tab) -> None:
    """By keyboard alone, a pair is chosen from the list and both of its runs are compared."""
    page = _open_pairs(tab)
    page.locator("[data-pair]").nth(1).focus()
    page.keyboard.press("Enter")
    shown = page.locator("#output-pairs [data-both]:visible")
    expect(page.locator("[data-pair]").nth(1)).to_have_attribute("aria-current", "true")
    expect(shown).to_have_count(1)
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Compare both":
            break
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Compare")
    expect(page.locator("main")).to_contain_text("Inputs are the same.")
    expect(page.locator("table.diff")).to_contain_text("high")


def test_compared_values(tab: Tab, scores: list[Span]) -> None:
    """Two runs are compared by value: numbers with their change, and tables as grids."""
    of = "&".join(f"of={id_of(run)}" for run in scores)
    page = tab.open(f"/projects/{PROJECT}/compare?{of}")
    inputs = page.get_by_role("row", name=re.compile("limit"))
    expect(inputs.locator("del")).to_have_text("119")
    expect(inputs.locator("ins")).to_have_text("88")
    expect(inputs.locator("td").last).to_have_text("−31")
    expect(page.get_by_text("1 value of inputs is the same.")).to_be_visible()
    expect(page.locator(".two .grid")).to_have_count(2)
    assert '{"' not in page.inner_text("main")
