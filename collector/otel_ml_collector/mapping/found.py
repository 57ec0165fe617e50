"""What the dialects found on one span, field by field; the first one to name a field wins."""

from typing import TypedDict

from otel_ml_collector.records import LogLine, Tag


class Found(TypedDict, total=False):
    """The fields of a run that a dialect may fill; an absent key is a field that nobody named.

    Any field of `Run` may be here. Listed are those that code names; the others, such as counts of
    tokens, are filled by tables and go to the run as they are.

    Inputs and outputs are a value and its JSON text, params are JSON text; `logs` and `tags` hold
    everything found, not the first. `used` are names that fill a field with the values they have.
    """

    kind: str
    model: str
    digest: str
    structure: str
    definition: str
    inputs: tuple[object, str]
    outputs: tuple[object, str]
    params: str
    outcome: str
    error_type: str
    error_message: str
    session: str
    user: str
    environment: str
    release: str
    provider: str
    provider_model: str
    response_id: str
    cost: float
    trace_keys: list[str]
    process: str
    seq: int
    dialect: str
    tags: dict[str, Tag]
    logs: list[LogLine]
    used: set[str]
