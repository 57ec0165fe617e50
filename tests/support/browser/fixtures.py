"""Fixtures: Chromium, and a collector with the demo's data."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.browser.tour import Stop, open_tour
from tests.support.collector import CollectorProcess, running
from tests.support.folders import SCREENSHOTS

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Only stops a test that hangs. With five modules at a time on two cores, Home took more than 30 s.
_HANGING_MS: Final = 150_000
expect.set_options(timeout=_HANGING_MS)


@pytest.fixture(scope="session")
def demo(
    recorded_demo: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CollectorProcess]:
    """A collector with the demo's data."""
    own = tmp_path_factory.mktemp("demo") / "data"
    shutil.copytree(recorded_demo / "data", own, symlinks=True)
    with running(own) as collector:
        yield collector


@pytest.fixture(scope="session")
def stops(demo: CollectorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Stop]]:
    """All stops of the tour."""
    with open_tour(demo, tmp_path_factory.mktemp("tour")) as found:
        yield found


@pytest.fixture(scope="module")  # Playwright's event loop occupies this thread
def chromium() -> Iterator[Browser]:
    """A browser for the tests of a file."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"There is no {CHROMIUM}: install Debian's package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Tab:
    """A page that records the errors and warnings in its console."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self._address = address
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, path: str) -> Page:
        """Open a page and wait until it is idle."""
        response = self.page.goto(self._address + path)
        assert response is not None
        assert response.status == 200, f"{path}: {response.status}"
        self.page.wait_for_load_state("networkidle")
        return self.page

    def _note(self, message: object) -> None:
        kind, text = getattr(message, "type", ""), getattr(message, "text", "")
        if kind in {"error", "warning"}:
            self.complaints.append(f"{kind}: {text}")


@contextmanager
def open_tab(
    chromium: Browser, address: str, theme: Literal["light", "dark"], width: int, height: int
) -> Iterator[Tab]:
    """Open a tab; at the end, fail if its console has an error or a warning."""
    context = chromium.new_context(color_scheme=theme, viewport={"width": width, "height": height})
    context.set_default_timeout(_HANGING_MS)
    opened = Tab(context, address)
    yield opened
    context.close()
    assert opened.complaints == [], opened.complaints


@pytest.fixture(params=["light", "dark"])
def tab(request: pytest.FixtureRequest, chromium: Browser, demo: CollectorProcess) -> Iterator[Tab]:
    """A tab in one theme; its test fails if the console has an error or a warning."""
    with open_tab(chromium, demo.endpoint, request.param, 1280, 900) as opened:
        yield opened


@pytest.fixture
def shots(request: pytest.FixtureRequest) -> Path:
    """The folder of screenshots, which git ignores."""
    folder = SCREENSHOTS
    folder.mkdir(exist_ok=True)
    return folder
