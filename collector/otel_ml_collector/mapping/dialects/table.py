"""A dialect as a table: which of its attributes fill which field of a run.

A source is the name of an attribute. ``a{b.c}`` is the member ``c`` of the member ``b`` of JSON in
``a``, ``a.N.b`` a list that was flattened into names, ``a.*`` all that is below ``a``, by the rest
of its name, and ``a{}`` the attributes that the JSON schema in ``a`` lists.

A table and the names of a span's attributes decide together what is read, whatever the values are:
`find_present` works it out once for each set of names, `AttributeColumns` reads a source by it, and
`evaluator` the fields.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Literal, cast

from otel_ml import attributes as names
from otel_ml_collector.mapping.run_columns import RunColumns
from otel_ml_collector.mapping.values import find_member, read_structured
from otel_ml_collector.span import Value

# Kinds that call a model themselves, and those around them.
CALLS: Final = frozenset({"model", "embedding"})
AROUND: Final = frozenset({"agent", "chain", "retriever", "tool"})
_SOURCE: Final = re.compile(r"(?P<name>[^{]*?)(?:\{(?P<member>.*)\})?")
_LISTED: Final = re.compile(r"(?P<prefix>.*\.)N(?:\.(?P<suffix>.*))?")

MAX_NAMES: Final = 1_024
MAX_DEPTH: Final = 12
_MAX_DIGITS: Final = 6
# What stands around each item of a list, and says nothing.
_WRAPPERS: Final = frozenset({"message", "message_content", "tool_call", "document", "image"})
# A message with several parts has them where a message with one has its text.
_PART_FIELDS: Final = ("contents", "content")

# How the values of a dialect are written: as they are, lists and mappings as JSON; whatever it is
# as JSON, so that a text has quotes; or as anything, of which all that can be read as JSON is, and
# of messages the pieces of a streamed answer are joined; or as a text whose head, before a slash,
# is the value.
Form = Literal["plain", "quoted", "json", "messages", "head"]


@dataclass(frozen=True, slots=True)
class Row:
    """A field and its sources.

    Attributes:
        field: Its name in `Found`.
        sources: The preferred source first; of `tags` and `params` all count.
        on: The kinds of runs that it is read for; empty for all.
        form: How its values are written; None for as those of the table are.
        system: What holds the instructions that stand before the messages in the inputs.
    """

    field: str
    sources: tuple[str, ...]
    on: frozenset[str] = frozenset()
    form: Form | None = None
    system: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a dialect says that a run failed.

    Attributes:
        level: The name that says it.
        at: Its word for it, true, or the lowest of its numbers for it.
        message: The name of the message, or a member of JSON.
        is_spare: Whether the message counts only where the span has no other.
    """

    level: str
    at: str | int
    message: str
    is_spare: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """Attribute names that tell the kind of a span without a word for it; beginnings as in marks.

    Attributes:
        tools: What names a tool.
        agents: What names an agent.
        models: What names a provider's model.
        answers: Names that only a model's answer has: usage, messages, an id, a reason to finish.
    """

    tools: Sequence[str] = ()
    agents: Sequence[str] = ()
    models: Sequence[str] = ()
    answers: Sequence[str] = ()


NO_EVIDENCE: Final = Evidence()


