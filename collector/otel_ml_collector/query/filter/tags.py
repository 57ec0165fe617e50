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
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.targets import TAG_TEXT

_NUMBER: Final = Sql("toFloat64OrNull(trim(BOTH '\"' FROM {text}))")
_EXACT: Final = 2**53
_AFFIRMED: Final = {"!=": "==", "not in": "in", "not contains": "contains"}


def tag(values: Values, tree: Comparison, apart: Apart) -> Sql:
    """Write a condition on a tag: equality is read from the index, order compares as numbers.

    A run that has no such tag compares false.
    """
    key = tree.field.key
    if key is None:
        return _has_tag(values, tree, apart)
    label = values.add("String", key)
    affirmed = replace(tree, operator=_AFFIRMED.get(tree.operator, tree.operator))
    found, late = _tests(values, affirmed, key, label)
    is_told = Sql("mapContains(tags, {label})").fill(label=label)
    if apart.tags:
        newest = late_tags(label, apart)
        changed = Sql("""((trace_id, span_id) IN (SELECT trace_id, span_id FROM ({newest}))
          AND NOT (trace_id, span_id, rank) IN ({own_tags}))""").fill(
            newest=newest, own_tags=own_tags(label, apart)
        )
        found = Sql("""if({changed}, (trace_id, span_id) IN (
          SELECT trace_id, span_id FROM ({newest}) WHERE {late}), {found})""").fill(
            changed=changed, newest=newest, late=late, found=found
        )
        is_told = Sql("({own} OR {changed})").fill(own=is_told, changed=changed)
    return (
        Sql("({is_told} AND NOT {found})").fill(is_told=is_told, found=found)
        if tree.operator in NEGATIVE
        else found
    )


def _tests(values: Values, tree: Comparison, key: str, label: Sql) -> tuple[Sql, Sql]:
    """Write the test of a run's own tag, and that of the newest late one."""
    stored = Sql("tags[{label}]").fill(label=label)
    if tree.operator in EQUALITY:
        wanted = values_of(tree)
        if any(isinstance(value, Ago | Duration) for value in wanted):
            raise bad("Expected a text, a number, True or False, found a time", tree.column)
        tokens = [f"{key}={form}" for value in wanted for form in _texts(value)]
        texts = [form for value in wanted for form in _forms(value)]
        return (
            Sql("hasAny(tag_kv, {tokens})").fill(tokens=values.add("Array(String)", tokens)),
            Sql("newest IN {value}").fill(value=values.add("Array(String)", texts)),
        )
    if tree.operator in CONTAINS or tree.operator == "matches":
        own = test_text(values, tree, TAG_TEXT.fill(value=stored))
        late = test_text(values, tree, TAG_TEXT.fill(value=Sql("newest")))
        return Sql("(mapContains(tags, {label}) AND {own})").fill(label=label, own=own), late
    test = compare_number(values, tree)
    found = Sql("ifNull({number} {test}, 0)")
    return (
        found.fill(number=_NUMBER.fill(text=stored), test=test),
        found.fill(number=_NUMBER.fill(text=Sql("newest")), test=test),
    )


def _has_tag(values: Values, tree: Comparison, apart: Apart) -> Sql:
    """Write whether a run has a tag of a name: ``"client" in tags``."""
    if tree.field.path or tree.operator not in CONTAINS:
        raise bad('Expected a key as in tags["name"]', tree.field.column)
    label = values.add("String", text_of(tree))
    found = Sql("mapContains(tags, {label})").fill(label=label)
    if apart.tags:
        newest = late_tags(label, apart)
        found = Sql(
            "({found} OR (trace_id, span_id) IN (SELECT trace_id, span_id FROM ({newest})))"
        ).fill(found=found, newest=newest)
    return Sql("NOT ") + found if tree.operator in NEGATIVE else found


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
