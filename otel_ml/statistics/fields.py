"""Describes the fields of a model's runs: types, missing values, numbers, categories and texts.

The description of a field is small, and does not contain its values one by one. Descriptions can be
merged, subtracted and stored. `otel_ml.statistics.field_drift` compares them.

Whether a field is a number, a category or a text is unknown at first: five numbers in one hour look
like few categories, a month of them does not. So each field gets a sketch of each kind, and the
kind is derived from the merged sketch.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from otel_ml.statistics.projections import Projected
from otel_ml.statistics.sketches import (
    FEW_VALUES,
    LONGEST_VALUE,
    MOST_VALUES,
    MOSTLY,
    Sketch,
    is_category,
    merge_sketches,
    sketch_embeddings,
    sketch_values,
    write_value,
)

FieldKind: TypeAlias = Literal["number", "category", "text", "embedding"]

# A value that was redacted or cut: it counts as present, but its content is unknown.
HIDDEN: Final = "hidden"
# For a column of tables: number of cells, including empty ones, and number of tables.
CELLS: Final = "cells"
TABLES: Final = "tables"
_NO_VALUES: Final = (HIDDEN, CELLS, TABLES)
# Values whose type is not known: older profiles store how often a text occurs, not what it was.
_UNKNOWN_TYPE: Final = "unknown"
TYPES: Final = ("number", "text", "bool", "embedding")
_AS_KINDS: Final[Mapping[str | None, FieldKind | None]] = {
    None: None,
    "number": "number",
    "category": "category",
    "text": "text",
}
EMPTY_NUMBER: Final = Sketch("number")
EMPTY_CATEGORY: Final = Sketch("category")
EMPTY_TEXT: Final = Sketch("text")
EMPTY_EMBEDDING: Final = Sketch("embedding")
_SCALARS: Final = ("number", "text", "bool")
VALUE: Final = "value"
MISSING: Final = "missing"
TYPE: Final = "type"


@dataclass(frozen=True, slots=True)
class FieldSketch:
    """A summary of all values that one field, such as `inputs.age`, had in many runs.

    A field can also be a column of recorded tables. Then each cell of the column is a value.

    Attributes:
        runs: Number of runs that could have a value. For a column of tables, the number of cells,
            where a redacted column counts as one cell.
        types: Number of values of each type: number, text, bool or embedding. Redacted and cut
            values count as `HIDDEN`. If the field is a column of tables, the number of cells
            (`CELLS`) and the number of tables (`TABLES`) are added.
        number: Summary of the values that are numbers.
        category: Count of each distinct value. Empty if values rarely repeat.
        text: Summary of the values that are texts.
        embedding: Summary of the values that are embeddings.
        as_kind: Kind of the field, if it is known in advance. Then only the summary of this kind is
            filled.
    """

    runs: int = 0
    types: Mapping[str, int] = field(default_factory=dict)
    number: Sketch = EMPTY_NUMBER
    category: Sketch = EMPTY_CATEGORY
    text: Sketch = EMPTY_TEXT
    embedding: Sketch = EMPTY_EMBEDDING
    as_kind: FieldKind | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the sketch as plain values, without embeddings. `from_dict` reads it."""
        parts = {"number": self.number, "category": self.category, "text": self.text}
        written: dict[str, Any] = {"runs": self.runs, "types": dict(self.types)}
        if self.as_kind is not None:
            written["kind"] = self.as_kind
        return {**written, **{name: part.to_dict() for name, part in parts.items() if part.n}}

    @staticmethod
    def from_dict(written: Mapping[str, Any]) -> "FieldSketch":
        """Create a sketch from what `to_dict` returned, or from the sketch in an older profile.

        Raises:
            ValueError: The dictionary is not a sketch.
        """
        try:
            if "types" not in written:
                return field_of_sketch(Sketch.from_dict(written))
            kind = _AS_KINDS[written.get("kind")]
            parts = {
                name: Sketch.from_dict(written[name])
                for name in ("number", "category", "text")
                if name in written
            }
            types = {str(name): int(count) for name, count in written["types"].items()}
            return FieldSketch(int(written["runs"]), types, **parts, as_kind=kind)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"Invalid sketch of a field: {error}") from error

    @property
    def n(self) -> int:
        """Number of runs with a value that is included in the sketch."""
        return sum(count for name, count in self.types.items() if name not in _NO_VALUES)

    @property
    def missing(self) -> int:
        """Number of runs without a value."""
        return max(self.runs - self.n - self.types.get(HIDDEN, 0), 0)

    @property
    def kind(self) -> FieldKind:
        """Kind of the field, derived from its values. A field without values is a category."""
        if self.as_kind is not None:
            return self.as_kind
        numbers, texts = self.types.get("number", 0), self.types.get("text", 0)
        if self.n and self.types.get("embedding", 0) >= MOSTLY * self.n:
            return "embedding"
        values = self.category.values
        is_varied = self.category.rest > 0 or len(values) > FEW_VALUES
        if self.n and numbers >= MOSTLY * self.n and (is_varied or len(values) == 1):
            return "number"  # a few distinct numbers may be codes, but a constant is a number
        if is_category(self.n, values.values()):
            return "category"
        return "text" if texts >= numbers else "number"

    def of_kind(self, kind: FieldKind) -> Sketch:
        """Return one of the field's sketches: numbers, category, text or embedding."""
        sketches = {"number": self.number, "category": self.category, "text": self.text}
        return sketches.get(kind, self.embedding)

    def parts(self, kind: FieldKind) -> dict[str, Sketch]:
        """Return a summary for each property of a field that can drift, by name of the property.

        The properties are the value, whether it is missing, and its type. For texts, measures such
        as the length and the vocabulary replace the value.
        """
        own = self.of_kind(kind)
        parts = dict(own.parts) if kind == "text" else {VALUE: own}
        there = replace(own, n=self.runs - self.missing, missing=self.missing)
        there = replace(there, clustered=there.n * own.design)
        parts[MISSING] = presence(there)
        if _UNKNOWN_TYPE not in self.types:
            parts[TYPE] = Sketch(
                "category",
                self.n,
                clustered=self.n * own.design,
                values={name: self.types[name] for name in TYPES if self.types.get(name)},
            )
        return parts


