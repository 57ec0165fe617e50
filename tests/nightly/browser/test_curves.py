"""A browser draws metric curves by step and by time."""

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from otel_ml_collector.span import Span
from tests.support.browser.fixtures import Tab
from tests.support.collector import CollectorProcess, running
from tests.support.folders import SCREENSHOTS
from tests.support.otel_ml_collector.spans import (
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_span,
)
from tests.support.otel_ml_collector.wire import encode

PROJECT = "curves"
NAN = float("nan")
# The input of each chart: the drawn curve and the label of the axis.
WATCH = """
let real;
window.drawn = {};
window.plots = {};
Object.defineProperty(window, "uPlot", {
  configurable: true,
  get: () => real,
  set: (library) => {
    real = new Proxy(library, {
      construct(target, [options, data, box]) {
        const { label } = options.axes[0];
        window.drawn[options.series[1].label] = { label, x: data[0], y: data[1] };
        const plot = new target(options, data, box);
        window.plots[options.series[1].label] = plot;
        return plot;
      },
    });
  },
});
"""


class Story:
    """A collector that received a run with many kinds of series, and a version with two metrics."""

    def __init__(self, collector: CollectorProcess) -> None:
        self.collector = collector
        self.now_ns = time.time_ns() - 7_200 * SECOND_NS
        self.run = make_call(
            "train", {"otel_ml.model.version": "aa"}, start_ns=self.now_ns, end_ns=self.now_ns + 1
        )
        self._log("loss", [1 / (n + 1) if n != 5 else NAN for n in range(20)], range(20))
        self._log("restarted", [3, 2, 1, 6, 5, 4], [0, 1, 2, 0, 1, 2])
        self._log("no steps", [1.5, 2.5, 3.5], [-1, -1, -1])
        self._log("some steps", [1, 2, 3], [7, -1, 9])
        self._log("alone", [0.25], [40])
        self._log("nothing", [NAN, float("inf")], [0, 1])
        self._log("close", [0.12341, 0.12342, 0.1238], [0, 50_000, 123_456])
        self._log("long", [n % 97 for n in range(5_000)], range(5_000))
        self._send(self.run)
        self._send(
            make_span(
                "otel_ml.update",
                {
                    "otel_ml.record": "update",
                    "otel_ml.target.model": "train",
                    "otel_ml.target.version": "aa",
                    "otel_ml.model.definition": '{"source": "def train(): ..."}',
                    "otel_ml.metric.names": ["accuracy"] * 3,
                    "otel_ml.metric.values": [0.5, 0.7, 0.8],
                    "otel_ml.metric.steps": [1, 2, 4],
                    "otel_ml.metric.times": [self.now_ns + n * SECOND_NS for n in range(3)],
                    "otel_ml.metric.modes": ["append"] * 3,
                },
                start_ns=self.now_ns,
                end_ns=self.now_ns + 1,
            )
        )
        self.address = f"/projects/{PROJECT}/metrics?run_id={id_of(self.run)}"

    def _log(self, name: str, values: Sequence[float], steps: Sequence[int]) -> None:
        """Log points ten minutes apart, or closer so that all are within two hours."""
        step_ns = min(600 * SECOND_NS, 7_000 * SECOND_NS // len(values))
        self._send(
            make_record(
                "update",
                self.run,
                {
                    "otel_ml.metric.names": [name] * len(values),
                    "otel_ml.metric.values": [float(value) for value in values],
                    "otel_ml.metric.steps": list(steps),
                    "otel_ml.metric.times": [self.now_ns + n * step_ns for n in range(len(values))],
                    "otel_ml.metric.modes": ["append"] * len(values),
                },
                start_ns=self.now_ns,
                end_ns=self.now_ns + 1,
            )
        )

    def _send(self, *spans: Span) -> None:
        headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": PROJECT}
        self.collector.deliver(encode(spans), headers)

    def points(self, name: str) -> list[dict[str, Any]]:
        asked = {"run_id": id_of(self.run), "name": name}
        [series] = self.collector.get(f"/projects/{PROJECT}/metrics", **asked)["series"]
        points: list[dict[str, Any]] = series["points"]
        return points


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with running(tmp_path_factory.mktemp("curves")) as collector:
        yield Story(collector)


@pytest.fixture(params=["light", "dark"])
def tab(request: pytest.FixtureRequest, chromium: Browser, story: Story) -> Iterator[Tab]:
    """Open a tab in one theme, high enough for all curves; fail if the console logged anything."""
    context = chromium.new_context(
        color_scheme=request.param, viewport={"width": 1280, "height": 2400}
    )
    context.add_init_script(WATCH)
    opened = Tab(context, story.collector.endpoint)
    yield opened
    folder = SCREENSHOTS
    folder.mkdir(exist_ok=True)
    name = request.node.name.removeprefix("test_").replace("[", "-").rstrip("]")
    opened.page.screenshot(path=folder / f"curves-{name}.png")
    context.close()
    assert opened.complaints == []


def drawn(page: Page, name: str) -> dict[str, Any]:
    """Wait until a chart is drawn, and return its data."""
    page.wait_for_function("name => window.drawn[name]", arg=name)
    found: dict[str, Any] = page.evaluate("name => window.drawn[name]", name)
    return found


def test_by_step(tab: Tab, story: Story) -> None:
    """A curve by step has the points of the API, and a gap for each NaN value."""
    page = tab.open(story.address)
    points = story.points("loss")
    found = drawn(page, "loss")
    assert found["label"] == "step"
    assert found["x"] == [point["step"] for point in points] == list(range(20))
    assert found["y"] == [point["value"] for point in points]
    assert found["y"][5] is None
    figure = page.locator("figure", has_text="loss")
    expect(figure).to_contain_text(
        "20 logged values, last value 0.05, range 0.05 to 1, 1 NaN or infinite"
    )


def test_by_time(tab: Tab, story: Story) -> None:
    """A key press switches to time, which changes the address and draws the curve by UTC time."""
    page = tab.open(story.address)
    page.get_by_role("link", name="By time").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"[?&]by=time$"))
    points = story.points("loss")
    found = drawn(page, "loss")
    assert found["label"].startswith("time, UTC, 20")
    expected = [point["time_ns"] / 1e9 for point in points]
    assert found["x"] == pytest.approx(expected, abs=1e-3)
    assert found["y"] == [point["value"] for point in points]
    expect(page.get_by_role("link", name="By time")).to_have_attribute("aria-current", "true")


