"""Measure how soon a browser shows the pages of a store of a million runs.

The rows *first content* have the times of issue 84 as floors, for 200,000 runs on two quiet cores:
``python -m tests.bench.pages --runs 200000 --times 20 --only content``. The row *baseline* is the
time of a page that reads no runs; compare with it on a busy machine. ``--beside COMMIT`` compares
these times with a commit, over stores that each code has loaded itself.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from playwright.sync_api import Page, sync_playwright

from otel_ml_collector.store.migrations import connect
from otel_ml_collector.store.sketches import SketchJob
from tests.bench import beside
from tests.bench.beside import Tree
from tests.bench.dataset import project_name
from tests.bench.dataset_load import EXTRAS, LONG_TRACE_ID, TRAINING, Loaded, load
from tests.bench.queries import RUNS, open_beside
from tests.bench.table import print_table, verdict
from tests.support.browser.fixtures import ARGUMENTS, CHROMIUM
from tests.support.collector import CollectorProcess

TIMES: Final = 15
_TIMES_BESIDE: Final = 7
_WARM: Final = 3
_SKETCH: Final = """
from tests.bench.pages import sketch_days
sketch_days(Path({folder!r}))
"""
_PAINT: Final = "first paint"
_PAINT_MS: Final = 200
_ROWS_MS: Final = 150
_CONTENT: Final = "first content"
_PREVIEW: Final = "preview"
_FRAME_MS: Final = 300
# Time until an element is shown, by the browser's clock.
_SHOWN: Final = """(selector) => new Promise((tell, fail) => {
  setTimeout(() => fail(new Error(`${selector} is not shown`)), 60000);
  const look = () => {
    const element = document.querySelector(selector);
    if (element?.getClientRects().length) setTimeout(() => tell(performance.now()));
    else requestAnimationFrame(look);
  };
  look();
})"""
# Time from the click on a row until its input and output are shown in the preview.
_PREVIEWED: Final = """(run) => new Promise((tell, fail) => {
  setTimeout(() => fail(new Error(`The preview of ${run} is not shown`)), 60000);
  const look = () => {
    const shown = document.querySelector(`#preview [data-run="${run}"]`);
    if (shown?.getClientRects().length) setTimeout(() => tell(performance.now() - window.clicked));
    else requestAnimationFrame(look);
  };
  look();
})"""
_NOTE_CLICKS: Final = """addEventListener("click", () => {
  window.clicked = performance.now();
}, {capture: true});"""
_FILTERS: Final = (
    'model == "answer"',
    'outcome == "error"',
    'tags["client"] == "client-0" and latency_ms > 1{:03}',
    'tags["client"] == "client-{}" and outcome == "error"',
)
# Time of the first contentful paint, by the browser's clock.
_PAINTED: Final = """() => new Promise((tell) => {
  const at = (entry) => tell(entry.startTime);
  const known = performance.getEntriesByName("first-contentful-paint")[0];
  if (known) return at(known);
  new PerformanceObserver((list) => list.getEntriesByName("first-contentful-paint").forEach(at))
    .observe({type: "paint", buffered: true});
})"""
# From the key press to the first frame with new rows, wherever they are shown.
_WATCH: Final = """
  const now = () => performance.timeOrigin + performance.now();
  const rows = "tr[data-run], .empty";
  const look = () => {
    const isNew = (row) => !("old" in row.dataset);
    if (sessionStorage.asked && [...document.querySelectorAll(rows)].some(isNew)) {
      const asked = Number(sessionStorage.asked);
      delete sessionStorage.asked;
      setTimeout(() => { sessionStorage.took = now() - asked; });
    }
    requestAnimationFrame(look);
  };
  addEventListener("submit", () => {
    delete sessionStorage.took;
    sessionStorage.asked = now();
    for (const row of document.querySelectorAll(rows)) row.dataset.old = "";
  }, {capture: true});
  requestAnimationFrame(look);
