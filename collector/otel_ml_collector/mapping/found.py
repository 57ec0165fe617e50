"""What the dialects found on one span, field by field; the first one to name a field wins."""

from collections.abc import Mapping
from typing import TypedDict

from otel_ml_collector.records import LogLine, Tag
from otel_ml_collector.span import Value


class Found(TypedDict, total=False):
    """The fields of a run that a dialect may fill; an absent key is a field that nobody named.

    Payloads (inputs, outputs, params) are values, not text; `logs` and `tags` hold everything
    found, not the first. `own` are our own attributes, `used` the names that a field holds.
    """

    project: str
    kind: str
    model: str
    digest: str
    structure: str
    definition: str
    inputs: object
    outputs: object
    params: object
    outcome: str
    error_type: str
    error_message: str
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
    trace_keys: list[str]
    process: str
    seq: int
    dialect: str
    tags: dict[str, Tag]
    logs: list[LogLine]
    own: Mapping[str, Value]
    used: set[str]
