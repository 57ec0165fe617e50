"""The tools of the runs page: completion, brush, columns, live tail, saved views, export."""

import csv
import io
import urllib.request
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from otel_ml import Client
from tests.support.browser.fixtures import Tab
from tests.support.collector import CollectorProcess

DOCS = "docs-search"
RUNS = f"/projects/{DOCS}/runs"


@pytest.fixture
def watched(chromium: Browser, own_collector: CollectorProcess) -> Iterator[Page]:
    """Open a page in its own window; fail the test if its console logs anything."""
    complaints: list[str] = []
    page = chromium.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    page.close()
    assert complaints == []


def open_part(page: Page, part: str) -> None:
    """Open a part of a list's menu."""
    page.locator("#more > summary").click()
    page.locator(f"#{part} > summary").click()


def shown(page: Page) -> list[str]:
    """Return the ids of the runs in the table, from top to bottom."""
    return [row.get_attribute("data-run") or "" for row in page.locator("tr[data-run]").all()]


def test_completion_writes_a_filter(tab: Tab, demo: CollectorProcess) -> None:
    """A filter built from completions lists the same runs as the API."""
    page = tab.open(RUNS)
    page.keyboard.press("/")
    page.keyboard.type("outc")
    page.get_by_role("option").filter(has_text="outcome").first.click()
    box = page.get_by_role("combobox", name="Filter")
    assert box.input_value().startswith("outcome")
    page.keyboard.type(' == "er')
    expect(page.locator("[role=option] code")).to_have_text(["error"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert box.input_value().strip() == 'outcome == "error"'
    page.keyboard.press("Enter")
    page.wait_for_url("**where=**")
    errors = demo.runs(DOCS, where='outcome == "error"')
    expect(page.locator("tr[data-run]")).to_have_count(len(errors))


def test_brush_chooses_a_time(tab: Tab) -> None:
    """Brushing over the histogram sets the time range, and its control clears the range."""
    page = tab.open(RUNS)
    chart = page.locator(".hist svg").bounding_box()
    assert chart is not None
    total = page.locator(".sums b").inner_text()
    y = chart["y"] + chart["height"] / 2
    page.mouse.move(chart["x"] + chart["width"] * 0.95, y)
    page.mouse.down()
    page.mouse.move(chart["x"] + chart["width"] - 2, y)
    page.mouse.up()
    page.wait_for_url("**start=**")
    given = parse_qs(urlsplit(page.url).query)
    assert given["start"] < given["end"]
    assert page.locator(".sums b").inner_text() != total
    page.locator("#time summary").click()
    page.get_by_role("link", name="All time").click()
    expect(page.locator(".sums b")).to_have_text(total)


def test_columns_are_chosen_and_stay(tab: Tab) -> None:
    """The table has the selected columns, also in rows that are loaded by scrolling."""
    page = tab.open(RUNS)
    open_part(page, "columns")
    for name in ("Input", "Output", "split tag"):
        page.get_by_label(name, exact=True).uncheck()
    page.get_by_label("Kind", exact=True).check()
    page.locator(".choices + .row").get_by_role("button", name="Show").click()
    page.wait_for_url("**columns=**")
    heads = page.locator(".runs th").all_inner_texts()
    assert "Kind" in heads
    assert not {"Input", "Output", "split"} & set(heads)
    page.locator(".runs tbody tr").last.scroll_into_view_if_needed()
    expect(page.locator("tr[data-run]").nth(50)).to_be_attached()
    last = page.locator("tr[data-run]").last.locator("td")
    expect(last).to_have_count(len(heads))


def test_a_value_is_excluded(tab: Tab, demo: CollectorProcess) -> None:
    """The exclude link of a value lists the runs that do not have the value."""
    page = tab.open(RUNS)
    row = page.locator("tr[data-run]").first
    row.hover()
    row.get_by_role("link", name='Exclude function "', exact=False).or_(
        row.locator("a.not[aria-label^='Exclude function']")
    ).first.click()
    page.wait_for_url("**where=**")
    [where] = parse_qs(urlsplit(page.url).query)["where"]
    assert where.startswith("model != ")
    assert shown(page) == [run["run_id"] for run in demo.runs(DOCS, where=where)[:50]]


def test_view_is_saved_and_deleted(chromium: Browser, demo: CollectorProcess) -> None:
    """A saved view restores filter and columns for everybody who reads the project."""
    page = chromium.new_page()
    page.goto(f"{demo.endpoint}{RUNS}?where=outcome+%3D%3D+%22error%22&columns=model&columns=ago")
    page.locator("#edit-views > summary").click()
    page.locator("#save-view").get_by_label("Name").fill("what failed")
    page.get_by_role("button", name="Save view").click()
    page.wait_for_load_state("networkidle")
    other = chromium.new_page()
    other.goto(f"{demo.endpoint}{RUNS}")
    tab = other.get_by_role("navigation", name="Saved views").get_by_role(
        "link", name="what failed"
    )
    tab.click()
    expect(tab).to_have_attribute("aria-current", "true")
    expect(other.locator(".runs th")).to_have_text(["", "Function", "Ago"])
    expect(other.locator("tr[data-run]")).to_have_count(
        len(demo.runs(DOCS, where='outcome == "error"'))
    )
    other.locator("#edit-views > summary").click()
    other.get_by_role("button", name="Delete the view what failed").click()
    expect(other.get_by_role("link", name="what failed")).to_have_count(0)
    assert demo.get(f"/projects/{DOCS}/views")["views"] == []
    page.close()
    other.close()


def test_export_holds_what_is_shown(tab: Tab, demo: CollectorProcess) -> None:
    """The export of a list has all runs that match the filter."""
    page = tab.open(f"{RUNS}?where=outcome+%3D%3D+%22error%22")
    link = page.locator("a[download]", has_text="CSV").get_attribute("href")
    with urllib.request.urlopen(f"{demo.endpoint}{link}") as answer:
        rows = list(csv.DictReader(io.StringIO(answer.read().decode())))
    errors = {run["run_id"] for run in demo.runs(DOCS, where='outcome == "error"')}
    assert {row["run_id"] for row in rows} == errors


def test_live_tail_obeys_the_filter(watched: Page, own_collector: CollectorProcess) -> None:
    """New matching runs appear at the top without a reload; other runs do not appear."""
    client = Client("live", endpoint=own_collector.endpoint)

    @client.trace(name="answer")
    def answer(text: str) -> str:
        return text

    @client.trace(name="other")
    def other(text: str) -> str:
        return text

    watched.goto(f"{own_collector.endpoint}/projects/live/runs?where=model+%3D%3D+%22answer%22")
    with watched.expect_response("**/live/live?**"):
        watched.keyboard.press("l")
    expect(watched.get_by_role("switch", name="Live")).to_be_checked()
    with watched.expect_response("**/live/live?**"):  # the address keeps the choice
        answer("first")
        client.flush()
    expect(watched.locator("tr[data-run]")).to_have_count(1)
    watched.evaluate("window.stays = true")
    other("not this one")
    answer("second")
    client.flush()
    expect(watched.locator("tr[data-run]")).to_have_count(2)
    expect(watched.locator("tr[data-run]").first).to_contain_text("second")
    assert watched.evaluate("window.stays") is True
    watched.keyboard.press("l")
    assert "live" not in parse_qs(urlsplit(watched.url).query)
    client.close()


def test_new_runs_wait_while_reading(watched: Page, own_collector: CollectorProcess) -> None:
    """While a preview is open, new runs are only counted; a click on their number shows them."""
    client = Client("reading", endpoint=own_collector.endpoint)

    @client.trace(name="answer")
    def answer(text: str) -> str:
        return text

    answer("first")
    client.flush()
    watched.goto(f"{own_collector.endpoint}/projects/reading/runs")
    watched.locator("tr[data-run]").click()
    expect(watched.locator("#preview #span")).to_be_visible()
    with watched.expect_response("**/reading/live?**"):
        watched.keyboard.press("l")
    for place in range(12):
        answer(f"later {place}")
    client.flush()
    held = watched.get_by_role("button", name="12 new")
    expect(held).to_be_visible()
    expect(watched.locator("tr[data-run]")).to_have_count(1)
    held.click()
    expect(watched.locator("tr[data-run]")).to_have_count(13)
    expect(watched.locator("tr[data-run]").first).to_contain_text("later 11")
    expect(held).to_be_hidden()
    client.close()


def test_theme_is_chosen_and_kept(chromium: Browser, demo: CollectorProcess) -> None:
    """The selected theme is kept when another page is opened."""
    page = chromium.new_page(color_scheme="light")
    page.goto(f"{demo.endpoint}/")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    page.goto(f"{demo.endpoint}{RUNS}")
    assert page.evaluate(ground) != light
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    page.close()


def test_keys_help_and_off(chromium: Browser, demo: CollectorProcess) -> None:
    """`?` shows the keys, and single-key shortcuts can be turned off."""
    page = chromium.new_page()
    page.goto(f"{demo.endpoint}{RUNS}")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_label("Turn off single-key shortcuts in this browser").check()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.locator("tr.cur")).to_have_count(0)
    page.close()


def test_curves_follow_the_theme(chromium: Browser, demo: CollectorProcess) -> None:
    """When the theme changes, a visible curve is redrawn in the new colours."""
    page = chromium.new_page(color_scheme="light")
    page.goto(f"{demo.endpoint}/projects/digits/metrics")
    canvas = page.locator(".plot canvas").first
    expect(canvas).to_be_visible()
    pixels = "canvas => canvas.toDataURL()"
    light = canvas.evaluate(pixels)
    for name in ("system", "light"):
        page.get_by_role("button", name=f"Theme: {name}").click()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert canvas.evaluate(pixels) != light
    page.close()


@pytest.mark.parametrize(
    ("address", "table"),
    [
        ("/projects/docs-search/datasets", "#datasets"),
        ("/projects/docs-search/experiments", "#experiments"),
        ("/projects/docs-search/judges", "#judges"),
        ("/projects/docs-search/sessions", "#sessions"),
        ("/projects/docs-search/models", "#models"),
        ("/projects/digits/metrics", "#sweep"),
    ],
)
def test_cells_of_a_phone(
    chromium: Browser, demo: CollectorProcess, address: str, table: str
) -> None:
    """On a phone, each row shows name and verdict, and no cell is only an ellipsis.

    The first row is in the upper 240 px.
    """
    context = chromium.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(demo.endpoint + address)
    page.wait_for_load_state("networkidle")
    rows = page.locator(f"{table} tbody tr:has(.l1)")
    assert rows.count() > 0
    box = rows.first.bounding_box()
    assert box is not None
    assert box["y"] <= 240
    for row in rows.all():
        assert row.locator(".l1").inner_text().strip()
        assert row.locator(".r1").inner_text().strip()
    cut = page.locator(f"{table} tbody td").evaluate_all(
        """cells => cells.filter(cell => cell.clientWidth && cell.innerText.trim() &&
          (cell.innerText.trim() == "…"
            || (cell.scrollWidth > cell.clientWidth && cell.clientWidth < 48)))
          .map(cell => cell.innerText)"""
    )
    assert cut == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()
