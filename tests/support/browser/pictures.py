"""Takes all or some pictures of the documentation again; `make pictures`.

``python -m tests.support.browser.pictures [PAGE ...]`` follows each page as its test does, and
writes ``docs/images/PAGE.png`` with few colours, so that it stays small. ``llm`` takes three pages
in light and in dark, on a screen and on a phone. ``recipes`` takes the recorded runs of each
recipe. ``readme`` takes the runs of the demo.
"""

import io
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, urlencode

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tests.nightly.integrations.test_pages import run_blocks
from tests.process.test_docs import run_blocks as run_plain_blocks
from tests.support.browser.fixtures import ARGUMENTS, CHROMIUM
from tests.support.browser.trips import TRIPS, send_trips
from tests.support.collector import CollectorProcess, running
from tests.support.demo import record_demo
from tests.support.folders import RECORDED_FOLDER, ROOT
from tests.support.interop.gateway import call_through
from tests.support.otel_ml_collector.spans import id_of
from tests.support.services.frameworks import FOLDER, FOLLOWED
from tests.support.services.processes import complete

RECORDINGS: Final = RECORDED_FOLDER / "recordings"
IMAGES: Final = ROOT / "docs" / "images"
# Pages whose runs are trainings, which are shown side by side.
TRAININGS: Final = ("scikit-learn", "xgboost", "lightning")
_COLOURS: Final = 64
_WIDTH: Final = 1280
_MOST_HEIGHT: Final = 800
_CONVERSATION_HEIGHT: Final = 1_200
_NOTEBOOK_HEIGHT: Final = 1_580
LLM: Final = "llm"
README: Final = "readme"
RECIPES: Final = "recipes"
# The recipes of the page on language models, and their recordings.
RECORDED: Final = {
    "openai": "openinference_openai",
    "anthropic": "openinference_anthropic",
    "langgraph": "openinference_langgraph",
    "llama-index": "openinference_llama_index",
    "pydantic-ai": "pydantic_ai",
    "dspy": "openinference_dspy",
}
GATEWAY: Final = "gateway"
# Width and theme of a picture, by the end of its name.
_LOOKS: Final[dict[str, tuple[int, Literal["light", "dark"]]]] = {
    "": (_WIDTH, "light"),
    "-dark": (_WIDTH, "dark"),
    "-phone": (390, "dark"),
    "-phone-light": (390, "light"),
}


def main(pages: Sequence[str]) -> None:
    """Follow the given pages, or all of them, and take a picture of each."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for page in pages or (*FOLLOWED, *TRAININGS, GATEWAY, LLM, RECIPES, README):
            if page in _SHOOTING:
                _SHOOTING[page](browser)
                continue
            with tempfile.TemporaryDirectory() as kept:
                files = Path(kept) / "files"
                files.mkdir()
                with running(Path(kept) / "data") as collector:
                    follow(page, collector, files)
                    target = IMAGES / f"{page}.png"
                    if page == "notebook":
                        address = show_notebook(files / "notebook.ipynb")
                        # Frames below the window are not drawn.
                        height = _NOTEBOOK_HEIGHT
                        shoot(browser, address, target, window=height, most_height=height)
                    else:
                        shoot(browser, find_address(page, collector), target)
        browser.close()


def follow(page: str, collector: CollectorProcess, files: Path) -> None:
    """Follow the instructions of a page in a folder."""
    if page in FOLLOWED:
        FOLLOWED[page](page, collector, files)
    elif page == GATEWAY:
        call_through(page, collector, files)
    elif page == "scikit-learn":
        run_plain_blocks(FOLDER / f"{page}.md", collector, files)
    else:
        run_blocks(f"{page}.md", collector, files)


def find_address(page: str, collector: CollectorProcess) -> str:
    """Return the address of the best view: trainings side by side, or a run in its trace."""
    name = "default" if page == GATEWAY else page
    ids = [run["run_id"] for run in collector.runs(name)]
    project = f"{collector.endpoint}/projects/{name}"
    if page in TRAININGS:
        return f"{project}/compare?{urlencode({'of': ids[::-1]}, doseq=True)}"
    return f"{project}/runs/{ids[0]}"


def show_notebook(notebook: Path) -> str:
    """Write a notebook's cells and outputs as a web page; return its address."""
    complete("jupyter", "nbconvert", "--to", "html", notebook.name, folder=notebook.parent)
    return notebook.with_suffix(".html").as_uri()


