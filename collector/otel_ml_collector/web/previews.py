"""Previews of inputs and outputs in lists: `area 119 · rooms 5 · Leipzig` instead of JSON."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from otel_ml_collector.web.amounts import is_amount, write_amount
from otel_ml_collector.wording import shorten

if TYPE_CHECKING:
    from otel_ml_collector.store.reader import JsonValue  # takes 0.6 s

_DOT: Final = " · "
_MOST_PARTS: Final = 24
_WORD_CHARS: Final = 60
_FEWEST_ROWS: Final = 3
_DECODER: Final = json.JSONDecoder()
# Behind a key, what a preview has instead of JSON, such as `1,200 × 6 table: area, rooms`.
_NO_JSON: Final = re.compile(r'.*?(?=, ?"[^"]*": ?|\}?$)')
# What can follow the value of a member: the next member, the end, or where the preview was cut.
_NEXT: Final = re.compile(r',? ?…?\}?$|\}…?$|, ?"')
# Texts, punctuation and other values of JSON that may be cut.
_TOKENS: Final = re.compile(r'"((?:[^"\\]|\\.)*)("|\\?$)|([{}\[\],:])|([^\s"{}\[\],:]+)')
# How a value that is no text can be cut.
_CUT_VALUE: Final = re.compile(r"(t(ru?)?|f(a(ls?)?)?|n(ul?)?|-|[.eE][-+]?)?…?")
_CUT_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{0,3})?(…?)$")
_SOUND: Final = re.compile(r"data:(audio|image)/[a-z0-9.+-]+;base64,")
_CUT: Final = "…"
_ARRAY: Final = re.compile(r'\{"type": ?"[^"]*", ?"dtype": ?"([^"]*)", ?"shape": ?\[([\d, ]*)\]')
# A number with more than four digits; versions such as 1.10 stay as they are.
_LONG_FLOAT: Final = re.compile(r"-?(?=[\d.]{6})\d{1,15}\.\d{1,20}")


def read_members(text: str) -> list[tuple[str, str]]:
    """Read the members of an object from a preview, which may be cut.

    Returns:
        The name of each member and its part of a line; empty if the preview is no object.
    """
    if not text.startswith('{"'):
        return []
    members: list[tuple[str, str]] = []
    place = 1
    while len(members) < _MOST_PARTS:
        while text[place : place + 1] in (" ", ","):
            place += 1
        try:
            name, place = _DECODER.raw_decode(text, place)
        except ValueError:
            break
        if not isinstance(name, str) or text[place : place + 1] != ":":
            break
        place += 1
        while text[place : place + 1] == " ":
            place += 1
        try:
            value, end = _DECODER.raw_decode(text, place)
        except ValueError:
            end = -1
        if end < 0 and text[place : place + 1] in ('"', "[", "{"):  # cut inside it
            words = _write_cut(text[place:])
            members.append((name, words if text[place] == '"' else f"{name} {words}"))
            break
        if end < 0 or not _NEXT.match(text, end):
            match = _NO_JSON.match(text, place)
            rest = match[0] if match else ""
            place += len(rest)
            rest = rest.removesuffix("}") if place >= len(text) else rest
            rest = rest.lstrip('"[{').strip()
            if rest:
                members.append((name, rest if rest.endswith(_CUT) else f"{name} {rest}"))
            continue
        place = end
        members.append((name, _write_member(name, value)))
    return members


def _write_cut(text: str, end: str = _CUT) -> str:
    """Write the texts and numbers of JSON that may be cut, without the names of its members."""
    words: list[str] = []
    is_object: list[bool] = []  # of the lists and objects around a token
    has_name = False
    for quoted, closing, mark, other in _TOKENS.findall(text):
        if mark in ("{", "["):
            is_object.append(mark == "{")
        elif mark in ("}", "]"):
            is_object = is_object[:-1]
        is_name = is_object[-1:] == [True] and not has_name
        if mark:
            has_name = mark == ":"
        elif other:
            words += [other] if other != _CUT else []
        elif not is_name:
            words.append(_read_cut(quoted) if closing != '"' or "\\" in quoted else quoted)
    shown = ", ".join(shorten(word, _WORD_CHARS) for word in words[:_MOST_PARTS] if word)
    return shown if shown.endswith(_CUT) or not end else f"{shown}{', ' if shown else ''}{end}"


def _read_cut(text: str) -> str:
    """Read a text between quotes, which may end inside an escape."""
    try:
        value = json.loads(f'"{_CUT_ESCAPE.sub(_CUT, text)}"', strict=False)
    except ValueError:
        return text.replace("\\", "")
    return str(value).encode(errors="ignore").decode()  # half of an emoji is no text


def _is_cut(text: str) -> bool:
    """Return whether a text is the beginning of JSON."""
    try:
        json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        is_inside = error.msg.startswith(("Unterminated string", "Invalid \\"))
        return is_inside or _CUT_VALUE.fullmatch(text, error.pos) is not None
    return False


def _write_member(name: str, value: "JsonValue") -> str:
    if value is None:
        return f"no {name}"
    if isinstance(value, bool):
        return name if value else f"not {name}"
    if isinstance(value, str):
        sound = _SOUND.match(value)
        return sound[1] if sound else shorten(value, _WORD_CHARS) or f"no {name}"
    if is_amount(value):
        return f"{name} {write_amount(value)}"
    return f"{name} {_write_nested(value)}"


def _write_nested(value: Any) -> str:
    if isinstance(value, Mapping):
        size = value.get("size") or value.get("shape")
        if isinstance(value.get("type"), str) and isinstance(size, list):
            return " × ".join(f"{side:,}" for side in size if isinstance(side, int))
        return f"({len(value)} value{'' if len(value) == 1 else 's'})"
    if isinstance(value, list) and len(value) <= 4 and all(map(_is_word, value)):  # noqa: PLR2004
        return ", ".join(write_amount(v) if is_amount(v) else str(v) for v in value)
    return f"({len(value)})" if isinstance(value, list) else str(value)


def _is_word(value: object) -> bool:
    return is_amount(value) or (isinstance(value, str) and len(value) <= _WORD_CHARS)


def write_preview(text: str | None, shared: Collection[str] = ()) -> str:
    """Write the preview of an input or output for people.

    Args:
        text: The preview as it is stored: plain text or JSON, which may be cut.
        shared: Members that all rows of a list have in common. They come last.
    """
    if not text:
        return ""
    array = _ARRAY.match(text)
    if array is not None:
        size = " × ".join(f"{int(side):,}" for side in array[2].split(",") if side.strip())
        return f"array {size} {array[1]}"
    members = read_members(text)
    if members:
        ordered = sorted(members, key=lambda member: member[0] in shared)
        is_cut = text.endswith(_CUT) and not ordered[-1][1].endswith(_CUT)
        return _DOT.join(part for _, part in ordered) + (f"{_DOT}{_CUT}" if is_cut else "")
    if text.startswith("["):
        return _write_list(text)
    if text.startswith("{") and _is_cut(text):  # inside its first name
        return _CUT
    if _LONG_FLOAT.fullmatch(text):
        return write_amount(float(text))
    sound = _SOUND.match(text)
    return sound[1] if sound else text


def _write_list(text: str) -> str:
    """Write a list, which may be cut: its numbers or texts, or its first object."""
    if text.startswith("[{"):
        return _write_objects(text)
    cut = text.rfind(",") if text.endswith(_CUT) else -1
    try:
        items = json.loads(f"{text[:cut]}]" if cut > 0 else text)
    except ValueError:
        return _write_cut(text) if _is_cut(text) else text
    if not isinstance(items, list) or not items:
        return text
    if not all(map(_is_word, items)):
        return _write_cut(text, _CUT if cut > 0 else "") or text
    words = [write_amount(item) if is_amount(item) else str(item) for item in items]
    return ", ".join(words) + (f", {_CUT}" if cut > 0 else "")


def _write_objects(text: str) -> str:
    """Write the first object of a list, and how many objects the list has, if it is not cut."""
    try:
        first, end = _DECODER.raw_decode(text, 1)
    except ValueError:  # cut inside the first object
        parts = [part for _, part in read_members(text[1:])]
        return _DOT.join(parts) or (_CUT if _is_cut(text) else text)
    parts = [_write_member(name, value) for name, value in [*first.items()][:_MOST_PARTS]]
    try:
        parts.append(f"{len(json.loads(text))} values" if text[end:] != "]" else "")
    except ValueError:
        parts.append(_CUT)
    return _DOT.join(filter(None, parts)) or text


def write_differences(before: str, after: str) -> tuple[str, str]:
    """Write the previews of two values, of two objects only the members that differ."""
    old, new = dict(read_members(before)), dict(read_members(after))
    if not old or not new:
        return write_preview(before), write_preview(after)
    first = [part for name, part in old.items() if new.get(name) != part]
    second = [part for name, part in new.items() if old.get(name) != part]
    return _DOT.join(first), _DOT.join(second)


def find_shared(texts: Sequence[str]) -> frozenset[str]:
    """Find the members that have the same value in all previews of a list of three or more."""
    if len(texts) < _FEWEST_ROWS:
        return frozenset()
    rows = [dict(read_members(text)) for text in texts]
    first = rows[0]
    shared = {name for name, part in first.items() if all(row.get(name) == part for row in rows)}
    return frozenset(shared) if len(shared) < len(first) else frozenset()


def leave_out_shared(values: "Sequence[JsonValue]") -> "list[JsonValue]":
    """Leave out what all values of a list have in common, such as the history of a conversation.

    Of objects, these are members; of lists, the first elements. If nothing else is left of a
    value, it is unchanged.
    """
    if len(values) < _FEWEST_ROWS:
        return [*values]
    objects = [value for value in values if isinstance(value, dict)]
    if len(objects) == len(values):
        first = objects[0]
        same = {
            name
            for name, item in first.items()
            if all(name in value and value[name] == item for value in objects)
        }
        return [
            {name: item for name, item in value.items() if name not in same} or value
            for value in objects
        ]
    lists = [value for value in values if isinstance(value, list)]
    if len(lists) < len(values):
        return [*values]
    length = 0
    while all(len(value) > length + 1 and value[length] == lists[0][length] for value in lists):
        length += 1
    return [value[length:] for value in lists]
