"""Completes filters while they are typed: fields, operators, and values with their counts."""

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Final, Literal

import orjson
from fastapi import APIRouter, Query
from pydantic import Field as Described

from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import End, FromReader, Start
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.errors import suggest
from otel_ml_collector.filter.fields import FIELD_NAMES, SHORT, SOURCES, Kind
from otel_ml_collector.filter.grammar import Token, comparisons_of, parse, read_tokens
from otel_ml_collector.store.counted import DELIVERIES, ONCE
from otel_ml_collector.store.facts import LATE_TAG_VALUES, WORDS_OF_SOURCE, write_names
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.scores import all_scores
from otel_ml_collector.store.sql import Sql, identifier, join_sql, parameter
from otel_ml_collector.store.tables import IS_POINT
from otel_ml_collector.store.versions import version_numbers
from otel_ml_collector.times import DAY_NS, HOUR_NS
from otel_ml_collector.windows import DAY_NAMES, Window

# Columns whose few values are checked if a filter matches nothing.
_CHECKED: Final = frozenset(
    {"model", "environment", "release", "provider", "provider_model", "outcome", "kind", "dataset"}
)
_MOST_CHECKED: Final = 100  # names or values to compare with
_MOST_EXPLAINED: Final = 10  # comparisons, each with up to two queries
_LENGTHS: Final = ("15m", "1h", "24h", "7d", "30d", *DAY_NAMES)
_DURATIONS: Final = ("10ms", "100ms", "1s", "10s", "1m")
_SETS: Final = {
    "kind": (
        *("model", "chain", "tool", "retriever", "embedding", "agent", "training", "judge"),
        "experiment",
        "span",
    ),
    "finish_reason": (
        *("stop", "length", "tool_calls", "content_filter"),
        *("end_turn", "max_tokens", "tool_use"),
    ),
    "outcome": ("ok", "error", "cancelled", "abandoned", "running", "crashed"),
}
_OPERATORS: Final = {
    Kind.TEXT: ("==", "!=", "in", "not in"),
    Kind.REASON: ("==", "!=", "in", "not in"),
    Kind.DIGEST: ("==", "!=", "in", "not in"),
    Kind.NUMBER: ("==", "!=", "<", "<=", ">", ">=", "in"),
    Kind.DURATION: ("<", "<=", ">", ">="),
    Kind.TIME: (">", ">=", "<", "<="),
    Kind.TAG: ("==", "!=", "in", "not in", "<", "<=", ">", ">="),
    Kind.SCORE: ("<", "<=", ">", ">=", "==", "!="),
    Kind.METRIC: ("<", "<=", ">", ">=", "==", "!="),
    Kind.PASSED: ("==", "!="),
    Kind.WORD: ("==", "!=", "in", "<", "<=", ">", ">="),
    Kind.JUDGE_VERSION: ("==", "!=", "<", "<=", ">", ">=", "in"),
    Kind.PAYLOAD: ("==", "!=", "in", "<", "<=", ">", ">="),
    Kind.JSON: ("==", "!=", "in", "<", "<=", ">", ">="),
}
_SEARCHED: Final = frozenset(
    {Kind.TEXT, Kind.REASON, Kind.TAG, Kind.SCORE, Kind.METRIC, Kind.WORD}
    | {Kind.PAYLOAD, Kind.JSON}
)
_FUNCTIONS: Final = {
    "last": ('last("24h")', "runs that started in the last 24 hours"),
    "matches": ("matches(", "matches a text with a regular expression"),
    "not": ("not ", "the opposite"),
}
_MODEL: Final = re.compile(r"""\bmodel\s*==\s*(?:"([^"\\]*)"|'([^'\\]*)')""")
_COMPARING: Final = frozenset({"==", "!=", "<", "<=", ">", ">=", "="})
_JOINING: Final = frozenset({"and", "or", "not"})
_LISTS: Final = frozenset({"(", "[", ","})
# Number of newest rows to read, however many a project has. If no value among them begins with the
# typed text, more rows are read.
_SCANNED_RUNS: Final = 20_000
_MORE_RUNS: Final = 200_000
# Columns whose values are shared by few runs. Their values are not suggested.
_UNCOUNTED: Final = {
    *("error_message", "run_id", "trace_id", "parent_run_id", "trace_key"),
    *("record_of", "response_id"),
}
_TEXT_COLUMNS: Final = {
    name for name, field in FIELD_NAMES.items() if field.kind is Kind.TEXT
} - _UNCOUNTED
_WINDOW: Final = Sql(
    "project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}"
)
# Each run once. Half of the rows that are read can be replaced ones of other runs.
_NEWEST: Final = Sql("""FROM (
    SELECT * FROM {deliveries} WHERE {window} ORDER BY start_ns DESC LIMIT 2 * {rows:UInt32}
  ) ORDER BY start_ns DESC, rank DESC {once} LIMIT {rows:UInt32}""").fill(
    deliveries=DELIVERIES, window=_WINDOW, once=ONCE
)
_LATE_TAGS: Final = LATE_TAG_VALUES + Sql(" LIMIT 50000")
_TAGS: Final = Sql("""SELECT arrayJoin(names) AS value FROM (SELECT mapKeys(tags) AS names {newest})
  UNION ALL SELECT name FROM ({late})""").fill(newest=_NEWEST, late=_LATE_TAGS)
