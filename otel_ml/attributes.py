"""All attribute and event names of the wire format, shared by the SDK and the collector.

The meaning of a name never changes; a new meaning gets a new name. Importing this module loads
nothing else of the package.
"""

import re
from typing import Final

# instrumentation scope of otel-ml's spans
SCOPE_NAME: Final = "otel_ml"

# on every span of otel-ml, and on its scope and resource
PROJECT: Final = "otel_ml.project"
RECORD: Final = "otel_ml.record"
PROCESS: Final = "otel_ml.process"
SEQ: Final = "otel_ml.seq"

# on a resource: marks imported history, whose spans may be older than 400 days
IMPORT: Final = "otel_ml.import"

# on the span of a run
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
OUTPUTS_CHUNKS: Final = "otel_ml.outputs.chunks"
STREAM_CHUNKS: Final = "otel_ml.stream.chunks"
STREAM_FIRST_CHUNK_MS: Final = "otel_ml.stream.first_chunk_ms"
TAG_PREFIX: Final = "otel_ml.tag."
TAGS: Final = "otel_ml.tags"
SCORE_PREFIX: Final = "otel_ml.score."
PASSED_PREFIX: Final = "otel_ml.passed."
JUDGES: Final = "otel_ml.judges"
JUDGING: Final = "otel_ml.judging"
JUDGING_RUN: Final = "otel_ml.judging.run"
JUDGING_VERSION: Final = "otel_ml.judging.version"
TRACE_KEY: Final = "otel_ml.trace_key"
PARAMS: Final = "otel_ml.params"
CAPTURE: Final = "otel_ml.capture"

# standard attributes of a run
ERROR_TYPE: Final = "error.type"
SESSION_ID: Final = "session.id"
USER_ID: Final = "user.id"
ENVIRONMENT: Final = "deployment.environment.name"
SERVICE_VERSION: Final = "service.version"
TEST_SUITE_NAME: Final = "test.suite.name"
TEST_CASE_NAME: Final = "test.case.name"
TEST_CASE_STATUS: Final = "test.case.result.status"

# standard attributes of a generative call, in their newest spelling
GEN_AI_OPERATION: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER: Final = "gen_ai.provider.name"
GEN_AI_AGENT_NAME: Final = "gen_ai.agent.name"
GEN_AI_TOOL_NAME: Final = "gen_ai.tool.name"
GEN_AI_WORKFLOW_NAME: Final = "gen_ai.workflow.name"
GEN_AI_REQUEST_PREFIX: Final = "gen_ai.request."
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
GEN_AI_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_FIRST_CHUNK_S: Final = "gen_ai.response.time_to_first_chunk"
GEN_AI_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_write.input_tokens"
GEN_AI_REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
GEN_AI_INPUT_MESSAGES: Final = "gen_ai.input.messages"
GEN_AI_OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
GEN_AI_SYSTEM: Final = "gen_ai.system_instructions"
GEN_AI_TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
GEN_AI_TOOL_RESULT: Final = "gen_ai.tool.call.result"

# a log line: a span event
LOG_EVENT: Final = "otel_ml.log"
LOG_SEVERITY: Final = "otel_ml.log.severity"
LOG_MESSAGE: Final = "otel_ml.log.message"

# logged data: a span event
ARTIFACT_EVENT: Final = "otel_ml.artifact"
ARTIFACT_REF: Final = "otel_ml.artifact.ref"
ARTIFACT_TYPE: Final = "otel_ml.artifact.type"
ARTIFACT_BYTES: Final = "otel_ml.artifact.bytes"
ARTIFACT_SHA256: Final = "otel_ml.artifact.sha256"
ARTIFACT_JSON: Final = "otel_ml.artifact.json"
ARTIFACT_BASE64: Final = "otel_ml.artifact.base64"
ARTIFACT_PREVIEW: Final = "otel_ml.artifact.preview"
ARTIFACT_URI: Final = "otel_ml.artifact.uri"

# what a run used or produced: a span event
LINEAGE_EVENT: Final = "otel_ml.lineage"
LINEAGE_ROLE: Final = "otel_ml.lineage.role"
LINEAGE_KIND: Final = "otel_ml.lineage.kind"
LINEAGE_NAME: Final = "otel_ml.lineage.name"
LINEAGE_VERSION: Final = "otel_ml.lineage.version"
LINEAGE_RUN: Final = "otel_ml.lineage.run"

# `update` records about a model version: set or remove an alias
ALIAS: Final = "otel_ml.alias"
ALIAS_REMOVED: Final = "otel_ml.alias.removed"
ALIAS_BY: Final = "otel_ml.alias.by"
ALIAS_SOURCE: Final = "otel_ml.alias.source"

# `update` records: metric points as parallel lists
METRIC_NAMES: Final = "otel_ml.metric.names"
METRIC_VALUES: Final = "otel_ml.metric.values"
METRIC_STEPS: Final = "otel_ml.metric.steps"
METRIC_TIMES: Final = "otel_ml.metric.times"
METRIC_MODES: Final = "otel_ml.metric.modes"
METRIC_SOURCES: Final = "otel_ml.metric.sources"

