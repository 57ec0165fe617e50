"""Marks problems as known, for the JSON API and the page of a problem."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Final, get_args

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import RedirectResponse, Response

from otel_ml_collector.access import ANNOTATE, Access
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import DocumentName, FromReader, needs
from otel_ml_collector.errors import Missing, Unavailable
from otel_ml_collector.problems.known import KNOWN, KnownProblem, find_known, make_known
from otel_ml_collector.problems.news import FromSources, NewsSources
from otel_ml_collector.problems.problems import find_problems, measure_harm, name_mark
from otel_ml_collector.services import service_of
from otel_ml_collector.stats import Past
from otel_ml_collector.store.documents import Documents
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.web import view
from otel_ml_collector.web.form import read_form, take_last
from otel_ml_collector.web.render import PageRoute

_PASTS: Final[tuple[Past, ...]] = get_args(Past)

api = APIRouter(prefix="/api/v1", route_class=JsonRoute)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)
# The routes also need a key that can read, because the answer contains the title of the problem.
ToMark = Annotated[Access, Depends(needs(ANNOTATE))]
FromStore = Annotated[Documents, Depends(service_of(Documents))]
FormFields = Annotated[Mapping[str, list[str]], Depends(read_form)]


class WantedMark(BaseModel):
    """A problem to mark as known."""

    model_config = ConfigDict(extra="forbid")

    problem: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        description="Name of the problem in the address of its page"
    )
    last: Past = Field(default="24h", description="Time range in which it was found")


class KnownProblems(AnswerBody):
    """The problems of a project that are marked as known."""

    known: list[KnownProblem] = Field(description="The marks, newest first")


@api.get("/projects/{project:path}/known-problems")
def get_known_problems(project: str, reader: FromReader) -> KnownProblems:
    """List the problems that are marked as known, also those that are resolved."""
    known = find_known(reader, project).values()
    return KnownProblems(known=sorted(known, key=lambda mark: mark.marked_time, reverse=True))


@api.post("/projects/{project:path}/known-problems")
def add_known_problem(
    *,
    project: str,
    wanted: WantedMark,
    reader: FromReader,
    access: ToMark,
    store: FromStore,
    sources: FromSources,
) -> KnownProblem:
    """Mark a problem as known for 30 days: pages list it, but do not count it.

    The problem counts again earlier if it begins again after you marked it, or if it gets clearly
    worse. Similar problems still count: those of another version, slice (such as one client) or
    figure (such as latency).
    """
    return mark_problem(reader, store, sources, project, wanted, who=access.name)


@api.delete("/projects/{project:path}/known-problems/{known}")
def delete_known_problem(
    *, project: str, known: DocumentName, reader: FromReader, _: ToMark, store: FromStore
) -> KnownProblem:
    """Delete the mark of a known problem and return it; the problem counts again."""
    return make_known(store.delete(reader, project, KNOWN, known))


@pages.post("/projects/{project:path}/problems/{key}/known")
def post_known_problem(
    *,
    project: str,
    key: str,
    reader: FromReader,
    access: ToMark,
    store: FromStore,
    sources: FromSources,
    fields: FormFields,
) -> Response:
    """Mark a problem as known, or delete its mark."""
    given = take_last(dict(fields))
    last: Past = next((name for name in _PASTS if name == given.get("last")), "24h")
    if "mark" in given:
        store.delete(reader, project, KNOWN, given["mark"])
    else:
        wanted = WantedMark(problem=key[:100], last=last)
        mark_problem(reader, store, sources, project, wanted, who=access.name)
    return RedirectResponse(view.address(project, "problems", key, last=last), 303)


def mark_problem(
    reader: Reader,
    store: Documents,
    sources: NewsSources,
    project: str,
    wanted: WantedMark,
    *,
    who: str,
) -> KnownProblem:
    """Mark a problem as known, so that pages do not count it until it begins anew or gets worse.

    The mark applies to each time range of the pages (such as the last 24 hours) in which the
    problem is found now.

    Raises:
        Missing: There is no such problem in the time range.
        BadInput: The project has too many problems that are marked as known.
        Unavailable: The store does not answer.
    """
    now_ns = time.time_ns()
    found = find_problems(reader, project, wanted.last, now_ns, sources=sources)
    problem = found.find(wanted.problem)
    if problem is None:
        raise Missing(f"There is no problem {wanted.problem!r} in the last {wanted.last}")
    name = name_mark(problem.first)
    most = {wanted.last: measure_harm(problem.first, found.state).most}
    asked = {
        last: reader.ahead(find_problems, project, last, now_ns, sources=sources)
        for last in _PASTS
        if last != wanted.last
    }
    for last, future in asked.items():
        with suppress(Unavailable):
            also = future.result()
            same = [item.first for item in also.every if name_mark(item.first) == name]
            if same:
                most[last] = measure_harm(same[0], also.state).most
    body = {"problem": problem.key, "title": problem.sentence, "who": who, "most": most}
    return make_known(store.save(reader, project, KNOWN, name, body))
