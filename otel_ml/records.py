"""The stored records: their fields with types and units, and how the database stores each field.

The collector derives its tables, rows, API responses, exports and messages from these classes, and
the reader derives its own classes. Field names are the same everywhere. Those of durations, times
and sizes contain the unit, such as ``latency_ms``.
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
Hash = bytes  # SHA-256, 32 bytes

# Default name of ground truth. It means the run's output.
ACTUAL_NAME: Final = "output"
# Maximum size of ground truth as JSON text, in bytes.
ACTUAL_BYTES: Final = 16_384
ACTUAL_WANTED: Final = (
    "a text, a finite number of at most 64 bits, True or False, or a list of these, "
    f"of at most {ACTUAL_BYTES:,} bytes as JSON"
)

# Keys of a field's metadata: description, database column, span attribute, display on pages.
ABOUT: Final = "description"
COLUMN: Final = "column"
ATTRIBUTE: Final = "attribute"
FACE: Final = "face"
_KEPT: Final = "kept"

# Column types of the database. _NAME is for columns with few distinct values.
_NAME: Final = "LowCardinality(String)"
_TEXT: Final = "String"
_LONG: Final = "String CODEC(ZSTD(1))"
_TIME: Final = "Int64 CODEC(DoubleDelta, ZSTD(1))"
_COUNT: Final = "Nullable(Int64)"
_TRACE_ID_TYPE: Final = "FixedString(16)"
_SPAN_ID_TYPE: Final = "FixedString(8)"


@dataclass(frozen=True, slots=True)
class Column:
    """How a field of a record is stored in ClickHouse.

    Attributes:
        sql: Column type in ClickHouse, with its codec.
        comment: Comment of the column in ClickHouse.
        after: Name of the column after which this one is placed in the table. Empty for the order
            of the dataclass fields.
        at_end: Whether the value is known only after the run has ended, such as its cost.
        is_payload: Whether the value can be large. It is then stored separately from the run's row.
    """

    sql: str
    comment: str = ""
    after: str = ""
    at_end: bool = False
    is_payload: bool = False


@dataclass(frozen=True, slots=True)
class Face:
    """How a text field of a run, such as its user, is shown, and where its value comes from.

    If a field has a label, it is a column in lists of runs, and you can filter and group runs by
    it.

    Attributes:
        label: Name on web pages. Empty for a field that is not a list column.
        resource: OpenTelemetry resource attributes to read the value from, preferred ones first.
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
    """Describe a dataclass field that is stored as a database column.

    Args:
        about: Description of the field, for the API's schema.
        sql: Column type in ClickHouse.
        attribute: Span attribute that contains the field's value.
        label: Name of the field on web pages. Empty if it is not shown as a list column.
        resource: Resource attributes that can contain the value. The first that is present counts.
        more: Further arguments of `Column`.

    Returns:
        The ``metadata`` argument of `dataclasses.field`.
    """
    return {
        ABOUT: about,
        COLUMN: Column(sql, **more),
        ATTRIBUTE: attribute,
        FACE: Face(label, resource),
    }


def about(text: str) -> dict[str, Any]:
    """Return the metadata of a dataclass field that only needs a description, not a column."""
    return {ABOUT: text}


def kept_field(default: T, about: str, sql: str, **more: Any) -> T:
    """Declare a dataclass field that has a default and is a column. Arguments: see `kept`."""
    return field(default=default, metadata=kept(about, sql, **more))


def about_field(default: T, text: str) -> T:
    """Declare a dataclass field that has a default and a description, but is not a column."""
    return field(default=default, metadata=about(text))


def columns_of(record: type, path: str = "") -> dict[str, tuple[str, Column]]:
    """Return the columns of the database table that stores a dataclass, in order.

    For a field that is a dataclass itself, such as ``tag``, each of its fields is a column.

    Returns:
        A dict by column name. Each value is a pair: the path in the record, such as ``tag.name``,
        and the definition of the column.
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
    """Return the span attribute that contains each field, by field name."""
    return {
        field_.name: field_.metadata[ATTRIBUTE]
        for field_ in fields(record)
        if field_.metadata.get(ATTRIBUTE)
    }


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token counts of an LLM call, None if not reported. `input` includes cached tokens."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None
    cache_creation: int | None = None


# columns with the token counts of a run
TOKENS: Final = tuple(f"{field_.name}_tokens" for field_ in fields(Tokens))


def tokens_of(row: Mapping[str, Any]) -> Tokens:
    """Return the token counts from a database row of a run, or of a sum over runs."""
    return Tokens(*[row[name] for name in TOKENS])


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag of a run: a name and a value to filter by. Type and group are optional."""

    name: str = field(metadata=kept("Name of the tag", _TEXT))
    value: TagValue = field(metadata=kept("Value of the tag", _TEXT, comment="JSON text"))
    type: str = kept_field("", "Type of the tag, chosen by the user", _NAME)
    group: str = kept_field("", "Group of the tag, chosen by the user", _NAME)


