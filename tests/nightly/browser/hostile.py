"""Helpers for tests of hostile data: a collector that receives the data, and a checked tab."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from playwright.sync_api import Browser, Page, Request, expect

from otel_ml_collector.span import Span, Value
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.spans import SECOND_NS, id_of, make_call
from tests.support.otel_ml_collector.wire import encode
from tests.support.waiting import wait_until

PROJECT: Final = "hostile"
MEGABYTE: Final = 1_000_000
LONGEST_MS: Final = 200
_TRIES: Final = 3
_WAIT_MS: Final = 30_000
_SPANS_AT_ONCE: Final = 8_000
_PAGE_BYTES: Final = 1_000_000
_WATCH: Final = """
globalThis.longTasks = [];
globalThis.taskObserver = new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) longTasks.push(entry.duration);
});
taskObserver.observe({ type: "longtask", buffered: true });
"""
# Two frames later, everything that was requested is drawn.
_LONGEST: Final = """async () => {
  for (const _ of [1, 2]) await new Promise((next) => requestAnimationFrame(next));
  await new Promise((next) => setTimeout(next, 0));
  const late = taskObserver.takeRecords().map((entry) => entry.duration);
  return Math.max(0, ...longTasks, ...late);
}"""

Step = Callable[[Page], object]


class Story:
    """A collector that receives data that no service should send."""

    def __init__(self, collector: CollectorProcess) -> None:
        self.collector = collector
        self.now_ns = time.time_ns()

    def call(self, model: str, attributes: dict[str, Value] | None = None, **fields: Any) -> Span:
        """Return the span of a call one minute ago; inputs and outputs are given as JSON."""
        return make_call(model, attributes, **{"start_ns": self.now_ns - 60 * SECOND_NS, **fields})

    def send(self, *spans: Span) -> None:
        """Send spans as an OTLP client does, and retry while the collector is busy."""
        headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": PROJECT}
        for first in range(0, len(spans), _SPANS_AT_ONCE):
            body = encode(spans[first : first + _SPANS_AT_ONCE])

            def is_stored(body: bytes = body) -> bool:
                status, _, answer = self.collector.post("/v1/traces", body, headers)
                assert status in {200, 503}, answer[:300]
                return status == 200 and not answer

            wait_until(is_stored)

    def add(self, model: str, attributes: dict[str, Value] | None = None, **fields: Any) -> str:
        """Send one call and return the address of its page."""
        span = self.call(model, attributes, **fields)
        self.send(span)
        return address(span)


def address(span: Span) -> str:
    """Return the address of a run's page."""
    return f"/projects/{PROJECT}/runs/{id_of(span)}"


def model_address(model: str) -> str:
    """Return the address of a model's page."""
    return f"/projects/{PROJECT}/models/{quote(model, safe='')}"


def payload(inputs: object = None, outputs: object = None) -> dict[str, Value]:
    """Return span attributes with the given inputs and outputs as JSON."""
    return {"otel_ml.inputs": json.dumps(inputs), "otel_ml.outputs": json.dumps(outputs)}


@contextmanager
def telling(folder: Path) -> Iterator[Story]:
    """Start a separate collector for one test module."""
    collector = CollectorProcess(folder)
    try:
        collector.wait_ready()
        yield Story(collector)
    finally:
        collector.kill()


class Watch:
    """A tab in which a page must not execute code, fetch from other hosts, or freeze.

    Args:
        browser: The browser that opens the tab.
        endpoint: The only host that the tab may send requests to.
        width: The width of the window in pixels.
    """

    def __init__(self, browser: Browser, endpoint: str, width: int) -> None:
        self._endpoint = endpoint
        self._context = browser.new_context(viewport={"width": width, "height": 844})
        self._context.add_init_script(_WATCH)
        self.page = self._context.new_page()
        self.complaints: list[str] = []
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("request", self._on_request)

    def close(self) -> None:
        """Close the tab, and fail the test if there were complaints."""
        self._context.close()
        assert not self.complaints, self.complaints[:5]

    def open(self, path: str) -> Page:
        """Open a page, wait until it has loaded, and check its size and its width."""
        answer = self.page.goto(self._endpoint + path)
        assert answer is not None
        assert answer.status == 200, path
        size = len(answer.body())
        assert size < _PAGE_BYTES, f"{path} has {size} bytes"
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until the network is idle, and check that the page is no wider than the window."""
        self.page.wait_for_load_state("networkidle")
        widths = self.page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1], f"{self.page.url} is {widths[0]} px wide"

    def visit(self, path: str, *steps: Step) -> Page:
        """Open and use a page; in the best of 3 visits no task may take more than 200 ms."""
        longest = float("inf")
        for _ in range(_TRIES):
            self.open(path)
            for step in steps:
                step(self.page)
                self.settle()
            longest = min(longest, self.page.evaluate(_LONGEST))
            if longest <= LONGEST_MS:
                break
        width = self.page.viewport_size
        print(f"{longest:5.0f} ms longest task, {width and width['width']} px, {path[:90]}")  # noqa: T201 - for ``-s``
        assert longest <= LONGEST_MS, f"{path}: a task of {longest:.0f} ms"
        return self.page

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self._endpoint}/", "data:", "blob:")):
            self.complaints.append(f"request: {request.url}")


def follow(selector: str) -> Step:
    """Return a step that clicks the first link of a selector and waits for a new address."""

    def step(page: Page) -> None:
        before = page.url
        page.locator(selector).first.click()
        page.wait_for_url(lambda url: url != before)

    return step


def choose(section: str, form: str) -> Step:
    """Return a step that chooses a form of the input or output and waits until it is current."""

    def step(page: Page) -> None:
        link = page.locator(f"#{section} .seg").get_by_role("link", name=form, exact=True)
        link.click()
        expect(link).to_have_attribute("aria-current", "true", timeout=_WAIT_MS)

    return step


def go_on(section: str, name: str = "Next") -> Step:
    """Return a step that goes to another part of a section."""
    return follow(f"#{section} .pager a:text-is('{name}')")


def scroll(page: Page) -> None:
    """Scroll to the end of the page and back to its start."""
    for place in ("document.scrollingElement.scrollHeight", "0"):
        page.evaluate(f"scrollTo(0, {place})")
        page.evaluate("new Promise((next) => requestAnimationFrame(next))")


def unfold(page: Page) -> None:
    """Open all folded parts in the page's main element."""
    page.evaluate("for (const one of document.querySelectorAll('main details')) one.open = true")