def test_steps_out_of_order(tab: Tab, story: Story) -> None:
    """The points of a restarted series are drawn in the order of their steps."""
    found = drawn(tab.open(story.address), "restarted")
    assert found["x"] == [0, 0, 1, 1, 2, 2]
    assert found["y"] == [3, 6, 2, 5, 1, 4]


@pytest.mark.parametrize("name", ["no steps", "some steps"])
def test_steps_missing(tab: Tab, story: Story, name: str) -> None:
    """If some points have no step, all are drawn by point number, and the axis says so."""
    found = drawn(tab.open(story.address), name)
    assert found["label"] == "point number, because some points have no step"
    assert found["x"] == [1, 2, 3]


def test_one_point(tab: Tab, story: Story) -> None:
    """A metric that was logged once is shown as a number, not as a chart with one dot."""
    page = tab.open(story.address)
    value = page.locator(".facts div", has=page.get_by_text("alone", exact=True))
    expect(value.locator("dd")).to_have_text("0.25")
    expect(page.locator(".plot[data-name=alone]")).to_have_count(0)


def test_no_numbers(tab: Tab, story: Story) -> None:
    """A series with only NaN and infinite values shows a message instead of a curve."""
    page = tab.open(story.address)
    figure = page.locator("figure", has=page.locator(".plot[data-name=nothing]"))
    expect(figure).to_contain_text("This curve has no point with a finite number.")
    expect(figure).to_contain_text("2 logged values, last value ∞, 2 NaN or infinite")


def test_long_series(tab: Tab, story: Story) -> None:
    """At most 1,000 of 5,000 points are sent and drawn, including the lowest and the highest."""
    page = tab.open(story.address)
    found = drawn(page, "long")
    assert len(found["x"]) <= 1_000
    assert (found["x"][0], found["x"][-1]) == (0, 4_999)
    assert (min(found["y"]), max(found["y"])) == (0, 96)
    figure = page.locator("figure", has=page.locator(".plot[data-name=long]"))
    expect(figure).to_contain_text("5,000 logged values")
    expect(figure).to_contain_text(f"{len(found['x']):,} points are drawn")


def test_numbers_of_an_axis(tab: Tab, story: Story) -> None:
    """Ticks have at most four significant digits, steps all; so has the value at the pointer."""
    page = tab.open(story.address)
    drawn(page, "close")
    steps, values = page.evaluate("() => window.plots.close.axes.map((axis) => axis._values)")
    assert "100,000" in steps
    assert [text for text in values if text] == ["0.1234", "0.1235", "0.1236", "0.1237", "0.1238"]
    page.evaluate("() => window.plots.close.setLegend({ idx: 1 })")
    legend = page.locator(".plot[data-name=close] .u-legend .u-value")
    expect(legend).to_have_text(["50,000", "0.1234"])


def test_on_the_run_page(tab: Tab, story: Story) -> None:
    """The page of a run draws its curves by step or by time, and keeps its position."""
    page = tab.open(f"/projects/{PROJECT}/runs/{id_of(story.run)}")
    assert drawn(page, "loss")["label"] == "step"
    page.get_by_role("link", name="By time").click()
    expect(page).to_have_url(re.compile(r"\?by=time#metrics$"))
    page.wait_for_load_state("networkidle")
    assert drawn(page, "loss")["label"].startswith("time, UTC")


def test_metrics_of_a_version(tab: Tab, story: Story) -> None:
    """Metrics of a model version are drawn by step and by time with the points of the API."""
    page = tab.open(f"/projects/{PROJECT}/models/train")
    page.get_by_role("link", name="accuracy").click()
    found = drawn(page, "accuracy")
    assert (found["x"], found["y"]) == ([1, 2, 4], [0.5, 0.7, 0.8])
    page.get_by_role("link", name="By time").click()
    page.wait_for_url("**by=time")
    asked = {"model": "train", "version": 1}
    [series] = story.collector.get(f"/projects/{PROJECT}/metrics", **asked)["series"]
    expected = [point["time_ns"] / 1e9 for point in series["points"]]
    assert drawn(page, "accuracy")["x"] == pytest.approx(expected, abs=1e-3)
    assert "model=train -d version=1" in page.locator("#api-call").inner_text()


def test_curves_on_a_phone(chromium: Browser, story: Story) -> None:
    """On a phone, the page with curves is no wider than the window."""
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    folder = SCREENSHOTS
    for by in ("step", "time"):
        page.goto(f"{story.collector.endpoint}{story.address}&by={by}")
        expect(page.locator("canvas").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.screenshot(path=folder / f"curves-phone-{by}.png", full_page=True)
    page.close()
