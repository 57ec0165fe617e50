"""Tests of claims: sentences with at most three numbers, and their evidence."""

import re

import pytest

from otel_ml_collector.verdicts.claims import (
    Claim,
    ComparedValues,
    claim_slice,
    claim_version,
    name_measured,
    name_slice,
    write_amounts,
    write_difference,
    write_extra,
    write_factor,
    write_margin,
    write_moment,
    write_shares,
)
from otel_ml_collector.verdicts.verdicts import Interval


def compared(figure: str, now: float, before: float) -> ComparedValues:
    kinds = {"latency": "amount", "cost": "amount", "closeness": "score"}
    return ComparedValues(
        figure=figure,
        kind=kinds.get(figure, "rate"),  # type: ignore[arg-type]
        now=now,
        before=before,
    )


@pytest.mark.parametrize(
    ("figure", "now", "before", "sentence"),
    [
        ("errors", 0.34, 0.13, "triage v2 fails in 34 % of runs, v1 in 13 %"),
        ("grounded", 0.84, 0.99, "triage v2 is worse: 84 % pass, 99 % with v1"),
        ("missing outputs", 0.2, 0, "triage v2 returns no output in 20 % of runs, v1 in 0 %"),
        ("latency", 3_400, 2_100, "triage v2 takes 3.4 s, 2.1 s with v1"),
        ("latency", 480, 40, "triage v2 takes 480 ms, 40 ms with v1 (12×)"),
        ("cost", 0.0068, 0.0004, "triage v2 costs $ 0.0068 per run, $ 0.0004 with v1 (17×)"),
        (
            *("closeness", 0.61, 0.74),
            'triage v2 is worse: mean score 0.61 by judge "closeness", 0.74 with v1',
        ),
    ],
)
def test_version(figure: str, now: float, before: float, sentence: str) -> None:
    """A claim names a version and its baseline with their values, and a factor from 3× on."""
    claim = claim_version("triage v2", compared(figure, now, before), "v1")
    assert claim.sentence == sentence
    assert len(re.findall(r"(?<![\w.])\d[\d.,]*", sentence)) <= 3


def test_version_for_a_client() -> None:
    """If one client explains the change, the claim names it."""
    values = compared("confident", 0.84, 0.99)
    claim = claim_version("classify v2", values, "v1", part="client Kessler")
    assert claim.sentence == "classify v2 is worse for client Kessler: 84 % pass, 99 % with v1"
    values = compared("errors", 0.34, 0.13)
    claim = claim_version("classify v2", values, "v1", part="client Kessler")
    assert claim.sentence == "classify v2 fails for client Kessler in 34 % of runs, v1 in 13 %"


@pytest.mark.parametrize(
    ("figure", "now", "before", "sentence"),
    [
        ("errors", 0.44, 0.09, "ask fails for client acme in 44 % of runs, elsewhere in 9 %"),
        ("brief", 0.51, 0.93, "ask is worse for client acme: 51 % pass, elsewhere 93 %"),
        ("latency", 75, 20, "ask is slow for client acme: 75 ms, elsewhere 20 ms (3.8×)"),
        (
            *("cost", 0.02, 0.01),
            "ask costs more for client acme: $ 0.0200 per run, elsewhere $ 0.0100",
        ),
    ],
)
def test_slice(figure: str, now: float, before: float, sentence: str) -> None:
    """A slice is compared with all other runs."""
    claim = claim_slice("ask", "client acme", compared(figure, now, before))
    assert claim.sentence == sentence


def test_errors_of_predictions() -> None:
    """The mean error of predictions is named as such."""
    values = ComparedValues(
        figure="price", kind="score", now=95_539, before=9_409, is_target=True, is_error=True
    )
    claim = claim_version("price v2", values, "v1", "city Bonn")
    assert claim.sentence == (
        "price v2 is worse for city Bonn: mean error of price 95,540, 9,409 with v1"
    )


def test_bounds_of_large_scores() -> None:
    """Large bounds have separators, as other numbers do."""
    change = Interval(value=86_130, low=76_277, high=95_983, n=162, clusters=162)
    assert "76,280 to 95,980" in write_difference(change, "score")


def test_slice_of_a_version() -> None:
    """The slice of a version is named only by its subject."""
    claim = claim_slice("ask v2", "", compared("cost", 0.0068, 0.0004))
    assert claim.sentence == "ask v2 costs more: $ 0.0068 per run, other versions $ 0.0004 (17×)"


