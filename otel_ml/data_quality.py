"""Computes the data metrics of a table: missing and duplicate values, balance, leaks, bias, drift.

Each metric has its own name, so that it can be logged like any other metric.
docs/how-to/data-metrics.md explains them.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml.arguments import check_text, invalid, show
from otel_ml.columns import Columns, count_values, is_measure, key_of, read_columns
from otel_ml.statistics.field_drift import Reference, compare_fields
from otel_ml.statistics.fields import FieldKind, FieldSketch, describe_field
from otel_ml.statistics.intervals import CONFIDENCE, Estimate, difference, rate_ratio, wilson
from otel_ml.statistics.leaks import cut, explained_classes, explained_numbers

# Groups with fewer rows are skipped. With fewer labelled rows, no leaks are computed.
FEWEST: Final = 30
_FEWEST_LABELLED: Final = 100
_MOST_COLUMNS: Final = 200
_MOST_GROUPS: Final = 20
_MOST_CLASSES: Final = 200
_PAIR: Final = 2
_OUTPUT_COLUMNS: Final = "outputs"
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
# Default favourable and unfavourable values of a label with two values.
_POSITIVE: Final = frozenset({"yes", "true", "y", "1", "positive", "approved"})
_NEGATIVE: Final = frozenset({"no", "false", "n", "0", "negative", "denied"})


def measure_data(
    frame: Any,
    *,
    label: str | None = None,
    sensitive: str | Sequence[str] = (),
    prediction: str | None = None,
    positive: object = None,
    reference: Any = None,
) -> dict[str, float]:
    """Compute quality metrics of a table, such as missing values, bias and drift.

    See `otel_ml.data_metrics` for the arguments.

    Returns:
        Value of each metric by name, such as ``rows`` or ``duplicates``.

    Raises:
        ValueError: An argument is invalid. The message names it.
    """
    columns = read_columns(frame)
    named = [label, prediction, *_names_of(sensitive)]
    for argument, name in zip(("label", "prediction"), named, strict=False):
        if name is not None:
            _check_column(argument, name, columns)
    for name in named[2:]:
        _check_column("sensitive", name, columns)
    rows = len(next(iter(columns.values()), ()))
    metrics = {"rows": float(rows), "columns": float(len(columns))}
    if rows:
        metrics["duplicates"] = 1 - len({*zip(*_keys(columns), strict=True)}) / rows
        shown = {name: columns[name] for name in _choose(columns, named)}
        metrics |= _measure_columns(shown, rows)
        if label is not None:
            metrics |= _measure_balance(label, columns[label])
            for name, values in shown.items():
                if name not in {label, prediction}:
                    metrics |= _measure_leak(name, values, columns[label])
        for name in named[2:]:
            metrics |= _measure_bias(str(name), columns, label, prediction, positive)
    if reference is not None:
        metrics |= _measure_drift(columns, _read_reference(reference), named)
    return metrics


def _names_of(sensitive: Any) -> list[str]:
    if issubclass(type(sensitive), str):
        return [check_text("sensitive", sensitive)]
    if not issubclass(type(sensitive), list | tuple):
        raise invalid("sensitive", sensitive, "a column or a list of columns")
    return [check_text("sensitive", name) for name in sensitive]


def _check_column(argument: str, name: object, columns: Columns) -> None:
    if check_text(argument, name) not in columns:
        raise invalid(argument, name, f"one of the columns {show([*columns])}")


def _choose(columns: Columns, named: Sequence[str | None]) -> list[str]:
    """Return the columns that get metrics of their own: the named ones, then the first ones."""
    wanted = [name for name in named if name is not None]
    chosen = {*[*dict.fromkeys([*wanted, *columns])][:_MOST_COLUMNS]}
    return [name for name in columns if name in chosen]


def _keys(columns: Columns) -> list[list[Hashable]]:
    return [list(map(key_of, values)) for values in columns.values()]


def _measure_columns(columns: Columns, rows: int) -> dict[str, float]:
    metrics: dict[str, float] = {}
    constant = 0
    for name, values in columns.items():
        counts = count_values(values)
        metrics[f"missing.{name}"] = 1 - sum(counts.values()) / rows
        metrics[f"distinct.{name}"] = float(len(counts))
        constant += len(counts) <= 1
    return {**metrics, "constant": float(constant)}


def _measure_balance(label: str, values: Sequence[Any]) -> dict[str, float]:
    """Measure how evenly a label's classes are distributed. Numeric labels get no metric."""
    counts = count_values(values)
    total = sum(counts.values())
    if is_measure(values) or len(counts) > _MOST_CLASSES or not total:
        return {}
    shares = [count / total for count in counts.values()]
    entropy = -math.fsum(share * math.log(share) for share in shares)
    return {
        f"balance.{label}": entropy / math.log(len(shares)) if len(shares) > 1 else 0.0,
        f"balance.{label}.smallest": min(shares),
    }


