"""Ten tasks of a new user from the project's home, each with a limit on the number of clicks.

The limit is three clicks, or five with a form. Ticks of rows and keys do not count. No task types
an address or a filter.
"""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.test_ten_tasks import ROWS, Visit, triage, visit
from tests.support.browser.fixtures import open_tab
from tests.support.browser.long_agent import PROJECT, SLOWEST, send_long_agent
from tests.support.browser.prices import PROJECT as PRICES
from tests.support.browser.prices import send_prices
from tests.support.collector import CollectorProcess
from tests.support.sampling import at_night

__all__ = ["triage", "visit"]

MOST = 3
MOST_WITH_FORM = 5


def open_home(visit: Visit, project: str) -> Page:
    """Open the home of a project; clicks count from there."""
    visit.project(project)
    visit.clicks = 0
    return visit.page


def tile(page: Page, name: str) -> Locator:
    """Return the link of a tile of the overview."""
    return page.locator(".tiles div", has_text=name).get_by_role("link").first


@pytest.fixture
def planned(chromium: Browser, triage: CollectorProcess) -> Iterator[Visit]:
    """A visit to a collector that also has an agent's run of 290 spans."""
    send_long_agent(triage.endpoint)
    with open_tab(chromium, triage.endpoint, "light", 1280, 900) as tab:
        yield Visit(tab.open("/"))


@pytest.fixture
def priced(chromium: Browser, triage: CollectorProcess) -> Iterator[Visit]:
    """A visit to a collector that also has two versions that answered the same inputs."""
    send_prices(triage.endpoint)
    with open_tab(chromium, triage.endpoint, "light", 1280, 900) as tab:
        yield Visit(tab.open("/"))


@at_night
def test_slowest_step_of_an_agent(planned: Visit) -> None:
    """2. Find the slowest step of a run with 290 spans."""
    page = open_home(planned, PROJECT)
    planned.click(planned.link("Runs"))
    planned.click(page.locator(ROWS).first)
    planned.click(page.locator("#steps .row").get_by_role("link", name=SLOWEST))
    expect(page.locator("main")).to_contain_text("(step=171)")
    assert planned.clicks <= MOST


@at_night
def test_failing_tool_of_an_agent(visit: Visit) -> None:
    """1. Find the newest failed call of an agent, its tool, and the error."""
    page = open_home(visit, "bikes")
    visit.click(tile(page, "Errors"))
    newest = page.locator(ROWS).first
    expect(newest).to_contain_text("reserve_bike")
    visit.click(newest)
    expect(page.locator("main")).to_contain_text("no answer within 80 ms")
    assert visit.clicks <= MOST


@at_night
def test_cost_by_llm(visit: Visit) -> None:
    """3. See the cost of each LLM in the last 7 days, with its whole name."""
    page = open_home(visit, "triage")
    visit.click(visit.link("7d"))
    visit.click(page.locator("#by-models").get_by_role("link", name="LLM"))
    row = page.locator("#by-models tr", has=page.get_by_role("link", name="gpt-4o-mini"))
    expect(row).to_contain_text(re.compile(r"\d\.\d{2}"))
    assert visit.clicks <= MOST


@at_night
def test_worst_slice_of_the_newest_version(visit: Visit) -> None:
    """4. See for whom the newest version is worst."""
    page = open_home(visit, "triage")
    visit.click(visit.link(re.compile("classify v2 is worse for client Kessler")))
    row = page.locator("table").first.locator("tbody tr").first
    expect(row).to_contain_text("Kessler")
    assert visit.clicks <= MOST


@at_night
def test_outputs_of_two_versions(priced: Visit) -> None:
    """5. See what two versions returned for one input."""
    page = open_home(priced, PRICES)
    priced.click(priced.link("estimate v2 is worse"))
    pair = page.locator("#pair-1")
    expect(pair).to_contain_text(re.compile(r"near\s*198"))
    expect(pair).to_contain_text(re.compile(r"far\s*198"))
    assert priced.clicks <= MOST


@at_night
def test_label_five_runs(visit: Visit) -> None:
    """6. Label five runs."""
    page = open_home(visit, "triage")
    visit.click(visit.link("Runs"))
    for _ in range(5):
        page.keyboard.press("j")
        page.keyboard.press("m")
    visit.click(page.get_by_role("button", name="Add to labelling queue"))
    visit.click(page.get_by_role("dialog").get_by_role("button", name="Add", exact=True))
    visit.click(page.get_by_role("button", name="Start labelling"))
    name = page.get_by_label("Your name")
    if name.count():
        name.fill("Mira")
        page.keyboard.press("Enter")
    left = page.locator("#left")
    for number in range(5):
        expect(left).to_contain_text(f"{number} of 5")
        page.keyboard.press("1")
        page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("5 of 5")
    assert visit.clicks <= MOST_WITH_FORM


@at_night
def test_failing_run_as_test(visit: Visit) -> None:
    """7. Save a failing run as a test, with the right answer."""
    page = open_home(visit, "triage")
    visit.click(tile(page, "Errors"))
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    visit.click(page.get_by_role("button", name="Save as test", exact=True))
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Data set").fill("seen")
    dialog.get_by_label("Right answer, as text or JSON").fill("a refund")
    visit.click(dialog.get_by_role("button", name="Save", exact=True))
    expect(page.locator("body")).to_contain_text("Saved in seen")
    assert visit.clicks <= MOST_WITH_FORM


@at_night
def test_alert_from_a_list(visit: Visit) -> None:
    """8. Make an alert from a list of runs, with its filter."""
    page = open_home(visit, "triage")
    visit.click(page.locator("#by-models").get_by_role("link", name="ticket", exact=True).first)
    visit.click(page.get_by_role("link", name="Alert on this filter"))
    expect(page.get_by_label("Runs", exact=True)).to_have_value('model == "ticket"')
    visit.click(page.get_by_role("button", name="Save rule"))
    expect(page).to_have_url(re.compile("/alerts/"))
    assert visit.clicks <= MOST_WITH_FORM


@at_night
def test_alert_from_a_tile(visit: Visit) -> None:
    """8. Make an alert from a curve of the overview, with a limit near its values."""
    page = open_home(visit, "triage")
    visit.click(page.get_by_role("link", name="Alert on Latency p95"))
    condition = page.get_by_label("Condition", exact=True)
    expect(condition).to_have_value(re.compile(r"p95\(latency_ms\) > \d+"))
    visit.click(page.get_by_role("button", name="Save rule"))
    expect(page).to_have_url(re.compile("/alerts/"))
    assert visit.clicks <= MOST_WITH_FORM


@at_night
def test_calls_of_a_session(visit: Visit) -> None:
    """9. See all calls of a user's session."""
    page = open_home(visit, "bikes")
    visit.click(visit.link("Session"))
    visit.click(page.locator("#by-users").get_by_role("link", name=re.compile("^talk-")).first)
    for words in ("Which bikes are free?", "find_bikes", "Reserve it."):
        expect(page.locator("main")).to_contain_text(words)
    assert visit.clicks <= MOST


@at_night
def test_who_changed_what(visit: Visit, triage: CollectorProcess) -> None:
    """10. See who changed what since yesterday."""
    rule = {"when": "runs > 5", "window": "1h"}
    address = f"{triage.endpoint}/api/v1/projects/triage/alerts/seen"
    assert visit.page.request.put(address, data=rule).ok
    page = open_home(visit, "triage")
    visit.click(visit.link(re.compile("^Activity")))
    row = page.locator("main table tr", has_text="seen").first
    expect(row).to_contain_text("local")
    expect(row).to_contain_text("alert rule")
    assert visit.clicks <= MOST