# On the run of an experiment. EXPERIMENT is its run ID, and is also on every span of a run over an
# item.
EXPERIMENT: Final = "otel_ml.experiment"
EXPERIMENT_NAME: Final = "otel_ml.experiment.name"
EXPERIMENT_DATASET: Final = "otel_ml.experiment.dataset"
EXPERIMENT_DATASET_VERSION: Final = "otel_ml.experiment.dataset.version"
EXPERIMENT_ITEMS: Final = "otel_ml.experiment.items"
EXPERIMENT_REPEATS: Final = "otel_ml.experiment.repeats"
EXPERIMENT_BASELINE: Final = "otel_ml.experiment.baseline"
EXPERIMENT_COMPARISON: Final = "otel_ml.experiment.comparison"
EXPERIMENT_SOURCE: Final = "otel_ml.experiment.source"
# Value of EXPERIMENT_BASELINE if the items were made from recorded runs and these are the baseline.
# The ID of an item is then the ID of its run.
RECORDED: Final = "recorded"

# an item of a data set: on a run over it, and in `item` records
ITEM_ID: Final = "otel_ml.item.id"
ITEM_DIGEST: Final = "otel_ml.item.digest"
ITEM_REPEAT: Final = "otel_ml.item.repeat"
ITEM_EXPECTED: Final = "otel_ml.item.expected"
ITEM_SOURCE_RUN: Final = "otel_ml.item.source_run"
ITEM_SOURCE_SESSION: Final = "otel_ml.item.source_session"
# on a run over an item: the earlier run whose output is reused
REUSED_FROM: Final = "otel_ml.reused_from"
# on a run inside a replayed call: the recorded run whose output replaced the function's call
STUBBED_FROM: Final = "otel_ml.stubbed_from"

# `evaluation` records
JUDGE_NAME: Final = "otel_ml.judge.name"
JUDGE_VERSION: Final = "otel_ml.judge.version"
JUDGE_COST: Final = "otel_ml.judge.cost"
# ID of the other run, for a judge that compares two runs
JUDGE_AGAINST: Final = "otel_ml.judge.against"
SCORE_VALUE: Final = "otel_ml.score.value"
PASSED: Final = "otel_ml.passed"
SCORE_LABEL: Final = "otel_ml.score.label"
EXPLANATION: Final = "otel_ml.explanation"
SOURCE: Final = "otel_ml.source"
ANNOTATOR: Final = "otel_ml.annotator"
# ground truth: a string, number or bool; a list is JSON text in ACTUAL_LIST
ACTUAL: Final = "otel_ml.actual"
ACTUAL_LIST: Final = "otel_ml.actual.list"

# subject of a record, if it is not the parent span
TARGET_RUN: Final = "otel_ml.target.run"
TARGET_TRACE_KEY: Final = "otel_ml.target.trace_key"
TARGET_TAG: Final = "otel_ml.target.tag"
TARGET_SESSION: Final = "otel_ml.target.session"
TARGET_MODEL: Final = "otel_ml.target.model"
TARGET_VERSION: Final = "otel_ml.target.version"
TARGET_KIND: Final = "otel_ml.target.kind"
TARGET_START_NS: Final = "otel_ml.target.start_ns"

# `start` records: the parent of the open run
PARENT_SPAN_ID: Final = "otel_ml.parent_span_id"

# `heartbeat` and `goodbye` records: number of the project's spans that the process has dropped
DROPPED: Final = "otel_ml.dropped"

# allowed values
KINDS: Final = frozenset(
    {"model", "chain", "tool", "retriever", "embedding", "agent", "training", "experiment"},
)
# kind of every call made by a judge, whatever kind its span has; runs cannot be started with it
JUDGE_KIND: Final = "judge"
# GenAI operations, each with the kind of its runs
OPERATIONS: Final = {
    "chat": "model",
    "generate_content": "model",
    "text_completion": "model",
    "embeddings": "embedding",
    "retrieval": "retriever",
    "create_agent": "agent",
    "invoke_agent": "agent",
    "invoke_workflow": "chain",
    "plan": "agent",
    "execute_tool": "tool",
}
OUTCOMES: Final = frozenset({"ok", "error", "cancelled", "abandoned"})
METRIC_MODES_KNOWN: Final = frozenset({"append", "auto", "single", "replace", "restart", "clear"})
# source of metric points: logged by a program, or computed from a table
METRIC_SOURCES_KNOWN: Final = frozenset({"logged", "data"})
SOURCES: Final = frozenset({"judge", "human", "actual", "agent"})
ROLES: Final = frozenset({"used", "produced"})
LINEAGE_KINDS: Final = frozenset({"model", "artifact", "dataset"})
# what a record's version belongs to; default: model
TARGET_KINDS: Final = frozenset({"model", "judge", "dataset", "profile"})
SEVERITIES: Final = ("debug", "info", "warning", "error")

# Start of the name of a profile that a model's drift is measured against. The model's name follows.
REFERENCE_OF: Final = "reference of "

# name with version number, such as qa:v3
NUMBERED: Final = re.compile("(.+):v([1-9][0-9]{0,9})", re.DOTALL)
# run ID: trace ID and span ID
RUN_ID: Final = re.compile("[0-9a-f]{32}-[0-9a-f]{16}")

# request header: project of spans that do not name one
PROJECT_HEADER: Final = "x-otel-ml-project"
# Names the program that sends a request, for the activity of a project.
PROGRAM_HEADER: Final = "x-otel-ml-program"
# response header: the SDK can omit previews, because the collector creates them and does not
# forward spans to other receivers
PREVIEWS_HEADER: Final = "x-otel-ml-previews"
# project of spans for which no project is known
DEFAULT_PROJECT: Final = "default"
