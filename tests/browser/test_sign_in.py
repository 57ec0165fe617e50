"""Tests of signing in with a key and signing out, in a browser."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from otel_ml_collector.cli import main
from otel_ml_collector.keyring import SESSION_COOKIE
from tests.support.browser.fixtures import Tab
from tests.support.collector import CollectorProcess
from tests.support.sampling import at_night, sampled

pytestmark = sampled(without="*dark*")


@pytest.fixture
def tab(chromium: Browser, own_collector: CollectorProcess) -> Iterator[Tab]:
    """A tab on a collector without keys; its test fails if the console has an error or a warning.

    Messages of the browser about a response with status 403 do not count.
    """
    context = chromium.new_context(viewport={"width": 1280, "height": 700})
    opened = Tab(context, own_collector.endpoint)
    yield opened
    context.close()
    assert [text for text in opened.complaints if "status of 403" not in text] == []


@pytest.fixture
def key(own_collector: CollectorProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return a new key that may read the project "shop"."""
    http = urlsplit(own_collector.endpoint).netloc
    where = ["--data-dir", str(tmp_path / "data"), "--http", http]
    assert main(["keys", "add", *where, "--project", "shop", "--scope", "read"]) == 0
    return capsys.readouterr().out.strip()


def test_sign_in(tab: Tab, key: str, shots: Path) -> None:
    """A reader is asked for a key, is sent to the requested page, and can sign out."""
    page = tab.open("/projects/shop/runs?last=1h")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_label("Key", exact=True)).to_be_focused()
    page.keyboard.type("omk_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This key is not valid.")
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


@at_night
def test_secrets_are_not_compressed(tab: Tab, key: str, own_collector: CollectorProcess) -> None:
    """The browser gets compressed pages without the key or the session, and others in full."""
    page = tab.open("/sign-in")
    page.get_by_label("Key", exact=True).fill(key)
    page.keyboard.press("Enter")
    page.wait_for_url("**/")
    cookies = {each.get("name"): each.get("value", "") for each in page.context.cookies()}
    secrets = [key, cookies[SESSION_COOKIE]]
    encodings = {}
    for path in ("/", "/projects/shop", "/projects/shop/runs", "/projects/shop/settings"):
        answer = page.goto(own_collector.endpoint + path)
        assert answer is not None
        encodings[path.rpartition("/")[2]] = answer.header_value("content-encoding")
        assert not [secret for secret in secrets if secret in answer.text()]
    assert encodings == {"": "gzip", "shop": "gzip", "runs": "gzip", "settings": None}
