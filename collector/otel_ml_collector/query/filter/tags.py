"""Conditions on tags: those of a run's own span, and newer ones that came later."""

from dataclasses import replace
from typing import Final

import orjson

from otel_ml_collector.query.filter.texts import test_text
from otel_ml_collector.query.filter.values import (
    CONTAINS,
    EQUALITY,
    NEGATIVE,
    Values,
    compare_number,
    text_of,
    values_of,
)
from otel_ml_collector.query.language import Ago, Comparison, Constant, Duration
from otel_ml_collector.query.language.source import bad
from otel_ml_collector.store.apart import Apart, late_tags, own_tags
from otel_ml_collector.store.targets import TAG_TEXT

_NUMBER: Final = "toFloat64OrNull(trim(BOTH '\"' FROM {}))"
_EXACT: Final = 2**53
_AFFIRMED: Final = {"!=": "==", "not in": "in", "not contains": "contains"}


def tag(values: Values, tree: Comparison, apart: Apart) -> str:
    """Write a condition on a tag: equality is read from the index, order compares as numbers.

    A run that has no such tag compares false.
    """
    key = tree.field.key
    if key is None:
        return _has_tag(values, tree, apart)
    label = values.add("String", key)
    affirmed = replace(tree, operator=_AFFIRMED.get(tree.operator, tree.operator))
    found, late = _tests(values, affirmed, key, label)
    is_told = f"mapContains(tags, {label})"
    if apart.tags:
        newest = late_tags(label, apart)
        changed = f"""((trace_id, span_id) IN (SELECT trace_id, span_id FROM ({newest}))
          AND NOT (trace_id, span_id, rank) IN ({own_tags(label, apart)}))"""  # noqa: S608 - fixed text; values are parameters
        found = f"""if({changed}, (trace_id, span_id) IN (
          SELECT trace_id, span_id FROM ({newest}) WHERE {late}), {found})"""  # noqa: S608 - fixed text; values are parameters
        is_told = f"({is_told} OR {changed})"
    return f"({is_told} AND NOT {found})" if tree.operator in NEGATIVE else found


def _tests(values: Values, tree: Comparison, key: str, label: str) -> tuple[str, str]:
    """Write the test of a run's own tag, and that of the newest late one."""
    stored = f"tags[{label}]"
    if tree.operator in EQUALITY:
        wanted = values_of(tree)
        if any(isinstance(value, Ago | Duration) for value in wanted):
            raise bad("Expected a text, a number, True or False, found a time", tree.column)
        tokens = [f"{key}={form}" for value in wanted for form in _texts(value)]
        texts = [form for value in wanted for form in _forms(value)]
        return (
            f"hasAny(tag_kv, {values.add('Array(String)', tokens)})",
            f"newest IN {values.add('Array(String)', texts)}",
        )
    if tree.operator in CONTAINS or tree.operator == "matches":
        own = test_text(values, tree, TAG_TEXT.format(stored))
        late = test_text(values, tree, TAG_TEXT.format("newest"))
        return f"(mapContains(tags, {label}) AND {own})", late
    test = compare_number(values, tree)
    return (
        f"ifNull({_NUMBER.format(stored)} {test}, 0)",
        f"ifNull({_NUMBER.format('newest')} {test}, 0)",
    )


def _has_tag(values: Values, tree: Comparison, apart: Apart) -> str:
    """Write whether a run has a tag of a name: ``"client" in tags``."""
    if tree.field.path or tree.operator not in CONTAINS:
        raise bad('Expected a key as in tags["name"]', tree.field.column)
    label = values.add("String", text_of(tree))
    found = f"mapContains(tags, {label})"
    if apart.tags:
        newest = late_tags(label, apart)
        found = f"({found} OR (trace_id, span_id) IN (SELECT trace_id, span_id FROM ({newest})))"  # noqa: S608 - fixed text; values are parameters
    return f"NOT {found}" if tree.operator in NEGATIVE else found


def _text(value: Constant) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _forms(value: Constant) -> list[str]:
    """A tag's value as it is stored: ``3`` and ``"3"`` are both meant by either."""
    return [form for text in _texts(value) for form in (text, orjson.dumps(text).decode())]


def _texts(value: Constant) -> list[str]:
    """The number 3 is meant by ``3`` and by ``3.0``."""
    texts = [_text(value)]
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        texts.append(str(int(value)))
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < _EXACT:
        texts.append(orjson.dumps(float(value)).decode())
    return texts
