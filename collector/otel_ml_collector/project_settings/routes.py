"""The settings of a project: the page with its forms, and the JSON API."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import RedirectResponse, Response

from otel_ml_collector.access import (
    ADMIN,
    ALL_PROJECTS,
    INGEST,
    OPEN,
    READ,
    SCOPES,
    Access,
    access_of,
)
from otel_ml_collector.api.parameters import Admin, DocumentName, needs
from otel_ml_collector.api.receivers import TestedReceiver
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.errors import BadInput, NotPermitted
from otel_ml_collector.keyring import Keyring, NewKey
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.project_settings.find import (
    Configured,
    ProjectSettings,
    SettingsSources,
    count_contents,
    find_freed,
    find_settings,
    write_price_lines,
)
from otel_ml_collector.project_settings.keys import (
    FromKeyring,
    KeyAnswer,
    find_key_changes,
    find_keys,
)
from otel_ml_collector.project_settings.storage import FromDeleter, FromRetention, find_deletions
from otel_ml_collector.services import find_service
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.settings.values import MOST_DAYS
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.retention import Retention, Wish
from otel_ml_collector.store.tombstones import PROJECT
from otel_ml_collector.web import view
from otel_ml_collector.web.form import read_form
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page

_SHOWN_CHANGES: Final = 50
_DAYS_DIGITS: Final = 6
_SHARE_SIZES: Final[Mapping[str, Sequence[str]]] = {
    "Inputs and outputs": ("payloads",),
    "Logged data": ("artifacts",),
    "Runs, scores, metrics": ("runs", "metrics", "logs", "other"),
}
_RECEIVER_LINES: Final = """\
[alert_targets.oncall]
kind = "slack"                  # or "webhook", "alertmanager"
url = "https://hooks.slack.com/services/T000/B000/XXXX\""""

api = APIRouter(prefix="/api/v1", tags=["settings"], route_class=DeferredRoute)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)
# A form is answered with the page, which shows data, so it needs the scope read too.
_READS: Final = [Depends(needs(READ))]
DaysText = Annotated[str | None, Query(max_length=_DAYS_DIGITS)]


SettingsForm = Annotated[dict[str, list[str]], Depends(read_form)]


@api.get("/projects/{project:path}/settings", dependencies=_READS)
def get_settings(request: Request, project: str) -> ProjectSettings:
    """Read the alert receivers, retention, stored bytes and LLM prices of a project.

    Addresses and secrets of receivers are never shown.
    """
    return find_settings(
        find_service(request, Reader),
        project,
        _configured(request),
        find_service(request, SettingsSources),
        time.time_ns(),
    )


@pages.get("/projects/{project:path}/settings", dependencies=_READS, response_class=FramedPage)
def show_settings(
    request: Request, project: str, record_days: DaysText = None, payload_days: DaysText = None
) -> Response:
    """The settings of a project; with days, also what such a retention would delete."""
    wish = None
    if record_days is not None or payload_days is not None:
        wish = Wish(
            _read_days(record_days or "", "record_days"),
            _read_days(payload_days or "", "payload_days"),
        )
    return _show(request, project, wish=wish)


@pages.post("/projects/{project:path}/settings/keys", dependencies=_READS)
def create_key(
    request: Request, project: str, admin: Admin, keyring: FromKeyring, fields: SettingsForm
) -> Response:
    """Create a key and show it once."""
    is_for_all = fields.get("projects", [""])[0] == ALL_PROJECTS
    wanted = Access(
        "",
        fields.get("name", [""])[0].strip(),
        frozenset(fields.get("scopes", [])),
        None if is_for_all else (project,),
    )
    if not admin.covers(wanted.projects):
        raise NotPermitted("This key can create keys for its own projects only")
    if not wanted.scopes:
        return _show(request, project, problem="Choose at least one scope")
    try:
        made = keyring.add(wanted, admin)
    except BadInput as error:
        return _show(request, project, problem=str(error))
    return _show(request, project, made=made)


@pages.post("/projects/{project:path}/settings/keys/{key_id}/revoke", dependencies=_READS)
def revoke_key(project: str, key_id: str, admin: Admin, keyring: FromKeyring) -> Response:
    """Revoke a key permanently."""
    keyring.revoke(key_id, admin)
    return RedirectResponse(f"{view.address(project, 'settings')}#keys", 303)


@pages.post("/projects/{project:path}/settings/receivers/{receiver}/test", dependencies=_READS)
def send_test(request: Request, project: str, receiver: DocumentName, admin: Admin) -> Response:
    """Send a test message to a receiver, and show whether it accepted it."""
    del admin  # only checks the scope
    settings, sources = find_service(request, Settings), find_service(request, SettingsSources)
    tested = sources.send_trial(settings.alert_targets, receiver, settings.page_url, time.time_ns())
    return _show(request, project, tested=tested)


