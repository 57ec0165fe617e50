"""The JSON API of alert rules: save, list, check on past runs, mute."""

import re
import secrets
import time
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from otel_ml_collector.access import ADMIN, ANNOTATE, Access
from otel_ml_collector.alerts.deliveries import Deliveries, find_deliveries_of
from otel_ml_collector.alerts.find import (
    AlertChange,
    Alerts,
    AlertState,
    find_alert,
    find_alerts,
    find_changes_of,
    find_rule,
)
from otel_ml_collector.alerts.history import (
    AlertHistory,
    AlertPast,
    check_rule,
    check_saved,
    make_unsaved,
)
from otel_ml_collector.alerts.mutes import (
    MUTE,
    Mute,
    Mutes,
    WantedMute,
    check_mute,
    find_mute,
    find_mutes,
    make_mute,
    save_mute,
)
from otel_ml_collector.alerts.rule import (
    ALERT,
    AlertRule,
    WantedAlert,
    check_receivers,
    make_plan,
    make_rule,
)
from otel_ml_collector.alerts.trial import send_trial
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import DocumentName, FromReader, needs, reader_for
from otel_ml_collector.api.receivers import TestedReceiver
from otel_ml_collector.errors import BadInput, Conflict, Missing
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.services import service_of
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.store.documents import Documents, read_document
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, from_rfc3339, read_length

_SINCE: Final = "30d"
_MOST_SINCE_NS: Final = 400 * DAY_NS
_DIGIT: Final = re.compile(r"\d{4}-")

api = APIRouter(prefix="/api/v1", route_class=JsonRoute)

Base = Annotated[
    int | None,
    Query(
        ge=0,
        description="Save only if this version is the newest, or, with 0, if there is none yet. "
        "Omit it to save in any case",
    ),
]
Since = Annotated[
    str,
    Query(
        max_length=64,
        description="How far to look back: a length such as 30d, or a time in RFC 3339",
    ),
]
# Keys that can change rules and their receivers.
FromAdmin = Annotated[Reader, Depends(reader_for(ADMIN))]
FromPerson = Annotated[Reader, Depends(reader_for(ANNOTATE, ADMIN))]
ToMute = Annotated[Access, Depends(needs(ANNOTATE, ADMIN))]
FromStore = Annotated[Documents, Depends(service_of(Documents))]
FromSettings = Annotated[Settings, Depends(service_of(Settings))]


class AlertChanges(AnswerBody):
    """Changes of the states of rules, the newest first."""

    changes: list[AlertChange] = Field(description="The state changes, newest first, at most 500")


class SavedAlert(AlertRule):
    """A rule that was just saved."""

    past: AlertPast = Field(
        description="How often the saved rule would have fired in the last 7 days"
    )


def read_since(text: str, now_ns: int) -> int:
    """Parse a duration before now, or a time.

    Raises:
        BadInput: It is neither, or more than 400 days ago.
    """
    if _DIGIT.match(text):
        start_ns = from_rfc3339(text, "since")
    else:
        length_ns = read_length(text)
        if length_ns is None:
            raise BadInput(f"Invalid since {text!r}: expected 30d, or a time", "since")
        start_ns = now_ns - length_ns
    if not now_ns - _MOST_SINCE_NS <= start_ns < now_ns:
        raise BadInput(f"Invalid since {text!r}: expected at most 400 days ago", "since")
    return start_ns


@api.get("/projects/{project:path}/alerts")
def get_alerts(project: str, reader: FromReader) -> Alerts:
    """List the rules of a project with their states, the worst first, and the mutes."""
    return find_alerts(reader, project, time.time_ns())


@api.get("/projects/{project:path}/alert-changes")
def get_alert_changes(
    project: str,
    reader: FromReader,
    since: Since = _SINCE,
    rule: Annotated[str, Query(max_length=64)] = "",
) -> AlertChanges:
    """List the changes of the states of rules, the newest first, at most 500."""
    start_ns = read_since(since, time.time_ns())
    return AlertChanges(changes=find_changes_of(reader, project, start_ns, rule))


@api.get("/projects/{project:path}/alert-deliveries")
def get_alert_deliveries(
    project: str,
    reader: FromReader,
    settings: FromSettings,
    rule: Annotated[str, Query(max_length=64)] = "",
) -> Deliveries:
    """List the notifications of rules by receiver, with delivery time and attempts."""
    return find_deliveries_of(reader, project, settings.alert_targets, rule)


@api.post(
    "/alert-receivers/{receiver}/test",
    include_in_schema=False,
    dependencies=[Depends(needs(ADMIN))],
)
def send_test_notification(receiver: DocumentName, settings: FromSettings) -> TestedReceiver:
    """Send a test notification to a receiver; `otel-ml alerts test` calls it."""
    return send_trial(settings.alert_targets, receiver, settings.page_url, time.time_ns())


@api.post("/projects/{project:path}/alert-check")
def check_wanted_alert(
    project: str, wanted: WantedAlert, reader: FromReader, since: Since = _SINCE
) -> AlertHistory:
    """Return when a rule that is not saved would have fired."""
    _check(reader, project, wanted)
    now_ns = time.time_ns()
    start_ns = read_since(since, now_ns)
    return check_rule(reader, project, make_unsaved(wanted), start_ns, now_ns)