_TAG_VALUES: Final = Sql("""SELECT tags[{key:String}] AS value {newest}
  UNION ALL SELECT value FROM ({late}) WHERE name = {key:String}""").fill(
    newest=_NEWEST, late=_LATE_TAGS
)
# Judges, and everyone else who gave scores.
_JUDGES: Final = Sql("SELECT judge AS value FROM ({scores})").fill(scores=all_scores(_WINDOW))
_METRIC_NAMES: Final = Sql("SELECT name AS value FROM ({names}) LIMIT 1000000").fill(
    names=write_names(IS_POINT)
)
# Values of ground truth, labels or agents' reports, depending on the source of the field.
_EVALUATION_WORDS: Final = WORDS_OF_SOURCE + Sql(" LIMIT 200000")
_EVALUATION_NAMES: Final = Sql("SELECT name AS value FROM ({words})").fill(words=_EVALUATION_WORDS)
_EVALUATION_VALUES: Final = Sql("""SELECT word AS value FROM ({words}) WHERE name = {key:String}
  AND NOT startsWith(word, '[') AND length(word) <= 200""").fill(words=_EVALUATION_WORDS)
_KEYS: Final = {
    Kind.TAG: _TAGS,
    Kind.SCORE: _JUDGES,
    Kind.PASSED: _JUDGES,
    Kind.JUDGE_VERSION: _JUDGES,
    Kind.METRIC: _METRIC_NAMES,
    Kind.WORD: _EVALUATION_NAMES,
}
_VERSIONS_OF_MODEL: Final = Sql("""
  SELECT model, digest, structure, count() AS runs
  FROM (SELECT model, digest, structure {newest})
  WHERE model != '' AND ({model:String} = '' OR model = {model:String})
  GROUP BY model, digest, structure ORDER BY runs DESC LIMIT 1000""").fill(newest=_NEWEST)
_LATEST_PAYLOADS: Final = Sql("""
  SELECT {column} FROM payloads WHERE {window} ORDER BY start_ns DESC LIMIT 500""")
_PART_KEYS: Final = Sql("SELECT arrayJoin(JSONExtractKeys({at})) AS value FROM ({payloads})")
# Short texts, numbers and bools at a path, as JSON text.
_PARTS: Final = Sql("""
  SELECT JSONExtractRaw({at}) AS value FROM ({payloads})
  WHERE JSONType({at}) IN ('String', 'Int64', 'UInt64', 'Double', 'Bool')
    AND length(value) <= 200""")
_COUNT: Final = Sql("""
  SELECT toString(value) AS text, count() AS runs FROM ({values})
  WHERE value != '' AND startsWith(lowerUTF8(trim(LEADING '"' FROM toString(value))),
    lowerUTF8({prefix:String}))
  GROUP BY text ORDER BY runs DESC, text LIMIT {limit:UInt32}""")


class CompletionItem(AnswerBody):
    """One completion."""

    text: str = Described(description="What to show")
    kind: Literal["field", "key", "operator", "value"]
    count: int | None = Described(
        description="Number of the newest runs that have this field or value; null if they were "
        "not counted"
    )
    insert: str = Described(description="Text that replaces the filter from `start` to `end`")
    about: str = Described(default="", description="For a field: what the field contains")


class Completion(AnswerBody):
    """Completions at the end of a text, the likeliest first."""

    start: int = Described(
        description="Position where the text that an item replaces begins, from 0"
    )
    end: int = Described(
        description="Position where the text that an item replaces ends: always the end of the "
        "filter"
    )
    items: list[CompletionItem]