@pages.post("/projects/{project:path}/settings/retention", dependencies=_READS)
def save_retention(
    project: str, admin: Admin, retention: FromRetention, fields: SettingsForm
) -> Response:
    """Set how long the project is kept."""
    del admin  # only checks the scope
    records, payloads = (
        _read_days(fields.get(name, [""])[0], name) for name in ("record_days", "payload_days")
    )
    retention.set(project, Wish(records, payloads))
    return RedirectResponse(f"{view.address(project, 'settings')}#retention", 303)


@pages.post("/projects/{project:path}/settings/delete", dependencies=_READS)
def delete_whole_project(
    request: Request, project: str, admin: Admin, deleter: FromDeleter, fields: SettingsForm
) -> Response:
    """Delete the project if its name was typed."""
    del admin  # only checks the scope
    typed = fields.get("name", [""])[0].strip()
    if typed != project:
        problem = f"Nothing was deleted: type {project} to confirm"
        return _show(request, project, undeleted=problem)
    if deleter.begin(project, PROJECT, "").state == "done":
        return RedirectResponse(view.address(), 303)
    return RedirectResponse(f"{view.address(project, 'settings')}#deletions", 303)


def _configured(request: Request) -> Configured:
    return Configured(
        find_service(request, Settings).alert_targets,
        find_service(request, Retention),
        find_service(request, Prices),
    )


def _read_days(text: str, name: str) -> int | None:
    """Read a number of days. None for an empty text: the collector's setting.

    Raises:
        BadInput: It is not a number of days.
    """
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) <= MOST_DAYS):
        raise BadInput(f"{name}: {text!r}: expected 0 to {MOST_DAYS} days", name)
    return int(text)


def _show(
    request: Request,
    project: str,
    *,
    made: NewKey | None = None,
    problem: str = "",
    tested: TestedReceiver | None = None,
    wish: Wish | None = None,
    undeleted: str = "",
) -> Response:
    """Show the page, perhaps with the outcome of a form."""
    now_ns = time.time_ns()
    access, whole = access_of(request.scope), find_service(request, Reader)
    retention, keyring = find_service(request, Retention), find_service(request, Keyring)
    configured, sources = _configured(request), find_service(request, SettingsSources)
    found = find_settings(whole, project, configured, sources, now_ns)
    is_admin = access.may(ADMIN, project)
    context: dict[str, Any] = {
        "found": found,
        "is_admin": is_admin,
        "made": made,
        "problem": problem,
        "tested": tested,
        "undeleted": undeleted,
        "deletions": find_deletions(
            find_service(request, Deleter), replace(OPEN, projects=(project,))
        )
        if is_admin
        else [],
        "wish": wish,
        "freed": None if wish is None else find_freed(whole, project, retention, wish, now_ns),
        "default_days": retention.days_of(project, {}),
        "warning": retention.warning,
        "sizes": _draw_sizes(found),
        "contents": count_contents(whole, project, sources) if is_admin else "",
        "keyed": _list_keys(keyring, access, project) if is_admin else None,
        "scopes": SCOPES,
        "may_share": access.covers(None),
        "receiver_lines": _RECEIVER_LINES,
        "price_lines": write_price_lines(found.prices),
        "api": view.api_address("projects", project, "settings"),
        "python": python_call("settings"),
    }
    status = 400 if problem or undeleted else 200
    answer = show_page(request, "settings.html", context, status)
    if made:
        answer.headers["Cache-Control"] = "no-store"
    return answer


@dataclass(frozen=True, slots=True)
class ShownSize:
    """A part of the bar of sizes; its place and width are in per cent."""

    title: str
    bytes: int
    place: float
    width: float


def _draw_sizes(found: ProjectSettings) -> list[ShownSize]:
    """Draw the sizes of a project as parts of one bar, largest first."""
    sizes = {
        title: sum(found.kinds[kind].bytes for kind in kinds if kind in found.kinds)
        for title, kinds in _SHARE_SIZES.items()
    }
    total, place, shown = max(sum(sizes.values()), 1), 0.0, []
    for title, size in sorted(sizes.items(), key=itemgetter(1), reverse=True):
        width = 100 * size / total
        shown.append(ShownSize(title, size, round(place, 2), round(width, 2)))
        place += width
    return shown


def _list_keys(keyring: Keyring, access: Access, project: str) -> dict[str, Any]:
    """List the keys that can access a project, and their changes, with names instead of IDs."""
    keys = [key for key in find_keys(keyring, access) if _reaches(key.projects, project)]
    changes = find_key_changes(keyring, access)
    names = {key.access.key_id: key.access.name for key in keyring.find_keys()}
    return {
        "keys": [key for key in keys if key.revoked_time is None],
        "changes": [change for change in changes if _reaches(change.projects, project)][
            :_SHOWN_CHANGES
        ],
        "names": {key_id: name or key_id for key_id, name in names.items()},
        "senders": [key.name or key.id for key in keys if _may_send(key)],
        "is_on": keyring.is_on,
        "own": access.key_id,
    }


def _may_send(key: KeyAnswer) -> bool:
    return key.revoked_time is None and INGEST in key.scopes


def _reaches(projects: list[str], project: str) -> bool:
    return projects == [ALL_PROJECTS] or project in projects