_Group: TypeAlias = tuple[list[object], list[Hashable]]


def sketch_field(
    values: Iterable[object],
    clusters: Iterable[Hashable],
    *,
    runs: int,
    hidden: int = 0,
    cells: int = 0,
    tables: int = 0,
) -> FieldSketch:
    """Summarize all values of a field, to compare them with others later.

    Args:
        values: Numbers, texts, booleans and embeddings. Infinite and NaN numbers are left out.
        clusters: For each value, the session of its run. Values of the same session do not count as
            independent.
        runs: Number of values that would exist if none was missing. For a column of tables, this
            is its number of cells, `cells` + `hidden`. For any other field, it is the number of
            runs.
        hidden: Number of values that were redacted or cut.
        cells: For a column of tables, its number of cells, including empty cells. For any other
            field, 0.
        tables: For a column of tables, the number of tables with this column.
    """
    groups = _group_by_type(values, clusters)
    counts = {HIDDEN: hidden, CELLS: cells, TABLES: tables}
    types = {name: len(of_type) for name, (of_type, _) in groups.items()}
    types |= {name: count for name, count in counts.items() if count}
    return FieldSketch(
        runs,
        types,
        _sketch_numbers(groups),
        _sketch_repeated([groups[name] for name in _SCALARS if name in groups]),
        _sketch_texts(groups),
        _sketch_projected(groups),
    )


def describe_field(
    values: Iterable[object],
    *,
    kind: FieldKind | None = None,
    clusters: Iterable[Hashable] | None = None,
) -> FieldSketch:
    """Summarize all values of a field whose kind will not change, because no values are added.

    In contrast to `sketch_field`, only one kind of summary is computed.

    Args:
        values: One value per run. None, infinite and NaN numbers, and values that are neither a
            number, a text nor a boolean count as missing.
        kind: How to summarize the values. Default: derived from the values. This is also done if
            you pass ``category`` and the values rarely repeat.
        clusters: For each value, the session of its run. None if all values are independent.
    """
    rows = [*values]
    groups = _group_by_type(rows, range(len(rows)) if clusters is None else clusters)
    types = {name: len(of_type) for name, (of_type, _) in groups.items()}
    category = EMPTY_CATEGORY
    if kind in {None, "category"}:
        category = _sketch_repeated([groups[name] for name in _SCALARS if name in groups])
        if kind is None or category.rest == category.n > 0:
            kind = FieldSketch(len(rows), types, category=category).kind
    return FieldSketch(
        len(rows),
        types,
        _sketch_numbers(groups) if kind == "number" else EMPTY_NUMBER,
        category if kind == "category" else EMPTY_CATEGORY,
        _sketch_texts(groups) if kind == "text" else EMPTY_TEXT,
        _sketch_projected(groups) if kind == "embedding" else EMPTY_EMBEDDING,
        kind,
    )


def _group_by_type(values: Iterable[object], clusters: Iterable[Hashable]) -> dict[str, _Group]:
    """Group values and their sessions by type, in the order of `TYPES`."""
    groups: defaultdict[str, _Group] = defaultdict(lambda: ([], []))
    for value, cluster in zip(values, clusters, strict=True):
        if isinstance(value, bool):
            chosen, sessions = groups["bool"]
        elif isinstance(value, str):
            chosen, sessions = groups["text"]
        elif isinstance(value, (int, float)) and math.isfinite(value):
            chosen, sessions = groups["number"]
        elif isinstance(value, Projected):
            chosen, sessions = groups["embedding"]
        else:
            continue
        chosen.append(value)
        sessions.append(cluster)
    return {name: groups[name] for name in TYPES if name in groups}


def _sketch_numbers(groups: Mapping[str, _Group]) -> Sketch:
    if "number" not in groups:
        return EMPTY_NUMBER
    values, clusters = groups["number"]
    return sketch_values(values, kind="number", clusters=clusters)


