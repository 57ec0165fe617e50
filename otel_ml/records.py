"""Every record, declared once: its fields, their types and units, and how the store keeps them.

From here the collector derives its tables, the rows that it reads back, its answers, exports and
messages, and the reader its classes. Names are the same in all of them; units stand in the name.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, TypeVar

import orjson

from otel_ml import attributes as wire

T = TypeVar("T")

TagValue = str | bool | int | float
Actual = TagValue | Sequence[TagValue]
Hash = bytes  # 32, of SHA-256

# Of what a truth is unless told.
ACTUAL_NAME: Final = "output"
# How much it may take, as JSON text.
ACTUAL_BYTES: Final = 16_384
ACTUAL_WANTED: Final = (
    "a text, a finite number of at most 64 bits, True or False, or a list of these, "
    f"of at most {ACTUAL_BYTES:,} bytes as JSON"
)

# What a field's metadata holds: what it says, how it is kept, and the attribute that carries it.
ABOUT: Final = "description"
COLUMN: Final = "column"
ATTRIBUTE: Final = "attribute"
FACE: Final = "face"
_KEPT: Final = "kept"

# Types of the engine. A name is one of few values, or of values that repeat.
_NAME: Final = "LowCardinality(String)"
_TEXT: Final = "String"
_LONG: Final = "String CODEC(ZSTD(1))"
_TIME: Final = "Int64 CODEC(DoubleDelta, ZSTD(1))"
_COUNT: Final = "Nullable(Int64)"
_TRACE_ID_TYPE: Final = "FixedString(16)"
_SPAN_ID_TYPE: Final = "FixedString(8)"


@dataclass(frozen=True, slots=True)
class Column:
    """The store's column of a field.

    Attributes:
        sql: The engine's type, with its codec.
        comment: The column's comment in the engine.
        after: The field that stands before it in a table; empty for the field declared before it.
        at_end: Whether a run has it only once it has ended.
        is_payload: Whether it is kept beside the light row of a run.
    """

    sql: str
    comment: str = ""
    after: str = ""
    at_end: bool = False
    is_payload: bool = False


@dataclass(frozen=True, slots=True)
class Face:
    """The names of a text field of a run for people and senders.

    A field with a label is a column of lists, a line of the run's page, a word of filters and their
    completion, and a group of statistics, for assistants too.

    Attributes:
        label: Its name on pages; empty for a field that is shown in a way of its own.
        resource: The attributes of the sender that carry it, the preferred one first.
    """

    label: str = ""
    resource: Sequence[str] = ()


def kept(
    about: str,
    sql: str,
    *,
    attribute: str = "",
    label: str = "",
    resource: Sequence[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """Describe a field that is a column.

    Args:
        about: What it says; the API's schema tells it.
        sql: Its type in the engine.
        attribute: The attribute of a span that carries it.
        label: See `Face`.
        resource: See `Face`.
        more: The other facts of its `Column`.
    """
    return {
        ABOUT: about,
        COLUMN: Column(sql, **more),
        ATTRIBUTE: attribute,
        FACE: Face(label, resource),
    }


def about(text: str) -> dict[str, Any]:
    """Describe a field that is no column."""
    return {ABOUT: text}


def kept_field(default: T, about: str, sql: str, **more: Any) -> T:
    """Declare a field that is a column and has a default; see `kept`."""
    return field(default=default, metadata=kept(about, sql, **more))


def about_field(default: T, text: str) -> T:
    """Declare a field that is no column and has a default."""
    return field(default=default, metadata=about(text))


def columns_of(record: type, path: str = "") -> dict[str, tuple[str, Column]]:
    """List the columns of a record, in the order of its table.

    Returns:
        By the column's name: where its value stands in the record, and how it is kept. The fields
        of a record inside it, such as a tag, are columns like its own.
    """
    columns: dict[str, tuple[str, Column]] = {}
    last = ""
    for field_ in fields(record):
        if _KEPT in field_.metadata:
            added = columns_of(field_.metadata[_KEPT], f"{field_.name}.")
        elif COLUMN in field_.metadata:
            added = {field_.name: (f"{path}{field_.name}", field_.metadata[COLUMN])}
        else:
            continue
        before = next(iter(added.values()))[1].after or last
        place = [*columns].index(before) + 1 if before else len(columns)
        ordered = [*columns.items()]
        columns = dict([*ordered[:place], *added.items(), *ordered[place:]])
        last = [*added][-1]
    return columns


def attributes_of(record: type) -> dict[str, str]:
    """Return the attributes that carry fields of a record, by field."""
    return {
        field_.name: field_.metadata[ATTRIBUTE]
        for field_ in fields(record)
        if field_.metadata.get(ATTRIBUTE)
    }


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token counts of the model's provider; `input` includes cached tokens."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None
    cache_creation: int | None = None


# The columns of a run's token counts.
TOKENS: Final = tuple(f"{field_.name}_tokens" for field_ in fields(Tokens))


def tokens_of(row: Mapping[str, Any]) -> Tokens:
    """Return the token counts of a run's row, or their sums over several."""
    return Tokens(*[row[name] for name in TOKENS])


