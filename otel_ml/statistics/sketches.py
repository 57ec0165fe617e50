"""Sketches: small summaries of a field's values, stored per hour and merged by addition.

Numbers are counted in bins, such as 1 to 1.02. Each bin ends 2 % above its start. It keeps the
count and two sums of the positions in it, so the mean and variance of the numbers stay accurate.
All of these are integers, so the order of addition does not matter.
"""

import math
import re
import struct
import zlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Literal, TypeAlias, cast

from otel_ml.statistics import floats
from otel_ml.statistics.projections import NORM, PROJECTED, Projected

Kind: TypeAlias = Literal["number", "category", "text", "vocabulary", "embedding"]
# Number of values, sum of their positions in the bin, sum of the squared positions.
Bin: TypeAlias = tuple[int, int, int]

GROWTH: Final = 1.02
# Keys are positive for positive numbers, negative for negative numbers, and 0 for zero.
KEY_OF_1: Final = 40_000
# Positions in a bin are from 0 to this number. Numbers outside of the range count as its ends.
PLACES: Final = 32_768
SMALLEST: Final = 1e-300
LARGEST: Final = 1e300
MOST_VALUES: Final = 200
# A longer text counts as a value, but is not stored.
LONGEST_VALUE: Final = 64
BUCKETS: Final = 1_024
# Share of a field's values that must be numbers, or among the 200 most frequent values.
MOSTLY: Final = 0.95
FEW_VALUES: Final = 20
# Digits in which numbers must differ to be different values. The last digits of a float depend on
# the order of a sum, and on the version of a library.
_EQUAL_DIGITS: Final = 12
_SINGLE_DIGITS: Final = 7
_SINGLE: Final = struct.Struct("f")
_LARGEST_SINGLE: Final = 3.4e38
_WRITTEN_FLOAT: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")

# Letters of each script, as the inside of a character class for Python and RE2.
SCRIPTS: Final[Mapping[str, str]] = {
    "Latin": "A-Za-z\u00c0-\u024f",
    "Greek": "\u0370-\u03ff",
    "Cyrillic": "\u0400-\u04ff",
    "Hebrew": "\u0590-\u05ff",
    "Arabic": "\u0600-\u06ff",
    "Devanagari": "\u0900-\u097f",
    "Thai": "\u0e00-\u0e7f",
    "CJK": "\u3040-\u30ff\u3400-\u9fff",
    "Hangul": "\uac00-\ud7af",
}
OTHER_SCRIPT: Final = "other"
_OF_SCRIPT: Final = {name: re.compile(f"[{letters}]") for name, letters in SCRIPTS.items()}
_DIGIT: Final = re.compile("[0-9]")
_CAPITAL: Final = re.compile("[A-Z]")
# Parts of a text, in display order.
TEXT_PARTS: Final[Mapping[str, Kind]] = {
    "words": "number",
    "characters": "number",
    "scripts": "category",
    "digits": "number",
    "capitals": "number",
    "vocabulary": "vocabulary",
}


