"""Sorts records into the facts that `fold` reads, as a collector reads them from its store."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from otel_ml.attributes import METRIC_SOURCES_KNOWN
from otel_ml_collector.fold.facts import Facts, LastPoint, SpanFact
from otel_ml_collector.owners import KEY, TAG
from otel_ml_collector.records import ArtifactRecord, LateLog, LateTag, Metric, Records, Run
from otel_ml_collector.same_calls import name_scope

# Events of OpenTelemetry's conventions for generative AI.
_CONTENT: Final = "gen_ai."


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
        if log.event.startswith(_CONTENT):
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