@dataclass(frozen=True, slots=True)
class Tag:
    """A name and a value to filter by; type and group are the user's own words."""

    name: str = field(metadata=kept("The tag's name", _TEXT))
    value: TagValue = field(metadata=kept("What it is", _TEXT, comment="JSON text"))
    type: str = kept_field("", "The user's own word", _NAME)
    group: str = kept_field("", "What belongs together", _NAME)


@dataclass(frozen=True, slots=True)
class LineRecord:
    """A line of text of a run."""

    time_ns: int = field(metadata=kept("Nanoseconds since the epoch", _TIME))
    severity: str = field(metadata=kept("debug, info, warning or error", _NAME))
    message: str = field(metadata=kept("The line", _LONG))


@dataclass(slots=True, kw_only=True)
class RunFields:
    """Fields of a run with the same name in the store, in the API's answers and in the reader."""

    project: str = field(metadata=kept("Where it is filed", _NAME, attribute=wire.PROJECT))
    start_ns: int = kept_field(0, "When it began, nanoseconds since the epoch (UTC)", _TIME)
    kind: str = kept_field(
        "",
        "model, chain, tool, retriever, embedding, agent, training, experiment; or span",
        _NAME,
        attribute=wire.KIND,
    )
    name: str = kept_field("", "The span's name", _NAME)
    span_kind: str = kept_field("", "OpenTelemetry's: server, client, internal, ...", _NAME)
    model: str = kept_field(
        "",
        "The name under which versions gather; empty for kind span",
        _NAME,
        attribute=wire.MODEL_NAME,
    )
    digest: str = kept_field("", "Of the model's definition; empty without a version", _NAME)
    outcome: str = kept_field(
        "",
        "ok, error, cancelled or abandoned; of a run without an end running, or crashed when "
        "its process ended or was silent for 5 minutes",
        _NAME,
        attribute=wire.OUTCOME,
        at_end=True,
    )
    error_type: str = kept_field(
        "", "What was raised", _NAME, attribute=wire.ERROR_TYPE, at_end=True
    )
    error_message: str = kept_field("", "Its message", _TEXT, at_end=True)
    session: str = kept_field(
        "", "Whose conversation it belongs to", _TEXT, attribute=wire.SESSION_ID
    )
    user: str = kept_field("", "For whom it ran", _TEXT, attribute=wire.USER_ID)
    environment: str = kept_field(
        "",
        "Where it was deployed",
        _NAME,
        attribute=wire.ENVIRONMENT,
        label="Environment",
        resource=(wire.ENVIRONMENT, "deployment.environment", "langfuse.environment"),
    )
    release: str = kept_field(
        "",
        "The version of the service",
        _NAME,
        label="Release",
        resource=(wire.SERVICE_VERSION, "langfuse.release"),
    )
    provider: str = kept_field(
        "",
        "Who answered, such as openai",
        _NAME,
        attribute=wire.GEN_AI_PROVIDER,
        label="Provider",
    )
    provider_model: str = kept_field(
        "",
        "The provider's name of the model that answered",
        _NAME,
        attribute=wire.GEN_AI_REQUEST_MODEL,
        label="Provider's model",
    )
    cost: float | None = kept_field(
        None, "In the currency of the provider's prices", "Nullable(Float64)", at_end=True
    )
    first_token_ms: float | None = kept_field(
        None,
        "Of an answer that came in pieces: milliseconds from its call to the first one",
        "Nullable(Float64)",
        at_end=True,
    )
    stream_chunks: int | None = kept_field(
        None, "How many pieces an answer came in", _COUNT, at_end=True
    )
    experiment: str = kept_field(
        "",
        "Of a run over an item of a data set: the run id of the experiment; or empty",
        _NAME,
        attribute=wire.EXPERIMENT,
    )
    dataset: str = kept_field(
        "",
        "Of an experiment and its runs: the name of the data set",
        _NAME,
        attribute=wire.EXPERIMENT_DATASET,
    )
    item: str = kept_field(
        "", "Of a run over an item: the item's id", _TEXT, attribute=wire.ITEM_ID
    )
    item_digest: str = kept_field(
        "", "Of a run over an item: the digest of what is in it", _TEXT, attribute=wire.ITEM_DIGEST
    )
    repeat: int = kept_field(
        0, "Of a run over an item: which repeat of it, from 0", "UInt32", attribute=wire.ITEM_REPEAT
    )


