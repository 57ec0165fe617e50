"""Conversations, requests and sessions of an LLM application in a browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser.fixtures import Tab
from tests.support.browser.trips import TRIPS, Trips, send_trips
from tests.support.collector import CollectorProcess
from tests.support.folders import SCREENSHOTS
from tests.support.otel_ml_collector.spans import id_of


@pytest.fixture(scope="module")
def trips(collector: CollectorProcess) -> Trips:
    return send_trips(collector)


@pytest.fixture(params=[("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)], ids=str)
def tab(
    request: pytest.FixtureRequest, chromium: Browser, collector: CollectorProcess
) -> Iterator[Tab]:
    """Open a tab in one theme and width; no page may be wider or log to the console."""
    theme, width = request.param
    context = chromium.new_context(color_scheme=theme, viewport={"width": width, "height": 844})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened = Tab(context, collector.endpoint)
    yield opened
    assert opened.page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    folder = SCREENSHOTS
    folder.mkdir(exist_ok=True)
    name = request.node.name.partition("[")[0].removeprefix("test_")
    opened.page.screenshot(path=folder / f"trips-{name}-{width}-{theme}.png", full_page=True)
    context.close()
    assert opened.complaints == []


def test_a_conversation_from_top_to_bottom(tab: Tab, trips: Trips) -> None:
    """A conversation shows all its entries in order, and only the final answer is framed."""
    page = tab.open(f"{TRIPS}/runs/{id_of(trips.reply)}")
    entries = page.locator("#conversation .chat > li")
    kinds = entries.evaluate_all("all => all.map((one) => one.className)")
    before = ["system", "user", "assistant", "user", "thought", "tool", "tool"]
    assert kinds == [*before, "error", "final"]
    expect(entries.nth(2).locator(".flag")).to_have_text("refused")
    expect(entries.nth(3).locator("figcaption")).to_contain_text("image/png, 128 \u00d7 96")
    expect(entries.nth(7)).to_contain_text("the stream broke off after 5 chunks")
    sides = entries.nth(3).locator("img").evaluate("one => [one.naturalWidth, one.naturalHeight]")
    assert sides == [128, 96]
    answer = entries.nth(8)
    expect(answer).to_contain_text("finish reason stop")
    expect(answer.locator("strong")).to_have_text(["17 January", "dry until 15:00"])
    expect(answer.locator("li")).to_have_count(2)
    expect(answer.locator("li").first).to_have_css("list-style-type", "disc")
    expect(answer).to_contain_text('<img src="https://example.org/seen.png"> [image: poster]')
    assert answer.locator("img").count() == 0


def test_what_is_folded(tab: Tab, trips: Trips) -> None:
    """The system prompt and a thought are folded to one line until they are opened."""
    page = tab.open(f"{TRIPS}/runs/{id_of(trips.reply)}")
    for kind in ("system", "thought"):
        folded = page.locator(f"#conversation .{kind} details")
        text = folded.locator(".lines")
        expect(text).to_be_hidden()
        folded.locator("summary").click()
        expect(text).to_be_visible()


def test_a_call_leads_to_the_run_of_its_tool(tab: Tab, trips: Trips) -> None:
    """A tool call shows its result, and its link leads to the run of the tool."""
    page = tab.open(f"{TRIPS}/runs/{id_of(trips.reply)}")
    call = page.locator("#conversation .tool").first
    expect(call).to_contain_text('weather(city="Paris", day="2026-11-28")')
    expect(call).to_contain_text('→ {"dry_until": "15:00", "rain": 0.8}')
    call.get_by_role("link", name="weather").click()
    page.wait_for_url(f"**/{id_of(trips.weather)}")


def test_the_text_as_it_was_sent(tab: Tab, trips: Trips) -> None:
    """The second tab shows the received input and output, and stays open while these change."""
    page = tab.open(f"{TRIPS}/runs/{id_of(trips.reply)}")
    page.get_by_role("link", name="Input and output").click()
    expect(page.locator("#output .chat")).to_contain_text("it runs until **17 January**")
    page.locator("#input .seg").get_by_role("link", name="Tree").click()
    expect(page.locator("#input .json")).to_contain_text("tool_call_id")
    page.reload()
    expect(page.locator("#input .json")).to_contain_text("tool_call_id")
    page.get_by_role("link", name="Steps").click()
    expect(page.locator("#conversation .final")).to_be_visible()


def test_an_error_in_the_place_of_the_answer(tab: Tab, trips: Trips) -> None:
    """A failed call shows the partial answer and the reason why it ended."""
    page = tab.open(f"{TRIPS}/runs/{id_of(trips.broken)}")
    last = page.locator("#conversation .chat > li").last
    expect(last).to_contain_text("Yes, it runs until")
    expect(last.locator(".err")).to_have_text("the stream broke off after 5 chunks")
    expect(page.locator("#conversation .final")).to_have_count(0)


def test_trace_with_tokens_and_dollars(tab: Tab, trips: Trips) -> None:
    """Each span of a trace shows its tokens and cost; a parent shows the sum of its children."""
    page = tab.open(f"{TRIPS}/runs/{id_of(trips.reply)}")
    rows = page.locator(".wf tbody tr")
    used = rows.evaluate_all("all => all.map((one) => [1, 2].map((n) => one.cells[n].textContent))")
    assert used[0] == ["\u2265 4,546", "\u2265 0.0005"]
    assert used[-1] == ["3,501", "0.0003"]
    assert sorted(used[1:-1]) == [["1,045", "0.0002"], *[["\u2013", "\u2013"]] * 4]
    expect(page.locator(".notes")).to_contain_text("title and reply reported no tokens.")
    expect(page.locator("#trace-total")).to_contain_text("$ 0.00052")


def test_roots_with_what_they_called(tab: Tab, trips: Trips) -> None:
    """A list of requests unfolds the calls inside each request, and folds them again."""
    page = tab.open(f"{TRIPS}/runs?roots=1")
    models = page.locator(".runs tbody .model .mv > span:not(.twist, .pick)")
    names = ["route", "embed", "trip_agent", "summarise_itinerary_stream", "trip_agent"]
    expect(models).to_have_text([*names, "trip_agent"])
    expect(page.locator("main")).to_contain_text("6 requests")
    root = page.locator(f"tr[data-run='{id_of(trips.agent)}']")
    twist = root.locator("button.twist")
    expect(twist).to_have_accessible_name("6 calls inside trip_agent")
    twist.click()
    kids = page.locator(".runs .kid")
    expect(kids).to_have_count(6)
    expect(kids.last).to_contain_text("Yes, it runs until")
    assert twist.get_attribute("aria-expanded") == "true"
    twist.click()
    expect(kids.first).to_be_hidden()
    twist.click()
    expect(kids.first).to_be_visible()


def test_roots_say_what_is_inside(tab: Tab, trips: Trips) -> None:
    """A request shows the cost of its calls, as a lower bound if a call reported none."""
    page = tab.open(f"{TRIPS}/runs?roots=1")
    root = page.locator(f"tr[data-run='{id_of(trips.agent)}']")
    expect(root.locator(".price")).to_have_text("\u2265 0.0005")
    expect(page.locator(f"tr[data-run='{id_of(trips.embed)}'] .price")).to_have_text("< 0.0001")
    failed = page.locator(".runs tbody tr", has=page.locator(".err"))
    expect(failed.locator(".answered")).to_contain_text("60 requests a minute")


def test_roots_on_two_lines(tab: Tab, trips: Trips) -> None:
    """On a phone, a request takes two lines, and no version or number is cut."""
    page = tab.open(f"{TRIPS}/runs?roots=1")
    page.locator(f"tr[data-run='{id_of(trips.agent)}'] button.twist").click()
    page.locator(".kid").first.wait_for()
    row = page.locator(".runs tbody tr").first.bounding_box()
    assert row is not None
    assert row["height"] < 60
    is_cut = "(one) => one.scrollWidth > one.clientWidth + 1"
    cut = page.locator(".runs td.n:visible, .runs .v:visible").evaluate_all(
        f"all => all.filter({is_cut}).map((one) => one.innerText)"
    )
    assert cut == []


def test_roots_with_keys(tab: Tab, trips: Trips) -> None:
    """Keys unfold the marked request and walk through the calls inside it."""
    page = tab.open(f"{TRIPS}/runs?roots=1")
    for key in "jjjjj]":
        page.keyboard.press(key)
    kids = page.locator(".runs .kid")
    expect(kids).to_have_count(6)
    page.keyboard.press("j")
    expect(kids.first).to_have_class("kid l2 cur")
    page.keyboard.press("k")
    page.keyboard.press("[")
    expect(kids.first).to_be_hidden()


def test_numbers_of_an_embedding(tab: Tab, trips: Trips) -> None:
    """Each number of an embedding is on one line."""
    page = tab.open(f"{TRIPS}/runs/{id_of(trips.embed)}")
    told = page.locator("#output .numbers dd")
    expect(told.first).to_have_text("2 \u00d7 256")
    heights = told.evaluate_all("all => all.map((one) => one.getBoundingClientRect().height)")
    assert set(heights) == {20}


def test_tokens_and_cost_of_a_model(tab: Tab, trips: Trips) -> None:
    """The page of a model shows tokens and cost by version."""
    page = tab.open(f"{TRIPS}/models/plan")
    cells = page.locator("#curves tbody tr").first.locator("td")
    expect(cells.filter(has_text="1,045")).to_have_text("1,045")
    expect(cells.filter(has_text="0.0002")).to_have_text("0.0002")


def test_sessions_beside_a_session(tab: Tab, trips: Trips) -> None:
    """The page of a session leads to the next older and newer session, also with keys."""
    page = tab.open(f"{TRIPS}/sessions/trip-208")
    assert page.get_by_role("link", name="Older").count() == 0
    page.keyboard.press("k")
    page.wait_for_url("**/sessions/trip-209")
    expect(page.get_by_role("link", name="Newer")).to_have_count(0)
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**/sessions/trip-208")
