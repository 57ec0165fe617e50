"""The pages of alerts: rules with their states, one rule, the form with its past, and mutes."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field, ValidationError
from starlette.responses import RedirectResponse, Response

from otel_ml_collector.access import ADMIN, ANNOTATE, access_of
from otel_ml_collector.alerts.deliveries import find_deliveries_of
from otel_ml_collector.alerts.find import (
    AlertState,
    DayWord,
    find_alert,
    find_alerts,
    find_changes_of,
    find_firing,
    find_rule,
)
from otel_ml_collector.alerts.forms import MAIN_FIELDS, RuleForm, fill_form, make_name
from otel_ml_collector.alerts.history import check_rule, make_unsaved
from otel_ml_collector.alerts.mutes import WantedMute, find_mutes
from otel_ml_collector.alerts.past import draw_past
from otel_ml_collector.alerts.routes import (
    FromAdmin,
    FromPerson,
    FromSettings,
    FromStore,
    ToMute,
    add_mute,
    delete_alert,
    delete_mute,
    save_alert,
)
from otel_ml_collector.alerts.rule import BY_FIELDS
from otel_ml_collector.alerts.sentences import describe_value, write_value
from otel_ml_collector.alerts.trial import send_trial
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import DocumentName, FromReader
from otel_ml_collector.completion import CompletionQuery, find_completion
from otel_ml_collector.errors import BadInput, Conflict, Missing, StoreTimeout
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, HOUR_NS, from_rfc3339, to_rfc3339
from otel_ml_collector.web import view
from otel_ml_collector.web.form import read_form, take_last
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.windows import Window

_CHANGES: Final = 50
_SHOWN_DAYS: Final = 30
_LISTED_GROUPS: Final = 50
# The condition of a new form. With it, the form shows past windows immediately.
FIRST_CONDITION: Final = "surely(error_share > 0.05)"
_RULE_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
MUTE_LENGTHS: Final = {"1h": HOUR_NS, "4h": 4 * HOUR_NS, "1d": DAY_NS, "7d": 7 * DAY_NS}

pages = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class DayStrip:
    """A small bar chart of the last 30 days of a rule, with the worst state of each day.

    Attributes:
        fired, pending, quiet: The bars of the days with this state, as an SVG path. A day has no
            bar if it had too few runs.
        text: The chart in words, such as ``30 days, fired on 2``.
    """

    fired: str
    pending: str
    quiet: str
    text: str


def draw_days(days: Sequence[DayWord]) -> DayStrip:
    """Draw a bar for each day: full if it fired, half for bad windows, a line for too few runs."""

    def bars(word: DayWord, top: int, height: int) -> str:
        return "".join(
            f"M{5 * place} {top}h4v{height}h-4z" for place, day in enumerate(days) if day == word
        )

    fired = sum(day == "fired" for day in days)
    text = f"{len(days)} days, fired on {fired}"
    line = f"M0 18h{5 * len(days) - 1}v1H0z"
    return DayStrip(bars("fired", 3, 16), bars("pending", 11, 8), line + bars("quiet", 17, 2), text)


class MuteForm(AnswerBody):
    """The fields of the form of a mute."""

    length: Annotated[str, Field(max_length=8)] = "1d"
    where: Annotated[str, Field(max_length=1_000)] = ""
    who: Annotated[str, Field(max_length=256)] = ""
    why: Annotated[str, Field(max_length=1_000)] = ""


FormFields = Annotated[dict[str, list[str]], Depends(read_form)]


@pages.get("/projects/{project:path}/alerts", response_class=FramedPage)
def show_alerts(
    request: Request, project: str, reader: FromReader, settings: FromSettings
) -> Response:
    """Show the rules of a project: what is firing, flapping and muted."""
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
        "refusing": [
            receiver
            for receiver in find_deliveries_of(reader, project, settings.alert_targets).targets
            if receiver.trouble
        ],
        "api": view.api_address("projects", project, "alerts"),
        "python": python_call("alerts"),
    }
    return show_page(request, "alerts.html", context)


@pages.get("/projects/{project:path}/alert-firing")
def show_firing(request: Request, project: str, reader: FromReader) -> Response:
    """Show the firing rules of a project, as a part of other pages."""
    firing = find_firing(reader, project, time.time_ns())
    return show_page(request, "alert_firing.html", {"firing": firing, "write_value": write_value})


@pages.get("/projects/{project:path}/alert-rule", response_class=FramedPage)
def show_rule_form(
    *,
    request: Request,
    project: str,
    reader: FromReader,
    settings: FromSettings,
    form: Annotated[RuleForm, Query()],
    edit: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Show the form of a new or saved rule, with the times when it would have fired."""
    if edit:
        form = fill_form(find_rule(reader, project, edit))
    elif not form.when:
        form.when = FIRST_CONDITION
    return _show_form(request, reader, settings, form, edit)


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
    """Save a rule; an error is shown above the form."""
    try:
        form = RuleForm.model_validate({**take_last(fields), "notify": fields.get("notify", [])})
    except ValidationError as error:
        fault = error.errors()[0]
        raise BadInput(f"{fault['loc'][0]}: {fault['msg']}", str(fault["loc"][0])) from error
    edit = form.name if form.base else ""
    base = int(form.base) if form.base.isdecimal() else 0
    try:
        wanted = form.wanted
        form.name = form.name.strip() or make_name(wanted)
        _check_name(form.name)
        save_alert(reader, store, project, form.name, wanted, settings=settings, base=base)
    except (BadInput, Conflict, Missing) as error:
        return _show_form(request, reader, settings, form, edit, error=error)
    return RedirectResponse(view.address(project, "alerts", form.name), 303)


