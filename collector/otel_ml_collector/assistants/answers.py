"""The form of answers to assistants: bounded, nothing left out silently, foreign text marked.

An answer is built of plain values. A text is foreign, as runs are written by strangers, unless it
is `Own`: `write` lists where foreign text stands, shows what people cannot see, cuts long texts,
and drops rows from the end of tables until the answer is as short as it must be.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

# Characters of an answer as JSON: unasked, where more is asked for, and of what `read` opens.
USUAL_CHARS: Final = 4_000
ASKED_CHARS: Final = 8_000
READ_CHARS: Final = 26_000
# Characters of a text in a row, and in a leaf of a payload.
ROW_CHARS: Final = 160
LEAF_CHARS: Final = 300
# Of a payload: how many elements of an array, and how many levels.
ELEMENTS: Final = 5
LEVELS: Final = 4
_DIGITS: Final = 3
# The largest number up to which JSON's readers agree on whole ones.
_EXACT_WHOLE: Final = 2**53
_LEAST_CHARS: Final = 10
_NARROW: Final = "what is left out needs a narrower question: where, since, until or group"
# Texts that are ours and long: the way to a page, a call with its filter.
_OWN_CHARS: Final = 6_000

# What people do not see and models read, and halves of characters, which JSON cannot hold. Tab and
# newline stay, as do U+200C and U+200D, which scripts and emoji need.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f\U000e0100-\U000e01ef]"
)
_VISIBLE: Final = re.compile(r"\\u\{([0-9a-f]{1,6})\}")


class Own(str):
    """A text of this program or of the asker, which no stranger wrote: an id, a time, a word."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of a foreign text, cut to the length that the caller asked for.

    Attributes:
        left: How many characters of the text come behind it.
    """

    text: str
    left: int


# The call that goes on behind so many shown rows; None where nothing does.
GoOn = Callable[[int], Mapping[str, Any] | None]


@dataclass(slots=True)
class DigestTable:
    """A list: its columns once, and its rows.

    Attributes:
        total: How many there are, shown or not; None for those that are here.
        go_on: Makes the call that shows more, of how many rows are shown.
        chars: Of a text in a row at most.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    total: int | None = None
    go_on: GoOn | None = None
    chars: int = ROW_CHARS


@dataclass(slots=True)
class Digest:
    """The answer of a tool, before it is written.

    Attributes:
        fields: Its sections in their order; a `DigestTable` is written as columns and rows.
        table: The list that the answer is about, if any: it is written at the top level.
        url: The page that shows the same.
        hint: Why it is empty, or what to ask instead.
        go_on: The call that shows more, where that is not of a table.
        chars: As much as the answer may have.
    """

    fields: Mapping[str, object] = field(default_factory=dict)
    table: DigestTable | None = None
    url: str = ""
    hint: str = ""
    go_on: Mapping[str, Any] | None = None
    chars: int = USUAL_CHARS


def write(answer: Digest) -> dict[str, Any]:
    """Write an answer as JSON values, not longer than it may be.

    Rows go first, from the end of the longest table; where a single row is too long, its texts
    are cut shorter.
    """
    # That at the top level has no name.
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
    """Write an answer as compact JSON text."""
    return orjson.dumps(written).decode()


def cut(text: str, most: int) -> tuple[str, int]:
    """Cut a text to so many visible characters, and say how many of it are left out.

    Returns:
        What is shown, ending in ``…(+212)`` where 212 characters are left out; and how many
        characters were made visible.
    """
    shown, used, unseen = take(text, most)
    left = len(text) - used
    return (f"{shown}…(+{left})" if left else shown), unseen


def take(text: str, most: int) -> tuple[str, int, int]:
    """Take the beginning of a text, as far as it has so many visible characters.

    Returns:
        What is shown; how many characters of the text that are; how many were made visible.
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
    r"""Escape characters that people do not see and models read: ``\u{e0041}``."""
    return _UNSEEN.sub(lambda match: f"\\u{{{ord(match[0]):x}}}", text)


def unshow(text: str) -> str:
    """Return the text that `show` made visible."""
    return _VISIBLE.sub(
        lambda match: chr(code) if (code := int(match[1], 16)) <= sys.maxunicode else match[0],
        text,
    )


def number(value: float) -> float | int | Own | None:
    """Round a number to three digits; whole ones up to 2**53 stay as they are."""
    if isinstance(value, int) and abs(value) <= _EXACT_WHOLE:
        return value
    if not math.isfinite(value):
        return Own(value)
    rounded = float(f"{value:.{_DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) <= _EXACT_WHOLE else rounded


def moment(rfc3339: str) -> Own:
    """Write a time to the second."""
    return Own(f"{rfc3339[:19]}Z" if rfc3339 else "")


def brief(value: object) -> str:
    """Write a value of a payload in a word: of an object or array its number of members."""
    if isinstance(value, dict | list):
        return f"({len(value)} inside)" if value else "(empty)"
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def leaves(value: object, path: str = "") -> list[tuple[str, object]]:
    """List the leaves of a payload with the way to each: 5 of an array, 4 levels, bounded.

    What is deeper, or further back in an array, is a single leaf that says how much there is.
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
    """Go into a payload; raises LookupError where there is nothing."""
    for step in steps:
        if isinstance(value, dict) and str(step) in value:
            value = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            raise LookupError(step)
    return value


class _Writer:
    """Writes an answer with a number of rows of each table."""

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
        raise TypeError(f"An answer cannot hold {type(value).__name__}")

    def _text(self, text: str, path: str, most: int) -> str:
        shown, unseen = cut(text, most)
        self._unseen += unseen
        if text:
            self._foreign[path] = None
        return shown
