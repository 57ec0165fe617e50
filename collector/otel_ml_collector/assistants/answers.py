"""Writes the answers of tools: limits their size, and marks text from untrusted sources.

Runs can contain text that an attacker wrote to instruct an agent. So each text counts as foreign
(untrusted) unless it is `Own`. `write` lists the fields with foreign text, makes invisible
characters visible, cuts long texts, and removes rows from the end of tables until the answer is
short enough. Cut text and removed rows are counted in the answer.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

# Maximum number of characters of an answer as JSON: by default, if the caller sets a limit, and if
# `read` opens a part of a record.
USUAL_CHARS: Final = 4_000
ASKED_CHARS: Final = 8_000
READ_CHARS: Final = 26_000
# Maximum number of characters of a text in a table row, and of a value in a payload.
ROW_CHARS: Final = 160
LEAF_CHARS: Final = 300
# Maximum number of elements shown of each array in a payload, and of nested levels.
ELEMENTS: Final = 5
LEVELS: Final = 4
_DIGITS: Final = 3
# JSON parsers that read numbers as doubles are exact for integers up to this one.
_EXACT_WHOLE: Final = 2**53
_LEAST_CHARS: Final = 10
_NARROW: Final = "to see what is left out, narrow the question with where, since, until or group"
# Maximum number of characters of an `Own` text, such as a page address with a long filter.
_OWN_CHARS: Final = 6_000

# Characters that are invisible to humans but not to language models, and surrogates, which JSON
# cannot encode. Tab, newline, U+200C and U+200D are not included: scripts and emoji need the last
# two.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f\U000e0100-\U000e01ef]"
)
_VISIBLE: Final = re.compile(r"\\u\{([0-9a-f]{1,6})\}")


class Own(str):
    """A trusted text, written by otel-ml or by the caller, such as an ID, a time or a verdict."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of a long untrusted text, such as the first characters of a run's output.

    `write` limits it to `READ_CHARS` characters instead of the smaller limit for other texts.

    Attributes:
        text: The part.
        left: Number of characters that follow the part in the text, shown as ``…(+212)``.
    """

    text: str
    left: int


# Takes the number of rows shown, and returns the follow-up call for more rows; None if there is no
# such call.
GoOn = Callable[[int], Mapping[str, Any] | None]


@dataclass(slots=True)
class DigestTable:
    """A table in an answer.

    Attributes:
        columns: Names of the columns.
        rows: The rows. Each has one value per column.
        total: Number of rows that exist, including rows that are not in `rows`; None if all are.
        go_on: Makes the follow-up call that shows more rows; None if there is none.
        chars: Maximum number of characters of a text in a cell.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    total: int | None = None
    go_on: GoOn | None = None
    chars: int = ROW_CHARS


@dataclass(slots=True)
class Digest:
    """A tool's answer, before `write` turns it into JSON values.

    Attributes:
        fields: The answer's fields in their order. A table becomes an object with
            ``columns`` and ``rows``. A field that is None is left out.
        table: The main table, whose ``columns`` and ``rows`` are at the top level. None if the
            answer has no table.
        url: Address of the page that shows the same data. Empty if there is none.
        hint: Why the answer is empty, or what to ask instead; empty for none.
        go_on: The next tool call that the assistant can make to see more. Only for answers without
            a table; a `DigestTable` has a `go_on` of its own.
        chars: Maximum number of characters of the answer as JSON.
    """

    fields: Mapping[str, object] = field(default_factory=dict)
    table: DigestTable | None = None
    url: str = ""
    hint: str = ""
    go_on: Mapping[str, Any] | None = None
    chars: int = USUAL_CHARS


