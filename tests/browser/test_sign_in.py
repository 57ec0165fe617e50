"""Signing in with a key and out again, in a browser."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from otel_ml import Client
from otel_ml_collector.cli import main
from tests.browser.conftest import Tab
from tests.support.collector import CollectorProcess
from tests.support.keys import run_keys

pytestmark = pytest.mark.browser


@pytest.fixture
def tab(chromium: Browser, own_collector: CollectorProcess) -> Iterator[Tab]:
    """A tab before a collector that has no key yet; it fails its test when the console complained.

    What a browser says of the answers 403 and 429 to a form is no complaint of the page's.
    """
    context = chromium.new_context(viewport={"width": 1280, "height": 700})
    opened = Tab(context, own_collector.endpoint)
    yield opened
    context.close()
    assert [text for text in opened.complaints if "status of 403" not in text] == []


def test_sign_in(
    tab: Tab,
    own_collector: CollectorProcess,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    shots: Path,
) -> None:
    """A reader is asked for a key, comes to the page that was wanted, and leaves again."""
    http = urlsplit(own_collector.endpoint).netloc
    where = ["--data-dir", str(tmp_path / "data"), "--http", http]
    assert main(["keys", "add", *where, "--project", "shop", "--scope", "read"]) == 0
    key = capsys.readouterr().out.strip()
    page = tab.open("/projects/shop/runs?last=1h")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_label("Key", exact=True)).to_be_focused()
    page.keyboard.type("omk_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This is no valid key that may read or annotate")
    page.screenshot(path=shots / "sign-in.png")
    page.get_by_label("Key", exact=True).fill(key)
    page.keyboard.press("Enter")
    page.wait_for_url("**/projects/shop/runs?last=1h")
    expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
    call = page.locator("#api-call")
    expect(call).to_contain_text("""curl -G -H "x-api-key: $OTEL_ML_API_KEY" 'http://""")
    page.screenshot(path=shots / "signed-in.png")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    tab.open("/projects/shop/runs")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_no_page_tells_of_another_project(
    chromium: Browser, own_collector: CollectorProcess, tmp_path: Path
) -> None:
    """A reader of one project finds no name of another one on any page, whatever the address."""
    for project, model in (("shop", "sell"), ("bank", "lend-secretly")):
        client = Client(project, endpoint=own_collector.endpoint)
        with client.run(model, params={"of": project}) as run:
            run.log_metrics({f"gain-{project}": 1.0}, step=1)
        assert client.flush()
        client.close()
    [hidden] = own_collector.runs("bank")
    own_collector.stop()
    folder = str(tmp_path / "data")
    made = run_keys("add", "--data-dir", folder, "--project", "shop", "--scope", "read")
    own_collector.restart()
    page = chromium.new_page()
    page.goto(f"{own_collector.endpoint}/")
    page.get_by_label("Key", exact=True).fill(made.stdout.strip())
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="All projects")).to_be_visible()
    page.wait_for_load_state("networkidle")
    page.locator("details.switch > summary").first.click()
    expect(page.locator(".pop small")).to_have_count(1)
    assert "bank" not in page.content()
    for path in (
        "/projects/bank/runs",
        f"/projects/bank/runs/{hidden['run_id']}",
        "/projects/bank/models",
        "/projects/bank/models/lend-secretly",
        "/projects/bank/metrics",
        f"/projects/bank/metrics?run_id={hidden['run_id']}",
        "/projects/bank/more-runs",
        f"/projects/shop/runs/{hidden['run_id']}",
        f"/projects/shop/metrics?run_id={hidden['run_id']}",
        "/projects/shop/models/lend-secretly",
    ):
        answer = page.goto(own_collector.endpoint + path)
        assert answer is not None
        told = page.locator("main").inner_text()
        assert answer.status == 404 or "bank" not in path, path
        assert "gain-bank" not in told, path
        assert "lend-secretly" not in told or path.endswith("lend-secretly"), path
        assert "Show all runs" not in told, path  # which would say that there are some
    page.close()
