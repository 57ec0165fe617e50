"""A dialect as a table: which of its attributes fill which field of a run.

A source is an attribute name, or one of these forms:

* ``a{b.c}``: member ``c`` of member ``b`` of the JSON in attribute ``a``
* ``a.N.b``: a list that was flattened into numbered attributes
* ``a.*``: all attributes that start with ``a.``, by the rest of their name
* ``a{}``: the attributes that the JSON schema in ``a`` lists

The names of a span's attributes alone decide which sources are read. `find_present` computes that
once per set of names, `AttributeColumns` reads the sources, and `evaluator` converts them to
fields.
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

# Kinds of runs that call a model themselves, and kinds that surround such calls.
CALLS: Final = frozenset({"model", "embedding"})
AROUND: Final = frozenset({"agent", "chain", "retriever", "tool"})
_SOURCE: Final = re.compile(r"(?P<name>[^{]*?)(?:\{(?P<member>.*)\})?")
_LISTED: Final = re.compile(r"(?P<prefix>.*\.)N(?:\.(?P<suffix>.*))?")

MAX_NAMES: Final = 1_024
MAX_DEPTH: Final = 12
_MAX_DIGITS: Final = 6
# Names that wrap each item of a list without adding information.
_WRAPPERS: Final = frozenset({"message", "message_content", "tool_call", "document", "image"})
_COUNT_FIELDS: Final = frozenset({"input_tokens", "output_tokens", "usage"})
# Messages with several parts use the first name, messages with one text the second.
_PART_FIELDS: Final = ("contents", "content")

# How a dialect writes values. plain: lists and objects as JSON, texts as they are. quoted:
# everything as JSON, so texts have quotes. json: parse everything that is valid JSON. messages:
# like json, and join the chunks of a streamed answer. head: the part of a text before a slash.
# members: like plain, and parse the JSON text in each member of an object. asked, answered: the
# messages before the answer, and those of the answer. named: a parameter is called as its
# attribute, without the first part. held: an ID inside the response that is the value.
Form = Literal[
    "plain", "quoted", "json", "messages", "head", "members", "asked", "answered", "named", "held"
]


@dataclass(frozen=True, slots=True)
class Row:
    """A field of a run and the attributes of an instrumentation that fill it.

    Attributes:
        field: Name of the field in `RunColumns`, or `usage` for an object with all token counts.
        sources: Attributes to read, the preferred one first. For `tags` and `params`, all of them
            are read.
        on: Kinds of runs for which the row applies; empty for all.
        form: Format of the values; None for the usual format of the instrumentation.
        system: Attribute with system instructions to put before the messages; empty for none.
    """

    field: str
    sources: tuple[str, ...]
    on: frozenset[str] = frozenset()
    form: Form | None = None
    system: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """How an instrumentation marks a failed run.

    Attributes:
        level: Attribute that marks the failure.
        at: Its value for a failure. If it is a number, any value from this number on.
        message: Attribute with the error message. If it is inside a JSON attribute, the path to it.
        is_spare: Whether the message is used only if the span has no other message.
    """

    level: str
    at: str | int
    message: str
    is_spare: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """Attribute names that show the kind of a span which does not state its kind.

    A name that ends with a dot matches all attributes that start with it.

    Attributes:
        tools: Attributes with the name of a tool.
        agents: Attributes with the name of an agent.
        models: Attributes with the name of a provider's model.
        answers: Attributes that only a model's answer has, such as usage, messages, an id or a
            finish reason.
    """

    tools: Sequence[str] = ()
    agents: Sequence[str] = ()
    models: Sequence[str] = ()
    answers: Sequence[str] = ()


NO_EVIDENCE: Final = Evidence()


@dataclass(frozen=True, slots=True)
class Dialect:
    """The attribute names of one instrumentation, as a table of everything that is read from them.

    Attributes:
        name: Value of `dialect` of its runs.
        marks: Names by which the dialect is recognised. A name that ends with a dot is a prefix, a
            name that ends with ``.N`` the prefix of a list.
        rows: Sources of all fields except the kind.
        kind_sources: Attributes that state the kind.
        kinds: Values of these attributes in lower case, mapped to kinds of runs.
        endings: Ends of such values, mapped to kinds of runs. The first match is used.
        other_kind: Kind for unknown values; empty if evidence decides.
        named_kinds: Kinds of spans without such a value and without ``gen_ai.operation.name``. A
            kind applies if the span has one of its attributes.
        counted: Values in lower case that mean a model call only if the span also has token counts.
            For example, a guardrail may ask a model or not.
        evidence: Attributes that show the kind if no value states it.
        form: How values are written.
        sdk: Required ``telemetry.sdk.name`` of the resource; empty for any.
        scope: Required start of the scope name; empty for any.
        events: Names of span events. Each event is an attribute of its name, and each of its
            attributes is ``EVENT:ATTRIBUTE``.
        scores: Sources of scores: a list of scores, numbers by judge name, or the name of a
            reviewer's score of the parent span. In the last case, the attribute of that name holds
            the value.
        texts: Sources that are plain text if another attribute (the value of the mapping) is
            ``text/plain``.
        instead: Sources to ignore, each with the attribute of another convention. A source is
            ignored if the span has that attribute. A name that ends with a dot is a prefix.
        needs: Names in the form of `marks`. A span whose stated kind is a model call is one only if
            it has one of them or failed. Empty for no condition.
        request: First the attribute of a request, then names of an answer in the form of `marks`. A
            span with a request, without an answer and without a failure is not a call: the answer
            has its own span.
        failure: How a failed run is marked; None for no mark of its own.
        notes: Further rules for docs/dialects.md, one sentence each.
    """

    name: str
    marks: tuple[str, ...]
    rows: tuple[Row, ...]
    kind_sources: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    endings: Mapping[str, str] = field(default_factory=dict)
    other_kind: str = ""
    named_kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    counted: frozenset[str] = frozenset()
    evidence: Evidence = NO_EVIDENCE
    form: Form = "plain"
    sdk: str = ""
    scope: str = ""
    events: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    instead: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    request: tuple[str, ...] = ()
    failure: Failure | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leaf:
    """The attribute that holds one value of a flattened list."""

    name: str


Shape = Leaf | Sequence["Shape"] | Mapping[str, "Shape"]


@dataclass(frozen=True, slots=True)
class FieldSource:
    """Where the value of a run's field comes from, for spans with certain attribute names.

    Attributes:
        names: All attributes that the value is made from; empty if a JSON schema lists them.
        name: The only attribute, if its value is used unchanged; else empty.
        member: If the value is inside a JSON attribute, the path to it; else empty.
        shape: If the value is a list that is spread over several attributes, how to rebuild it;
            else None.
        prefix: If the value consists of all attributes that begin with a prefix, this prefix; else
            empty.
        schema: An attribute with a JSON schema. The value consists of the attributes that the
            schema lists. Empty if there is none.
        text_if: An attribute with the media type. If it is ``text/plain``, the value is not parsed
            as JSON. Empty if there is none.
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
    """Which attributes of a known instrumentation (a dialect) a span has.

    For a field of a run, a source says which attributes to read it from; see `FieldSource`.

    Attributes:
        dialect: The table of the instrumentation's attribute names.
        kind: Kind of the run, if the attribute names alone decide it; else empty.
        kind_sources: Where to read the kind of the run from, if the span has such an attribute.
        is_counted: Whether the span has token counts.
        rows: The rows of the table whose attributes the span has. Each row comes with its sources
            and the format of their values.
        scores: Sources of scores.
        needed: Attributes of the span. To be a model call, the span must have a value for at least
            one of them. None if the dialect has no such condition.
        is_request: Whether the span is only the request, and another span has the answer.
    """

    dialect: Dialect
    kind: str
    kind_sources: Sequence[FieldSource]
    is_counted: bool
    rows: Sequence[tuple[Row, Sequence[FieldSource], Form]]
    scores: Sequence[FieldSource]
    needed: Sequence[str] | None = None
    is_request: bool = False


