"""Ten everyday tasks, each from Home, with a limit on the number of clicks."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.browser.fixtures import open_tab
from tests.support.browser.triage import send
from tests.support.collector import CollectorProcess, running
from tests.support.sampling import at_night

ROWS = "tr[data-run]"
_DAYS = 5


@pytest.fixture(scope="module")
def triage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """A collector with the triage story of two projects."""
    with running(tmp_path_factory.mktemp("triage") / "data") as collector:
        send(collector.endpoint, days=_DAYS)
        yield collector


class Visit:
    """A visit that starts at Home and counts the user's clicks."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = 0

    def click(self, what: Locator) -> None:
        """Click, and wait until the page is idle."""
        what.click()
        self.clicks += 1
        self.page.wait_for_load_state("networkidle")

    def link(self, name: str | re.Pattern[str]) -> Locator:
        """Return the first link with this name."""
        return self.page.get_by_role("link", name=name).first

    def project(self, name: str) -> None:
        """Open a project."""
        self.click(self.page.locator("main").get_by_role("link", name=name, exact=True).first)

    def problem(self, words: str) -> Locator:
        """Return the problem with this text."""
        return self.page.locator(".why li, .why tr, .why > *").filter(has_text=words).first

    def choose_time(self, name: str) -> None:
        """Choose a time range with the time control: two clicks."""
        self.click(self.page.locator("#time summary"))
        self.click(self.link(name))

    def runs(self) -> list[str]:
        """Return the texts of the list's rows."""
        return [row.inner_text() for row in self.page.locator(ROWS).all()]

    def run_ids(self) -> list[str]:
        """Return the IDs of the runs in the list."""
        rows = self.page.locator(ROWS).all()
        return [row.get_attribute("data-run") or "" for row in rows]


@pytest.fixture
def visit(chromium: Browser, triage: CollectorProcess) -> Iterator[Visit]:
    """A visit to the collector; its test fails if the console has an error or a warning."""
    with open_tab(chromium, triage.endpoint, "light", 1280, 900) as tab:
        tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        yield Visit(tab.open("/"))


def test_slowest_failed_call(visit: Visit) -> None:
    """1. Find the slowest failed call of a client yesterday."""
    visit.project("triage")
    visit.click(visit.problem("fails for client Bluebird").get_by_role("link", name="Show"))
    visit.choose_time("Yesterday")
    visit.click(visit.link("ms"))
    rows = visit.runs()
    assert rows
    assert all("ValueError" in row and "Bluebird" in row for row in rows)
    times = [float(text) for text in visit.page.locator(f"{ROWS} .took").all_inner_texts()]
    assert times == sorted(times, reverse=True)
    assert visit.clicks <= 5


def test_which_version_got_worse(visit: Visit) -> None:
    """2. See which version got worse, for whom, and on which inputs."""
    visit.project("triage")
    visit.click(visit.link(re.compile("classify.* is worse")))
    table = visit.page.locator("table").first
    rows = table.locator("tr", has_text="Kessler").all_inner_texts()
    assert any("worse" in row for row in rows), visit.page.inner_text("main")
    show = visit.link(re.compile(r"Show \d+ runs?"))
    count = int(re.findall(r"\d+", show.inner_text())[0])
    visit.click(show)
    expect(visit.page.locator("main")).to_contain_text(f"{count:,} calls")
    assert all("fails" in row and "Kessler" in row for row in visit.runs())
    assert visit.clicks <= 4


@at_night
def test_cost_by_model_and_user(visit: Visit) -> None:
    """3. See the cost per model and user this week."""
    visit.project("triage")
    visit.click(visit.link("7d"))
    body = visit.page.inner_text("main")
    assert re.search(r"draft_reply\s.*\d\.\d{2}", body)
    assert re.search(r"no-0\d\s.*\d\.\d{2}", body)
    assert visit.clicks <= 2


@at_night
def test_read_a_conversation(visit: Visit) -> None:
    """4. Read a conversation with its tool calls."""
    visit.project("bikes")
    visit.click(visit.link("Session"))
    visit.click(visit.page.locator("main").get_by_role("link", name=re.compile("^talk-")).first)
    body = visit.page.inner_text("main")
    for words in ("Reserve it.", "reserve_bike", "Oslo", "Reserve it: B-7."):
        assert words in body
    assert visit.clicks <= 3


