"""Compares two versions of a model: changed parts, and changed lines of their source."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile, zip_longest
from typing import Final

from otel_ml_collector.mapping.values import to_json
from otel_ml_collector.versions.definition import VersionDefinition

_WORD: Final = re.compile(r"\w+|\s+|.")
# Limits of a comparison: its time grows with the square of the text.
_COMPARED_LINES: Final = 1_000
_COMPARED_CHARS: Final = 100_000
_WORD_PAIRS: Final = 2_000_000
_HELPERS: Final = 8
# Maximum number of changed parameters to list; with more of them, none is listed.
_PARAMS: Final = 3
_VALUE_CHARS: Final = 40
# Constants up to this length are shown in a line, longer ones also as text of their own.
_SHOWN_CHARS: Final = 60
_CONTEXT_CHARS: Final = 12
# Longer constants are folded on pages.
_FOLDED_LINES: Final = 20
_FOLDED_CHARS: Final = 4_000
_SAME: Final = "same"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a line, and whether it differs on the other side."""

    text: str
    changed: bool


@dataclass(frozen=True, slots=True)
class DiffSide:
    """A line of a side: its number and pieces."""

    number: int
    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True)
class Line:
    """One row: the left line, the right line, or both."""

    left: DiffSide | None
    right: DiffSide | None
    changed: bool


@dataclass(frozen=True, slots=True)
class Block:
    """The lines of a function or of a constant.

    Attributes:
        is_cut: Whether the text was too long to compare all of it.
        is_folded: Whether pages show it only on request, because it is a long constant.
    """

    name: str
    lines: Sequence[Line]
    is_cut: bool
    is_folded: bool = False

    @property
    def added(self) -> int:
        """Number of lines that only the newer version has."""
        return sum(line.changed and line.right is not None for line in self.lines)

    @property
    def removed(self) -> int:
        """Number of lines that only the older version has."""
        return sum(line.changed and line.left is not None for line in self.lines)


@dataclass(frozen=True, slots=True)
class PartChange:
    """A part of a version's definition, and its change since the baseline."""

    part: str
    change: str

    @property
    def is_same(self) -> bool:
        """Whether both versions are equal in this part."""
        return self.change == _SAME or self.change.startswith(f"{_SAME}, ")


def changes(old: VersionDefinition | None, new: VersionDefinition) -> str:
    """List the changed parts of a version in a few words."""
    if old is None:
        return "first version"
    parts = [
        name
        for name, before, after in (
            ("source code", old.source, new.source),
            ("signature", old.signature, new.signature),
            (_write_params(old.params, new.params) or "parameters", old.params, new.params),
            ("artifact", old.artifact, new.artifact),
            ("output", old.output, new.output),
        )
        if before != after and not (name == "output" and before is None)
    ]
    parts += _changed_names(old.constants, new.constants)
    parts += [f"{name}()" for name in _changed_names(old.helpers, new.helpers)]
    if not parts and new.source is None:
        return "unknown (no source code sent)"
    return ", ".join(parts) or "no recorded part"


def facts(old: VersionDefinition, new: VersionDefinition) -> list[PartChange]:
    """List the change of each part between two versions."""
    constants = [
        f"{name} {' → '.join(_shorten(old.constants, new.constants, name))}"
        for name in _changed_names(old.constants, new.constants)
    ]
    helpers = [f"{name}()" for name in _changed_names(old.helpers, new.helpers)]
    part_changes = [
        PartChange("Source code", _line_counts(old.source, new.source)),
        PartChange("Signature", _same_or(old.signature, new.signature)),
        PartChange("Constants", ", ".join(constants) or "same"),
        PartChange("Helpers", ", ".join(helpers) or "same"),
        PartChange(
            "Parameters",
            "same"
            if old.params == new.params
            else _write_params(old.params, new.params) or "changed",
        ),
        PartChange("Output", _same_or(old.output or "", new.output or "")),
    ]
    if old.artifact or new.artifact:
        part_changes.append(
            PartChange("Artifact", "same" if old.artifact == new.artifact else "changed")
        )
    return part_changes


def blocks(old: VersionDefinition, new: VersionDefinition, name: str) -> list[Block]:
    """Compare the source of the function, then of the first 8 helpers that changed.

    Changed constants follow as text, such as prompts, unless `facts` shows all of them.
    """
    pairs = [(name, old.source or "", new.source or "")]
    pairs += [
        (helper, old.helpers.get(helper, ""), new.helpers.get(helper, ""))
        for helper in _changed_names(old.helpers, new.helpers)[:_HELPERS]
    ]
    compared = [
        Block(key, compare(before, after), _is_long(before) or _is_long(after))
        for key, before, after in pairs
    ]
    for key in _changed_names(old.constants, new.constants):
        before, after = (_write_constant(side.constants, key) for side in (old, new))
        if max(len(before), len(after)) > _SHOWN_CHARS or "\n" in before + after:
            lines = compare(before, after)
            is_cut = _is_long(before) or _is_long(after)
            is_folded = len(lines) > _FOLDED_LINES or len(before + after) > _FOLDED_CHARS
            compared.append(Block(key, lines, is_cut, is_folded))
    return compared