def write(answer: Digest) -> dict[str, Any]:
    """Return an answer as JSON values, within its size limit.

    To shorten an answer, rows are removed from the end of the longest table. If a single row is
    still too long, its texts are cut.
    """
    # The table at the top level has an empty name.
    tables = [
        (name, table)
        for name, table in (("", answer.table), *answer.fields.items())
        if isinstance(table, DigestTable)
    ]
    shown = [len(table.rows) for _, table in tables]
    scale = 1.0
    while True:
        numbers = {id(table): rows for (_, table), rows in zip(tables, shown, strict=True)}
        written = _Writer(numbers, scale).write(answer)
        if len(to_text(written)) <= answer.chars:
            return written
        rows_of = [(written[name] if name else written)["rows"] for name, _ in tables]
        sizes = [len(orjson.dumps(rows)) if rows else 0 for rows in rows_of]
        longest = max(range(len(tables)), key=sizes.__getitem__, default=None)
        if longest is not None and shown[longest] > 1:
            shown[longest] -= 1
        elif scale > 1 / 64:
            scale /= 2
        elif longest is not None and sizes[longest]:
            shown[longest] = 0
        else:
            return {"hint": f"the answer has more than {answer.chars} characters", "foreign": []}


def to_text(written: Mapping[str, Any]) -> str:
    """Return an answer as compact JSON text."""
    return orjson.dumps(written).decode()


def cut(text: str, most: int) -> tuple[str, int]:
    """Cut a text to a maximum length, and escape its invisible characters.

    Args:
        text: The text.
        most: Maximum number of characters, after invisible ones are escaped.

    Returns:
        The shown text, with ``…(+212)`` at the end if 212 characters are left out; and the number
        of invisible characters that were escaped.
    """
    shown, used, unseen = take(text, most)
    left = len(text) - used
    return (f"{shown}…(+{left})" if left else shown), unseen


def take(text: str, most: int) -> tuple[str, int, int]:
    """Return the beginning of a text, with its invisible characters escaped.

    Args:
        text: The text.
        most: Maximum number of characters, after invisible ones are escaped.

    Returns:
        The shown text; the number of characters of `text` that it covers; and the number of
        invisible characters that were escaped.
    """
    head = text[:most]
    if _UNSEEN.search(head) is None:
        return head, len(head), 0
    shown: list[str] = []
    size = unseen = 0
    for char in head:
        piece = show(char)
        if size + len(piece) > most:
            break
        unseen += len(piece) > 1
        shown.append(piece)
        size += len(piece)
    return "".join(shown), len(shown), unseen


def show(text: str) -> str:
    r"""Escape the invisible characters of a text, such as ``\u{e0041}``."""
    return _UNSEEN.sub(lambda match: f"\\u{{{ord(match[0]):x}}}", text)


def unshow(text: str) -> str:
    """Undo the escapes of `show`."""
    return _VISIBLE.sub(
        lambda match: chr(code) if (code := int(match[1], 16)) <= sys.maxunicode else match[0],
        text,
    )