def test_better_slice() -> None:
    """A slice that is better has a sentence too."""
    claim = claim_slice("ask", "client acme", compared("brief", 0.99, 0.9), is_worse=False)
    assert claim == Claim("ask is better for client acme", ": 99 % pass, elsewhere 90 %")
    claim = claim_slice("ask", "client acme", compared("errors", 0.01, 0.09), is_worse=False)
    assert claim == Claim("ask fails less for client acme", ": in 1 % of runs, elsewhere in 9 %")


@pytest.mark.parametrize(
    ("shares", "written"),
    [
        ((0.342, 0.133), ("34 %", "13 %")),
        ((0.981, 0.984), ("98.1 %", "98.4 %")),
        ((0.004, 0.0), ("0.4 %", "0 %")),
        ((1.0, 1.0), ("100 %", "100 %")),
    ],
)
def test_shares(shares: tuple[float, float], written: tuple[str, str]) -> None:
    """Shares have a decimal only if they would otherwise look equal, or like 0."""
    assert write_shares(*shares) == written


def test_amounts_differ() -> None:
    """Values that round to the same digits are written with more digits."""
    assert write_amounts("latency", 1_540, 1_460) == ("1.54 s", "1.46 s")
    assert write_amounts("tokens", 1_200, 800) == ("1,200", "800")
    assert write_amounts("price", 69_628.4, 4_590.2) == ("69,630", "4,590")
    assert write_amounts("cost", 297_138.35, 365_296.1) == ("$ 297,100", "$ 365,300")


@pytest.mark.parametrize(("ratio", "written"), [(2.9, ""), (3.0, "3×"), (12.2, "12×"), (0.5, "")])
def test_factor(ratio: float, written: str) -> None:
    """A change is written as a factor from 3× on."""
    assert write_factor(ratio) == written


def make_interval(value: float, low: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high, n=400, clusters=400)


def test_difference() -> None:
    """A difference has its unit and its interval. In a sentence, both are named."""
    assert write_difference(make_interval(0.21, 0.14, 0.28), "rate") == "+21 pts (14 to 28)"
    assert write_difference(make_interval(-0.15, -0.17, -0.12), "rate") == "−15 pts (−17 to −12)"
    assert write_difference(make_interval(0.02, -0.05, 0.09), "rate") == "+2 pts (−5 to 9)"
    assert write_difference(make_interval(1.53, 1.2, 1.9), "amount") == "+53 % (20 to 90)"
    assert write_difference(make_interval(12.0, 9.0, 15.0), "amount") == "12× (9× to 15×)"
    assert (
        write_difference(make_interval(0.21, 0.14, 0.28), "rate", of="the share of failed runs")
        == "Difference in the share of failed runs: +21 pts (95 % interval: 14 to 28)"
    )
    factor = write_difference(make_interval(12.0, 9.0, 15.0), "amount", of="latency")
    assert factor == "Latency: 12× as much (95 % interval: 9× to 15×)"
    assert write_difference(None, "rate") == ""


def test_margin() -> None:
    """The verdict on time or cost shows the smallest difference that matters."""
    assert write_margin("latency", 0.5, 20.0) == "Differences below 10 ms are ignored"
    assert write_margin("cost", 0.05, 0.002) == "Differences below $ 0.0001 per run are ignored"
    assert write_margin("errors", 0.02, 0.1) == ""


def test_extra_failures() -> None:
    """Extra failures compared with all other runs have their own sentence."""
    assert write_extra(0) == ""
    assert "86 fewer failures" in write_extra(86)


def test_measured() -> None:
    """A measure has a name that fits into a sentence, with the judge's version for a pass rate."""
    assert name_measured("latency", "amount") == "latency"
    named = name_measured("grounded", "rate", '"grounded" v2')
    assert named == 'the pass rate (judge "grounded" v2)'


def test_names() -> None:
    """Slices, models and times are written as in a sentence."""
    assert name_slice("client", "Kessler") == "client Kessler"
    assert name_slice("provider_model", "gpt-4o") == "LLM gpt-4o"
    assert write_moment(1_795_696_560 * 10**9) == "26 Nov 12:36"
    assert write_moment(1_795_651_200 * 10**9) == "26 Nov"
