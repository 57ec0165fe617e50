"""Late ground truth is shown next to the output, and can be a column of the list."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from otel_ml_collector.span import Scope, Span, Value
from tests.support.browser.fixtures import Tab, open_tab
from tests.support.collector import CollectorProcess, running
from tests.support.otel_ml_collector.spans import SECOND_NS, id_of, make_call, make_record
from tests.support.otel_ml_collector.wire import encode

NOW_NS = time.time_ns() - 3_600 * SECOND_NS
RUN = make_call(
    "predict",
    {
        "otel_ml.inputs": '{"customer": 17}',
        "otel_ml.outputs": '{"churned": "no", "price": 12.5}',
        "otel_ml.score.grounded": 0.75,
    },
    start_ns=NOW_NS,
)
BILLING = Scope({"service.name": "billing"}, "tests", "1", {})


def tell(name: str, after_s: int, **told: Value) -> Span:
    attributes: dict[str, Value] = {"otel_ml.judge.name": name}
    attributes |= {f"otel_ml.{key}": value for key, value in told.items()}
    start_ns = NOW_NS + after_s * SECOND_NS
    return make_record("evaluation", RUN, attributes, start_ns=start_ns, scope=BILLING)


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    with running(tmp_path_factory.mktemp("data")) as opened:
        spans = [
            RUN,
            make_call("predict", {"otel_ml.outputs": '{"churned": "yes"}'}, start_ns=NOW_NS),
            tell("churned", 60, actual="maybe", explanation="They called"),
            tell("churned", 1_200, actual="yes", explanation="Cancelled by mail"),
            tell("price", 1_260, actual=14.0, annotator="ada"),
            tell("topics", 1_300, actual=["invoice", "late payment"]),
        ]
        headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": "shop"}
        opened.deliver(encode(spans), headers)
        yield opened


@pytest.fixture(params=["light", "dark"])
def page(
    request: pytest.FixtureRequest, chromium: Browser, collector: CollectorProcess
) -> Iterator[Tab]:
    with open_tab(chromium, collector.endpoint, request.param, 1280, 900) as opened:
        yield opened


def cells(page: Page, selector: str) -> list[list[str]]:
    """Return the visible text of a table's cells."""
    rows = page.locator(f"{selector} tbody tr")
    return [
        [" ".join(cell.split()) for cell in row.locator("td").all_inner_texts()]
        for row in rows.all()
    ]


def test_truth_beside_the_output(page: Tab, shots: Path, request: pytest.FixtureRequest) -> None:
    """The page of a run shows each ground truth next to the output that predicted it.

    The newest value is first, with its time and source; a replaced value is marked as earlier.
    """
    opened = page.open(f"/projects/shop/runs/{id_of(RUN)}")
    opened.screenshot(path=shots / f"{request.node.name}.png", full_page=True)
    found = cells(opened, "#truths")
    assert [[*row[:3], row[4]] for row in found] == [
        [
            "topics",
            '{"churned":"no","price":12.5}',
            '["invoice","late payment"]',
            "billing",
        ],
        ["price", "12.5", "14.0", "ada"],
        ["churned", "no", "yes Cancelled by mail", "billing"],
        ["churned earlier", "no", "maybe They called", "billing"],
    ]
    assert opened.locator("#truths time").count() == len(found)
    scores = cells(opened, "#scores")
    assert [row[0] for row in scores] == ["grounded"]
    box = opened.locator("#truths").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 1_280


def test_truth_as_a_column(page: Tab, shots: Path, request: pytest.FixtureRequest) -> None:
    """The list offers each ground truth as a column, and a value in it filters the list."""
    opened = page.open("/projects/shop/runs")
    expect(opened.locator("th", has_text="churned")).to_have_count(0)
    opened.locator("#more > summary").click()
    opened.locator("#columns > summary").click()
    opened.locator('input[value="truth:churned"]').check()
    opened.locator('input[value="truth:topics"]').check()
    opened.locator("form:has(.choices) button", has_text="Show").click()
    expect(opened.locator("th", has_text="churned")).to_have_count(1)
    opened.screenshot(path=shots / f"{request.node.name}.png")
    opened.locator("td:has(.only)", has_text="yes").hover()
    opened.get_by_role("link", name='Only truth["churned"] == "yes"', exact=True).click()
    expect(opened.locator("tbody tr")).to_have_count(1)
    expect(opened.locator("input[name=where]").first).to_have_value('truth["churned"] == "yes"')