def changed_blocks(old: VersionDefinition, new: VersionDefinition, name: str) -> list[Block]:
    """Compare two versions like `blocks`, but leave out the functions that are equal."""
    return [block for block in blocks(old, new, name) if any(line.changed for line in block.lines)]


def compare(old: str, new: str) -> list[Line]:
    """Compare two texts line by line, and changed lines piece by piece.

    Only the first 1,000 lines and 100,000 characters of each are compared.
    """
    left = [_WORD_PAIRS]
    before, after = _lines(old), _lines(new)
    return [
        Line(
            None if old_place is None else _side(before, old_place, after, new_place, left),
            None if new_place is None else _side(after, new_place, before, old_place, left),
            changed=True,
        )
        if changed
        else Line(_same(before, old_place), _same(after, new_place), changed=False)
        for old_place, new_place, changed in _match(before, after)
    ]


def _lines(text: str) -> list[str]:
    return text[:_COMPARED_CHARS].splitlines()[:_COMPARED_LINES]


def _is_long(text: str) -> bool:
    return len(text) > _COMPARED_CHARS or text.count("\n") >= _COMPARED_LINES


def _match(
    before: Sequence[str], after: Sequence[str]
) -> Iterator[tuple[int | None, int | None, bool]]:
    """Pair the lines of two texts. Returns their positions, and whether they differ."""
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, before, after).get_opcodes():
        for old, new in zip_longest(range(i1, i2), range(j1, j2)):
            yield old, new, tag != "equal"


def _same(lines: Sequence[str], place: int | None) -> DiffSide | None:
    return None if place is None else DiffSide(place + 1, [Piece(lines[place], changed=False)])


def _side(
    lines: Sequence[str], place: int, others: Sequence[str], other: int | None, left: list[int]
) -> DiffSide:
    pieces = _pieces(lines[place], None if other is None else others[other], left)
    return DiffSide(place + 1, pieces)


def _pieces(text: str, other: str | None, left: list[int]) -> list[Piece]:
    """Mark the words of a changed line that differ on the other side."""
    if other is None:
        return [Piece(text, changed=False)]
    words, others = _WORD.findall(text), _WORD.findall(other)
    left[0] -= len(words) * len(others)
    if left[0] < 0:
        return [Piece(text, changed=True)]
    matcher = SequenceMatcher(None, words, others, autojunk=False)
    return [
        Piece("".join(words[start:end]), tag != "equal")
        for tag, start, end, _, _ in matcher.get_opcodes()
        if end > start
    ]


def _changed_names(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def _write_constant(constants: Mapping[str, object], name: str) -> str:
    """Return the text of a constant, or its JSON. Empty if it does not exist."""
    value = constants.get(name, "")
    return value if isinstance(value, str) else to_json(value)


def _shorten(old: Mapping[str, object], new: Mapping[str, object], name: str) -> tuple[str, str]:
    """Write both values of a constant; of long ones, the part that begins to differ."""
    before, after = (repr(side[name]) if name in side else "none" for side in (old, new))
    if max(len(before), len(after)) <= _SHOWN_CHARS:
        return before, after
    start = max(_count_same(before, after) - _CONTEXT_CHARS, 0)
    first, second = (
        ("…" if start else "")
        + text[start : start + _SHOWN_CHARS]
        + ("…" if len(text) > start + _SHOWN_CHARS else "")
        for text in (before, after)
    )
    return first, second


def _count_same(before: str, after: str) -> int:
    """Count the characters at the start that two texts have in common."""
    return sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False))
    )


def _write_params(old: object, new: object) -> str:
    """Write a few changed parameters, such as `depth 4 → 6`. Empty if they are many or long."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return ""
    names = _changed_names(old, new)
    texts = [
        [to_json(side[name]) if name in side else "none" for side in (old, new)] for name in names
    ]
    if len(names) > _PARAMS or any(len(text) > _VALUE_CHARS for pair in texts for text in pair):
        return ""
    return ", ".join(
        f"{name} {before} → {after}" for name, (before, after) in zip(names, texts, strict=True)
    )


def _same_or(old: str, new: str) -> str:
    return f"same, {new}" if old == new and new else "same" if old == new else f"{old} → {new}"


def _line_counts(old: str | None, new: str | None) -> str:
    matched = list(_match(_lines(old or ""), _lines(new or "")))
    added = sum(changed and right is not None for _, right, changed in matched)
    removed = sum(changed and left is not None for left, _, changed in matched)
    among = " of those compared" if _is_long(old or "") or _is_long(new or "") else ""
    if added or removed:
        return f"+{added} −{removed} lines{among}"
    return "same" if old == new else "changed"