@dataclass(frozen=True, slots=True)
class LineRecord:
    """A log line of a run."""

    time_ns: int = field(metadata=kept("Time, nanoseconds since the epoch", _TIME))
    severity: str = field(metadata=kept("Severity: debug, info, warning or error", _NAME))
    message: str = field(metadata=kept("Text of the line", _LONG))


@dataclass(slots=True, kw_only=True)
class RunFields:
    """The fields that a run has in the database, in the API and in the reader alike."""

    project: str = field(metadata=kept("Project of the record", _NAME, attribute=wire.PROJECT))
    start_ns: int = kept_field(0, "Start time, nanoseconds since the epoch (UTC)", _TIME)
    kind: str = kept_field(
        "",
        "model, chain, tool, retriever, embedding, agent, training, experiment; or span",
        _NAME,
        attribute=wire.KIND,
    )
    name: str = kept_field("", "Name of the span", _NAME)
    span_kind: str = kept_field("", "OpenTelemetry span kind: server, client, internal, ...", _NAME)
    model: str = kept_field(
        "",
        "Name of the model; empty for kind span",
        _NAME,
        attribute=wire.MODEL_NAME,
    )
    digest: str = kept_field("", "Digest of the model version; empty without a version", _NAME)
    outcome: str = kept_field(
        "",
        "ok, error, cancelled or abandoned; running while it is open; crashed if its process "
        "ended or sent nothing for 5 minutes",
        _NAME,
        attribute=wire.OUTCOME,
        at_end=True,
    )
    error_type: str = kept_field(
        "", "Type of the error", _NAME, attribute=wire.ERROR_TYPE, at_end=True
    )
    error_message: str = kept_field("", "Message of the error", _TEXT, at_end=True)
    session: str = kept_field(
        "", "Session (conversation) that it belongs to", _TEXT, attribute=wire.SESSION_ID
    )
    user: str = kept_field("", "User that it ran for", _TEXT, attribute=wire.USER_ID)
    environment: str = kept_field(
        "",
        "Deployment environment",
        _NAME,
        attribute=wire.ENVIRONMENT,
        label="Environment",
        resource=(wire.ENVIRONMENT, "deployment.environment", "langfuse.environment"),
    )
    release: str = kept_field(
        "",
        "Version of the service",
        _NAME,
        label="Release",
        resource=(wire.SERVICE_VERSION, "langfuse.release"),
    )
    provider: str = kept_field(
        "",
        "Provider of the LLM, such as openai",
        _NAME,
        attribute=wire.GEN_AI_PROVIDER,
        label="Provider",
    )
    provider_model: str = kept_field(
        "",
        "Name of the LLM at its provider",
        _NAME,
        attribute=wire.GEN_AI_REQUEST_MODEL,
        label="LLM",
    )
    cost: float | None = kept_field(
        None, "Cost, in the currency of the price list", "Nullable(Float64)", at_end=True
    )
    cost_note: str = kept_field(
        "",
        'How the cost differs from the standard price, such as "flex price" or "standard price, '
        'flex tier"; empty if it does not',
        _NAME,
        label="Cost note",
        at_end=True,
    )
    first_token_ms: float | None = kept_field(
        None,
        "Milliseconds to the first chunk of a streamed answer",
        "Nullable(Float64)",
        at_end=True,
    )
    stream_chunks: int | None = kept_field(
        None, "Number of chunks of a streamed answer", _COUNT, at_end=True
    )
    experiment: str = kept_field(
        "",
        "Run id of the experiment, for a run over a data set's item; else empty",
        _NAME,
        attribute=wire.EXPERIMENT,
    )
    dataset: str = kept_field(
        "",
        "Name of the data set, for an experiment and its runs",
        _NAME,
        attribute=wire.EXPERIMENT_DATASET,
    )
    item: str = kept_field(
        "", "Id of the item, for a run over an item", _TEXT, attribute=wire.ITEM_ID
    )
    item_digest: str = kept_field(
        "",
        "Digest of the item's content, for a run over an item",
        _TEXT,
        attribute=wire.ITEM_DIGEST,
    )
    repeat: int = kept_field(
        0,
        "Number of the repeat, from 0, for a run over an item",
        "UInt32",
        attribute=wire.ITEM_REPEAT,
    )


_FACES: Final[Mapping[str, Face]] = {
    field_.name: field_.metadata[FACE] for field_ in fields(RunFields) if FACE in field_.metadata
}
# Fields of a run that pages show with a label, in display order.
LABELS: Final = {name: face.label for name, face in _FACES.items() if face.label}
# Resource attributes that set a field of all runs of a sender.
RESOURCE_ATTRIBUTES: Final = {name: face.resource for name, face in _FACES.items() if face.resource}


def describe_field(name: str) -> str:
    """Return the description of a run's field, starting in lower case for use in a sentence."""
    text: str = RunFields.__dataclass_fields__[name].metadata[ABOUT]
    return text[:1].lower() + text[1:]


