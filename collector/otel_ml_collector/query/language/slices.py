"""Raymon's slices, ``client==Remax && app==v1.0.0``: conditions on tags that all hold."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.query.language.names import is_field, nearest
from otel_ml_collector.query.language.source import bad
from otel_ml_collector.query.language.tree import Comparison, Field

_AND: Final = "&&"
# A text in quotes is one piece, so that nothing in it divides or compares.
_PIECE: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|&&|.", re.DOTALL)
_SIGN: Final = re.compile("==|!=|<=|>=|<|>")
_NAME: Final = re.compile(r"[\w @./-]+", re.ASCII)
_BARE: Final = re.compile(r"[^\s\"'&|<>=!()\[\]]+")
_QUOTED: Final = re.compile(r"\"[^\"\\]*\"|'[^'\\]*'")
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_REFUSED: Final = re.compile(r"[^a-z0-9_\-@./]")
_CONSTANTS: Final = ("True", "False", "None")


@dataclass(frozen=True, slots=True)
class _Slice:
    """One condition as it is written, with the places of its name and its value."""

    name: str
    sign: str
    value: str
    at: int
    value_at: int

    @property
    def is_bare(self) -> bool:
        return _QUOTED.fullmatch(self.value) is None


def find_slices(text: str) -> list[Comparison]:
    """Read slices; empty when the text is none, and so may be an expression.

    One condition alone is a slice when its value is bare, and its name no field nor near to one.

    Raises:
        BadQuery: Parts are joined by ``&&``, and one of them is no condition on a tag.
    """
    parts = list(_parts(text))
    slices = [_read(part, place) for place, part in parts]
    if len(parts) == 1:
        alone = slices[0]
        return [_compare(alone)] if alone is not None and _is_surely(alone) else []
    found = []
    for (place, part), one in zip(parts, slices, strict=True):
        if one is None or (is_field(one.name) and not one.is_bare):
            raise bad(
                f"Expected a slice such as client==Remax, found {part.strip()[:40]!r}; "
                "conditions on fields are joined by and",
                place + len(part) - len(part.lstrip()),
            )
        found.append(_compare(one))
    return found


def write_condition(part: Comparison) -> str:
    """Write a slice as the condition on a tag that it is."""
    return f"tags[{part.field.key!r}] {part.operator} {part.value!r}"


def _parts(text: str) -> Iterator[tuple[int, str]]:
    begin = 0
    for match in _PIECE.finditer(text):
        if match[0] == _AND:
            yield begin, text[begin : match.start()]
            begin = match.end()
    yield begin, text[begin:]


def _read(part: str, place: int) -> _Slice | None:
    sign = _SIGN.search(part)
    if sign is None:
        return None
    name, value = part[: sign.start()].strip(), part[sign.end() :].strip()
    if not (_NAME.fullmatch(name) and (_BARE.fullmatch(value) or _QUOTED.fullmatch(value))):
        return None
    at = place + len(part) - len(part.lstrip())
    return _Slice(name, sign[0], value, at, place + len(part.rstrip()) - len(value))


def _is_surely(one: _Slice) -> bool:
    """Tell a slice from a filter with a mistake in it."""
    return (
        one.is_bare
        and one.name.isidentifier()
        and not is_field(one.name)
        and nearest(one.name) is None
        and _NUMBER.fullmatch(one.value) is None
        and one.value not in _CONSTANTS
    )


def _compare(one: _Slice) -> Comparison:
    name = _REFUSED.sub("", one.name.lower().replace(" ", "_")).rstrip("_")
    value: str | float = one.value if one.is_bare else one.value[1:-1]
    if one.sign not in {"==", "!="}:
        if not _NUMBER.fullmatch(str(value)):
            raise bad(f"Expected a number, found {value!r}", one.value_at)
        value = float(value)
    return Comparison(Field("tags", (name,), one.at), one.sign, value, one.value_at)