@dataclass(frozen=True, slots=True)
class Sketch:
    """A compressed summary of one field's values, which can be merged with other summaries.

    It has a histogram for numbers, and counts for categories and words.

    Attributes:
        kind: Kind of the field: number, category, text, vocabulary or embedding. It determines how
            sketches are compared.
        n: Number of runs with a value.
        missing: Number of runs without a value.
        clustered: `n` times the design effect, see `design`. It equals `n` if runs are independent,
            and is larger if the values of a session are similar.
        low: Smallest number. None if there is none.
        high: Largest number. None if there is none.
        bins: For numbers: counts and sums by bin. For a vocabulary: counts of hashed words.
        values: For a category: number of runs for each of the 200 most frequent values.
        parts: Sketches of the parts of a text, such as its length and vocabulary, or of the
            projections of an embedding, by name.
    """

    kind: Kind
    n: int = 0
    missing: int = 0
    clustered: float = 0.0
    low: float | None = None
    high: float | None = None
    bins: Mapping[int, Bin] = field(default_factory=dict)
    values: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, "Sketch"] = field(default_factory=dict)

    @property
    def rest(self) -> int:
        """Number of runs whose value is not among the most frequent (`values`)."""
        return self.n - sum(self.values.values()) if self.kind == "category" else 0

    @property
    def zero(self) -> int:
        """Number of runs with the value 0."""
        return self.bins.get(0, (0, 0, 0))[0] if self.kind == "number" else 0

    @property
    def design(self) -> float:
        """The design effect: the number of runs divided by the effective number of runs.

        Runs of the same session are often similar, so together they carry less information. With a
        design effect of 2, 100 runs are as informative as 50 independent ones.
        """
        return max(self.clustered / self.n, 1.0) if self.n else 1.0

    @property
    def effective(self) -> float:
        """Number of runs that would give the same precision if they were independent."""
        return self.n / self.design

    @property
    def mean(self) -> float:
        """Mean of the numbers. NaN if there is none."""
        total = floats.add(count * mean for count, mean, _ in _moments(self.bins).values())
        return total / self.n if self.n else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation of the numbers. NaN if there is none."""
        mean = self.mean
        squares = floats.add(
            count * (floats.square(of_bin - mean) + variance)
            for count, of_bin, variance in _moments(self.bins).values()
        )
        return math.sqrt(squares / self.n) if self.n else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the sketch as a dictionary of plain values. `from_dict` reads it."""
        written: dict[str, Any] = {"kind": self.kind, "n": self.n, "missing": self.missing}
        if self.clustered != self.n:
            written["clustered"] = self.clustered
        if self.low is not None:
            written.update(low=self.low, high=self.high)
        if self.bins:
            written["bins"] = [[key, *self.bins[key]] for key in sorted(self.bins)]
        if self.values:
            written["values"] = dict(_largest(self.values))
        if self.parts:
            written["parts"] = {name: part.to_dict() for name, part in self.parts.items()}
        return written

    @staticmethod
    def from_dict(written: Mapping[str, Any]) -> "Sketch":
        """Create a sketch from what `to_dict` returned.

        Raises:
            ValueError: The dictionary is not a sketch.
        """
        try:
            kind, n = written["kind"], int(written["n"])
            sketch = Sketch(
                cast("Kind", kind),
                n,
                int(written.get("missing", 0)),
                float(written.get("clustered", n)),
                written.get("low"),
                written.get("high"),
                {int(key): (int(c), int(s), int(q)) for key, c, s, q in written.get("bins", ())},
                join_noise(
                    {str(key): int(count) for key, count in written.get("values", {}).items()}
                ),
                {name: Sketch.from_dict(part) for name, part in written.get("parts", {}).items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError("Invalid sketch: expected what Sketch.to_dict returned") from error
        if kind not in ("number", "category", "text", "vocabulary", "embedding"):
            raise ValueError(f"Invalid kind of sketch {kind!r}: expected number, category or text")
        return sketch


def bin_of(value: float) -> tuple[int, int]:
    """Return the bin of a finite number, as an integer key, and the position inside the bin."""
    size = min(abs(round_noise(value)), LARGEST)
    if size < SMALLEST:
        return 0, 0
    power = math.floor(math.log(size) / math.log(GROWTH))
    place = math.floor((size / GROWTH**power - 1) / (GROWTH - 1) * PLACES)
    key = power + KEY_OF_1
    return (key if value > 0 else -key), min(max(place, 0), PLACES - 1)


def bounds_of(key: int) -> tuple[float, float]:
    """Return the lower and the upper end of a bin."""
    if key == 0:
        return 0.0, 0.0
    size = GROWTH ** (abs(key) - KEY_OF_1)
    return (size, size * GROWTH) if key > 0 else (-size * GROWTH, -size)


def moments_of(key: int, of_bin: Bin) -> tuple[int, float, float]:
    """Return the count, mean and variance of the numbers in a bin."""
    count, places, squares = of_bin
    if key == 0 or not count:
        return count, 0.0, 0.0
    size = GROWTH ** (abs(key) - KEY_OF_1)
    unit = size * (GROWTH - 1) / PLACES
    mean = size + unit * (places / count + 0.5)
    # Exact for integers: a float would lose the digits in which they differ.
    variance = (count * squares - places * places) / (count * count) * unit * unit
    return count, math.copysign(mean, key), variance


def _moments(bins: Mapping[int, Bin]) -> dict[int, tuple[int, float, float]]:
    return {key: moments_of(key, of_bin) for key, of_bin in bins.items()}


def is_category(n: int, counts: Iterable[int]) -> bool:
    """Return whether a field's values repeat often enough to treat the field as a category.

    Args:
        n: Number of values.
        counts: How often each different value occurs. You may leave out rare values.
    """
    largest = sorted(counts, reverse=True)[:MOST_VALUES]
    repeated = len(largest) <= FEW_VALUES or sum(largest) >= 2 * len(largest)
    return repeated and sum(largest) >= MOSTLY * n


def sketch_values(
    values: Iterable[object],
    *,
    kind: Kind,
    clusters: Iterable[Hashable] | None = None,
) -> Sketch:
    """Return a sketch, that is a summary of a field's values.

    Args:
        values: Numbers, booleans and texts. None, infinite and NaN numbers count as missing.
        kind: Kind of the field, such as ``number``.
        clusters: For each value, the session of its run. None if all values are independent.
    """
    rows = [*values]
    sessions: list[Hashable] = [*clusters] if clusters is not None else [*range(len(rows))]
    pairs = [
        (value, session)
        for value, session in zip(rows, sessions, strict=True)
        if _is_present(value, kind)
    ]
    present, of = [value for value, _ in pairs], [session for _, session in pairs]
    missing = len(rows) - len(present)
    if kind == "number":
        return _sketch_numbers([float(cast("float", value)) for value in present], of, missing)
    if kind == "category":
        return _sketch_categories([write_value(value) for value in present], of, missing)
    return _sketch_texts([write_value(value) for value in present], of, missing)


def sketch_embeddings(values: Sequence[Projected], clusters: Sequence[Hashable]) -> Sketch:
    """Summarize a field of embeddings: their lengths and their projections.

    Args:
        values: Embeddings, reduced by `otel_ml.statistics.projections.project`.
        clusters: Session of each embedding.
    """
    parts = {NORM: _sketch_numbers([value.norm for value in values], clusters, 0)}
    for place, name in enumerate(PROJECTED):
        numbers = [value.projections[place] for value in values]
        parts[name] = _sketch_numbers(numbers, clusters, 0)
    clustered = max(part.clustered for part in parts.values())
    return Sketch("embedding", len(values), clustered=clustered, parts=parts)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_present(value: object, kind: Kind) -> bool:
    if _is_number(value) and not math.isfinite(cast("float", value)):
        return False
    return _is_number(value) if kind == "number" else value is not None


def write_value(value: object) -> str:
    """Return a value as the text that a category counts."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        value = round_noise(value)
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else str(value)
    return str(value)


def round_noise(value: float) -> float:
    """Round a number to remove floating-point noise from its last digits.

    So 19.990000000000002 becomes 19.99, and 0.1 in single precision becomes the same number as 0.1
    in double precision.
    """
    number = float(value)
    if number.is_integer() or not math.isfinite(number):
        return number
    rounded = float(f"{number:.{_EQUAL_DIGITS}g}")
    if rounded != number and abs(number) < _LARGEST_SINGLE:
        (single,) = _SINGLE.unpack(_SINGLE.pack(number))
        if single == number:
            return float(f"{number:.{_SINGLE_DIGITS}g}")
    return rounded


def join_noise(counts: Mapping[str, int]) -> dict[str, int]:
    """Join the counts of numbers that differ in their last digits, as older versions wrote them."""
    joined: Counter[str] = Counter()
    for text, count in counts.items():
        is_long = (
            len(text) > _EQUAL_DIGITS and _WRITTEN_FLOAT.fullmatch(text) and not text.isdigit()
        )
        joined[write_value(float(text)) if is_long else text] += count
    return dict(joined)


def _sketch_numbers(values: Sequence[float], of: Sequence[Hashable], missing: int) -> Sketch:
    bins: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for value in values:
        key, place = bin_of(value)
        in_bin = bins[key]
        in_bin[0] += 1
        in_bin[1] += place
        in_bin[2] += place * place
    return Sketch(
        "number",
        len(values),
        missing,
        _cluster_numbers(values, of),
        min(values, default=None),
        max(values, default=None),
        {key: (count, places, squares) for key, (count, places, squares) in bins.items()},
    )


def _sketch_categories(values: Sequence[str], of: Sequence[Hashable], missing: int) -> Sketch:
    counts = Counter(values)
    short = {value: count for value, count in counts.items() if len(value) < LONGEST_VALUE}
    return Sketch(
        "category",
        len(values),
        missing,
        _cluster_categories(values, counts, of),
        values=dict(_largest(short)),
    )


def _sketch_texts(texts: Sequence[str], of: Sequence[Hashable], missing: int) -> Sketch:
    words = [text.split() for text in texts]
    buckets = Counter(bucket_of(word) for word in chain.from_iterable(words))
    total = sum(buckets.values())
    length = [max(len(text), 1) for text in texts]
    parts = {
        "words": _sketch_numbers([float(len(of_text)) for of_text in words], of, missing),
        "characters": _sketch_numbers([float(len(text)) for text in texts], of, missing),
        "scripts": _sketch_categories([script_of(text) for text in texts], of, missing),
        "digits": _sketch_numbers(_shares(_DIGIT, texts, length), of, missing),
        "capitals": _sketch_numbers(_shares(_CAPITAL, texts, length), of, missing),
        "vocabulary": Sketch(
            "vocabulary",
            total,
            clustered=float(sum(len(of_text) ** 2 for of_text in words)),
            bins={bucket: (count, 0, 0) for bucket, count in buckets.items()},
        ),
    }
    return Sketch("text", len(texts), missing, parts["words"].clustered, parts=parts)


def _shares(pattern: re.Pattern[str], texts: Sequence[str], lengths: Sequence[int]) -> list[float]:
    return [
        len(pattern.findall(text)) / length for text, length in zip(texts, lengths, strict=True)
    ]


def bucket_of(word: str) -> int:
    """Return the number of the bucket in which a vocabulary counts a word. Case is ignored."""
    return zlib.crc32(word.lower().encode()) % BUCKETS


def script_of(text: str) -> str:
    """Return the script of most letters of a text, such as Latin. `other` if it has no letters."""
    counts = {name: len(letters.findall(text)) for name, letters in _OF_SCRIPT.items()}
    script = max(counts, key=counts.__getitem__)
    return script if counts[script] else OTHER_SCRIPT


def _cluster_numbers(values: Sequence[float], of: Sequence[Hashable]) -> float:
    """Return how similar the values of a session are.

    Uses ranks, so that heavy tails do not dominate.
    """
    counts = Counter(values)
    ranks: dict[float, float] = {}
    below = 0
    for value in sorted(counts):
        ranks[value] = below + (counts[value] - 1) / 2 - (len(values) - 1) / 2
        below += counts[value]
    sums: defaultdict[Hashable, float] = defaultdict(float)
    for value, session in zip(values, of, strict=True):
        sums[session] += ranks[value]
    spread = math.fsum(count * ranks[value] ** 2 for value, count in counts.items())
    return of_sessions(
        math.fsum(total**2 for total in sums.values()), spread, len(values), len(sums)
    )


def _cluster_categories(
    values: Sequence[str], counts: Mapping[str, int], of: Sequence[Hashable]
) -> float:
    n = len(values)
    in_session = Counter(zip(of, values, strict=True))
    sizes = Counter(of)
    shares = math.fsum((count / n) ** 2 for count in counts.values())
    own = sum(count**2 for count in in_session.values())
    crossed = math.fsum(
        count * sizes[session] * counts[value] / n for (session, value), count in in_session.items()
    )
    squares = own - 2 * crossed + shares * sum(size**2 for size in sizes.values())
    return of_sessions(squares, n * (1 - shares), n, len(sizes))


def of_sessions(squares: float, spread: float, n: int, sessions: int) -> float:
    """Return the value of `Sketch.clustered`: the number of values times the design effect.

    Values of one session are often similar, so together they carry less information. With a design
    effect of 2, they carry half as much as independent ones. With 1, the result is `n`.

    Args:
        squares: Variation between sessions: the sum over sessions of d², where d is the sum of
            (value − overall mean) over the values of the session.
        spread: Total variation: sum of (value − overall mean)² over all values.
        n: Number of values.
        sessions: Number of sessions.
    """
    if sessions <= 1:
        return float(n * n)
    if spread <= 0:
        return float(n)
    return squares / spread * n * sessions / (sessions - 1)


def _largest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_VALUES]


def merge_sketches(sketches: Iterable[Sketch], kind: Kind | None = None) -> Sketch:
    """Merge summaries (sketches) of one field, such as one per hour, into one.

    Args:
        sketches: The sketches, in any order. Sketches of another kind than the result are ignored.
        kind: Kind of the result, such as ``number``. None uses the kind that most values have.
    """
    of_all = [*sketches]
    chosen: Kind = kind or _kind_of_most(of_all)
    alike = [sketch for sketch in of_all if sketch.kind == chosen]
    bins: dict[int, Bin] = {}
    values: Counter[str] = Counter()
    for sketch in alike:
        values.update(sketch.values)
        for key, (count, places, squares) in sketch.bins.items():
            before = bins.get(key, (0, 0, 0))
            bins[key] = before[0] + count, before[1] + places, before[2] + squares
    names = dict.fromkeys(name for sketch in alike for name in sketch.parts)
    return Sketch(
        chosen,
        sum(sketch.n for sketch in alike),
        sum(sketch.missing for sketch in alike),
        math.fsum(sketch.clustered for sketch in alike),
        min((sketch.low for sketch in alike if sketch.low is not None), default=None),
        max((sketch.high for sketch in alike if sketch.high is not None), default=None),
        bins,
        dict(_largest(values)),
        {
            name: merge_sketches(sketch.parts[name] for sketch in alike if name in sketch.parts)
            for name in names
        },
    )


def _kind_of_most(sketches: Iterable[Sketch]) -> Kind:
    sizes: Counter[Kind] = Counter()
    for sketch in sketches:
        sizes[sketch.kind] += sketch.n
    return min(sizes, key=lambda kind: (-sizes[kind], kind), default="category")