@dataclass(slots=True, kw_only=True)  # not frozen: setting 45 frozen fields takes 25 % of mapping
class Run(RunFields):
    """A run or any other span, as stored in the database.

    A span is a run if otel-ml knows its kind, such as a model or tool call. The `kind` of all other
    spans is ``span``. `outcome` is ``running`` until the run has ended. A JSON field without a
    value is an empty string.
    """

    trace_id: bytes = field(metadata=kept("Trace id, 16 bytes", _TRACE_ID_TYPE, after="start_ns"))
    span_id: bytes = field(metadata=kept("Span id, 8 bytes", _SPAN_ID_TYPE))
    parent_span_id: bytes = kept_field(
        b"", "Span id of the parent; empty for a root", _SPAN_ID_TYPE
    )
    structure: str = kept_field(
        "", "Digest of the output's structure; dynamic, or empty", _NAME, after="digest"
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
        (),
        "Tags, for filtering",
        "Map(LowCardinality(String), String)",
        comment="JSON text by name",
    )
    input_tokens: int | None = kept_field(
        None,
        "Input tokens, including cached ones",
        _COUNT,
        attribute=wire.GEN_AI_INPUT_TOKENS,
        after="provider_model",
        at_end=True,
    )
    output_tokens: int | None = kept_field(
        None,
        "Output tokens, including reasoning",
        _COUNT,
        attribute=wire.GEN_AI_OUTPUT_TOKENS,
        at_end=True,
    )
    cached_tokens: int | None = kept_field(
        None,
        "Input tokens that were read from a cache",
        _COUNT,
        attribute=wire.GEN_AI_CACHE_READ_TOKENS,
        at_end=True,
    )
    reasoning_tokens: int | None = kept_field(
        None,
        "Output tokens that were used for reasoning",
        _COUNT,
        attribute=wire.GEN_AI_REASONING_TOKENS,
        at_end=True,
    )
    cache_creation_tokens: int | None = kept_field(
        None,
        "Input tokens that were written to a cache",
        _COUNT,
        attribute=wire.GEN_AI_CACHE_WRITE_TOKENS,
        at_end=True,
    )
    dialect: str = kept_field("", "Dialect of the span's attributes", _NAME, after="cost")
    process: str = kept_field(
        "", "Process that sent it, 8 hex digits; empty for spans of other tools", _NAME
    )
    seq: int = kept_field(
        0,
        "Sequence number within process and project, from 1; 0 for none",
        _TIME,
        at_end=True,
    )
    inputs: str = kept_field("", "Inputs as JSON text", _LONG, is_payload=True)
    outputs: str = kept_field("", "Output as JSON text", _LONG, is_payload=True, at_end=True)
    params: str = kept_field("", "Params as JSON text", _LONG, is_payload=True)
    logs: Sequence[LineRecord] = kept_field(
        (), "Lines of text", _LONG, comment="JSON: lines of text", is_payload=True
    )
    events: str = kept_field(
        "",
        "Other span events as JSON text",
        _LONG,
        comment="JSON: other span events",
        is_payload=True,
    )
    links: str = kept_field("", "Span links as JSON text", _LONG, is_payload=True)
    attributes: str = kept_field(
        "",
        "Attributes without a field of their own, JSON text",
        _LONG,
        comment="JSON: what no field holds",
        is_payload=True,
    )
    resource: str = kept_field("", "Resource as JSON text", _LONG, is_payload=True)
    scope: str = kept_field("", "Instrumentation scope as JSON text", _LONG, is_payload=True)
    arrived_ns: int = kept_field(0, "Time when it was stored; 0 before that", _TIME)
    rank: int = kept_field(
        0, "If the record arrives several times, the highest rank is kept", "UInt64"
    )
    end_ns: int = field(metadata=about("End time; stored as latency"))
    response_id: str = about_field("", "The LLM provider's id of the response; stored as a tag")

    @property
    def run_id(self) -> str:
        """The run ID, ``<32 hex>-<16 hex>``."""
        return run_id(self.trace_id, self.span_id)


def run_id(trace_id: bytes, span_id: bytes) -> str:
    """Return the ID of a run as in the HTTP API: trace id, a dash and span id, in hex."""
    return f"{trace_id.hex()}-{span_id.hex()}"


@dataclass(slots=True, kw_only=True)
class ListedRun(RunFields):
    """A run as the API lists it, with the tags, scores and ground truth that were added later."""

    run_id: str = field(metadata=about("Run id, <32 hex>-<16 hex>"))
    trace_id: str = field(metadata=about("Trace id, 32 hex digits"))
    parent_run_id: str | None = None
    trace_key: str = about_field(
        "", "The user's own key of the trace; the first one if there are several"
    )
    version: int | None = about_field(None, "Number of the model version")
    latency_ms: float | None = about_field(
        None, "Latency in ms; null if the run is still open or its latency was not measured"
    )
    tags: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    passed: Mapping[str, bool] = field(default_factory=dict)
    failed_judges: Sequence[str] = about_field((), "Judges that failed to score the run")
    truth: Mapping[str, Any] = field(
        default_factory=dict, metadata=about("Ground truth by name; the newest value of each")
    )
    label: Mapping[str, Any] = field(
        default_factory=dict, metadata=about("Reviewers' labels by name; the newest of each")
    )
    agent: Mapping[str, Any] = field(
        default_factory=dict, metadata=about("Feedback of agents by name; the newest of each")
    )
    tokens: Tokens = Tokens()
    tokens_per_second: float | None = about_field(
        None, "Output tokens per second, from the first chunk to the end"
    )
    record_of: str | None = about_field(
        None,
        "ID of the run that is counted instead of this one, if several instrumentations recorded "
        "the same call; null if this run is counted",
    )


