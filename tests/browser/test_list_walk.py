"""Tests of moving through the list of runs: scrolling, filters, Back and the keyboard."""

from urllib.parse import parse_qs, quote, urlsplit

from playwright.sync_api import Browser, Page, Route, expect

from tests.support.browser.fixtures import Tab
from tests.support.collector import CollectorProcess
from tests.support.sampling import at_night, sampled

pytestmark = sampled(without="*dark*")
DOCS = "docs-search"
RUNS = f"/projects/{DOCS}/runs"
ANSWERS = 'model == "answer"'
ROWS = "tr[data-run]"


def shown(page: Page) -> list[str]:
    """Return the ids of the runs in the table, from top to bottom."""
    rows: list[str] = page.locator(ROWS).evaluate_all("rows => rows.map(row => row.dataset.run)")
    return rows


def scroll_on(page: Page) -> None:
    """Scroll to the end of the loaded rows, and wait for more rows."""
    loaded = page.locator(ROWS).count()
    page.locator(".runs tbody tr").last.scroll_into_view_if_needed()
    expect(page.locator(ROWS).nth(loaded)).to_be_attached()


def test_more_is_loaded_by_cursor_alone(tab: Tab, demo: CollectorProcess) -> None:
    """Each page of rows is requested once, with the cursor after its previous page."""
    asked: list[str] = []
    tab.page.on("request", lambda one: asked.append(one.url) if "more-runs" in one.url else None)
    page = tab.open(f"{RUNS}?where={quote(ANSWERS)}")
    for _ in range(3):
        scroll_on(page)
    cursors = [parse_qs(urlsplit(url).query)["cursor"][0] for url in asked]
    assert len(cursors) == len(set(cursors))
    loaded = shown(page)
    assert loaded == [run["run_id"] for run in demo.runs(DOCS, where=ANSWERS)[: len(loaded)]]


@at_night
def test_the_count_is_of_all_that_match(tab: Tab, demo: CollectorProcess) -> None:
    """The page counts all matching runs, not only the loaded ones."""
    page = tab.open(f"{RUNS}?where={quote(ANSWERS)}")
    number = len(demo.runs(DOCS, where=ANSWERS))
    expect(page.locator("main")).to_contain_text(f"{number:,} calls")
    assert page.locator(ROWS).count() < number


@at_night
def test_back_and_forward_take_filters_in_turn(tab: Tab, demo: CollectorProcess) -> None:
    """Back removes a filter and Forward restores it, each with its list."""
    page = tab.open(RUNS)
    everything = shown(page)
    page.keyboard.press("/")
    page.keyboard.type('outcome == "error"')
    page.keyboard.press("Enter")
    page.wait_for_url("**where=**")
    errors = [run["run_id"] for run in demo.runs(DOCS, where='outcome == "error"')]
    expect(page.locator(ROWS)).to_have_count(len(errors))
    page.go_back()
    expect(page.locator(ROWS)).to_have_count(len(everything))
    assert (shown(page), page.locator("input[role=combobox]").input_value()) == (everything, "")
    page.go_forward()
    expect(page.locator(ROWS)).to_have_count(len(errors))
    assert page.locator("input[role=combobox]").input_value() == 'outcome == "error"'


def test_a_filter_swaps_the_rows_in_place(tab: Tab, demo: CollectorProcess) -> None:
    """A filter replaces rows, menu, links and the API call without reloading the page."""
    page = tab.open(f"{RUNS}?roots=1")
    page.evaluate("window.stays = true")
    box = page.locator("input[role=combobox]")
    box.fill('outcome == "error"')
    box.press("Enter")
    page.wait_for_url("**where=**")
    errors = [run["run_id"] for run in demo.runs(DOCS, where='outcome == "error"', roots=True)]
    expect(page.locator(ROWS)).to_have_count(len(errors))
    assert shown(page) == errors
    expect(box).to_be_focused()
    expect(page.locator("#api-call")).to_contain_text('where=outcome == "error"')
    all_calls = (
        page.locator("#tops").get_by_role("link", name="All calls").get_attribute("href") or ""
    )
    assert parse_qs(urlsplit(all_calls).query) == {"where": ['outcome == "error"']}
    box.fill('latency_ms > 0 and outcome == "error"')
    box.press("Enter")
    expect(page.locator("#conditions a")).to_have_count(2)
    assert page.evaluate("window.stays") is True
    page.locator("#time summary").click()
    page.get_by_role("link", name="Last 15 minutes").click()
    page.wait_for_url("**last=15m**")
    expect(page.locator("#time summary .opt")).to_have_text("Last 15 minutes")


