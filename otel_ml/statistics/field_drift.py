"""Compares two descriptions of fields: which fields drifted, and how, in words.

The SDK and the collector both use `compare_fields`: for profiles, data metrics, pages, findings,
slices and alerts. So they report the same drift scores and the same words.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Final, Literal

from otel_ml.counts import write_number
from otel_ml.statistics import floats
from otel_ml.statistics.distances import (
    CALIBRATED,
    FEWEST_VALUES,
    MARGIN,
    Comparison,
    compare,
    correct_together,
    distance,
    distances_of_projections,
    kolmogorov_smirnov,
    quantile,
    scale,
    unseen,
    usual_distance,
)
from otel_ml.statistics.fields import (
    MISSING,
    TYPE,
    VALUE,
    FieldKind,
    FieldSketch,
    subtract_sketch,
)
from otel_ml.statistics.projections import NORM, PROJECTED
from otel_ml.statistics.sketches import (
    OTHER_SCRIPT,
    TEXT_PARTS,
    Sketch,
    bin_of,
    bounds_of,
    moments_of,
)

# Maximum number of recent windows that are left out of the reference because they already contain
# the change.
_MOST_LATELY: Final = 14
_FEWEST_OWN: Final = FEWEST_VALUES // 2
# Windows are alike if their numbers of values, and their design effects, differ at most by this
# factor.
_ALIKE: Final = 2
_WIDE_BINS: Final = 20
# Number of category values that a sentence names.
_NAMED_VALUES: Final = 2
_LEAST_SHOWN: Final = 0.005
_TAIL: Final = 0.95
_NAMED_CHANGES: Final = 2
_SCRIPT_SHARE: Final = "texts in {} script"


@dataclass(frozen=True, slots=True)
class Reference:
    """What a time window is compared with: an earlier period, a version, a data set or a profile.

    Attributes:
        name: Name for sentences, such as "the 28 days before".
        fields: Summary of each field, by field path such as `inputs.age`.
        windows: Summary of each field in each part of the reference, oldest first. Each part is as
            long as the window to check, such as a day, so the parts show how much the values
            normally vary. Empty for a reference that is not a period, such as a data set.
        starts_ns: Start times of these parts in nanoseconds since the epoch (UTC).
    """

    name: str
    fields: Mapping[str, FieldSketch]
    windows: Sequence[Mapping[str, FieldSketch]] = ()
    starts_ns: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class PartDrift:
    """Whether one property of a field drifted, such as its text length or its missing values.

    If the drift began some days ago, the newest windows of the reference have drifted too. Then
    these windows are left out of the comparison.

    Attributes:
        name: Name of the property, such as ``value``, ``words``, ``missing``, ``type``.
        reference: Summary of the values in the reference.
        window: Summary of the values in the time window to check.
        comparison: Drift score, p-value and result.
        lately: Number of newest windows of the reference that were left out.
    """

    name: str
    reference: Sketch
    window: Sketch
    comparison: Comparison
    lately: int = 0

    @property
    def is_drift(self) -> bool:
        """Whether the part drifted."""
        return self.comparison.word == "drift"

    @property
    def sentence(self) -> str:
        """The change in words, such as ``median 12 → 31``."""
        return describe_part(self)

    @property
    def is_broken(self) -> bool:
        """Whether the drift suggests broken data: more missing values, or a different type."""
        if self.name == MISSING:
            return self.is_drift and _gain(MISSING, self.reference, self.window) > 0
        return self.is_drift and self.name == TYPE


@dataclass(frozen=True, slots=True)
class FieldDrift:
    """Whether one field drifted in a time window, and how. Result of `compare_fields`.

    Attributes:
        name: Path of the field, such as ``inputs.age``.
        kind: How the values are compared: as number, category, text or embedding.
        reference, window: Summaries of the field's values in the reference and in the window.
        parts: Result for each property of the field, such as its values, its type and how often it
            is missing. The one with the largest drift score comes first.
    """

    name: str
    kind: FieldKind
    reference: FieldSketch
    window: FieldSketch
    parts: Sequence[PartDrift]

    @property
    def word(self) -> Literal["drift", "as before", "too few"]:
        """``drift``, ``as before`` (no drift), or ``too few`` values to decide."""
        words = {part.comparison.word for part in self.parts}
        if "drift" in words:
            return "drift"
        return "as before" if "as before" in words else "too few"

    @property
    def distance(self) -> float:
        """Drift score of the field: the largest one of its properties.

        Properties that drifted come first, and those with too few values last.
        """
        return self.parts[0].comparison.distance if self.parts else 0.0

    @property
    def is_broken(self) -> bool:
        """Whether the drift suggests broken data: more missing values, or a different type."""
        return any(part.is_broken for part in self.parts)

    @property
    def drifted(self) -> Sequence[PartDrift]:
        """Properties that drifted, the most important first.

        Missing values and changed types come first, then a changed script, such as Cyrillic.
        """
        drifted = [part for part in self.parts if part.is_drift]
        return sorted(drifted, key=lambda part: (not part.is_broken, part.name != "scripts"))

    @property
    def lately(self) -> int:
        """Number of windows just before this one that already had the change."""
        return max((part.lately for part in self.drifted), default=0)

    @property
    def sentence(self) -> str:
        """The largest changes in words. Empty if the field did not drift."""
        sentences = [part.sentence for part in self.drifted]
        changes = list(dict.fromkeys(words for words in sentences if words))
        more = len(changes) - _NAMED_CHANGES
        if more > 0:
            changes[_NAMED_CHANGES:] = [f"{more} more {'change' if more == 1 else 'changes'}"]
        return "; ".join(changes)


def compare_fields(
    window: Mapping[str, FieldSketch],
    reference: Reference,
    *,
    margin: float = MARGIN,
    margins: Mapping[str, float] | None = None,
) -> list[FieldDrift]:
    """Find the fields whose values drifted in a time window, compared with a reference.

    A field drifted if three conditions are met: its drift score is larger than the margin, its
    drift score is larger than the usual one (see `usual_distance`), and its p-value is small. The
    p-value is corrected for the number of fields.

    Args:
        window: Summaries of the window's values, by field path.
        reference: What to compare with. A field that is missing on one side is compared with an
            empty summary.
        margin: Smallest drift score that matters.
        margins: The same for single fields, by path.

    Returns:
        One result per field, sorted by path.
    """
    own = margins or {}
    drifts = [
        _compare_field(name, reference, window.get(name, FieldSketch()), own.get(name, margin))
        for name in sorted(reference.fields.keys() | window.keys())
    ]
    every = [part.comparison for drift in drifts for part in drift.parts]
    corrected = iter(correct_together(every))
    return [
        replace(
            drift,
            parts=sorted(
                (replace(part, comparison=next(corrected)) for part in drift.parts),
                key=lambda part: (
                    not part.is_drift,
                    part.comparison.word == "too few",
                    -part.comparison.distance,
                ),
            ),
        )
        for drift in drifts
    ]


def _compare_field(
    name: str, reference: Reference, window: FieldSketch, margin: float
) -> FieldDrift:
    before = reference.fields.get(name, FieldSketch())
    kind = before.kind if before.n else window.kind
    own = [of_window.get(name, FieldSketch()).parts(kind) for of_window in reference.windows]
    parts = []
    after_parts = window.parts(kind)
    before_parts = before.parts(kind)
    for part in [*TEXT_PARTS, VALUE, MISSING, TYPE]:
        if part == "vocabulary" and len(own) < CALIBRATED:
            continue  # new words, such as names, are normal; the reference's windows show how many
        if part in before_parts and part in after_parts:
            windows = [of_window.get(part, Sketch("category")) for of_window in own]
            parts.append(
                compare_part(part, before_parts[part], after_parts[part], windows, margin=margin)
            )
    return FieldDrift(name, kind, before, window, parts)


def compare_part(
    name: str,
    reference: Sketch,
    window: Sketch,
    windows: Sequence[Sketch],
    *,
    margin: float = MARGIN,
) -> PartDrift:
    """Decide whether one property of a field, such as the text length, drifted.

    A change that continues for days would become part of the reference, and soon look normal. To
    prevent that, the newest windows of the reference are left out if they have the same change.

    Args:
        name: Name of the property, such as ``value``, ``words`` or ``missing``.
        reference: Summary of the values in the whole reference.
        window: Summary of the values in the time window to check.
        windows: Summaries for each window of the reference, oldest first.
        margin: Smallest drift score that matters.
    """
    comparison = compare(
        reference,
        window,
        own=lambda: own_distances(reference, windows),
        margin=margin,
        is_typical=_is_typical(window, windows),
    )
    if comparison.word != "too few" and comparison.distance > margin / 2:
        # The longest period first: with a shorter one, the reference still has part of the change.
        for lately in _find_intervals(window, windows):
            before = reference
            for late in windows[-lately:]:
                before = subtract_sketch(before, late)
            since = _compare_lately(before, window, windows, lately, margin)
            if since is not None and since.word == "drift":
                return PartDrift(name, before, window, since, lately)
    return PartDrift(name, reference, window, comparison)


def _find_intervals(window: Sketch, windows: Sequence[Sketch]) -> Iterator[int]:
    """Yield how many of the last windows may already have the change, the largest number first."""
    longest = min(_MOST_LATELY, len(windows) - CALIBRATED)
    if longest < 1 or any(sketch.n < _FEWEST_OWN for sketch in windows):
        return
    from_it = _distances_between(window, windows)
    for lately in range(longest, 0, -1):
        before = from_it[:-lately]
        if max(from_it[-lately:]) < floats.mean(before) - floats.deviation(before):
            yield lately


def _distances_between(window: Sketch, windows: Sequence[Sketch]) -> list[float]:
    """Return the distance of each other window from this window."""
    if window.kind != "number" or not _is_wide(window):
        return [distance(sketch, window) for sketch in windows]
    unit = scale(window)
    keys = sorted(window.bins.keys() | {key for sketch in windows for key in sketch.bins})
    middles = [floats.mean(bounds_of(key)) for key in keys]
    distances = []
    for sketch in windows:
        gap = area = 0.0
        for key, low, high in zip(keys, middles, middles[1:], strict=False):
            gap += sketch.bins[key][0] / sketch.n if key in sketch.bins else 0.0
            gap -= window.bins[key][0] / window.n if key in window.bins else 0.0
            area += abs(gap) * (high - low)
        distances.append(area / unit)
    return distances


def _compare_lately(
    before: Sketch, window: Sketch, windows: Sequence[Sketch], lately: int, margin: float
) -> Comparison | None:
    late = [sketch for sketch in windows[-lately:] if sketch.n >= _FEWEST_OWN]
    if not late or before.n < FEWEST_VALUES:
        return None
    if any(distance(before, sketch) <= margin for sketch in (*late, window)):
        return None
    own = own_distances(before, windows[:-lately])
    usual = usual_distance(own)
    if usual is None or any(distance(before, sketch) <= usual for sketch in late):
        return None
    is_typical = _is_typical(window, windows[:-lately])
    return compare(before, window, own=lambda: own, margin=margin, is_typical=is_typical)


def _is_typical(window: Sketch, windows: Sequence[Sketch]) -> bool:
    """Whether a window has about as many values and sessions as the windows of the reference."""
    own = [sketch for sketch in windows if sketch.n >= _FEWEST_OWN]
    if not own:
        return False
    usual_n, usual_design = (
        median(numbers) for numbers in ([item.n for item in own], [item.design for item in own])
    )
    return window.n * _ALIKE >= usual_n and window.design <= _ALIKE * usual_design


def moved_share(before: Sketch, after: Sketch) -> float:
    """Return the approximate share of values that changed, from 0 to 1."""
    if not before.n or not after.n:
        return 0.0
    if after.kind == "number":
        return kolmogorov_smirnov(before, after)
    if after.kind == "vocabulary":
        return unseen(before, after)
    if after.kind == "embedding":
        return max(
            (
                kolmogorov_smirnov(before.parts[name], after.parts[name])
                for name in PROJECTED
                if name in before.parts and name in after.parts
            ),
            default=0.0,
        )
    values = before.values.keys() | after.values.keys()
    rest = abs(before.rest / before.n - after.rest / after.n)
    return (rest + math.fsum(abs(_gain(value, before, after)) for value in values)) / 2


def _gain(value: str, before: Sketch, after: Sketch) -> float:
    return after.values.get(value, 0) / after.n - before.values.get(value, 0) / before.n


def gained_value(before: Sketch, after: Sketch) -> str | None:
    """Return the value of a category whose share grew most. None if no share grew."""
    if not before.n or not after.n:
        return None
    gains = {value: _gain(value, before, after) for value in after.values}
    value = min(gains, key=lambda gain: (-gains[gain], gain), default=None)
    return value if value is not None and gains[value] > 0 else None


def gained_side(before: Sketch, after: Sketch) -> tuple[float, bool] | None:
    """Find the range of numbers in which values became more frequent, such as "above 30".

    Use it to find runs with the new values. For example, ``(30.0, True)`` means that more values
    than before are above 30. ``(30.0, False)`` means that more are below 30.

    Args:
        before: Summary of the earlier values.
        after: Summary of the current values.

    Returns:
        The number, and True for above. None if the distributions do not differ.
    """
    if not before.n or not after.n:
        return None
    below = gap = 0.0
    at: float | None = None
    for key in sorted(before.bins.keys() | after.bins.keys()):
        none = (0, 0, 0)
        below += before.bins.get(key, none)[0] / before.n - after.bins.get(key, none)[0] / after.n
        if abs(below) > abs(gap):
            gap, at = below, bounds_of(key)[1]
    return None if at is None else (at, gap > 0)


def own_distances(reference: Sketch, windows: Sequence[Sketch]) -> list[float]:
    """Return a drift score for each window of a reference: its distance from all other windows.

    A window is a part of the reference period, such as one day. The scores show how large normal
    differences are. Windows with few values are left out, because their scores are large by chance.

    Args:
        reference: Summary of the values in the whole reference.
        windows: Summaries of the values in each window.
    """
    if reference.kind == "number" and _is_wide(reference):
        return _own_distances_of_bins(reference, windows)
    return [
        distance(subtract_sketch(reference, sketch), sketch)
        for sketch in windows
        if sketch.n >= _FEWEST_OWN and reference.n > sketch.n
    ]


def _is_wide(sketch: Sketch) -> bool:
    """Return whether the middle half of the numbers spans many bins.

    Then bin means are exact enough.
    """
    low, high = (bin_of(quantile(sketch, share))[0] for share in (0.25, 0.75))
    return sketch.n > 0 and high - low >= _WIDE_BINS


def _own_distances_of_bins(reference: Sketch, windows: Sequence[Sketch]) -> list[float]:
    """Return the same distances from whole bins, as if all numbers were at the bin's mean."""
    keys = sorted(reference.bins)
    means = [moments_of(key, reference.bins[key])[1] for key in keys]
    widths = [high - low for low, high in pairwise(means)]
    counts = [reference.bins[key][0] for key in keys]
    unit = scale(reference)
    distances = []
    for sketch in windows:
        if sketch.n >= _FEWEST_OWN and reference.n > sketch.n:
            own, rest = 1 / sketch.n, 1 / (reference.n - sketch.n)
            gap = area = 0.0
            for key, count, width in zip(keys, counts, widths, strict=False):
                in_window = sketch.bins[key][0] if key in sketch.bins else 0
                gap += in_window * own - (count - in_window) * rest
                area += abs(gap) * width
            distances.append(area / unit)
    return distances