def _sketch_texts(groups: Mapping[str, _Group]) -> Sketch:
    if "text" not in groups:
        return EMPTY_TEXT
    values, clusters = groups["text"]
    return sketch_values(values, kind="text", clusters=clusters)


def _sketch_projected(groups: Mapping[str, _Group]) -> Sketch:
    if "embedding" not in groups:
        return EMPTY_EMBEDDING
    values, clusters = groups["embedding"]
    return sketch_embeddings([one for one in values if isinstance(one, Projected)], clusters)


def _sketch_repeated(
    by_type: Sequence[tuple[Sequence[object], Sequence[Hashable]]],
) -> Sketch:
    """Count each value, if the most frequent ones cover nearly all of them."""
    n = sum(len(values) for values, _ in by_type)
    counts: Counter[tuple[bool, object]] = Counter()
    for values, _ in by_type:
        counts.update((isinstance(value, bool), value) for value in values)
    short = [
        count
        for (_, value), count in counts.items()
        if not isinstance(value, str) or len(value) < LONGEST_VALUE
    ]
    if sum(sorted(short, reverse=True)[:MOST_VALUES]) < MOSTLY * n:
        return Sketch("category", n, clustered=float(n))
    return sketch_values(
        [write_value(value) for values, _ in by_type for value in values],
        kind="category",
        clusters=[session for _, sessions in by_type for session in sessions],
    )


def field_of_sketch(sketch: Sketch) -> FieldSketch:
    """Convert the summary of one kind of values, as older profiles store it, to a `FieldSketch`.

    Older summaries of categories do not contain the types of the values.
    """
    runs = sketch.n + sketch.missing
    bare = replace(sketch, missing=0)
    if sketch.kind == "number":
        return FieldSketch(runs, {"number": sketch.n}, number=bare, as_kind="number")
    if sketch.kind == "category":
        return FieldSketch(runs, {_UNKNOWN_TYPE: sketch.n}, category=bare, as_kind="category")
    return FieldSketch(runs, {"text": sketch.n}, text=bare, as_kind="text")


def merge_fields(fields: Iterable[FieldSketch]) -> FieldSketch:
    """Merge several sketches of a field, such as one per hour, into one. The order is free."""
    of_all = [*fields]
    types: Counter[str] = Counter()
    for sketch in of_all:
        types.update(sketch.types)
    return FieldSketch(
        sum(sketch.runs for sketch in of_all),
        {name: types[name] for name in (*TYPES, _UNKNOWN_TYPE, *_NO_VALUES) if types[name]},
        merge_sketches((sketch.number for sketch in of_all), "number"),
        _keep_repeated(merge_sketches((sketch.category for sketch in of_all), "category")),
        merge_sketches((sketch.text for sketch in of_all if sketch.text.n), "text"),
        merge_sketches((sketch.embedding for sketch in of_all if sketch.embedding.n), "embedding"),
    )


def _keep_repeated(category: Sketch) -> Sketch:
    """Drop the counts of single values unless they cover nearly all values."""
    if sum(category.values.values()) >= MOSTLY * category.n:
        return category
    return replace(category, values={})


def subtract_field(total: FieldSketch, part: FieldSketch) -> FieldSketch:
    """Subtract the summary of a part, such as one hour, from that of the whole, such as a day.

    The result summarizes all other values. If a session has runs both inside and outside of the
    part, the design effect of the result (see `Sketch.design`) is only an estimate.

    Args:
        total: Summary of the whole.
        part: Summary of the part, which must be included in the whole.
    """
    types = {name: count - part.types.get(name, 0) for name, count in total.types.items()}
    return FieldSketch(
        max(total.runs - part.runs, 0),
        {name: count for name, count in types.items() if count > 0},
        subtract_sketch(total.number, part.number),
        subtract_sketch(total.category, part.category),
        subtract_sketch(total.text, part.text),
        subtract_sketch(total.embedding, part.embedding),
    )


def subtract_sketch(total: Sketch, part: Sketch) -> Sketch:
    """Remove a part, such as one hour, from a sketch that contains it.

    The smallest and the largest number do not change.
    """
    bins = {}
    for key, (count, places, squares) in total.bins.items():
        less, less_places, less_squares = part.bins.get(key, (0, 0, 0))
        if count > less:
            bins[key] = count - less, places - less_places, squares - less_squares
    return Sketch(
        total.kind,
        max(total.n - part.n, 0),
        max(total.missing - part.missing, 0),
        max(total.clustered - part.clustered, 0.0),
        total.low,
        total.high,
        bins,
        {
            value: count - part.values.get(value, 0)
            for value, count in total.values.items()
            if count > part.values.get(value, 0)
        },
        {
            name: subtract_sketch(own, part.parts[name]) if name in part.parts else own
            for name, own in total.parts.items()
        },
    )


def presence(sketch: Sketch) -> Sketch:
    """Count the runs with and without a value.

    The result is the sketch of a category with the values ``there`` and ``missing``.
    """
    total = sketch.n + sketch.missing
    return Sketch(
        "category",
        total,
        clustered=total * sketch.design,
        values={"there": sketch.n, "missing": sketch.missing},
    )
