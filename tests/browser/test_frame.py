"""What all pages have in common: where their data comes from, what they load, how one moves on."""

import ast
import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Page, expect

from otel_ml_collector.web.render import PARTS
from tests.browser.conftest import Tab
from tests.browser.tour import DOCS, Stop
from tests.support.collector import CollectorProcess

pytestmark = pytest.mark.browser
ERRORS: Final = 'outcome == "error"'
FAILED: Final = f"{DOCS}/runs?where={quote(ERRORS)}"
# A page, what it shows, and the same of the answers of API and reader.
PAGES: Final[Sequence[tuple[str, str, Callable[[Any], Any], Callable[[Any], Any]]]] = [
    (
        "/",
        "main table >> nth=0 >> tbody td:first-child a",
        lambda told: [one["project"] for one in told["projects"]],
        lambda found: [one.project for one in found],
    ),
    (
        FAILED,
        "tr[data-run]",
        lambda told: [one["run_id"] for one in told["runs"]],
        lambda found: [one.run_id for one in found],
    ),
    (
        f"{DOCS}/models",
        "main tbody td:first-child a",
        lambda told: [one["model"] for one in told["models"]],
        lambda found: [one.model for one in found],
    ),
    (
        f"{DOCS}/models/answer",
        "main table >> nth=0 >> tbody td:first-child a",
        lambda told: [f"v{one['version']}" for one in told["versions"]],
        lambda found: [f"v{one.version}" for one in found],
    ),
]


def ask_as_shown(line: str) -> Any:
    """Do what a line of curl does; returns the decoded answer."""
    curl, *words = shlex.split(line)
    assert curl == "curl"
    address = next(word for word in words if word.startswith("http"))
    given = [
        words[place + 1].split("=", 1)
        for place, word in enumerate(words)
        if word in {"-d", "--data-urlencode"}
    ]
    assert ("-G" in words) is bool(given)
    with urlopen(f"{address}?{urlencode([(name, value) for name, value in given])}") as answer:
        return json.loads(answer.read())


def run_as_copied(text: str) -> Any:
    """Run what the copy button gives; returns the value of its last line."""
    *before, last = ast.parse(text).body
    assert isinstance(last, ast.Expr)
    names: dict[str, Any] = {}
    exec(compile(ast.Module(before, []), "copied", "exec"), names)  # noqa: S102
    found = eval(compile(ast.Expression(last.value), "copied", "eval"), names)  # noqa: S307
    result = list(found) if hasattr(found, "__iter__") else found
    names["reader"].close()
    return result


def hosts_of(page: Page) -> set[str]:
    """The hosts that a tab asks, from now on."""
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    return hosts


@pytest.mark.parametrize(("path", "shown", "of_api", "of_reader"), PAGES)
def test_calls_give_what_the_page_shows(
    tab: Tab,
    path: str,
    shown: str,
    of_api: Callable[[Any], Any],
    of_reader: Callable[[Any], Any],
) -> None:
    """The API call and the Python line below a list give just what stands in it."""
    page = tab.open(path)
    rows = page.locator(shown)
    texts = [row.get_attribute("data-run") or row.inner_text() for row in rows.all()]
    assert texts
    assert of_api(ask_as_shown(page.locator("#api-call").inner_text())) == texts
    copied = page.locator("#python-call").get_attribute("data-text") or ""
    assert of_reader(run_as_copied(copied)) == texts


def test_calls_of_one_run_and_its_metrics(tab: Tab, demo: CollectorProcess) -> None:
    """The calls below a run give that run, those below its curves these curves."""
    [owner, *_] = demo.get("/projects/digits/metrics")["runs"]
    page = tab.open(f"/projects/digits/runs/{owner['run_id']}")
    told = ask_as_shown(page.locator("#api-call").inner_text())
    found = run_as_copied(page.locator("#python-call").get_attribute("data-text") or "")
    assert told["run_id"] == found.run_id == owner["run_id"]
    page = tab.open(f"/projects/digits/metrics?run_id={owner['run_id']}")
    told = ask_as_shown(page.locator("#api-call").inner_text())
    found = run_as_copied(page.locator("#python-call").get_attribute("data-text") or "")
    assert [one["name"] for one in told["series"]] == found == ["accuracy", "loss"]


def test_every_page_is_strict_and_its_own(chromium: Browser, stops: list[Stop]) -> None:
    """No page asks another host, none may run what is written into it, each names its calls."""
    for stop in stops:
        page = chromium.new_page()
        hosts = hosts_of(page)
        answer = page.goto(stop.address)
        assert answer is not None
        page.wait_for_load_state("networkidle")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy, stop.name
        assert "unsafe" not in policy, stop.name
        assert hosts == {urlsplit(stop.address).netloc}, stop.name
        has_calls = page.locator("#api-call").count() == page.locator("#python-call").count() == 1
        assert has_calls is not stop.name.startswith(("error", "sign-in", "metrics-empty")), (
            stop.name
        )
        page.close()


def test_pages_work_offline(chromium: Browser, demo: CollectorProcess) -> None:
    """With no network but the collector's, a page looks and works the same."""
    context = chromium.new_context()
    context.route(
        lambda url: not url.startswith(demo.endpoint), lambda route: route.abort("failed")
    )
    page = context.new_page()
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.goto(f"{demo.endpoint}/projects/digits/metrics")
    expect(page.locator(".plot canvas").first).to_be_visible()
    assert failed == []
    context.close()


@pytest.mark.parametrize("part", PARTS)
def test_switcher_keeps_the_place(tab: Tab, part: str) -> None:
    """From one project to another one stays on the same sort of page."""
    page = tab.open(f"{DOCS}/{part}")
    page.locator("details.switch > summary").first.click()
    page.locator(".pop").get_by_role("link", name="digits").click()
    page.wait_for_url(f"**/projects/digits/{part}")
    expect(page.locator(".top nav a[aria-current=page]")).to_have_text(PARTS[part])


def test_an_error_page_leads_on(chromium: Browser, demo: CollectorProcess) -> None:
    """A page for an error says what is wrong, and leads back into the project."""
    page = chromium.new_page()
    page.goto(f"{demo.endpoint}{DOCS}/models/none")
    expect(page.get_by_role("alert")).to_contain_text("none")
    page.get_by_role("link", name="Models of docs-search").click()
    expect(page.get_by_role("heading", name="Models")).to_be_visible()
    page.close()


def test_projects_are_at_home(chromium: Browser, demo: CollectorProcess) -> None:
    """An address whose project was cut off leads to the list of projects."""
    page = chromium.new_page()
    page.goto(f"{demo.endpoint}/projects/")
    expect(page.get_by_role("heading", name="All projects")).to_be_visible()
    assert urlsplit(page.url).path == "/"
    page.close()