def describe_part(part: PartDrift) -> str:
    """Describe the change of a part of a field, such as ``median 12 → 31``."""
    describe: Mapping[str, Callable[[Sketch, Sketch], str]] = {
        MISSING: _describe_missing,
        TYPE: lambda before, after: _describe_shares(before, after, "", "values of type {}"),
        "words": lambda before, after: _describe_lengths(before, after, "words"),
        "characters": lambda before, after: _describe_lengths(before, after, "characters"),
        "scripts": lambda before, after: _describe_shares(before, after, "", _SCRIPT_SHARE),
        "digits": lambda before, after: _describe_means(before, after, "share of digits"),
        "capitals": lambda before, after: _describe_means(before, after, "share of capitals"),
        "vocabulary": lambda before, after: (
            f"words never seen before {write_share(unseen(before, after))}"
        ),
    }
    if part.name in describe:
        return describe[part.name](part.reference, part.window)
    if part.window.kind == "number":
        return _describe_numbers(part.reference, part.window, "")
    if part.window.kind == "embedding":
        return _describe_embeddings(part.reference, part.window)
    return _describe_shares(part.reference, part.window, "value ")


def write_share(share: float) -> str:
    """Format a share as a percentage."""
    percent = share * 100
    digits = 0 if percent == 0 or percent >= 10 or percent == round(percent) else 1  # noqa: PLR2004
    return f"{percent:.{digits}f} %"


