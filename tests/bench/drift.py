"""Measure how often drift is reported without a change, and how often a change is found."""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Final

from otel_ml.statistics.field_drift import Reference, compare_fields
from otel_ml.statistics.fields import FieldSketch, merge_fields, sketch_field
from otel_ml.statistics.sketches import Sketch
from tests.bench.table import print_table

# Streams of each kind and size. All windows after the reference are judged.
STREAMS: Final = 21
CHANGED: Final = 100
REFERENCE: Final = 28
JUDGED: Final = 7
SIZES: Final = (100, 10_000, 1_000_000)
FOUND_AT: Final = 2_000
# Runs of a window that are drawn one by one, in sessions.
DRAWN: Final = 1_000
# How many values the base sketch has, from whose shares windows are drawn.
_BASE: Final = 4_000
# Design effect of sessions of 1 to 50 runs that are half alike.
_DESIGN: Final = 17.0
_MANY: Final = 30.0
_WEEK: Final = 7
_WEEKDAYS: Final = 5

Value = float | str | None
Draw = Callable[[random.Random, bool], Value]


def draw_number(draw: random.Random, is_weekend: bool) -> Value:
    """Draw a number of the normal distribution, larger at weekends."""
    return draw.gauss(10.8 if is_weekend else 10, 1)


def draw_heavy(draw: random.Random, is_weekend: bool) -> Value:
    """Draw a number of a distribution without a variance."""
    return draw.lognormvariate(0.7 if is_weekend else 0, 1.5) / math.sqrt(1 - draw.random())


def draw_category(draw: random.Random, is_weekend: bool) -> Value:
    """Draw one of eight values, with different shares at weekends."""
    return draw.choice("aabbccddefgh" if is_weekend else "aaaabbbccdefgh")


def draw_text(draw: random.Random, is_weekend: bool) -> Value:
    """Draw a text of ten to twenty words, longer at weekends."""
    words = draw.randrange(15 if is_weekend else 10, 21)
    return " ".join(f"word{draw.randrange(300)}" for _ in range(words))


KINDS: Final[Mapping[str, Draw]] = {
    "number": draw_number,
    "heavy tail": draw_heavy,
    "category": draw_category,
    "text": draw_text,
}


def change(name: str) -> tuple[Draw, Draw]:
    """Return how a field is drawn before and after a change."""

    def shift(draw: random.Random, is_weekend: bool) -> Value:
        return draw.gauss(10 + 0.3 * 1.349, 1)

    def new_category(draw: random.Random, is_weekend: bool) -> Value:
        return "new" if draw.random() < 0.03 else draw_category(draw, False)

    def missing(draw: random.Random, is_weekend: bool) -> Value:
        return None if draw.random() < 0.05 else draw_number(draw, False)

    def language(draw: random.Random, is_weekend: bool) -> Value:
        if draw.random() < 0.05:
            return " ".join(f"слово{draw.randrange(300)}" for _ in range(14))
        return draw_text(draw, False)

    def broken_type(draw: random.Random, is_weekend: bool) -> Value:
        return "n/a" if draw.random() < 0.05 else draw_number(draw, False)

    return {
        "shift of 0.3 interquartile ranges": (draw_number, shift),
        "new category, 3 %": (draw_category, new_category),
        "missing, 5 %": (draw_number, missing),
        "another language, 5 %": (draw_text, language),
        "broken type, 5 %": (draw_number, broken_type),
    }[name]


