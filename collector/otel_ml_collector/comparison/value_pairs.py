"""Two inputs or outputs side by side: what differs, in the forms in which pages show values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.store.reader import JsonValue
from otel_ml_collector.web.amounts import is_amount, write_amount
from otel_ml_collector.web.payload import (
    Payload,
    ShownMember,
    alone,
    list_members,
    make_payload,
)

# Members and nested values of an object that are compared, and how deep.
_MOST_ROWS: Final = 200
_MOST_INNER: Final = 12
_DEEPEST: Final = 4
_NODES: Final = 200


@dataclass(frozen=True, slots=True)
class MemberPair:
    """A short value of two objects that differs.

    Attributes:
        before, after: The values; None if the object does not have the member.
        change: By how much a number changed.
    """

    name: str
    before: ShownMember | None
    after: ShownMember | None
    change: str = ""


@dataclass(frozen=True, slots=True)
class ValuePair:
    """Two different values.

    Attributes:
        name: Inputs, outputs, or the path of a value inside them.
        members: Short values of two objects that differ.
        inner: Other values of the objects that differ.
        same: Number of values of the objects that are equal.
        texts: Two texts, to be compared by word; None for other values.
        sides: Two values of which at least one has a form of its own, such as a table.
    """

    name: str
    members: Sequence[MemberPair] = ()
    inner: Sequence["ValuePair"] = ()
    same: int = 0
    texts: tuple[str, str] | None = None
    sides: Sequence[Payload] = ()


def compare_values(name: str, before: JsonValue, after: JsonValue) -> ValuePair:
    """Find what differs between two different values."""
    if _names(before) == _names(after) and len(_names(before)) == 1:
        inner = alone(before), alone(after)
        if not all(map(is_amount, inner)):  # a number is shown with its name and its change
            before, after = inner
    return _compare(name, before, after, 0)


def _names(value: JsonValue) -> Sequence[str]:
    return [*value] if isinstance(value, Mapping) else ()


def _compare(name: str, before: JsonValue, after: JsonValue, depth: int) -> ValuePair:
    if isinstance(before, list) and isinstance(after, list) and _are_objects(before, after):
        first = _count_equal(before, after)
        rest = before[first:], after[first:]
        if first and all(rest):  # two chats begin with the same messages
            return ValuePair(name, same=first, sides=[_show(value) for value in rest])
    payloads = _show(before), _show(after)
    forms = {payload.form for payload in payloads}
    if forms == {"Text"}:
        return ValuePair(name, texts=(str(alone(before)), str(alone(after))))
    # These forms show a value better than the differences of its text would.
    if (
        isinstance(before, Mapping)
        and isinstance(after, Mapping)
        and not forms & {"Chat", "Audio", "Image", "Passages", "Table", "Numbers", "Blob"}
    ):
        return _compare_members(name, before, after, depth)
    return ValuePair(name, sides=payloads)


def _show(value: JsonValue) -> Payload:
    return make_payload(value, nodes=_NODES)


def _are_objects(*lists: Sequence[JsonValue]) -> bool:
    return all(values and isinstance(values[0], Mapping) for values in lists)


def _count_equal(before: Sequence[JsonValue], after: Sequence[JsonValue]) -> int:
    """Return how many first values of two lists are equal."""
    length = 0
    while length < min(len(before), len(after)) and before[length] == after[length]:
        length += 1
    return length


def _compare_members(
    name: str, before: Mapping[str, JsonValue], after: Mapping[str, JsonValue], depth: int
) -> ValuePair:
    members: list[MemberPair] = []
    inner: list[ValuePair] = []
    same = 0
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if key in before and key in after and old == new:
            same += 1
            continue
        first, second = _short(key, before), _short(key, after)
        if (first or key not in before) and (second or key not in after):
            pair = MemberPair(str(key), first, second, _write_change(old, new))
            members += [pair] if len(members) < _MOST_ROWS else []
        elif len(inner) < _MOST_INNER and depth < _DEEPEST and key in before and key in after:
            inner.append(_compare(str(key), old, new, depth + 1))
        elif len(inner) < _MOST_INNER:
            inner.append(ValuePair(str(key), sides=[_show(old), _show(new)]))
    return ValuePair(name, members, inner, same)


def _short(key: str, side: Mapping[str, JsonValue]) -> ShownMember | None:
    """Return a short member of an object; None if it is missing or has a form of its own."""
    if key not in side:
        return None
    return next(iter(list_members({key: side[key]}).short), None)


def _write_change(before: JsonValue, after: JsonValue) -> str:
    if not (is_amount(before) and is_amount(after)):
        return ""
    change = after - before
    return f"{'−' if change < 0 else '+'}{write_amount(abs(change))}"
