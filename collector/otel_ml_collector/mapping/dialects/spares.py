"""Reads what a run lacks from attributes that no table lists, by the words of their names.

A library often follows a convention for most attributes and names the others itself, such as
``acme.span.type`` or ``gen_ai.tool.input``. The last words of such a name tell what it holds. So
the names decide once, for all spans that have them, and a value is read only if the tables found
none. Design record: docs/design/067-spare-attributes.md.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Final, cast

from otel_ml_collector.mapping.dialects.leaves import (
    Leaves,
    Words,
    open_text,
    read_message,
    words_of,
)
from otel_ml_collector.mapping.dialects.signs import (
    count_name,
    part_conversation,
    side_of_end,
    side_of_speaker,
    whole_number,
)
from otel_ml_collector.mapping.dialects.table import (
    CALLS,
    AttributeColumns,
    FieldSource,
    Present,
    find_list,
)
from otel_ml_collector.mapping.model_names import is_known_model
from otel_ml_collector.mapping.run_columns import RunColumns
from otel_ml_collector.mapping.values import to_json
from otel_ml_collector.price import is_provider, provider_of
from otel_ml_collector.span import STATUS_ERROR, Span, Value

EMPTY: Final[tuple[Value, ...]] = (None, "", "[]", "{}", "null", [], {})
# JSON texts of empty inputs and outputs.
_NO_TEXTS: Final = frozenset({'""', "[]", "{}", "null"})
# Kinds of runs that may report usage.
_REPORTING: Final = CALLS | {"agent"}
_NAME_CHARS: Final = 256
_MOST_WORDS: Final = 4

# Words for the kind of a span. Those in the second table have other meanings outside of programs
# that use models.
_CLEAR_KINDS: Final = {
    **dict.fromkeys(("tool", "tools", "toolcall", "mcp_tool", "function_tool"), "tool"),
    **dict.fromkeys(("agent", "agents", "subagent"), "agent"),
    **dict.fromkeys(("retriever", "retrieval", "retrieve", "rag", "vector_search"), "retriever"),
    **dict.fromkeys(("similarity_search", "vector_store", "vectorstore"), "retriever"),
    **dict.fromkeys(("knowledge_base", "knowledge_retrieval", "document_search"), "retriever"),
    **dict.fromkeys(("llm", "chat_model", "language_model", "chat_completion"), "model"),
    **dict.fromkeys(("text_completion", "generate_content", "llm_generation"), "model"),
    **dict.fromkeys(("llm_inference", "model_inference", "model_call"), "model"),
    **dict.fromkeys(("guardrail", "guardrails", "guard", "reranker", "rerank"), "chain"),
    **dict.fromkeys(("evaluator", "chain", "crew", "handoff", "prompt_template"), "chain"),
}
_OTHER_KINDS: Final = {
    **dict.fromkeys(("function", "function_call", "function_execution"), "tool"),
    **dict.fromkeys(("knowledge", "search", "vector", "lookup"), "retriever"),
    **dict.fromkeys(
        ("chat", "completion", "completions", "generation", "generate", "inference", "model"),
        "model",
    ),
    **dict.fromkeys(("generator", "predict", "responses", "messages"), "model"),
    **dict.fromkeys(
        (
            *("workflow", "pipeline", "task", "graph", "flow", "session", "trace", "step", "node"),
            *("evaluation", "eval", "scorer", "score", "root", "conversation", "turn", "parser"),
            *("prompt", "planner", "plan", "router", "memory", "interaction", "orchestrator"),
            *("team", "subgraph", "iteration", "loop", "application", "dispatcher", "agent_step"),
        ),
        "chain",
    ),
}
_KIND_OF_WORD: Final = _OTHER_KINDS | _CLEAR_KINDS
_EMBEDDING: Final = frozenset({"embedding", "embeddings", "embedder", "embed"})
# Words before or after the noun of a kind, such as in ``tool_call`` and ``agent.run``.
_AROUND_NOUN: Final = frozenset(
    {
        *("call", "calls", "run", "runs", "span", "invocation", "execution", "execute", "invoke"),
        *(
            "request",
            "operation",
            "event",
            "start",
            "end",
            "type",
            "kind",
            "use",
            "usage",
            "client",
        ),
        *("base", "action", "component", "step", "node", "check", "internal", "stream", "async"),
        *("completed", "finish", "finished", "observation", "record", "instance", "name"),
    }
)
# Last words of attributes that state the kind of their span. If the words before them are those
# of the second table, the attribute describes the span and nothing else.
_KIND_ENDS: Final = frozenset({"kind", "type", "operation", "op", "category"})
_OF_SPANS: Final = frozenset({"span", "observation", "run", "trace"})
# Names with one of these words describe the kind of something else.
_NO_KIND: Final = frozenset(
    {
        *("tool", "tools", "function", "functions", "format", "content", "message", "messages"),
        *("choices", "request", "response", "input", "output", "inputs", "outputs", "schema"),
        *("mime", "error", "exception", "provider", "model", "result", "token", "tokens", "file"),
        *("data", "source", "media", "document", "user", "session", "transport", "auth", "finish"),
        *("deployment", "cache", "index", "query", "part", "argument", "server", "connection"),
    }
)
# First words of the names of conventions for programs that use models.
_GEN_AI: Final = ("gen", "ai")
_CLEAR_AI: Final = frozenset({"gen", "genai", "llm", "traceloop", "rag"})
_AI: Final = _CLEAR_AI | {"ai", "agent", "agents"}

# Words for inputs and outputs, by kind of run. If several match, the earlier word is preferred.
_CALL_ASKED: Final = (
    *("messages", "prompt", "prompts", "input", "inputs", "question", "query", "request", "text"),
    *("instruction", "contents", "ask", "conversation", "history", "transcript"),
)
_CALL_ANSWERED: Final = (
    *("completion", "completions", "output", "outputs", "answer", "response", "responses"),
    *("reply", "generation", "generated", "choices", "candidates", "result", "results", "resp"),
    *("generations", "replies", "messages", "text"),
)
_TOOL_ASKED: Final = (
    *("arguments", "args", "input", "inputs", "parameters", "params", "kwargs", "query"),
    *("request", "arg", "invocation"),
)
_TOOL_ANSWERED: Final = (
    *("result", "results", "output", "outputs", "return", "returned", "response", "answer"),
)
_RETRIEVED: Final = (
    *("documents", "document", "docs", "chunks", "nodes", "passages", "contexts", "results"),
    *("result", "matches", "hits", "output", "outputs", "response", "records", "context"),
)
_STEP_ASKED: Final = (
    *("messages", "input", "inputs", "question", "query", "task", "goal", "prompt", "request"),
    *("args", "arguments", "message", "kwargs", "objective", "utterance"),
)
_STEP_ANSWERED: Final = (
    *("output", "outputs", "answer", "response", "result", "results", "completion", "reply"),
    *("final", "return", "returned", "verdict", "decision"),
)
_SIDE_WORDS: Final[Mapping[str, tuple[Sequence[str], Sequence[str]]]] = {
    "model": (_CALL_ASKED, _CALL_ANSWERED),
    "embedding": (
        (*_CALL_ASKED, "texts", "values", "value", "documents", "sentences"),
        ("embeddings", "embedding", "vectors", "vector", *_CALL_ANSWERED),
    ),
    "tool": (_TOOL_ASKED, _TOOL_ANSWERED),
    "retriever": (("query", "question", "input", "inputs", "text", "search", "prompt"), _RETRIEVED),
    "agent": (_STEP_ASKED, _STEP_ANSWERED),
    "chain": (_STEP_ASKED, _STEP_ANSWERED),
}
_EVERY_WORD: Final = frozenset(
    word for sides in _SIDE_WORDS.values() for side in sides for word in side
)
# Last words of a name whose value is a whole input or output.
_ENDS: Final = _EVERY_WORD | {
    *("json", "value", "raw", "body", "data", "payload", "string", "str", "full", "content"),
    *("text", "texts", "message", "msg", "preview", "markdown", "user", "assistant", "human"),
    *("calls", "call", "parts", "object", "utterance", "in", "out"),
}
# A name with one of these words is no input or output of the call.
_NO_TEXT: Final = frozenset(
    {
        *("system", "template", "schema", "definition", "definitions", "description", "tokens"),
        *("token", "usage", "cost", "price", "headers", "header", "http", "url", "uri", "metadata"),
        *("available", "config", "settings", "error", "exception", "cache", "type", "mime", "id"),
        *("ids", "count", "size", "length", "time", "duration", "latency", "temperature", "model"),
        *("finish", "reason", "reasons", "reasoning", "thinking", "thought", "thoughts", "name"),
        *("format", "status", "version", "hash", "role", "provider", "instructions", "examples"),
        *("expected", "reference", "expectations", "ground", "truth", "eval", "evaluation", "flag"),
        *(
            "score",
            "choice",
            "limit",
            "max",
            "is",
            "has",
            "code",
            "language",
            "index",
            "ms",
            "mode",
        ),
    }
)
_CALLED: Final = ("tool", "calls")
# Words before the name of a run, by kind.
_RUN_NAME_WORDS: Final = {
    "tool": frozenset({"tool", "function"}),
    "agent": frozenset({"agent"}),
    "retriever": frozenset({"retriever"}),
    "chain": frozenset({"workflow", "chain", "task", "node", "guardrail", "crew", "flow"}),
}
_NO_NAME: Final = frozenset({"parent", "source", "target", "from", "to", "sender", "model", "next"})
# Last words of attributes with the name of a model.
_MODEL_ENDS: Final = frozenset(
    {("model", "name"), ("model", "id"), ("model", "identifier"), ("deployment", "name")}
)
_PROVIDER: Final = frozenset({"provider", "vendor", "backend", "platform"})
_USAGES: Final = frozenset({"usage", "details", "metadata", "tokens", "counts", "metrics"})
_COUNTING: Final = frozenset({"usage", "token", "tokens"})

# Fields that take all attributes with a beginning, whatever they hold.
_WHOLE_GROUPS: Final = frozenset({"params", "tags"})


@dataclass(frozen=True, slots=True)
class SpareNames:
    """Attributes of a span that no table lists, by what their names tell that they hold.

    Attributes:
        kinds: Attributes that may state the kind, and whether they describe nothing but the span.
        asked, answered: Sources of inputs and outputs, by kind of run, the best one first.
        counts: Attributes with a number of tokens, by field of the run.
        usages: Attributes that may hold an object with numbers of tokens.
        models, providers: Attributes that may name the model, and its provider.
        run_names: Attributes that name the run, by kind.
        is_ai: Whether the span has attributes of a convention for programs that use models.
        is_clearly_ai: Whether their first word has no other meaning, unlike that of `ai.model`.
        heads: First words of the names with inputs, outputs and names of runs.
    """

    kinds: Sequence[tuple[str, bool]] = ()
    asked: Mapping[str, Sequence[FieldSource]] = field(default_factory=dict)
    answered: Mapping[str, Sequence[FieldSource]] = field(default_factory=dict)
    counts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    usages: Sequence[str] = ()
    models: Sequence[str] = ()
    providers: Sequence[str] = ()
    run_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    is_ai: bool = False
    is_clearly_ai: bool = False
    heads: frozenset[str] = frozenset()

    @property
    def has_any(self) -> bool:
        """Whether there is any such attribute."""
        found = (self.kinds, self.asked, self.answered, self.counts, self.usages, self.models)
        return any(found) or bool(self.providers or self.run_names)

    @property
    def has_signs(self) -> bool:
        """Whether the span has anything that a run around a call or a call has."""
        return self.is_ai or bool(self.heads)


NO_SPARES: Final = SpareNames()


@dataclass(frozen=True, slots=True)
class StatedKind:
    """The kind that a span states in an attribute that no table lists.

    Attributes:
        kind: Kind of the run.
        is_clear: Whether the word has no other meaning.
    """

    kind: str
    is_clear: bool


@dataclass(frozen=True, slots=True)
class _NameFacts:
    """What the words of a name tell; see `SpareNames`."""

    is_of_span: bool | None
    count: str
    may_hold_counts: bool
    is_model: bool
    is_provider: bool
    named: Sequence[str]


@lru_cache(16_384)
def _facts_of(name: str) -> _NameFacts:
    words = words_of(name)
    return _NameFacts(
        _is_kind(words),
        count_name(words),
        bool(words) and words[-1] in _USAGES and not _COUNTING.isdisjoint(words),
        words[-1:] == ("model",) or words[-2:] in _MODEL_ENDS,
        not _PROVIDER.isdisjoint(words[-2:]),
        [kind for kind, nouns in _RUN_NAME_WORDS.items() if _is_run_name(words, nouns)],
    )


def find_spare_names(keys: Sequence[str], presents: Sequence[Present]) -> SpareNames:
    """Find out which attributes hold something that no table lists.

    Args:
        keys: Attribute names of the span, without those of OpenTelemetry's general conventions.
        presents: The known dialects of the span. Their tables list their attributes.
    """
    facts = [(key, _facts_of(key)) for key in keys]
    kinds = [(key, fact.is_of_span) for key, fact in facts if fact.is_of_span is not None]
    if not presents and not kinds:
        return NO_SPARES
    listed = {
        name
        for present in presents
        if not (present.dialect.sdk or present.dialect.scope)
        for row, sources, _ in present.rows
        if row.field not in _WHOLE_GROUPS
        for source in sources
        for name in source.names
    }
    free = [(key, fact) for key, fact in facts if key not in listed]
    sources = [FieldSource((key,), key) for key, _ in free]
    sources += _find_lists([key for key, _ in free])
    asked, answered = (_find_texts(sources, is_answer=is_answer) for is_answer in (False, True))
    run_names = {
        kind: names
        for kind in _RUN_NAME_WORDS
        if (names := [key for key, fact in facts if kind in fact.named])
    }
    counts: dict[str, list[str]] = {}
    for key, fact in sorted(free, key=lambda pair: (len(words_of(pair[0])), pair[0])):
        if fact.count:
            counts.setdefault(fact.count, []).append(key)
    texts = {
        source.names[0] for of in (asked, answered) for found in of.values() for source in found
    }
    spare = SpareNames(
        sorted(kinds, key=lambda pair: not pair[1]),
        asked,
        answered,
        counts,
        [key for key, fact in free if fact.may_hold_counts],
        [key for key, fact in free if fact.is_model],
        [key for key, fact in free if fact.is_provider],
        run_names,
        any(not _AI.isdisjoint(words_of(key)[:1]) for key in keys),
        any(not _CLEAR_AI.isdisjoint(words_of(key)[:1]) for key in keys),
        frozenset(words_of(name)[0] for name in (*texts, *chain(*run_names.values()))),
    )
    return spare if spare.has_any else NO_SPARES


def _find_lists(keys: Sequence[str]) -> list[FieldSource]:
    """Return the lists that are spread over attributes, such as ``x.messages.0.role``."""
    prefixes = dict.fromkeys(
        key[: at + 1]
        for key in keys
        if (at := key.find(".0.")) > 0 and not key.startswith("gen_ai.prompt.")
    )
    shapes = {prefix: find_list(keys, prefix) for prefix in prefixes}
    return [
        FieldSource(tuple(key for key in keys if key.startswith(prefix)), shape=shape)
        for prefix, shape in shapes.items()
        if shape
    ]


def _is_kind(words: Words) -> bool | None:
    """Return whether a name states the kind: None for no, True if it describes only its span."""
    ends = words[:-1] if words[-1:] == ("name",) else words
    if not ends or ends[-1] not in _KIND_ENDS or not _NO_KIND.isdisjoint(ends):
        return None
    return ends[-2:-1] != () and ends[-2] in _OF_SPANS


def _is_run_name(words: Words, nouns: frozenset[str]) -> bool:
    is_name = words[-1:] == ("name",) and not nouns.isdisjoint(words[:-1])
    return is_name and _NO_NAME.isdisjoint(words)


def _find_texts(
    sources: Iterable[FieldSource], *, is_answer: bool
) -> dict[str, Sequence[FieldSource]]:
    """Return the sources of one side by kind of run, the best one first."""
    ranked: dict[str, list[tuple[tuple[int, int], FieldSource]]] = {}
    for source in sources:
        name = source.name or source.names[0].partition(".0.")[0]
        for kind, rank in _rank_text(name, is_answer=is_answer).items():
            ranked.setdefault(kind, []).append((rank, source))
    return {
        kind: [source for _, source in sorted(pairs, key=lambda pair: pair[0])]
        for kind, pairs in ranked.items()
    }


@lru_cache(8_192)
def _rank_text(name: str, *, is_answer: bool) -> Mapping[str, tuple[int, int]]:
    """Return for which kinds of runs a name is one of a side, and how well it fits."""
    words = tuple(word for word in words_of(name) if not word.isdigit())
    words = words[2:] if words[:2] == _GEN_AI else words
    if not words or words[-1] not in _ENDS or not _NO_TEXT.isdisjoint(words):
        return {}
    ranks = {}
    for kind, sides in _SIDE_WORDS.items():
        if _side_of(words, *sides) == ("answered" if is_answer else "asked"):
            ours = sides[is_answer]
            places = [ours.index(word) for word in words if word in ours]
            is_call = words[-2:] == _CALLED  # next to a text, the calls are not the answer
            ranks[kind] = (len(ours) if is_call else min(places, default=len(ours))), len(words)
    return ranks


def _side_of(words: Words, asked: Collection[str], answered: Collection[str]) -> str:
    """Return the side of a name. The last word that only one side has decides."""
    if side := side_of_speaker(words):
        return side
    for word in reversed(words):
        if (word in asked) != (word in answered):
            return "asked" if word in asked else "answered"
    return side_of_end(words) or ("asked" if any(word in asked for word in words) else "")


@lru_cache(1_024)
def kind_of(text: str) -> StatedKind | None:
    """Return the kind that a word for a span means; None for an unknown word.

    ``TOOL``, ``tool_call``, ``gen_ai.execute_tool`` and ``AgentRun`` are such words.
    """
    words = words_of(text)
    while len(words) > 1 and words[0] in _AI - {"agent", "llm"}:
        words = words[1:]
    if not words or len(words) > _MOST_WORDS:
        return None
    if not _EMBEDDING.isdisjoint(words):
        return StatedKind("embedding", is_clear=True)
    nouns = [word for word in words if word not in _AROUND_NOUN] or words
    phrases = ("_".join(words), "_".join(words[-2:]), "_".join(nouns), nouns[-1])
    found = next((phrase for phrase in phrases if phrase in _KIND_OF_WORD), None)
    return None if found is None else StatedKind(_KIND_OF_WORD[found], found in _CLEAR_KINDS)


def read_kinds(
    spare: SpareNames, values: AttributeColumns, places: Sequence[int]
) -> dict[int, StatedKind]:
    """Return the kinds that spans state in attributes that no table lists, by index.

    A word that means nothing else, in an attribute that describes nothing but the span, is
    enough. Other words and attributes count only if the span also has an input, an output or a
    name of the same library, or attributes of a convention for programs that use models. An
    attribute such as ``ai.model`` is too little for a word that has other meanings.
    """
    stated: dict[int, StatedKind] = {}
    for name, is_of_span in spare.kinds:
        column = values.column(name)
        head = words_of(name)[0]
        is_related = head in spare.heads or head in _AI or "." not in name or spare.is_clearly_ai
        for at in places:
            word = column[at]
            kind = kind_of(word) if at not in stated and isinstance(word, str) else None
            is_near = is_related or bool(kind and kind.is_clear and spare.is_ai)
            if kind and ((kind.is_clear and is_of_span) or (is_near and spare.has_signs)):
                stated[at] = kind
    return stated


def is_call(span: Span, spare: SpareNames, model_names: Sequence[str], stated: StatedKind) -> bool:
    """Return whether a span that states to be a call names a model and has a sign of a call.

    If the word for its kind may mean something else, the model must be known.
    """
    attributes = span.attributes

    def has(names: Iterable[str]) -> bool:
        return any(attributes[name] not in EMPTY for name in names)

    texts = (
        name
        for side in (spare.asked, spare.answered)
        for source in side.get("model", ())
        for name in source.names
    )
    counts = (name for sources in spare.counts.values() for name in sources)
    has_signs = has(texts) or has(counts) or has(spare.usages)
    models = [attributes[name] for name in model_names]
    is_named = any(
        isinstance(model, str) and model and (stated.is_clear or is_known_model(model))
        for model in models
    )
    return is_named and (has_signs or span.status_code == STATUS_ERROR)


def read_spares(spare: SpareNames, values: AttributeColumns) -> None:
    """Fill the fields that runs lack from attributes that no table lists.

    Plain spans are left unchanged.
    """
    run_columns = values.run_columns
    kinds = run_columns.column("kind")
    if {None, "span"}.issuperset(kinds):
        return
    for name, texts in (("inputs", spare.asked), ("outputs", spare.answered)):
        if not texts.keys().isdisjoint(kinds):
            _read_texts(name, texts, values, kinds)
    if not spare.run_names.keys().isdisjoint(kinds) and (places := run_columns.missing("model")):
        for kind, names in spare.run_names.items():
            _read_first("model", names, values, [at for at in places if kinds[at] == kind])
    if (spare.models or spare.providers) and not CALLS.isdisjoint(kinds):
        _read_models(spare, values, kinds)
    if spare.counts or spare.usages:
        _read_counts(spare, values, kinds)


def _read_texts(
    name: str,
    texts: Mapping[str, Sequence[FieldSource]],
    values: AttributeColumns,
    kinds: Sequence[str | None],
) -> None:
    run_columns = values.run_columns
    column = run_columns.column(name)
    for at in run_columns.every:
        if column[at] is not None and column[at][1] not in _NO_TEXTS:
            continue
        kind = kinds[at] or ""
        for source in texts.get(kind, ()):
            (value,) = values.read(source, [at])
            text = _read_text(value, kind)
            if text is None:
                continue
            if name == "inputs" and kind in CALLS and isinstance(text, list):
                text = _part(text, run_columns, at)
            run_columns.fill(name, [(text, to_json(cast("Value", text)))], [at])
            break


def _read_text(value: Value, kind: str) -> object:
    """Return an input or output; None if a value holds none."""
    if isinstance(value, bool) or value in EMPTY:
        return None
    if isinstance(value, int | float):
        return value if kind == "tool" else None
    opened = open_text(value) if isinstance(value, str) else value
    if opened in EMPTY:
        return None
    if isinstance(opened, list | tuple) and kind != "tool":
        messages = [read_message(item) for item in opened]
        if messages and all(message is not None for message in messages):
            return messages
        return opened[0] if len(opened) == 1 and isinstance(opened[0], str) else opened
    return opened


def _has_role(message: object) -> bool:
    return isinstance(message, Mapping) and "role" in message


def _part(messages: list[object], run_columns: RunColumns, at: int) -> object:
    """Return the messages before the answer. The answer becomes the output if there is none."""
    if run_columns.column("outputs")[at] is not None or not all(map(_has_role, messages)):
        return messages
    asked, answered = part_conversation(cast("list[Mapping[str, object]]", messages))
    if answered:
        run_columns.fill("outputs", [(answered, to_json(cast("Value", answered)))], [at])
        return asked
    return messages


def _read_models(spare: SpareNames, values: AttributeColumns, kinds: Sequence[str | None]) -> None:
    """Fill the model and the provider of calls."""
    run_columns = values.run_columns
    for name in ("model", "provider_model"):
        places = [at for at in run_columns.missing(name) if kinds[at] in CALLS]
        _read_first(name, spare.models, values, places)
    places = [at for at in run_columns.missing("provider") if kinds[at] in CALLS]
    for name in spare.providers:
        for at in places:
            word = values.column(name)[at]
            if isinstance(word, str) and is_provider(word):
                run_columns.fill("provider", [provider_of(word)], [at])


def _read_first(
    name: str, sources: Sequence[str], values: AttributeColumns, places: Sequence[int]
) -> None:
    for at in places:
        texts = (values.column(source)[at] for source in sources)
        text = next((x for x in texts if isinstance(x, str) and 0 < len(x) <= _NAME_CHARS), None)
        if text is not None:
            values.run_columns.fill(name, [text], [at])


def _read_counts(spare: SpareNames, values: AttributeColumns, kinds: Sequence[str | None]) -> None:
    run_columns = values.run_columns
    for name, sources in spare.counts.items():
        for at in run_columns.missing(name):
            if kinds[at] in _REPORTING:
                counts = (whole_number(values.column(source)[at]) for source in sources)
                run_columns.fill(name, [next((x for x in counts if x is not None), None)], [at])
    for source in spare.usages:
        for at, value in enumerate(values.column(source)):
            if kinds[at] in _REPORTING and isinstance(value, str | Mapping):
                _read_usage(value, source, run_columns, at)


def _read_usage(value: Value, source: str, run_columns: RunColumns, at: int) -> None:
    """Fill the missing counts of tokens from an object."""
    leaves = Leaves()
    leaves.add(value, words_of(source), source)
    for leaf in sorted(leaves.leaves, key=lambda leaf: len(leaf.words)):
        name = count_name(leaf.words)
        count = whole_number(leaf.value) if name else None
        if count is not None and run_columns.column(name)[at] is None:
            run_columns.fill(name, [count], [at])