@dataclass(frozen=True, slots=True)
class WorstScore:
    """A judge's worst score among the runs of one request.

    It is the lowest score, or the highest if lower scores are better for this judge.

    Attributes:
        run_id: ID of the run with this score.
        score: The score. None if the judge only returns passed or failed.
        passed: Whether the run passed. None if the judge only returns a score.
    """

    run_id: str
    score: float | None = None
    passed: bool | None = None


@dataclass(frozen=True, slots=True)
class Inside:
    """Totals of a request, that is an outermost run and all calls inside it.

    If the outermost run recorded no inputs or outputs, previews are taken from the calls inside.

    Attributes:
        calls: Number of calls inside.
        is_least: True if a model call inside has no token counts, so that the real totals are
            higher.
        asked: Preview of the first inputs among the calls inside. Empty if the outermost run has
            inputs itself.
        answered: Preview of the last outputs among the calls inside. Empty if the outermost run
            has outputs itself or failed.
        asked_run_id: ID of the run that `asked` comes from.
        answered_run_id: ID of the run that `answered` comes from.
        scores: Worst score of each judge in the request, by judge name.
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
    """A judge's score of a run, a reviewer's label, or the run's ground truth.

    Attributes:
        judge: Name of the judge, of the label or of the ground truth.
        version: Version number of the judge. None for labels and ground truth.
        score: The score. None if there is none.
        passed: Whether the run passed. None if there is only a score, a label or ground truth.
        error: Error that the judge itself raised. It does not mean that the run failed.
        source: ``judge``, ``human`` (reviewer), ``actual`` (ground truth) or ``agent`` (program).
        digest: Hash of the judge's code.
        actual: Ground truth: a string, number, bool or list. None if there is no value.
        time: Time of the evaluation, RFC 3339, UTC.
        annotator: Who evaluated the run. Empty if unknown.
    """

    judge: str
    version: int | None = about_field(None, "Number of the judge's version")
    score: float | None = None
    passed: bool | None = None
    label: str = ""
    explanation: str = ""
    error: str = ""
    source: str = ""
    digest: str = ""
    actual: Any = field(default=None, metadata=about("Ground truth; null if it has no value"))
    time: str = about_field("", "Time of the evaluation, RFC 3339, UTC")
    annotator: str = about_field("", "Who evaluated it; empty if unknown")


def write_actual(value: object) -> str:
    """Return ground truth as JSON text.

    Raises:
        ValueError: The value is not a string, number, bool or list of these, or is too long.
    """
    kind = type(value)
    is_list = issubclass(kind, list | tuple)
    items: Any = value if is_list else [value]
    if len(items) <= ACTUAL_BYTES:
        plain = [_plain(item) for item in items]
        with suppress(TypeError):  # a lone surrogate cannot be encoded
            text = orjson.dumps(plain if is_list else plain[0])
            if len(text) <= ACTUAL_BYTES:
                return text.decode()
    raise ValueError(f"expected {ACTUAL_WANTED}")


def _plain(value: Any) -> TagValue:
    """Return a string, number or bool as a plain Python value."""
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
    """A project with the number of its runs, errors and artifacts.

    Spans that are not runs, such as HTTP requests, are counted in `other_spans`.
    """

    project: str
    runs: int
    other_spans: int
    errors: int
    artifacts: int = field(metadata=about("Number of different stored documents"))
    artifact_bytes: int
    last_start_time: str


@dataclass(frozen=True, slots=True)
class ModelCounts:
    """A model with the number of its runs, errors and versions."""

    model: str
    kind: str
    runs: int
    errors: int
    versions: int
    latest_version: int | None
    last_start_time: str
    experiment_runs: int = field(
        default=0, metadata=about("Runs in experiments; not included in `runs`")
    )


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """A model version as the API lists it, with the number, errors and latency of its runs."""

    model: str
    version: int
    digest: str
    first_seen_time: str
    runs: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    experiment_runs: int = field(
        default=0, metadata=about("Runs in experiments; not included in `runs`")
    )


@dataclass(frozen=True, slots=True)
class ListedArtifact:
    """A logged artifact as the API lists it: a preview, but not the value.

    Attributes:
        ref: Name under which it was logged.
        type: Type, such as ``otel_ml.types.Numpy``.
        bytes: Size of the stored value in bytes.
        sha256: SHA-256 of the stored value. None if the value was not stored.
        preview: Short description of the value, such as the shape of an array.
        time: Time of logging, RFC 3339, UTC.
    """

    ref: str
    type: str = field(metadata=about("Type, such as otel_ml.types.Numpy"))
    bytes: int = field(metadata=about("Size of the document"))
    sha256: str | None = field(metadata=about("SHA-256 of the document; null if there is none"))
    preview: Any = field(metadata=about("Preview of the value"))
    time: str = field(metadata=about("Time, RFC 3339, UTC"))


Infinite = Literal["Infinity", "-Infinity"]  # JSON has no numbers for them


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One value of a metric.

    `step` is null if no step was logged. `value` is null for NaN. Infinity is sent as the text
    ``Infinity`` or ``-Infinity``, because JSON has no number for it.
    """

    value: float | Infinite | None
    step: int | None
    time_ns: int


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a model, judge or data set, as stored in the database.

    Attributes:
        first_seen_ns: Start of the first run with this version, in nanoseconds since the epoch
            (UTC). If several new versions are stored at once, the one with the earliest start gets
            the lowest version number.
        first_arrived_ns: Time when the collector first stored it, in nanoseconds since the epoch
            (UTC).
    """

    project: str = field(metadata=kept("Project of the record", _NAME))
    kind: str = field(metadata=kept("model, judge or dataset", _NAME))
    name: str = field(metadata=kept("The model's name", _TEXT))
    digest: str = field(metadata=kept("Digest of the definition", _TEXT))
    structure: str = field(metadata=kept("Digest of the output's structure", _TEXT))
    definition: str = field(
        metadata=kept(
            "JSON text; empty if this record does not carry it",
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
        0, "Time when it was first stored", "SimpleAggregateFunction(min, Int64)", after="structure"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A value as stored in the database: a metric point, a judge's score, a label or ground truth.

    Attributes:
        owner: What the value belongs to: a run ID, or a text with a prefix. ``key:`` is followed by
            a trace key, ``tag:`` by the name and value of a tag, ``model:`` by the digest and name
            of a model version. ``set:`` stands for a version of a data set.
        record_id: ID of the span that contained the value, so that a span that is sent twice is
            stored once. Empty for a judge's score.
    """

    project: str = field(metadata=kept("Project of the record", _NAME))
    owner: str = field(metadata=kept("Subject of the record, such as a run id", _TEXT))
    owner_start_ns: int = field(metadata=kept("Start of the run; 0 if unknown", "Int64"))
    name: str = field(metadata=kept("Name of the metric or judge", _NAME))
    source: str = field(metadata=kept("logged, judge, human, actual or agent", _NAME))
    judge_version: str = kept_field("", "Digest of the judge", _NAME)
    record_id: str = kept_field("", "Span that carried it", _TEXT)
    position: int = kept_field(0, "Position among the points of that span", "UInt32")
    value: float | None = field(metadata=kept("None if the judge failed", "Nullable(Float64)"))
    step: int = field(metadata=kept("Step; -1 for none", "Int64"))
    time_ns: int = field(metadata=kept("Time, nanoseconds since the epoch (UTC)", _TIME))
    mode: str = field(
        metadata=kept(
            "How points of one name combine: append, auto, single, replace, restart, clear", _NAME
        )
    )
    passed: bool | None = kept_field(None, "Whether the run passed", "Nullable(Bool)")
    label: str = kept_field("", "The result as a word", _NAME)
    explanation: str = kept_field("", "Reason for the score", _LONG)
    error: str = kept_field("", "Error of the judge", _LONG)
    actual: str = kept_field("", "Ground truth as JSON text, or empty", _TEXT)
    annotator: str = kept_field("", "Who evaluated it, or empty", _NAME)
    latency_ms: float | None = kept_field(None, "Duration of the judge's call", "Nullable(Float64)")
    cost: float | None = kept_field(None, "Cost of the judge's call", "Nullable(Float64)")


