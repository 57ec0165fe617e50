"""Tests of verdicts on pages: the claim, its evidence, and the order of the measures."""

import math
from typing import Any

import pytest

from otel_ml.statistics.comparison import Word
from otel_ml_collector.verdicts.claims import make_banner, quote_judge
from otel_ml_collector.verdicts.lines import versus_lines
from otel_ml_collector.verdicts.verdicts import (
    ComparedFigure,
    FiguresVerdict,
    Interval,
    find_worst,
)
from otel_ml_collector.wording import THIN, rounded, split_evidence


def interval(value: float, half: float = 0.0) -> Interval:
    return Interval(value=value, low=value - half, high=value + half, n=400, clusters=400)


def figure(name: str, word: Word, sentence: str, **values: Any) -> ComparedFigure:
    """Compare a figure; `values` has its values and their difference."""
    facts: dict[str, Any] = {
        "judge_version": "",
        "is_rate": True,
        "lower_is_better": True,
        "margin": 0.02,
        "detectable": None,
        "reasons": [],
        "runs": 400,
        "needed": None,
        "smallest": None,
    }
    return ComparedFigure(name=name, word=word, sentence=sentence, **facts | values)


JUDGE = figure(
    "grounded",
    Word.WORSE,
    "80 % pass, 90 % with v1: 10 pts worse (6 to 14 pts; 400 runs with v1, 300 with v2)",
    judge_version="a1",
    judge_number=1,
    lower_is_better=False,
    baseline=interval(0.9),
    candidate=interval(0.8),
    difference=interval(-0.1, 0.04),
)
FAILURES = figure(
    "errors",
    Word.NO_DIFFERENCE,
    "no difference (at most 0.5 pts): 1 % both (± 0.5 pts; 400 runs with v1, 300 with v2)",
    baseline=interval(0.01),
    candidate=interval(0.01),
    difference=interval(0.0, 0.005),
)
LATENCY = figure(
    "latency",
    Word.NO_DIFFERENCE,
    "no difference (at most 0.36 ms): 5 % longer (4 to 6 %; 400 runs)",
    is_rate=False,
    baseline=interval(6.0),
    candidate=interval(6.3),
    difference=interval(1.05, 0.01),
    margin=0.5,
)


def test_largest_change_decides() -> None:
    """Of several judges with the same verdict, the one with the largest change decides."""
    others = [
        JUDGE.model_copy(update={"name": "tone", "difference": interval(-0.3, 0.04)}),
        JUDGE.model_copy(update={"name": "length", "difference": interval(-0.2, 0.04)}),
    ]
    sides = FiguresVerdict(
        word=Word.WORSE,
        sentence="",
        reasons=[],
        judges=[JUDGE, *others],
        amounts=[LATENCY],
        failures=FAILURES,
        missing=None,
    )
    assert find_worst(sides) == ("worse", f"tone: {JUDGE.sentence}", 0.3)


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
    assert [(line.kind, line.title, line.before, line.now, line.change) for line in lines] == [
        ("Quality", "pass rate", f"90.0{THIN}%", f"80.0{THIN}%", f"−10.0{THIN}pts"),
        ("Errors", "Failed runs", f"1.0{THIN}%", f"1.0{THIN}%", "0"),
        (
            "Latency",
            "Typical latency (geometric mean)",
            f"6{THIN}ms",
            f"6.3{THIN}ms",
            f"+0.3{THIN}ms",
        ),
    ]
    assert [line.note for line in lines] == [
        "",
        "(at most 0.5 pts)",
        "(at most 0.36 ms)",
    ]