@dataclass(frozen=True, slots=True)
class Dialect:
    """A naming of attributes, as a table of all that is read of it.

    Attributes:
        name: What `dialect` of a run says.
        marks: Names by which it is recognised; a name that ends in a dot is a beginning, a name
            that ends in ``.N`` the beginning of a list.
        rows: What fills the fields but the kind.
        kind_sources: The names whose value is a word for the kind.
        kinds: Such words in lower case, and our kinds.
        endings: Ends of such words, and our kinds; the first that fits counts.
        other_kind: The kind of a word that is not there; empty where evidence decides.
        named_kinds: Kinds of spans without a word and without ``gen_ai.operation.name``, by names
            of which they have one.
        evidence: What else tells the kind, where no word does.
        form: How values are written.
        sdk: What ``telemetry.sdk.name`` of the resource says; empty for anything.
        scope: How the name of the scope begins; empty for anything.
        scores: What holds scores: a list of them, numbers below the names of judges, or the judge
            of a person's word on the parent, whose value has the judge's name.
        texts: Sources that are texts, whatever they could be read as, where the value of another
            name is ``text/plain``.
        instead: Names of other conventions, by the sources that do not count beside them; one that
            ends in a dot is a beginning.
        needs: Names of which a call by its word has one, as in marks; a span without any of them
            that did not fail is no call, and of no kind.
        request: What a call is sent with, and names of an answer as in marks: a span with the first
            and none of the others, that did not fail, is no call; its answer has a span of its own.
        failure: How it says that a run failed.
        notes: What else is done, a sentence each.
    """

    name: str
    marks: tuple[str, ...]
    rows: tuple[Row, ...]
    kind_sources: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    endings: Mapping[str, str] = field(default_factory=dict)
    other_kind: str = ""
    named_kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    evidence: Evidence = NO_EVIDENCE
    form: Form = "plain"
    sdk: str = ""
    scope: str = ""
    scores: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    instead: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    request: tuple[str, ...] = ()
    failure: Failure | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leaf:
    """The place of an attribute in a list that was flattened."""

    name: str


Shape = Leaf | Sequence["Shape"] | Mapping[str, "Shape"]


@dataclass(frozen=True, slots=True)
class FieldSource:
    """A source that is present on a span.

    Attributes:
        names: Those that it is made of; none for what a schema lists.
        name: The only one, where its value is taken as it is; empty else.
        member: The path of a member of JSON.
        shape: What a flattened list looks like.
        prefix: What the names of all that is below one begin with.
        schema: The name of a JSON schema.
        text_if: The name that may say ``text/plain``.
    """

    names: tuple[str, ...] = ()
    name: str = ""
    member: tuple[str, ...] = ()
    shape: Shape | None = None
    prefix: str = ""
    schema: str = ""
    text_if: str = ""


@dataclass(frozen=True, slots=True)
class Present:
    """The sources of a dialect that are present on a span.

    Attributes:
        dialect: Which one it is.
        kind: The kind that the names alone say.
        kind_sources: The names that may say another one.
        rows: Each row of which something is there, its sources, and how their values are written.
        scores: What holds scores.
        needed: What a call by its word needs, as far as it is there; None where it needs nothing.
        is_request: Whether the answer to what it asks has a span of its own.
    """

    dialect: Dialect
    kind: str
    kind_sources: Sequence[str]
    rows: Sequence[tuple[Row, Sequence[FieldSource], Form]]
    scores: Sequence[FieldSource]
    needed: Sequence[str] | None = None
    is_request: bool = False


def find_present(dialect: Dialect, keys: Sequence[str]) -> Present | None:
    """Find the sources of a dialect among the names of a span; None when it is not recognised."""
    there = frozenset(keys)
    if not any(_has(there, mark) for mark in dialect.marks):
        return None
    asked, *answers = dialect.request or ("",)
    is_request = (
        bool(asked) and asked in there and not any(_has(there, answer) for answer in answers)
    )
    there -= {source for source, better in dialect.instead.items() if _has(there, better)}
    single = {names.GEN_AI_REQUEST_MODEL, *(name for row in dialect.rows for name in row.sources)}

    def find(sources: Iterable[str]) -> list[FieldSource]:
        entries = (_find(source, there, single, dialect.texts) for source in sources)
        return [source for source in entries if source is not None]

    rows = [(row, find(row.sources), row.form or dialect.form) for row in dialect.rows]
    is_told = names.GEN_AI_OPERATION in there
    named = (
        kind for kind, named_kind in dialect.named_kinds.items() if not there.isdisjoint(named_kind)
    )
    return Present(
        dialect,
        (None if is_told else next(named, None)) or "",
        [name for name in dialect.kind_sources if name in there],
        [(row, sources, form) for row, sources, form in rows if sources],
        find(dialect.scores),
        [key for key in keys if any(_is_marked(key, mark) for mark in dialect.needs)]
        if dialect.needs
        else None,
        is_request,
    )