@dataclass(frozen=True, slots=True)
class CompletionQuery:
    """The text to complete, and the runs to read values from.

    Attributes:
        where: The filter up to the caret.
        window: The time range in which the runs started.
        limit: Maximum number of items.
    """

    project: str
    where: str
    window: Window
    limit: int


def find_completion(reader: Reader, query: CompletionQuery) -> Completion:
    """Find the completions at the end of a filter.

    Values are counted among the newest 20,000 runs of the window, and the newest 500 payloads.
    """
    caret = read_caret(query.where)
    items = _Completer(reader, query, caret).find()[: query.limit]
    # A key after a dot also replaces the dot.
    start = caret.start - 1 if caret.is_dotted and items else caret.start
    return Completion(start=start, end=len(query.where), items=items)


def explain_names(reader: Reader, project: str, where: str, now_ns: int) -> list[str]:
    """Find likely typing errors in a filter, and return one sentence for each.

    A name or value is reported if no run of the last 30 days has it. Two things are checked: names
    of tags, judges, metrics and labels, such as ``client`` in ``tags["client"]``; and the values
    in comparisons with ``==`` of a tag or of a field such as ``model``. Only the first 10
    comparisons of the filter are checked. A name or value is not reported if the project has 100
    or more, because only the first 100 are read.
    """
    window = Window(now_ns - 30 * DAY_NS, now_ns + HOUR_NS)

    def explain(begin: str, name: str, named: str) -> str:
        """Explain that a name or value is unknown; empty if it is known."""
        query = CompletionQuery(project, f'{begin}"', window, _MOST_CHECKED)
        known = [item.text for item in find_completion(reader, query).items]
        if name in known or len(known) >= _MOST_CHECKED:
            return ""
        return f"No run of the last 30 days has {named}: {suggest(name, known)}"

    found: list[str] = []
    for comparison in [*comparisons_of(parse(where))][:_MOST_EXPLAINED]:
        field, value = comparison.field, comparison.value
        kind, begin, hint = FIELD_NAMES[field.name].kind, field.name, ""
        keys = [*field.path, *([value] if comparison.operator == "contains" else [])]
        if kind in _KEYS and keys:  # `tags["client"]`, or `"client" in tags`
            key = str(keys[0])
            begin = f"{field.name}[{_quoted(key)}]"
            hint = explain(f"{field.name}[", key, begin)
        is_checked = kind is Kind.TAG or field.name in _CHECKED
        if not hint and is_checked and comparison.operator == "==" and isinstance(value, str):
            hint = explain(f"{begin} == ", value, f"{begin} == {_quoted(value)}")
        found.append(hint)
    return [*dict.fromkeys(filter(None, found))]


