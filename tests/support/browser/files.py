"""Saves a file of each kind from the demo's data, measures them and takes their pictures.

``python -m tests.support.browser.files`` prints the sizes and times, and writes the pictures to
``tests/browser/screenshots/files``.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, urlencode

from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.browser.fixtures import ARGUMENTS, CHROMIUM
from tests.support.browser.sheet import THEMES, WIDTHS
from tests.support.collector import CollectorProcess, running
from tests.support.demo import record_demo
from tests.support.folders import SCREENSHOTS

FOLDER: Final = SCREENSHOTS / "files"
_TIMES: Final = 5
_MOST_HEIGHT: Final = 6_000
_LOADED: Final = "performance.getEntriesByType('navigation')[0].loadEventEnd"


def find_files(demo: CollectorProcess) -> Mapping[str, str]:
    """Return the address of a file of each kind, below the API's base."""
    docs = "/projects/docs-search"
    [session, *_] = demo.get(f"{docs}/sessions")["sessions"]
    [run, *_] = demo.runs("docs-search", where='model == "ask"')
    [experiment, *_] = demo.get(f"{docs}/experiments")["experiments"]
    sides = urlencode({"of": ["answer:v1", "answer:v2"]}, doseq=True)
    return {
        "trace": f"{docs}/runs/{run['run_id']}/file?",
        "session": f"{docs}/sessions/{quote(session['session'], safe='')}/file?",
        "experiment": f"{docs}/experiments/{experiment['run_id']}/file?",
        "comparison": f"{docs}/compare/file?{sides}&",
        "list": f"{docs}/run-list/file?limit=50&",
    }


def save_files(demo: CollectorProcess, folder: Path) -> Mapping[str, Path]:
    """Save a file of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    saved = {}
    for kind, address in find_files(demo).items():
        saved[kind] = folder / f"{kind}.html"
        saved[kind].write_text(demo.get_text(f"/api/v1{address}"))
    return saved


@contextmanager
def open_saved(
    browser: Browser, file: Path, theme: Literal["light", "dark"] = "light", width: int = 390
) -> Iterator[Page]:
    """Open a file; at the end, fail if it requested anything, complained, or is too wide."""
    context = browser.new_context(color_scheme=theme, viewport={"width": width, "height": 900})
    complaints: list[str] = []
    page = context.new_page()
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda request: complaints.append(f"request: {request.url[:200]}"))
    address = file.as_uri()
    page.goto(address)
    page.wait_for_load_state("load")
    yield page
    widths = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
    context.close()
    asked = [f"request: {address}"]
    own = [told for told in complaints if not told.startswith("request: data:image/")]
    assert own == asked, own[:5]
    assert widths[0] <= widths[1], f"{file.name} is {widths[0]} px wide"


def main() -> None:
    """Print the size of each file, how long it takes to make and to open it; take pictures."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(record_demo(Path(folder) / "demo")) as demo,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        addresses = find_files(demo)
        files = save_files(demo, FOLDER)
        for kind, file in files.items():
            began = time.monotonic()
            demo.get_text(f"/api/v1{addresses[kind]}")
            made_ms = (time.monotonic() - began) * 1e3
            opened_ms = statistics.median(_open(browser, file) for _ in range(_TIMES))
            size = file.stat().st_size / 1e3
            sys.stdout.write(
                f"{kind:12} {size:6.0f} kB, made in {made_ms:5.0f} ms, open after "
                f"{opened_ms:4.0f} ms\n"
            )
            _shoot(browser, kind, file)
        browser.close()


def _open(browser: Browser, file: Path) -> float:
    """Return how many milliseconds a file takes to load."""
    page = browser.new_page()
    page.goto(file.as_uri())
    page.wait_for_load_state("load")
    page.wait_for_function(f"{_LOADED} > 0")
    took_ms = float(page.evaluate(_LOADED))
    page.close()
    return took_ms


def _shoot(browser: Browser, kind: str, file: Path) -> None:
    for theme, width in product(THEMES, WIDTHS):
        page = browser.new_page(color_scheme=theme, viewport={"width": width, "height": 900})
        page.goto(file.as_uri())
        height = min(page.evaluate("document.documentElement.scrollHeight"), _MOST_HEIGHT)
        page.screenshot(
            path=FOLDER / f"{kind}-{width}-{theme}.png",
            full_page=True,
            clip={"x": 0, "y": 0, "width": width, "height": height},
        )
        page.close()
    page = browser.new_page()
    page.goto(file.as_uri())
    page.pdf(path=FOLDER / f"{kind}.pdf", format="A4")
    page.close()


if __name__ == "__main__":
    main()