def find_present(dialect: Dialect, keys: Sequence[str]) -> Present | None:
    """Find out which attributes of a dialect a span has.

    A dialect is the set of attribute names of one instrumentation, such as OpenInference.

    Args:
        dialect: The dialect, as a table.
        keys: Attribute names of the span.

    Returns:
        The attributes that are present, by field; None if the dialect is not recognised.
    """
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

    # The total only shows whether input tokens include cached ones.
    is_cached = any("cache" in key for key in keys)
    rows = [
        (row, find(row.sources), row.form or dialect.form)
        for row in dialect.rows
        if row.field != "total_tokens" or is_cached
    ]
    has_operation = names.GEN_AI_OPERATION in there
    named = (
        kind for kind, named_kind in dialect.named_kinds.items() if not there.isdisjoint(named_kind)
    )
    return Present(
        dialect,
        (None if has_operation else next(named, None)) or "",
        find(dialect.kind_sources),
        any(row.field in _COUNT_FIELDS and sources for row, sources, _ in rows),
        [(row, sources, form) for row, sources, form in rows if sources],
        find(dialect.scores),
        [key for key in keys if any(_is_marked(key, mark) for mark in dialect.needs)]
        if dialect.needs
        else None,
        is_request,
    )


def find_evidence(dialects: Iterable[Dialect], keys: Collection[str]) -> Evidence:
    """Return the attribute names that any of the dialects accepts as evidence of a kind."""

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