@at_night
def test_stricter_judge(visit: Visit) -> None:
    """5. See whether the new judge is stricter."""
    visit.project("triage")
    visit.click(visit.link("Judges"))
    visit.click(visit.page.locator("main").get_by_role("link", name="grounded").first)
    assert "v2 is stricter" in visit.page.inner_text("main")
    assert visit.clicks <= 3


@at_night
def test_what_changed(visit: Visit) -> None:
    """6. See what changed since yesterday, without differences too small to matter."""
    visit.project("triage")
    body = visit.page.inner_text("main")
    assert "new" in visit.problem("draft_reply v2").inner_text()
    assert "draft_reply v2 costs" in body
    # The median of classify rose from 6.1 to 6.4 ms.
    assert not re.search(r"classify.*(slower|latency)", body)
    assert visit.clicks <= 1


@at_night
def test_alert_for_a_client(visit: Visit) -> None:
    """7. Make an alert for a client, and test it on the past."""
    visit.project("triage")
    problem = visit.problem("fails for client Bluebird")
    visit.click(problem.get_by_role("link", name="Alert on this"))
    page = visit.page
    expect(page.locator("main")).to_contain_text(re.compile(r"would have fired", re.IGNORECASE))
    visit.click(page.get_by_role("button", name="Save rule"))
    expect(page.locator("h1")).to_contain_text("Bluebird")
    assert visit.clicks <= 4


@at_night
def test_label_with_a_colleague(visit: Visit) -> None:
    """8. Label runs with a colleague, then see who differs from whom."""
    visit.project("triage")
    visit.click(visit.problem("classify v2 is worse").get_by_role("link", name="Label these"))
    page = visit.page
    page.get_by_label("Reviewers per run").fill("2")
    visit.click(page.get_by_role("button", name="Create queue"))
    assert visit.clicks <= 3
    address = page.url
    for name, first in (("Mira", "1"), ("Jo", "2")):
        page.goto(address)
        page.get_by_label("Your name").fill(name)
        page.keyboard.press("Enter")
        for number in range(5):
            left = page.locator("#left")
            expect(left).to_contain_text(re.compile(rf"{name} · {number} of \d+"))
            page.wait_for_load_state("load")  # from then on the page handles keys
            page.keyboard.press("2" if number else first)
            page.keyboard.press("Enter")
        expect(page.locator("#left")).to_contain_text(re.compile(rf"{name} · 5 of \d+"))
    page.get_by_role("link", name="Agreement").first.click()
    page.wait_for_load_state("networkidle")
    body = page.inner_text("main")
    assert "Mira" in body
    assert "Jo" in body


@at_night
def test_keep_as_tests(visit: Visit) -> None:
    """9. Keep three runs as tests, by ticking them."""
    visit.project("triage")
    visit.click(visit.link("Runs"))
    page = visit.page
    for key in "jmjmjm":
        page.keyboard.press(key)
    visit.click(page.get_by_role("button", name="Save as tests"))
    page.get_by_label("Data set").fill("odd-ones")
    visit.click(page.get_by_role("dialog").get_by_role("button", name="Save", exact=True))
    expect(page.locator("body")).to_contain_text("Saved in odd-ones")
    page.goto(page.url.partition("/projects/")[0] + "/projects/triage/datasets/odd-ones")
    expect(page.locator("table").last.locator("tbody tr")).to_have_count(3)
    assert visit.clicks <= 5


@at_night
def test_hand_over(visit: Visit) -> None:
    """10. Share the current view: the copied address has absolute times."""
    visit.project("triage")
    visit.click(visit.problem("draft_reply v2").get_by_role("link", name="Show"))
    visit.clicks = 0
    visit.page.keyboard.press("c")
    address = visit.page.evaluate("navigator.clipboard.readText()")
    asked = parse_qs(urlsplit(address).query)
    assert {"start", "end"} <= asked.keys()
    assert "last" not in asked
    before = visit.run_ids()
    visit.page.goto(address)
    visit.page.wait_for_load_state("networkidle")
    assert visit.run_ids() == before
    assert visit.clicks <= 1