def _measure_leak(name: str, values: Sequence[Any], labels: Sequence[Any]) -> dict[str, float]:
    """Measure how much one column alone reveals about the label."""
    known = [
        (value, label) for value, label in zip(values, labels, strict=True) if label is not None
    ]
    if len(known) < _FEWEST_LABELLED:
        return {}
    given, items = [value for value, _ in known], [label for _, label in known]
    if is_measure(given):
        numbers = [value if type(value) in {int, float} else None for value in given]
        cells = cut(numbers)
    else:
        cells = list(map(key_of, given))
    if is_measure(items):
        pairs = [
            (cell, float(label))
            for cell, label in zip(cells, items, strict=True)
            if type(label) in {int, float} and math.isfinite(label)
        ]
        found = explained_numbers([cell for cell, _ in pairs], [number for _, number in pairs])
    else:
        found = explained_classes(cells, list(map(key_of, items)))
    return {f"leak.{name}": found}


# Drift: how far the columns differ from those of a reference.


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns that a table is compared with: those of another table or of a profile.

    Attributes:
        fields: Summary of each column by name.
        is_table: Whether it is a table. A profile describes only some columns.
    """

    fields: Mapping[str, FieldSketch]
    is_table: bool = True

    def is_complete(self, name: str, columns: Columns) -> bool:
        """Return whether a column should exist. Not an output column, if there are no outputs."""
        if self.is_table or not name.startswith(_OUTPUT_COLUMNS):
            return True
        return any(column.startswith(_OUTPUT_COLUMNS) for column in columns)


def _read_reference(reference: Any) -> _Columns:
    """Return what to compare with: the fields of a profile, or a table's columns.

    A profile's input is compared with the column of the same name, and a part of its output with
    the column ``outputs.label``.
    """
    sketches = getattr(type(reference), "sketches", None)
    if isinstance(sketches, property):
        inputs: Mapping[str, FieldSketch] = reference.sketches
        fields = {path.removeprefix("inputs."): field for path, field in inputs.items()}
        return _Columns(fields, is_table=False)
    columns = read_columns(reference, "reference")
    return _Columns({name: _describe(values) for name, values in columns.items()})


def _describe(values: Sequence[Any], kind: FieldKind | None = None) -> FieldSketch:
    """Summarize a column. Lists, mappings and other objects are compared as texts."""
    items = [value if type(value) in _SCALARS else _text_of(value) for value in values]
    return describe_field(items, kind=kind)


def _text_of(value: Any) -> str | None:
    if value is None:
        return None
    key = key_of(value)
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)


def _measure_drift(
    columns: Columns, reference: _Columns, named: Sequence[str | None]
) -> dict[str, float]:
    """Measure the drift of each column: of its values, their types and the missing values.

    A column that one side lacks has drifted entirely, however few rows there are.
    """
    chosen = _choose(columns, named)
    before = {name: reference.fields[name] for name in chosen if name in reference.fields}
    after = {name: _describe(columns[name], field.kind) for name, field in before.items()}
    drifts = compare_fields(after, Reference("", before))
    one_sided = _find_one_sided(columns, chosen, reference)
    return {
        **{f"drift.{name}": 1.0 for name in one_sided},
        **{f"drift.{drift.name}": drift.distance for drift in drifts if drift.word != "too few"},
        "drifted": float(len(one_sided) + sum(drift.word == "drift" for drift in drifts)),
        "drift_not_judged": float(sum(drift.word == "too few" for drift in drifts)),
    }


def _find_one_sided(columns: Columns, chosen: Sequence[str], reference: _Columns) -> list[str]:
    """Return the columns that have values only in the table or only in the reference."""
    gone = [
        name
        for name, field in reference.fields.items()
        if name not in columns and field.n and reference.is_complete(name, columns)
    ]
    new = [
        name
        for name in chosen
        if name not in reference.fields and reference.is_table and count_values(columns[name])
    ]
    has_rows = any(columns.values())
    return [*gone[:_MOST_COLUMNS], *new] if has_rows and reference.fields else []


# Bias: how differently the groups of a sensitive column are treated.


def _measure_bias(
    name: str,
    columns: Columns,
    label: str | None,
    prediction: str | None,
    positive: object,
) -> dict[str, float]:
    """Measure how often the value is favourable, for each group of a sensitive column.

    Rates are those of the prediction if it is given, otherwise those of the label.

    Raises:
        ValueError: Neither is given, or the favourable value cannot be determined.
    """
    outcome = prediction or label
    if outcome is None:
        raise ValueError(
            f"Invalid sensitive {name!r}: expected label or prediction to be passed too"
        )
    wished = key_of(_choose_positive(outcome, columns, label, positive))
    judged: defaultdict[Hashable, Counter[bool]] = defaultdict(Counter)
    deserving: defaultdict[Hashable, Counter[bool]] = defaultdict(Counter)
    truths = columns[label] if label is not None else [None] * len(columns[name])
    for group, value, truth in zip(columns[name], columns[outcome], truths, strict=True):
        if group is None or value is None:
            continue
        is_wished = key_of(value) == wished
        judged[key_of(group)][is_wished] += 1
        if truth is not None and key_of(truth) == wished:
            deserving[key_of(group)][is_wished] += 1
    start = f"bias.{name}"
    metrics = _write_groups(start, judged)
    metrics |= _compare(
        start, judged, {"parity_difference": "difference", "disparate_impact": "ratio"}
    )
    if prediction is not None and label is not None:
        metrics |= _compare(start, deserving, {"equal_opportunity_difference": "difference"})
    return metrics


def _choose_positive(outcome: str, columns: Columns, label: str | None, positive: object) -> object:
    values = {key_of(value) for value in columns[outcome] if value is not None}
    if label is not None and label != outcome:
        values |= {key_of(value) for value in columns[label] if value is not None}
    if positive is not None:
        if key_of(positive) not in values:
            raise invalid("positive", positive, f"a value of {outcome!r}, {show([*values])}")
        return positive
    if values <= {0, 1} or values <= {-1, 1}:
        return 1
    texts = {value: value.lower() for value in values if isinstance(value, str)}
    wished = [value for value, text in texts.items() if text in _POSITIVE]
    others = [value for value, text in texts.items() if text in _NEGATIVE]
    if len(wished) == 1 and len(wished) + len(others) == len(values) <= _PAIR:
        return wished[0]
    raise invalid(
        "positive", None, f"the favourable value of {outcome!r}, one of {show([*values])}"
    )


def _write_groups(start: str, groups: Mapping[Hashable, Counter[bool]]) -> dict[str, float]:
    """Return size and rate of each group, and the number of groups that are too small."""
    by_size = sorted(groups.items(), key=lambda pair: (-pair[1].total(), str(pair[0])))
    sizes = [counts.total() for counts in groups.values()]
    metrics = {
        f"{start}.groups": float(sum(size >= FEWEST for size in sizes)),
        f"{start}.groups_not_judged": float(sum(size < FEWEST for size in sizes)),
    }
    for group, counts in by_size[:_MOST_GROUPS]:
        metrics[f"{start}.count.{group}"] = float(counts.total())
        if counts.total() >= FEWEST:
            metrics[f"{start}.rate.{group}"] = counts[True] / counts.total()
    return metrics


def _compare(
    start: str, groups: Mapping[Hashable, Counter[bool]], figures: Mapping[str, str]
) -> dict[str, float]:
    """Compare the groups with the highest and the lowest rate, as fairlearn does.

    Confidence intervals are corrected for the number of pairs, because the two groups are chosen by
    their rates.
    """
    judged = [counts for counts in groups.values() if counts.total() >= FEWEST]
    if len(judged) < _PAIR:
        return {}
    confidence = 1 - (1 - CONFIDENCE) / math.comb(len(judged), _PAIR)
    rates = sorted(
        (wilson(counts[True], counts.total(), confidence=confidence) for counts in judged),
        key=lambda rate: rate.value,
    )
    lowest, highest = rates[0], rates[-1]
    metrics: dict[str, float] = {}
    for figure, kind in figures.items():
        if kind == "ratio" and highest.value == 0:
            continue
        estimate = rate_ratio(highest, lowest) if kind == "ratio" else difference(lowest, highest)
        metrics |= _write_estimate(f"{start}.{figure}", estimate)
    return metrics


def _write_estimate(name: str, estimate: Estimate) -> dict[str, float]:
    return {
        name: estimate.value,
        f"{name}.low": estimate.low,
        f"{name}.high": estimate.high,
        f"{name}.n": float(estimate.n),
    }
