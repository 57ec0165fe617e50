"""Projects of which nothing is a run: who wrote their spans, told wherever there would be runs."""

from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, Field

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.same_calls import name_scope
from otel_ml_collector.store.counted import DELIVERIES, OF_PROJECT
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql

# Of so many of its newest spans it is told who wrote them.
_NEWEST: Final = 1_000
_SHOWN: Final = 3
_ANY_RUN: Final = Sql("""
    (SELECT kind FROM {spans} WHERE {ours} AND kind != 'span' LIMIT 1)
    UNION ALL (SELECT kind FROM open_runs WHERE {ours} LIMIT 1)""").fill(
    spans=DELIVERIES, ours=OF_PROJECT
)
_COUNT: Final = Sql("""
    SELECT uniqExact(trace_id, span_id) AS spans FROM {spans} WHERE {ours}""").fill(
    spans=DELIVERIES, ours=OF_PROJECT
)
_SCOPES: Final = Sql("""
    SELECT scope, uniqExact(trace_id, span_id) AS spans FROM payloads
    WHERE {ours} AND (start_ns, trace_id, span_id) IN (
      SELECT start_ns, trace_id, span_id FROM {spans}
      WHERE {ours} ORDER BY start_ns DESC LIMIT {newest})
    GROUP BY scope""").fill(spans=DELIVERIES, ours=OF_PROJECT, newest=_NEWEST)

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
    """How many spans a project has, and by whom, where none of them is a run.

    Attributes:
        spans: All of them.
        scopes: The names of the instrumentations of the newest, the busiest first.
    """

    spans: int
    scopes: tuple[str, ...]

    def __str__(self) -> str:
        """Write ``10 spans by genkit-tracer, none read as a call``."""
        number = f"{self.spans:,} {'span' if self.spans == 1 else 'spans'}"
        names = ", ".join(self.scopes[:_SHOWN])
        more = len(self.scopes) - _SHOWN
        by = f" by {names}{f' and {more} more' if more > 0 else ''}" if names else ""
        return f"{number}{by}, none read as a call"


def find_unread(reader: Reader, project: str) -> UnreadSpans | None:
    """Tell of a project's spans where none is a run; None where one is, or there are no spans."""
    asked = {"project": project}
    if reader.rows(_ANY_RUN, asked):
        return None
    (row,) = reader.rows(_COUNT, asked)
    if not row["spans"]:
        return None
    counts: dict[str, int] = {}
    for scope in reader.rows(_SCOPES, asked):
        name = name_scope(scope["scope"])
        counts[name] = counts.get(name, 0) + scope["spans"]
    busiest = sorted(filter(None, counts), key=lambda name: (-counts[name], name))
    return UnreadSpans(row["spans"], tuple(busiest))


@api.get("/projects/{project:path}/unread")
def get_unread(project: str, reader: FromReader) -> Unread:
    """Read how many spans a project has, and by whom, where none was read as a run."""
    found = find_unread(reader, project)
    if found is None:
        return Unread(spans=0, scopes=[], sentence="")
    return Unread(spans=found.spans, scopes=list(found.scopes), sentence=str(found))
