"""Takes the pictures of the pages on frameworks: what one gets by following them.

``python -m tests.browser.pictures [PAGE ...]`` follows each page as its test does, and writes
``docs/images/PAGE.png``, in few colours, so that it stays small.
"""

import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.services.frameworks import FOLLOWED
from tests.services.processes import ROOT
from tests.support.collector import CollectorProcess, running

IMAGES: Final = ROOT / "docs" / "images"
_COLOURS: Final = 64
_WIDTH: Final = 1280
_MOST_HEIGHT: Final = 800


def main(pages: Sequence[str]) -> None:
    """Follow the pages, all when none is named, and take the picture of each."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for page in pages or FOLLOWED:
            with tempfile.TemporaryDirectory() as kept:
                files = Path(kept) / "files"
                files.mkdir()
                with running(Path(kept) / "data") as collector:
                    FOLLOWED[page](page, collector, files)
                    shoot(browser, find_address(page, collector), IMAGES / f"{page}.png")
        browser.close()


def find_address(page: str, collector: CollectorProcess) -> str:
    """Find the page of the collector that shows best what arrived: the trace of a run."""
    run = collector.runs(page)[0]
    return f"{collector.endpoint}/projects/{page}/runs/{run['run_id']}"


def shoot(browser: Browser, address: str, target: Path) -> None:
    """Take the picture of a page, at most 800 px of it."""
    page = browser.new_page(color_scheme="light", viewport={"width": _WIDTH, "height": 400})
    page.goto(address)
    page.wait_for_load_state("networkidle")
    height = min(page.evaluate("document.documentElement.scrollHeight"), _MOST_HEIGHT)
    shot = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": _WIDTH, "height": height})
    page.close()
    with Image.open(io.BytesIO(shot)) as picture:
        picture.convert("RGB").quantize(_COLOURS).save(target, optimize=True)
    sys.stdout.write(f"{target}: {target.stat().st_size} bytes\n")


if __name__ == "__main__":
    main(sys.argv[1:])
