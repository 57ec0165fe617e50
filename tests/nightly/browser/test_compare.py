"""Trainings chosen in a list are compared, with their curves in one chart."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from otel_ml_collector.span import Span
from tests.support.browser.fixtures import Tab
from tests.support.collector import CollectorProcess, running
from tests.support.otel_ml_collector.spans import NOW_NS, SECOND_NS, id_of, make_call, make_record
from tests.support.otel_ml_collector.wire import encode

PROJECT: Final = "compared"
# The logged values of each run by step, one second apart.
LOSSES: Final[dict[str, dict[int, float]]] = {
    "A": {0: 4.0, 1: 2.0, 2: 1.0},
    "B": {0: 3.0, 2: 0.5, 4: -0.25},
}
# The input of each chart: the names of its curves and all their points.
WATCH: Final = """
let real;
window.drawn = [];
Object.defineProperty(window, "uPlot", {
  configurable: true,
  get: () => real,
  set: (library) => {
    real = new Proxy(library, {
      construct(target, [options, data, box]) {
        const labels = options.series.map(({ label }) => label);
        const points = data.map((row) => [...row].map((one) => one ?? null));
        window.drawn.push({ labels, points, scale: options.scales.y.distr ?? 1 });
        return new target(options, data, box);
      },
    });
  },
});
"""


def make_training(place: int, letter: str) -> tuple[Span, Span]:
    run = make_call(
        "train",
        {"otel_ml.params": f'{{"rate": 0.{place + 1}}}'},
        start_ns=NOW_NS + place * 60 * SECOND_NS,
    )
    points = LOSSES[letter]
    return run, make_record(
        "update",
        run,
        {
            "otel_ml.metric.names": ["loss"] * len(points),
            "otel_ml.metric.values": list(points.values()),
            "otel_ml.metric.steps": list(points),
            "otel_ml.metric.times": [run.start_ns + step * SECOND_NS for step in points],
            "otel_ml.metric.modes": ["append"] * len(points),
            "otel_ml.target.start_ns": run.start_ns,
        },
        start_ns=run.start_ns,
        end_ns=run.start_ns + 1,
    )


@pytest.fixture(scope="module")
def trainings(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[CollectorProcess, list[str]]]:
    """Start a collector with two trainings, and yield it with their run ids."""
    with running(tmp_path_factory.mktemp("compared")) as collector:
        made = [make_training(place, letter) for place, letter in enumerate(LOSSES)]
        headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": PROJECT}
        collector.deliver(encode([span for pair in made for span in pair]), headers)
        yield collector, [id_of(run) for run, _ in made]


@pytest.fixture
def tab(chromium: Browser, trainings: tuple[CollectorProcess, list[str]]) -> Iterator[Tab]:
    context = chromium.new_context(viewport={"width": 1280, "height": 1600})
    context.add_init_script(WATCH)
    opened = Tab(context, trainings[0].endpoint)
    yield opened
    context.close()
    assert opened.complaints == []


def drawn(page: Page) -> Any:
    page.wait_for_function("() => window.drawn.length === 1")
    [found] = page.evaluate("() => window.drawn")
    return found


def address(ids: Sequence[str], **shown: str) -> str:
    return f"/projects/{PROJECT}/compare?{urlencode({'of': list(ids), **shown}, doseq=True)}"


def test_curves_lie_over_each_other(
    tab: Tab, trainings: tuple[CollectorProcess, list[str]]
) -> None:
    """By step, the curves share one axis, and a curve without a point at a step has a gap."""
    found = drawn(tab.open(address(trainings[1])))
    assert found["labels"] == ["step", "A", "B"]
    assert found["points"] == [[0, 1, 2, 4], [4, 2, 1, None], [3, None, 0.5, -0.25]]


def test_matrix_on_a_phone(tab: Tab, trainings: tuple[CollectorProcess, list[str]]) -> None:
    """On a phone, each side has a line for its name, and a line of figures with their names."""
    page = tab.open(address(trainings[1]))
    page.set_viewport_size({"width": 390, "height": 844})
    cells = page.locator("#sides tbody td:visible")
    expect(cells).to_have_text([re.compile("^A train"), "1", re.compile("^B train"), "−0.25"])
    names = "(cells) => cells.map((cell) => getComputedStyle(cell, '::before').content)"
    assert cells.evaluate_all(names) == ["none", '"loss "'] * 2
    cut = "(cells) => cells.filter((cell) => cell.scrollWidth > cell.clientWidth).length"
    assert cells.evaluate_all(cut) == 0
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_by_time(tab: Tab, trainings: tuple[CollectorProcess, list[str]]) -> None:
    """By time, each curve starts at 0, although one training began a minute later."""
    page = tab.open(address(trainings[1]))
    page.get_by_role("link", name="By time").click()
    expect(page).to_have_url(re.compile("[?&]by=time"))
    x, first, second = drawn(page)["points"]
    assert x == pytest.approx([0, 1, 2, 4], abs=1e-3)
    assert (first, second) == ([4, 2, 1, None], [3, None, 0.5, -0.25])


def test_log_scale(tab: Tab, trainings: tuple[CollectorProcess, list[str]]) -> None:
    """On a logarithmic scale, values that are not above 0 leave a gap."""
    found = drawn(tab.open(address(trainings[1], scale="log")))
    assert found["scale"] == 3  # uPlot's code for a logarithmic scale
    assert found["points"][2] == [3, None, 0.5, None]


def test_smoothing(tab: Tab, trainings: tuple[CollectorProcess, list[str]]) -> None:
    """A smoothed curve is a moving average of the logged values; the table keeps the last value."""
    page = tab.open(address(trainings[1], smooth="0.6"))
    _, first, _ = drawn(page)["points"]
    values = list(LOSSES["A"].values())
    weights = [[0.6 ** (at - of) for of in range(at + 1)] for at in range(3)]
    expected = [
        sum(weight * value for weight, value in zip(of, values, strict=False)) / sum(of)
        for of in weights
    ]
    assert first[:3] == pytest.approx(expected)
    expect(page.locator("#sides tbody tr").first).to_contain_text("1")


def test_chosen_on_a_list(tab: Tab, trainings: tuple[CollectorProcess, list[str]]) -> None:
    """Selected rows can be compared, and a link makes the other training the baseline."""
    _, ids = trainings
    page = tab.open(f"/projects/{PROJECT}/metrics")
    boxes = page.get_by_role("checkbox", name="Select train")
    expect(boxes).to_have_count(2)
    for box in boxes.all():
        box.check()
    page.get_by_role("button", name="Compare selected").click()
    expect(page.locator("h1")).to_have_text("Compare")
    rows = page.locator("#sides tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first.locator(".k")).to_have_text("baseline")
    other = rows.nth(1).get_by_role("link", name="train").get_attribute("href") or ""
    page.get_by_role("link", name="Make B the baseline").click()
    expect(page).to_have_url(re.compile(f"baseline=({'|'.join(ids)})"))
    expect(rows.first.locator(".k")).to_have_text("baseline")
    expect(rows.first.get_by_role("link", name="train")).to_have_attribute("href", other)
    expect(page.locator("#sides thead")).to_contain_text("vs A")


def test_chosen_runs(tab: Tab, trainings: tuple[CollectorProcess, list[str]]) -> None:
    """Ticking rows in the list of runs shows a bar that compares them."""
    page = tab.open(f"/projects/{PROJECT}/runs")
    button = page.locator("#compare").get_by_role("button", name="Compare")
    expect(button).to_be_hidden()
    for box in page.get_by_role("checkbox", name="Select train").all():
        box.check()
    expect(page.locator("#compare b")).to_have_text("2 selected")
    button.click()
    expect(page.locator("#sides tbody tr")).to_have_count(2)
