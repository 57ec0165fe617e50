"""Distances between sketches, compared with scipy's distances of the raw values."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon

from otel_ml.statistics.distances import (
    chance_among,
    compare,
    correct_together,
    distance,
    gamma_tail,
    jensen_shannon,
    kolmogorov_smirnov,
    population_stability,
    quantile,
    scale,
    unseen,
    usual_distance,
    wasserstein,
)
from otel_ml.statistics.fields import describe_field, presence
from otel_ml.statistics.sketches import (
    Sketch,
    bin_of,
    bounds_of,
    merge_sketches,
    script_of,
    sketch_values,
)

Numbers = NDArray[np.float64]
numbers = st.floats(allow_nan=False, allow_infinity=False)


def draw(name: str, generator: np.random.Generator, n: int = 4_000) -> Numbers:
    """Draw numbers from a distribution that is common in fields."""
    drawn: dict[str, Numbers] = {
        "normal": generator.normal(50, 10, n),
        "around zero": generator.normal(0, 1, n),
        "log-normal": generator.lognormal(2, 1, n),
        "heavy tail": generator.pareto(1.5, n) + 1,
        "narrow, far from 0": generator.normal(1_000, 10, n),
        "ages": np.round(generator.normal(40, 12, n)),
        "few whole numbers": generator.integers(0, 6, n).astype(np.float64),
        "negative": -generator.exponential(3, n),
    }
    return drawn[name]


NAMES = (
    *("normal", "around zero", "log-normal", "heavy tail", "narrow, far from 0"),
    *("ages", "few whole numbers", "negative"),
)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_wasserstein(name: str, shift: float) -> None:
    """Wasserstein distances of sketches differ by at most 3 % of the IQR from raw numbers."""
    generator = np.random.default_rng(7)
    before, after = draw(name, generator), draw(name, generator, 3_000)
    between = float(stats.iqr(before))
    after = after + shift * between
    first, second = sketch_values(before, kind="number"), sketch_values(after, kind="number")
    expected = stats.wasserstein_distance(before, after)
    assert abs(wasserstein(first, second) - expected) <= 0.03 * between
    # If all numbers are in four bins, their quartiles are less precise than their mean.
    share = 0.1 if name == "narrow, far from 0" else 0.03
    assert scale(first) == pytest.approx(between, rel=share)
    assert distance(first, second) == pytest.approx(expected / between, abs=0.03, rel=share)


@pytest.mark.parametrize("name", ["normal", "log-normal", "heavy tail", "negative", "ages"])
def test_kolmogorov_smirnov(name: str) -> None:
    """The largest difference of the distribution functions is scipy's, up to the bins."""
    generator = np.random.default_rng(8)
    before, after = draw(name, generator), draw(name, generator) * 1.2
    expected = stats.ks_2samp(before, after).statistic
    first, second = sketch_values(before, kind="number"), sketch_values(after, kind="number")
    assert kolmogorov_smirnov(first, second) == pytest.approx(expected, abs=0.02)


@given(st.lists(st.integers(-1_000, 1_000), min_size=1), st.lists(st.integers(-1_000, 1_000)))
def test_whole_numbers(before: list[int], after: list[int]) -> None:
    """For whole numbers with one bin each, the sketch loses nothing."""
    low = [value for value in before if abs(value) < 50]
    high = [value for value in after if abs(value) < 50]
    if low and high:
        first, second = sketch_values(low, kind="number"), sketch_values(high, kind="number")
        expected = stats.wasserstein_distance(low, high)
        assert wasserstein(first, second) == pytest.approx(expected, abs=0.002)


categories = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 50), min_size=1)


@given(categories, categories)
def test_categories(before: dict[str, int], after: dict[str, int]) -> None:
    """Distances of categories are exactly scipy's."""
    first = sketch_values(list(Counter(before).elements()), kind="category")
    second = sketch_values(list(Counter(after).elements()), kind="category")
    names = sorted({*before, *after})
    expected = jensenshannon(
        [before.get(name, 0) / first.n for name in names],
        [after.get(name, 0) / second.n for name in names],
        base=2,
    )
    assert jensen_shannon(first, second) == pytest.approx(expected, abs=1e-7)


def test_population_stability() -> None:
    """The population stability index matches its formula, with half a run for an absent value."""
    first = sketch_values(["a"] * 60 + ["b"] * 40, kind="category")
    second = sketch_values(["a"] * 30 + ["b"] * 60 + ["c"] * 10, kind="category")
    expected = (
        -0.3 * math.log(0.3 / 0.6) + 0.2 * math.log(0.6 / 0.4) + 0.095 * math.log(0.1 / 0.005)
    )
    assert population_stability(first, second) == pytest.approx(expected)
    assert population_stability(first, sketch_values(["a"] * 6 + ["b"] * 4, kind="category")) == 0


