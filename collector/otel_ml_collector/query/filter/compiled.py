"""Compiles a filter: each comparison by the kind of its field, tests of one payload together."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from otel_ml_collector.query.filter.payloads import beside, has_payload, is_indexed, test_payload
from otel_ml_collector.query.filter.said import metric, passed, score
from otel_ml_collector.query.filter.tags import tag
from otel_ml_collector.query.filter.texts import identity, text, trace_key
from otel_ml_collector.query.filter.times import time
from otel_ml_collector.query.filter.values import Values, compare_number, values_of
from otel_ml_collector.query.language import Both, Comparison, Not, Tree, comparisons_of, parse
from otel_ml_collector.query.language.names import FIELD_NAMES, FIELDS, Kind, nearest
from otel_ml_collector.query.language.source import bad
from otel_ml_collector.store.apart import EVERYTHING, Apart
from otel_ml_collector.store.condition import ALWAYS, Condition, Search
from otel_ml_collector.store.sql import EMPTY, Sql, compact, identifier, join_sql
from otel_ml_collector.store.versions import NUMBERED_VERSIONS

_HALF: Final = re.compile("[\ud800-\udfff]")
_PAYLOAD: Final = frozenset({Kind.PAYLOAD, Kind.JSON})
# The engine reads no longer text of a query than 262,144 bytes; values are apart from it.
_MAX_SQL: Final = 230_000
_LATENCY: Final = Sql("latency_ns / 1e6")
_VERSION: Final = Sql("""(model, digest, structure) IN (
  SELECT name, digest, structure FROM ({versions})
  WHERE kind = 'model' AND number {test})""")
_SAID: Final[Mapping[Kind, Callable[[Values, Comparison, Apart], Sql]]] = {
    Kind.TAG: tag,
    Kind.SCORE: score,
    Kind.PASSED: passed,
    Kind.METRIC: metric,
}


def compile_filter(where: str, apart: Apart = EVERYTHING) -> tuple[Tree | None, Condition]:
    """Compile a filter to a condition on `runs`.

    Args:
        where: An expression of the filter language; empty for no filter.
        apart: What came apart from the runs that are looked at.

    Returns:
        The parsed filter, and the condition; besides its own parameters it needs ``project``, and
        ``start`` and ``end``, the window of time that is asked about.

    Raises:
        BadQuery: The text is no filter, names an unknown field or compares with a value of
            another type.
    """
    tree = parse(where)
    if tree is None:
        return None, ALWAYS
    for comparison in comparisons_of(tree):
        _check_name(comparison)
        _check_characters(comparison)
    compiler = _Compiler(apart)
    sql = compact(compiler.write(tree))
    if len(sql) > _MAX_SQL:
        raise bad("The filter has too many parts", 0)
    reads_payloads = any(_is_of_payload(one) for one in comparisons_of(tree))
    search = compiler.search(tree)
    return tree, Condition(sql, compiler.values.parameters, reads_payloads, search)


class _Compiler:
    def __init__(self, apart: Apart) -> None:
        self._apart = apart
        self.values = Values()

    def write(self, tree: Tree) -> Sql:
        """Write what is true or false of a run, and never null: its negation is the other one."""
        if isinstance(tree, Comparison):
            if _is_of_payload(tree):
                return has_payload(test_payload(self.values, tree), EMPTY)
            return self._compare(tree)
        if isinstance(tree, Not):
            return Sql("NOT ({part})").fill(part=self.write(tree.part))
        return self._join(tree.parts, " AND " if isinstance(tree, Both) else " OR ")

    def search(self, tree: Tree) -> Search | None:
        """Write how the runs are found by words of their payloads, if they must have some."""
        tested, others = _divide(tree.parts if isinstance(tree, Both) else [tree])
        if not any(is_indexed(one) for one in tested):
            return None
        tests = join_sql(" AND ", [test_payload(self.values, one) for one in tested])
        rest = self._rest(others) if others else Sql("1")
        return Search(tests + Sql(" ") + beside(self._light(others)), rest)

    def _join(self, parts: Sequence[Tree], word: Literal[" AND ", " OR "]) -> Sql:
        """Join conditions; those on the payload look at it once, and after the others."""
        tested, others = _divide(parts)
        written = [_in_brackets(self.write(part)) for part in others]
        if tested:
            tests = join_sql(word, [test_payload(self.values, part) for part in tested])
            is_found = word == " OR " or any(is_indexed(part) for part in tested)
            light = EMPTY if is_found else self._light(others)
            written.append(_in_brackets(has_payload(_in_brackets(tests), light)))
        return join_sql(word, written)

    def _rest(self, parts: Sequence[Tree]) -> Sql:
        return join_sql(" AND ", [_in_brackets(self.write(part)) for part in parts])

    def _light(self, parts: Sequence[Tree]) -> Sql:
        """Write those conditions that read no payload themselves."""
        return self._rest(
            [part for part in parts if not any(map(_is_of_payload, comparisons_of(part)))]
        )

    def _compare(self, tree: Comparison) -> Sql:
        kind, name = FIELD_NAMES[tree.field.name].kind, tree.field.name
        if kind in _SAID:
            return _SAID[kind](self.values, tree, self._apart)
        if kind is Kind.TIME:
            return time(self.values, tree)
        if kind in {Kind.NUMBER, Kind.DURATION}:
            return self._number(tree)
        if name == "trace_key":
            return trace_key(self.values, tree)
        if name in {"run_id", "trace_id", "parent_run_id"}:
            return identity(self.values, tree)
        return text(self.values, tree)

    def _number(self, tree: Comparison) -> Sql:
        if tree.field.path:
            what = FIELD_NAMES[tree.field.name].kind.value
            raise bad(f"{tree.field.name} has no parts: it is a {what}", tree.field.column)
        test = compare_number(self.values, tree)
        if tree.field.name == "version":
            return _VERSION.fill(versions=NUMBERED_VERSIONS, test=test)
        column = _LATENCY
        if not tree.field.name.startswith("latency"):
            column = identifier(tree.field.name, FIELD_NAMES)
        return Sql("ifNull({column} {test}, 0)").fill(column=column, test=test)


def _in_brackets(part: Sql) -> Sql:
    return Sql("({part})").fill(part=part)


def _divide(parts: Sequence[Tree]) -> tuple[list[Comparison], list[Tree]]:
    """Tell comparisons with a payload from all other conditions."""
    tested = [part for part in parts if isinstance(part, Comparison) and _is_of_payload(part)]
    others = [part for part in parts if not (isinstance(part, Comparison) and _is_of_payload(part))]
    return tested, others


def _is_of_payload(tree: Comparison) -> bool:
    return FIELD_NAMES[tree.field.name].kind in _PAYLOAD


def _check_characters(tree: Comparison) -> None:
    """Refuse what an escape may write and no text that is stored can have."""
    for part in (*tree.field.path, *values_of(tree)):
        if isinstance(part, str) and _HALF.search(part):
            raise bad("Expected a text of characters, found a half of one", tree.column)


def _check_name(tree: Comparison) -> None:
    name = tree.field.name
    if name in FIELD_NAMES:
        return
    near = nearest(name)
    right = f"did you mean {near}?" if near else f"expected one of {', '.join(FIELDS)}"
    hint = "" if near else f'; a tag is tags["{name}"]'
    raise bad(f"Unknown field {name!r}: {right}{hint}", tree.field.column)
