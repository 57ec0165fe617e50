"""Tests of verdicts on pages: the claim, its evidence, and the order of the measures."""

import math
from dataclasses import replace
from typing import Any

import pytest

from otel_ml.statistics.comparison import (
    Basis,
    Caveat,
    CaveatKind,
    Direction,
    FigureComparison,
    FigureSide,
    Method,
    Unit,
    Word,
)
from otel_ml.statistics.intervals import Estimate
from otel_ml_collector.verdicts.claims import make_banner, quote_judge
from otel_ml_collector.verdicts.lines import versus_lines
from otel_ml_collector.verdicts.verdicts import (
    FiguresVerdict,
    describe_figure,
    find_worst,
)
from otel_ml_collector.wording import THIN, number


def compare(
    subject: str,
    unit: Unit,
    word: Word,
    values: tuple[float, float],
    change: tuple[float, float, float],
    **basis: Any,
) -> FigureComparison:
    """Compare a figure of 400 runs of v1 and 300 of v2; `values` has v1 first."""
    facts: dict[str, Any] = {
        "method": Method.SEQUENTIAL,
        "confidence": 0.95,
        "counted": "runs",
        "cluster": None,
        "waits_for": 1,
        "needed": None,
        "smallest": None,
        "caveats": [],
    }
    before, now = values
    return FigureComparison(
        subject=subject,
        unit=unit,
        direction=Direction.of(lower_is_better=unit not in (Unit.PASSES, Unit.SCORE)),
        baseline=FigureSide("v1", Estimate(before, -math.inf, math.inf, 400, 400)),
        candidate=FigureSide("v2", Estimate(now, -math.inf, math.inf, 300, 300)),
        difference=Estimate(*change, 700, 700),
        margin=0.5 if unit.kind == "amount" else 0.02,
        word=word,
        basis=Basis(**facts | basis),
    )


GROUNDED = compare("grounded", Unit.PASSES, Word.WORSE, (0.9, 0.8), (-0.1, -0.14, -0.06))
JUDGE = describe_figure(GROUNDED, "a1", 1)
FAILURES = describe_figure(
    compare("errors", Unit.ERROR_SHARE, Word.NO_DIFFERENCE, (0.01, 0.01), (0.0, -0.005, 0.005))
)
LATENCY = describe_figure(
    compare("latency", Unit.LATENCY, Word.NO_DIFFERENCE, (6.0, 6.3), (1.05, 1.04, 1.06))
)


def test_largest_change_decides() -> None:
    """Of several judges with the same verdict, the one with the largest change decides."""
    tone, length = (
        describe_figure(replace(GROUNDED, subject=name, difference=Estimate(*change, 700, 700)))
        for name, change in (("tone", (-0.3, -0.34, -0.26)), ("length", (-0.2, -0.24, -0.16)))
    )
    sides = FiguresVerdict(
        word=Word.WORSE,
        sentence="",
        reasons=[],
        judges=[JUDGE, tone, length],
        amounts=[LATENCY],
        failures=FAILURES,
        missing=None,
    )
    assert find_worst(sides) == tone
    assert tone.size == 0.3


def test_figures_have_one_order() -> None:
    """Quality comes first, then errors, then latency. The baseline is on the left."""
    sides = FiguresVerdict(
        word=Word.WORSE,
        sentence="",
        reasons=[],
        judges=[JUDGE],
        amounts=[LATENCY],
        failures=FAILURES,
        missing=None,
    )
    lines = versus_lines(sides, None)
    assert [(line.kind, line.before, line.now, line.change) for line in lines] == [
        ("Quality", f"90.0{THIN}%", f"80.0{THIN}%", f"−10{THIN}pts"),
        ("Errors", f"1.0{THIN}%", f"1.0{THIN}%", "0"),
        ("Latency", f"6{THIN}ms", f"6.3{THIN}ms", f"+0.3{THIN}ms"),
    ]
    assert [line.note for line in lines] == [
        "",
        "(at most 0.5 pts)",
        "(at most 0.37 ms)",
    ]


