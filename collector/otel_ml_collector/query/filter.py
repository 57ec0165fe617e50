"""Filters as SQL: every field of the language, its type, and the condition it becomes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.query.language import (
    Both,
    Comparison,
    Constant,
    Not,
    Tree,
    parse,
)
from otel_ml_collector.store.condition import ALWAYS, Condition, join
from otel_ml_collector.store.targets import EVERYTHING, Apart, late_tags, own_tags, scores
from otel_ml_collector.store.versions import NUMBERED_VERSIONS

_SQL_OPERATORS: Final = {"==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_TEXTS: Final = {
    "model": "model",
    "kind": "kind",
    "name": "name",
    "outcome": "outcome",
    "error_type": "error_type",
    "session": "session",
    "user": "user",
    "environment": "environment",
    "release": "release",
    "provider": "provider",
    "provider_model": "provider_model",
}
_NUMBERS: Final = {
    "latency_ms": "latency_ns / 1e6",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cost": "cost",
}
_ORDER: Final = "time_ns, judge_version, record_id"
_KEYED: Final = ("tags", "scores", "passed")
FIELDS: Final = (*_TEXTS, *_NUMBERS, "version", *_KEYED)

_VERSION: Final = f"""(model, digest, structure) IN (
  SELECT name, digest, structure FROM ({NUMBERED_VERSIONS.replace("{", "{{").replace("}", "}}")})
  WHERE kind = 'model' AND {{test}})"""  # noqa: S608 - fixed text; values are parameters
_TAG_NUMBER: Final = "toFloat64OrNull(trim(BOTH '\"' FROM {}))"


def compile_filter(text: str, apart: Apart = EVERYTHING) -> tuple[Tree | None, Condition]:
    """Compile a filter to a condition on `runs`.

    Args:
        text: An expression of the filter language; empty for no filter.
        apart: What came apart from the runs that are looked at.

    Returns:
        The parsed filter, and the condition; it needs the parameter ``project`` besides its own.

    Raises:
        BadQuery: The text is no filter, names an unknown field or compares with a value of
            another type.
    """
    tree = parse(text)
    return tree, ALWAYS if tree is None else _Compiler(apart).condition(tree)


@dataclass(slots=True)
class _Compiler:
    """Gives each value a parameter of its own."""

    _apart: Apart
    _count: int = 0
    _parameters: dict[str, Any] = field(default_factory=dict)

    def condition(self, tree: Tree) -> Condition:
        if isinstance(tree, Comparison):
            self._parameters = {}
            sql = self._comparison(tree)
            # A field that is absent compares false, and so its negation is true.
            return Condition(f"ifNull({sql}, 0)", self._parameters)
        if isinstance(tree, Not):
            inner = self.condition(tree.part)
            return Condition(f"NOT ({inner.sql})", inner.parameters)
        operator = "AND" if isinstance(tree, Both) else "OR"
        return join(operator, [self.condition(part) for part in tree.parts])

    def _comparison(self, tree: Comparison) -> str:
        name, key = tree.field.name, tree.field.key
        if name in _KEYED:
            if key is None:
                raise _bad(f'Expected a key as in {name}["name"]', tree.field.column)
            return _KEYED_SQL[name](self, tree, key)
        if key is not None or name not in FIELDS:
            raise _bad(
                f"Unknown field {name!r}: expected one of {', '.join(FIELDS)}", tree.field.column
            )
        if name == "version":
            number = self._test("number", tree, "number")
            return _VERSION.format(test=number)
        if name in _TEXTS:
            return self._test(_TEXTS[name], tree, "text")
        return self._test(_NUMBERS[name], tree, "number")

    def tag(self, tree: Comparison, key: str) -> str:
        """Equality is read from the index; order compares as numbers, also numeric text."""
        label = self._parameter("String", key)
        stored = f"tags[{label}]"
        if tree.operator in {"==", "!=", "in", "not in"}:
            values = tree.value if isinstance(tree.value, tuple) else (tree.value,)
            tokens = [f"{key}={form}" for value in values for form in _tag_texts(value)]
            texts = [form for value in values for form in _tag_forms(value)]
            late = f"newest IN {self._parameter('Array(String)', texts)}"
            found = f"hasAny(tag_kv, {self._parameter('Array(String)', tokens)})"
        else:
            test = self._order(tree, "number")
            late = f"{_TAG_NUMBER.format('newest')} {test}"
            found = f"{_TAG_NUMBER.format(stored)} {test}"
        is_told = f"mapContains(tags, {label})"
        if self._apart.tags:
            newest = late_tags(label, self._apart)
            changed = f"""((trace_id, span_id) IN (SELECT trace_id, span_id FROM ({newest}))
              AND NOT (trace_id, span_id, rank) IN ({own_tags(label, self._apart)}))"""  # noqa: S608 - fixed text; values are parameters
            found = f"""if({changed}, (trace_id, span_id) IN (
              SELECT trace_id, span_id FROM ({newest}) WHERE {late}), {found})"""  # noqa: S608 - fixed text; values are parameters
            is_told = f"({is_told} OR {changed})"
        return f"({is_told} AND NOT {found})" if tree.operator in {"!=", "not in"} else found

    def score(self, tree: Comparison, key: str) -> str:
        """The newest score of each judge counts."""
        label = self._parameter("String", key)
        return self._said(label, "score", self._order(tree, "number"))

    def passed(self, tree: Comparison, key: str) -> str:
        """``passed["judge"] == True``."""
        if not isinstance(tree.value, bool) or tree.operator not in {"==", "!="}:
            raise _bad("Expected == True or == False", tree.column)
        label = self._parameter("String", key)
        test = f"{_SQL_OPERATORS[tree.operator]} {self._parameter('Bool', tree.value)}"
        return self._said(label, "passed", test)

    def _said(self, label: str, column: str, test: str) -> str:
        """Test what a judge or a person said last of a run."""
        return f"""(trace_id, span_id) IN (
          SELECT trace_id, span_id FROM ({scores(label, self._apart)}) GROUP BY trace_id, span_id
          HAVING tupleElement(argMax(tuple({column}), ({_ORDER})), 1) {test})"""  # noqa: S608 - fixed text; values are parameters

    def _test(self, column: str, tree: Comparison, kind: str) -> str:
        return f"{column} {self._order(tree, kind)}"

    def _order(self, tree: Comparison, kind: str) -> str:
        """Write operator and value, checked against the field's type."""
        sql_type = "String" if kind == "text" else "Float64"
        values = tree.value if isinstance(tree.value, tuple) else (tree.value,)
        for value in values:
            _check_type(value, kind, tree.column)
        if tree.operator in {"in", "not in"}:
            sign = tree.operator.upper()
            return f"{sign} {self._parameter(f'Array({sql_type})', list(values))}"
        if kind == "text" and tree.operator not in {"==", "!="}:
            raise _bad("Expected == != or in: texts have no order here", tree.column)
        return f"{_SQL_OPERATORS[tree.operator]} {self._parameter(sql_type, values[0])}"

    def _parameter(self, sql_type: str, value: object) -> str:
        name = f"f{self._count}"
        self._count += 1
        self._parameters[name] = value
        return f"{{{name}:{sql_type}}}"


_KEYED_SQL: Final[Mapping[str, Callable[[_Compiler, Comparison, str], str]]] = {
    "tags": _Compiler.tag,
    "scores": _Compiler.score,
    "passed": _Compiler.passed,
}


def _check_type(value: Constant, kind: str, column: int) -> None:
    if kind == "text" and not isinstance(value, str):
        raise _bad(f"Expected a text in quotes, found {value!r}", column)
    if kind == "number" and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise _bad(f"Expected a number, found {value!r}", column)


def _tag_text(value: Constant) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _tag_forms(value: Constant) -> list[str]:
    """A tag's value as it is stored: ``3`` and ``"3"`` are both meant by either."""
    return [form for text in _tag_texts(value) for form in (text, orjson.dumps(text).decode())]


def _tag_texts(value: Constant) -> list[str]:
    """The number 3 is meant by ``3`` and by ``3.0``."""
    texts = [_tag_text(value)]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        texts.append(str(int(value)))
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        texts.append(orjson.dumps(float(value)).decode())
    return texts


def _bad(message: str, column: int) -> BadQuery:
    return BadQuery(message, "where", column)