def test_a_wrong_filter_is_told_in_place(chromium: Browser, demo: CollectorProcess) -> None:
    """An error in a filter is shown below the box until the filter is corrected."""
    page = chromium.new_page()
    page.goto(f"{demo.endpoint}{RUNS}")
    page.evaluate("window.stays = true")
    box = page.locator("input[role=combobox]")
    for text, is_wrong in (("outcome ==", True), ('outcome == "error"', False)):
        box.fill(text)
        box.press("Enter")
        expect(box).to_have_attribute("aria-invalid", str(is_wrong).lower())
        expect(page.locator("#why .caret")).to_have_count(int(is_wrong))
        expect(page.locator(ROWS).first).to_be_attached(attached=not is_wrong)
    assert page.evaluate("window.stays") is True
    page.close()


@at_night
def test_rows_are_walked_with_keys(tab: Tab) -> None:
    """The keys j and k move the mark and the focus, and Enter opens the marked run."""
    page = tab.open(RUNS)
    runs = shown(page)
    for key in "jjk":
        page.keyboard.press(key)
    expect(page.locator("tr.cur")).to_have_attribute("data-run", runs[0])
    page.keyboard.press("j")
    expect(page.locator("tr.cur .open")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{RUNS}/{runs[1]}")


@at_night
def test_a_marked_row_is_not_hidden(tab: Tab) -> None:
    """The marked row stays visible below the table's head while the list scrolls."""
    page = tab.open(RUNS)
    for _ in range(40):
        page.keyboard.press("j")
    row = page.locator("tr.cur").bounding_box()
    head = page.locator(".runs thead th").first.bounding_box()
    assert row is not None
    assert head is not None
    assert head["y"] + head["height"] <= row["y"]
    assert row["y"] + row["height"] <= 900


@at_night
def test_a_run_can_be_opened_without_its_input(tab: Tab) -> None:
    """Each run has a link even if the input column is hidden."""
    page = tab.open(f"{RUNS}?columns=model&columns=ago")
    runs = shown(page)
    expect(page.locator(f"{ROWS} a.open")).to_have_count(len(runs))
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{RUNS}/{runs[0]}")


@at_night
def test_scrolling_does_not_choose_columns(tab: Tab) -> None:
    """A filter link in a row that was loaded by scrolling only changes the filter."""
    page = tab.open(RUNS)
    scroll_on(page)
    link = page.locator(f"{ROWS} .model .only").last.get_attribute("href") or ""
    assert list(parse_qs(urlsplit(link).query)) == ["where"]


@at_night
def test_escape_leaves_the_filter(tab: Tab) -> None:
    """The first Escape closes the completions, the second leaves the box, so keys work again."""
    page = tab.open(RUNS)
    page.keyboard.press("/")
    expect(page.locator("input[role=combobox]")).to_be_focused()
    page.keyboard.type("mod")
    expect(page.get_by_role("listbox")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_have_count(0)
    expect(page.locator("input[role=combobox]")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.locator("tr.cur")).to_have_count(1)


@at_night
def test_an_answer_after_escape_opens_nothing(tab: Tab) -> None:
    """Completions that arrive after Escape are not shown."""
    page = tab.open(RUNS)
    page.keyboard.press("/")
    page.keyboard.type("mod")
    expect(page.get_by_role("listbox")).to_be_visible()
    held: list[Route] = []
    page.route("**where=mode**", lambda route: held.append(route))  # noqa: PLW0108 - it is written on
    with page.expect_request("**where=mode**"):
        page.keyboard.type("e")
    page.keyboard.press("Escape")
    with page.expect_response("**where=mode**"):
        held[0].continue_()
    expect(page.get_by_role("listbox")).to_have_count(0)
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.locator("tr.cur")).to_have_count(1)