_FACES: Final[Mapping[str, Face]] = {
    field_.name: field_.metadata[FACE] for field_ in fields(RunFields) if FACE in field_.metadata
}
# Fields of a run that pages show by a label, in the order in which they show them.
LABELS: Final = {name: face.label for name, face in _FACES.items() if face.label}
# The attributes of a sender's resource that carry a field of its runs.
RESOURCE_ATTRIBUTES: Final = {name: face.resource for name, face in _FACES.items() if face.resource}


def describe_field(name: str) -> str:
    """Return the description of a run's field, as a part of a sentence."""
    text: str = RunFields.__dataclass_fields__[name].metadata[ABOUT]
    return text[:1].lower() + text[1:]


@dataclass(slots=True, kw_only=True)  # not frozen: setting 45 frozen fields is a quarter of mapping
class Run(RunFields):
    """One span, as it is stored; its kind says whether it is a model call.

    Texts that hold JSON are empty when there is none. `outcome` is running for a run that is open.
    """

    trace_id: bytes = field(metadata=kept("16 bytes", _TRACE_ID_TYPE, after="start_ns"))
    span_id: bytes = field(metadata=kept("8 bytes", _SPAN_ID_TYPE))
    parent_span_id: bytes = kept_field(b"", "Empty for a root", _SPAN_ID_TYPE)
    structure: str = kept_field(
        "", "Digest of the output's structure, dynamic, or empty", _NAME, after="digest"
    )
    inputs_preview: str = kept_field(
        "",
        "Short plain text, for lists",
        _TEXT,
        attribute=wire.INPUTS_PREVIEW,
        after="error_message",
    )
    outputs_preview: str = kept_field(
        "", "Short plain text, for lists", _TEXT, attribute=wire.OUTPUTS_PREVIEW, at_end=True
    )
    tags: Sequence[Tag] = kept_field(
        (), "For filtering", "Map(LowCardinality(String), String)", comment="JSON text by name"
    )
    input_tokens: int | None = kept_field(
        None,
        "Tokens that went in, cached ones included",
        _COUNT,
        attribute=wire.GEN_AI_INPUT_TOKENS,
        after="provider_model",
        at_end=True,
    )
    output_tokens: int | None = kept_field(
        None,
        "Tokens that came out, reasoning included",
        _COUNT,
        attribute=wire.GEN_AI_OUTPUT_TOKENS,
        at_end=True,
    )
    cached_tokens: int | None = kept_field(
        None,
        "Tokens of the input that were read from a cache",
        _COUNT,
        attribute=wire.GEN_AI_CACHE_READ_TOKENS,
        at_end=True,
    )
    reasoning_tokens: int | None = kept_field(
        None,
        "Tokens of the output that were spent on reasoning",
        _COUNT,
        attribute=wire.GEN_AI_REASONING_TOKENS,
        at_end=True,
    )
    cache_creation_tokens: int | None = kept_field(
        None,
        "Tokens of the input that were written to a cache",
        _COUNT,
        attribute=wire.GEN_AI_CACHE_WRITE_TOKENS,
        at_end=True,
    )
    dialect: str = kept_field("", "Which dialect named its fields first", _NAME, after="cost")
    process: str = kept_field("", "The sender, 8 hex digits; empty for foreign spans", _NAME)
    seq: int = kept_field(
        0,
        "Number of the span within process and project, from 1; 0 when there is none",
        _TIME,
        at_end=True,
    )
    inputs: str = kept_field("", "JSON text", _LONG, is_payload=True)
    outputs: str = kept_field("", "JSON text", _LONG, is_payload=True, at_end=True)
    params: str = kept_field("", "JSON text", _LONG, is_payload=True)
    logs: Sequence[LineRecord] = kept_field(
        (), "Lines of text", _LONG, comment="JSON: lines of text", is_payload=True
    )
    events: str = kept_field(
        "", "JSON text", _LONG, comment="JSON: other span events", is_payload=True
    )
    links: str = kept_field("", "JSON text", _LONG, is_payload=True)
    attributes: str = kept_field(
        "",
        "What no dialect has a field for, JSON text",
        _LONG,
        comment="JSON: what no field holds",
        is_payload=True,
    )
    resource: str = kept_field("", "JSON text", _LONG, is_payload=True)
    scope: str = kept_field("", "JSON text", _LONG, is_payload=True)
    arrived_ns: int = kept_field(0, "When it was stored; 0 before that", _TIME)
    rank: int = kept_field(
        0, "Says which of several deliveries wins, in whatever order they come", "UInt64"
    )
    end_ns: int = field(metadata=about("When it ended; kept as its latency"))
    response_id: str = about_field(
        "", "The provider's id of its answer, by which it is found; kept with the tags"
    )

    @property
    def run_id(self) -> str:
        """``<32 hex>-<16 hex>``."""
        return run_id(self.trace_id, self.span_id)


def run_id(trace_id: bytes, span_id: bytes) -> str:
    """Write the id of a run as the API does: ``<32 hex>-<16 hex>``."""
    return f"{trace_id.hex()}-{span_id.hex()}"


