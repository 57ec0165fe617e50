"""The row of a run: everything that queries about runs need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from otel_ml.records import Tokens
from otel_ml_collector.records import Run, TagValue
from otel_ml_collector.resolution import NO_LATE_VALUES, LateValues
from otel_ml_collector.same_calls import NO_USAGE


@dataclass(frozen=True, slots=True)
class Amounts:
    """Tokens and cost; None for values that nobody reported."""

    tokens: Tokens = NO_USAGE
    cost: float | None = None


NO_AMOUNTS: Final = Amounts()


@dataclass(frozen=True, slots=True)
class RunRef:
    """The identity of a run within its project: trace ID, span ID and start time.

    The start time is needed because two spans of a trace can have the same ID.

    Attributes:
        scope: Name of the instrumentation that recorded the run, such as that of a framework. It is
            set only in the list of the other runs that record the same call. Otherwise empty.
    """

    trace_id: bytes
    span_id: bytes
    start_ns: int
    scope: str = ""

    @property
    def run_id(self) -> str:
        """``<32 hex>-<16 hex>``."""
        return f"{self.trace_id.hex()}-{self.span_id.hex()}"


@dataclass(slots=True, kw_only=True)
class FoldedRun:
    """A run, completed by the other facts of its trace.

    Attributes:
        run: The delivery that counts, or the start record of an open run. Fields that are not
            repeated here, such as the latency, are read from it.
        is_open: Whether no end was recorded. Whether it has crashed depends on the time of the
            query and on `last_heard_ns`.
        session, user: Those of the run, else those of its trace.
        trace_experiment: The experiment that any run of its trace belongs to, as a run ID. Such a
            run never counts as production.
        inputs_preview, outputs_preview, provider, provider_model, response_id, first_token_ms,
            stream_chunks, error_type, error_message: Those of the run, else from another record of
            the same call or from log records.
        own: The amounts that the run and the other records of the same call report.
        counted: The amounts that totals add up: nothing for a repeated record, and nothing for an
            agent or chain that repeats the sum of the runs below it.
        inside: The sum of `counted` of all runs below it. Calls of judges are left out.
        record_of: If several instrumentations recorded this call: the run that counts instead of
            this one. None for most runs.
        others: The other records of the call, if this run is the one that counts.
        content_of: The runs that have the inputs or outputs that this run lacks: other records of
            the same call, or the step around it.
        is_request: Whether it is listed as a request: no recorded span is around it, and its trace
            has a call; or it is the outermost call of a trace whose first span is missing.
        is_top: Whether no recorded call is around it.
        trace_keys: The user's own keys of its trace, sorted.
        owners: The keys, tags and other records by which late facts may refer to it, sorted. Its
            own ID is not included.
        late: The newest scores, labels, ground truth and tags that arrived later.
        metrics: The value of each metric that lists show.
    """

    run: Run
    is_open: bool = False
    session: str = ""
    user: str = ""
    trace_experiment: str = ""
    inputs_preview: str = ""
    outputs_preview: str = ""
    provider: str = ""
    provider_model: str = ""
    response_id: str = ""
    first_token_ms: float | None = None
    stream_chunks: int | None = None
    error_type: str = ""
    error_message: str = ""
    own: Amounts = NO_AMOUNTS
    counted: Amounts = NO_AMOUNTS
    inside: Amounts = NO_AMOUNTS
    record_of: RunRef | None = None
    others: Sequence[RunRef] = ()
    content_of: Sequence[RunRef] = ()
    is_request: bool = False
    is_top: bool = False
    trace_keys: Sequence[str] = ()
    owners: Sequence[str] = ()
    late: LateValues = NO_LATE_VALUES
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def tags(self) -> dict[str, TagValue]:
        """Tags that were sent with the run or later; the newest of each name."""
        late = {name: orjson.loads(value) for name, (value, _) in self.late.tags.items()}
        return {tag.name: tag.value for tag in self.run.tags} | late

    @property
    def last_heard_ns(self) -> int:
        """When its start record arrived, in nanoseconds since the epoch; 0 if it ended."""
        return self.run.arrived_ns if self.is_open else 0