@cache  # the tables have few sources
def _parse(source: str) -> tuple[Literal["below", "list", "member"], str, str]:
    """Parse a source such as ``a{b.c}``: return its form, its name or prefix, and the rest."""
    if source.endswith(".*"):
        return "below", source[:-1], ""
    if listed := _LISTED.fullmatch(source):
        return "list", listed["prefix"], listed["suffix"] or ""
    parts = _SOURCE.fullmatch(source)
    return "member", parts["name"] if parts else source, (parts and parts["member"]) or ""


def _find(
    source: str, keys: Set[str], single: Collection[str], texts: Mapping[str, str]
) -> FieldSource | None:
    """Find a field's source among attribute names; None if it is not there.

    A group (all attributes below a name) leaves out names that are sources by themselves.
    """
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
    """Find how to rebuild a list that is spread over attributes: ``gen_ai.prompt.0.content``, ….

    Args:
        names: Attribute names of a span, in any order.
        prefix: Part of the name before the number, with the dot.
        suffix: Part of the name right after the number, without a dot.

    Returns:
        The attribute names of each item, in the order of the numbers; gaps are skipped. None if
        there is no such list. Names are left out if they are nested too deeply, if they are beyond
        the first 1,024, or if another name continues them (``a.0`` next to ``a.0.b``).
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
    """Return the sort key of a name by its numbers, so that a limit cuts off the end of a list."""
    return [(_is_number(part), *_place(part)) for part in name.split(".")]


def _place(part: str) -> tuple[int, str]:
    return (int(part) if _is_number(part) else 0), part


def _is_number(part: str) -> bool:
    return part.isascii() and part.isdigit() and len(part) <= _MAX_DIGITS


def _inner(path: Sequence[str], suffix: str) -> list[str] | None:
    """Return a path without the suffix after its number; None if it does not match."""
    if not path or not _is_number(path[0]):
        return None
    skipped = suffix.split(".") if suffix else []
    if list(path[1 : 1 + len(skipped)]) != skipped:
        return None
    return [path[0], *path[1 + len(skipped) :]]


def _put(tree: _Tree, path: Sequence[str], name: str) -> None:
    """Add a name to the tree. A name that is also the beginning of another one is left out."""
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
    """Remove wrappers around a list item, unless two wrappers contain the same name."""
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
    """The attribute values of several spans, one column per attribute name.

    Args:
        spans: Attributes of each span. All have the same names in the same order.
        run_columns: The fields of the runs, as far as they have been read from the spans.
    """

    __slots__ = ("_columns", "_opened", "names", "run_columns", "spans")

    def __init__(self, spans: Sequence[Mapping[str, Value]], run_columns: RunColumns) -> None:
        self.spans = spans
        self.names: Collection[str] = spans[0].keys()
        self.run_columns = run_columns
        columns = zip(*(attributes.values() for attributes in spans), strict=True)
        self._columns: dict[str, tuple[Value, ...]] = dict(zip(self.names, columns, strict=True))
        # Parsed JSON, because several sources can be members of the same attribute.
        self._opened: dict[str, dict[int, object]] = {}

    def column(self, name: str) -> Sequence[Value]:
        """Return the values of an attribute, one per span."""
        return self._columns[name]

    def read(self, source: FieldSource, places: Sequence[int]) -> Sequence[Value]:
        """Return the values of a source for some spans; None for spans without a value."""
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
        """Return those attributes listed in a JSON schema that are in no field yet."""
        opened, span = self._open(schema, place), self.spans[place]
        properties = opened.get("properties") if isinstance(opened, Mapping) else None
        listed = properties if isinstance(properties, Mapping) else ()
        is_used = self.run_columns.is_used
        names = [name for name in listed if name in span and not is_used(name, place)]
        arguments = {name: read_structured(span[name]) for name in names}
        return cast("Value", arguments or None)


def fill(shape: Shape, attributes: Mapping[str, Value]) -> Value:
    """Build a list from the attributes of a span, using the structure found in its names."""
    if isinstance(shape, Leaf):
        return attributes[shape.name]
    if isinstance(shape, Mapping):
        return {name: fill(inner, attributes) for name, inner in shape.items()}
    return [fill(inner, attributes) for inner in shape]
