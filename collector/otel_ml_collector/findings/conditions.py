"""Writes filters that find the runs with the new values of a field."""

from typing import Final

from otel_ml.counts import write_number
from otel_ml.statistics.field_drift import (
    FieldDrift,
    PartDrift,
    gained_side,
    gained_value,
)
from otel_ml.statistics.fields import CELLS, MISSING, TYPE, VALUE
from otel_ml.statistics.sketches import OTHER_SCRIPT, SCRIPTS
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.grammar import parse
from otel_ml_collector.filter.writing import quoted

# Conditions that match any number and any text.
_ANY_NUMBER: Final = "{path} <= 1e300"
_ANY_TEXT: Final = 'matches({path}, "")'
_ANY_BOOL: Final = "{path} in (True, False)"
# RE2 allows at most 1,000 repetitions.
_MOST_REPEATS: Final = 1_000
# Relative width of the range in which a fraction is found; single precision has 7 digits.
_NOISE: Final = 1e-7


def write_where(model: str, drift: FieldDrift) -> str:
    """Write a filter that finds the runs with the values that became more frequent in a field.

    For example, ``model == "triage" and inputs.language == "fr"``. If no filter can find these
    runs, the result selects all runs of the model: ``model == "triage"``.
    """
    of_model = f"model == {quoted(model)}"
    part = (drift.drifted or drift.parts or (None,))[0]
    # Filters cannot read the numbers of an embedding.
    is_open = part is not None and "embedding" not in (drift.kind, drift.window.kind)
    is_column = CELLS in drift.window.types or CELLS in drift.reference.types
    condition = ""
    if part and is_open and is_column:
        # In a column, a filter can only find texts.
        value = gained_value(part.reference, part.window)
        is_text = drift.window.types.get("text", 0) == drift.window.n
        if part.name == VALUE and part.window.kind == "category" and value is not None and is_text:
            condition = f"{quoted(value)} in {drift.name}"
    elif part and is_open:
        condition = _write_condition(drift, part)
    if not condition:
        return of_model
    where = f"{of_model} and {condition}"
    try:
        parse(where)
    except BadInput:  # a path that filters do not have, such as the length of a list
        return of_model
    return where


def _write_condition(drift: FieldDrift, part: PartDrift) -> str:
    path, before, after = drift.name, part.reference, part.window
    if part.name == MISSING:
        types = drift.reference.types or drift.window.types
        most = max(types, key=lambda name: (types[name], name), default="text")
        pattern = {"number": _ANY_NUMBER, "bool": _ANY_BOOL}.get(most, _ANY_TEXT)
        there = f"({pattern.format(path=path)})"
        return f"not {there}" if gained_value(before, after) == MISSING else there
    if part.name == TYPE:
        kind = gained_value(before, after)
        return {"number": _ANY_NUMBER, "text": _ANY_TEXT, "bool": _ANY_BOOL}[kind or "text"].format(
            path=path
        )
    if part.name == VALUE and after.kind == "category":
        value = gained_value(before, after)
        return "" if value is None else _write_equal(path, drift, value)
    if part.name == "scripts":
        script = gained_value(before, after)
        letters = SCRIPTS.get(script or OTHER_SCRIPT)
        return f"matches({path}, {quoted(f'[{letters}]')})" if letters else ""
    side = gained_side(before, after)
    if side is None:
        return ""
    number, is_above = side
    if part.name == VALUE:
        written = write_number(number).replace(",", "")
        return f"{path} {'>=' if is_above else '<'} {written}"
    pattern = {"digits": "[0-9]", "capitals": "[A-Z]"}.get(part.name, "")
    if part.name in ("words", "characters"):
        repeats = min(max(round(number), 1), _MOST_REPEATS)
        pattern = f"^(\\s*\\S+){{{repeats}}}" if part.name == "words" else f"(?s)^.{{{repeats}}}"
    if not pattern:
        return ""
    return f"{'' if is_above else 'not '}matches({path}, {quoted(pattern)})"


def _write_equal(path: str, drift: FieldDrift, value: str) -> str:
    """Return the condition that a field has a value of a category.

    Fractions are counted without their last digits, so they are found in a narrow range.
    """
    written = _write_value(drift, value)
    if written != value or "." not in value:
        return f"{path} == {written}"
    number = float(value)
    low, high = sorted((number * (1 - _NOISE), number * (1 + _NOISE)))
    return f"({path} >= {low:.12g} and {path} <= {high:.12g})"


def _write_value(drift: FieldDrift, value: str) -> str:
    types = {**drift.reference.types, **drift.window.types}
    if types.get("bool") and value in ("true", "false"):
        return value.capitalize()
    if types.get("number"):
        try:
            float(value)
        except ValueError:
            return quoted(value)
        return value
    return quoted(value)