class _Completer:
    """Finds the items for a caret."""

    def __init__(self, reader: Reader, query: CompletionQuery, caret: "Caret") -> None:
        self._reader = reader
        self._query = query
        self._caret = caret

    def find(self) -> list[CompletionItem]:
        caret, field = self._caret, FIELD_NAMES.get(self._caret.field)
        if caret.want in {Want.FIELD, Want.SEARCHED}:
            return self._fields()
        if caret.want is Want.JOIN:
            return self._words(("and", "or"))
        if caret.want is Want.LENGTH:
            return [_value(_quoted(text), text) for text in self._begun(_LENGTHS)]
        if caret.want is Want.OPERATOR and field is None:
            return self._words(() if caret.field else ("in", "not in"))
        if field is None:
            return []
        if caret.want is Want.OPERATOR:
            return self._words(_OPERATORS[field.kind])
        if caret.want is Want.KEY:
            return self._keys(field.kind)
        return self._values(field.kind) if caret.want is Want.VALUE else []

    def _fields(self) -> list[CompletionItem]:
        """List the fields. After `"x" in`, list only fields that can contain a text."""
        is_any = self._caret.want is Want.FIELD
        items = [
            CompletionItem(text=text, kind="field", count=None, insert=text, about=field.about)
            for name, field in FIELD_NAMES.items()
            if (text := field.short or name) and (is_any or field.kind in _SEARCHED)
        ]
        if is_any:
            items += [
                CompletionItem(text=name, kind="operator", count=None, insert=insert, about=about)
                for name, (insert, about) in _FUNCTIONS.items()
            ]
        prefix = self._caret.prefix.lower()
        return [item for item in items if item.text.startswith(prefix)] or [
            item for item in items if prefix in item.text
        ]

    def _words(self, words: Iterable[str]) -> list[CompletionItem]:
        return [
            CompletionItem(text=word, kind="operator", count=None, insert=f"{word} ")
            for word in self._begun(words)
        ]

    def _begun(self, texts: Iterable[str]) -> list[str]:
        return [text for text in texts if text.startswith(self._caret.prefix)]

    def _keys(self, kind: Kind) -> list[CompletionItem]:
        if kind in {Kind.PAYLOAD, Kind.JSON}:
            rows = self._count_parts(_PART_KEYS)
        elif kind in {Kind.SCORE, Kind.PASSED} and len(self._caret.path) == 1:
            return [
                CompletionItem(text=number, kind="key", count=None, insert=f"{number}]")
                for number in self._judge_versions()
            ]
        elif self._caret.path or kind not in _KEYS:
            return []
        else:
            rows = self._count(_KEYS[kind], source=SOURCES.get(self._caret.field, ""))
        return [
            CompletionItem(
                text=row["text"], kind="key", count=row["runs"], insert=self._key(row["text"])
            )
            for row in rows
        ]

    def _key(self, key: str) -> str:
        """Write a key after an open bracket, or after a dot if it is a valid name."""
        if not self._caret.is_dotted:
            return f"{_quoted(key)}]"
        return f".{key}" if key.isidentifier() else f"[{_quoted(key)}]"

    def _values(self, kind: Kind) -> list[CompletionItem]:
        caret = self._caret
        if kind in {Kind.PASSED, Kind.JUDGE_VERSION}:
            words = ("True", "False") if kind is Kind.PASSED else self._judge_versions()
            return [_value(word) for word in self._begun(words)]
        if kind is Kind.DURATION:
            return [_value(text) for text in self._begun(_DURATIONS)]
        if kind is Kind.TIME:
            return [_value(f'last("{length}")') for length in _LENGTHS]
        if kind is Kind.TAG and len(caret.path) == 1:
            return _read_values(self._count(_TAG_VALUES, key=str(caret.path[0])))
        if kind is Kind.WORD and len(caret.path) == 1:
            key, source = str(caret.path[0]), SOURCES[caret.field]
            return _read_values(self._count(_EVALUATION_VALUES, key=key, source=source))
        if kind in {Kind.PAYLOAD, Kind.JSON} and caret.path:
            return _read_values(self._count_parts(_PARTS))
        if caret.field == "version":
            return self._versions()
        return self._texts() if kind in {Kind.TEXT, Kind.REASON} else []

    def _texts(self) -> list[CompletionItem]:
        """Count the values of a column. Values of a closed set are listed even without runs."""
        field = self._caret.field
        entries: dict[str, int] = {}
        if field in _TEXT_COLUMNS:
            column = Sql("SELECT `{column}` AS value {newest}")
            column = column.fill(column=identifier(field, _TEXT_COLUMNS), newest=_NEWEST)
            entries = {row["text"]: row["runs"] for row in self._count(column)}
        texts = dict.fromkeys([*entries, *self._begun(_SETS.get(field, ()))])
        return [_value(_quoted(text), text, entries.get(text, 0)) for text in texts]

    def _versions(self) -> list[CompletionItem]:
        """Suggest version numbers of the last model in the filter, with their number of runs."""
        named = _MODEL.findall(self._query.where)
        model = "".join(named[-1]) if named else ""
        rows = self._reader.rows(_VERSIONS_OF_MODEL, {**self._parameters(), "model": model})
        models = {row["model"] for row in rows}
        numbers = version_numbers(self._reader, self._query.project, "model", models)
        versions: dict[int, int] = {}
        for row in rows:
            number = numbers.get((row["model"], row["digest"], row["structure"]))
            if number is not None and str(number).startswith(self._caret.prefix):
                versions[number] = versions.get(number, 0) + row["runs"]
        return [
            _value(str(number), count=versions[number]) for number in sorted(versions, reverse=True)
        ]

    def _judge_versions(self) -> list[str]:
        """List the version numbers of a judge, newest first."""
        judge = str(self._caret.path[0]) if self._caret.path else ""
        numbers = version_numbers(self._reader, self._query.project, "judge", [judge])
        return self._begun(map(str, sorted(set(numbers.values()), reverse=True)))

    def _count_parts(self, values: Sql) -> list[Row]:
        """Count the values at a path of a payload. The store counts list positions from 1."""
        column, path = identifier(self._caret.field, FIELD_NAMES), self._caret.path
        names = [
            parameter(f"step{place}", "String" if isinstance(step, str) else "Int64")
            for place, step in enumerate(path)
        ]
        steps: dict[str, str | int] = {
            f"step{place}": step + 1 if isinstance(step, int) and step >= 0 else step
            for place, step in enumerate(path)
        }
        payloads = _LATEST_PAYLOADS.fill(column=column, window=_WINDOW)
        return self._count(
            values.fill(at=join_sql(", ", [column, *names]), payloads=payloads), **steps
        )

    def _count(self, values: Sql, **more: str | int) -> list[Row]:
        """Count the values that begin with the typed prefix, most frequent first."""
        prefix = self._caret.prefix
        sql = _COUNT.fill(values=values)
        parameters = {
            **self._parameters(),
            "prefix": prefix,
            "limit": self._query.limit,
            **more,
        }
        rows = self._reader.rows(sql, parameters)
        if rows or not prefix or "{rows:" not in values:
            return rows
        return self._reader.rows(sql, parameters | {"rows": _MORE_RUNS})

    def _parameters(self) -> dict[str, str | int]:
        query = self._query
        return {
            "project": query.project,
            "start": query.window.start_ns,
            "end": query.window.end_ns,
            "rows": _SCANNED_RUNS,
        }


