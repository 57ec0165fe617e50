"""In a browser, a finding leads to a filled-in alert rule that one more click turns on."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from otel_ml_collector.span import Span
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.support.browser.fixtures import Tab, open_tab
from tests.support.collector import CollectorProcess, running
from tests.support.otel_ml_collector.spans import DAY_NS, SECOND_NS, make_call
from tests.support.otel_ml_collector.wire import encode

HOUR_NS = 3_600 * SECOND_NS
# A rule about a monitor finding queries each window of its past.
PAST_MS = 120_000
HOSTILE = "<b>x</b>\u202e&\"'"


def make_runs() -> Iterator[Span]:
    """Yield runs of two clients over 20 hours; one client fails in the last hours."""
    now_ns = time.time_ns() - 60 * SECOND_NS
    for hour in range(20):
        for place in range(16):
            client = "acme" if place % 2 else HOSTILE
            start_ns = now_ns - (hour * 60 + place * 3) * 60 * SECOND_NS
            yield make_call(
                "answer",
                {"otel_ml.tag.client": client, "otel_ml.inputs": json.dumps({"n": place})},
                start_ns=start_ns,
                end_ns=start_ns + SECOND_NS,
                status_code=2 if client == "acme" and hour < 8 and place % 4 == 1 else 0,
            )


def make_drift() -> Iterator[Span]:
    """Yield eleven full days of runs; on the last day 40 % of them have a different language."""
    today_ns = time.time_ns() // DAY_NS * DAY_NS
    for day in range(11, 0, -1):
        for place in range(200):
            start_ns = today_ns - day * DAY_NS + place * 300 * SECOND_NS
            language = "de" if day == 1 and place % 5 < 2 else "en"
            yield make_call(
                "answer",
                {"otel_ml.inputs": json.dumps({"language": language})},
                start_ns=start_ns,
                end_ns=start_ns + SECOND_NS,
            )


def make_hours(version: str, hours: range, passed: int) -> Iterator[Span]:
    """Yield hours with 80 runs of a version. In each hour, `passed` of every 40 pass."""
    end_ns = time.time_ns() // HOUR_NS * HOUR_NS
    for hour in hours:
        for place in range(80):
            start_ns = end_ns - hour * HOUR_NS + place * 40 * SECOND_NS
            run = make_call(
                "answer",
                {"otel_ml.model.version": version},
                start_ns=start_ns,
                end_ns=start_ns + SECOND_NS,
            )
            yield run
            yield say(run, "j1", float(place % 40 < passed))


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    with running(tmp_path_factory.mktemp("data")) as opened:
        headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": "shop"}
        opened.deliver(encode([*make_runs()]), headers)
        opened.deliver(encode([*make_drift()]), {**headers, "x-otel-ml-project": "drift"})
        for spans in (make_hours("v1", range(8, 2, -1), 38), make_hours("v2", range(2, 0, -1), 20)):
            body = encode([tell("j1"), *spans])
            opened.deliver(body, {**headers, "x-otel-ml-project": "release"})
        yield opened


@pytest.fixture(params=["light", "dark"])
def tab(
    request: pytest.FixtureRequest, chromium: Browser, collector: CollectorProcess
) -> Iterator[Tab]:
    width = 1280 if request.param == "light" else 390
    with open_tab(chromium, collector.endpoint, request.param, width, 900) as opened:
        yield opened


def test_alert_on_a_slice(tab: Tab, shots: Path) -> None:
    """On a slice, "Alert on this" opens a filled-in form with its past; one click saves it."""
    page = tab.open("/projects/shop/monitor")
    page.locator("#slices tbody tr").first.get_by_role("link").first.click()
    page.get_by_role("link", name="Alert on this").click()
    expect(page.locator("#past h2")).to_contain_text("The rule would have fired")
    expect(page.locator("#past h2")).not_to_contain_text("not have fired")
    page.locator("#more summary").click()
    name = f"acme fails {page.viewport_size['width'] if page.viewport_size else 0}"
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Condition", exact=True).fill("error_share > 1")
    page.get_by_label("Condition", exact=True).blur()
    expect(page.locator("#past h2")).to_contain_text("The rule would not have fired")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth")
    page.screenshot(path=shots / f"alert-rule-{name[-4:].strip()}.png", full_page=True)
    page.get_by_role("button", name="Save rule").click()
    expect(page.locator("h1")).to_have_text(name)
    expect(page.locator("#past h2")).to_contain_text("The rule would not have fired")
    page.locator("#mute summary").click()
    page.get_by_label("Reason", exact=True).fill(HOSTILE)
    page.get_by_role("button", name="Mute").click()
    expect(page.locator("#mutes")).to_contain_text("<b>x</b>")
    page.get_by_role("link", name="Alerts", exact=True).click()
    expect(page.locator("#alerts tbody tr").filter(has_text=name)).to_contain_text("muted")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth")
    page.screenshot(path=shots / f"alerts-{name[-4:].strip()}.png", full_page=True)


def test_alert_on_a_field(tab: Tab, shots: Path) -> None:
    """On a drifted field, "Alert on this" shows the day of the drift; one click saves the rule."""
    page = tab.open("/projects/drift/fields/inputs.language?model=answer&last=24h")
    page.get_by_role("link", name="Alert on this").click()
    expect(page.get_by_label("Condition", exact=True)).to_have_value("drift(inputs.language) > 0")
    turn_on(page, shots, "field")


def test_problem_of_a_field(tab: Tab) -> None:
    """The page of a drifted field opens the page of the problem."""
    page = tab.open("/projects/drift/fields/inputs.language?model=answer&last=24h")
    page.get_by_role("link", name="Open the problem").click()
    expect(page.locator("h1")).to_have_text("The inputs of answer changed")
    assert "/problems/" in page.url
    expect(page.get_by_role("link", name="Alert on this").first).to_be_visible()


def test_alert_on_a_version(tab: Tab, shots: Path) -> None:
    """On a worse version, "Alert on this" shows the time of the change; one click saves it."""
    page = tab.open("/projects/release/monitor")
    finding = page.locator("li").filter(has_text="v2").filter(has_text="Alert on this")
    finding.first.get_by_role("link", name="Alert on this").click()
    expect(page.get_by_label("Condition", exact=True)).to_have_value('worse("grounded")')
    turn_on(page, shots, "version")


def turn_on(page: Page, shots: Path, name: str) -> None:
    """Check when a rule would have fired, save the rule, and find it among the rules."""
    past = page.locator("#past h2")
    expect(past).to_contain_text("The rule would have fired once in", timeout=PAST_MS)
    expect(page.locator("#fired tbody tr")).to_have_count(1)
    width = page.viewport_size["width"] if page.viewport_size else 0
    page.locator("#more summary").click()
    page.get_by_label("Name", exact=True).fill(f"{name} {width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth")
    page.screenshot(path=shots / f"alert-rule-{name}-{width}.png", full_page=True)
    page.get_by_role("button", name="Save rule").click()
    expect(page.locator("h1")).to_have_text(f"{name} {width}")
    page.get_by_role("link", name="Alerts", exact=True).click()
    expect(page.locator("#alerts tbody tr").filter(has_text=f"{name} {width}")).to_have_count(1)
