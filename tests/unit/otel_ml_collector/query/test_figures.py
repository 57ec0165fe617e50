"""Tests of conditions over measures: their meaning, and the position of errors."""

import math
from typing import Final

import pytest

from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.figures import (
    CONDITION,
    FIELD,
    PATH,
    Calculation,
    Figure,
    SureComparison,
    TermComparison,
    Vocabulary,
    holds,
    parse_figures,
    verdicts_of,
)

VOCABULARY: Final = Vocabulary(
    "condition",
    "when",
    {"errors": "", "runs": "", "cost": "", "pass_rate": "judge", "p90": "number"},
    frozenset({"worse", "maybe-worse", "not-enough-data"}),
)
WATCHED: Final = Vocabulary(
    "condition",
    "when",
    {
        "cost": "",
        "error_share": "",
        "p90": FIELD,
        "share": CONDITION,
        "drift": PATH,
        "worse": "judge",
    },
    than={"drift": "28d", "worse": "version before"},
    signs=frozenset({"worse"}),
    watches=True,
)
DAY_NS: Final = 86_400 * 10**9
NUMBERS: Final = {("errors", ""): 2.0, ("runs", ""): 100.0, ("pass_rate", "grounded"): 0.9}


def number_of(figure: Figure) -> float:
    return NUMBERS.get((figure.name, figure.of), math.nan)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("errors > 0", True),
        ("0 < errors <= 2", True),
        ("errors == 2 and not runs < 100", True),
        ("errors > 2 or runs > 2", True),
        ('pass_rate["grounded"] < 0.9', False),
        ("pass_rate['grounded'] >= 0.9", True),
        ('pass_rate("grounded") > -1', True),
        ("errors / runs > 0.01", True),
        ("errors / runs > 0.02", False),
        ("errors * 50 == runs", True),
        ("-errors < 0 and +1 == 1", None),
        ("-errors + 1 < 0", True),
        ("1e3 > runs", True),
        ("errors < runs", True),
        ("5 < 3", False),
        ("cost > 0", False),
        ("cost <= 0", False),
        ("errors / 0 > 0", False),
        ("1e308 * runs * runs > 0", True),
        ("worse", True),
        ("maybe-worse", False),
        ("worse and errors > 5", False),
        ("not maybe-worse", True),
        ("not-enough-data", False),
        ("not not-enough-data and worse", True),
        ("(worse or errors > 5) and runs == 100", True),
    ],
)
def test_holds(text: str, expected: bool | None) -> None:
    """A condition evaluates as in Python. A comparison with a missing value is false."""
    if expected is None:
        with pytest.raises(BadInput):
            parse_figures(text, VOCABULARY)
        return
    condition = parse_figures(text, VOCABULARY)
    assert holds(condition, number_of, lambda word: word == "worse") is expected


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        (
            "colour > 1",
            0,
            "Unknown measure 'colour': expected worse, not-enough-data, maybe-worse, or a "
            "comparison",
        ),
        ("runs > 1 and erors > 1", 13, "Unknown measure 'erors': did you mean errors?"),
        ("  passrate['a'] > 1", 2, "Unknown measure 'passrate': did you mean pass_rate?"),
        ("wors", 0, "Unknown measure 'wors': did you mean worse?"),
        ("errors", 0, 'or a comparison of errors, runs, cost, pass_rate["judge"]'),
        ("runs > 0 and 5", 13, "found 5"),
        ("pass_rate > 1", 0, 'Expected pass_rate["judge"], found pass_rate'),
        ("pass_rate[a] > 1", 0, 'Expected pass_rate["judge"] with quotes, found pass_rate[a]'),
        (
            "'é' == 'é' or runs['a'] > 1",
            0,
            "Expected a number, or a measure such as p95(latency_ms), found 'é'",
        ),
        ("runs > 0 or runs['é'] > 1", 12, "Expected runs, found runs['é']"),
        ("errors in (1, 2)", 0, "Expected one of == != < <= > >="),
        (
            "errors > 200ms",
            9,
            "Expected a number, or a measure such as p95(latency_ms), found 200ms",
        ),
        ("errors > True", 9, "Expected a number, or a measure such as p95(latency_ms), found True"),
        (
            "errors > abs(2)",
            9,
            "Expected a number, or a measure such as p95(latency_ms), found abs(2)",
        ),
        (
            "errors ** 2 > 1",
            0,
            "Expected a number, or a measure such as p95(latency_ms), found errors ** 2",
        ),
        ("errors > 0 and", 14, "Something is missing after and"),
        ("errors > 25%", 9, 'Cannot read "25%": write 0.25'),
        ("errors > 0 " + "and errors > 0 " * 400, 0, "The condition has 6011 characters"),
        ("errors > " + "-" * 900 + "1", 0, "The condition has too many parts"),
    ],
)
def test_wrong(text: str, column: int, message: str) -> None:
    """An invalid condition is rejected with its column, and with the closest name."""
    with pytest.raises(BadInput) as refused:
        parse_figures(text, VOCABULARY)
    assert message in str(refused.value)
    assert (refused.value.field, refused.value.column) == ("when", column)