def shoot_trips(browser: Browser) -> None:
    """Take the pictures of an application with language models: roots, a run, a session."""
    with tempfile.TemporaryDirectory() as kept, running(Path(kept) / "data") as collector:
        trips = send_trips(collector)
        project = f"{collector.endpoint}{TRIPS}"
        root = f"tr[data-run='{id_of(trips.agent)}'] button.twist"
        for look, (width, theme) in _LOOKS.items():
            for name, address, twist in (
                ("roots", f"{project}/runs?roots=1", root),
                ("run", f"{project}/runs/{id_of(trips.reply)}", ""),
                ("session", f"{project}/sessions/trip-208", ""),
            ):
                target = IMAGES / f"{LLM}-{name}{look}.png"
                shoot(
                    browser,
                    address,
                    target,
                    width=width,
                    theme=theme,
                    twist=twist,
                    most_height=_CONVERSATION_HEIGHT,
                )


def shoot_recipes(browser: Browser) -> None:
    """Take a picture for each recipe: the root run of its largest trace."""
    headers = {"content-type": "application/json"}
    for recipe, recording in RECORDED.items():
        recorded = json.loads((RECORDINGS / f"{recording}.json").read_text())
        with tempfile.TemporaryDirectory() as kept, running(Path(kept) / "data") as collector:
            collector.deliver(json.dumps(recorded["request"]).encode(), headers)
            (project,) = (one["project"] for one in collector.get("/projects")["projects"])
            found = collector.runs(project, where='outcome == "ok" and kind != "embedding"')
            sizes = Counter(run["trace_id"] for run in found)
            run = max(found, key=lambda run: (not run["parent_run_id"], sizes[run["trace_id"]]))
            address = f"{collector.endpoint}/projects/{quote(project)}/runs/{run['run_id']}"
            shoot(browser, address, IMAGES / f"{LLM}-{recipe}.png")


def shoot_demo(browser: Browser) -> None:
    """Take the picture of the demo's runs."""
    with (
        tempfile.TemporaryDirectory() as kept,
        running(record_demo(Path(kept) / "demo")) as demo,
    ):
        shoot(browser, f"{demo.endpoint}/projects/docs-search/runs", IMAGES / "runs.png")


_SHOOTING: Final[Mapping[str, Callable[[Browser], None]]] = {
    LLM: shoot_trips,
    RECIPES: shoot_recipes,
    README: shoot_demo,
}


def shoot(
    browser: Browser,
    address: str,
    target: Path,
    *,
    width: int = _WIDTH,
    theme: Literal["light", "dark"] = "light",
    twist: str = "",
    window: int = 400,
    most_height: int = _MOST_HEIGHT,
) -> None:
    """Take the picture of a page; `twist` selects a button that unfolds a row."""
    page = browser.new_page(color_scheme=theme, viewport={"width": width, "height": window})
    page.goto(address)
    page.wait_for_load_state("networkidle")
    if twist:
        page.locator(twist).dispatch_event("click")  # does not scroll or hover
        page.locator("tr.kid").first.wait_for()
    height = min(page.evaluate("document.documentElement.scrollHeight"), most_height)
    shot = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": width, "height": height})
    page.close()
    with Image.open(io.BytesIO(shot)) as picture:
        picture.convert("RGB").quantize(_COLOURS).save(target, optimize=True)
    sys.stdout.write(f"{target}: {target.stat().st_size} bytes\n")


if __name__ == "__main__":
    main(sys.argv[1:])
