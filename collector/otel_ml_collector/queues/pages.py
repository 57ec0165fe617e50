"""The pages of labelling queues: the list, one run at a time to label, and the agreement."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, ValidationError
from starlette.responses import RedirectResponse, Response

from otel_ml_collector.access import ANNOTATE, READ, Access, access_of
from otel_ml_collector.api.parameters import DocumentName, FromReader
from otel_ml_collector.errors import BadInput, Conflict
from otel_ml_collector.keyring import Keyring
from otel_ml_collector.queues.agreement import find_judge_agreement, find_queue_agreement
from otel_ml_collector.queues.find import find_next, find_queue, find_state, list_queues
from otel_ml_collector.queues.forms import QueueForm
from otel_ml_collector.queues.queue import QUEUE, make_queue
from otel_ml_collector.queues.routes import (
    FromPerson,
    FromSeer,
    FromStore,
    Hand,
    ToJudge,
    ToRead,
    ToSee,
    put_queue,
)
from otel_ml_collector.services import find_service
from otel_ml_collector.store.documents import list_all_documents
from otel_ml_collector.web import view
from otel_ml_collector.web.form import read_form, take_last
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page

_MOST_SKIPPED: Final = 100

pages = APIRouter(include_in_schema=False, route_class=PageRoute)

Person = Annotated[
    str, Query(alias="as", max_length=256, description="Name of the reviewer, if the key has none")
]


def _frame(request: Request, access: Access, person: str) -> Mapping[str, Any]:
    """Return who uses the page, and whether links to other pages are shown."""
    is_named = find_service(request, Keyring).is_on and bool(access.name.strip())
    return {
        "may_read": access.has(READ),
        "is_named": is_named,
        "who": access.name if is_named else person,
        "person": "" if is_named else person,
    }


@pages.get("/queues", response_class=FramedPage)
def show_labelling(request: Request, reader: FromSeer, access: ToSee) -> Response:
    """Show the queues of all projects of a key, for reviewers of several projects."""
    documents = list_all_documents(reader, QUEUE)
    context = {
        "may_read": access.has(READ),
        "queues": [(project, make_queue(document)) for project, document in documents],
    }
    return show_page(request, "labelling.html", context)


@pages.get("/projects/{project:path}/queues", response_class=FramedPage)
def show_queues(
    request: Request, project: str, reader: FromSeer, access: ToSee, person: Person = ""
) -> Response:
    """Show the labelling queues of a project, each with its progress."""
    frame = _frame(request, access, person)
    context = {
        **frame,
        "may_make": access.has(READ) and access.has(ANNOTATE),
        "queues": list_queues(reader, project, frame["who"], time.time_ns()),
        "api": view.api_address("projects", project, "queues"),
        "python": python_call("queues"),
    }
    return show_page(request, "queues.html", context)


@pages.get("/projects/{project:path}/queue-form", response_class=FramedPage)
def show_queue_form(
    request: Request,
    project: str,
    _: FromPerson,
    access: ToRead,
    form: Annotated[QueueForm, Query()],
) -> Response:
    """Show the form of a new labelling queue; a link can fill in its fields."""
    return _show_form(request, access, form)


@pages.post("/projects/{project:path}/queue-form")
async def save_queue_form(
    *,
    request: Request,
    project: str,
    reader: FromPerson,
    access: ToRead,
    store: FromStore,
) -> Response:
    """Save a new labelling queue and open it; an error is shown above the form."""
    try:
        form = QueueForm.model_validate(take_last(await read_form(request)))
    except ValidationError as error:
        fault = error.errors()[0]
        raise BadInput(f"{fault['loc'][0]}: {fault['msg']}", str(fault["loc"][0])) from error

    # With base 0, an existing queue of this name is not replaced.
    save = partial(put_queue, project=project, queue=form.queue_name, base=0)
    try:
        form.check_name()
        await run_sync(partial(save, wanted=form.wanted, reader=reader, _=access, store=store))
    except (BadInput, Conflict) as error:
        return _show_form(request, access, form, str(error))
    return RedirectResponse(view.address(project, "queues", form.queue_name), 303)


def _show_form(request: Request, access: Access, form: QueueForm, problem: str = "") -> Response:
    project = request.path_params["project"]
    context = {
        "may_read": access.has(READ),
        "form": form,
        "problem": problem,
        "api": view.api_address("projects", project, "queues", form.queue_name or "NAME"),
        "python": python_call("queue", form.queue_name or "NAME"),
    }
    return show_page(request, "queue_form.html", context, 400 if problem else 200)


class WantedScreen(BaseModel):
    """Query parameters of the page that shows a run to label.

    Attributes:
        person: Name of the reviewer. Ignored if the reviewer's key has a name.
        run: The run to show; None for the next run of the queue.
        skip: Runs that the reviewer postponed. They come after all others.
    """

    person: str = Field("", alias="as", max_length=256)
    run: str | None = Field(None, max_length=64)
    skip: list[str] = Field([], max_length=_MOST_SKIPPED)


@pages.get("/projects/{project:path}/queues/{queue}", response_class=FramedPage)
def show_queue(
    *,
    request: Request,
    project: str,
    queue: DocumentName,
    reader: FromPerson,
    access: ToJudge,
    hand: Hand,
    wanted: Annotated[WantedScreen, Query()],
) -> Response:
    """Show one run to label, without its scores and labels; without a name, ask for the name."""
    frame = _frame(request, access, wanted.person.strip())
    stored_queue = find_queue(reader, project, queue)
    who, now_ns = frame["who"], time.time_ns()
    if not who:
        progress = find_state(reader, project, stored_queue, who, now_ns).progress
        context = {**frame, "queue": stored_queue, "progress": progress, "run_id": wanted.run}
        return show_page(request, "queue_name.html", context)
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


@pages.get("/projects/{project:path}/queues/{queue}/agreement", response_class=FramedPage)
def show_agreement(
    request: Request, project: str, queue: DocumentName, reader: FromReader
) -> Response:
    """Show how far reviewers and the judge agree on the runs of a queue."""
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
    """Show how far reviewers agree with a judge, as a part of its page."""
    judge_agreement = find_judge_agreement(reader, project, judge, time.time_ns())
    context = {
        "found": judge_agreement,
        "may_annotate": access_of(request.scope).has(ANNOTATE),
    }
    return show_page(request, "judge_people.html", context)
