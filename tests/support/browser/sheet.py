"""Takes a picture of every stop of the tour and puts all of them on one sheet; `make sheet`.

``python -m tests.support.browser.sheet [NAME ...]`` takes only stops whose names start with NAME.
It uses the themes and widths that the pages support, and writes the pictures to
``tests/browser/screenshots``.
"""

import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Browser, sync_playwright

from tests.support.browser.fixtures import ARGUMENTS, CHROMIUM
from tests.support.browser.tour import Stop, open_tour
from tests.support.collector import running
from tests.support.demo import record_demo
from tests.support.folders import SCREENSHOTS

FOLDER: Final = SCREENSHOTS / "sheet"
THEMES: Final[Sequence[Literal["light", "dark"]]] = ("light", "dark")
WIDTHS: Final = (1280, 390)
_HEIGHTS: Final = {1280: 800, 390: 844}
_MOST_HEIGHT: Final = 2400
_STYLE: Final = """
body{margin:16px;background:#777;color:#fff;font:14px system-ui}
section{display:flex;gap:12px;align-items:start;margin-bottom:24px}
figure{max-height:360px;margin:0;overflow:hidden}img{display:block;zoom:.3}
h2{width:140px;font-size:16px;overflow-wrap:anywhere}
"""


def main(names: Sequence[str]) -> None:
    """Take the pictures of every stop in both themes and at both widths, then write the sheet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(record_demo(Path(folder) / "demo")) as demo,
        open_tour(demo, Path(folder)) as stops,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        chosen = [one for one in stops if one.name.startswith(tuple(names) or "")]
        for theme, width in product(THEMES, WIDTHS):
            shoot(browser, chosen, theme, width)
        _write_sheet(browser, chosen)
        browser.close()
    sys.stdout.write(f"{FOLDER / 'sheet.png'}\n")


def shoot(
    browser: Browser, stops: Sequence[Stop], theme: Literal["light", "dark"], width: int
) -> None:
    """Take the pictures in one theme and width, each as high as its page, at most 2,400 px."""
    context = browser.new_context(
        color_scheme=theme, viewport={"width": width, "height": _HEIGHTS[width]}
    )
    for stop in stops:
        page = context.new_page()
        stop.open(page)
        height = page.evaluate("document.documentElement.scrollHeight")
        page.screenshot(
            path=FOLDER / _file(stop, theme, width),
            full_page=True,
            clip={"x": 0, "y": 0, "width": width, "height": min(height, _MOST_HEIGHT)},
        )
        page.close()
    context.close()


def _file(stop: Stop, theme: str, width: int) -> str:
    return f"{stop.name}-{width}-{theme}.png"


def _write_sheet(browser: Browser, stops: Sequence[Stop]) -> None:
    """Put all pictures on one page, and take a picture of that page."""
    rows = [
        f"<section><h2>{stop.name}</h2>"
        + "".join(
            f'<figure><img src="{_file(stop, theme, width)}" alt=""></figure>'
            for width, theme in product(WIDTHS, THEMES)
        )
        + "</section>"
        for stop in stops
    ]
    sheet = FOLDER / "sheet.html"
    sheet.write_text(f"<!doctype html><style>{_STYLE}</style>{''.join(rows)}")
    page = browser.new_page(viewport={"width": 1250, "height": 1000})
    page.goto(sheet.as_uri())
    page.screenshot(path=FOLDER / "sheet.png", full_page=True)
    page.close()


if __name__ == "__main__":
    main(sys.argv[1:])
