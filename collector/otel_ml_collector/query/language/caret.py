"""What is wanted where a filter ends that is still being written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from otel_ml_collector.query.language.names import SHORT

_TOKEN: Final = re.compile(
    r"(?P<text>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')|(?P<open>[\"'].*)|(?P<name>[^\W\d]\w*)"
    r"|(?P<number>\d[\w.]*)|(?P<sign>==|!=|<=|>=|&&|[<>()\[\],.=-])|(?P<other>\S)",
    re.DOTALL,
)
_COMPARING: Final = frozenset({"==", "!=", "<", "<=", ">", ">=", "="})
_JOINING: Final = frozenset({"and", "or", "not"})
_LISTS: Final = frozenset({"(", "[", ","})


class Want(Enum):
    """What comes next."""

    FIELD = "field"
    SEARCHED = "searched"  # a field behind `"x" in`
    KEY = "key"
    OPERATOR = "operator"
    VALUE = "value"
    LENGTH = "length"  # of time, in `last(`
    JOIN = "join"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Caret:
    """What is wanted, of which field, and what of it is there already.

    Attributes:
        field: The field's name, empty where there is none yet.
        path: The way into it that is written.
        prefix: What is typed of what is wanted.
        start: Where in the text that begins.
        is_dotted: Whether a key is asked for behind a dot.
    """

    want: Want
    start: int
    prefix: str = ""
    field: str = ""
    path: tuple[str | int, ...] = ()
    is_dotted: bool = False


@dataclass(frozen=True, slots=True)
class _Token:
    sort: str
    text: str
    start: int
    end: int


def read_caret(text: str) -> Caret:
    """Tell what is wanted at the end of a text; any text will do."""
    tokens = [
        _Token(str(match.lastgroup), match[0], match.start(), match.end())
        for match in _TOKEN.finditer(text)
    ]
    if tokens and tokens[-1].sort == "open":
        return _expect(tokens[:-1], tokens[-1].start, tokens[-1].text[1:])
    if tokens and tokens[-1].sort in {"name", "number"} and tokens[-1].end == len(text):
        return _expect(tokens[:-1], tokens[-1].start, tokens[-1].text)
    return _expect(tokens, len(text), "")


def _expect(tokens: Sequence[_Token], start: int, prefix: str) -> Caret:
    """Tell what is wanted behind some tokens, of which a prefix is there."""
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


def _behind_in(tokens: Sequence[_Token], start: int, prefix: str) -> Caret:
    if len(tokens) > 1 and tokens[-2].sort == "text":
        return Caret(Want.SEARCHED, start, prefix)
    if len(tokens) > 2 and tokens[-2].text == "not" and tokens[-3].sort == "text":  # noqa: PLR2004
        return Caret(Want.SEARCHED, start, prefix)
    return Caret(Want.NOTHING, start)


def _in_brackets(tokens: Sequence[_Token], place: int, start: int, prefix: str) -> Caret:
    """Tell what is wanted behind a bracket that is open, or behind a comma in it."""
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


def _behind_operand(tokens: Sequence[_Token], start: int, prefix: str) -> Caret:
    """Tell what is wanted behind a field, or behind the end of a comparison."""
    found = _field(tokens)
    if found is not None:
        before = tokens[found[2] - 1].text if found[2] else ""
        if before not in _COMPARING and before != "in":
            return Caret(Want.OPERATOR, start, prefix, found[0], found[1])
    if tokens[-1].sort == "text" and (len(tokens) == 1 or tokens[-2].text in _JOINING | {"("}):
        return Caret(Want.OPERATOR, start, prefix)
    if tokens[-1].sort in {"text", "number", "name"} or tokens[-1].text in {")", "]"}:
        return Caret(Want.JOIN, start, prefix)
    return Caret(Want.NOTHING, start)


def _of_field(
    want: Want, tokens: Sequence[_Token], start: int, prefix: str, *, is_dotted: bool = False
) -> Caret:
    found = _field(tokens)
    if found is None:
        return Caret(Want.NOTHING, start)
    return Caret(want, start, prefix, found[0], found[1], is_dotted)


def _opening(tokens: Sequence[_Token]) -> int | None:
    """Find the bracket that is open at the end."""
    depth = 0
    for place in range(len(tokens) - 1, -1, -1):
        if tokens[place].text in {")", "]"}:
            depth += 1
        elif tokens[place].text in {"(", "["}:
            if not depth:
                return place
            depth -= 1
    return None


def _field(tokens: Sequence[_Token]) -> tuple[str, tuple[str | int, ...], int] | None:
    """Read the field at the end of some tokens: its name, its path and where it begins."""
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
