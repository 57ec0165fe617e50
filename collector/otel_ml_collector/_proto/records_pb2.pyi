from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PutRecordsRequest(_message.Message):
    __slots__ = ("runs", "model_versions", "metrics", "tags", "logs", "artifacts", "trace_keys", "open_runs")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    TRACE_KEYS_FIELD_NUMBER: _ClassVar[int]
    OPEN_RUNS_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[Run]
    model_versions: _containers.RepeatedCompositeFieldContainer[ModelVersion]
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    tags: _containers.RepeatedCompositeFieldContainer[LateTag]
    logs: _containers.RepeatedCompositeFieldContainer[LateLog]
    artifacts: _containers.RepeatedCompositeFieldContainer[Artifact]
    trace_keys: _containers.RepeatedCompositeFieldContainer[TraceKey]
    open_runs: _containers.RepeatedCompositeFieldContainer[Run]
    def __init__(self, runs: _Optional[_Iterable[_Union[Run, _Mapping]]] = ..., model_versions: _Optional[_Iterable[_Union[ModelVersion, _Mapping]]] = ..., metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ..., tags: _Optional[_Iterable[_Union[LateTag, _Mapping]]] = ..., logs: _Optional[_Iterable[_Union[LateLog, _Mapping]]] = ..., artifacts: _Optional[_Iterable[_Union[Artifact, _Mapping]]] = ..., trace_keys: _Optional[_Iterable[_Union[TraceKey, _Mapping]]] = ..., open_runs: _Optional[_Iterable[_Union[Run, _Mapping]]] = ...) -> None: ...

class PutRecordsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Run(_message.Message):
    __slots__ = ("project", "trace_id", "span_id", "parent_span_id", "kind", "name", "model", "digest", "structure", "start_ns", "end_ns", "outcome", "error_type", "error_message", "inputs", "outputs", "inputs_preview", "outputs_preview", "tags", "session", "user", "environment", "release", "provider", "provider_model", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost", "params", "logs", "events", "links", "attributes", "resource", "scope", "dialect", "process", "seq", "rank", "span_kind", "response_id", "arrived_ns", "experiment", "dataset", "item", "item_digest", "repeat", "first_token_ms", "stream_chunks", "cache_creation_tokens", "cost_note")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    STRUCTURE_FIELD_NUMBER: _ClassVar[int]
    START_NS_FIELD_NUMBER: _ClassVar[int]
    END_NS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_PREVIEW_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_PREVIEW_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_MODEL_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REASONING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    DIALECT_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    SPAN_KIND_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_ID_FIELD_NUMBER: _ClassVar[int]
    ARRIVED_NS_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    ITEM_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REPEAT_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    STREAM_CHUNKS_FIELD_NUMBER: _ClassVar[int]
    CACHE_CREATION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_NOTE_FIELD_NUMBER: _ClassVar[int]
    project: str
    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    kind: str
    name: str
    model: str
    digest: str
    structure: str
    start_ns: int
    end_ns: int
    outcome: str
    error_type: str
    error_message: str
    inputs: str
    outputs: str
    inputs_preview: str
    outputs_preview: str
    tags: _containers.RepeatedCompositeFieldContainer[Tag]
    session: str
    user: str
    environment: str
    release: str
    provider: str
    provider_model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: float
    params: str
    logs: _containers.RepeatedCompositeFieldContainer[LogLine]
    events: str
    links: str
    attributes: str
    resource: str
    scope: str
    dialect: str
    process: str
    seq: int
    rank: int
    span_kind: str
    response_id: str
    arrived_ns: int
    experiment: str
    dataset: str
    item: str
    item_digest: str
    repeat: int
    first_token_ms: float
    stream_chunks: int
    cache_creation_tokens: int
    cost_note: str
    def __init__(self, project: _Optional[str] = ..., trace_id: _Optional[bytes] = ..., span_id: _Optional[bytes] = ..., parent_span_id: _Optional[bytes] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., model: _Optional[str] = ..., digest: _Optional[str] = ..., structure: _Optional[str] = ..., start_ns: _Optional[int] = ..., end_ns: _Optional[int] = ..., outcome: _Optional[str] = ..., error_type: _Optional[str] = ..., error_message: _Optional[str] = ..., inputs: _Optional[str] = ..., outputs: _Optional[str] = ..., inputs_preview: _Optional[str] = ..., outputs_preview: _Optional[str] = ..., tags: _Optional[_Iterable[_Union[Tag, _Mapping]]] = ..., session: _Optional[str] = ..., user: _Optional[str] = ..., environment: _Optional[str] = ..., release: _Optional[str] = ..., provider: _Optional[str] = ..., provider_model: _Optional[str] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., reasoning_tokens: _Optional[int] = ..., cost: _Optional[float] = ..., params: _Optional[str] = ..., logs: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ..., events: _Optional[str] = ..., links: _Optional[str] = ..., attributes: _Optional[str] = ..., resource: _Optional[str] = ..., scope: _Optional[str] = ..., dialect: _Optional[str] = ..., process: _Optional[str] = ..., seq: _Optional[int] = ..., rank: _Optional[int] = ..., span_kind: _Optional[str] = ..., response_id: _Optional[str] = ..., arrived_ns: _Optional[int] = ..., experiment: _Optional[str] = ..., dataset: _Optional[str] = ..., item: _Optional[str] = ..., item_digest: _Optional[str] = ..., repeat: _Optional[int] = ..., first_token_ms: _Optional[float] = ..., stream_chunks: _Optional[int] = ..., cache_creation_tokens: _Optional[int] = ..., cost_note: _Optional[str] = ...) -> None: ...

class Tag(_message.Message):
    __slots__ = ("name", "string_value", "bool_value", "int_value", "double_value", "type", "group")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    INT_VALUE_FIELD_NUMBER: _ClassVar[int]
    DOUBLE_VALUE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    name: str
    string_value: str
    bool_value: bool
    int_value: int
    double_value: float
    type: str
    group: str
    def __init__(self, name: _Optional[str] = ..., string_value: _Optional[str] = ..., bool_value: bool = ..., int_value: _Optional[int] = ..., double_value: _Optional[float] = ..., type: _Optional[str] = ..., group: _Optional[str] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("time_ns", "severity", "message")
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    time_ns: int
    severity: str
    message: str
    def __init__(self, time_ns: _Optional[int] = ..., severity: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class ModelVersion(_message.Message):
    __slots__ = ("project", "kind", "name", "digest", "structure", "definition", "first_seen_ns", "last_seen_ns", "first_arrived_ns")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    STRUCTURE_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEEN_NS_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_NS_FIELD_NUMBER: _ClassVar[int]
    FIRST_ARRIVED_NS_FIELD_NUMBER: _ClassVar[int]
    project: str
    kind: str
    name: str
    digest: str
    structure: str
    definition: str
    first_seen_ns: int
    last_seen_ns: int
    first_arrived_ns: int
    def __init__(self, project: _Optional[str] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., digest: _Optional[str] = ..., structure: _Optional[str] = ..., definition: _Optional[str] = ..., first_seen_ns: _Optional[int] = ..., last_seen_ns: _Optional[int] = ..., first_arrived_ns: _Optional[int] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("project", "owner", "owner_start_ns", "name", "value", "step", "time_ns", "mode", "source", "passed", "label", "explanation", "error", "judge_version", "record_id", "position", "actual", "annotator", "latency_ms", "cost")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    OWNER_START_NS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    JUDGE_VERSION_FIELD_NUMBER: _ClassVar[int]
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_FIELD_NUMBER: _ClassVar[int]
    ANNOTATOR_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    project: str
    owner: str
    owner_start_ns: int
    name: str
    value: float
    step: int
    time_ns: int
    mode: str
    source: str
    passed: bool
    label: str
    explanation: str
    error: str
    judge_version: str
    record_id: str
    position: int
    actual: str
    annotator: str
    latency_ms: float
    cost: float
    def __init__(self, project: _Optional[str] = ..., owner: _Optional[str] = ..., owner_start_ns: _Optional[int] = ..., name: _Optional[str] = ..., value: _Optional[float] = ..., step: _Optional[int] = ..., time_ns: _Optional[int] = ..., mode: _Optional[str] = ..., source: _Optional[str] = ..., passed: bool = ..., label: _Optional[str] = ..., explanation: _Optional[str] = ..., error: _Optional[str] = ..., judge_version: _Optional[str] = ..., record_id: _Optional[str] = ..., position: _Optional[int] = ..., actual: _Optional[str] = ..., annotator: _Optional[str] = ..., latency_ms: _Optional[float] = ..., cost: _Optional[float] = ...) -> None: ...

class LateTag(_message.Message):
    __slots__ = ("project", "owner", "tag", "time_ns", "record_id")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    project: str
    owner: str
    tag: Tag
    time_ns: int
    record_id: str
    def __init__(self, project: _Optional[str] = ..., owner: _Optional[str] = ..., tag: _Optional[_Union[Tag, _Mapping]] = ..., time_ns: _Optional[int] = ..., record_id: _Optional[str] = ...) -> None: ...

class LateLog(_message.Message):
    __slots__ = ("project", "owner", "line", "record_id", "position", "event", "attributes")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    project: str
    owner: str
    line: LogLine
    record_id: str
    position: int
    event: str
    attributes: str
    def __init__(self, project: _Optional[str] = ..., owner: _Optional[str] = ..., line: _Optional[_Union[LogLine, _Mapping]] = ..., record_id: _Optional[str] = ..., position: _Optional[int] = ..., event: _Optional[str] = ..., attributes: _Optional[str] = ...) -> None: ...

class Artifact(_message.Message):
    __slots__ = ("project", "owner", "ref", "type", "sha256", "size", "json", "preview", "time_ns", "record_id", "position", "rank")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    project: str
    owner: str
    ref: str
    type: str
    sha256: bytes
    size: int
    json: str
    preview: str
    time_ns: int
    record_id: str
    position: int
    rank: int
    def __init__(self, project: _Optional[str] = ..., owner: _Optional[str] = ..., ref: _Optional[str] = ..., type: _Optional[str] = ..., sha256: _Optional[bytes] = ..., size: _Optional[int] = ..., json: _Optional[str] = ..., preview: _Optional[str] = ..., time_ns: _Optional[int] = ..., record_id: _Optional[str] = ..., position: _Optional[int] = ..., rank: _Optional[int] = ...) -> None: ...

class TraceKey(_message.Message):
    __slots__ = ("project", "trace_id", "key")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    project: str
    trace_id: bytes
    key: str
    def __init__(self, project: _Optional[str] = ..., trace_id: _Optional[bytes] = ..., key: _Optional[str] = ...) -> None: ...