"""


def report(
    runs: int = RUNS, folder: Path | None = None, times: int = TIMES, *, only: str = ""
) -> None:
    """Measure and print.

    Args:
        runs: How many runs the store has.
        folder: Where to keep the store for reuse; None for a temporary store.
        times: How often each page is opened.
        only: ``content`` to measure only the frames and first contents of pages.
    """
    with tempfile.TemporaryDirectory() as scratch:
        data_dir = folder or Path(scratch) / "data"
        loaded = load(data_dir, runs)
        sketch_days(data_dir)
        collector = CollectorProcess(data_dir)
        try:
            collector.wait_ready()
            if not only:
                _measure(collector, loaded, times)
            _print_contents(loaded, take_contents(collector, loaded, times))
        finally:
            collector.stop()


def sketch_days(data_dir: Path) -> None:
    """Compute the sketches of all days, as a collector does in the minutes after an import."""
    with closing(connect(f"chdb://{data_dir}")) as connections:
        job = SketchJob(connections.open(), connections.memory, time.monotonic)
        while job.run():
            pass


def _measure(collector: CollectorProcess, loaded: Loaded, times: int) -> None:
    rows = []
    for title, took_ms in take_all(collector, loaded, times).items():
        floor_ms = _PAINT_MS if title.startswith(_PAINT) else _ROWS_MS
        middle = statistics.median(took_ms)
        slowest = f"{max(took_ms):.0f}"
        rows.append([title, f"{middle:.0f}", slowest, f"{floor_ms}", verdict(middle <= floor_ms)])
    print_table([f"{loaded.runs:,} runs", "median, ms", "slowest, ms", "floor, ms", ""], rows)


def _print_contents(
    loaded: Loaded, taken: Mapping[str, tuple[Sequence[float], int | None]]
) -> None:
    rows = []
    [baseline, *_] = [statistics.median(took_ms) for took_ms, _ in taken.values()]
    for title, (took_ms, floor_ms) in taken.items():
        middle = statistics.median(took_ms)
        fits = verdict(middle <= floor_ms) if floor_ms is not None else ""
        ratio, slowest = f"{middle / baseline:.1f}", f"{max(took_ms):.0f}"
        rows.append([title, f"{middle:.0f}", slowest, ratio, f"{floor_ms or ''}", fits])
    load = f"load {os.getloadavg()[0]:.1f}"
    heads = [f"{loaded.runs:,} runs, {load}", "median, ms", "slowest, ms", "÷ baseline"]
    print_table([*heads, "floor, ms", ""], rows)


def take_contents(
    collector: CollectorProcess, loaded: Loaded, times: int
) -> Mapping[str, tuple[Sequence[float], int | None]]:
    """Measure frame and first content of pages; return milliseconds and floor by action."""
    first = f"/projects/{quote(project_name(0))}"
    project, trace_id, span_id = loaded.samples[0]
    compared = f"{first}/compare?of=answer:v4&of=answer:v5"
    pages = {
        "list": (f"{first}/runs", "tr[data-run]", 1_000),
        "trace": (f"/projects/{quote(project)}/runs/{trace_id}-{span_id}", ".wf tr", 1_000),
        "overview": (first, ".tiles", 1_000),
        "comparison of versions": (compared, "#sides tbody tr", 2_000),
        "field": (f"{first}/fields/outputs?model=answer", "main h1", 2_000),
    }
    taken: dict[str, tuple[Sequence[float], int | None]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        took_ms = [_open(page, f"{collector.endpoint}/status") for _ in range(_WARM + times)]
        taken["baseline: status, first paint"] = took_ms[_WARM:], None
        for name, (path, selector, floor_ms) in pages.items():
            frames, contents = [], []
            for _ in range(_WARM + times):
                page.goto(collector.endpoint + path, wait_until="commit")
                contents.append(page.evaluate(_SHOWN, selector))
                frames.append(page.evaluate(_PAINTED))
                page.wait_for_load_state("networkidle")
            taken[f"frame: {name}"] = frames[_WARM:], _FRAME_MS
            taken[f"{_CONTENT}: {name}"] = contents[_WARM:], floor_ms
        page.goto(f"{collector.endpoint}{first}/runs")
        page.wait_for_load_state("networkidle")
        if page.locator("#preview").count():  # a commit may be older than the preview
            page.evaluate(_NOTE_CLICKS)
            took_ms = [_preview(page, place) for place in range(_WARM + times)]
            taken[_PREVIEW] = took_ms[_WARM:], _FRAME_MS
        browser.close()
    return taken


def _preview(page: Page, place: int) -> float:
    """Click on a row of a list; return the time until its preview is shown, in ms."""
    row = page.locator("tr[data-run]").nth(place)
    row.click()
    took_ms: float = page.evaluate(_PREVIEWED, row.get_attribute("data-run"))
    return took_ms


def measure_beside(tree: Tree) -> Mapping[str, float]:
    """Open the pages of a tree's collector, over a store loaded by that tree's code."""
    with open_beside(tree) as (collector, loaded):
        taken = take_all(collector, loaded, _TIMES_BESIDE)
    return {f"{title}, ms": statistics.median(took_ms) for title, took_ms in taken.items()}


def measure_contents(tree: Tree, runs: int, times: int) -> Mapping[str, float]:
    """Measure frames and first contents of a tree's pages, over a store loaded by its code."""
    with open_beside(tree, runs, also=_SKETCH) as (collector, loaded):
        taken = take_contents(collector, loaded, times)
    return {f"{title}, ms": statistics.median(took_ms) for title, (took_ms, _) in taken.items()}


