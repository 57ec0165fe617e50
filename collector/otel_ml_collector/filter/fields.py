"""The fields of the filter language.

The description of a field is written here only. Completion shows it, and a test compares it with
``docs/filters.md``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Final

from otel_ml.records import LABELS, describe_field


class Kind(Enum):
    """Kind of a field, which decides what it can be compared with."""

    TEXT = "text"
    NUMBER = "number"
    DURATION = "duration"
    TIME = "time"
    TAG = "tag"
    SCORE = "score"
    PASSED = "passed"
    JUDGE_VERSION = "judge version"
    METRIC = "metric"
    WORD = "annotation"  # ground truth, or a label from a reviewer or an agent: JSON
    PAYLOAD = "payload"  # JSON, which can also be searched as text
    JSON = "json"
    REASON = "reason"  # one text or several, read from the attributes
    DIGEST = "digest"  # of a payload, computed by the query


@dataclass(frozen=True, slots=True)
class FieldName:
    """A field of the filter language, as docs and completion describe it.

    Attributes:
        kind: Decides what the field can be compared with.
        about: Description in a few words, without a capital letter and a full stop.
        key: Example with a key, such as ``tags["client"]``; empty if the field needs no key.
        short: Short name of the field; empty for none.
    """

    kind: Kind
    about: str
    key: str = ""
    short: str = ""


_TEXT: Final = Kind.TEXT
# A filter with this field also finds repeated records of a call.
RECORD_OF: Final = "record_of"
# A filter with one of these fields also finds runs of experiments.
OF_ITEMS: Final = frozenset({"experiment", "item", "item_digest", "repeat", "dataset", "kind"})
_NUMBER: Final = Kind.NUMBER

FIELD_NAMES: Final[Mapping[str, FieldName]] = {
    "model": FieldName(_TEXT, "the model's name"),
    "version": FieldName(_NUMBER, "the version number of the model, or an alias in quotes"),
    "digest": FieldName(_TEXT, "the digest of the model version's definition"),
    "kind": FieldName(
        _TEXT,
        "model, chain, tool, retriever, embedding, agent, training, experiment, judge or span",
    ),
    "name": FieldName(_TEXT, "the name of the span"),
    "finish_reason": FieldName(
        Kind.REASON, "why the model stopped, such as stop, length or tool_calls"
    ),
    "response_id": FieldName(_TEXT, "the response ID from the provider"),
    "outcome": FieldName(_TEXT, "ok, error, cancelled, abandoned, running or crashed"),
    "error_type": FieldName(_TEXT, "the type of the error: its full name or the last part of it"),
    "error_message": FieldName(_TEXT, "the message of the error"),
    "start": FieldName(Kind.TIME, "when the run started"),
    "end": FieldName(Kind.TIME, "when the run ended"),
    "latency": FieldName(Kind.DURATION, "the duration of the run"),
    "latency_ms": FieldName(_NUMBER, "the duration in milliseconds"),
    "input_tokens": FieldName(_NUMBER, "the number of input tokens"),
    "output_tokens": FieldName(_NUMBER, "the number of output tokens"),
    "cached_tokens": FieldName(_NUMBER, "the number of tokens read from a cache", short="cached"),
    "reasoning_tokens": FieldName(_NUMBER, "the number of tokens used for reasoning"),
    "cache_creation_tokens": FieldName(_NUMBER, "the number of tokens written to a cache"),
    "cost": FieldName(_NUMBER, "the cost of the run"),
    "first_token_ms": FieldName(
        _NUMBER, "the time to the first chunk of a streamed answer, in milliseconds"
    ),
    "stream_chunks": FieldName(_NUMBER, "the number of chunks of a streamed answer"),
    "tokens_per_second": FieldName(
        _NUMBER, "output tokens per second, from the first chunk to the end"
    ),
    "tags": FieldName(
        Kind.TAG, "the value of a tag, even if it arrived after the run", key='tags["client"]'
    ),
    "scores": FieldName(
        Kind.SCORE, "the newest score of a judge or reviewer", key='scores["grounded"]'
    ),
    "passed": FieldName(Kind.PASSED, "whether the run passed a judge", key='passed["grounded"]'),
    "failed": FieldName(Kind.PASSED, "whether the judge itself failed", key='failed["grounded"]'),
    "judge_version": FieldName(
        Kind.JUDGE_VERSION,
        "the number or digest of the judge version that gave the newest score",
        key='judge_version["grounded"]',
    ),
    "metrics": FieldName(Kind.METRIC, "the last point of a metric", key='metrics["loss"]'),
    "truth": FieldName(Kind.WORD, "the ground truth", key='truth["churned"]'),
    "label": FieldName(Kind.WORD, "the newest label from a reviewer", key='label["thumbs"]'),
    "agent": FieldName(Kind.WORD, "the newest label from an agent", key='agent["triage"]'),
    "inputs": FieldName(
        Kind.PAYLOAD,
        "the inputs of the run, or a part of them",
        key="inputs.question",
        short="input",
    ),
    "outputs": FieldName(
        Kind.PAYLOAD,
        "the outputs of the run, or a part of them",
        key="outputs.items[0]",
        short="output",
    ),
    "inputs_digest": FieldName(
        Kind.DIGEST, "a digest of the inputs (32 hex digits); equal inputs have equal digests"
    ),
    "params": FieldName(Kind.JSON, "a parameter of the run", key='params["lr"]'),
    "attributes": FieldName(
        Kind.JSON, "a span attribute that has no field of its own", key='attributes["http.route"]'
    ),
    "resource": FieldName(
        Kind.JSON, "a resource attribute of the sender", key='resource["service.name"]'
    ),
    "session": FieldName(_TEXT, "the session of the run or its trace"),
    "user": FieldName(_TEXT, "the user of the run or its trace"),
    **{name: FieldName(_TEXT, describe_field(name)) for name in LABELS},
    "run_id": FieldName(_TEXT, "the run ID: 32 hex digits, a dash and 16 hex digits"),
    "trace_id": FieldName(_TEXT, "the trace ID: 32 hex digits"),
    "parent_run_id": FieldName(
        _TEXT, "the ID of the parent run; empty for a request", short="parent"
    ),
    "trace_key": FieldName(_TEXT, "a trace key that you set; a trace can have several"),
    "record_of": FieldName(
        _TEXT,
        "the ID of the run that counts, if this run is a repeated record of its call; else empty",
    ),
    "experiment": FieldName(_TEXT, "the experiment's run ID, for a run on an item of a data set"),
    "item": FieldName(_TEXT, "the ID of the data set item that the run is for"),
    "item_digest": FieldName(_TEXT, "the digest of that item's content"),
    "repeat": FieldName(_NUMBER, "which repetition of its item the run is, starting at 0"),
    "dataset": FieldName(_TEXT, "the data set of an experiment and its runs"),
    "span_kind": FieldName(_TEXT, "internal, server, client, producer, consumer or empty"),
    "dialect": FieldName(_TEXT, "the attribute conventions that the span follows"),
}
FIELDS: Final = tuple(FIELD_NAMES)
SHORT: Final[Mapping[str, str]] = {
    field.short: name for name, field in FIELD_NAMES.items() if field.short
}
# The source of the feedback that each field contains.
SOURCES: Final[Mapping[str, str]] = {"truth": "actual", "label": "human", "agent": "agent"}
# Names of other tools and of the API, for suggestions in error messages.
_ALIKE: Final[Mapping[str, str]] = {
    "duration": "latency",
    "status": "outcome",
    "tag": "tags",
    "score": "scores",
    "error": "error_type",
    "start_time": "start",
    "start_ns": "start",
    "end_time": "end",
    "time": "start",
    "id": "run_id",
    "service": 'resource["service.name"]',
    "tokens": "input_tokens",
    "chunks": "stream_chunks",
    "ttft": "first_token_ms",
    "first_token": "first_token_ms",
    "actual": "truth",
    "actuals": "truth",
    "labels": "label",
}


def is_field(name: str) -> bool:
    """Return whether this is the name or short name of a field."""
    return name in FIELD_NAMES or name in SHORT


def nearest(name: str) -> str | None:
    """Return the field that was probably meant, or None."""
    if name in _ALIKE:
        return _ALIKE[name]
    close_matches = get_close_matches(name[:40], [*FIELDS, *SHORT], n=1, cutoff=0.7)
    return close_matches[0] if close_matches else None