def write_typical(sketch: Sketch) -> str:
    """Summarize values in a few characters: their median, or the most frequent value."""
    if not sketch.n:
        return "–"
    if sketch.kind == "number":
        return write_number(quantile(sketch, 0.5))
    if sketch.kind == "embedding":
        return f"length {write_number(quantile(sketch.parts[NORM], 0.5))}"
    if sketch.kind == "text":
        return f"{write_number(quantile(sketch.parts['words'], 0.5))} words"
    value = max(sketch.values, key=lambda value: (sketch.values[value], value), default="")
    return f"{value} {write_share(sketch.values.get(value, 0) / sketch.n)}"


def _describe_missing(before: Sketch, after: Sketch) -> str:
    shares = [sketch.values.get("missing", 0) / max(sketch.n, 1) for sketch in (before, after)]
    return f"missing {_between(*shares)}"


def _between(before: float, after: float) -> str:
    first, last = write_share(before), write_share(after)
    if first == last and before != after:  # one more decimal shows the difference
        first, last = f"{100 * before:.1f} %", f"{100 * after:.1f} %"
    return f"{first.removesuffix(' %')} → {last}"


def _describe_means(before: Sketch, after: Sketch, name: str) -> str:
    return f"{name} {_between(before.mean, after.mean)}" if before.n and after.n else ""


