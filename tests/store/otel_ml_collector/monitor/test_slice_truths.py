"""Quality by ground truth as a slice figure, compared with values computed from the runs."""

import html
import math
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from otel_ml_collector.span import Span
from tests.store.otel_ml_collector.quality.test_quality import make_run, save, tell
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import SECOND_NS, make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night

RUNS: Final = 900
NOW_NS: Final = time.time_ns()
CLIENTS: Final = ("Remax", "Century", "Zillow")


@dataclass(frozen=True)
class Foretold:
    """A client's run with two predictions and their ground truth; None if there is none."""

    run: Span
    client: str
    label: str
    price: float
    came: str | None
    paid: float

    @property
    def is_right(self) -> float:
        """Return 1 if the predicted class was right, else 0."""
        return float(self.label == self.came)


def foretell() -> list[Foretold]:
    """Make runs of three clients; Remax's predictions are worse, a third lack the class's truth."""
    draw = random.Random(11)  # noqa: S311 - not for secrets
    foretold = []
    for place in range(RUNS):
        client = draw.choice(CLIENTS)
        is_bad = client == "Remax"
        label, price = draw.choice(["yes", "no"]), round(draw.uniform(50, 100), 2)
        start_ns = NOW_NS - 20 * 3_600 * SECOND_NS + place * 60 * SECOND_NS
        run = make_run(start_ns, {"label": label, "price": price}, client=client)
        other = {"yes": "no", "no": "yes"}[label]
        came = label if draw.random() < (0.6 if is_bad else 0.9) else other
        paid = round(price + draw.gauss(0, 8 if is_bad else 3), 2)
        foretold.append(
            Foretold(run, client, label, price, came if draw.random() < 2 / 3 else None, paid)
        )
    return foretold


FORETOLD: Final = foretell()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector with two prediction targets, and a client with worse predictions."""
    with open_service(tmp_path_factory.mktemp("slice-truths")) as service:
        spans = []
        for item in FORETOLD:
            spans.append(item.run)
            if item.came is not None:
                spans.append(tell(item.run, item.came, NOW_NS))
            spans.append(tell(item.run, item.paid, NOW_NS, "price"))
        for first in range(0, len(spans), 500):
            service.store.take("p", *spans[first : first + 500], now_ns=NOW_NS)
        save(service, "p", "churned", positive="", probability="")
        numbers = {"kind": "number", "prediction": "outputs.price"}
        save(service, "p", "price", **numbers, positive="", probability="")
        yield service


def get(service: Service, project: str = "p", **asked: str) -> Any:
    query = f"?{urlencode(asked)}" if asked else ""
    return ask(service.app, f"/api/v1/projects/{project}/slices{query}").json


def get_cell(service: Service, client: str, figure: str, **asked: str) -> Any:
    answer = get(service, **asked)
    item = next(one for one in answer["slices"] if one["name"] == f"client = {client}")
    return next(cell for cell in item["cells"] if cell["figure"] == figure)


def check_means(cell: Any, own: list[float], rest: list[float]) -> None:
    """Check a cell against means and their variance; each run is its own session."""
    assert cell["n"] == len(own)
    assert (cell["value"], cell["rest"]) == pytest.approx((fmean(own), fmean(rest)))
    difference = fmean(own) - fmean(rest)
    error = math.sqrt(variance(own) / len(own) + variance(rest) / len(rest))
    assert cell["difference"]["value"] == pytest.approx(difference)
    for bound, sign in (("low", -1), ("high", 1)):
        expected = difference + sign * 1.97 * error
        assert cell["difference"][bound] == pytest.approx(expected, abs=0.02 * abs(difference))


def test_classes(service: Service) -> None:
    """A client's share of right classes is compared with all other runs, as extra failures."""
    known = [item for item in FORETOLD if item.came is not None]
    own = [item.is_right for item in known if item.client == "Remax"]
    rest = [item.is_right for item in known if item.client != "Remax"]
    cell = get_cell(service, "Remax", "truth churned")
    check_means(cell, own, rest)
    assert cell["word"] == "worse"
    assert cell["excess"] > 0
    assert {get_cell(service, name, "truth churned")["word"] for name in CLIENTS[1:]} == {"better"}


@at_night
def test_numbers(service: Service) -> None:
    """A client's mean absolute error is compared with that of all other runs."""
    own = [abs(item.price - item.paid) for item in FORETOLD if item.client == "Remax"]
    rest = [abs(item.price - item.paid) for item in FORETOLD if item.client != "Remax"]
    cell = get_cell(service, "Remax", "truth price")
    check_means(cell, own, rest)
    assert (cell["word"], cell["excess"]) == ("worse", None)


