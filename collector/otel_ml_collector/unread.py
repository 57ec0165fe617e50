"""Spans of projects without runs: their instrumentations, shown wherever there would be runs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, Field

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.same_calls import name_scope
from otel_ml_collector.store.counted import DELIVERIES, OF_PROJECT
from otel_ml_collector.store.reader import READABLE, Reader
from otel_ml_collector.store.sql import Sql

# Of so many of its newest spans it is told who wrote them.
_NEWEST: Final = 1_000
_SHOWN_SCOPES: Final = 3
_ANY_RUN: Final = Sql("""
    (SELECT kind FROM {spans} WHERE {ours} AND kind != 'span' LIMIT 1)
    UNION ALL (SELECT kind FROM open_runs WHERE {ours} LIMIT 1)""").fill(
    spans=DELIVERIES, ours=OF_PROJECT
)
_ASKED: Final = Sql("{readable} AND project IN {projects:Array(String)}").fill(readable=READABLE)
_WITHOUT_RUN: Final = Sql("""{asked} AND project NOT IN (
  SELECT project FROM {spans} WHERE {asked} AND kind != 'span'
  UNION ALL SELECT project FROM open_runs WHERE {asked})""").fill(asked=_ASKED, spans=DELIVERIES)
# All spans of a project, and those of its newest that each instrumentation wrote.
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
    spans=DELIVERIES, asked=_ASKED, without_run=_WITHOUT_RUN, newest=_NEWEST
)

api = APIRouter(prefix="/api/v1")


class Unread(BaseModel):
    """The spans of a project, none of which was read as a run."""

    spans: int = Field(description="How many there are; 0 where the project has a run, or nothing")
    scopes: list[str] = Field(
        description="The names of the instrumentations that wrote the newest, the busiest first"
    )
    sentence: str = Field(description="The same as a sentence; empty where there is none to tell")


@dataclass(frozen=True, slots=True)
class UnreadSpans:
    """The number of a project's spans, and their instrumentations, where none of them is a run.

    Attributes:
        spans: All of them.
        scopes: The names of the instrumentations of the newest, the busiest first.
    """

    spans: int
    scopes: tuple[str, ...]

    def __str__(self) -> str:
        """Write ``10 spans by genkit-tracer, none read as a call``."""
        number = f"{self.spans:,} {'span' if self.spans == 1 else 'spans'}"
        names = ", ".join(self.scopes[:_SHOWN_SCOPES])
        more = len(self.scopes) - _SHOWN_SCOPES
        by = f" by {names}{f' and {more} more' if more > 0 else ''}" if names else ""
        return f"{number}{by}, none read as a call"


def find_unread(reader: Reader, project: str) -> UnreadSpans | None:
    """Describe a project's spans where none is a run; None where there are runs, or no spans."""
    if reader.rows(_ANY_RUN, {"project": project}):
        return None
    return find_all_unread(reader, [project]).get(project)


def find_all_unread(reader: Reader, projects: Sequence[str]) -> dict[str, UnreadSpans]:
    """Describe the spans of several projects, by name, in a single statement."""
    if not projects:
        return {}
    wholes: dict[str, int] = {}
    counts: dict[str, Counter[str]] = {project: Counter() for project in projects}
    for row in reader.rows(_COUNT_SPANS, {"projects": [*projects]}):
        if row["is_whole"]:
            wholes[row["project"]] = row["spans"]
        else:
            counts[row["project"]][name_scope(row["scope"])] += row["spans"]
    return {
        project: UnreadSpans(spans, _order(counts[project])) for project, spans in wholes.items()
    }


def _order(counts: Counter[str]) -> tuple[str, ...]:
    """Order the names of instrumentations, the busiest first."""
    return tuple(sorted(filter(None, counts), key=lambda name: (-counts[name], name)))


@api.get("/projects/{project:path}/unread")
def get_unread(project: str, reader: FromReader) -> Unread:
    """Read the number of a project's spans, and their instrumentations, where none is a run."""
    answer = find_unread(reader, project)
    if answer is None:
        return Unread(spans=0, scopes=[], sentence="")
    return Unread(spans=answer.spans, scopes=list(answer.scopes), sentence=str(answer))