def _describe_lengths(before: Sketch, after: Sketch, unit: str) -> str:
    return _describe_numbers(
        before,
        after,
        f" {unit}",
        ("median length", "95th percentile of length", "5th percentile of length"),
    )


def _describe_numbers(
    before: Sketch,
    after: Sketch,
    unit: str,
    names: Sequence[str] = ("median", "95th percentile", "5th percentile"),
) -> str:
    if not before.n or not after.n:
        return ""
    numbers = []
    for name, share in zip(names, (0.5, _TAIL, 1 - _TAIL), strict=True):
        first, last = quantile(before, share), quantile(after, share)
        written = f"{name} {write_number(first)} → {write_number(last)}{unit}"
        if write_number(first) != write_number(last):
            numbers.append(written)
    if not numbers and not (before.deviation or after.deviation):  # constants that are close
        return f"value {before.low:.12g} → {after.low:.12g}{unit}"
    return ", ".join(numbers[:2])


def _describe_embeddings(before: Sketch, after: Sketch) -> str:
    gaps = distances_of_projections(before, after)
    moved = sum(gap > MARGIN for gap in gaps.values())
    words = [f"{moved} of {len(gaps)} projections moved"] if gaps else []
    if NORM in before.parts and NORM in after.parts:
        length = _describe_numbers(before.parts[NORM], after.parts[NORM], "")
        words += [f"length {length}"] if length else []
    return ", ".join(words)