def find_evidence(dialects: Iterable[Dialect], keys: Collection[str]) -> Evidence:
    """Find the names of a span that any of the dialects takes as evidence of a kind."""

    def find(marks: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(key for mark in marks for key in keys if _is_marked(key, mark)))

    evidences = [dialect.evidence for dialect in dialects]
    return Evidence(
        find(mark for evidence in evidences for mark in evidence.tools),
        find(mark for evidence in evidences for mark in evidence.agents),
        find(mark for evidence in evidences for mark in evidence.models),
        find(mark for evidence in evidences for mark in evidence.answers),
    )


def _has(there: Set[str], mark: str) -> bool:
    is_beginning = mark.endswith((".", ".N"))
    return any(_is_marked(key, mark) for key in there) if is_beginning else mark in there


def _is_marked(key: str, mark: str) -> bool:
    if mark.endswith(".N"):
        return key.startswith(mark[:-1]) and key[len(mark) - 1 : len(mark)].isdigit()
    return key.startswith(mark) if mark.endswith(".") else key == mark


@cache  # of the sources of the tables, which are few
def _parse(source: str) -> tuple[Literal["below", "list", "member"], str, str]:
    """Parse a source: its form, its name or beginning, and the rest after that."""
    if source.endswith(".*"):
        return "below", source[:-1], ""
    if listed := _LISTED.fullmatch(source):
        return "list", listed["prefix"], listed["suffix"] or ""
    parts = _SOURCE.fullmatch(source)
    return "member", parts["name"] if parts else source, (parts and parts["member"]) or ""


def _find(
    source: str, keys: Set[str], single: Collection[str], texts: Mapping[str, str]
) -> FieldSource | None:
    """Find a source among names; a name that is a source by itself is left out of groups."""
    what, name, more = _parse(source)
    if what == "below":
        below = tuple(sorted(key for key in keys if key.startswith(name) and key not in single))
        return FieldSource(below, prefix=name) if below else None
    if what == "list":
        places = find_list(keys, name, more)
        return FieldSource(tuple(_names(places)), shape=places) if places else None
    if name not in keys:
        return None
    if source.endswith("{}"):
        return FieldSource(schema=name)
    if more:
        return FieldSource((name,), member=tuple(more.split(".")))
    return FieldSource((name,), name, text_if=texts.get(name, ""))


_Tree = dict[str, "_Tree | Leaf"]


def find_list(names: Iterable[str], prefix: str, suffix: str = "") -> Shape | None:
    """Find the list whose items stand below a number in each name, as ``gen_ai.prompt.0.content``.

    Args:
        names: Those of a span, in any order.
        prefix: What stands before the number, with its dot.
        suffix: What stands right after it, without a dot.

    Returns:
        Its items in the order of their numbers, whatever is missing between them; None when there
        is none. Names that do not fit (too deep, too many, beside others below the same name) are
        left out.
    """
    tree: _Tree = {}
    fitting = (name for name in names if name.startswith(prefix))
    for name in sorted(fitting, key=_places)[:MAX_NAMES]:
        path = name.removeprefix(prefix).split(".")
        inner = _inner(path, suffix)
        if inner is not None and len(path) <= MAX_DEPTH:
            _put(tree, inner, name)
    return _shape(tree) if tree else None


def _places(name: str) -> list[tuple[bool, int, str]]:
    """Sort key of names by their numbers, so that a cut list loses its end."""
    return [(_is_number(part), *_place(part)) for part in name.split(".")]


def _place(part: str) -> tuple[int, str]:
    return (int(part) if _is_number(part) else 0), part


def _is_number(part: str) -> bool:
    return part.isascii() and part.isdigit() and len(part) <= _MAX_DIGITS


def _inner(path: Sequence[str], suffix: str) -> list[str] | None:
    """Return a path without the suffix after each number; None when it does not fit."""
    if not path or not _is_number(path[0]):
        return None
    skipped = suffix.split(".") if suffix else []
    if list(path[1 : 1 + len(skipped)]) != skipped:
        return None
    return [path[0], *path[1 + len(skipped) :]]


