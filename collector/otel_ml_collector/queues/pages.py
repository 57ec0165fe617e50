"""The pages of queues: which there are, and one run a screen that is judged by keys."""

import time
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from otel_ml_collector.access import ANNOTATE, READ, Access
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.keyring import Keyring
from otel_ml_collector.queues.agreement import find_judge_agreement, find_queue_agreement
from otel_ml_collector.queues.find import find_next, find_queue, list_queues
from otel_ml_collector.queues.queue import QUEUE, make_queue
from otel_ml_collector.queues.routes import FromPerson, FromSeer, Hand, QueueName, ToJudge, ToSee
from otel_ml_collector.services import find_service
from otel_ml_collector.store.documents import list_all_documents
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, python_call, show_page

_MOST_SKIPPED: Final = 100

pages = APIRouter(include_in_schema=False, route_class=PageRoute)

Person = Annotated[
    str, Query(alias="as", max_length=256, description="Who judges, if the key has no name")
]


def _frame(request: Request, access: Access, person: str) -> Mapping[str, Any]:
    """Say whose page it is: one who may not read sees no way to the other pages."""
    is_named = find_service(request, Keyring).is_on and bool(access.name.strip())
    return {
        "may_read": access.has(READ),
        "is_named": is_named,
        "who": access.name if is_named else person,
        "person": "" if is_named else person,
    }


@pages.get("/queues")
def show_labelling(request: Request, reader: FromSeer, access: ToSee) -> Response:
    """Show the queues of all projects of a key, for reviewers of several projects."""
    documents = list_all_documents(reader, QUEUE)
    context = {
        "may_read": access.has(READ),
        "queues": [(project, make_queue(document)) for project, document in documents],
    }
    return show_page(request, "labelling.html", context)


@pages.get("/projects/{project:path}/queues")
def show_queues(
    request: Request, project: str, reader: FromSeer, access: ToSee, person: Person = ""
) -> Response:
    """The queues of a project, and how far each is."""
    frame = _frame(request, access, person)
    context = {
        **frame,
        "may_make": access.has(READ) and access.has(ANNOTATE),
        "queues": list_queues(reader, project, frame["who"], time.time_ns()),
        "api": view.api_address("projects", project, "queues"),
        "python": python_call("queues"),
    }
    return show_page(request, "queues.html", context)


class WantedScreen(BaseModel):
    """Which run is to be judged, and by whom.

    Attributes:
        person: Who judges, if the key has no name.
        run: A run of the queue; None for the next one.
        skip: Runs that come after all others.
    """

    person: str = Field("", alias="as", max_length=256)
    run: str | None = Field(None, max_length=64)
    skip: list[str] = Field([], max_length=_MOST_SKIPPED)


@pages.get("/projects/{project:path}/queues/{queue}")
def show_queue(
    *,
    request: Request,
    project: str,
    queue: QueueName,
    reader: FromPerson,
    access: ToJudge,
    hand: Hand,
    wanted: Annotated[WantedScreen, Query()],
) -> Response:
    """One run to judge, without what was said of it, and the choices with their keys."""
    frame = _frame(request, access, wanted.person)
    stored_queue = find_queue(reader, project, queue)
    who, now_ns = frame["who"], time.time_ns()
    state = find_next(
        reader,
        project,
        stored_queue,
        who,
        now_ns,
        hand=hand,
        run_id=wanted.run,
        skipped=wanted.skip,
    )
    own = next((item for item in state.last if state.run and item.run_id == state.run.run_id), None)
    here = {"as": frame["person"]}
    context = {
        **frame,
        "queue": stored_queue,
        "next": state,
        "run": state.run,
        "own": own,
        "chosen": next(
            (
                choice.key
                for choice in state.choices
                if own and own.label in {"", choice.label} and own.score == choice.score
            ),
            None,
        ),
        "answers": view.api_address("projects", project, "queues", queue, "answers"),
        "here": view.address(project, "queues", queue, **here),
        "skipping": view.address(
            project, "queues", queue, **here, skip=[*wanted.skip, state.run.run_id][-_MOST_SKIPPED:]
        )
        if state.run
        else "",
        "open": lambda run_id: view.address(project, "queues", queue, **here, run=run_id),
        "api": view.api_address("projects", project, "queues", queue, "next"),
        "python": python_call("queue", queue),
    }
    return show_page(request, "queue.html", context)


@pages.get("/projects/{project:path}/queues/{queue}/agreement")
def show_agreement(
    request: Request, project: str, queue: QueueName, reader: FromReader
) -> Response:
    """How far people agree, of the runs of a queue: for whoever may read."""
    stored_queue = find_queue(reader, project, queue)
    context = {
        "queue": stored_queue,
        "found": find_queue_agreement(reader, project, stored_queue, time.time_ns()),
        "api": view.api_address("projects", project, "queues", queue, "agreement"),
        "python": python_call("queue_agreement", queue),
    }
    return show_page(request, "queue_agreement.html", context)


@pages.get("/projects/{project:path}/judge-people")
def show_judge_people(
    request: Request, project: str, reader: FromReader, judge: Annotated[str, Query(max_length=256)]
) -> Response:
    """How far people agree with a judge, as a part of its page that comes after the rest."""
    judge_agreement = find_judge_agreement(reader, project, judge, time.time_ns())
    return show_page(request, "judge_people.html", {"found": judge_agreement})