def take_all(
    collector: CollectorProcess, loaded: Loaded, times: int
) -> Mapping[str, Sequence[float]]:
    """Open each page and send each filter many times; return milliseconds by action."""
    first = f"/projects/{quote(project_name(0))}"
    project, trace_id, span_id = loaded.samples[0]
    long_trace = collector.get(f"/traces/{LONG_TRACE_ID.hex()}", limit=1)["runs"][0]
    paths = {
        "home": "/",
        "runs": f"{first}/runs",
        "runs of the last 24 h": f"{first}/runs?last=24h",
        "run": f"/projects/{quote(project)}/runs/{trace_id}-{span_id}",
        "run in a trace of 50,000": (
            f"/projects/{quote(long_trace['project'])}/runs/{long_trace['run_id']}"
        ),
        "models": f"{first}/models",
        "model": f"{first}/models/answer",
        "metrics": f"{first}/metrics",
        "metrics of a run": f"/projects/{EXTRAS}/metrics?run_id={'-'.join(TRAINING)}",
    }
    taken: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(_WATCH)
        for name, path in paths.items():
            took_ms = [_open(page, collector.endpoint + path) for _ in range(_WARM + times)]
            taken[f"{_PAINT}: {name}"] = took_ms[_WARM:]
        for where in _FILTERS:
            filters = [where.format(place) for place in range(_WARM + times)]
            took_ms = [_filter(page, f"{collector.endpoint}{first}/runs", one) for one in filters]
            taken[f"filter to rows: {where}"] = took_ms[_WARM:]
        browser.close()
    return taken


def _open(page: Page, address: str) -> float:
    """Open a page; return the time from the click to its first paint, in ms."""
    page.goto(address, wait_until="commit")
    painted: float = page.evaluate(_PAINTED)
    page.wait_for_load_state("networkidle")
    return painted


def _filter(page: Page, address: str, where: str) -> float:
    """Type a filter into the box; return the time until its rows are painted, in ms."""
    page.goto(address)
    page.wait_for_load_state("networkidle")
    box = page.locator(".filter input[name=where]")
    box.fill(where)
    box.press("Enter")
    page.wait_for_function("() => sessionStorage.took")
    page.wait_for_load_state("networkidle")
    took_ms: float = page.evaluate("() => Number(sessionStorage.took)")
    return took_ms


def main() -> None:
    """Measure over a store that is kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pages", description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="loaded when it is new, and kept")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--times", type=int, default=TIMES, help="how often each is opened")
    parser.add_argument("--only", choices=["content"], default="", help="measure only these")
    parser.add_argument("--beside", metavar="COMMIT", default="", help="compare the contents")
    parser.add_argument("--rounds", type=int, default=2, help="beside that commit")
    given = parser.parse_args()
    if given.beside:

        def measure(tree: Tree) -> Mapping[str, float]:
            return measure_contents(tree, given.runs, given.times)

        beside.report(given.beside, measure, given.rounds)
        return
    report(given.runs, given.data_dir, given.times, only=given.only)


if __name__ == "__main__":
    main()
