"""The form of a rubric judge: write it, try it, save it, turn it on and off."""

import re
import time
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field, ValidationError
from starlette.responses import RedirectResponse, Response

from otel_ml_collector import wording
from otel_ml_collector.access import ADMIN, access_of
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.errors import BadInput, Conflict, Missing
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.judges.backfill import ConfirmedBackfill
from otel_ml_collector.judges.backfill_plan import (
    WantedBackfill,
    plan_backfill,
    read_backfill,
    start_backfill,
    stop_backfill,
)
from otel_ml_collector.judges.ready_rubrics import (
    READY_RUBRICS,
    ReadyRubric,
    read_ready_rubric,
)
from otel_ml_collector.judges.rubric_judge import (
    RUBRIC_JUDGE_NAME,
    SavedRubricJudge,
    WantedRubricJudge,
    explain_no_connection,
)
from otel_ml_collector.judges.rubric_routes import (
    FromAdmin,
    FromJob,
    FromStore,
    find_rubric_judge,
    save_rubric_judge,
)
from otel_ml_collector.judges.trial import try_judge
from otel_ml_collector.services import service_of
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.web import view
from otel_ml_collector.web.form import read_form, take_last
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page

_TRIED: Final = 20
_PERCENT: Final = 100
_JUDGE_NAME_CHARS: Final = 64

pages = APIRouter(include_in_schema=False, route_class=PageRoute)

_Short = Annotated[str, Field(max_length=256)]
_Long = Annotated[str, Field(max_length=65_536)]
FromForm = Annotated[dict[str, list[str]], Depends(read_form)]
FromSettings = Annotated[Settings, Depends(service_of(Settings))]
_NUMBER_FIELDS: Final = ("low", "high", "pass_at_least", "pass_at_most", "dollars_per_day")
_INTEGER_FIELDS: Final = ("calls_per_minute", "calls_per_day")
_TEXT_FIELDS: Final = ("instruction", "model", "connection", "answer", "where")


class RubricForm(AnswerBody):
    """The fields of the form, as texts."""

    name: _Short = ""
    instruction: _Long = ""
    model: _Short = ""
    connection: _Short = ""
    answer: _Short = "pass"
    low: _Short = "1"
    high: _Short = "5"
    pass_at_least: _Short = ""
    pass_at_most: _Short = ""
    labels: _Long = ""
    pass_labels: _Long = ""
    parameters: _Long = ""
    where: _Long = ""
    percent: _Short = "100"
    calls_per_minute: _Short = "60"
    calls_per_day: _Short = ""
    dollars_per_day: _Short = ""
    base: _Short = ""
    action: _Short = ""

    def make_wanted(self, *, is_on: bool) -> WantedRubricJudge:
        """Return the judge that the fields make.

        Raises:
            BadInput: A field is invalid.
        """
        fields: dict[str, Any] = {name: getattr(self, name) for name in _TEXT_FIELDS}
        for name in (*_NUMBER_FIELDS, *_INTEGER_FIELDS):
            if text := getattr(self, name).strip():
                fields[name] = text
        for name in ("labels", "pass_labels"):
            words = (word.strip() for word in getattr(self, name).split(","))
            fields[name] = [word for word in words if word]
        try:
            fields["parameters"] = orjson.loads(self.parameters or "{}")
            fields["sample"] = float(self.percent) / _PERCENT
        except ValueError as error:
            field = "parameters" if isinstance(error, orjson.JSONDecodeError) else "percent"
            raise BadInput(f"Invalid {field}: expected {_FIELD_FORMS[field]}", field) from error
        try:
            return WantedRubricJudge(**fields, is_on=is_on)
        except ValidationError as error:
            fault = error.errors()[0]
            name = str(fault["loc"][0])
            raise BadInput(f"{name}: {fault['msg']}", name) from error


_FIELD_FORMS: Final = {
    "parameters": 'a JSON object such as {"temperature": 0}',
    "percent": "a share from 0 to 100",
}


def fill_rubric_form(judge: SavedRubricJudge) -> RubricForm:
    """Fill the form with a saved judge."""
    texts = {name: getattr(judge, name) for name in _TEXT_FIELDS}
    for name in (*_NUMBER_FIELDS, *_INTEGER_FIELDS):
        value = getattr(judge, name)
        texts[name] = (
            "" if value is None else f"{value:g}" if name in _NUMBER_FIELDS else str(value)
        )
    return RubricForm(
        name=judge.name,
        labels=", ".join(judge.labels),
        pass_labels=", ".join(judge.pass_labels),
        parameters=orjson.dumps(judge.parameters).decode() if judge.parameters else "",
        percent=f"{judge.sample * _PERCENT:g}",
        base=str(judge.version),
        **texts,
    )