def _put(tree: _Tree, path: Sequence[str], name: str) -> None:
    """Put a name at its place; a place with names below it holds no value itself."""
    *above, last = path
    for part in above:
        below = tree.get(part)
        if not isinstance(below, dict):
            below = tree[part] = {}
        tree = below
    if not isinstance(tree.get(last), dict):
        tree[last] = Leaf(name)


def _shape(tree: _Tree | Leaf) -> Shape:
    if isinstance(tree, Leaf):
        return tree
    if tree and all(map(_is_number, tree)):
        return [_item(tree[number]) for number in sorted(tree, key=_place)]
    shape = {name: _shape(inner) for name, inner in tree.items()}
    several, one = _PART_FIELDS
    if several in shape and one not in shape:
        shape[one] = shape.pop(several)
    return shape


def _item(tree: _Tree | Leaf) -> Shape:
    """Make an item of the content of its wrappers, unless two of them hold the same name."""
    if not isinstance(tree, dict) or not tree.keys() <= _WRAPPERS:
        return _shape(tree)
    held = list(tree.values())
    if len(held) == 1:
        return _shape(held[0])
    joined: _Tree = {}
    for part in held:
        if not isinstance(part, dict) or not joined.keys().isdisjoint(part):
            return _shape(tree)
        joined |= part
    return _shape(joined)


def _names(shape: Shape) -> Iterable[str]:
    if isinstance(shape, Leaf):
        yield shape.name
        return
    for inner in shape.values() if isinstance(shape, Mapping) else shape:
        yield from _names(inner)


class AttributeColumns:
    """The attributes of spans that have the same names in the same order, a column for each name.

    Args:
        spans: The attributes of each span.
        run_columns: The fields read so far, and the attributes that fill them.
    """

    __slots__ = ("_columns", "_opened", "names", "run_columns", "spans")

    def __init__(self, spans: Sequence[Mapping[str, Value]], run_columns: RunColumns) -> None:
        self.spans = spans
        self.names: Collection[str] = spans[0].keys()
        self.run_columns = run_columns
        columns = zip(*(attributes.values() for attributes in spans), strict=True)
        self._columns: dict[str, tuple[Value, ...]] = dict(zip(self.names, columns, strict=True))
        # What was read of JSON so far: several sources are members of one.
        self._opened: dict[str, dict[int, object]] = {}

    def column(self, name: str) -> Sequence[Value]:
        """Return the values of an attribute that the spans have."""
        return self._columns[name]

    def read(self, source: FieldSource, places: Sequence[int]) -> Sequence[Value]:
        """Read the values of a source at some places; None where it has no value."""
        if source.name:
            column = self.column(source.name)
            return column if len(places) == len(column) else [column[at] for at in places]
        spans = self.spans
        if source.shape is not None:
            return [fill(source.shape, spans[at]) for at in places]
        if source.prefix:
            pairs = [(name.removeprefix(source.prefix), name) for name in source.names]
            return [{short: spans[at][name] for short, name in pairs} for at in places]
        if source.schema:
            return [self._read_listed(source.schema, at) for at in places]
        return [
            cast("Value", find_member(self._open(source.names[0], at), source.member))
            for at in places
        ]

    def _open(self, name: str, place: int) -> object:
        opened = self._opened.setdefault(name, {})
        if place not in opened:
            opened[place] = read_structured(self.spans[place][name])
        return opened[place]

    def _read_listed(self, schema: str, place: int) -> Value:
        """Read the attributes that a JSON schema lists and that fill no field yet."""
        told, span = self._open(schema, place), self.spans[place]
        properties = told.get("properties") if isinstance(told, Mapping) else None
        listed = properties if isinstance(properties, Mapping) else ()
        is_used = self.run_columns.is_used
        names = [name for name in listed if name in span and not is_used(name, place)]
        arguments = {name: read_structured(span[name]) for name in names}
        return cast("Value", arguments or None)


def fill(shape: Shape, attributes: Mapping[str, Value]) -> Value:
    """Put a span's values into a list whose shape was found in its names."""
    if isinstance(shape, Leaf):
        return attributes[shape.name]
    if isinstance(shape, Mapping):
        return {name: fill(inner, attributes) for name, inner in shape.items()}
    return [fill(inner, attributes) for inner in shape]
