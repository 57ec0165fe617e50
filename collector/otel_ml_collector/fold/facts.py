"""The facts that one call of `fold` reads: everything that was recorded about some traces.

A fact is a record as it arrived: a delivery of a span, a late tag, a score, a label, a trace key, a
log record. A fact names its subject by the ID of a run, by a trace key or by a tag. Facts have no
order: `fold` gives the same rows for any order, split and repetition.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from otel_ml_collector.records import LateLog, LateTag, Metric, Run


@dataclass(slots=True)
class SpanFact:
    """A span as it arrived in one request. The same span can arrive several times.

    Attributes:
        run: The run that was made from the attributes of the span. Its inputs and outputs may be
            missing here.
        scope: Name of the instrumentation that recorded the span.
        has_inputs, has_outputs: Whether the span was sent with inputs and outputs.
        is_open: Whether this is a start record: the span has begun, and its end is unknown.
    """

    run: Run
    scope: str = ""
    has_inputs: bool = False
    has_outputs: bool = False
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class LastPoint:
    """One value that was logged for a metric, such as a loss.

    Several values of a metric can be logged for a run, but lists and filters use only one of them.

    Attributes:
        owner: The run ID, trace key or tag for which the value was logged.
        is_series: Whether the metric was logged step by step. If so, lists and filters use the last
            value. Otherwise they use the first value, so that sending it again changes nothing.
        value: The value; NaN if the metric was cleared.
    """

    owner: str
    name: str
    is_series: bool
    time_ns: int
    record_id: str
    position: int
    value: float


@dataclass(slots=True)
class Facts:
    """All records about some traces of a project: spans, tags, scores and so on, as they arrived.

    Traces whose spans have a response ID of an LLM in common must be passed together.

    Attributes:
        project: The project of the traces.
        spans: Spans and start records, including repeated ones.
        keys: The user's own keys of each trace, by trace ID.
        tags: Tags that were sent separately from their run.
        metrics: Scores, labels and ground truth. Logged metrics, such as a loss, are in `points`.
        logs: Log records that contain inputs or outputs of calls (`gen_ai.*` events).
        points: Values of metrics that a program logged, or that were computed from a table.
        owners: All trace keys and tags for which some record was sent separately from its run, such
            as a score or an artifact. All other trace keys and tags of a run can be ignored.
        experiments: The run ID of the experiment to which a trace belongs, by trace ID. It is
            known even if the run that named the experiment was deleted.
    """

    project: str
    spans: Sequence[SpanFact] = ()
    keys: Mapping[bytes, Sequence[str]] = field(default_factory=dict)
    tags: Sequence[LateTag] = ()
    metrics: Sequence[Metric] = ()
    logs: Sequence[LateLog] = ()
    points: Sequence[LastPoint] = ()
    owners: frozenset[str] = frozenset()
    experiments: Mapping[bytes, str] = field(default_factory=dict)