def test_figures(service: Service) -> None:
    """Target figures have the target's name, and can be requested alone or with a filter."""
    figures = {item["name"]: item for item in get(service)["figures"]}
    assert figures["truth churned"]["target"] == "churned"
    assert (figures["truth churned"]["unit"], figures["truth price"]["lower_is_better"]) == (
        "points",
        True,
    )
    alone = get(service, figure="truth churned", where='tags["client"] != "Zillow"')
    assert [item["name"] for item in alone["figures"]] == ["truth churned"]
    rest = [
        item.is_right for item in FORETOLD if item.client == "Century" and item.came is not None
    ]
    (cell,) = alone["slices"][0]["cells"]
    assert (alone["slices"][0]["name"], cell["rest"]) == (
        "client = Remax",
        pytest.approx(fmean(rest)),
    )
    shares = [f"{100 * cell[side]:.0f}" for side in ("value", "rest")]
    assert re.findall(r"(\d+) %", alone["slices"][0]["sentence"]) == shares == ["61", "93"]


def test_page(service: Service) -> None:
    """The heat map has a column for each prediction target, and its cells open the slice."""
    part = ask(service.app, "/projects/p/monitor/findings?last=24h").text
    assert "Correct predictions (churned), pts" in part
    assert "Prediction error (price)" in part
    findings = ask(service.app, "/api/v1/projects/p/findings?last=24h").json["findings"]
    [title] = [one["title"] for one in findings if one["condition"] == 'tags["client"] == "Remax"']
    assert f">{title}</a>" in part
    [own] = re.findall(r">Show ([\d,]+) runs</a>", part)
    assert f"{own} runs of client Remax" in part
    query = urlencode({"model": "predict", "where": 'tags["client"] == "Remax"'})
    assert ask(service.app, f"/projects/p/monitor/slice?{query}").status == 200


@at_night
def test_no_truth(service: Service) -> None:
    """A target without ground truth adds no figure; if requested, its cells have too few runs."""
    service.store.take("none", *(item.run for item in FORETOLD[:400]), now_ns=NOW_NS)
    late = tell(make_run(NOW_NS - 10**15, {"label": "yes"}), "yes", NOW_NS)
    service.store.take("none", late, now_ns=NOW_NS)
    save(service, "none", "churned", positive="", probability="")
    assert "truth churned" not in {item["name"] for item in get(service, "none")["figures"]}
    asked = get(service, "none", figure="truth churned")
    words = {cell["word"] for item in asked["slices"] for cell in item["cells"]}
    assert words == {"not enough data"}


@at_night
def test_new_version(service: Service) -> None:
    """A new version with worse predictions is a single problem, that of its release."""
    draw = random.Random(3)  # noqa: S311 - not for secrets
    spans = []
    for version, rate, hours in (("a", 0.95, 20), ("b", 0.7, 10)):
        for place in range(300):
            run = make_call(
                "predict",
                {
                    "otel_ml.model.version": version,
                    "otel_ml.model.output_schema": "s",
                    "otel_ml.outputs": '{"label": "yes"}',
                },
                start_ns=NOW_NS - hours * 3_600 * SECOND_NS + place * 60 * SECOND_NS,
            )
            spans += [run, tell(run, "yes" if draw.random() < rate else "no", NOW_NS)]
    service.store.take("released", *spans, now_ns=NOW_NS)
    save(service, "released", "churned", positive="", probability="")
    path = "/api/v1/projects/released"
    (release,) = ask(service.app, f"{path}/models/predict/release").json["releases"]
    assert release["word"] == "worse"
    (finding,) = [
        one for one in ask(service.app, f"{path}/findings").json["findings"] if one["model"]
    ]
    assert (finding["version"], finding["baseline"], finding["target"]) == (2, 1, "churned")
    now, before = (int(share) for share in re.findall(r"(\d+) %", finding["sentence"]))
    assert now < 90 <= before
    page = ask(service.app, "/projects/released/news").text
    assert f">{finding['title']}</a>" in page
    assert '("churned")' in html.unescape(page)
    assert "No problems found" not in page


@at_night
def test_equal_to_the_output(service: Service) -> None:
    """Ground truth without a prediction target is compared with the whole output."""
    spans = []
    for place, item in enumerate(FORETOLD[:400]):
        start_ns = NOW_NS - 10 * 3_600 * SECOND_NS + place * 60 * SECOND_NS
        run = make_run(start_ns, item.label, client=item.client)
        spans += [run, tell(run, item.came or item.label, NOW_NS, "kept")]
    service.store.take("unsaved", *spans, now_ns=NOW_NS)
    known = [
        float(item.label == (item.came or item.label))
        for item in FORETOLD[:400]
        if item.client == "Remax"
    ]
    answer = get(service, "unsaved", figure="truth kept")
    item = next(one for one in answer["slices"] if one["name"] == "client = Remax")
    assert (item["cells"][0]["value"], item["cells"][0]["n"]) == (
        pytest.approx(fmean(known)),
        len(known),
    )
