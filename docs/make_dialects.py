"""Generate docs/dialects.md from the tables of the collector's mapping."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from docs.markdown import fill
from otel_ml_collector.mapping.dialects.table import Dialect, Row
from otel_ml_collector.mapping.dialects.tables import DIALECTS, GEN_AI
from otel_ml_collector.mapping.dialects.usage import EXCLUSIVE
from otel_ml_collector.mapping.streams import FIRST_MOMENT, FIRST_PIECE, FIRST_TOKENS, PIECE
from otel_ml_collector.price import SPELLINGS

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = ROOT / "docs/dialects.md"

_BEGINNING: Final = """\
# Dialects

Look up how otel-ml reads the span attributes of other libraries. `make docs` generates this page
from the tables that the collector uses. [The wire contract](wire.md#what-becomes-of-other-spans)
has the rules.

Each table lists the fields of a run and their sources. A source is an attribute of the span:

| source | meaning |
| --- | --- |
| `a` | the attribute `a` |
| `a{b.c}` | the key `c` of the object `b` in the JSON of `a` |
| `a.N.b` | a list that is flattened into attribute names |
| `a.*` | all attributes whose names start with `a.` |
| `a{}` | the attributes that the JSON schema in `a` lists |

If a field has several sources, the first one with a valid value is used. Tags and params use all
sources. An attribute that becomes inputs or outputs is not stored a second time. All other
attributes stay among the attributes of the run. [Tokens](wire.md#tokens) explains which runs have
tokens and cost."""
_KINDS: Final = """\
The kind of a run is found in this order:

1. The kind that an attribute such as `gen_ai.operation.name` names. Every dialect below lists its
   words.
2. `tool` if the span names a tool, else `agent` if it names an agent.
3. `model` if the span names a model and has evidence of an answer: usage, messages, a response ID,
   a finish reason, or an event with content. Empty values do not count. A failed span that names a
   model needs no evidence, unless it has an unknown word and is not a client's request.
4. `chain` if an attribute has an unknown word.
5. `span` otherwise. A route or a framework's loop that only names a model is not a model call.

If `gen_ai.operation.name` is `execute_tool`, the span is a `tool`, whatever a framework calls it. A
guardrail with token counts is a `model`."""
_GEN_AI: Final = """\
This dialect is recognized by attributes that start with `gen_ai.`. It is read after the dialects
below. [Design record 010](design/010-log-records.md) describes its events."""
_SHAPE: Final = """\
A span of a library that no table above knows is a call in either of two cases:

* It has a known model, counts of tokens, and values that look like messages.
* It failed, has a known model, and calls the model itself: it is the span of a client, has the
  error of a provider's client, is named after a call, or has a request or its parameters.

The values can be attributes, JSON in attributes, or attributes of events. Their names can have
dots, underscores or capital letters: `acme.promptTokens` and `{"usage": {"prompt_tokens": 7}}` are
read alike.

* **Known model.** A model with a price, in the built-in table or in the setting `prices`, or a name
  of a known family, such as `gpt-*`.
* **Counts of tokens.** Numbers, or texts with numbers, for input and output or in total.
* **Messages.** A list of role and content, or a question and an answer under names such as
  `x.input` and `x.output`.

The dialect of such a run is `shape`, and its page shows "read by its shape". To find these runs,
use the filter `dialect == "shape"`. All attributes of the span are kept, because this reading is a
guess.

More rules:

* The counts follow the rules for [tokens](wire.md#tokens). A cost that the span states is used.
* Session, user, provider, response ID and parameters are read from names such as `x.session_id`.
* A span that states that it is an agent, chain, tool or retriever gets this kind. A span that is
  named after an agent or a workflow, or that counts several calls, is a chain. Their tokens stay
  attributes, because the calls inside have them.
* Spans with attributes of databases, queues, feature flags or GraphQL are never calls.
* A request handler with the question and the answer of its call stays a plain span.
* A call of the GenAI conventions without inputs and outputs gets them from other names of its
  library.

If no span of a project is read as a call, the project's pages show
[which signs are missing](api.md#calls-for-projects-runs-and-traces)."""
_PEOPLE: Final = """\
If no dialect sets the session, these attributes do, in any dialect and on plain spans:
`*.session.id`, `*.metadata.session_id`, `*.association.properties.session_id`, and the member
`session_id` of `metadata` and `*.metadata`. Instead of `session`, the name may be `conversation`,
`thread` or `chat`, and it may be written as `sessionId`. The user is read likewise, from `user`,
`end_user` or `enduser`. `mcp.session.id` is a connection, not a session."""
_TOKENS: Final = """\
The input tokens of a run include tokens that were read from a cache or written to one. If an
emitter leaves them out, they are added. These scopes are known to leave them out:"""
_SIGNS: Final = """\
For other scopes, the counts must show it: the total is the sum of input, cached and output tokens,
or there are more cached tokens than input tokens. Counts that contradict each other are unchanged.
`usage` in a table is an object with all counts, in the spelling of OpenAI, Anthropic, Google, the
AI SDK, LangChain or Langfuse. `total_tokens` and audio tokens are not stored: they show what input
tokens include, and what a call costs."""
_RESPONSES: Final = """\
`response_id` is the provider's ID of a response. If a call states none, the ID of the response in
its output is used: of a chat completion or a response of OpenAI and compatible providers, as a
whole or in chunks, of a message of Anthropic, of an answer of Gemini, or of a result or a message
of LangChain. `output.value` of OpenInference is searched in the same way. IDs of other messages,
tool calls and output items are not response IDs, and an output with several responses has none."""
_STREAMS: Final = """\
These rules apply to all dialects. `first_token_ms` is the first source below with a value from 0 to
one day. If the value is later than the end of the run, a finer unit is assumed.

`stream_chunks` is `otel_ml.stream.chunks`, else the number of events whose name ends in
`content.completion.chunk`. `tokens_per_second` is the number of output tokens divided by the time
from the first chunk to the end of the run."""


def make() -> str:
    """Return the text of the page."""
    parts = [_BEGINNING, "## Precedence", _precedence(), "## Kinds", _KINDS, "## gen_ai", _GEN_AI]
    parts += [_kinds(GEN_AI), _evidence(GEN_AI), _fields(GEN_AI.rows)]
    for dialect in DIALECTS:
        if dialect is not GEN_AI:
            parts += [f"## {dialect.name}", *_chapter(dialect)]
    parts += ["## Read by shape", _SHAPE]
    scopes = "\n".join(f"* `{scope}*`" for scope in EXCLUSIVE)
    parts += ["## Sessions and users", _PEOPLE, "## Tokens", _TOKENS, scopes, _SIGNS]
    parts += ["## Response IDs", _RESPONSES]
    parts += ["## Streams", _STREAMS, _first_tokens(), "## Providers", _providers()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _precedence() -> str:
    order = ["`otel_ml.*`", *(f"`{dialect.name}`" for dialect in DIALECTS)]
    return fill(
        f"If several dialects set a field, the first one in this order is used: "
        f"{', '.join(order)}, then the general conventions (status, exceptions, `session.id`, "
        f"`user.id`, the resource). The field `dialect` of a run is the first dialect that is "
        f"recognized."
    )


def _chapter(dialect: Dialect) -> Iterator[str]:
    if dialect.marks != ("gen_ai.",):  # its notes explain how the resource identifies it
        yield fill(f"Recognized by {_names(_marks(dialect.marks))}.")
    if dialect.form == "quoted":
        yield "All values are JSON, including plain text, which has quotes. The quotes are removed."
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
    sources = f"{_names(dialect.kind_sources)} (upper or lower case)"
    other = f" Any other word is a `{dialect.other_kind}`." if dialect.other_kind else ""
    head = fill(f"The kind comes from {sources}.{other}")
    return "\n".join([f"{head}\n", "| kind | words |", "| --- | --- |", *rows])


def _evidence(dialect: Dialect) -> str:
    evidence = dialect.evidence
    attributes = {
        "tool": evidence.tools,
        "agent": evidence.agents,
        "model": evidence.models,
        "answer": evidence.answers,
    }
    parts = [f"{what} {_names(_marks(names))}" for what, names in attributes.items() if names]
    return fill(f"Evidence for a kind: {'; '.join(parts)}.") if parts else ""


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
        f"| `{FIRST_MOMENT}` | time, RFC 3339 |",
        f"| the event `{FIRST_PIECE}` | time of the event |",
        f"| the first event whose name ends in `{PIECE}` | time of the event |",
    ]
    return "\n".join(["| source | unit |", "| --- | --- |", *rows])


def _providers() -> str:
    rows = [f"| `{name}` | {_names(others)} |" for name, others in SPELLINGS.items() if others]
    head = fill(
        "Provider names are converted to the spelling of the GenAI conventions, in any case. For a "
        "known provider, everything after a dot is removed, as in `openai.chat`. Unknown names are "
        "kept."
    )
    return "\n".join([f"{head}\n", "| provider | other spellings |", "| --- | --- |", *rows])


def _names(found: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in found)


if __name__ == "__main__":
    TARGET.write_text(make())
