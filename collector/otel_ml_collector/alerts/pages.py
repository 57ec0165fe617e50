"""The pages of alerts: rules with their states, one rule, the form with its past, and mutes."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field, ValidationError
from starlette.responses import RedirectResponse, Response

from otel_ml_collector.access import ADMIN, ANNOTATE, access_of
from otel_ml_collector.alerts.deliveries import find_deliveries_of
from otel_ml_collector.alerts.find import (
    DayWord,
    find_alert,
    find_alerts,
    find_changes_of,
    find_firing,
    find_rule,
)
from otel_ml_collector.alerts.forms import RuleForm, fill_form
from otel_ml_collector.alerts.history import check_rule, make_unsaved
from otel_ml_collector.alerts.mutes import WantedMute, find_mutes
from otel_ml_collector.alerts.past import draw_past
from otel_ml_collector.alerts.routes import (
    AlertPath,
    FromAdmin,
    FromPerson,
    FromSettings,
    FromStore,
    ToMute,
    add_mute,
    delete_alert,
    delete_mute,
    put_alert,
)
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.errors import BadInput, Conflict, Missing, StoreTimeout
from otel_ml_collector.times import DAY_NS, HOUR_NS, to_rfc3339
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, python_call, show_page

_FORM_BYTES: Final = 64 * 1024
_MOST_FIELDS: Final = 30
_CHANGES: Final = 50
_SHOWN_DAYS: Final = 30
_RULE_NAME: Final = re.compile(r"[^/\x00-\x1f\x7f]{1,64}")
MUTE_LENGTHS: Final = {"1h": HOUR_NS, "4h": 4 * HOUR_NS, "1d": DAY_NS, "7d": 7 * DAY_NS}

pages = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class DayStrip:
    """The last 30 days of a rule as bars: what each was at its worst.

    Attributes:
        fired, pending, quiet: The paths of the bars.
        text: The same in words.
    """

    fired: str
    pending: str
    quiet: str
    text: str


def draw_days(days: Sequence[DayWord]) -> DayStrip:
    """Draw a bar for each day: tall where it fired, half where windows were bad, a gap unjudged."""

    def bars(word: DayWord, top: int, height: int) -> str:
        return "".join(
            f"M{5 * place} {top}h4v{height}h-4z" for place, day in enumerate(days) if day == word
        )

    fired = sum(day == "fired" for day in days)
    text = f"{len(days)} days, fired on {fired}"
    return DayStrip(bars("fired", 3, 16), bars("pending", 11, 8), bars("quiet", 17, 2), text)


class MuteForm(BaseModel):
    """The fields of the form of a mute."""

    length: Annotated[str, Field(max_length=8)] = "1d"
    where: Annotated[str, Field(max_length=1_000)] = ""
    who: Annotated[str, Field(max_length=256)] = ""
    why: Annotated[str, Field(max_length=1_000)] = ""


async def _read_form(request: Request) -> dict[str, str]:
    """Read the fields of a form.

    Raises:
        BadInput: It is too long, or no form.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _FORM_BYTES:
            raise BadInput("The form is too long", "form")
    try:
        return dict(parse_qsl(body.decode(), max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise BadInput("The form cannot be read", "form") from error


FormFields = Annotated[dict[str, str], Depends(_read_form)]


@pages.get("/projects/{project:path}/alerts")
def show_alerts(request: Request, project: str, reader: FromReader) -> Response:
    """The rules of a project: what fires, what is noisy, what is muted by whom until when."""
    now_ns = time.time_ns()
    stored = find_alerts(reader, project, now_ns)
    alerts = stored.alerts
    context = {
        **_frame(request),
        "alerts": [(alert, draw_days(alert.days)) for alert in alerts],
        "mutes": stored.mutes,
        "firing": sum(alert.firing > 0 for alert in alerts),
        "pending": sum(alert.state == "pending" for alert in alerts),
        "failed": sum(alert.state == "failed" for alert in alerts),
        "muted": sum(alert.is_muted for alert in alerts),
        "noisy": [alert for alert in alerts if alert.brief * 2 > alert.fired],
        "api": view.api_address("projects", project, "alerts"),
        "python": python_call("alerts"),
    }
    return show_page(request, "alerts.html", context)


@pages.get("/projects/{project:path}/alert-firing")
def show_firing(request: Request, project: str, reader: FromReader) -> Response:
    """What fires in a project, as a part of other pages that stands there first."""
    firing = find_firing(reader, project, time.time_ns())
    return show_page(request, "alert_firing.html", {"firing": firing, "write_value": write_value})


@pages.get("/projects/{project:path}/alert-rule")
def show_rule_form(
    request: Request,
    project: str,
    reader: FromReader,
    form: Annotated[RuleForm, Query()],
    edit: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """The form of a rule, of a saved one or filled in, beside what it would have done."""
    if edit:
        form = fill_form(find_rule(reader, project, edit))
    return _show_form(request, project, form, edit)


@pages.post("/projects/{project:path}/alert-rule")
def save_rule(
    *,
    request: Request,
    project: str,
    reader: FromAdmin,
    store: FromStore,
    settings: FromSettings,
    fields: FormFields,
) -> Response:
    """Save a rule, which is watched from now on; what is wrong is said above the form."""
    try:
        form = RuleForm(**fields)
    except ValidationError as error:
        fault = error.errors()[0]
        raise BadInput(f"{fault['loc'][0]}: {fault['msg']}", str(fault["loc"][0])) from error
    edit = form.name if form.base else ""
    if not _RULE_NAME.fullmatch(form.name):
        problem = "Expected a name of 1 to 64 characters, without a slash"
        return _show_form(request, project, form, edit, problem=problem)
    base = int(form.base) if form.base.isdecimal() else 0
    try:
        put_alert(
            project=project,
            alert=form.name,
            wanted=form.wanted,
            reader=reader,
            store=store,
            settings=settings,
            base=base,
        )
    except (BadInput, Conflict, Missing) as error:
        return _show_form(request, project, form, edit, problem=str(error))
    return RedirectResponse(view.address(project, "alerts", form.name), 303)


def _show_form(
    request: Request, project: str, form: RuleForm, edit: str, *, problem: str = ""
) -> Response:
    context = {
        **_frame(request),
        "form": form,
        "edit": edit,
        "problem": problem,
        "api": view.api_address("projects", project, "alerts", form.name or "NAME"),
        "python": python_call("save_alert", form.name or "NAME", **form.fields),
    }
    return show_page(request, "alert_rule.html", context, 400 if problem else 200)


@pages.get("/projects/{project:path}/alert-past")
def show_past(
    request: Request,
    project: str,
    reader: FromReader,
    form: Annotated[RuleForm, Query()],
) -> Response:
    """When a rule would have fired in the last 30 days, as a part of its form."""
    past, problem = None, ""
    now_ns = time.time_ns()
    if form.when:
        try:
            rule = make_unsaved(form.wanted)
            history = check_rule(reader, project, rule, now_ns - _SHOWN_DAYS * DAY_NS, now_ns)
            past = draw_past(history)
        except (BadInput, Missing, StoreTimeout) as error:
            problem = str(error)
    context = {"past": past, "problem": problem, "write_value": write_value}
    return show_page(request, "alert_past.html", context)


@pages.get("/projects/{project:path}/alerts/{alert}")
def show_alert(
    request: Request, project: str, alert: AlertPath, reader: FromReader, settings: FromSettings
) -> Response:
    """A rule: its figure and threshold over time, its slices, what changed, was sent, is muted."""
    now_ns = time.time_ns()
    state = find_alert(reader, project, alert, now_ns)
    rule = state.rule
    start_ns = now_ns - _SHOWN_DAYS * DAY_NS
    context = {
        **_frame(request),
        "alert": state,
        "rule": rule,
        "strip": draw_days(state.days),
        "past": view.address(
            project, "alert-past", **fill_form(rule).model_dump(exclude={"name", "base"})
        ),
        "changes": find_changes_of(reader, project, start_ns, alert, _CHANGES),
        "targets": find_deliveries_of(reader, project, settings.alert_targets, alert).targets,
        "mutes": [
            mute for mute in find_mutes(reader, project, now_ns) if mute.rule in {"", rule.name}
        ],
        "lengths": MUTE_LENGTHS,
        "labels": [dimension.name for dimension in rule.plan.by],
        "write_value": write_value,
        "api": view.api_address("projects", project, "alerts", alert),
        "python": python_call("check_alert", alert),
    }
    return show_page(request, "alert.html", context)


@pages.post("/projects/{project:path}/alerts/{alert}/delete")
def delete_rule(
    *,
    project: str,
    alert: AlertPath,
    reader: FromAdmin,
    store: FromStore,
) -> Response:
    """Delete a rule."""
    delete_alert(project=project, alert=alert, reader=reader, store=store)
    return RedirectResponse(view.address(project, "alerts"), 303)


@pages.post("/projects/{project:path}/alerts/{alert}/mute")
def mute_rule(
    *,
    project: str,
    alert: AlertPath,
    reader: FromPerson,
    access: ToMute,
    store: FromStore,
    fields: FormFields,
) -> Response:
    """Mute a rule, or some of its slices, for a while; or end a mute.

    Raises:
        BadInput: The mute is none.
        Missing: There is no such rule.
    """
    find_rule(reader, project, alert)
    back = RedirectResponse(view.address(project, "alerts", alert), 303)
    if "mute" in fields:
        delete_mute(project, fields["mute"], reader, store)
        return back
    try:
        form = MuteForm(**fields)
    except ValidationError as error:
        raise BadInput(f"Invalid mute: {error.errors()[0]['msg']}", "mute") from error
    if form.length not in MUTE_LENGTHS:
        raise BadInput(f"Invalid length: expected one of {', '.join(MUTE_LENGTHS)}", "length")
    wanted = WantedMute(
        rule=alert,
        where=form.where,
        until=to_rfc3339(time.time_ns() + MUTE_LENGTHS[form.length]),
        who=access.name or form.who,
        why=form.why,
    )
    add_mute(project, wanted, reader, access, store)
    return back


def _frame(request: Request) -> dict[str, Any]:
    """Return the rights of the reader of the page."""
    access = access_of(request.scope)
    may_write = access.has(ADMIN)
    return {
        "may_write": may_write,
        "may_mute": may_write or access.has(ANNOTATE),
        "who": access.name,
    }


def write_value(value: float | None) -> str:
    """Write the figure of a rule, whatever it is of."""
    return "–" if value is None else f"{value:.4g}"
