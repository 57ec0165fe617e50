"""Spans of projects without runs: who sent them, and which signs of a call they lack."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fastapi import APIRouter, Request
from pydantic import Field

from otel_ml.counts import write_count
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.mapping.dialects.shape import describe
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.same_calls import name_scope
from otel_ml_collector.services import find_service
from otel_ml_collector.span import SPAN_KINDS, STATUS_ERROR, Event, Scope, Span
from otel_ml_collector.store.counted import DELIVERIES, OF_PROJECT
from otel_ml_collector.store.reader import READABLE, Reader, Row, load_json
from otel_ml_collector.store.sql import Sql

# Number of newest spans whose instrumentations are listed.
_NEWEST_SPANS: Final = 1_000
_SHOWN_SCOPES: Final = 3
_DESCRIBED_SCOPES: Final = 10
# Number of newest spans per instrumentation that are checked for signs of a call.
_READ_OF_SCOPE: Final = 20
_ANY_RUN: Final = Sql("""
    (SELECT kind FROM {spans} WHERE {ours} AND kind != 'span' LIMIT 1)
    UNION ALL (SELECT kind FROM open_runs WHERE {ours} LIMIT 1)""").fill(
    spans=DELIVERIES, ours=OF_PROJECT
)
_ASKED: Final = Sql("{readable} AND project IN {projects:Array(String)}").fill(readable=READABLE)
_WITHOUT_RUN: Final = Sql("""{asked} AND project NOT IN (
  SELECT project FROM {spans} WHERE {asked} AND kind != 'span'
  UNION ALL SELECT project FROM open_runs WHERE {asked})""").fill(asked=_ASKED, spans=DELIVERIES)
# All spans of a project, and the newest ones by instrumentation.
_COUNT_SPANS: Final = Sql("""
    SELECT project, true AS is_whole, '' AS scope, uniqExact(trace_id, span_id) AS spans
    FROM {spans} WHERE {without_run} GROUP BY project
    UNION ALL
    SELECT project, false AS is_whole, scope, uniqExact(trace_id, span_id) AS spans
    FROM payloads
    WHERE {asked} AND (project, start_ns, trace_id, span_id) IN (
      SELECT project, start_ns, trace_id, span_id FROM {spans}
      WHERE {without_run} ORDER BY start_ns DESC LIMIT {newest} BY project)
    GROUP BY project, scope""").fill(
    spans=DELIVERIES, asked=_ASKED, without_run=_WITHOUT_RUN, newest=_NEWEST_SPANS
)

# A few of the newest spans of each instrumentation, with all fields that can show a call.
_READ_SPANS: Final = Sql("""
    SELECT scope, name, span_kind, outcome, attributes, events
    FROM (
      SELECT scope, trace_id, span_id, attributes, events FROM payloads
      WHERE {ours} AND (start_ns, trace_id, span_id) IN ({newest_spans})
      ORDER BY start_ns DESC LIMIT {most} BY scope
    ) AS payload
    INNER JOIN (
      SELECT DISTINCT trace_id, span_id, name, span_kind, outcome FROM {spans}
      WHERE {ours} AND (start_ns, trace_id, span_id) IN ({newest_spans})
    ) AS span USING (trace_id, span_id)
    ORDER BY name""").fill(
    spans=DELIVERIES,
    ours=OF_PROJECT,
    most=_READ_OF_SCOPE,
    newest_spans=Sql("""SELECT start_ns, trace_id, span_id FROM {spans} WHERE {ours}
      ORDER BY start_ns DESC LIMIT {newest}""").fill(
        spans=DELIVERIES, ours=OF_PROJECT, newest=_NEWEST_SPANS
    ),
)

api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)


class ScopeSigns(AnswerBody):
    """Why spans of an unknown instrumentation were not read as model calls.

    A span is read as a model call if it has everything that a call needs, such as a known model;
    see "Read by shape" in docs/dialects.md.
    """

    scope: str = Field(description="The name of the instrumentation; may be empty")
    span: str = Field(description="Name of the span that has the most signs of a model call")
    found: list[str] = Field(
        description="Signs of a model call that the span has, with their attributes"
    )
    missing: list[str] = Field(description="Signs of a model call that are missing from the span")


class Unread(AnswerBody):
    """The spans of a project, none of which was read as a run."""

    spans: int = Field(
        description="Number of spans that were not read as model calls; 0 if the project has a "
        "run or no spans"
    )
    scopes: list[str] = Field(
        description="Names of the instrumentations of the newest spans that were not read as "
        "model calls; those with the most spans first"
    )
    sentence: str = Field(
        description="Sentence about the spans that were not read as model calls; empty if there"
        " are none"
    )
    signs: list[ScopeSigns] = Field(
        description="Signs of a model call by instrumentation; the instrumentation with most "
        "signs first"
    )


@dataclass(frozen=True, slots=True)
class UnreadSpans:
    """The spans of a project in which no span was recognized as a model call.

    Attributes:
        spans: Number of all spans.
        scopes: Names of the instrumentations that sent the newest spans, most frequent first.
        signs: One entry for each instrumentation. It takes the span that is most like a model call
            and lists what this span has, such as token counts, and what it lacks. Empty if not
            requested.
    """

    spans: int
    scopes: tuple[str, ...]
    signs: tuple[ScopeSigns, ...] = ()

    def __str__(self) -> str:
        """Write ``10 spans by genkit-tracer, none recognized as a model call``."""
        number = write_count(self.spans, "span")
        names = ", ".join(self.scopes[:_SHOWN_SCOPES])
        more = len(self.scopes) - _SHOWN_SCOPES
        by = f" by {names}{f' and {more} more' if more > 0 else ''}" if names else ""
        return f"{number}{by}, none recognized as a model call"


def find_unread(
    reader: Reader, project: str, own_models: Collection[str] = ()
) -> UnreadSpans | None:
    """Describe the spans of a project that has no runs, and why none of them became a run.

    A span becomes a run if it is recognized as a model call. For each instrumentation, the result
    describes the span that is most like a model call: what it has, such as token counts, and
    what it lacks, such as a known model.

    Args:
        reader: Reads the store.
        project: The project.
        own_models: Names of models for which the user has set a price.

    Returns:
        The description; None if the project has runs, or no spans.
    """
    if reader.rows(_ANY_RUN, {"project": project}):
        return None
    unread = find_all_unread(reader, [project]).get(project)
    return unread and replace(unread, signs=_find_signs(reader, project, own_models))


def _find_signs(
    reader: Reader, project: str, own_models: Collection[str]
) -> tuple[ScopeSigns, ...]:
    """Describe, for each instrumentation, the span that is nearest to a call."""
    nearest: dict[str, ScopeSigns] = {}
    for row in reader.rows(_READ_SPANS, {"project": project}):
        scope = name_scope(row["scope"])
        found, missing = describe(_make_span(row, scope), own_models)
        known = nearest.get(scope)
        if known is None or len(missing) < len(known.missing):
            nearest[scope] = ScopeSigns(
                scope=scope, span=row["name"], found=[*found], missing=[*missing]
            )
    ordered = sorted(nearest.values(), key=lambda signs: (len(signs.missing), signs.scope))
    return tuple(ordered[:_DESCRIBED_SCOPES])


def _make_span(row: Row, scope: str) -> Span:
    """Rebuild a span from its stored row, as far as the signs of a call need it."""
    events = [
        Event(event["name"], event["time_ns"], event["attributes"])
        for event in load_json(row["events"], [])
    ]
    return Span(
        trace_id=b"",
        span_id=b"",
        parent_span_id=b"",
        name=row["name"],
        kind=SPAN_KINDS.index(row["span_kind"]),
        start_ns=0,
        end_ns=0,
        status_code=STATUS_ERROR if row["outcome"] == "error" else 0,
        status_message="",
        attributes=load_json(row["attributes"], {}),
        events=events,
        links=[],
        scope=Scope({}, scope, "", {}),
    )


def find_all_unread(reader: Reader, projects: Sequence[str]) -> dict[str, UnreadSpans]:
    """Describe the spans of several projects, by name, with one query."""
    if not projects:
        return {}
    totals: dict[str, int] = {}
    counts: dict[str, Counter[str]] = {project: Counter() for project in projects}
    for row in reader.rows(_COUNT_SPANS, {"projects": [*projects]}):
        if row["is_whole"]:
            totals[row["project"]] = row["spans"]
        else:
            counts[row["project"]][name_scope(row["scope"])] += row["spans"]
    return {
        project: UnreadSpans(spans, _order(counts[project])) for project, spans in totals.items()
    }


def _order(counts: Counter[str]) -> tuple[str, ...]:
    """Sort the names of instrumentations, most frequent first."""
    return tuple(sorted(filter(None, counts), key=lambda name: (-counts[name], name)))


@api.get("/projects/{project:path}/unread")
def get_unread(request: Request, project: str, reader: FromReader) -> Unread:
    """Read who sent the spans of a project without runs, and why these are not runs."""
    answer = find_unread(reader, project, find_service(request, Prices).own_models)
    if answer is None:
        return Unread(spans=0, scopes=[], sentence="", signs=[])
    return Unread(
        spans=answer.spans,
        scopes=list(answer.scopes),
        sentence=str(answer),
        signs=list(answer.signs),
    )