@dataclass(frozen=True, slots=True)
class LateTag:
    """A tag that was added to a run separately, usually after the run had ended."""

    project: str = field(metadata=kept("Project of the record", _NAME))
    owner: str = field(metadata=kept("Subject of the record, such as a run id", _TEXT))
    tag: Tag = field(metadata={_KEPT: Tag})
    time_ns: int = field(metadata=kept("Time, nanoseconds since the epoch (UTC)", _TIME))
    record_id: str = field(metadata=kept("Span that carried it", _TEXT))


@dataclass(frozen=True, slots=True)
class LateLog:
    """A log line that was sent separately from its run."""

    project: str = field(metadata=kept("Project of the record", _NAME))
    owner: str = field(metadata=kept("Subject of the record, such as a run id", _TEXT))
    line: LineRecord = field(metadata={_KEPT: LineRecord})
    record_id: str = field(
        metadata=kept(
            "Span that carried it; for a log record, the digest of its content",
            _TEXT,
            after="owner",
        )
    )
    position: int = field(metadata=kept("Position among the lines of that span", "UInt32"))
    event: str = kept_field(
        "", "Kind of event", _NAME, comment="empty for an ordinary line", after="message"
    )
    attributes: str = kept_field(
        "", "Attributes as JSON text", _LONG, comment="JSON text, empty when there are none"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRecord:
    """A logged artifact, as stored in the database."""

    project: str = field(metadata=kept("Project of the record", _NAME))
    owner: str = field(metadata=kept("Subject of the record, such as a run id", _TEXT))
    record_id: str = field(metadata=kept("Span that carried it", _TEXT))
    position: int = field(metadata=kept("Position among the records of that span", "UInt32"))
    ref: str = field(metadata=kept("Name of the artifact", _TEXT))
    type: str = field(metadata=kept("Type, such as otel_ml.types.Numpy", _NAME))
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
            "The document as JSON text, or as a data URL if it is another file",
            _LONG,
            comment="the document, empty when it did not come along",
        )
    )
    preview: str = field(metadata=kept("Preview as JSON text", _LONG, comment="JSON"))
    time_ns: int = field(metadata=kept("Time, nanoseconds since the epoch (UTC)", _TIME))
    rank: int = field(
        metadata=kept("If the record arrives several times, the highest rank is kept", "UInt64")
    )


