"""What the dialects found on one span, field by field; the first one to name a field wins."""

from collections.abc import Mapping
from typing import TypedDict, cast

from otel_ml.records import TOKENS, Tokens
from otel_ml_collector.records import LogLine, Tag


def tokens_found(found: "Found") -> Tokens:
    """Return the token counts among what was found."""
    told = cast("Mapping[str, int]", found)
    return Tokens(*[told.get(name) for name in TOKENS])


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