def test_lazy() -> None:
    """A measure that cannot change the result is not computed."""
    asked: list[str] = []

    def note(figure: Figure) -> float:
        asked.append(figure.name)
        return number_of(figure)

    condition = parse_figures("errors > 0 or runs > 0", VOCABULARY)
    assert holds(condition, note, lambda _: False)
    assert asked == ["errors"]


def test_verdicts() -> None:
    """The verdicts that a condition uses are known before it is evaluated."""
    condition = parse_figures("not (errors > 0 or maybe-worse) and worse", VOCABULARY)
    assert [*verdicts_of(condition)] == ["maybe-worse", "worse"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p90(latency_ms) > 2", TermComparison(Figure("p90", "latency_ms", 0), ">", 2)),
        (
            "share(latency_ms > 200ms) > 0.1",
            TermComparison(Figure("share", "latency_ms > 200ms", 0), ">", 0.1),
        ),
        (
            "drift(len(inputs.items)) > 0.1",
            TermComparison(Figure("drift", "len(inputs.items)", 0, "28d"), ">", 0.1),
        ),
        (
            'worse("a", than="previous 7d")',
            TermComparison(Figure("worse", "a", 0, "previous 7d"), ">", 0),
        ),
        (
            'cost > 2 * previous("7d")',
            TermComparison(
                Figure("cost", "", 0),
                ">",
                Calculation(2, "*", Figure("cost", "", 11, before_ns=7 * DAY_NS)),
            ),
        ),
        (
            "surely(error_share > 0.05)",
            SureComparison(TermComparison(Figure("error_share", "", 7), ">", 0.05), 0),
        ),
    ],
)
def test_watched(text: str, expected: object) -> None:
    """A measure may have a field, a condition, an earlier time, a comparison or `surely`."""
    assert parse_figures(text, WATCHED) == expected


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("p90(latenc) > 1", 4, "Unknown field 'latenc'"),
        ("cost > 1 and share(latency_ms >) > 1", 31, "Something is missing after >"),
        ('cost > previous("soon")', 7, 'Expected a length of time as in previous("1d")'),
        ('cost > error_share + previous("1d")', 21, "previous is an earlier value of a figure"),
        ("surely(cost)", 0, "Expected a comparison as in surely(error_share > 0.05)"),
        ('drift(inputs.a, then="7d") > 1', 0, 'Expected drift(path, than="28d")'),
        ('p90(latency_ms, than="7d") > 1', 0, "Expected p90(field)"),
        ("p90 > 2", 0, "Expected p90(field), found p90"),
        ("cost", 0, "Expected a comparison of cost, "),
        ("colour > 1", 0, "Unknown measure 'colour': expected a comparison of cost, "),
    ],
)
def test_wrong_watched(text: str, column: int, message: str) -> None:
    """An invalid measure of an alert condition is rejected with its column."""
    with pytest.raises(BadInput) as refused:
        parse_figures(text, WATCHED)
    assert message in str(refused.value)
    assert refused.value.column == column
