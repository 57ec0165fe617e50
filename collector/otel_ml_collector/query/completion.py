"""Finds what may be typed next in a filter: fields, operators, and values with their counts."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from otel_ml_collector.query.answers.completion import Completion, CompletionItem
from otel_ml_collector.query.language.caret import Caret, Want, read_caret
from otel_ml_collector.query.language.names import FIELD_NAMES, FieldName, Kind
from otel_ml_collector.store import completion as counts
from otel_ml_collector.store.completion import Typed
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.rows import load_json
from otel_ml_collector.store.runs import Window
from otel_ml_collector.store.statistics import version_numbers

_LENGTHS: Final = ("15m", "1h", "24h", "7d", "30d")
_DURATIONS: Final = ("10ms", "100ms", "1s", "10s", "1m")
_SETS: Final = {
    "kind": ("model", "chain", "tool", "retriever", "embedding", "agent", "training", "span"),
    "outcome": ("ok", "error", "cancelled", "abandoned", "running", "crashed"),
}
_OPERATORS: Final = {
    Kind.TEXT: ("==", "!=", "in", "not in"),
    Kind.NUMBER: ("==", "!=", "<", "<=", ">", ">=", "in"),
    Kind.DURATION: ("<", "<=", ">", ">="),
    Kind.TIME: (">", ">=", "<", "<="),
    Kind.TAG: ("==", "!=", "in", "not in", "<", "<=", ">", ">="),
    Kind.SCORE: ("<", "<=", ">", ">=", "==", "!="),
    Kind.METRIC: ("<", "<=", ">", ">=", "==", "!="),
    Kind.PASSED: ("==", "!="),
    Kind.PAYLOAD: ("==", "!=", "in", "<", "<=", ">", ">="),
    Kind.JSON: ("==", "!=", "in", "<", "<=", ">", ">="),
}
_SEARCHED: Final = frozenset(
    {Kind.TEXT, Kind.TAG, Kind.SCORE, Kind.METRIC, Kind.PAYLOAD, Kind.JSON}
)
_FUNCTIONS: Final = {
    "last": ('last("24h")', "runs that began in the last 24 hours"),
    "matches": ("matches(", "a regular expression on a text"),
    "not": ("not ", "the opposite"),
}
_MODEL: Final = re.compile(r"""\bmodel\s*==\s*(?:"([^"\\]*)"|'([^'\\]*)')""")


@dataclass(frozen=True, slots=True)
class CompletionQuery:
    """What is typed.

    Attributes:
        where: The filter up to the caret.
        window: Of runs that started when.
        limit: How many items are wanted.
    """

    project: str
    where: str
    window: Window
    limit: int


def find_completion(reader: Reader, query: CompletionQuery) -> Completion:
    """Find what may stand at the end of a filter.

    Values are counted among the newest 20,000 runs of the window, and the newest 500 payloads.
    """
    caret = read_caret(query.where)
    items = _items(reader, query, caret)[: query.limit]
    return Completion(start=_start(caret, items), end=len(query.where), items=items)


def _items(reader: Reader, query: CompletionQuery, caret: Caret) -> list[CompletionItem]:
    if caret.want in {Want.FIELD, Want.SEARCHED}:
        return _fields(caret)
    if caret.want is Want.JOIN:
        return _words(("and", "or"), caret.prefix)
    if caret.want is Want.LENGTH:
        return [_value(_quoted(text), text) for text in _LENGTHS if text.startswith(caret.prefix)]
    if caret.want is Want.OPERATOR:
        return _words(_operators(caret), caret.prefix)
    if caret.field not in FIELD_NAMES:
        return []
    typed = Typed(query.project, query.window, caret.prefix, query.limit)
    if caret.want is Want.KEY:
        return _keys(reader, typed, caret)
    return _values(reader, typed, caret, query) if caret.want is Want.VALUE else []


def _fields(caret: Caret) -> list[CompletionItem]:
    """List the fields; behind `"x" in` those that can have a text in them."""
    items = [
        CompletionItem(text=name, kind="field", count=None, insert=name, about=field.about)
        for name, field in _named()
        if caret.want is Want.FIELD or field.kind in _SEARCHED
    ]
    if caret.want is Want.FIELD:
        items += [
            CompletionItem(text=name, kind="operator", count=None, insert=insert, about=about)
            for name, (insert, about) in _FUNCTIONS.items()
        ]
    prefix = caret.prefix.lower()
    return [item for item in items if item.text.startswith(prefix)] or [
        item for item in items if prefix in item.text
    ]


