"""How soon a browser shows the pages of a store of a million runs."""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from playwright.sync_api import Page, sync_playwright

from tests.bench.dataset import project_name
from tests.bench.dataset_load import EXTRAS, LONG_TRACE_ID, TRAINING, Loaded, load
from tests.bench.queries import RUNS
from tests.bench.table import print_table, verdict
from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.support.collector import CollectorProcess

TIMES: Final = 15
_WARM: Final = 3
_PAINT_MS: Final = 200
_ROWS_MS: Final = 150
_FILTERS: Final = (
    'model == "answer"',
    'outcome == "error"',
    'tags["client"] == "client-0" and latency_ms > 1{:03}',
    'tags["client"] == "client-{}" and outcome == "error"',
)
# When the first text of the page was painted, by the browser's clock.
_PAINTED: Final = """() => new Promise((tell) => {
  const at = (entry) => tell(entry.startTime);
  const known = performance.getEntriesByName("first-contentful-paint")[0];
  if (known) return at(known);
  new PerformanceObserver((list) => list.getEntriesByName("first-contentful-paint").forEach(at))
    .observe({type: "paint", buffered: true});
})"""


def report(runs: int = RUNS, folder: Path | None = None, times: int = TIMES) -> None:
    """Measure and print.

    Args:
        runs: How many the store has.
        folder: Where they are kept for another time; None for a store that is thrown away.
        times: How often each page is opened.
    """
    with tempfile.TemporaryDirectory() as scratch:
        data_dir = folder or Path(scratch) / "data"
        loaded = load(data_dir, runs)
        collector = CollectorProcess(data_dir)
        try:
            collector.wait_ready()
            _measure(collector, loaded, times)
        finally:
            collector.stop()


def _measure(collector: CollectorProcess, loaded: Loaded, times: int) -> None:
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
    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        for name, path in paths.items():
            took_ms = [_open(page, collector.endpoint + path) for _ in range(_WARM + times)]
            rows.append(_row(f"first paint: {name}", took_ms, _PAINT_MS))
        for where in _FILTERS:
            filters = [where.format(place) for place in range(_WARM + times)]
            took_ms = [_filter(page, f"{collector.endpoint}{first}/runs", one) for one in filters]
            rows.append(_row(f"filter to rows: {where}", took_ms, _ROWS_MS))
        browser.close()
    print_table([f"{loaded.runs:,} runs", "median, ms", "slowest, ms", "floor, ms", ""], rows)


def _open(page: Page, address: str) -> float:
    """Open a page; returns when something of it was painted, in ms from the click."""
    page.goto(address, wait_until="commit")
    painted: float = page.evaluate(_PAINTED)
    page.wait_for_load_state("networkidle")
    return painted


def _filter(page: Page, address: str, where: str) -> float:
    """Type a filter into the box; returns how long it took until its rows were painted, in ms."""
    page.goto(address)
    page.wait_for_load_state("networkidle")
    box = page.locator(".filter input[name=where]")
    box.fill(where)
    page.evaluate(
        """() => addEventListener("submit", () => {
          sessionStorage.asked = performance.timeOrigin + performance.now();
        }, {capture: true})"""
    )
    with page.expect_navigation(wait_until="commit"):
        box.press("Enter")
    took_ms: float = page.evaluate(
        f"async () => {{ const painted = await ({_PAINTED})();"
        " return performance.timeOrigin + painted - Number(sessionStorage.asked); }"
    )
    page.wait_for_selector("tr[data-run], .empty")
    page.wait_for_load_state("networkidle")
    return took_ms


def _row(title: str, took_ms: Sequence[float], floor_ms: float) -> list[str]:
    warm = took_ms[_WARM:]
    middle = statistics.median(warm)
    slowest = f"{max(warm):.0f}"
    return [title, f"{middle:.0f}", slowest, f"{floor_ms:.0f}", verdict(middle <= floor_ms)]


def main() -> None:
    """Measure over a store that is kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pages", description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="loaded when it is new, and kept")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--times", type=int, default=TIMES, help="how often each is opened")
    given = parser.parse_args()
    report(given.runs, given.data_dir, given.times)


if __name__ == "__main__":
    main()
