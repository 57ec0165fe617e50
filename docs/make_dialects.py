"""Generate docs/dialects.md from the tables of the collector's mapping."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from docs.markdown import fill
from otel_ml_collector.mapping.dialects.streams import (
    FIRST_MOMENT,
    FIRST_PIECE,
    FIRST_TOKENS,
    PIECE,
)
from otel_ml_collector.mapping.dialects.table import Dialect, Row
from otel_ml_collector.mapping.dialects.tables import DIALECTS, GEN_AI
from otel_ml_collector.mapping.dialects.usage import EXCLUSIVE
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
2. The kind that [any other attribute](#names-that-no-table-lists) names. A chain or a call is one
   only if the next steps find nothing else.
3. `tool` if the span names a tool, else `agent` if it names an agent.
4. `model` if the span names a model and has evidence of an answer: usage, messages, a response ID,
   a finish reason, or an event with content. Empty values do not count. A failed span that names a
   model needs no evidence, with one exception: the attribute of step 1 has a word that no dialect
   lists, and the span kind is not client.
5. `chain` if the attribute of step 1 has a word that no dialect lists.
6. `span` otherwise. A route or a framework's loop that only names a model is not a model call.

If `gen_ai.operation.name` is `execute_tool`, the span is a `tool`, whatever a framework calls it. A
guardrail with token counts is a `model`."""
_GEN_AI: Final = """\
This dialect is recognized by attributes that start with `gen_ai.`. It is read after the dialects
below. [Design record 010](design/010-log-records.md) describes its events."""
_SHAPE: Final = """\
A span of a library that no table above knows is a call in either of two cases:

* It has a known model, counts of tokens, and values that look like messages.
* It failed, has a known model, and looks like the call itself. It does if its span kind is client,
  its error is one of a provider's client library, its name is that of a call, or it contains the
  request or parameters of the request.

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
_SPARES: Final = """\
A library may follow a convention for most attributes and name the others itself. What the tables do
not find is read from other attributes, by the last words of their names. Dots, underscores and
capital letters separate words.

| what | names |
| --- | --- |
| kind | `*.kind`, `*.type`, `*.operation`, `*.operation.name`, `*.category` |
| input and output of a call | `*.prompt`, `*.request.messages`; `*.output`, `*.response.text` |
| input and output of a tool | `*.args`, `*.tool.input`; `*.result`, `*.tool.output` |
| input and output of a retriever | `*.query`; `*.documents` |
| tokens | `*.cache_input_tokens`, `*.input_tokens.cached`, `*.details.reasoning_tokens` |
| all tokens | `*.usage`, if it holds an object |
| name of a run | `*.tool.name`, `*.agent.name`, `*.workflow.name` |
| model and provider | `*.model`, `*.model_name`; `*.provider` |

* **Kind.** Known words are `TOOL`, `agent_run`, `retriever`, `LLM`, `workflow` and others, in any
  spelling. A word such as `TOOL` is enough if the name is one of a span: `*.span.kind`,
  `*.span.type`, `*.observation.type`. Other names count only next to an input, an output or a name
  of the same library. A span that states to be a call needs a model, and a text or a count.
* **Texts.** Each side is read for itself. `[]`, `{}` and `null` are empty. System prompts,
  templates and descriptions are neither side.
* Attributes of OpenTelemetry's general conventions, databases, queues and feature flags are left
  out, and so are names that begin like those of a table above that is specific to one library.
* What is read this way also stays an attribute, because it is a guess."""
_PEOPLE: Final = """\
If no dialect sets the session, attributes whose names end like its ID do, in any dialect and on
plain spans: `session_id`, `conversation.id`, `acme.threadId`, `x.properties.chat_id`, and the
members of `metadata` and `*.metadata`. If there are several, `session` is preferred to
`conversation`, `thread` and `chat`. The user is read likewise, from `user`, `end_user` or
`enduser`. `mcp.session.id` is a connection, and a `thread_id` that is a number is a thread of a
process. Neither is a session."""
_TOKENS: Final = """\
The input tokens of a run include tokens that were read from a cache or written to one. If an
emitter leaves them out, they are added. These scopes are known to leave them out:"""
_SIGNS: Final = """\
For other scopes, cached tokens are added to the input tokens in two cases: the total is the sum of
input, cached and output tokens, or there are more cached tokens than input tokens. Counts that
contradict each other are unchanged.

`usage` in a table is an object with all counts, in the spelling of OpenAI, Anthropic, Google, the
AI SDK, LangChain or Langfuse. `total_tokens` and audio tokens are used to find out what input
tokens include and what a call costs, but they are not stored."""
_RESPONSES: Final = """\
`response_id` is the provider's ID of a response. If no attribute has it, it is read from the
output, if the output is one of these:

* OpenAI and compatible providers: a chat completion or a response, whole or in chunks
* Anthropic: a message
* Gemini: an answer
* LangChain: a result or a message

`output.value` of OpenInference is searched too. IDs of other messages, tool calls and output items
are not response IDs. If the output contains several responses, none of their IDs is used."""
_STREAMS: Final = """\
These rules apply to all dialects. `first_token_ms` is the first source below with a value from 0 to
one day. If the value is greater than the duration of the run, it is read in a smaller unit. Other
attributes whose names end in `ttft`, `ttfb`, `time_to_first_token` or `first_token_latency` come
last. Their unit is the last word, such as `_ms`, else seconds.

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
    parts += ["## Names that no table lists", _SPARES, "## Read by shape", _SHAPE]
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
    if dialect.marks != ("gen_ai.",):  # else the notes explain how it is recognized
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
        "name a tool": evidence.tools,
        "name an agent": evidence.agents,
        "name a model": evidence.models,
        "are evidence of an answer": evidence.answers,
    }
    lines = [
        fill(f"* Attributes that {what}: {_names(_marks(names))}", "  ")
        for what, names in attributes.items()
        if names
    ]
    return "\n".join(["For the [kind](#kinds) of a span:\n", *lines]) if lines else ""


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
        "Provider names are converted to the spelling of the GenAI conventions. Upper and lower "
        "case are equal. For a known provider, everything after a dot is removed: `openai.chat` "
        "becomes `openai`. Words can be separated in any way, and words for an API or a client "
        "are left out: `open_ai`, `openai-chat` and `ChatOpenAI` are `openai`. Unknown names are "
        "kept."
    )
    return "\n".join([f"{head}\n", "| provider | other spellings |", "| --- | --- |", *rows])


def _names(found: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in found)


if __name__ == "__main__":
    TARGET.write_text(make())