def _named() -> Iterable[tuple[str, FieldName]]:
    for name, field in FIELD_NAMES.items():
        yield field.short or name, field


def _operators(caret: Caret) -> Sequence[str]:
    field = FIELD_NAMES.get(caret.field)
    if field is None:
        return () if caret.field else ("in", "not in")
    return _OPERATORS[field.kind]


def _words(words: Iterable[str], prefix: str) -> list[CompletionItem]:
    return [
        CompletionItem(text=word, kind="operator", count=None, insert=f"{word} ")
        for word in words
        if word.startswith(prefix)
    ]


def _keys(reader: Reader, typed: Typed, caret: Caret) -> list[CompletionItem]:
    kind = FIELD_NAMES[caret.field].kind
    if kind in {Kind.PAYLOAD, Kind.JSON}:
        rows = counts.count_keys(reader, typed, caret.field, caret.path)
    elif caret.path:
        return []
    elif kind is Kind.TAG:
        rows = counts.count_tags(reader, typed)
    elif kind in {Kind.SCORE, Kind.PASSED}:
        rows = counts.count_judges(reader, typed)
    else:
        rows = counts.count_metrics(reader, typed) if kind is Kind.METRIC else []
    return [
        CompletionItem(
            text=row["text"], kind="key", count=row["runs"], insert=_key(caret, row["text"])
        )
        for row in rows
    ]


def _key(caret: Caret, key: str) -> str:
    """Write a key behind a bracket that is open, or behind a dot where a name can stand."""
    if not caret.is_dotted:
        return f"{_quoted(key)}]"
    return f".{key}" if key.isidentifier() else f"[{_quoted(key)}]"


def _values(
    reader: Reader, typed: Typed, caret: Caret, query: CompletionQuery
) -> list[CompletionItem]:
    kind = FIELD_NAMES[caret.field].kind
    if kind is Kind.PASSED:
        return [_value(word) for word in ("True", "False") if word.startswith(typed.prefix)]
    if kind is Kind.DURATION:
        return [_value(text) for text in _DURATIONS if text.startswith(typed.prefix)]
    if kind is Kind.TIME:
        return [_value(f'last("{length}")') for length in _LENGTHS]
    if kind is Kind.TAG and len(caret.path) == 1:
        return _told(counts.count_tag_values(reader, typed, str(caret.path[0])))
    if kind in {Kind.PAYLOAD, Kind.JSON} and caret.path:
        return _told(counts.count_parts(reader, typed, caret.field, caret.path))
    if caret.field == "version":
        return _versions(reader, typed, query.where)
    if kind is not Kind.TEXT:
        return []
    found = {row["text"]: row["runs"] for row in counts.count_texts(reader, typed, caret.field)}
    more = [text for text in _SETS.get(caret.field, ()) if text.startswith(typed.prefix)]
    return [
        _value(_quoted(text), text, found.get(text, 0)) for text in dict.fromkeys([*found, *more])
    ]


def _versions(reader: Reader, typed: Typed, where: str) -> list[CompletionItem]:
    """Count the runs of small numbers, of the model that the filter names last."""
    named = _MODEL.findall(where)
    rows = counts.count_versions(reader, typed, "".join(named[-1]) if named else "")
    numbers = version_numbers(reader, typed.project, "model", {row["model"] for row in rows})
    found: dict[int, int] = {}
    for row in rows:
        number = numbers.get((row["model"], row["digest"], row["structure"]))
        if number is not None and str(number).startswith(typed.prefix):
            found[number] = found.get(number, 0) + row["runs"]
    return [_value(str(number), count=found[number]) for number in sorted(found, reverse=True)]


def _told(rows: Iterable[Row]) -> list[CompletionItem]:
    """Make items of values that are JSON text."""
    items = []
    for row in rows:
        value = load_json(row["text"])
        shown = value if isinstance(value, str) else row["text"]
        insert = _quoted(value) if isinstance(value, str) else str(value)
        items.append(_value(insert, shown, row["runs"]))
    return items


def _value(insert: str, text: str = "", count: int | None = None) -> CompletionItem:
    return CompletionItem(text=text or insert, kind="value", count=count, insert=insert)


def _quoted(text: str) -> str:
    """Write a text as a filter has it: what JSON escapes, Python reads the same way."""
    return orjson.dumps(text).decode()


def _start(caret: Caret, items: Sequence[CompletionItem]) -> int:
    """Tell where what is replaced begins: a key behind a dot replaces the dot as well."""
    return caret.start - 1 if caret.is_dotted and items else caret.start