@dataclass(slots=True, kw_only=True)
class ListedRun(RunFields):
    """A run in lists: its own fields, with late tags, scores and truths."""

    run_id: str = field(metadata=about("<32 hex>-<16 hex>"))
    trace_id: str = field(metadata=about("32 hex digits"))
    parent_run_id: str | None = None
    trace_key: str = about_field("", "The user's own key of the trace, the first of several")
    version: int | None = about_field(None, "The model version's small number")
    latency_ms: float | None = about_field(None, "Null while the run has no end")
    tags: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    passed: Mapping[str, bool] = field(default_factory=dict)
    failed_judges: Sequence[str] = about_field((), "Judges that raised instead of scoring")
    truth: Mapping[str, Any] = field(
        default_factory=dict, metadata=about("What turned out to be true, by name: the newest word")
    )
    label: Mapping[str, Any] = field(
        default_factory=dict, metadata=about("What people said of it, by name: the newest word")
    )
    agent: Mapping[str, Any] = field(
        default_factory=dict, metadata=about("What agents said of it, by name: the newest word")
    )
    tokens: Tokens = Tokens()
    tokens_per_second: float | None = about_field(
        None, "Tokens that came out, by the time from the first piece of them to the end"
    )
    record_of: str | None = about_field(
        None,
        "The run that counts for the call that this one records as well; null for one that "
        "counts itself",
    )


@dataclass(frozen=True, slots=True)
class WorstScore:
    """The worst of the last scores of a judge: the lowest, or the highest where less is better.

    Attributes:
        run_id: The run that has it.
        score: None where the judge only passes and fails.
        passed: None without a pass or fail.
    """

    run_id: str
    score: float | None = None
    passed: bool | None = None


