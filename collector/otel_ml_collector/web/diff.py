"""Two versions of a model side by side: what changed, and the changed lines of their source."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Final

from otel_ml_collector.query.answers.models import Definition

_WORDS: Final = re.compile(r"\w+|\s+|.")


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a line, and whether the other side has it otherwise."""

    text: str
    changed: bool


@dataclass(frozen=True, slots=True)
class Side:
    """A line of one side: its number and pieces."""

    number: int
    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True)
class Line:
    """One row: the left line, the right line, or both."""

    left: Side | None
    right: Side | None
    changed: bool


@dataclass(frozen=True, slots=True)
class Block:
    """The lines of one function."""

    name: str
    lines: Sequence[Line]


@dataclass(frozen=True, slots=True)
class Fact:
    """One part of a version, and what became of it."""

    part: str
    change: str


def changes(old: Definition | None, new: Definition) -> str:
    """Say in a few words what is new in a version."""
    if old is None:
        return "first version"
    parts = [
        name
        for name, before, after in (
            ("source", old.source, new.source),
            ("signature", old.signature, new.signature),
            ("parameters", old.params, new.params),
            ("artifact", old.artifact, new.artifact),
            ("output", old.output, new.output),
        )
        if before != after and not (name == "output" and before is None)
    ]
    parts += _changed_names(old.constants, new.constants)
    parts += [f"{name}()" for name in _changed_names(old.helpers, new.helpers)]
    return ", ".join(parts) or "nothing that was recorded"


def facts(old: Definition, new: Definition) -> list[Fact]:
    """Say part by part what changed between two versions."""
    constants = [
        f"{name} {_shown(old.constants, name)} → {_shown(new.constants, name)}"
        for name in _changed_names(old.constants, new.constants)
    ]
    helpers = [f"{name}()" for name in _changed_names(old.helpers, new.helpers)]
    found = [
        Fact("Source", _line_counts(old.source, new.source)),
        Fact("Signature", _same_or(old.signature, new.signature)),
        Fact("Constants", ", ".join(constants) or "same"),
        Fact("Helpers", ", ".join(helpers) or "same"),
        Fact("Parameters", "same" if old.params == new.params else "changed"),
        Fact("Output", _same_or(old.output or "", new.output or "")),
    ]
    if old.artifact or new.artifact:
        found.append(Fact("Artifact", "same" if old.artifact == new.artifact else "changed"))
    return found


def blocks(old: Definition, new: Definition, name: str) -> list[Block]:
    """Compare the source of the function, then of each helper that changed."""
    pairs = [(name, old.source or "", new.source or "")]
    pairs += [
        (helper, old.helpers.get(helper, ""), new.helpers.get(helper, ""))
        for helper in _changed_names(old.helpers, new.helpers)
    ]
    return [Block(key, compare(before, after)) for key, before, after in pairs]


def compare(old: str, new: str) -> list[Line]:
    """Compare two texts line by line, and changed lines piece by piece."""
    before, after = old.splitlines(), new.splitlines()
    lines: list[Line] = []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        for left, right in zip_longest(range(i1, i2), range(j1, j2)):
            lines.append(_line(before, after, left, right, changed=tag != "equal"))
    return lines


def _line(
    before: Sequence[str],
    after: Sequence[str],
    left: int | None,
    right: int | None,
    *,
    changed: bool,
) -> Line:
    old = None if left is None else before[left]
    new = None if right is None else after[right]
    return Line(
        left=None if left is None else Side(left + 1, _pieces(before[left], new, changed=changed)),
        right=None
        if right is None
        else Side(right + 1, _pieces(after[right], old, changed=changed)),
        changed=changed,
    )


def _pieces(text: str, other: str | None, *, changed: bool) -> list[Piece]:
    """Mark the words of a changed line that the other side has otherwise."""
    if not changed or other is None:
        return [Piece(text, changed=False)]
    words, others = _WORDS.findall(text), _WORDS.findall(other)
    matcher = SequenceMatcher(None, words, others, autojunk=False)
    return [
        Piece("".join(words[start:end]), tag != "equal")
        for tag, start, end, _, _ in matcher.get_opcodes()
        if end > start
    ]


def _changed_names(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def _shown(constants: Mapping[str, object], name: str) -> str:
    return repr(constants[name])[:60] if name in constants else "none"


def _same_or(old: str, new: str) -> str:
    return f"same, {new}" if old == new and new else "same" if old == new else f"{old} → {new}"


def _line_counts(old: str | None, new: str | None) -> str:
    lines = compare(old or "", new or "")
    added = sum(line.changed and line.right is not None for line in lines)
    removed = sum(line.changed and line.left is not None for line in lines)
    return f"+{added} −{removed} lines" if added or removed else "same"
