"""All projects lists the worst first, and the tiles of the overview are aligned."""

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser.fixtures import Tab, open_tab
from tests.support.collector import CollectorProcess, running
from tests.support.otel_ml_collector.desk import PROJECT, make_desk
from tests.support.otel_ml_collector.hours import make_hours
from tests.support.otel_ml_collector.wire import encode


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Start a collector with a quiet project, one that fails often, and one with a worse model."""
    with running(tmp_path_factory.mktemp("data")) as opened:
        now_ns = time.time_ns()
        stories = {
            "a quiet one": make_hours("answer", now_ns, 10**6),
            "b failing": make_hours("answer", now_ns, 2 * 10**6, failures=lambda _: 3),
            PROJECT: make_desk(now_ns),
        }
        for project, spans in stories.items():
            headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": project}
            opened.deliver(encode([*spans]), headers)
        yield opened


@pytest.fixture
def tab(chromium: Browser, collector: CollectorProcess) -> Iterator[Tab]:
    """Open a tab; its test fails if the console has an error or a warning."""
    with open_tab(chromium, collector.endpoint, "light", 1280, 1000) as opened:
        yield opened


def test_worst_project_first(tab: Tab) -> None:
    """A worse model comes first, then a function that always fails often, then no problem."""
    page = tab.open("/")
    rows = page.locator("#projects tbody tr td:first-child")
    expect(rows).to_have_text([PROJECT, "b failing", "a quiet one"])
    expect(page.locator("#projects tbody tr").nth(1)).to_contain_text(
        "answer fails in 30 % of runs"
    )


def test_current_hour_is_dashed(tab: Tab) -> None:
    """On All projects, the way to the current hour is dashed."""
    page = tab.open("/")
    row = page.locator("#projects tbody tr", has_text="a quiet one")
    assert row.locator("polyline.part1").count() == 1


@pytest.mark.parametrize("width", [1280, 640])
def test_tiles_are_aligned(tab: Tab, width: int) -> None:
    """The numbers of tiles in one row are at the same height, although one label is long."""
    page = tab.open(f"/projects/{PROJECT}")
    page.set_viewport_size({"width": width, "height": 900})
    labels = page.locator(".tiles dt")
    assert any("Pass rate by judge" in text for text in labels.all_inner_texts())
    places = page.locator(".tiles > div").evaluate_all(
        "(tiles) => tiles.map((tile) => [tile.getBoundingClientRect().top,"
        " tile.querySelector('dd').getBoundingClientRect().top])"
    )
    rows = {top: {number for above, number in places if above == top} for top, _ in places}
    assert all(len(numbers) == 1 for numbers in rows.values()), places