def _read_values(rows: Iterable[Row]) -> list[CompletionItem]:
    """Make items from values in JSON text."""
    items = []
    for row in rows:
        value = orjson.loads(row["text"])
        shown = value if isinstance(value, str) else row["text"]
        insert = _quoted(value) if isinstance(value, str) else str(value)
        items.append(_value(insert, shown, row["runs"]))
    return items


def _value(insert: str, text: str = "", count: int | None = None) -> CompletionItem:
    return CompletionItem(text=text or insert, kind="value", count=count, insert=insert)


def _quoted(text: str) -> str:
    """Quote a text for a filter. Python reads the escapes of JSON in the same way."""
    return orjson.dumps(text).decode()


class Want(Enum):
    """The kinds of completion."""

    FIELD = "field"
    SEARCHED = "searched"  # a field after `"x" in`
    KEY = "key"
    OPERATOR = "operator"
    VALUE = "value"
    LENGTH = "length"  # a duration in `last(`
    JOIN = "join"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Caret:
    """What can be completed at the end of an unfinished filter, such as ``tags["client"] == "bi``.

    In this example, a value of the tag ``client`` that begins with ``bi`` is expected.

    Attributes:
        want: What is expected, such as a field, an operator or a value.
        field: The field that the value, key or operator belongs to, such as ``tags``; empty if
            there is none yet.
        path: The keys that follow the name of the field, such as ``("client",)``.
        prefix: The part of the expected text that is already typed, such as ``bi``.
        start: Position in the filter where the prefix begins.
        is_dotted: Whether a key is expected after a dot, as in ``inputs.qu``.
    """

    want: Want
    start: int
    prefix: str = ""
    field: str = ""
    path: tuple[str | int, ...] = ()
    is_dotted: bool = False


def read_caret(text: str) -> Caret:
    """Read the kind of completion at the end of a text; any text is accepted."""
    tokens = read_tokens(text)
    for place, token in enumerate(tokens):
        if token.sort == "quote":  # the quote is still open, so everything after it is text
            return _expect(tokens[:place], token.start, text[token.end :])
    if tokens and tokens[-1].sort in {"name", "number"} and tokens[-1].end == len(text):
        return _expect(tokens[:-1], tokens[-1].start, tokens[-1].text)
    return _expect(tokens, len(text), "")


def _expect(tokens: Sequence[Token], start: int, prefix: str) -> Caret:
    """Return the kind of completion after some tokens, with a typed prefix."""
    last = tokens[-1] if tokens else None
    if last is None or last.text in _JOINING:
        return Caret(Want.FIELD, start, prefix)
    if last.text in _COMPARING:
        return _of_field(Want.VALUE, tokens[:-1], start, prefix)
    if last.text == "in":
        return _behind_in(tokens, start, prefix)
    if last.text in _LISTS and (place := _opening(tokens)) is not None:
        return _in_brackets(tokens, place, start, prefix)
    if last.text == ".":
        return _of_field(Want.KEY, tokens[:-1], start, prefix, is_dotted=True)
    return _behind_operand(tokens, start, prefix)


def _behind_in(tokens: Sequence[Token], start: int, prefix: str) -> Caret:
    before = [*tokens[:-1]]
    if before and before[-1].text == "not":
        before.pop()
    is_text = bool(before) and before[-1].sort == "text"
    return Caret(Want.SEARCHED, start, prefix) if is_text else Caret(Want.NOTHING, start)