CHANGES: Final = (
    *("shift of 0.3 interquartile ranges", "new category, 3 %", "missing, 5 %"),
    *("another language, 5 %", "broken type, 5 %"),
)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How many windows were judged, and how many of them were reported as drift."""

    windows: int
    drifted: int

    @property
    def share(self) -> float:
        """The share of windows that were reported as drift."""
        return self.drifted / self.windows


@cache
def make_base(draw_value: Draw, *, is_weekend: bool = False) -> FieldSketch:
    """Sketch many values, from whose shares windows are drawn."""
    draw = random.Random(0)  # noqa: S311 - the same each time
    values = [draw_value(draw, is_weekend) for _ in range(_BASE)]
    present = [value for value in values if value is not None]
    return sketch_field(present, range(len(present)), runs=_BASE)


def draw_window(
    base: FieldSketch, runs: int, draw: random.Random, design: float = 1.0
) -> FieldSketch:
    """Draw the sketch of a window of so many runs without drawing the runs."""
    ratio = runs / base.runs
    number, category, text = (
        _draw_sketch(sketch, ratio, draw, design)
        for sketch in (base.number, base.category, base.text)
    )
    types = {"number": number.n, "text": text.n}
    n = number.n + text.n
    missing = base.missing * ratio
    absent = _draw_count(missing / design, draw) * design if missing else 0.0
    return FieldSketch(
        n + round(absent),
        {name: count for name, count in types.items() if count},
        number,
        category if category.values else replace(category, n=n, clustered=n * design),
        text,
    )


def _draw_sketch(base: Sketch, ratio: float, draw: random.Random, design: float) -> Sketch:
    def take(count: int) -> int:
        return round(_draw_count(count * ratio / design, draw) * design)

    bins = {}
    for key, (count, places, squares) in base.bins.items():
        drawn = take(count)
        if drawn:
            at = round(places / count * drawn)
            bins[key] = drawn, at, max(round(squares / count * drawn), -(-at * at // drawn))
    values = {value: drawn for value, count in base.values.items() if (drawn := take(count))}
    parts = {name: _draw_sketch(part, ratio, draw, design) for name, part in base.parts.items()}
    n = sum(count for count, _, _ in bins.values()) + sum(values.values())
    if base.kind == "text":
        n = parts["words"].n if parts else 0
    of_words = base.clustered / base.n if base.kind == "vocabulary" and base.n else 1.0
    return Sketch(base.kind, n, 0, n * design * of_words, base.low, base.high, bins, values, parts)


def _draw_count(mean: float, draw: random.Random) -> float:
    if mean > _MANY:
        return max(draw.gauss(mean, math.sqrt(mean)), 0.0)
    limit, product_of, count = math.exp(-mean), draw.random(), 0
    while product_of > limit:
        product_of *= draw.random()
        count += 1
    return count


def make_stream(
    draw_value: Draw, runs: int, draw: random.Random, *, has_weeks: bool, has_sessions: bool
) -> Iterator[FieldSketch]:
    """Make the windows of a stream, one per day."""
    bases = [make_base(draw_value, is_weekend=weekend) for weekend in (False, True)]
    for day in range(REFERENCE + JUDGED):
        is_weekend = has_weeks and day % _WEEK >= _WEEKDAYS
        yield draw_window(bases[is_weekend], runs, draw, _DESIGN if has_sessions else 1.0)


def draw_sessions(kind: str, runs: int, draw: random.Random) -> FieldSketch:
    """Draw a window run by run: sessions of 1 to 50 runs that are half alike."""
    values: list[object] = []
    sessions: list[int] = []
    session = 0
    while len(values) < runs:
        mean, said = draw.gauss(0, 1), draw.choice("aaaabbbccdefgh")
        for _ in range(draw.randint(1, 50)):
            number = 10 + (mean + draw.gauss(0, 1)) / math.sqrt(2)
            other = draw.choice("aaaabbbccdefgh")
            values.append(number if kind == "number" else said if draw.random() < 0.7 else other)
            sessions.append(session)
        session += 1
    return sketch_field(values[:runs], sessions[:runs], runs=runs)


def count_false_of_sessions(runs: int, streams: int = STREAMS) -> Outcomes:
    """Count the windows of drawn sessions that are reported as drift although nothing changed."""
    judged = drifted = 0
    for kind, seed in product(("number", "category"), range(streams)):
        draw = random.Random(f"{kind} {runs} {seed}")  # noqa: S311 - the same each time
        windows = [draw_sessions(kind, runs, draw) for _ in range(REFERENCE + JUDGED)]
        for day in range(REFERENCE, len(windows)):
            judged += 1
            drifted += is_drift(windows[day - REFERENCE : day], windows[day])
    return Outcomes(judged, drifted)


def is_drift(windows: Sequence[FieldSketch], window: FieldSketch) -> bool:
    """Return whether a window is reported as drift, compared with the windows before."""
    reference = Reference(
        "before", {"f": merge_fields(windows)}, [{"f": own} for own in windows], range(len(windows))
    )
    (drift,) = compare_fields({"f": window}, reference)
    return drift.word == "drift"


def count_false(runs: int, streams: int = STREAMS) -> Outcomes:
    """Count the windows of unchanged streams that are reported as drift."""
    judged = drifted = 0
    sorts = product(KINDS.items(), (False, True), (False, True))
    for place, ((_, draw_value), has_weeks, has_sessions) in enumerate(sorts):
        for seed in range(streams):
            draw = random.Random(f"{runs} {place} {seed}")  # noqa: S311 - the same each time
            windows = [
                *make_stream(draw_value, runs, draw, has_weeks=has_weeks, has_sessions=has_sessions)
            ]
            for day in range(REFERENCE, len(windows)):
                judged += 1
                drifted += is_drift(windows[day - REFERENCE : day], windows[day])
    return Outcomes(judged, drifted)


def count_found(name: str, streams: int = CHANGED) -> Outcomes:
    """Count the streams in which a change is found in its first window of 2,000 runs."""
    before, after = (make_base(draw_value) for draw_value in change(name))
    found = 0
    for seed in range(streams):
        draw = random.Random(f"{name} {seed}")  # noqa: S311 - the same each time
        windows = [draw_window(before, FOUND_AT, draw) for _ in range(REFERENCE)]
        found += is_drift(windows, draw_window(after, FOUND_AT, draw))
    return Outcomes(streams, found)


def report() -> None:
    """Simulate and print; the figures are the same each time."""
    rows = []
    for runs in SIZES:
        outcomes = count_false(runs)
        rows.append(
            (
                f"no change, {runs:,} runs a window",
                f"{outcomes.drifted} of {outcomes.windows:,} windows",
                f"{outcomes.share:.2%}",
                "at most 2 %",
            )
        )
    outcomes = count_false_of_sessions(DRAWN)
    rows.append(
        (
            f"no change, {DRAWN:,} runs a window in sessions of 1 to 50, each drawn",
            f"{outcomes.drifted} of {outcomes.windows:,} windows",
            f"{outcomes.share:.2%}",
            "at most 2 %",
        )
    )
    for name in CHANGES:
        outcomes = count_found(name)
        rows.append(
            (
                f"{name}, {FOUND_AT:,} runs a window",
                f"{outcomes.drifted} of {outcomes.windows} streams",
                f"{outcomes.share:.0%}",
                "at least 95 %",
            )
        )
    print_table(("stream", "drift said", "share", "floor"), rows)
