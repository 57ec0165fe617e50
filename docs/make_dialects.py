"""Writes dialects.md from the tables that the collector's mapping reads by."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from docs.markdown import fill
from otel_ml_collector.mapping.dialects.table import Dialect, Row
from otel_ml_collector.mapping.dialects.tables import DIALECTS, GEN_AI
from otel_ml_collector.mapping.streams import FIRST_MOMENT, FIRST_PIECE, FIRST_TOKENS, PIECE
from otel_ml_collector.price import SPELLINGS

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = ROOT / "docs/dialects.md"

_BEGINNING: Final = """\
# Dialects

What becomes of the attributes that other libraries write; `make docs` writes this page from the
tables that the collector reads by. The rules about them are in [the wire
contract](wire.md#what-becomes-of-other-spans).

A source is the name of an attribute. `a{b.c}` is the member `c` of the member `b` of JSON in `a`,
`a.N.b` a list that was flattened into names, `a.*` all that is below `a`, `a{}` the attributes that
the JSON schema in `a` lists. Of several sources the first that can be read counts; of tags and
params all do. An attribute that fills the inputs or outputs is not kept beside them; any other
stays among the attributes of its run, and so does one that is in no table. Which runs have tokens
and cost: [the wire contract](wire.md#tokens)."""
_KINDS: Final = """\
A word that is known decides, whichever dialect knows it: `gen_ai.operation.name` and its like,
below. Without one, the name of a tool makes a `tool`, else the name of an agent an `agent`. A call
of a model needs both a model and evidence of an answer on the span itself: usage, messages, the id
of a response, a reason to finish, or an event with content; the names are listed with each dialect.
A span with an unknown word and no such evidence is a `chain`, and one with neither is a `span`: a
route or a framework's loop that only names a model is no call of it. Values that are empty are no
evidence."""
_GEN_AI: Final = """\
Recognised by `gen_ai.*`, and read after the dialects below. Its events are in
[design/010](design/010-log-records.md)."""
# What is read of streams, whoever writes it.
_STREAMS: Final = """\
Of whichever dialect a span is, `first_token_ms` of its run is the first of these that is a number
from 0 to a day; one that is later than the end of the run is read in a finer unit. `stream_chunks`
is `otel_ml.stream.chunks`, else the number of its events whose name ends in
`content.completion.chunk`. `tokens_per_second` is made of both ends: tokens that came out, by the
time from the first piece to the end of the run."""


def make() -> str:
    """Return the page as the tables have it now."""
    parts = [_BEGINNING, "## Precedence", _precedence(), "## Kinds", _KINDS, "## gen_ai", _GEN_AI]
    parts += [_kinds(GEN_AI), _evidence(GEN_AI), _fields(GEN_AI.rows)]
    for dialect in DIALECTS:
        if dialect is not GEN_AI:
            parts += [f"## {dialect.name}", *_chapter(dialect)]
    parts += ["## Streams", _STREAMS, _first_tokens(), "## Providers", _providers()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _precedence() -> str:
    order = ["`otel_ml.*`", *(f"`{dialect.name}`" for dialect in DIALECTS)]
    return fill(
        f"Of a field that several dialects name on one span the first one's word stands: "
        f"{', '.join(order)}, then the general conventions (status, exceptions, `session.id`, "
        f"`user.id`, the resource). `dialect` of a run is the first one that is recognised."
    )


def _chapter(dialect: Dialect) -> Iterator[str]:
    if dialect.marks != ("gen_ai.",):  # told apart by its resource, as its notes say
        yield fill(f"Recognised by {_names(_marks(dialect.marks))}.")
    if dialect.form == "quoted":
        yield "All values are JSON, plain texts too: the quotes of a text are taken off."
    yield _kinds(dialect)
    yield _evidence(dialect)
    yield _fields(dialect.rows)
    if dialect.scores:
        yield fill(f"Scores: {_names(dialect.scores)}.")
    yield "\n".join(fill(f"* {note}", "  ") for note in dialect.notes)


def _marks(marks: Iterable[str]) -> Iterator[str]:
    return (f"{mark}*" if mark.endswith(".") else mark for mark in marks)


def _kinds(dialect: Dialect) -> str:
    if not dialect.kind_sources:
        return ""
    rows = [
        f"| `{kind}` | {_names(word for word, ours in dialect.kinds.items() if ours == kind)} |"
        for kind in dict.fromkeys(dialect.kinds.values())
    ]
    rows += [f"| `{kind}` | \u2026`{end}` |" for end, kind in dialect.endings.items()]
    told_by = f"{_names(dialect.kind_sources)}, in any case"
    other = f"; another word is a `{dialect.other_kind}`" if dialect.other_kind else ""
    head = fill(f"The kind is told by {told_by}{other}.")
    return "\n".join([f"{head}\n", "| kind | words |", "| --- | --- |", *rows])


def _evidence(dialect: Dialect) -> str:
    told = dialect.evidence
    those = {"tool": told.tools, "agent": told.agents, "model": told.models, "answer": told.answers}
    said = [f"{what} {_names(_marks(names))}" for what, names in those.items() if names]
    return fill(f"Evidence of a kind: {'; '.join(said)}.") if said else ""


def _fields(rows: Iterable[Row]) -> str:
    lines = [f"| {_field(row)} | {_names(row.sources)} |" for row in rows]
    return "\n".join(["| field | sources |", "| --- | --- |", *lines])


def _field(row: Row) -> str:
    kinds = f" of {', '.join(sorted(row.on))}" if row.on else ""
    return f"`{row.field}`{kinds}"


def _first_tokens() -> str:
    units = {1: "milliseconds", 1_000: "seconds"}
    rows = [f"| `{name}` | {units[unit]} |" for name, unit in FIRST_TOKENS.items()]
    rows += [
        f"| `{FIRST_MOMENT}` | the moment, RFC 3339 |",
        f"| the event `{FIRST_PIECE}` | its moment |",
        f"| the first event whose name ends in `{PIECE}` | its moment |",
    ]
    return "\n".join(["| what says it | in |", "| --- | --- |", *rows])


def _providers() -> str:
    rows = [f"| `{name}` | {_names(others)} |" for name, others in SPELLINGS.items() if others]
    head = fill(
        "A provider is spelled as the GenAI conventions do, in whatever case it comes; what stands "
        "after a known name and a dot, as in `openai.chat`, is left out. One that is not known is "
        "kept as it is."
    )
    return "\n".join([f"{head}\n", "| provider | also written |", "| --- | --- |", *rows])


def _names(found: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in found)


if __name__ == "__main__":
    TARGET.write_text(make())