@pytest.mark.parametrize("shape", [0.5, 1.0, 3.0, 40.0, 500.0])
@pytest.mark.parametrize("place", [0.1, 0.5, 1.0, 1.5, 3.0])
def test_gamma_tail(shape: float, place: float) -> None:
    """The tail of a gamma distribution matches scipy."""
    expected = stats.gamma.sf(place * shape * 2, shape, scale=2)
    assert gamma_tail(place * shape * 2, shape * 2, shape * 4) == pytest.approx(expected, rel=1e-8)


@given(numbers)
def test_bins(value: float) -> None:
    """A number is within the bounds of its bin, except for numbers near 0 or beyond 1e300."""
    key, place = bin_of(value)
    low, high = bounds_of(key)
    size = min(max(abs(value), 1e-300), 1e300)
    assert 0 <= place < 32_768
    if abs(value) >= 1e-300:
        assert low - abs(low) * 1e-9 <= math.copysign(size, value) <= high + abs(high) * 1e-9
    else:
        assert key == 0


values = st.lists(
    st.one_of(st.none(), st.integers(-100, 100), st.sampled_from(["a", "b", "x" * 70]), numbers)
)


@given(values, values, st.sampled_from(["number", "category", "text"]))
def test_merged(one: list[object], other: list[object], kind: str) -> None:
    """A sketch of all values equals the merged sketches of its parts."""
    every = sketch_values([*one, *other], kind=kind)  # type: ignore[arg-type]  # a kind
    parts = [sketch_values(own, kind=kind) for own in (one, other)]  # type: ignore[arg-type]
    for merged in (merge_sketches(parts), merge_sketches(parts[::-1])):
        assert (merged.n, merged.missing, merged.low, merged.high) == (
            *(every.n, every.missing, every.low, every.high),
        )
        assert (merged.bins, merged.values) == (every.bins, every.values)
        for name in every.parts:
            assert merged.parts[name].bins == every.parts[name].bins
            assert merged.parts[name].values == every.parts[name].values


@given(values, st.sampled_from(["number", "category", "text"]))
def test_written(own: list[object], kind: str) -> None:
    """A sketch written as JSON reads back unchanged."""
    sketch = sketch_values(own, kind=kind)  # type: ignore[arg-type]  # a kind
    assert Sketch.from_dict(json.loads(json.dumps(sketch.to_dict()))) == sketch


def test_not_written() -> None:
    """A document that is not a sketch is refused."""
    with pytest.raises(ValueError, match="Invalid sketch"):
        Sketch.from_dict({"kind": "number"})
    with pytest.raises(ValueError, match="Invalid kind of sketch 'colour'"):
        Sketch.from_dict({"kind": "colour", "n": 1})


def test_moments() -> None:
    """Mean, deviation, quantiles and range match the numbers."""
    sketch = sketch_values([1, 2, 3, 4, 10, None, math.nan], kind="number")
    assert (sketch.n, sketch.missing, sketch.low, sketch.high) == (5, 2, 1, 10)
    assert sketch.mean == pytest.approx(4, rel=1e-4)
    assert sketch.deviation == pytest.approx(math.sqrt(10), rel=1e-4)
    assert quantile(sketch, 0.5) == pytest.approx(3, rel=1e-4)
    assert math.isnan(quantile(Sketch("number"), 0.5))


def test_kinds() -> None:
    """The kind of a field is found from its values."""
    assert describe_field([*range(100), "unknown"]).kind == "number"
    assert describe_field([1, 2, 3] * 40).kind == "category"
    assert describe_field([True, False, None]).kind == "category"
    assert describe_field(["visa", "cash"] * 50).kind == "category"
    assert describe_field([f"How do I do {i}?" for i in range(100)]).kind == "text"
    assert describe_field([]).kind == "category"


def test_sessions() -> None:
    """Equal values in a session count as one; independent values count as themselves."""
    generator = np.random.default_rng(9)
    of_session = [f"s{i}" for i in range(400) for _ in range(5)]
    alike = [value for value in generator.normal(size=400) for _ in range(5)]
    apart = [*generator.normal(size=2_000)]
    for kind, of_alike, of_apart in (
        ("number", alike, apart),
        ("category", [value > 0 for value in alike], [value > 0 for value in apart]),
    ):
        sketch = sketch_values(of_alike, kind=kind, clusters=of_session)  # type: ignore[arg-type]
        assert sketch.effective == pytest.approx(400, rel=0.02)
        sketch = sketch_values(of_apart, kind=kind, clusters=of_session)  # type: ignore[arg-type]
        assert sketch.effective == pytest.approx(2_000, rel=0.15)
    one = sketch_values([1.0, 2.0, 3.0], kind="number", clusters=["s", "s", "s"])
    assert one.effective == 1