@pytest.mark.parametrize(
    ("figure", "lead", "claim", "evidence"),
    [
        (
            GROUNDED,
            "v2 is worse",
            "80 % pass, 90 % with v1",
            'Judge "grounded", judge version 1: 10 pts worse (95 % interval: 6 to 14 pts); '
            "400 runs with v1, 300 with v2",
        ),
        (
            replace(GROUNDED, subject="tone: formal"),
            "v2 is worse",
            "80 % pass, 90 % with v1",
            'Judge "tone: formal", judge version 1: 10 pts worse (95 % interval: 6 to 14 pts); '
            "400 runs with v1, 300 with v2",
        ),
        (
            compare(
                "grounded",
                Unit.PASSES,
                Word.NOT_ENOUGH_DATA,
                (0.65, 0.65),
                (0.0, -0.16, 0.16),
                needed=5_500,
            ),
            "Not enough data to say whether v2 is better",
            "about 5,200 more runs with v2",
            'Judge "grounded", judge version 1: 65 % both; ± 16 pts; 400 runs with v1, 300 with v2',
        ),
        (
            replace(
                GROUNDED,
                word=Word.NOT_ENOUGH_DATA,
                difference=None,
                basis=replace(GROUNDED.basis, caveats=[Caveat(CaveatKind.FEW_RUNS, 1, (57, 100))]),
            ),
            "Not enough data to say whether v2 is better",
            "57 of 100 runs with v2",
            'Judge "grounded", judge version 1',
        ),
        (
            compare("errors", Unit.ERROR_SHARE, Word.NO_DIFFERENCE, (0, 0), (0, -0.007, 0.007)),
            "No difference in errors between v2 and v1 (at most 0.7 pts)",
            "0 % both; no judge scored both",
            "Errors, 95 % interval: ± 0.7 pts; 400 runs with v1, 300 with v2",
        ),
        (
            compare("grounded", Unit.PASSES, Word.NO_DIFFERENCE, (0.9, 0.9), (0, -0.007, 0.007)),
            "No difference between v2 and v1 (at most 0.7 pts)",
            "90 % both",
            'Judge "grounded", judge version 1, 95 % interval: ± 0.7 pts; '
            "400 runs with v1, 300 with v2",
        ),
        (
            compare("latency", Unit.LATENCY, Word.WORSE, (100.0, 150.0), (1.5, 1.46, 1.54)),
            "v2 is worse",
            "latency is 50 % longer",
            "Latency, 95 % interval: 46 to 54 %; 400 runs with v1, 300 with v2",
        ),
        (
            replace(
                compare("errors", Unit.ERROR_SHARE, Word.WORSE, (0.0, 1.0), (1.0, 0.9, 1.0)),
                basis=replace(
                    GROUNDED.basis,
                    caveats=[Caveat(CaveatKind.ALL_CALLS_FAIL, numbers=(300, 0, 400))],
                ),
            ),
            "v2 is worse",
            "all 300 calls fail, none with v1",
            "",
        ),
    ],
)
def test_claim_before_evidence(
    figure: FigureComparison, lead: str, claim: str, evidence: str
) -> None:
    """The banner of a page has the verdict, the claim and the evidence, which names the figure."""
    number = 1 if figure.unit is Unit.PASSES else None
    banner = make_banner(figure.word, describe_figure(figure, "a1", number), ("v1", "v2"))
    assert (banner.lead, banner.claim, banner.evidence) == (lead, claim, evidence)


def test_ground_truth_in_the_banner() -> None:
    """If ground truth decides, the evidence ends with the prediction target, and no judge."""
    figure = compare("truth label", Unit.ACCURACY, Word.WORSE, (0.9, 0.8), (-0.1, -0.14, -0.06))
    deciding = describe_figure(figure).model_copy(update={"target": "label"})
    banner = make_banner(Word.WORSE, deciding, ("v1", "v2"))
    assert (banner.figure, banner.judge) == ("truth label", None)
    assert banner.evidence.endswith(". Ground truth: label")


def test_no_deciding_figure() -> None:
    """Without a figure that decides, the banner says why."""
    banner = make_banner(Word.NOT_ENOUGH_DATA, None, ("v1", "v2"), sentence="too few items: 3 (2)")
    assert (banner.claim, banner.evidence, banner.figure) == ("too few items: 3 (2)", "", "")


def test_judge_in_quotes() -> None:
    """A judge's name before a sentence is in quotes, but the name of another measure is not."""
    assert quote_judge(JUDGE, "80 % pass") == 'judge "grounded": 80 % pass'
    assert quote_judge(LATENCY, "53 % slower") == "latency: 53 % slower"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1234, "0.123"),
        (999.6, "1,000"),
        (42_893.4, "42,890"),
        (-1_234_567.0, "−1,235,000"),
        (1e18, "1e+18"),
        (math.inf, "–"),
    ],
)
def test_large_numbers(value: float, text: str) -> None:
    """Large figures have four significant digits and no exponent."""
    assert number(value) == text