def _in_brackets(tokens: Sequence[Token], place: int, start: int, prefix: str) -> Caret:
    """Return the kind of completion after an open bracket, or after a comma in it."""
    before = tokens[:place]
    name = before[-1].text if before else ""
    if name == "in":
        until = -2 if len(before) > 1 and before[-2].text == "not" else -1
        return _of_field(Want.VALUE, before[:until], start, prefix)
    if name == "last":
        return Caret(Want.LENGTH, start, prefix)
    if tokens[place].text == "(" and tokens[-1].text == "(":
        return Caret(Want.FIELD, start, prefix)
    if tokens[place].text == "[" and place == len(tokens) - 1:
        return _of_field(Want.KEY, before, start, prefix)
    return Caret(Want.NOTHING, start)


def _behind_operand(tokens: Sequence[Token], start: int, prefix: str) -> Caret:
    """Return the kind of completion after a field, or after the end of a comparison."""
    field = _field(tokens)
    if field is not None:
        before = tokens[field[2] - 1].text if field[2] else ""
        if before not in _COMPARING and before != "in":
            return Caret(Want.OPERATOR, start, prefix, field[0], field[1])
    if tokens[-1].sort == "text" and (len(tokens) == 1 or tokens[-2].text in _JOINING | {"("}):
        return Caret(Want.OPERATOR, start, prefix)
    if tokens[-1].sort in {"text", "number", "name"} or tokens[-1].text in {")", "]"}:
        return Caret(Want.JOIN, start, prefix)
    return Caret(Want.NOTHING, start)


def _of_field(
    want: Want, tokens: Sequence[Token], start: int, prefix: str, *, is_dotted: bool = False
) -> Caret:
    field = _field(tokens)
    if field is None:
        return Caret(Want.NOTHING, start)
    return Caret(want, start, prefix, field[0], field[1], is_dotted)


def _opening(tokens: Sequence[Token]) -> int | None:
    """Return the position of the innermost open bracket; None if all are closed."""
    depth = 0
    for place in range(len(tokens) - 1, -1, -1):
        if tokens[place].text in {")", "]"}:
            depth += 1
        elif tokens[place].text in {"(", "["}:
            if not depth:
                return place
            depth -= 1
    return None


def _field(tokens: Sequence[Token]) -> tuple[str, tuple[str | int, ...], int] | None:
    """Read the field at the end of some tokens: name, path, and position of its first token."""
    path: list[str | int] = []
    place = len(tokens) - 1
    while place >= 0:
        token = tokens[place]
        if token.text == "]" and place > 1 and tokens[place - 2].text == "[":
            inner = tokens[place - 1]
            if inner.sort not in {"text", "number"}:
                return None
            path.append(int(inner.text) if inner.text.isdecimal() else inner.text[1:-1])
            place -= 3
        elif token.sort == "name" and place and tokens[place - 1].text == ".":
            path.append(token.text)
            place -= 2
        elif token.sort == "name" and token.text not in _JOINING:
            return SHORT.get(token.text, token.text), tuple(reversed(path)), place
        else:
            return None
    return None


_FILTER_CHARS: Final = 4_000
_DAYS: Final = 30

router = APIRouter(prefix="/api/v1", route_class=DeferredRoute)

Typed = Annotated[
    str,
    Query(
        max_length=_FILTER_CHARS,
        description='The filter up to the caret, such as `tags["client"] == "bi`',
    ),
]
Limit = Annotated[int, Query(ge=1, le=100)]


@router.get("/projects/{project:path}/completion")
def get_completion(
    *,
    project: str,
    reader: FromReader,
    where: Typed = "",
    start_ns: Start = None,
    end_ns: End = None,
    limit: Limit = 20,
) -> Completion:
    """List completions of a filter: fields, operators, and values with their counts.

    A count is the number of runs with the value, among the newest 20,000 runs that started between
    `start` and `end`. For values inside inputs, outputs and other payloads, only the newest 500
    payloads of this time are counted. The default for `start` is 30 days before `end`.
    """
    if end_ns is None:
        end_ns = time.time_ns() + HOUR_NS
    if start_ns is None:
        start_ns = max(end_ns - _DAYS * DAY_NS, 0)
    query = CompletionQuery(project, where, Window(start_ns, end_ns), limit)
    return find_completion(reader, query)