def test_texts() -> None:
    """A text is sketched by length, scripts, digits, capitals, and hashed words."""
    texts = ["Where is it?", "Где это?", "Order 12"]
    sketch = sketch_values([*texts, None], kind="text")
    assert (sketch.n, sketch.missing) == (3, 1)
    assert sketch.parts["scripts"].values == {"Latin": 2, "Cyrillic": 1}
    assert (sketch.parts["words"].low, sketch.parts["words"].high) == (2, 3)
    assert sketch.parts["digits"].high == 0.25
    assert sketch.parts["vocabulary"].n == 7
    assert script_of("12 34") == "other"
    other = sketch_values(["where is that?"], kind="text")
    assert unseen(sketch.parts["vocabulary"], other.parts["vocabulary"]) == pytest.approx(1 / 3)


def test_one_number() -> None:
    """If the reference has a single number, the distance is the share of other numbers."""
    reference = sketch_values([5.0] * 100, kind="number")
    window = sketch_values([5.0] * 80 + [7.0] * 20, kind="number")
    assert distance(reference, window) == pytest.approx(0.2)


def test_missing() -> None:
    """Presence of a field is a category of its own."""
    before = presence(sketch_values(["a"] * 100, kind="category"))
    after = presence(sketch_values(["a"] * 86 + [None] * 14, kind="category"))
    assert before.values == {"there": 100, "missing": 0}
    assert jensen_shannon(before, after) == pytest.approx(math.sqrt(0.0738), abs=1e-3)


def test_words_of_a_comparison() -> None:
    """Drift must exceed the margin, the usual distance and chance; small windows are not judged."""
    generator = np.random.default_rng(3)
    reference = sketch_values(generator.normal(50, 10, 10_000), kind="number")
    moved = sketch_values(generator.normal(55, 10, 2_000), kind="number")
    same = sketch_values(generator.normal(50, 10, 2_000), kind="number")
    few = sketch_values(generator.normal(90, 10, 99), kind="number")
    assert compare(reference, moved).word == "drift"
    assert compare(reference, moved).usual is None
    assert compare(reference, moved, margin=0.9).word == "as before"
    assert compare(reference, same).word == "as before"
    assert compare(reference, few).word == "too few"
    usual = compare(reference, moved, own=lambda: [0.3, 0.4] * 4)
    assert (usual.word, usual.usual) == ("as before", usual_distance([0.3, 0.4] * 4))
    assert usual.threshold > usual.distance


def test_window_of_one_session() -> None:
    """A batch of one session is drift if it differs far more than earlier batches did."""
    generator = np.random.default_rng(5)

    def draw(mean: float) -> Sketch:
        values = generator.normal(mean, 1, 500)
        return sketch_values(values, kind="number", clusters=[0] * 500)

    reference = merge_sketches([draw(0) for _ in range(10)])
    own = [0.02, 0.03, 0.05, 0.03, 0.04, 0.02, 0.06, 0.03]
    words = [
        compare(reference, draw(0.3), own=lambda: own, is_typical=is_typical).word
        for is_typical in (True, False)
    ]
    assert words == ["drift", "as before"]
    varying = [0.05, 0.02, 0.2, 0.01, 0.1, 0.03, 0.15, 0.06]
    assert compare(reference, draw(0.3), own=lambda: varying, is_typical=True).word == "as before"


@pytest.mark.parametrize(
    ("own", "p"), [([0.1, 0.2, 0.4], 0.0641), ([0.1, 0.1], 0.0), ([2.0, 3.0], 1.0)]
)
def test_chance_among(own: list[float], p: float) -> None:
    """A distance of 1.5 is compared with the others by Student's t of their logarithms."""
    assert chance_among(1.5, own) == pytest.approx(p, abs=5e-4)


def test_corrected_together() -> None:
    """P-values are corrected for all fields that are compared together."""
    generator = np.random.default_rng(4)
    reference = sketch_values(generator.normal(0, 1, 2_000), kind="number")
    near = [
        compare(reference, sketch_values(generator.normal(0.2, 1, 150), kind="number"))
        for _ in range(40)
    ]
    alone = [one for one in near if one.word == "drift"]
    together = correct_together(near)
    assert 0 < sum(one.word == "drift" for one in together) < len(alone)
