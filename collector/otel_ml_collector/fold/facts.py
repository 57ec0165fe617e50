"""The facts that one call of `fold` reads: everything that was recorded about some traces.

A fact is a record as it arrived: a delivery of a span, a late tag, a score, a label, a trace key, a
log record. A fact names its subject by the ID of a run, by a trace key or by a tag. Facts have no
order: `fold` gives the same rows for any order, split and repetition.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from otel_ml.attributes import METRIC_SOURCES_KNOWN
from otel_ml_collector.owners import KEY, TAG
from otel_ml_collector.records import ArtifactRecord, LateLog, LateTag, Metric, Records, Run
from otel_ml_collector.same_calls import name_scope

# Events of OpenTelemetry's conventions for generative AI.
CONTENT: Final = "gen_ai."


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


def facts_of(records: Records) -> dict[str, Facts]:
    """Sort newly received records into facts, by project."""
    facts: defaultdict[str, _Gathered] = defaultdict(_Gathered)
    for is_open, runs in ((False, records.runs), (True, records.open_runs)):
        for run in runs:
            facts[run.project].spans.append(_span_fact(run, is_open=is_open))
    for key in records.trace_keys:
        if key.is_own and any(key.trace_id):
            facts[key.project].keys[key.trace_id].append(key.key)
    for tag in records.tags:
        facts[tag.project].tags.append(tag)
    for metric in records.metrics:
        if metric.source in METRIC_SOURCES_KNOWN:
            facts[metric.project].points.append(_last_point(metric))
        else:
            facts[metric.project].metrics.append(metric)
    for log in records.logs:
        if log.event.startswith(CONTENT):
            facts[log.project].logs.append(log)
    late: Iterable[LateTag | Metric | LateLog | ArtifactRecord] = chain(
        records.tags, records.metrics, records.logs, records.artifacts
    )
    for record in late:
        if record.owner.startswith((KEY, TAG)):
            facts[record.project].owners.add(record.owner)
    return {project: gathered.close(project) for project, gathered in facts.items()}


@dataclass(slots=True)
class _Gathered:
    spans: list[SpanFact] = field(default_factory=list)
    keys: defaultdict[bytes, list[str]] = field(default_factory=lambda: defaultdict(list))
    tags: list[LateTag] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    logs: list[LateLog] = field(default_factory=list)
    points: list[LastPoint] = field(default_factory=list)
    owners: set[str] = field(default_factory=set)

    def close(self, project: str) -> Facts:
        return Facts(
            project,
            self.spans,
            self.keys,
            self.tags,
            self.metrics,
            self.logs,
            self.points,
            frozenset(self.owners),
        )


def _span_fact(run: Run, *, is_open: bool) -> SpanFact:
    return SpanFact(run, name_scope(run.scope), run.inputs != "", run.outputs != "", is_open)


def _last_point(metric: Metric) -> LastPoint:
    is_cleared = metric.mode == "clear" or metric.value is None
    return LastPoint(
        metric.owner,
        metric.name,
        metric.mode != "single",
        metric.time_ns,
        metric.record_id,
        metric.position,
        math.nan if is_cleared or metric.value is None else metric.value,
    )