def number(value: float) -> float | int | Own | None:
    """Round a number to three significant digits; integers up to 2**53 are unchanged.

    Infinite values and NaN are returned as text, because JSON has no such numbers.
    """
    if isinstance(value, int) and abs(value) <= _EXACT_WHOLE:
        return value
    if not math.isfinite(value):
        return Own(value)
    rounded = float(f"{value:.{_DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) <= _EXACT_WHOLE else rounded


def moment(rfc3339: str) -> Own:
    """Return an RFC 3339 time (UTC) without its fraction; empty text stays empty."""
    return Own(f"{rfc3339[:19]}Z" if rfc3339 else "")


def brief(value: object) -> str:
    """Return a payload value as short text. An object or array is written like ``(3 inside)``."""
    if isinstance(value, dict | list):
        return f"({len(value)} inside)" if value else "(empty)"
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def leaves(value: object, path: str = "") -> list[tuple[str, object]]:
    """List the texts, numbers and other simple values of a JSON payload, each with its path.

    At most 4 levels, 5 elements of each array and 60 values are listed. For the other elements of
    an array, there is one entry such as ``…(+7 elements)``, and ``…(3 inside)`` for deeper levels.

    Args:
        value: The payload.
        path: Path of the payload, such as ``inputs``; all paths start with it.
    """
    items: list[tuple[str, object]] = []
    _add_leaves(value, path, LEVELS, items)
    return items


_MOST_LEAVES: Final = 60


def _add_leaves(value: object, path: str, levels: int, items: list[tuple[str, object]]) -> None:
    if len(items) >= _MOST_LEAVES:
        return
    if isinstance(value, dict) and value and levels:
        for key, inner in list(value.items())[:_MOST_LEAVES]:
            _add_leaves(inner, f"{path}.{key}" if path else str(key), levels - 1, items)
    elif isinstance(value, list) and value and levels:
        for place, inner in enumerate(value[:ELEMENTS]):
            _add_leaves(inner, f"{path}[{place}]", levels - 1, items)
        if len(value) > ELEMENTS:
            items.append((f"{path}[{ELEMENTS}:]", Own(f"…(+{len(value) - ELEMENTS} elements)")))
    elif isinstance(value, dict | list) and value:
        items.append((path, Own(f"…({len(value)} inside)")))
    else:
        items.append((path, value))


def step_into(value: object, steps: Sequence[str | int]) -> object:
    """Return the value at a path in a payload.

    Args:
        value: The payload.
        steps: Keys of objects and indexes of arrays, in order.

    Raises:
        LookupError: The payload has no value there.
    """
    for step in steps:
        if isinstance(value, dict) and str(step) in value:
            value = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            raise LookupError(step)
    return value


class _Writer:
    """Writes an answer with a limited number of rows per table, and lists its foreign fields."""

    def __init__(self, shown: Mapping[int, int], scale: float) -> None:
        self._shown = shown
        self._scale = scale
        self._foreign: dict[str, None] = {}
        self._unseen = 0

    def write(self, answer: Digest) -> dict[str, Any]:
        written: dict[str, Any] = {}
        for name, value in answer.fields.items():
            if value is None:
                continue
            if isinstance(value, DigestTable):
                written[name] = self._table(value, name)
            else:
                written[name] = self._value(value, name, LEAF_CHARS)
        if answer.table is not None:
            written |= self._table(answer.table, "")
        if answer.go_on is not None and "next" not in written:
            written["next"] = dict(answer.go_on)
        if answer.hint:
            written["hint"] = show(answer.hint)
        if answer.url:
            written["url"] = answer.url
        written["foreign"] = list(self._foreign)
        if self._unseen:
            written["escaped"] = self._unseen
        return written

    def _table(self, table: DigestTable, path: str) -> dict[str, Any]:
        number_of = self._shown[id(table)]
        way = f"{path}.rows" if path else "rows"
        rows = [
            [
                self._value(cell, f"{way}.{column}", table.chars)
                for column, cell in zip(table.columns, row, strict=True)
            ]
            for row in table.rows[:number_of]
        ]
        written: dict[str, Any] = {"columns": list(table.columns), "rows": rows}
        left = (len(table.rows) if table.total is None else table.total) - number_of
        if left > 0:
            written["left_out"] = left
            following = table.go_on(number_of) if table.go_on else None
            if following is not None:
                written["next"] = dict(following)
            elif not path:
                written["hint"] = _NARROW
        return written

    def _value(self, value: object, path: str, most: int) -> Any:
        match value:
            case Own():
                shown, unseen = cut(value, _OWN_CHARS)
                self._unseen += unseen
                return str(shown)
            case Excerpt():
                shown = self._text(value.text, path, READ_CHARS)
                return f"{shown}…(+{value.left})" if value.left else shown
            case str():
                return self._text(value, path, max(int(most * self._scale), _LEAST_CHARS))
            case None | bool():
                return value
            case int() | float():
                return number(value)
            case dict():
                return {
                    key: self._value(value, f"{path}.{key}", most) for key, value in value.items()
                }
            case list() | tuple():
                return [self._value(item, path, most) for item in value]
        raise TypeError(f"An answer cannot contain {type(value).__name__}")

    def _text(self, text: str, path: str, most: int) -> str:
        shown, unseen = cut(text, most)
        self._unseen += unseen
        if text:
            self._foreign[path] = None
        return shown