@dataclass(frozen=True, slots=True)
class Linked:
    """A model, artifact or data set that a run used or produced.

    Attributes:
        kind: ``model``, ``artifact`` or ``dataset``.
        version: Version number of the model. None if the run named no version, or if the collector
            does not know that version.
        told: The version as the run named it: a digest, ``v3``, or an alias such as
            ``@production``. Empty if the run named no version.
        run_id: Run that logged the artifact. None for models and data sets.
        time: When the run used or produced it, RFC 3339, UTC.
    """

    kind: str
    name: str
    version: int | None
    told: str
    run_id: str | None
    time: str


@dataclass(frozen=True, slots=True)
class LinkedRun:
    """A run that used or produced a model, an artifact or a data set.

    Attributes:
        run_id: ID of the run.
        name: Name of the model, artifact or data set.
        version: Version number of the model. None if the run named no version, or if the collector
            does not know that version.
        time: When the run used or produced it, RFC 3339, UTC.
    """

    run_id: str
    name: str
    version: int | None
    time: str


@dataclass(frozen=True, slots=True)
class Alias:
    """A change of an alias, such as ``champion``: to which version it was set, by whom and when."""

    alias: str = field(metadata=about("The alias, such as champion"))
    version: int | None = field(
        metadata=about("Version number; null if that version is no longer stored")
    )
    digest: str = field(metadata=about("Digest of the version's definition"))
    by: str = field(
        metadata=about(
            "Who moved the alias: the given name, else the name of the API key; empty if neither "
            "is known"
        )
    )
    source: str = field(metadata=about("Tool that moved it: sdk, api, cli, or empty"))
    time: str = field(metadata=about("Time of the move, RFC 3339, UTC"))
    is_removed: bool = field(metadata=about("Whether the alias was removed"))