def fill_ready_form(ready: ReadyRubric) -> RubricForm:
    """Fill the form of a new judge with a ready rubric. Its model is still to be chosen."""
    document = {**ready.document, "model": "", "connection": "", "name": ready.name}
    texts = {
        name: ", ".join(value) if isinstance(value, list) else str(value)
        for name, value in document.items()
        if name in RubricForm.model_fields
    }
    return RubricForm(**texts)


@pages.get("/projects/{project:path}/judge-rubric", response_class=FramedPage)
def show_rubric_form(
    *,
    request: Request,
    project: str,
    reader: FromReader,
    settings: FromSettings,
    edit: Annotated[str, Query(max_length=64)] = "",
    ready: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Show the form of a new or saved rubric judge, or of a copy of a ready rubric."""
    judge = find_rubric_judge(reader, project, edit, time.time_ns()) if edit else None
    if judge is not None:
        form = fill_rubric_form(judge)
    else:
        form = fill_ready_form(read_ready_rubric(ready)) if ready else RubricForm()
    return _show_form(request, settings, form, state="" if judge is None else judge.state)


@pages.post("/projects/{project:path}/judge-rubric")
def save_rubric_form(
    *,
    request: Request,
    project: str,
    reader: FromAdmin,
    store: FromStore,
    job: FromJob,
    settings: FromSettings,
    fields: FromForm,
) -> Response:
    """Save a rubric judge, and turn it on or off; an error is shown above the form."""
    form = _read(fields)
    base = int(form.base) if form.base.isdecimal() else 0
    state = ""
    try:
        if form.base:
            state = find_rubric_judge(reader, project, form.name, time.time_ns()).state
        _check_connection(form, settings, project)
        is_on = form.action == "on" or (form.action == "save" and state not in {"", "off"})
        wanted = form.make_wanted(is_on=is_on)
        place = (project, _read_name(form.name))
        save_rubric_judge(reader, store, job, place, wanted, base=base)
    except (BadInput, Conflict, Missing) as error:
        return _show_form(request, settings, form, state=state, problem=str(error))
    return RedirectResponse(f"{view.address(project, 'judges')}#rubrics", 303)


@pages.post("/projects/{project:path}/judge-trial")
def show_trial(
    *,
    request: Request,
    project: str,
    reader: FromAdmin,
    job: FromJob,
    settings: FromSettings,
    fields: FromForm,
) -> Response:
    """Try the judge of the form on 20 runs, as a part of its page. No score is stored."""
    form = _read(fields)
    trial, problem = None, ""
    try:
        _check_connection(form, settings, project)
        wanted = form.make_wanted(is_on=False)
        trial = try_judge(reader, job, (project, form.name.strip() or "new"), wanted, _TRIED)
    except (BadInput, Conflict) as error:
        problem = str(error)
    return show_page(request, "judge_trial.html", {"trial": trial, "problem": problem})


def _check_connection(form: RubricForm, settings: Settings, project: str) -> None:
    """Check that a connection was chosen, and one of its models if it lists some.

    Raises:
        BadInput: No connection was chosen, or a model that it does not list. The message says how
            to make a connection, or which models it has.
    """
    own = {item.name: item for item in settings.judge_connections if item.may_see(project)}
    if not form.connection:
        raise BadInput(explain_no_connection("", list(own)), "connection")
    models = own[form.connection].models if form.connection in own else ()
    if models and form.model.strip() not in models:
        raise BadInput(
            f"Invalid model {form.model[:80]!r}: expected one of {', '.join(models)}", "model"
        )


class BackfillForm(AnswerBody):
    """The fields of the form for a backfill, as texts."""

    judge: _Short = ""
    last: _Short = "30d"
    where: _Long = ""
    percent: _Short = "100"
    runs: _Short = ""

    def make_wanted(self) -> WantedBackfill:
        """Return the backfill to plan.

        Raises:
            BadInput: A field is invalid.
        """
        try:
            return WantedBackfill.model_validate(
                {
                    "last": self.last.strip(),
                    "where": self.where.strip(),
                    "sample": float(self.percent) / _PERCENT,
                    "runs": self.runs.strip() or None,
                }
            )
        except ValidationError as error:
            fault = error.errors()[0]
            raise BadInput(f"{fault['loc'][0]}: {fault['msg']}", str(fault["loc"][0])) from error
        except ValueError as error:
            message = f"Invalid percent: expected {_FIELD_FORMS['percent']}"
            raise BadInput(message, "percent") from error


@pages.get("/projects/{project:path}/judge-backfill")
def show_backfill(
    request: Request,
    project: str,
    reader: FromReader,
    judge: Annotated[str, Query(max_length=64)],
) -> Response:
    """Show how far the backfill of a judge has come, as a part of its page."""
    return show_page(request, "judge_backfill.html", _describe_backfill(request, reader, judge))


@pages.post("/projects/{project:path}/judge-backfill")
def show_backfill_plan(
    *, request: Request, project: str, reader: FromAdmin, job: FromJob, fields: FromForm
) -> Response:
    """Show what a backfill will need, as a part of the judge's page. Nothing is started."""
    form = BackfillForm.model_validate(take_last(fields))
    context = _describe_backfill(request, reader, form.judge)
    try:
        context["plan"] = plan_backfill(reader, job, project, context["judge"], form.make_wanted())
    except BadInput as error:
        context["problem"] = str(error)
    context["form"] = form
    return show_page(request, "judge_backfill.html", context)


@pages.post("/projects/{project:path}/judge-backfill-start")
def start_backfill_of_form(
    *,
    project: str,
    reader: FromAdmin,
    store: FromStore,
    job: FromJob,
    fields: FromForm,
) -> Response:
    """Start the backfill that was confirmed."""
    values = take_last(fields)
    name = values.pop("judge", "")
    judge = find_rubric_judge(reader, project, name, time.time_ns())
    try:
        confirmed = ConfirmedBackfill.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        raise BadInput(f"{fault['loc'][0]}: {fault['msg']}", str(fault["loc"][0])) from error
    start_backfill(reader, store, job, (project, name), judge=judge, confirmed=confirmed)
    return _open_backfill(project, name)


@pages.post("/projects/{project:path}/judge-backfill-stop")
def stop_backfill_of_form(
    *, project: str, reader: FromAdmin, store: FromStore, fields: FromForm
) -> Response:
    """Stop the backfill of a judge."""
    name = take_last(fields).get("judge", "")
    judge = find_rubric_judge(reader, project, name, time.time_ns())
    stop_backfill(reader, store, project, judge)
    return _open_backfill(project, name)


def _open_backfill(project: str, name: str) -> Response:
    place = view.address(project, "judge-rubric", edit=name)
    return RedirectResponse(f"{place}#backfill", 303)


def _describe_backfill(request: Request, reader: Reader, name: str) -> dict[str, Any]:
    """Describe the newest backfill of a judge, and fill the form with the judge's runs.

    Raises:
        Missing: There is no such judge.
    """
    project = request.path_params["project"]
    judge = find_rubric_judge(reader, project, name, time.time_ns())
    try:
        backfill = read_backfill(reader, project, judge)
    except Missing:
        backfill = None
    return {
        "judge": judge,
        "backfill": backfill,
        "form": BackfillForm(judge=name, where=judge.where, percent=f"{judge.sample * _PERCENT:g}"),
        "plan": None,
        "problem": "",
        "may_write": access_of(request.scope).has(ADMIN),
        "duration": wording.duration,
    }


def _read_name(text: str) -> str:
    """Read the name of a judge.

    Raises:
        BadInput: It is empty, too long, or has a control character.
    """
    name = text.strip()
    if not re.fullmatch(RUBRIC_JUDGE_NAME, name) or len(name) > _JUDGE_NAME_CHARS:
        message = (
            f"Invalid name {name[:80]!r}: expected 1 to {_JUDGE_NAME_CHARS} printable characters"
        )
        raise BadInput(message, "name")
    return name


def _read(fields: dict[str, list[str]]) -> RubricForm:
    try:
        return RubricForm.model_validate(take_last(fields))
    except ValidationError as error:
        fault = error.errors()[0]
        raise BadInput(f"{fault['loc'][0]}: {fault['msg']}", str(fault["loc"][0])) from error


def _show_form(
    request: Request, settings: Settings, form: RubricForm, *, state: str, problem: str = ""
) -> Response:
    project = request.path_params["project"]
    context = {
        "form": form,
        "state": state,
        "problem": problem,
        "may_write": access_of(request.scope).has(ADMIN),
        "connections": [item for item in settings.judge_connections if item.may_see(project)],
        "ready": [read_ready_rubric(name) for name in READY_RUBRICS],
        "alert": view.address(
            project,
            "alert-rule",
            name=f"{form.name} stopped"[:_JUDGE_NAME_CHARS],
            when=f"budget_used({quoted(form.name)}) >= 1",
            window="5m",
            hold="1 of 1",
        )
        if form.base
        else "",
        "api": view.api_address("projects", project, "rubric-judges", form.name or "NAME"),
        "python": python_call("judges"),
    }
    return show_page(request, "judge_rubric.html", context, 400 if problem else 200)
