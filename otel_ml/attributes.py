"""Every attribute and event name of the wire contract, held once for the SDK and the collector.

A name never changes its meaning; a new meaning gets a new name. Importing this module loads
nothing else of the package.
"""

from typing import Final

# The instrumentation scope of our spans.
SCOPE_NAME: Final = "otel_ml"

# Every span of ours, and the scope and resource that carry them.
PROJECT: Final = "otel_ml.project"
RECORD: Final = "otel_ml.record"
PROCESS: Final = "otel_ml.process"
SEQ: Final = "otel_ml.seq"

# A run: one span.
KIND: Final = "otel_ml.kind"
MODEL_NAME: Final = "otel_ml.model.name"
MODEL_VERSION: Final = "otel_ml.model.version"
MODEL_OUTPUT_SCHEMA: Final = "otel_ml.model.output_schema"
MODEL_DEFINITION: Final = "otel_ml.model.definition"
INPUTS: Final = "otel_ml.inputs"
OUTPUTS: Final = "otel_ml.outputs"
INPUTS_PREVIEW: Final = "otel_ml.inputs.preview"
OUTPUTS_PREVIEW: Final = "otel_ml.outputs.preview"
LATENCY_MS: Final = "otel_ml.latency_ms"
OUTCOME: Final = "otel_ml.outcome"
STREAM_CHUNKS: Final = "otel_ml.stream.chunks"
STREAM_FIRST_CHUNK_MS: Final = "otel_ml.stream.first_chunk_ms"
TAG_PREFIX: Final = "otel_ml.tag."
TAGS: Final = "otel_ml.tags"
SCORE_PREFIX: Final = "otel_ml.score."
PASSED_PREFIX: Final = "otel_ml.passed."
JUDGES: Final = "otel_ml.judges"
TRACE_KEY: Final = "otel_ml.trace_key"
PARAMS: Final = "otel_ml.params"
CAPTURE: Final = "otel_ml.capture"

# Standard names that a run carries as they are.
ERROR_TYPE: Final = "error.type"
SESSION_ID: Final = "session.id"
USER_ID: Final = "user.id"
ENVIRONMENT: Final = "deployment.environment.name"
SERVICE_VERSION: Final = "service.version"

# A text line: a span event.
LOG_EVENT: Final = "otel_ml.log"
LOG_SEVERITY: Final = "otel_ml.log.severity"
LOG_MESSAGE: Final = "otel_ml.log.message"

# `update` records: metric points as parallel lists.
METRIC_NAMES: Final = "otel_ml.metric.names"
METRIC_VALUES: Final = "otel_ml.metric.values"
METRIC_STEPS: Final = "otel_ml.metric.steps"
METRIC_TIMES: Final = "otel_ml.metric.times"
METRIC_MODES: Final = "otel_ml.metric.modes"

# `evaluation` records.
JUDGE_NAME: Final = "otel_ml.judge.name"
JUDGE_VERSION: Final = "otel_ml.judge.version"
SCORE_VALUE: Final = "otel_ml.score.value"
PASSED: Final = "otel_ml.passed"
SCORE_LABEL: Final = "otel_ml.score.label"
EXPLANATION: Final = "otel_ml.explanation"
SOURCE: Final = "otel_ml.source"

# What a record is about, when it is not its parent span.
TARGET_RUN: Final = "otel_ml.target.run"
TARGET_START_NS: Final = "otel_ml.target.start_ns"

# `start` records: the parent of the run that is open.
PARENT_SPAN_ID: Final = "otel_ml.parent_span_id"

# `heartbeat` and `goodbye` records: how many spans of the project the process has dropped.
DROPPED: Final = "otel_ml.dropped"

# Closed sets.
KINDS: Final = frozenset(
    {"model", "chain", "tool", "retriever", "embedding", "agent", "training"},
)
OUTCOMES: Final = frozenset({"ok", "error", "cancelled", "abandoned"})
METRIC_MODES_KNOWN: Final = frozenset({"append", "auto", "single", "replace"})
SOURCES: Final = frozenset({"judge", "human", "actual"})
SEVERITIES: Final = ("debug", "info", "warning", "error")

# The header that names a project for spans that carry none.
PROJECT_HEADER: Final = "x-otel-ml-project"
# The project of spans that name none anywhere.
DEFAULT_PROJECT: Final = "default"
