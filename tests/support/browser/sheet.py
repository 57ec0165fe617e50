"""Takes a picture of every stop of the tour and puts all of them on one sheet; `make sheet`.

``python -m tests.support.browser.sheet [NAME ...]`` takes only stops whose names start with NAME.
The sheet has these and the pictures of earlier calls, so a slow machine can take them in parts.
It uses the themes and widths that the pages support, and writes the pictures to
``tests/browser/screenshots/sheet``. Pictures with the same names in its folder ``former``, such as
those of another commit, are shown to the left of the new ones.
"""

import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Browser, BrowserContext, Error, sync_playwright

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
# A busy machine needs long for a page, and can be too busy once.
_TIMEOUT_MS: Final = 120_000
_TRIES: Final = 3
_STYLE: Final = """
body{margin:16px;background:#777;color:#fff;font:14px system-ui}
section{display:flex;gap:12px;align-items:start;margin-bottom:24px}
figure{flex:none;max-height:360px;margin:0;overflow:hidden}
figure.former{outline:3px solid #fc0}img{display:block;zoom:.3}
h2{width:140px;font-size:16px;overflow-wrap:anywhere}
"""


def main(names: Sequence[str]) -> int:
    """Take the pictures of every stop in both themes and at both widths, then write the sheet.

    Returns:
        0, or 1 if a page did not open; its other pictures are on the sheet.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        running(_record(Path(folder))) as demo,
        open_tour(demo, Path(folder)) as stops,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        chosen = [one for one in stops if one.name.startswith(tuple(names) or "")]
        for theme, width in product(THEMES, WIDTHS):
            failures += shoot(browser, chosen, theme, width)
        _write_sheet(browser, stops)
        browser.close()
    sys.stdout.write("".join(f"{line}\n" for line in [*failures, FOLDER / "sheet.png"]))
    return 1 if failures else 0


def _record(folder: Path) -> Path:
    """Record the demo's data; if the machine was too busy for the demo, record it again."""
    for number in range(1, _TRIES):
        with suppress(AssertionError):
            return record_demo(folder / f"demo {number}")
    return record_demo(folder / f"demo {_TRIES}")


def shoot(
    browser: Browser, stops: Sequence[Stop], theme: Literal["light", "dark"], width: int
) -> Sequence[str]:
    """Take the pictures in one theme and width, each as high as its page, at most 2,400 px.

    Returns:
        A line for each page that did not open.
    """
    context = browser.new_context(
        color_scheme=theme, viewport={"width": width, "height": _HEIGHTS[width]}
    )
    context.set_default_timeout(_TIMEOUT_MS)
    failures = []
    for stop in stops:
        name = _file(stop, theme, width)
        for number in range(_TRIES):
            try:
                _shoot_page(context, stop, FOLDER / name, width)
                break
            except (AssertionError, Error) as error:
                if number == _TRIES - 1:
                    failures.append(f"{name}: {str(error)[:200]}")
    context.close()
    return failures


def _shoot_page(context: BrowserContext, stop: Stop, path: Path, width: int) -> None:
    page = context.new_page()
    try:
        stop.open(page)
        height = page.evaluate("document.documentElement.scrollHeight")
        page.screenshot(
            path=path,
            full_page=True,
            clip={"x": 0, "y": 0, "width": width, "height": min(height, _MOST_HEIGHT)},
        )
    finally:
        page.close()


def _file(stop: Stop, theme: str, width: int) -> str:
    return f"{stop.name}-{width}-{theme}.png"


def _write_sheet(browser: Browser, stops: Sequence[Stop]) -> None:
    """Put all pictures on one page, and take a picture of that page."""
    rows = [
        f"<section><h2>{stop.name}</h2>" + "".join(figures) + "</section>"
        for stop in stops
        if (figures := _draw_figures(stop))
    ]
    sheet = FOLDER / "sheet.html"
    sheet.write_text(f"<!doctype html><style>{_STYLE}</style>{''.join(rows)}")
    has_former = (FOLDER / "former").exists()
    page = browser.new_page(viewport={"width": 1800 if has_former else 1250, "height": 1000})
    page.goto(sheet.as_uri())
    page.screenshot(path=FOLDER / "sheet.png", full_page=True)
    page.close()


def _draw_figures(stop: Stop) -> Sequence[str]:
    """Return the pictures of a stop that there are, each former one before the new one."""
    names = [_file(stop, theme, width) for width, theme in product(WIDTHS, THEMES)]
    return [
        f'<figure class="{kind}"><img src="{folder}{name}" alt=""></figure>'
        for name in names
        for kind, folder in (("former", "former/"), ("new", ""))
        if (FOLDER / folder / name).exists()
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