def _quote(value: str) -> str:
    return f'"{value}"'


def _describe_shares(before: Sketch, after: Sketch, word: str, form: str = "{}") -> str:
    if not before.n or not after.n:
        return ""
    shares = {
        value: (before.values.get(value, 0) / before.n, after.values.get(value, 0) / after.n)
        for value in before.values.keys() | after.values.keys()
    }
    moved = sorted(shares, key=lambda value: (-abs(shares[value][1] - shares[value][0]), value))
    # A new value is more informative than the values that became rarer because of it.
    fresh = [value for value in moved if not shares[value][0] and shares[value][1] >= _LEAST_SHOWN]
    items = []
    for value in dict.fromkeys([*fresh, *moved]):
        first, last = shares[value]
        if word and not first:
            items.append(f"new value {_quote(value)}: {write_share(last)}")
        elif word and not last:
            items.append(f"no more {_quote(value)}, before {write_share(first)}")
        elif abs(last - first) >= _LEAST_SHOWN:
            name = form.format(_quote(value) if word else value)
            if form == _SCRIPT_SHARE and value == OTHER_SCRIPT:
                name = "texts without letters"
            items.append(f"{name} {_between(first, last)}")
        if len(items) == _NAMED_VALUES:
            break
    rest = after.rest / after.n - before.rest / before.n
    if not items and abs(rest) >= _LEAST_SHOWN:
        items.append(f"rare values {_between(before.rest / before.n, after.rest / after.n)}")
    return ", ".join(items)