@dataclass(frozen=True, slots=True)
class Inside:
    """The sums of a root and the calls inside it.

    Attributes:
        calls: How many are inside.
        is_least: Whether a model's call has no tokens, so that there are more.
        asked, answered: Where the root itself has none, the first question and the last answer
            below it, in short; empty where it has any, or no run has.
        asked_run_id, answered_run_id: The runs of these.
        scores: Of each judge the worst among its last scores of the root and of the runs inside it.
    """

    calls: int
    tokens: Tokens
    cost: float | None
    is_least: bool
    asked: str = ""
    answered: str = ""
    asked_run_id: str = ""
    answered_run_id: str = ""
    scores: Mapping[str, WorstScore] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation of a run by a judge, a person or the truth.

    Attributes:
        judge: The judge's name.
        version: The judge's small version number.
        score: None when there is none.
        passed: None without a pass or fail.
        error: Why the judge itself failed, which is no fail of the run.
        source: judge, human, actual or agent.
        digest: Of the judge's definition.
        actual: The truth: a text, number, bool or list; None when it has no value.
        time: Time of the evaluation, RFC 3339, UTC.
        annotator: The annotator; empty when that is not known.
    """

    judge: str
    version: int | None = about_field(None, "The judge's small version number")
    score: float | None = None
    passed: bool | None = None
    label: str = ""
    explanation: str = ""
    error: str = ""
    source: str = ""
    digest: str = ""
    actual: Any = field(
        default=None, metadata=about("What turned out to be true; null when it has no value")
    )
    time: str = about_field("", "When it was said, RFC 3339, UTC")
    annotator: str = about_field("", "Who said it; empty when not known")


def write_actual(value: object) -> str:
    """Write a truth's value as JSON text.

    Raises:
        ValueError: It is not `ACTUAL_WANTED`.
    """
    kind = type(value)
    is_list = issubclass(kind, list | tuple)
    items: Any = value if is_list else [value]
    if len(items) <= ACTUAL_BYTES:
        plain = [_plain(item) for item in items]
        with suppress(TypeError):  # half of a character is no text
            text = orjson.dumps(plain if is_list else plain[0])
            if len(text) <= ACTUAL_BYTES:
                return text.decode()
    raise ValueError(f"expected {ACTUAL_WANTED}")


def _plain(value: Any) -> TagValue:
    """Return a text, number or bool as a plain value of Python."""
    kind = type(value)
    if kind is bool:
        return bool(value)
    if issubclass(kind, str) and str.__len__(value) <= ACTUAL_BYTES:
        return str.__str__(value)
    if issubclass(kind, int) and -(2**63) <= int.__index__(value) < 2**63:
        return int.__index__(value)
    if issubclass(kind, float) and math.isfinite(float.__float__(value)):
        return float.__float__(value)
    raise ValueError(f"expected {ACTUAL_WANTED}")


@dataclass(frozen=True, slots=True)
class ProjectCounts:
    """A project and its recorded runs; other spans, such as HTTP requests, are counted apart."""

    project: str
    runs: int
    other_spans: int
    errors: int
    artifacts: int = field(metadata=about("Different documents that are stored"))
    artifact_bytes: int
    last_start_time: str


@dataclass(frozen=True, slots=True)
class ModelCounts:
    """A model and its recorded runs."""

    model: str
    kind: str
    runs: int
    errors: int
    versions: int
    latest_version: int | None
    last_start_time: str
    experiment_runs: int = field(
        default=0, metadata=about("Those in experiments, which are not among `runs`")
    )


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """A version of a model in lists, and the figures of its recorded runs."""

    model: str
    version: int
    digest: str
    first_seen_time: str
    runs: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    experiment_runs: int = field(
        default=0, metadata=about("Those in experiments, which are not among `runs`")
    )


@dataclass(frozen=True, slots=True)
class ListedArtifact:
    """An artifact in lists, logged under a reference.

    Attributes:
        ref: The reference.
        type: Such as ``otel_ml.types.Numpy``.
        bytes: Size of the document.
        sha256: Of the document; None when it has none.
        preview: The value in short.
        time: RFC 3339, UTC.
    """

    ref: str
    type: str = field(metadata=about("Such as otel_ml.types.Numpy"))
    bytes: int = field(metadata=about("Size of the document"))
    sha256: str | None = field(metadata=about("Of the document; null when it has none"))
    preview: Any = field(metadata=about("The value in short"))
    time: str = field(metadata=about("RFC 3339, UTC"))


Infinite = Literal["Infinity", "-Infinity"]  # JSON has no numbers for them


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One point: `step` is null when it has none, `value` when it is NaN.

    An infinite value is the text ``Infinity`` or ``-Infinity``.
    """

    value: float | Infinite | None
    step: int | None
    time_ns: int


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One state of a model or judge.

    Attributes:
        first_seen_ns: Start of the first run that named it: orders versions that come together.
        first_arrived_ns: When it was stored first; 0 before that.
    """

    project: str = field(metadata=kept("Where it is filed", _NAME))
    kind: str = field(metadata=kept("model, judge or dataset", _NAME))
    name: str = field(metadata=kept("The model's name", _TEXT))
    digest: str = field(metadata=kept("Of its definition", _TEXT))
    structure: str = field(metadata=kept("Digest of the output's structure", _TEXT))
    definition: str = field(
        metadata=kept(
            "JSON text, or empty when this delivery did not carry it",
            "SimpleAggregateFunction(max, String) CODEC(ZSTD(3))",
        )
    )
    first_seen_ns: int
    last_seen_ns: int = field(
        metadata=kept(
            "Start of the last run", "SimpleAggregateFunction(max, Int64)", after="structure"
        )
    )
    first_arrived_ns: int = kept_field(
        0, "When it was stored first", "SimpleAggregateFunction(min, Int64)", after="structure"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A point of a metric, or a score.

    Attributes:
        owner: A run id, or what else it is about.
        record_id: The span that brought it; empty for a judge, whose score of a run is the
            same however it travels.
    """

    project: str = field(metadata=kept("Where it is filed", _NAME))
    owner: str = field(metadata=kept("What it is about", _TEXT))
    owner_start_ns: int = field(metadata=kept("The run's start, 0 when unknown", "Int64"))
    name: str = field(metadata=kept("The metric's name, or the judge's", _NAME))
    source: str = field(metadata=kept("logged, judge, human, actual or agent", _NAME))
    judge_version: str = kept_field("", "Digest of the judge", _NAME)
    record_id: str = kept_field("", "The span that brought it", _TEXT)
    position: int = kept_field(0, "The place among the points of that span", "UInt32")
    value: float | None = field(metadata=kept("None for a judge that failed", "Nullable(Float64)"))
    step: int = field(metadata=kept("-1 when it has none", "Int64"))
    time_ns: int = field(metadata=kept("Nanoseconds since the epoch (UTC)", _TIME))
    mode: str = field(
        metadata=kept(
            "How points of one name combine: append, auto, single, replace, restart, clear", _NAME
        )
    )
    passed: bool | None = kept_field(None, "Whether the run passed", "Nullable(Bool)")
    label: str = kept_field("", "A word for the score", _NAME)
    explanation: str = kept_field("", "Why, in a sentence", _LONG)
    error: str = kept_field("", "Why the judge failed", _LONG)
    actual: str = kept_field("", "What turned out to be true, JSON text, or empty", _TEXT)
    annotator: str = kept_field("", "Who said it, or empty", _NAME)
    latency_ms: float | None = kept_field(None, "How long the judge took", "Nullable(Float64)")
    cost: float | None = kept_field(None, "What the judge's answer cost", "Nullable(Float64)")


@dataclass(frozen=True, slots=True)
class LateTag:
    """A tag that came apart from its run."""

    project: str = field(metadata=kept("Where it is filed", _NAME))
    owner: str = field(metadata=kept("What it is about", _TEXT))
    tag: Tag = field(metadata={_KEPT: Tag})
    time_ns: int = field(metadata=kept("Nanoseconds since the epoch (UTC)", _TIME))
    record_id: str = field(metadata=kept("The span that brought it", _TEXT))