@pytest.mark.parametrize(
    ("word", "sentence", "lead", "claim", "evidence"),
    [
        (
            Word.WORSE,
            f"grounded: {JUDGE.sentence}",
            "v2 is worse",
            "80 % pass, 90 % with v1",
            'Judge "grounded", judge version 1: 10 pts worse (95 % interval: 6 to 14 pts); '
            "400 runs with v1, 300 with v2",
        ),
        (
            Word.NOT_ENOUGH_DATA,
            "grounded: not enough data: 577 of about 6,700 runs",
            "Not enough data to say whether v2 is better",
            "577 of about 6,700 runs",
            'Judge "grounded", judge version 1',
        ),
        (
            Word.NO_DIFFERENCE,
            "errors: no difference (at most 0.7 pts): 0 % both (± 0.7 pts; 400 runs with v1)",
            "No difference in errors between v2 and v1 (at most 0.7 pts)",
            "0 % both; no judge scored both",
            "Errors, 95 % interval: ± 0.7 pts; 400 runs with v1",
        ),
        (
            Word.NO_DIFFERENCE,
            "grounded: no difference (at most 0.7 pts): 90 % both (± 0.7 pts; 400 runs with v1)",
            "No difference between v2 and v1 (at most 0.7 pts)",
            "90 % both",
            'Judge "grounded", judge version 1, 95 % interval: ± 0.7 pts; 400 runs with v1',
        ),
        (
            Word.NOT_ENOUGH_DATA,
            "grounded: not enough data: about 9,000 more items (65 % both; ± 16 pts; 150 items)",
            "Not enough data to say whether v2 is better",
            "about 9,000 more items",
            'Judge "grounded", judge version 1: 65 % both; ± 16 pts; 150 items',
        ),
        (
            Word.NOT_ENOUGH_DATA,
            "errors: not enough data: 186 runs with v2 can show a change of 74 pts or more "
            "(0 % both; ± 62 pts; 186 runs with v1, 186 with v2)",
            "Not enough data to say whether v2 is better",
            "186 runs with v2 can show a change of 74 pts or more",
            "Errors: 0 % both; ± 62 pts; 186 runs with v1, 186 with v2",
        ),
        (
            Word.WORSE,
            "latency: 50 % longer (46 to 54 %; 150 items)",
            "v2 is worse",
            "latency is 50 % longer",
            "Latency, 95 % interval: 46 to 54 %; 150 items",
        ),
    ],
)
def test_claim_before_evidence(
    word: Word, sentence: str, lead: str, claim: str, evidence: str
) -> None:
    """The banner of a page has the verdict, the claim and the evidence, which names the figure."""
    banner = make_banner(word, sentence, [JUDGE], ("v1", "v2"))
    assert (banner.lead, banner.claim, banner.evidence) == (lead, claim, evidence)


@pytest.mark.parametrize(
    ("sentence", "parts"),
    [
        ("67 % pass (21 to 36; 150 items)", ("67 % pass", "21 to 36; 150 items")),
        ("a (b) c", ("a (b) c", "")),
        ("a (b (c) d)", ("a", "b (c) d")),
        ("(a)", ("(a)", "")),
        ("", ("", "")),
        ("a)", ("a)", "")),
    ],
)
def test_evidence_is_at_the_end(sentence: str, parts: tuple[str, str]) -> None:
    """Only parentheses at the end of a sentence are its evidence."""
    assert split_evidence(sentence) == parts


def test_judge_in_quotes() -> None:
    """A judge's name before a sentence is in quotes, but the name of another measure is not."""
    assert quote_judge("grounded: 80 % pass", [JUDGE]) == 'judge "grounded": 80 % pass'
    assert quote_judge("latency: 53 % slower", [JUDGE]) == "latency: 53 % slower"
    assert quote_judge("too few runs", [JUDGE]) == "too few runs"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1234, "0.123"),
        (999.6, "1,000"),
        (42_893.4, "42,900"),
        (-1_234_567.0, "-1,230,000"),
        (1e18, "1e+18"),
        (math.inf, "inf"),
    ],
)
def test_rounded(value: float, text: str) -> None:
    """Large figures have three digits that count and no exponent."""
    assert rounded(value) == text