@pages.post("/projects/{project:path}/alert-rule/receivers/{receiver}/test")
def send_test(
    request: Request, receiver: DocumentName, reader: FromAdmin, settings: FromSettings
) -> Response:
    """Send a test message to a receiver, and return whether it accepted it, for the form."""
    del reader  # the scope of its key is needed
    tested = send_trial(settings.alert_targets, receiver, settings.page_url, time.time_ns())
    return show_page(request, "tested.html", {"tested": tested})


def _show_form(
    request: Request,
    reader: Reader,
    settings: Settings,
    form: RuleForm,
    edit: str,
    *,
    error: BadInput | Conflict | Missing | None = None,
) -> Response:
    project = request.path_params["project"]
    receivers = settings.alert_targets
    known = {receiver.name for receiver in receivers}
    # Without a field, the error is about the name, which can be taken.
    field = error.field if isinstance(error, BadInput) else "name"
    context = {
        **_frame(request),
        "form": form,
        "edit": edit,
        "problem": str(error) if error else "",
        "receivers": receivers,
        "unknown": [name for name in form.notify if name not in known],
        "groups": list_groups(reader, project, time.time_ns()),
        "is_open": error is not None and field not in MAIN_FIELDS,
        "api": view.api_address("projects", project, "alerts", form.name or "NAME"),
        "python": python_call("save_alert", form.name or "NAME", **form.fields),
    }
    return show_page(request, "alert_rule.html", context, 400 if error else 200)


def _check_name(name: str) -> None:
    """Refuse a name that a rule cannot have.

    Raises:
        BadInput: The name is empty, too long, or has a control character.
    """
    if not _RULE_NAME.fullmatch(name):
        message = (
            f"Invalid name {name!r}: expected 1 to 64 characters, none of them a control character"
        )
        raise BadInput(message, "name")


def list_groups(reader: Reader, project: str, now_ns: int) -> list[str]:
    """List what a rule can group by: fields, and the tags of the runs of the last seven days."""
    window = Window(now_ns - 7 * DAY_NS, now_ns)
    query = CompletionQuery(project, "tags[", window, _LISTED_GROUPS)
    tags = [item.text for item in find_completion(reader, query).items]
    return [*(f"tags[{quoted(tag)}]" for tag in tags), *BY_FIELDS]


@pages.get("/projects/{project:path}/alert-past")
def show_past(
    request: Request,
    project: str,
    reader: FromReader,
    form: Annotated[RuleForm, Query()],
) -> Response:
    """Show when a rule would have fired in the last 30 days, as a part of its form."""
    past, problem, write = None, "", None
    now_ns = time.time_ns()
    if form.when:
        try:
            rule = make_unsaved(form.wanted)
            history = check_rule(reader, project, rule, now_ns - _SHOWN_DAYS * DAY_NS, now_ns)
            past = draw_past(history)
            write = partial(write_value, rule.plan.condition.main)
        except (BadInput, Missing, StoreTimeout) as error:
            problem = str(error)
    context = {"past": past, "problem": problem, "write_value": write}
    return show_page(request, "alert_past.html", context)


@pages.get("/projects/{project:path}/alerts/{alert}", response_class=FramedPage)
def show_alert(
    request: Request, project: str, alert: DocumentName, reader: FromReader, settings: FromSettings
) -> Response:
    """Show a rule: its state, its past, its slices, their changes, notifications and mutes."""
    now_ns = time.time_ns()
    state = find_alert(reader, project, alert, now_ns)
    rule = state.rule
    start_ns = now_ns - _SHOWN_DAYS * DAY_NS
    context = {
        **_frame(request),
        "alert": state,
        "rule": rule,
        "worst": _describe_worst(state),
        "is_new": from_rfc3339(rule.saved_time, "saved_time") > start_ns,
        "strip": draw_days(state.days),
        "past": view.address(
            project, "alert-past", **fill_form(rule).model_dump(exclude={"name", "base"})
        ),
        "changes": find_changes_of(reader, project, start_ns, alert, _CHANGES),
        "receivers": find_deliveries_of(reader, project, settings.alert_targets, alert).targets,
        "mutes": [
            mute for mute in find_mutes(reader, project, now_ns) if mute.rule in {"", rule.name}
        ],
        "lengths": MUTE_LENGTHS,
        "labels": [dimension.name for dimension in rule.plan.by],
        "write_value": partial(write_value, rule.plan.condition.main),
        "api": view.api_address("projects", project, "alerts", alert),
        "python": python_call("check_alert", alert),
    }
    return show_page(request, "alert.html", context)


@pages.post("/projects/{project:path}/alerts/{alert}/delete")
def delete_rule(
    *,
    project: str,
    alert: DocumentName,
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
    alert: DocumentName,
    reader: FromPerson,
    access: ToMute,
    store: FromStore,
    fields: FormFields,
) -> Response:
    """Mute a rule or some of its slices for a while, or end a mute.

    Raises:
        BadInput: The mute is invalid.
        Missing: There is no such rule.
    """
    find_rule(reader, project, alert)
    back = RedirectResponse(view.address(project, "alerts", alert), 303)
    if "mute" in fields:
        delete_mute(project, fields["mute"][-1], reader, store)
        return back
    try:
        form = MuteForm.model_validate(take_last(fields))
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


def _describe_worst(alert: AlertState) -> str:
    """Say what is wrong with the worst firing slice; empty if none is firing."""
    firing = [part for part in alert.slices if part.state == "firing"]
    if not firing:
        return ""
    described = describe_value(alert.rule.plan.condition.main, firing[0].value, firing[0].text)
    return f"{described} for {firing[0].name}" if firing[0].name else described
