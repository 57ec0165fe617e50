"""Sketches of fields before their kind is known, and drift of fields."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from otel_ml.counts import write_number
from otel_ml.statistics.distances import distance
from otel_ml.statistics.field_drift import (
    FieldDrift,
    Reference,
    compare_fields,
    moved_share,
    own_distances,
    write_share,
)
from otel_ml.statistics.fields import (
    FieldSketch,
    describe_field,
    merge_fields,
    sketch_field,
    subtract_sketch,
)
from otel_ml.statistics.sketches import Sketch, merge_sketches, sketch_values

DAYS: Final = 14
RUNS: Final = 2_000
Draw = Callable[[random.Random], object]


def make_field(draw: Draw, seed: int, runs: int = RUNS) -> FieldSketch:
    """Sketch a field of `runs` runs; a value of None means missing."""
    generator = random.Random(seed)  # noqa: S311 - not for secrets
    values = [value for value in (draw(generator) for _ in range(runs)) if value is not None]
    return sketch_field(values, range(len(values)), runs=runs)


def judge(before: Draw, after: Draw, lately: int = 0, runs: int = RUNS) -> FieldDrift:
    """Compare a window with 14 earlier ones. The last `lately` windows are already changed."""
    windows = [
        {"f": make_field(after if day >= DAYS - lately else before, day, runs)}
        for day in range(DAYS)
    ]
    reference = Reference(
        "before", {"f": merge_fields(window["f"] for window in windows)}, windows, range(DAYS)
    )
    (drift,) = compare_fields({"f": make_field(after, DAYS, runs)}, reference)
    return drift


def number(draw: random.Random) -> float:
    """Draw a number from a distribution with an interquartile range of 1.35."""
    return draw.gauss(10, 1)


def card(draw: random.Random) -> str:
    """Draw a category."""
    return draw.choice(["amex", "mastercard", "visa"])


def text(draw: random.Random) -> str:
    """Draw a text that is almost never repeated."""
    return " ".join(draw.choice(["order", "please", "now", "what"]) for _ in range(12))


def cyrillic(draw: random.Random) -> str:
    """Draw a text that is in another language in one of ten runs."""
    return "сколько стоит заказ " * 4 if draw.random() < 0.1 else text(draw)


CHANGES: Final[Sequence[tuple[str, Draw, Draw, str]]] = [
    ("shift", number, lambda draw: number(draw) + 0.4, "median 10 → 10.4"),
    (
        "new category",
        card,
        lambda draw: "jcb" if draw.random() < 0.04 else card(draw),
        'new value "jcb": ',
    ),
    ("missing", number, lambda draw: None if draw.random() < 0.05 else number(draw), "missing 0 →"),
    ("language", text, cyrillic, "Cyrillic script 0 → "),
    (
        "type",
        number,
        lambda draw: "n/a" if draw.random() < 0.05 else number(draw),
        "text 0 → ",
    ),
]


@pytest.mark.parametrize(
    ("before", "after", "words"), [one[1:] for one in CHANGES], ids=[one[0] for one in CHANGES]
)
def test_change(before: Draw, after: Draw, words: str) -> None:
    """A change is found in the first full window of 2,000 runs and described in a sentence."""
    drift = judge(before, after)
    assert drift.word == "drift"
    assert words in drift.sentence
    assert drift.is_broken == (words in ("missing 0 →", "text 0 → "))


@pytest.mark.parametrize("draw", [number, card, text], ids=["number", "category", "text"])
@pytest.mark.parametrize("runs", [100, 2_000])
def test_no_change(draw: Draw, runs: int) -> None:
    """A field without a change has no drift, with 100 runs and with 2,000."""
    assert judge(draw, draw, runs=runs).word == "as before"


@pytest.mark.parametrize("lately", [1, 3, 6])
def test_goes_on(lately: int) -> None:
    """A change that continues stays drift, and its number of earlier windows is known."""
    drift = judge(card, lambda draw: "jcb" if draw.random() < 0.3 else card(draw), lately)
    assert (drift.word, drift.lately) == ("drift", lately)


def test_too_few() -> None:
    """Fewer than 100 values are not judged, whatever they are."""
    assert judge(number, lambda draw: number(draw) + 5, runs=90).word == "too few"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([float(place) / 7 for place in range(300)], "number"),
        ([1, 2, 3] * 100, "category"),
        ([True, False] * 100, "category"),
        ([f"text {place}" for place in range(300)], "text"),
        (["yes", "no"] * 100, "category"),
    ],
)
def test_kind(values: list[object], kind: str) -> None:
    """The kind is found from all of a month, even if no hour of it has enough values."""
    hours = [
        sketch_field(values[first : first + 10], range(10), runs=10)
        for first in range(0, len(values), 10)
    ]
    assert merge_fields(hours).kind == kind


def test_moved_share() -> None:
    """If 30 % of the values changed from one category to others, the share is 0.3."""
    before = sketch_values(["a"] * 50 + ["b"] * 50, kind="category")
    after = sketch_values(["a"] * 20 + ["b"] * 60 + ["c"] * 20, kind="category")
    assert moved_share(before, after) == pytest.approx(0.3)


def test_merged_kind_is_that_of_most_values() -> None:
    """Sketches of different kinds have the kind of most values, however many sketches there are."""
    words, number = sketch_values(["a"] * 5, kind="category"), sketch_values([1.0], kind="number")
    assert merge_sketches([number, words, number]) == words


def test_rest() -> None:
    """Subtracting a part from a sum leaves the sketch of the other values."""
    draw = random.Random(1)  # noqa: S311 - not for secrets
    for write in (number, card, text):
        first, second = ([write(draw) for _ in range(200)] for _ in range(2))
        kind = make_field(write, 1, 300).kind
        parts = [sketch_values(values, kind=kind) for values in (first, second)]
        whole = sketch_field([*first, *second], range(400), runs=400).of_kind(kind)
        rest = subtract_sketch(whole, parts[1])
        assert (rest.n, rest.values, rest.bins) == (parts[0].n, parts[0].values, parts[0].bins)


def test_own_distances() -> None:
    """Distances computed from whole bins match those of the numbers up to 3 % of the range."""
    draw = random.Random(2)  # noqa: S311 - not for secrets
    windows = [
        sketch_values([draw.lognormvariate(3, 1) for _ in range(500)], kind="number")
        for _ in range(8)
    ]
    reference = merge_fields(
        FieldSketch(500, {"number": 500}, number=sketch) for sketch in windows
    ).number
    exact = [distance(subtract_sketch(reference, sketch), sketch) for sketch in windows]
    assert own_distances(reference, windows) == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (31, "31"),
        (1234.5, "1,234"),
        (0.0312, "0.0312"),
        (0, "0"),
        (-2.5, "-2.5"),
        (1.52e-12, "1.52e-12"),
    ],
)
def test_number(value: float, written: str) -> None:
    """A number is written with three digits, or with all digits before its point."""
    assert write_number(value) == written


@pytest.mark.parametrize(("share", "written"), [(0, "0 %"), (0.081, "8.1 %"), (0.14, "14 %")])
def test_share(share: float, written: str) -> None:
    """A share is written in percent, with one more digit if it is small."""
    assert write_share(share) == written


def of_each(*values: object) -> Draw:
    """Return a function that draws each value equally often."""
    return lambda draw: draw.choice(values)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((19.99,), (19.990000000000002,)),
        ((1.0,), (1 - 2**-53,)),
        ((1.0,), (1 + 1e-10,)),
        ((0.3, 0.5), (0.1 + 0.2, 0.5)),
        ((0.3, 0.5, 7), (0.1 + 0.2, 0.5 + 2**-53, 7)),
        ((0.1, 0.7), (0.10000000149011612, 0.699999988079071)),  # single precision
        ((-1234.56, 0.0), (-1234.5600000000002, -0.0)),
    ],
)
def test_last_digit_is_no_drift(before: tuple[float, ...], after: tuple[float, ...]) -> None:
    """Floats that differ only in the last digits are the same value, also if values are counted."""
    assert judge(of_each(*before), of_each(*after), runs=300).word == "as before"


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (5, 6, "median 5 → 6"),
        (19.99, 20.05, "median 20 → 20.1"),
        (20.01, 20.04, "value 20.01 → 20.04"),
        (0, 0.001, "median 0 → 0.001"),
    ],
)
def test_constant_is_a_number(before: float, after: float, sentence: str) -> None:
    """A field with one constant number is of kind number, and a new number is drift."""
    drift = judge(of_each(before), of_each(after), runs=300)
    assert (drift.kind, drift.word) == ("number", "drift")
    assert drift.sentence.startswith(sentence)
    assert make_field(of_each(before), 1).kind == "number"
    assert describe_field([before] * 200).kind == "number"


def test_few_numbers_and_a_constant_text_are_categories() -> None:
    """Two codes, and a constant text, are categories."""
    assert make_field(of_each(1, 2), 1).kind == "category"
    assert make_field(of_each("1"), 1).kind == "category"
    assert make_field(of_each(True), 1).kind == "category"


def test_older_counts_of_one_number_are_joined() -> None:
    """In sketches of older versions, counts of floats that differ in last digits are joined."""
    written = sketch_values([0.3, 0.5], kind="category").to_dict()
    written["values"] = {"0.3": 1, "0.30000000000000004": 2, "12345678901234567890": 1, "a" * 20: 1}
    assert Sketch.from_dict({**written, "n": 5}).values == {
        "0.3": 3,
        "12345678901234567890": 1,
        "a" * 20: 1,
    }


def test_sketch_of_a_field_as_plain_values() -> None:
    """A sketch of a field written as JSON reads back unchanged."""
    values = [*range(30), 0.5, "a", "a", True]
    sketch = sketch_field(values, range(len(values)), runs=40)
    assert FieldSketch.from_dict(json.loads(json.dumps(sketch.to_dict()))) == sketch


@pytest.mark.parametrize("written", [{}, {"runs": 1}, {"runs": 1, "types": 3}, 3])
def test_what_is_no_sketch_of_a_field(written: Any) -> None:
    """A document that is not a sketch of a field is refused."""
    with pytest.raises(ValueError, match="Invalid sketch of a field"):
        FieldSketch.from_dict(written)