@dataclass(frozen=True, slots=True)
class LateLog:
    """A line of text that came apart from its run."""

    project: str = field(metadata=kept("Where it is filed", _NAME))
    owner: str = field(metadata=kept("What it is about", _TEXT))
    line: LineRecord = field(metadata={_KEPT: LineRecord})
    record_id: str = field(
        metadata=kept(
            "The span that brought it; for a log record the digest of its content",
            _TEXT,
            after="owner",
        )
    )
    position: int = field(metadata=kept("The place among the lines of that span", "UInt32"))
    event: str = kept_field(
        "", "What kind of event it is", _NAME, comment="empty for an ordinary line", after="message"
    )
    attributes: str = kept_field(
        "", "JSON text", _LONG, comment="JSON text, empty when there are none"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRecord:
    """An artifact logged under a reference, on the span of a run or apart from it."""

    project: str = field(metadata=kept("Where it is filed", _NAME))
    owner: str = field(metadata=kept("What it is about", _TEXT))
    record_id: str = field(metadata=kept("The span that brought it", _TEXT))
    position: int = field(metadata=kept("The place among those of that span", "UInt32"))
    ref: str = field(metadata=kept("The user's own name of it", _TEXT))
    type: str = field(metadata=kept("Such as otel_ml.types.Numpy", _NAME))
    bytes: int = field(metadata=kept("The size of the document", "Int64"))
    sha256: Hash = field(
        metadata=kept(
            "32 bytes; zeros when it has no document",
            "FixedString(32)",
            comment="of the document, zeros when it has none",
        )
    )
    json: str = field(
        metadata=kept(
            "The document as JSON text",
            _LONG,
            comment="the document, empty when it did not come along",
        )
    )
    preview: str = field(metadata=kept("JSON text", _LONG, comment="JSON"))
    time_ns: int = field(metadata=kept("Nanoseconds since the epoch (UTC)", _TIME))
    rank: int = field(metadata=kept("Says which of several deliveries wins", "UInt64"))


@dataclass(frozen=True, slots=True)
class Linked:
    """A model, artifact or data set that a run used or produced.

    Attributes:
        kind: model, artifact or dataset.
        version: The small number of a model's version; None where none is meant, or it is not here.
        told: The version as it was sent: a digest, ``v3``, an alias behind an ``@``, or empty.
        run_id: The run that logged an artifact; None for others.
        time: Time of the link, RFC 3339, UTC.
    """

    kind: str
    name: str
    version: int | None
    told: str
    run_id: str | None
    time: str


@dataclass(frozen=True, slots=True)
class LinkedRun:
    """A run that used something, or produced it.

    Attributes:
        name: Of the used or produced thing: a model, or an artifact's reference.
        version: The small number of a model's version; None where none was meant.
        time: Time of the link, RFC 3339, UTC.
    """

    run_id: str
    name: str
    version: int | None
    time: str


@dataclass(frozen=True, slots=True)
class Alias:
    """A name of a version of a model, or a move of it."""

    alias: str = field(metadata=about("Such as champion"))
    version: int | None = field(
        metadata=about("The small number; null where that version is not here any more")
    )
    digest: str = field(metadata=about("Of the version's definition"))
    by: str = field(
        metadata=about("Who moved it: what was said, else the name of the key; or empty")
    )
    source: str = field(metadata=about("By what it was moved: sdk, api, cli, or empty"))
    time: str = field(metadata=about("When, RFC 3339, UTC"))
    is_removed: bool = field(metadata=about("Whether the move took it from the version"))


@dataclass(frozen=True, slots=True)
class Aliases:
    """The names that versions of a model have."""

    aliases: Sequence[Alias] = field(metadata=about("Those of now, in their order"))
    history: Sequence[Alias] = field(metadata=about("The last 1,000 moves, newest first"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasMove:
    """A name that moved to a version of a model, or was taken from it."""

    project: str = field(metadata=kept("Where it is filed", _NAME))
    model: str = field(metadata=kept("The model's name", _TEXT))
    alias: str = field(metadata=kept("The name, such as champion", _NAME))
    record_id: str = field(metadata=kept("The span that brought it", _TEXT))
    owner: str = field(metadata=kept("What it is about", _TEXT))
    digest: str = field(metadata=kept("Of the version's definition", _TEXT))
    is_removed: bool = field(metadata=kept("Whether it was taken from the version", "Bool"))
    by: str = field(
        metadata=kept("Who moved it: what the record says, else the name of its key", _NAME)
    )
    source: str = field(metadata=kept("By what it was moved: sdk, api, cli, ...", _NAME))
    time_ns: int = field(metadata=kept("Nanoseconds since the epoch (UTC)", _TIME))
    rank: int = field(metadata=kept("Says which of several deliveries wins", "UInt64"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageLink:
    """A link from a run to a model, artifact or data set that it used or produced."""

    project: str = field(metadata=kept("Where it is filed", _NAME))
    owner: str = field(metadata=kept("The run", _TEXT))
    record_id: str = field(metadata=kept("The span that brought it", _TEXT))
    position: int = field(metadata=kept("The place among those of that span", "UInt32"))
    role: str = field(metadata=kept("used or produced", _NAME))
    kind: str = field(metadata=kept("model, artifact or dataset", _NAME))
    name: str = field(metadata=kept("Of the model or data set, or the artifact's reference", _TEXT))
    version: str = field(
        metadata=kept("A digest, v3, an alias behind an @, or empty for any", _TEXT)
    )
    run_id: str = field(metadata=kept("The run that logged an artifact, or empty", _TEXT))
    time_ns: int = field(metadata=kept("Nanoseconds since the epoch (UTC)", _TIME))
    rank: int = field(metadata=kept("Says which of several deliveries wins", "UInt64"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemContent:
    """The content of a data set's item; JSON texts are empty when there is no value."""

    project: str = field(metadata=kept("Where it is filed", _NAME))
    digest: str = field(metadata=kept("Of inputs, expected and tags, 64 hex digits", _TEXT))
    inputs: str = field(metadata=kept("JSON text", _LONG))
    expected: str = field(metadata=kept("JSON text", _LONG))
    tags: str = field(metadata=kept("JSON text: values by name", _LONG))
    source_run: str = field(metadata=kept("The run that it was made of, or empty", _TEXT))
    source_session: str = field(metadata=kept("The session of that run, or empty", _TEXT))
    capture: str = field(metadata=kept("JSON text: what was left out, by part", _TEXT))
    is_whole: bool = field(metadata=kept("Whether the digest is that of what is kept", "Bool"))
    time_ns: int = field(metadata=kept("When it was told, nanoseconds since the epoch", _TIME))
    rank: int = field(metadata=kept("Says which of several deliveries wins", "UInt64"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """A version of a data set: which items it has, known by its content."""

    name: str = field(metadata=about("Of the data set"))
    version: int = field(metadata=about("The small number"))
    digest: str = field(metadata=about("Of the ids and digests of its items, 64 hex digits"))
    description: str
    items: int = field(metadata=about("How many it has"))
    stored: int = field(metadata=about("How many of them are here"))
    is_complete: bool = field(metadata=about("Whether its manifest and all of its items are here"))
    added: int | None = about_field(
        None, "Ids that the version before has not; null when not asked for"
    )
    removed: int | None = about_field(None, "Ids that only the version before has")
    changed: int | None = about_field(None, "Ids whose content the version before has otherwise")
    reason: str = about_field("", "Why it was made; empty where nobody said")
    metrics: Mapping[str, Any] = field(
        default_factory=dict,
        metadata=about("What was computed of its items: the last number of each metric, by name"),
    )
    time: str = field(metadata=about("When it came first, RFC 3339, UTC"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetItem:
    """An item of a version of a data set."""

    id: str
    digest: str = field(metadata=about("Of inputs, expected and tags, 64 hex digits"))
    inputs: Any = field(default=None, metadata=about("What goes in, by name, or as a whole"))
    expected: Any = field(default=None, metadata=about("What is right; null for nothing told"))
    tags: Mapping[str, Any] = field(default_factory=dict)
    source_run: str | None = about_field(None, "The id of the run that it was made of")
    source_session: str | None = about_field(
        None, "The session of that run, as it was when the item was made"
    )
    is_here: bool = field(metadata=about("Whether its content is here yet"))
    is_whole: bool = field(metadata=about("Whether it can be run: nothing of it was left out"))
    left_out: Mapping[str, Sequence[str]] = field(
        default_factory=dict, metadata=about("Why something was left out, by part")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedItem:
    """An id that two versions of a data set have otherwise."""

    id: str
    digest: str | None = field(metadata=about("In the newer version; null where it is not in it"))
    before: str | None = field(metadata=about("In the older one, likewise"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDiff:
    """The changes between two versions of a data set."""

    name: str
    version: int
    against: int
    added: int
    removed: int
    changed: int
    items: Sequence[ChangedItem] = field(metadata=about("The first 1,000, by id"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CoveredSlice:
    """Production's runs with a value of a tag, beside the items that have the same."""

    tag: str
    value: str
    where: str = field(metadata=about("The filter of its runs"))
    runs: int
    run_share: float = field(metadata=about("Of production's runs"))
    items: int
    item_share: float = field(metadata=about("Of the version's items"))
    enough: str = field(
        metadata=about("no item, few, or enough for a verdict to be told of the slice")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCoverage:
    """The share of production that a version of a data set stands for.

    Production are the runs of the last 28 days of the models that its last six experiments tried;
    without any, of those whose runs became items. Slices are by the five tags that most items
    have; those of under 1 % of the runs are left out, and so are all but the ten largest of a tag.
    """

    name: str
    version: int
    models: Sequence[str]
    start_time: str = field(metadata=about("RFC 3339, UTC"))
    end_time: str
    runs: int
    items: int
    slices: Sequence[CoveredSlice] = field(metadata=about("By tag, the largest first"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedExperiment:
    """An experiment: a function that was run over a version of a data set."""

    run_id: str = field(metadata=about("Of the experiment's own run"))
    name: str = field(metadata=about("Under which experiments gather"))
    outcome: str = field(metadata=about("running, ok, error, cancelled or crashed"))
    start_ns: int = field(metadata=about("Nanoseconds since the epoch (UTC)"))
    start_time: str = field(metadata=about("RFC 3339, UTC"))
    latency_ms: float | None = field(metadata=about("Null while it has no end"))
    function: str = field(metadata=about("The name of the model that was run"))
    version: int | None = field(metadata=about("The small number of its version"))
    digest: str = field(metadata=about("Of the version's definition; empty where not known"))
    dataset: str
    dataset_version: int | None = field(metadata=about("The small number of its version"))
    dataset_digest: str = field(metadata=about("Of the ids and digests of its items"))
    items: int = field(metadata=about("How many were to be run"))
    repeats: int = field(metadata=about("How often each"))
    done: int = field(metadata=about("How many runs over items are here"))
    errors: int = field(metadata=about("How many of these failed"))
    doubled: int = field(metadata=about("Runs of an item and repeat that another one counts for"))
    cost: float | None = field(metadata=about("Of the runs over items, as far as known"))
    judges: Mapping[str, str] = field(metadata=about("The digest of each judge's version"))
    params: Mapping[str, Any] = field(metadata=about("What else was told of it"))
    baseline: str = field(
        metadata=about("What it was compared with: the run id of an experiment, or words")
    )
    comparison: Mapping[str, Any] = field(
        metadata=about("margin, lower_is_better, cluster and partial, where they are not usual")
    )
    source: str = field(metadata=about("Digest of the source files of the function's package"))
    tags: Mapping[str, Any] = field(default_factory=dict)
    verdict: str = about_field(
        "",
        "In a list with verdicts: better, worse, no different or inconclusive beside what it was "
        "run beside; empty without that",
    )
    values: Mapping[str, float] = field(
        default_factory=dict,
        metadata=about("In a list with verdicts: the pass rate or mean score by each judge"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemScore:
    """A judge version's score of a run over an item."""

    digest: str = field(metadata=about("Of the judge's version"))
    score: float | None
    passed: bool | None
    failed: bool = field(metadata=about("Whether the judge itself failed"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedItemRun:
    """One run over an item."""

    run_id: str
    repeat: int = field(metadata=about("From 0"))
    outcome: str
    error_type: str
    error_message: str
    latency_ms: float
    tokens: int | None
    cost: float | None
    inputs: str = field(metadata=about("A preview in plain text"))
    outputs: str = field(metadata=about("A preview in plain text"))
    scores: Mapping[str, ItemScore] = field(metadata=about("By judge"))


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedChange:
    """The change of an experiment's item by a judge."""

    judge: str
    is_rate: bool = field(
        metadata=about("Whether the values are shares of repeats that passed, or mean scores")
    )
    before: float = field(metadata=about("In the baseline"))
    after: float
    change: float = field(
        metadata=about(
            "Below 0 for worse; a score's in standard deviations of the baseline, and 0 where it "
            "is below the margin"
        )
    )
    score_before: float | None = field(metadata=about("The mean score, also of what passes"))
    score_after: float | None
    text: str = field(metadata=about("Such as pass → fail"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentRow:
    """An item of an experiment: its runs, and those of the baseline."""

    item: str = field(metadata=about("The item's id"))
    digest: str = field(metadata=about("Of what is in it"))
    tags: Mapping[str, Any] = field(metadata=about("Of the item"))
    source_run: str = field(metadata=about("The run that the item was made of, or empty"))
    source_session: str = about_field(
        "", "The session of that run, or empty: the cluster unless told"
    )
    state: str = field(
        metadata=about(
            "regression, fixed or same; new or changed where the baseline has not this item; empty "
            "without a baseline"
        )
    )
    is_flaky: bool = field(metadata=about("Whether its repeats differ in failing or passing"))
    runs: Sequence[ListedItemRun]
    baseline: Sequence[ListedItemRun]
    expected: str = about_field("", "What is right for it: a preview in plain text")
    change: str = about_field(
        "", "By which judges it got worse or better, such as brief pass → fail"
    )
    changes: Sequence[JudgedChange] = about_field(
        (), "What each judge says of it and of the baseline, those named in change first"
    )
