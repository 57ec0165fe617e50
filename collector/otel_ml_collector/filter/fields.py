"""The fields of the language: their names, their kinds, and their meanings."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Final

from otel_ml.records import LABELS, describe_field


class Kind(Enum):
    """The kinds of fields, by the values they are compared with."""

    TEXT = "text"
    NUMBER = "number"
    DURATION = "duration"
    TIME = "time"
    TAG = "tag"
    SCORE = "score"
    PASSED = "passed"
    JUDGE_VERSION = "judge version"
    METRIC = "metric"
    WORD = "word"  # what a truth, a person or an agent said: JSON
    PAYLOAD = "payload"  # JSON that is searched as a text, too
    JSON = "json"
    REASON = "reason"  # a text, or one of several, among the attributes
    DIGEST = "digest"  # of a payload, computed when it is asked for


@dataclass(frozen=True, slots=True)
class FieldName:
    """A field as the docs and the completion tell of it.

    Attributes:
        key: How it is written, when it needs a key.
        short: Another name for it.
    """

    kind: Kind
    about: str
    key: str = ""
    short: str = ""


_TEXT: Final = Kind.TEXT
# What lifts the hiding of other records of a call.
RECORD_OF: Final = "record_of"
# What lifts the hiding of runs over items of data sets.
OF_ITEMS: Final = frozenset({"experiment", "item", "item_digest", "repeat", "dataset", "kind"})
_NUMBER: Final = Kind.NUMBER

FIELD_NAMES: Final[Mapping[str, FieldName]] = {
    "model": FieldName(_TEXT, "the name under which versions gather"),
    "version": FieldName(_NUMBER, "the small number of the model's version, or an alias in quotes"),
    "digest": FieldName(_TEXT, "the digest of the version's definition"),
    "kind": FieldName(
        _TEXT,
        "model, chain, tool, retriever, embedding, agent, training, experiment, judge or span",
    ),
    "name": FieldName(_TEXT, "the name of the span"),
    "finish_reason": FieldName(
        Kind.REASON, "why the model stopped, such as stop, length or tool_calls"
    ),
    "response_id": FieldName(_TEXT, "the provider's id of its answer"),
    "outcome": FieldName(_TEXT, "ok, error, cancelled, abandoned, running or crashed"),
    "error_type": FieldName(_TEXT, "what was raised: its whole name, or the last part of it"),
    "error_message": FieldName(_TEXT, "its message"),
    "start": FieldName(Kind.TIME, "when the run began"),
    "end": FieldName(Kind.TIME, "when it ended"),
    "latency": FieldName(Kind.DURATION, "how long it took"),
    "latency_ms": FieldName(_NUMBER, "the same in milliseconds"),
    "input_tokens": FieldName(_NUMBER, "tokens that went in"),
    "output_tokens": FieldName(_NUMBER, "tokens that came out"),
    "cached_tokens": FieldName(_NUMBER, "tokens that were read from a cache", short="cached"),
    "reasoning_tokens": FieldName(_NUMBER, "tokens that were spent on reasoning"),
    "cache_creation_tokens": FieldName(_NUMBER, "tokens that were written to a cache"),
    "cost": FieldName(_NUMBER, "what it cost"),
    "first_token_ms": FieldName(_NUMBER, "milliseconds from a call to its first piece"),
    "stream_chunks": FieldName(_NUMBER, "how many pieces an answer came in"),
    "tokens_per_second": FieldName(
        _NUMBER, "tokens that came out, by the time from the first piece of them to the end"
    ),
    "tags": FieldName(Kind.TAG, "a tag, also one that came later", key='tags["client"]'),
    "scores": FieldName(Kind.SCORE, "what a judge or a person said last", key='scores["grounded"]'),
    "passed": FieldName(Kind.PASSED, "whether the run passed", key='passed["grounded"]'),
    "failed": FieldName(Kind.PASSED, "whether the judge itself failed", key='failed["grounded"]'),
    "judge_version": FieldName(
        Kind.JUDGE_VERSION,
        "the version of the judge that spoke last: its number, or its digest",
        key='judge_version["grounded"]',
    ),
    "metrics": FieldName(Kind.METRIC, "the last point of a metric", key='metrics["loss"]'),
    "truth": FieldName(Kind.WORD, "what turned out to be true", key='truth["churned"]'),
    "label": FieldName(Kind.WORD, "what a person said last", key='label["thumbs"]'),
    "agent": FieldName(Kind.WORD, "what an agent said last", key='agent["triage"]'),
    "inputs": FieldName(
        Kind.PAYLOAD, "what went in, or a part of it", key="inputs.question", short="input"
    ),
    "outputs": FieldName(
        Kind.PAYLOAD, "what came out, or a part of it", key="outputs.items[0]", short="output"
    ),
    "inputs_digest": FieldName(
        Kind.DIGEST, "what runs with equal inputs have in common: 32 hex digits"
    ),
    "params": FieldName(Kind.JSON, "a parameter of the run", key='params["lr"]'),
    "attributes": FieldName(
        Kind.JSON, "an attribute that has no field", key='attributes["http.route"]'
    ),
    "resource": FieldName(Kind.JSON, "an attribute of the sender", key='resource["service.name"]'),
    "session": FieldName(_TEXT, "the session that the run names, or else its trace"),
    "user": FieldName(_TEXT, "the user that the run names, or else its trace"),
    **{name: FieldName(_TEXT, describe_field(name)) for name in LABELS},
    "run_id": FieldName(_TEXT, "32 hex digits, a dash and 16"),
    "trace_id": FieldName(_TEXT, "32 hex digits"),
    "parent_run_id": FieldName(_TEXT, "the run above; empty for a root", short="parent"),
    "trace_key": FieldName(_TEXT, "any of the user's own keys of the trace"),
    "record_of": FieldName(
        _TEXT, "of another record of a call the run that counts for it; empty for a run that counts"
    ),
    "experiment": FieldName(_TEXT, "of a run over an item of a data set the experiment's run id"),
    "item": FieldName(_TEXT, "the id of the item that a run is over"),
    "item_digest": FieldName(_TEXT, "the digest of the content of that item"),
    "repeat": FieldName(_NUMBER, "which repeat of its item a run is, from 0"),
    "dataset": FieldName(_TEXT, "the data set of an experiment and of its runs"),
    "span_kind": FieldName(_TEXT, "internal, server, client, producer, consumer or empty"),
    "dialect": FieldName(_TEXT, "by which conventions the span was read"),
}
FIELDS: Final = tuple(FIELD_NAMES)
SHORT: Final[Mapping[str, str]] = {
    field.short: name for name, field in FIELD_NAMES.items() if field.short
}
# Whose words a field is made of.
SOURCES: Final[Mapping[str, str]] = {"truth": "actual", "label": "human", "agent": "agent"}
# What other languages and the answers of the API call them.
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
    """Tell whether a field has a name, or a short name."""
    return name in FIELD_NAMES or name in SHORT


def nearest(name: str) -> str | None:
    """Name the field that was probably meant."""
    if name in _ALIKE:
        return _ALIKE[name]
    close_matches = get_close_matches(name[:40], [*FIELDS, *SHORT], n=1, cutoff=0.7)
    return close_matches[0] if close_matches else None
