"""Agreement of answers to the same inputs, checked by enumeration, oracles and simulation."""

import math
from collections.abc import Hashable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from otel_ml.statistics.comparison import DirectionWord, Method, Word
from otel_ml.statistics.intervals import difference
from otel_ml.statistics.sentences import list_reasons, write_sample, write_sentence
from otel_ml.statistics.variability import (
    RepeatedInput,
    compare_variability,
    estimate_variability,
)
from tests.support.examples import AT_NIGHT, examples

DRAWS = 400 if AT_NIGHT else 60
INPUTS = 60


@settings(max_examples=examples(100))
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5).filter(lambda one: sum(one) > 1))
def test_agreement_by_enumeration(answers: list[int]) -> None:
    """Agreement is the share of pairs of runs with the same answer."""
    runs = [place for place, count in enumerate(answers) for _ in range(count)]
    pairs = [one == other for one, other in combinations(runs, 2)]
    assert RepeatedInput(answers).agreement == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


@settings(max_examples=examples(100))
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8))
def test_spread_by_enumeration(scores: list[float]) -> None:
    """The spread is the mean distance of pairs of scores."""
    expected = np.mean([abs(one - other) for one, other in combinations(scores, 2)])
    found = RepeatedInput([len(scores)], {"judge": scores}).spread("judge")
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_intervals() -> None:
    """The share has Wilson's interval as in statsmodels, the mean spread Student's as in scipy."""
    spreads = [0.1, 0.0, 0.4, 0.2, 0.0, 0.3, 0.15, 0.0]
    inputs = [
        RepeatedInput([2] if spread == 0 else [1, 1], {"judge": (0.5, 0.5 + spread)})
        for spread in spreads
    ]
    found = estimate_variability(inputs)
    assert found
    assert (found.inputs, found.runs) == (8, 16)
    differing = sum(spread > 0 for spread in spreads)
    low, high = proportion_confint(differing, 8, method="wilson")
    assert (found.differing.low, found.differing.high) == pytest.approx((low, high), rel=1e-9)
    # With two runs per input, agreement is 1 minus the share that differs.
    assert found.agreement.low == pytest.approx(1 - high, rel=1e-9)
    mean, error = np.mean(spreads), stats.sem(spreads)
    expected = stats.t.interval(0.95, 7, mean, error)
    spread = found.spreads["judge"]
    assert spread.value == pytest.approx(mean, rel=1e-9)
    assert (spread.low, spread.high) == pytest.approx(expected, rel=1e-9)


def test_nothing_repeated() -> None:
    """Without an input of at least two runs there is no figure."""
    assert estimate_variability([]) is None
    assert estimate_variability([RepeatedInput([1])]) is None
    assert compare_variability({}, {"a": RepeatedInput([2])}) is None


def make_side(answers: list[list[int]], start: int = 0) -> dict[Hashable, RepeatedInput]:
    return {place: RepeatedInput(one) for place, one in enumerate(answers, start)}


def test_paired() -> None:
    """Inputs that both sides have are compared in pairs, with Student's interval of differences."""
    before = make_side([[1, 1, 1]] * 60 + [[3]] * 60)
    after = make_side([[2, 1]] * 90 + [[3]] * 60)
    change = compare_variability(before, after)
    assert change
    changes = [1 / 3] * 60 + [1 / 3 - 1] * 30 + [0.0] * 30
    expected = stats.t.interval(0.95, 119, np.mean(changes), stats.sem(changes))
    found = change.difference
    assert found
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)
    assert (change.basis.method, change.word) == (Method.PAIRED, Word.NOT_ENOUGH_DATA)
    assert write_sample(change) == "120 repeated inputs"


def test_unpaired() -> None:
    """With few common inputs, the two sides are compared as independent samples."""
    before, after = make_side([[1, 1]] * 70 + [[2]] * 30), make_side([[2]] * 90 + [[1, 1]] * 10, 95)
    change = compare_variability(before, after)
    assert change
    sides = [estimate_variability(side.values()) for side in (before, after)]
    assert sides[0]
    assert sides[1]
    assert change.difference == difference(sides[0].agreement, sides[1].agreement)
    assert (change.basis.method, change.word) == (Method.SAMPLES, Word.BETTER)
    assert change.named_word is DirectionWord.STEADIER
    assert write_sentence(change) == (
        "two runs of one input agree in 90 %, 30 % before: 60 pts steadier "
        "(48 to 69 pts; 100 repeated inputs before, 100 now)"
    )


def test_too_few() -> None:
    """Fewer than 20 inputs are not enough data, however different the sides are."""
    change = compare_variability(make_side([[2]] * 19), make_side([[1, 1]] * 19))
    assert change
    assert change.word is Word.NOT_ENOUGH_DATA
    assert list_reasons(change) == ["19 of 20 repeated inputs"]


def test_order_is_no_matter() -> None:
    """The order of inputs does not change the result."""
    inputs = [RepeatedInput([place % 3 + 1, 1], {"a": (place / 7, 0.1)}) for place in range(40)]
    assert estimate_variability(inputs) == estimate_variability(inputs[::-1])


def draw_inputs(draw: np.random.Generator, sizes: np.ndarray) -> tuple[list[RepeatedInput], float]:
    """Draw inputs that each give their usual answer with their own probability."""
    inputs = []
    for size in sizes:
        usual = draw.beta(2, 0.7)
        runs = draw.random(size) < usual
        inputs.append(RepeatedInput([n for n in (int(runs.sum()), int(size - runs.sum())) if n]))
    # Two runs of such an input agree with probability p² + (1 - p)².
    mean, square = 2 / 2.7, 2 * 3 / (2.7 * 3.7)
    return inputs, 1 - 2 * mean + 2 * square


def test_coverage() -> None:
    """The interval of agreement contains the true value, whatever the number of runs per input."""
    draw, held = np.random.default_rng(5), 0
    for _ in range(DRAWS):
        inputs, truth = draw_inputs(draw, draw.integers(2, 12, INPUTS))
        found = estimate_variability(inputs)
        assert found
        held += found.agreement.low <= truth <= found.agreement.high
    assert held / DRAWS >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / DRAWS)


def test_nothing_changed() -> None:
    """Versions that are equally steady are rarely called anything else."""
    draw, wrong = np.random.default_rng(6), 0
    for _ in range(DRAWS):
        sides = [draw_inputs(draw, draw.integers(2, 6, INPUTS))[0] for _ in range(2)]
        before, after = (dict[Hashable, RepeatedInput](enumerate(side)) for side in sides)
        change = compare_variability(before, after)
        assert change
        wrong += change.word.is_decided
    assert wrong / DRAWS <= 0.05 + 3 * math.sqrt(0.95 * 0.05 / DRAWS)


def test_inputs_with_one_run_are_left_out() -> None:
    """An input that ran once does not count for the steadiness of answers."""
    repeated: dict[Hashable, RepeatedInput] = {
        place: RepeatedInput([2, 1]) for place in range(INPUTS)
    }
    found = compare_variability(repeated, {**repeated, "once": RepeatedInput([1])})
    assert found == compare_variability(repeated, repeated)
    assert compare_variability(repeated, {"once": RepeatedInput([1])}) is None
