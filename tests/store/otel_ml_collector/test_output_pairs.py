"""Pairs of outputs of two versions for equal inputs, in the API, on pages and for assistants."""

import html
import json
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlencode

import pytest

from otel_ml_collector.evaluations.output_pairs import measure_texts
from otel_ml_collector.span import Span, Value
from otel_ml_collector.times import HOUR_NS, MINUTE_NS
from tests.store.otel_ml_collector.test_experiments import AFTER, BEFORE, make_experiment, make_runs
from tests.support.browser.prices import make_prices
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    id_of,
    make_call,
    make_record,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

ORDERS: Final = 400
TRIALS: Final = [make_experiment(number) for number in range(2)]


def rate(number: int, version: str, order: int, level: str, **told: Value) -> Span:
    """Make a run that rates how likely an order is returned."""
    names = ["items", "country"]
    values: list[object] = [order, "PL" if order % 4 == 0 else "DE"]
    if version == "bb":  # the order of the members says nothing
        names.reverse()
        values.reverse()
    attributes: dict[str, Value] = {
        "otel_ml.model.version": version,
        "otel_ml.inputs": json.dumps({"order": dict(zip(names, values, strict=True))}),
        "otel_ml.outputs": json.dumps(level),
        "otel_ml.tag.country": "PL" if order % 4 == 0 else "DE",
        **told,
    }
    start_ns = NOW_NS - 2 * HOUR_NS + number * MINUTE_NS // 10
    return make_call("rate", attributes, trace_id=trace_id(number + 1), start_ns=start_ns)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector in which two versions rated some of the same orders.

    v1 rated the orders 0 to 399, v2 the orders 239 to 638. It rates those of PL low.
    """
    before = [rate(number, "aa", number, "high") for number in range(ORDERS)]
    after = [
        rate(ORDERS + place, "bb", order, "low" if order % 4 == 0 else "high")
        for place, order in enumerate(range(239, 239 + ORDERS))
    ]
    truth: dict[str, Value] = {
        "otel_ml.judge.name": "returned",
        "otel_ml.source": "actual",
        "otel_ml.actual": "returned",
    }
    with open_service(tmp_path_factory.mktemp("pairs")) as opened:
        opened.store.take("orders", *before, *after, make_record("evaluation", after[1], truth))
        for experiment, signs in zip(TRIALS, (BEFORE, AFTER), strict=True):
            opened.store.take("trials", experiment, *make_runs(experiment, signs))
        yield opened


def test_pairs_of_versions(service: Service) -> None:
    """The API returns how many outputs changed for inputs that both versions received."""
    answer = ask(service.app, "/api/v1/projects/orders/compare?of=rate:v1&of=rate:v2").json
    baseline, side = answer["sides"]
    pairs = side["pairs"]
    assert baseline["pairs"] is None
    assert re.findall(r"\bv?\d+\b", pairs["sentence"]) == ["v2", "v1", "40", "161"]
    assert (pairs["inputs"], pairs["changed"], pairs["is_cut"]) == (161, 40, False)
    shown = [(one["before"]["outputs"], one["after"]["outputs"]) for one in pairs["pairs"]]
    assert shown == [("high", "low")] * 5
    assert all("PL" in one["inputs"] for one in pairs["pairs"])
    texts = [one["text"] for one in pairs["pairs"]]
    assert all(text.endswith(": high → low") for text in texts)
    asked = "/api/v1/projects/orders/compare?of=rate:v1&of=rate:v2&pairs=0"
    assert ask(service.app, asked).json["sides"][1]["pairs"] is None


@at_night
def test_chosen_runs(service: Service) -> None:
    """A filter of a comparison also chooses the runs that are paired."""
    asked = urlencode(
        {"of": ["rate:v1", "rate:v2"], "where": 'tags["country"] == "DE"'}, doseq=True
    )
    side = ask(service.app, f"/api/v1/projects/orders/compare?{asked}").json["sides"][1]
    assert (side["pairs"]["inputs"], side["pairs"]["changed"]) == (121, 0)
    assert re.findall(r"\bv?\d+\b", side["pairs"]["sentence"]) == ["v1", "v2", "121"]


def test_part_of_pages(service: Service) -> None:
    """A page shows each pair with ground truth, and with buttons to save and to label it."""
    page = ask(service.app, "/projects/orders/compare?of=rate:v1&of=rate:v2").text
    [address] = re.findall(r'hx-get="([^"]+/version-pairs[^"]+)"', page)
    assert 'id="save-test"' in page
    assert 'id="queue-runs"' in page
    changed = html.unescape(ask(service.app, html.unescape(address)).text)
    assert changed.count("data-both") == changed.count("data-pair=") == 40
    part = html.unescape(ask(service.app, f"{html.unescape(address)}&all=1").text)
    assert part.count("data-both") == 50
    assert part.count("<p>high</p>") == 50 + 10
    assert part.count("<p>low</p>") == 40
    assert "Ground truth: <b>returned</b>" in part
    assert part.count('data-open="queue-runs"') == part.count("data-save-test") == 50
    assert part.count('data-expected="actual"') == 1


def test_pairs_of_experiments(service: Service) -> None:
    """Two experiments are paired by item, and those that a judge scores differently come first."""
    of = "&".join(f"of={id_of(trial)}" for trial in TRIALS)
    side = ask(service.app, f"/api/v1/projects/trials/compare?{of}&pairs=20").json["sides"][1]
    pairs = side["pairs"]
    assert (pairs["inputs"], pairs["changed"], len(pairs["pairs"])) == (40, 14, 20)
    assert [one["is_changed"] for one in pairs["pairs"]] == [True] * 14 + [False] * 6
    assert {
        one["after"]["passed"]["exact"] for one in pairs["pairs"][:14] if one["after"]["passed"]
    } == {False}
    assert re.findall(r"(?:try )?\d+", pairs["sentence"]) == ["try 1", "try 0", "14", "40"]


@at_night
def test_pairs_in_a_file(service: Service) -> None:
    """The file of a comparison has both outputs of what changed, for versions and experiments."""
    of = "of=rate:v1&of=rate:v2"
    text = ask(service.app, f"/api/v1/projects/orders/compare/file?{of}").text
    shown = re.findall(r">v1</span>.*?<p>(\w+)</p>.*?>v2</span>.*?<p>(\w+)</p>", text, re.DOTALL)
    assert shown == [("high", "low")] * 20
    answer = ask(service.app, f"/api/v1/projects/orders/compare?{of}").json
    assert answer["sides"][1]["pairs"]["sentence"] in text
    assert re.search(r'id="cuts">.* B .* 20\b', text)
    assert "<button" not in text
    assert "Compare both" not in text  # it would lead nowhere
    of = "&".join(f"of={id_of(trial)}" for trial in TRIALS)
    text = ask(service.app, f"/api/v1/projects/trials/compare/file?{of}").text
    assert text.count("item q-") == 20
    assert text.count("exact failed</span>") == 12
    assert re.search(
        r">A</span> .*?passed</span>.*?>B</span> .*?exact failed</span>", text, re.DOTALL
    )
    assert 'id="cuts"' not in text


def test_size_of_a_change() -> None:
    """Numbers differ by their values, texts by the share of different words."""
    assert measure_texts("100", "95") == pytest.approx(0.05)
    assert measure_texts("-1", "1") == 1
    assert measure_texts("nan", "1") == 1
    assert measure_texts("the total is 412", "the total is 300") == pytest.approx(0.25)
    assert measure_texts("low", "high") == 1
    assert measure_texts("same", "same") == 0


@sampled(1)
@pytest.mark.parametrize(
    ("word", "note", "shown"),
    [("worse", "worse first", "far"), ("better", "better first", "near")],
)
def test_verdict_comes_first(service: Service, word: str, note: str, shown: str) -> None:
    """Pairs that agree with the verdict on the new version come first."""
    if not ask(service.app, "/api/v1/projects/prices/models").json.get("models"):
        service.store.take("prices", *make_prices(NOW_NS), now_ns=NOW_NS)
    asked = f"model=estimate&version=2&against=1&word={word}"
    part = ask(service.app, f"/projects/prices/version-pairs?{asked}").text
    assert note in part
    after = part.partition(">v2<")[2]  # the side of the new version in the first pair
    assert re.findall(r"\b(near|far)\b(?! failed)", re.sub(r"<[^>]*>", "", after))[0] == shown
