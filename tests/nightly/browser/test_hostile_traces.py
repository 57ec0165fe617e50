"""Pages show traces of 50,000 spans, chains of 5,000, cycles, lost parents and impossible times."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect

from otel_ml_collector.span import Span
from tests.nightly.browser.hostile import Story, Watch, address, scroll, telling
from tests.support.otel_ml_collector.spans import DAY_NS, MS_NS, SECOND_NS, make_span, span_id

WIDE = 50_000
DEEP = 5_000
SHOWN = 100


class Traces(Story):
    """A collector with one trace of each kind."""

    def tell(self) -> None:
        wide = self.call("wide", end_ns=self.now_ns)
        self.send(wide, *(self._below(wide, wide, number) for number in range(1, WIDE)))
        deep = [self.call("deep", end_ns=self.now_ns)]
        for number in range(1, DEEP):
            deep.append(self._below(deep[0], deep[-1], number))
        self.send(*deep)
        first = self.call("circle")
        second = self._below(first, first, 1)
        itself = self.call("itself")
        self.send(
            replace(first, parent_span_id=second.span_id),
            second,
            replace(itself, parent_span_id=itself.span_id),
        )
        lost = self.call("lost", parent_span_id=span_id(7))
        self.send(lost, *(self._below(lost, lost, n, span_id(n)) for n in range(100, 600)))
        self.wide, self.deep, self.circle = address(wide), address(deep[0]), address(first)
        self.itself, self.lost = address(itself), address(lost)
        self.times = self._times()

    def _times(self) -> dict[str, str]:
        old = self.now_ns - 399 * DAY_NS
        root = self.call("apart", start_ns=old, end_ns=old + 1)
        late = self.now_ns + 3_000 * SECOND_NS
        self.send(root, self._below(root, root, 1, start_ns=late, end_ns=late + DAY_NS))
        return {
            "apart": address(root),
            "past": self._two("past", old, old + DAY_NS),
            "future": self._two("future", late, late + 1),
            "backwards": self._two("backwards", self.now_ns, self.now_ns - DAY_NS),
            "endless": self._two("endless", self.now_ns, 2**63 - 1),
            "at once": self._two("at once", self.now_ns, self.now_ns),
        }

    def _two(self, name: str, start_ns: int, end_ns: int) -> str:
        """Send a span and one below it with the same times, because a single span has no bars."""
        root = self.call(name, start_ns=start_ns, end_ns=end_ns)
        self.send(root, self._below(root, root, 1, start_ns=start_ns, end_ns=end_ns))
        return address(root)

    def _below(
        self, root: Span, parent: Span, number: int, above: bytes = b"", **times: int
    ) -> Span:
        start_ns = times.pop("start_ns", root.start_ns + number * 1_000)
        return make_span(
            f"span {number}",
            trace_id=root.trace_id,
            parent_span_id=above or parent.span_id,
            start_ns=start_ns,
            end_ns=times.pop("end_ns", start_ns + MS_NS),
        )


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traces]:
    with telling(tmp_path_factory.mktemp("traces")) as told:
        traces = Traces(told.collector)
        traces.tell()
        yield traces


@pytest.fixture(params=[390])
def watch(request: pytest.FixtureRequest, chromium: Browser, story: Traces) -> Iterator[Watch]:
    watched = Watch(chromium, story.collector.endpoint, request.param)
    yield watched
    watched.close()


def load_more(page: Page) -> None:
    """Load the spans behind the last row that represents hidden spans."""
    rows = page.locator(".wf tbody tr")
    before = rows.count()
    rest = page.locator(".wf .rest button").last
    rest.scroll_into_view_if_needed()
    rest.click()
    page.wait_for_function(
        "before => document.querySelectorAll('.wf tbody tr').length > before", arg=before
    )


def test_wide_trace(watch: Watch, story: Traces) -> None:
    """Of 50,000 children of one span, 100 are shown, and more are loaded a hundred at a time."""
    page = watch.visit(story.wide, scroll, load_more, load_more, scroll)
    expect(page.locator(".wf .rest")).to_have_count(1)
    assert page.locator(".wf tbody tr").count() >= SHOWN + 200
    expect(page.locator("main")).to_contain_text("50,000 spans")


def test_deep_trace(watch: Watch, story: Traces) -> None:
    """A chain of 5,000 spans begins folded, and each span unfolds the one below it."""
    page = watch.visit(story.deep, scroll)
    rows = page.locator(".wf tbody tr")
    before = rows.count()
    assert before >= 10
    page.locator(".wf .twist[aria-expanded=false]").last.click()
    expect(rows).to_have_count(before + 1)
    expect(page.locator("main")).to_contain_text("5,000 spans")


def test_circles_and_lost_parents(watch: Watch, story: Traces) -> None:
    """Spans in a cycle and spans without a parent have a row; a single span needs no tree."""
    for path, rows in ((story.circle, 2), (story.itself, 0), (story.lost, SHOWN)):
        page = watch.visit(path, scroll)
        assert page.locator(".wf tbody tr:not(.rest)").count() == rows
    expect(page.locator("main")).to_contain_text("has not arrived")


def test_impossible_times(watch: Watch, story: Traces) -> None:
    """Bars stay inside their column if times are far away, reversed, or have no duration."""
    for path in story.times.values():
        page = watch.visit(path)
        bars = page.evaluate(
            "[...document.querySelectorAll('.wf rect')].map((one) => "
            "[one.x.baseVal.valueInSpecifiedUnits, one.width.baseVal.valueInSpecifiedUnits])"
        )
        assert bars
        assert all(0 <= x <= 100 and 0 <= width <= 100.001 for x, width in bars), (path, bars)
