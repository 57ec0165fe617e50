"""A dialect as a table: which of its attributes fill which field of a run.

A source is the name of an attribute. ``a{b.c}`` is the member ``c`` of the member ``b`` of JSON in
``a``, ``a.N.b`` a list that was flattened into names, and ``a.*`` all that is below ``a``, by the
rest of its name.
"""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final, cast

from otel_ml import attributes as names
from otel_ml_collector.mapping.dialects.indexed import Listed, fill, find_list
from otel_ml_collector.mapping.dialects.reading import READERS, add_tags, read_kind, read_structured
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.values import to_json
from otel_ml_collector.span import Value

# Kinds that call a model themselves, and those around them.
CALLS: Final = frozenset({"model", "embedding"})
AROUND: Final = frozenset({"agent", "chain", "retriever", "tool"})
_SOURCE: Final = re.compile(r"(?P<name>[^{]*?)(?:\{(?P<member>.*)\})?")
_LISTED: Final = re.compile(r"(?P<prefix>.*\.)N(?:\.(?P<suffix>.*))?")
_PAYLOADS: Final = frozenset({"inputs", "outputs"})
# A payload that is an empty text, and its JSON text.
_EMPTY: Final = ("", '""')


@dataclass(frozen=True, slots=True)
class Row:
    """A field and its sources.

    Attributes:
        field: Its name in `Found`.
        sources: The preferred one first; of `tags` and `params` all count.
        on: The kinds of runs that it is read for; empty for all.
        is_quoted: Whether its values are JSON, plain texts too.
    """

    field: str
    sources: tuple[str, ...]
    on: frozenset[str] = frozenset()
    is_quoted: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """All that is read of a dialect.

    Attributes:
        dialect: What `dialect` of a run says.
        marks: Names by which it is recognised; one that ends in a dot is a beginning.
        kinds: Words of its kinds in lower case, and ours; a word that is not there is a chain.
        kind_sources: The names whose value is such a word.
        rows: What fills the other fields.
        is_quoted: Whether all values are JSON, plain texts too.
        scores: What holds scores.
        instead: Names of other conventions, by the sources that do not count beside them.
        notes: What else is done, a sentence each.
    """

    dialect: str
    marks: tuple[str, ...]
    kinds: Mapping[str, str]
    kind_sources: tuple[str, ...]
    rows: tuple[Row, ...]
    is_quoted: bool = False
    scores: tuple[str, ...] = ()
    instead: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A source that a span has: its names, and how its value is made of them."""

    names: tuple[str, ...]
    member: str = ""
    listed: Listed | None = None
    prefix: str = ""

    def read(self, attributes: Mapping[str, Value], opened: dict[str, object]) -> Value:
        """Read its value; None when it has none.

        Args:
            attributes: Those of the span.
            opened: What was read of their JSON so far: several sources are members of one.
        """
        if self.listed is not None:
            return fill(self.listed.shape, attributes)
        if self.prefix:
            return {name.removeprefix(self.prefix): attributes[name] for name in self.names}
        name = self.names[0]
        if not self.member:
            return attributes[name]
        if name not in opened:
            opened[name] = read_structured(attributes[name])
        told = opened[name]
        for member in self.member.split("."):
            told = told.get(member) if isinstance(told, Mapping) else None
        return cast("Value", told)


@dataclass(frozen=True, slots=True)
class Names:
    """Which of a dialect's names there are for each field, the preferred one first."""

    kinds: Sequence[str]
    rows: Sequence[tuple[Row, Sequence[Source]]]
    scores: Sequence[Source]


def find_names(table: Table, keys: Sequence[str]) -> Names | None:
    """Find a dialect's names among those of a span; None when it is not recognised."""
    there = frozenset(keys)
    there -= {source for source, better in table.instead.items() if better in there}
    beginnings = tuple(mark for mark in table.marks if mark.endswith("."))
    if there.isdisjoint(table.marks) and not any(key.startswith(beginnings) for key in keys):
        return None
    single = {names.GEN_AI_REQUEST_MODEL, *(name for row in table.rows for name in row.sources)}
    rows = [
        (row, [one for name in row.sources if (one := _find(name, there, single)) is not None])
        for row in table.rows
    ]
    return Names(
        kinds=[name for name in table.kind_sources if name in there],
        rows=[(row, sources) for row, sources in rows if sources],
        scores=[one for name in table.scores if (one := _find(name, there, single)) is not None],
    )


def read_run(table: Table, attributes: Mapping[str, Value], present: Names, found: Found) -> None:
    """Fill the fields that a dialect's attributes name and nobody named before."""
    found.setdefault("dialect", table.dialect)
    opened: dict[str, object] = {}
    for name in present.kinds:
        kind = read_kind(attributes[name], table.kinds)
        if kind:
            found.setdefault("kind", kind)
    for row, sources in present.rows:
        if row.on and found.get("kind") not in row.on:
            continue
        if row.field == "tags":
            for source in sources:
                add_tags(source.read(attributes, opened), found, is_quoted=row.is_quoted)
        elif row.field == "params":
            _read_params(attributes, sources, found, opened)
        elif row.field not in found:
            is_quoted = table.is_quoted or row.is_quoted
            _read_field(attributes, row.field, sources, found, opened, is_quoted=is_quoted)


def _read_field(
    attributes: Mapping[str, Value],
    field: str,
    sources: Sequence[Source],
    found: Found,
    opened: dict[str, object],
    *,
    is_quoted: bool,
) -> None:
    """Fill a field from the first source that can be read; an empty one counts when all are."""
    fields = cast("dict[str, object]", found)
    chosen: tuple[object, Source] | None = None
    for source in sources:
        value = READERS[field](source.read(attributes, opened), is_quoted)
        if value is not None and value != _EMPTY:
            chosen = value, source
            break
        if value is not None:
            chosen = chosen or (value, source)
    if chosen is None:
        return
    fields[field] = chosen[0]
    if field in _PAYLOADS:
        found["used"].update(chosen[1].names)


def _read_params(
    attributes: Mapping[str, Value],
    sources: Sequence[Source],
    found: Found,
    opened: dict[str, object],
) -> None:
    if "params" in found:
        return
    params: dict[str, object] = {}
    for source in sources:
        told = read_structured(source.read(attributes, opened))
        if isinstance(told, Mapping):
            params |= {name: value for name, value in told.items() if name not in params}
        elif told is not None and len(source.names) == 1 and not source.prefix:
            params.setdefault(source.names[0].rpartition(".")[2], told)
    if params:
        found["params"] = to_json(params)


def _find(source: str, keys: Set[str], single: Set[str]) -> Source | None:
    """Find a source among names; what is a source by itself is not one of many."""
    if source.endswith(".*"):
        prefix = source[:-1]
        below = tuple(sorted(key for key in keys if key.startswith(prefix) and key not in single))
        return Source(below, prefix=prefix) if below else None
    if listed := _LISTED.fullmatch(source):
        found = find_list(keys, listed["prefix"], listed["suffix"] or "")
        return Source(found.names, listed=found) if found else None
    parts = _SOURCE.fullmatch(source)
    if parts is None or parts["name"] not in keys:
        return None
    return Source((parts["name"],), parts["member"] or "")
