"""Files of traces, sessions, experiments, comparisons and lists, opened without a server."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser.files import open_saved, save_files
from tests.support.browser.sheet import THEMES, WIDTHS
from tests.support.collector import CollectorProcess

BACKGROUNDS = {"light": "rgb(253, 253, 254)", "dark": "rgb(16, 18, 22)"}


@pytest.fixture(scope="module")
def files(demo: CollectorProcess, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A file of each kind, saved from the demo."""
    return save_files(demo, tmp_path_factory.mktemp("files"))


def test_opened(chromium: Browser, files: Mapping[str, Path]) -> None:
    """Each file requests nothing, breaks no policy and fits its window, in both themes."""
    assert len(files) == 5
    for file in files.values():
        assert 60_000 < file.stat().st_size <= 5_000_000
        for theme in THEMES:
            for width in WIDTHS:
                with open_saved(chromium, file, theme, width) as page:
                    expect(page.locator("h1").first).to_be_visible()
                    found = page.evaluate("getComputedStyle(document.body).backgroundColor")
                    assert found == BACKGROUNDS[theme]


def test_folds_and_tabs(chromium: Browser, files: Mapping[str, Path]) -> None:
    """In the file of a trace, rows are selected and folded, and tabs are switched."""
    with open_saved(chromium, files["trace"], width=1280) as page:
        rows, panes = page.locator(".wf tbody tr"), page.locator(".rpane")
        spans = rows.count()
        assert spans > 2
        expect(panes.filter(visible=True)).to_have_count(1)
        rows.nth(1).click()
        second = rows.nth(1).get_attribute("data-run")
        expect(page.locator(f"[id='{second}']")).to_be_visible()
        expect(panes.filter(visible=True)).to_have_count(1)
        pane = panes.filter(visible=True)
        pane.get_by_text("All attributes").click()
        expect(pane.locator("[data-panel=attributes]")).to_be_visible()
        expect(pane.locator("[data-panel=io]")).to_be_hidden()
        twist = rows.first.locator(".twist")
        twist.click()
        expect(rows.filter(visible=True)).to_have_count(1)
        twist.press("Enter")
        expect(rows.filter(visible=True)).to_have_count(spans)


def test_printed(chromium: Browser, files: Mapping[str, Path]) -> None:
    """Printed, the file of a trace shows the panes of all spans, and no tabs."""
    with open_saved(chromium, files["trace"], width=1280) as page:
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        panes = page.locator(".rpane")
        expect(panes.filter(visible=True)).to_have_count(panes.count())
        expect(page.locator(".tabs").first).to_be_hidden()
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        expect(panes.filter(visible=True)).to_have_count(1)