@api.get("/projects/{project:path}/alerts/{alert}")
def get_alert(project: str, alert: DocumentName, reader: FromReader) -> AlertState:
    """Read a rule with its state."""
    return find_alert(reader, project, alert, time.time_ns())


@api.get("/projects/{project:path}/alerts/{alert}/check")
def check_alert(
    project: str, alert: DocumentName, reader: FromReader, since: Since = _SINCE
) -> AlertHistory:
    """Return when a rule, as it is now, would have fired: the newest 3,000 windows at most."""
    now_ns = time.time_ns()
    rule = find_rule(reader, project, alert)
    return check_rule(reader, project, rule, read_since(since, now_ns), now_ns)


@api.put("/projects/{project:path}/alerts/{alert}")
def put_alert(
    *,
    project: str,
    alert: DocumentName,
    wanted: WantedAlert,
    reader: FromAdmin,
    store: FromStore,
    settings: FromSettings,
    base: Base = None,
) -> SavedAlert:
    """Save a rule under its name; if it judges windows differently, it starts afresh."""
    rule = save_alert(reader, store, project, alert, wanted, settings=settings, base=base)
    past = check_saved(reader, project, rule, time.time_ns())
    return SavedAlert(**rule.model_dump(), past=past)


def save_alert(
    reader: Reader,
    store: Documents,
    project: str,
    name: str,
    wanted: WantedAlert,
    *,
    settings: Settings,
    base: int | None,
) -> AlertRule:
    """Save an alert rule under its name. An existing rule with this name gets a new version.

    Args:
        reader: Reads the store.
        store: Writes the rule.
        project: The project.
        name: Name of the rule.
        wanted: The rule to save.
        settings: The settings, which list the receivers.
        base: Number of the version that you expect to replace, 0 for a new rule. If None, any
            version is replaced.

    Raises:
        BadInput: The rule is invalid, or names an unknown receiver.
        Conflict: The configuration file has a rule with this name, or the newest version of the
            saved rule is not `base`.
    """
    _check(reader, project, wanted)
    check_receivers(wanted, {target.name for target in settings.alert_targets})
    _refuse_filed(reader, project, name)
    return make_rule(store.save(reader, project, ALERT, name, wanted.model_dump(), base=base))


@api.delete("/projects/{project:path}/alerts/{alert}")
def delete_alert(
    *, project: str, alert: DocumentName, reader: FromAdmin, store: FromStore, base: Base = None
) -> AlertRule:
    """Delete a rule and return it; its firing alerts are resolved."""
    _refuse_filed(reader, project, alert)
    return make_rule(store.delete(reader, project, ALERT, alert, base=base))


@api.get("/projects/{project:path}/mutes")
def get_mutes(project: str, reader: FromReader) -> Mutes:
    """List the mutes of a project that have not ended, by name."""
    return Mutes(mutes=find_mutes(reader, project, time.time_ns()))


@api.post("/projects/{project:path}/mutes")
def add_mute(
    project: str, wanted: WantedMute, reader: FromPerson, access: ToMute, store: FromStore
) -> Mute:
    """Mute a rule, all rules, or some slices: alerts are evaluated and shown, but not sent."""
    name = secrets.token_hex(8)
    return put_mute(
        project=project,
        mute=name,
        wanted=wanted,
        reader=reader,
        access=access,
        store=store,
        base=0,
    )


@api.get("/projects/{project:path}/mutes/{mute}")
def get_mute(
    project: str,
    mute: DocumentName,
    reader: FromReader,
    version: Annotated[
        int | None,
        Query(
            ge=1,
            description="Version of the mute, one of the last ten. Default: the newest",
        ),
    ] = None,
) -> Mute:
    """Read a mute, even if it has ended, in its newest or an earlier version."""
    return find_mute(reader, project, mute, version)


@api.put("/projects/{project:path}/mutes/{mute}")
def put_mute(
    *,
    project: str,
    mute: DocumentName,
    wanted: WantedMute,
    reader: FromPerson,
    access: ToMute,
    store: FromStore,
    base: Base = None,
) -> Mute:
    """Save a mute under its name, for example to make it longer; the earlier version is kept."""
    by = find_rule(reader, project, wanted.rule).plan.by if wanted.rule else None
    check_mute(wanted, by)
    signed = wanted.model_copy(update={"who": wanted.who or access.name})
    return save_mute(reader, project, mute, signed, store, base=base)


@api.delete("/projects/{project:path}/mutes/{mute}")
def delete_mute(project: str, mute: DocumentName, reader: FromPerson, store: FromStore) -> Mute:
    """End a mute and return it."""
    return make_mute(store.delete(reader, project, MUTE, mute))


def _check(reader: Reader, project: str, wanted: WantedAlert) -> None:
    make_plan(wanted)
    compile_where(reader, project, wanted.where, is_bounded=True)


def _refuse_filed(reader: Reader, project: str, name: str) -> None:
    """Refuse to change a rule of the configuration file.

    Raises:
        Conflict: It is in the configuration file.
    """
    try:
        body = read_document(reader, project, ALERT, name).body
    except Missing:
        return
    if body.get("origin") == "file":
        message = f"The alert {name!r} is in the configuration file: change it there"
        raise Conflict(message)
