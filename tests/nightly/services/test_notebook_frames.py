"""What the cells of the page Notebook show, in JupyterLab and in the HTML of nbconvert."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Frame, Page

from tests.support.services.frameworks import KERNEL_PATH, execute_cells
from tests.support.services.processes import complete, serving

# The heading of each frame, in the order of the cells.
HEADINGS: Final = ["training", "Runs", "answer", "Runs", "answer on items", "Compare"]
BACKGROUNDS: Final = {"light": "rgb(253, 253, 254)", "dark": "rgb(16, 18, 22)"}
_LAB_SETTINGS: Final = "@jupyterlab/apputils-extension"
_START_S: Final = 60_000
_RUN_S: Final = 180_000
_FRAME: Final = ".otel-ml-file>iframe"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's notebook, executed by the page's own command, with its outputs."""
    folder = tmp_path_factory.mktemp("cells")
    execute_cells("notebook", None, folder)
    return folder / "notebook.ipynb"


@contextmanager
def opened(chromium: Browser, address: str) -> Iterator[Page]:
    """Open a page in the browser's own colour scheme: an emulated one would reach the frames."""
    page = chromium.new_page(color_scheme="null", viewport={"width": 1000, "height": 900})
    try:
        page.goto(address)
        yield page
    finally:
        page.close()


def check_frames(page: Page, theme: str) -> list[Frame]:
    """Check all frames of a page, and return them."""
    shown = page.locator(_FRAME)
    assert shown.count() == len(HEADINGS)
    frames = []
    for at in range(shown.count()):
        sandbox = (shown.nth(at).get_attribute("sandbox") or "").split()
        assert "allow-scripts" in sandbox
        assert "allow-same-origin" not in sandbox
        box = shown.nth(at).bounding_box()
        assert box is not None
        assert box["height"] == 480
        handle = shown.nth(at).element_handle()
        frame = handle.content_frame() if handle else None
        assert frame is not None
        frames.append(frame)
    assert [frame.locator("h1").inner_text() for frame in frames] == HEADINGS
    for frame in frames:
        found = frame.evaluate("getComputedStyle(document.body).backgroundColor")
        assert found == BACKGROUNDS[theme]
        assert frame.evaluate("window.origin") == "null"
    return frames


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_converted(executed: Path, chromium: Browser, theme: str) -> None:
    """The HTML of a notebook has all frames, in its theme, which work and request nothing."""
    folder = executed.parent
    options = ("--theme", theme, "--output", theme)
    complete("jupyter", "nbconvert", "--to", "html", *options, executed.name, folder=folder)
    problems: list[str] = []
    requests: list[bool] = []
    with opened(chromium, "about:blank") as page:
        page.on("console", lambda told: problems.append(told.text))
        page.on("request", lambda asked: requests.append(asked.frame == page.main_frame))
        page.goto((folder / f"{theme}.html").as_uri())
        training, *_, comparison = check_frames(page, theme)
        training.get_by_text("All attributes").click()
        assert training.locator("[data-panel=attributes]").is_visible()
        assert not training.locator("[data-panel=io]").is_visible()
        assert "Shout a" in comparison.locator("#main").inner_text()
        assert set(requests) == {True}  # the page's own libraries
        assert [text for text in problems if "net::ERR" not in text] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lab(executed: Path, chromium: Browser, tmp_path: Path, theme: str) -> None:
    """JupyterLab shows plain HTML of an untrusted notebook, and frames of cells that it has run."""
    shutil.copy(executed, tmp_path)
    settings = tmp_path / "settings" / _LAB_SETTINGS
    settings.mkdir(parents=True)
    chosen = {"theme": f"JupyterLab {theme.capitalize()}"}
    (settings / "themes.jupyterlab-settings").write_text(json.dumps(chosen))
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    variables = {
        **{name: str(tmp_path / name) for name in (*folders, "JUPYTERLAB_WORKSPACES_DIR")},
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "PYTHONPATH": KERNEL_PATH,
    }
    options = ("--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0")
    command = ("jupyter", "lab", *options, "--IdentityProvider.token=")
    with serving(*command, ready="http://127.0.0.1:", variables=variables, folder=tmp_path) as lab:
        found = re.search(r"http://127\.0\.0\.1:\d+/lab", lab.output)
        assert found is not None
        with opened(chromium, f"{found[0]}/tree/{executed.name}") as page:
            cells = page.locator(".jp-Notebook .jp-Cell")
            cells.first.wait_for(timeout=_START_S)
            page.get_by_role("link", name="notebook", exact=True).first.wait_for()
            assert page.locator("iframe").count() == 0
            assert page.locator(".jp-RenderedHTML table").first.is_visible()
            cells.first.click()
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_text("Run All Cells", exact=True).click()
            for at in range(len(HEADINGS)):
                page.locator(_FRAME).nth(at).wait_for(timeout=_RUN_S)
            check_frames(page, theme)