@dataclass(frozen=True, slots=True)
class Aliases:
    """The aliases of a model's versions, and the history of their moves."""

    aliases: Sequence[Alias] = field(metadata=about("Current aliases, sorted by name"))
    history: Sequence[Alias] = field(metadata=about("The last 1,000 changes, newest first"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasMove:
    """A change of an alias, as stored in the database: it was set to a version, or removed."""

    project: str = field(metadata=kept("Project of the record", _NAME))
    model: str = field(metadata=kept("The model's name", _TEXT))
    alias: str = field(metadata=kept("The alias, such as champion", _NAME))
    record_id: str = field(metadata=kept("Span that carried it", _TEXT))
    owner: str = field(metadata=kept("Subject of the record, such as a run id", _TEXT))
    digest: str = field(metadata=kept("Digest of the version's definition", _TEXT))
    is_removed: bool = field(metadata=kept("Whether the alias was removed", "Bool"))
    by: str = field(
        metadata=kept("Who moved it: the given name, else the name of the API key", _NAME)
    )
    source: str = field(metadata=kept("Tool that moved it: sdk, api, cli, ...", _NAME))
    time_ns: int = field(metadata=kept("Time, nanoseconds since the epoch (UTC)", _TIME))
    rank: int = field(
        metadata=kept("If the record arrives several times, the highest rank is kept", "UInt64")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageLink:
    """A link from a run to a model, artifact or data set that it used or produced, as stored."""

    project: str = field(metadata=kept("Project of the record", _NAME))
    owner: str = field(metadata=kept("Run id", _TEXT))
    record_id: str = field(metadata=kept("Span that carried it", _TEXT))
    position: int = field(metadata=kept("Position among the records of that span", "UInt32"))
    role: str = field(metadata=kept("used or produced", _NAME))
    kind: str = field(metadata=kept("model, artifact or dataset", _NAME))
    name: str = field(metadata=kept("Name of the model, data set or artifact", _TEXT))
    version: str = field(
        metadata=kept("A digest, v3, an alias after an @, or empty for any version", _TEXT)
    )
    run_id: str = field(metadata=kept("Run that logged the artifact, or empty", _TEXT))
    time_ns: int = field(metadata=kept("Time, nanoseconds since the epoch (UTC)", _TIME))
    rank: int = field(
        metadata=kept("If the record arrives several times, the highest rank is kept", "UInt64")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemContent:
    """The content of a data set item. It is stored once, even if many versions contain it.

    A JSON field without a value is an empty string.
    """

    project: str = field(metadata=kept("Project of the record", _NAME))
    digest: str = field(
        metadata=kept("Digest of inputs, expected value and tags, 64 hex digits", _TEXT)
    )
    inputs: str = field(metadata=kept("Inputs as JSON text", _LONG))
    expected: str = field(metadata=kept("Expected output as JSON text", _LONG))
    tags: str = field(metadata=kept("Tags as JSON text: values by name", _LONG))
    source_run: str = field(metadata=kept("Run that the item was made from, or empty", _TEXT))
    source_session: str = field(metadata=kept("Session of that run, or empty", _TEXT))
    capture: str = field(metadata=kept("JSON text: reasons for left-out content, by part", _TEXT))
    is_whole: bool = field(metadata=kept("Whether the stored content is complete", "Bool"))
    time_ns: int = field(metadata=kept("Time of the record, nanoseconds since the epoch", _TIME))
    rank: int = field(
        metadata=kept("If the record arrives several times, the highest rank is kept", "UInt64")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """A version of a data set. Any change to its items creates a new version."""

    name: str = field(metadata=about("Name of the data set"))
    version: int = field(metadata=about("Version number"))
    digest: str = field(metadata=about("Digest of the ids and digests of its items, 64 hex digits"))
    description: str
    items: int = field(metadata=about("Number of items"))
    stored: int = field(metadata=about("Number of items whose content is stored"))
    is_complete: bool = field(metadata=about("Whether the manifest and all items are stored"))
    is_newest: bool | None = about_field(
        None,
        "Whether this is the newest whole version, from which changes start; null if not requested",
    )
    added: int | None = about_field(
        None, "Items that the previous version does not have; null if not requested"
    )
    removed: int | None = about_field(None, "Items that only the previous version has")
    changed: int | None = about_field(None, "Items whose content differs from the previous version")
    reason: str = about_field("", "Why the version was made; may be empty")
    metrics: Mapping[str, Any] = field(
        default_factory=dict,
        metadata=about("Data metrics of its items: the last value of each, by name"),
    )
    time: str = field(metadata=about("Time when it was first stored, RFC 3339, UTC"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetItem:
    """An item of a data set version: inputs, expected output and tags."""

    id: str
    digest: str = field(metadata=about("Digest of inputs, expected value and tags, 64 hex digits"))
    inputs: Any = field(default=None, metadata=about("Inputs by name, or one value"))
    expected: Any = field(default=None, metadata=about("Expected output; null if none is given"))
    tags: Mapping[str, Any] = field(default_factory=dict)
    source_run: str | None = about_field(None, "Id of the run that it was made from")
    source_session: str | None = about_field(None, "Session of that run when the item was made")
    is_here: bool = field(metadata=about("Whether its content is stored"))
    is_whole: bool = field(
        metadata=about("Whether the item can be run, because no part of it was left out")
    )
    left_out: Mapping[str, Sequence[str]] = field(
        default_factory=dict, metadata=about("For each part that was left out, the reason")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedItem:
    """An item that was added, removed or changed between two versions of a data set."""

    id: str
    digest: str | None = field(
        metadata=about("Digest in the newer version; null if that version does not have the item")
    )
    before: str | None = field(
        metadata=about("Digest in the older version; null if that version does not have the item")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDiff:
    """What changed between two versions of a data set: counts, and the items."""

    name: str
    version: int
    against: int
    added: int
    removed: int
    changed: int
    items: Sequence[ChangedItem] = field(metadata=about("The first 1,000 items, by id"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CoveredSlice:
    """One value of a tag: how many production runs have it, and how many items of a data set."""

    tag: str
    value: str
    where: str = field(metadata=about("Filter that selects its runs"))
    runs: int
    run_share: float = field(metadata=about("Share of the production runs"))
    items: int
    item_share: float = field(metadata=about("Share of the version's items"))
    enough: str = field(
        metadata=about(
            "Whether the data set has no item, few, or enough for a verdict on the slice"
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCoverage:
    """How well a data set version represents production traffic.

    Runs and items are divided into slices by the value of a tag, such as ``country=DE``. For each
    slice, the share of the runs is compared with the share of the items.

    Only runs of the last 28 days are used, and only of the models in the data set's last six
    experiments. If there are no experiments, the models that the items were recorded from are used.
    For each of the five most frequent tags of the items, the ten largest slices are listed. Slices
    with less than 1 % of the runs are left out.
    """

    name: str
    version: int
    models: Sequence[str]
    start_time: str = field(metadata=about("Start time, RFC 3339, UTC"))
    end_time: str
    runs: int
    items: int
    slices: Sequence[CoveredSlice] = field(metadata=about("Slices by tag, largest first"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedExperiment:
    """An experiment as the API lists it: a function that was run on a data set version."""

    run_id: str = field(metadata=about("Run id of the experiment"))
    name: str = field(metadata=about("Name of the experiment"))
    outcome: str = field(metadata=about("running, ok, error, cancelled or crashed"))
    start_ns: int = field(metadata=about("Start time, nanoseconds since the epoch (UTC)"))
    start_time: str = field(metadata=about("Start time, RFC 3339, UTC"))
    latency_ms: float | None = field(metadata=about("Null while it is running"))
    function: str = field(metadata=about("Name of the model that was run"))
    version: int | None = field(metadata=about("Version number of the model"))
    digest: str = field(metadata=about("Digest of the version's definition; empty if unknown"))
    dataset: str
    dataset_version: int | None = field(metadata=about("Version number of the data set"))
    dataset_digest: str = field(metadata=about("Digest of the data set's version"))
    items: int = field(metadata=about("Number of items to run"))
    repeats: int = field(metadata=about("Number of runs per item"))
    done: int = field(metadata=about("Number of item runs that are stored"))
    errors: int = field(metadata=about("Number of item runs that failed"))
    doubled: int = field(
        metadata=about("Number of duplicate runs, which are not counted elsewhere")
    )
    cost: float | None = field(
        metadata=about("Total cost in US dollars of the item runs whose cost is known")
    )
    judges: Mapping[str, str] = field(metadata=about("The digest of each judge's version"))
    params: Mapping[str, Any] = field(metadata=about("Params of the experiment"))
    baseline: str = field(
        metadata=about(
            "What the experiment was compared with: the run ID of another experiment, or a "
            "description"
        )
    )
    comparison: Mapping[str, Any] = field(
        metadata=about(
            "Options of the comparison that are not the default: margin, lower_is_better, cluster "
            "and partial"
        )
    )
    source: str = field(metadata=about("Digest of the source files of the function's package"))
    tags: Mapping[str, Any] = field(default_factory=dict)
    verdict: str = about_field(
        "",
        "Verdict against the baseline: better, worse, no difference or not enough data; empty "
        "without a baseline. Set only in a list with verdicts",
    )
    values: Mapping[str, float] = field(
        default_factory=dict,
        metadata=about("Pass rate or mean score of each judge. Set only in a list with verdicts"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemScore:
    """A judge's score of one run in an experiment."""

    digest: str = field(metadata=about("Digest of the judge's version"))
    score: float | None
    passed: bool | None
    failed: bool = field(metadata=about("Whether the judge itself failed"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedItemRun:
    """One run of an experiment's function on one item."""

    run_id: str
    repeat: int = field(metadata=about("Number of the repeat, from 0"))
    outcome: str
    error_type: str
    error_message: str
    latency_ms: float
    tokens: int | None
    cost: float | None
    inputs: str = field(metadata=about("A preview in plain text"))
    outputs: str = field(metadata=about("A preview in plain text"))
    scores: Mapping[str, ItemScore] = field(metadata=about("Scores by judge"))


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedChange:
    """How much an item got better or worse than in the baseline, according to one judge."""

    judge: str
    is_rate: bool = field(
        metadata=about("Whether the values are pass rates over repeats; otherwise mean scores")
    )
    before: float = field(metadata=about("Value in the baseline"))
    after: float
    change: float = field(
        metadata=about(
            "Size of the change, below 0 if the item got worse. For scores, it is in standard "
            "deviations of the baseline, and 0 if the change is smaller than the margin"
        )
    )
    score_before: float | None = field(
        metadata=about("Mean score in the baseline, also if the values are pass rates")
    )
    score_after: float | None
    text: str = field(metadata=about("The change in words, such as pass → fail"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentRow:
    """One item of an experiment, with its runs in the experiment and in the baseline."""

    item: str = field(metadata=about("The item's id"))
    digest: str = field(metadata=about("Digest of the item's content"))
    tags: Mapping[str, Any] = field(metadata=about("Tags of the item"))
    source_run: str = field(metadata=about("Run that the item was made from, or empty"))
    source_session: str = about_field(
        "", "Session of that run, or empty. By default, items of one session are one cluster"
    )
    state: str = field(
        metadata=about(
            "regression, fixed or same; new or changed if the baseline does not have this item; "
            "empty without a baseline"
        )
    )
    is_flaky: bool = field(metadata=about("Whether some repeats pass and others fail"))
    runs: Sequence[ListedItemRun]
    baseline: Sequence[ListedItemRun]
    expected: str = about_field("", "Expected output: a preview in plain text")
    change: str = about_field(
        "", "Judges by which the item got worse or better, such as brief pass → fail"
    )
    changes: Sequence[JudgedChange] = about_field(
        (), "Results of each judge for the item and the baseline; changed ones first"
    )
