"""The activity of a project: its JSON, its page, and its mark in the navigation."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from otel_ml_collector.activity.find import (
    ActivityEntry,
    FieldChange,
    ProjectActivity,
    find_activity,
    list_kinds,
)
from otel_ml_collector.api.parameters import Cursor, End, FromReader, Limit, Since
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.times import DAY_NS, MINUTE_NS, SECOND_NS, from_rfc3339
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.windows import write_local

_LOOKED: Final = "otel-ml-activity"
_LOOKED_S: Final = 400 * 24 * 3600
# Pages opened within this time belong to one visit.
_SAME_VISIT_NS: Final = 30 * MINUTE_NS
_PAGE_ROWS: Final = 50
_MOST_MARKED: Final = 99
_SHOWN_FIELDS: Final = 4
_LISTED_VALUE_CHARS: Final = 120
# Seconds for which a browser uses the mark again on the next pages.
_MARK_S: Final = 60

api = APIRouter(prefix="/api/v1", tags=["activity"], route_class=DeferredRoute)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)

Kinds = Annotated[
    list[str],
    Query(
        alias="kind",
        max_length=20,
        description="Only changes of this kind, such as `alert rule`. It can be repeated",
    ),
]


@api.get("/projects/{project:path}/activity")
def get_activity(
    *,
    project: str,
    reader: FromReader,
    start: Since,
    end: End,
    kinds: Kinds = [],  # noqa: B006 - FastAPI copies it
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ProjectActivity:
    """List who changed what in a project, newest first, in the last 400 days.

    These are new versions, alerts, and changes of rules, judges, baselines, aliases, keys,
    retention, data sets, deletions, labels and shared files. Only administrators see changes of
    keys. With the setting `audit_reads`, the kind `read` lists who read payloads.
    """
    return find_activity(
        reader,
        project,
        time.time_ns(),
        start_ns=start,
        end_ns=end,
        kinds=kinds,
        limit=limit,
        cursor=cursor,
    )


@dataclass(frozen=True, slots=True)
class ActivityVisit:
    """When a browser last showed the activity of a project, in nanoseconds since 1970.

    Attributes:
        before_ns: Start of the visit before the last one; 0 for none.
        last_ns: The last time; 0 for never.
    """

    before_ns: int = 0
    last_ns: int = 0

    def seen_until(self, now_ns: int) -> int:
        """Return the time up to which the user has seen changes before this visit.

        Pages that are opened less than 30 minutes after each other belong to one visit.
        """
        is_same_visit = now_ns - self.last_ns < _SAME_VISIT_NS
        return self.before_ns if is_same_visit and self.before_ns else self.last_ns


def read_visit(cookie: str) -> ActivityVisit:
    """Read the cookie. An invalid cookie counts as none."""
    before, _, last = cookie.partition(".")
    if not (before.isascii() and before.isdecimal() and last.isascii() and last.isdecimal()):
        return ActivityVisit()
    return ActivityVisit(int(before[:12]) * SECOND_NS, int(last[:12]) * SECOND_NS)


@dataclass(frozen=True, slots=True)
class ShownEntry:
    """An entry as the page shows it.

    Attributes:
        entry: The entry.
        time_ns: Its time.
        is_new: Whether it is newer than the last visit.
        link: The page of what was changed; empty if there is none.
        changes: The first changed fields, with shortened values.
        more: Number of further changed fields.
    """

    entry: ActivityEntry
    time_ns: int
    is_new: bool
    link: str
    changes: Sequence[tuple[str, str, str]]
    more: int


@pages.get("/projects/{project:path}/activity")
def show_activity(
    request: Request,
    project: str,
    reader: FromReader,
    kind: Annotated[str, Query(max_length=40)] = "",
    cursor: Cursor = None,
) -> Response:
    """Show who changed what, by day, with a line at the time of the last visit."""
    now_ns = time.time_ns()
    activity = find_activity(
        reader, project, now_ns, kinds=[kind] if kind else [], limit=_PAGE_ROWS, cursor=cursor
    )
    visit = read_visit(request.cookies.get(_LOOKED, ""))
    seen_ns = visit.seen_until(now_ns)
    shown = [_show_entry(project, entry, seen_ns) for entry in activity.entries]
    days = [
        (day, list(entries))
        for day, entries in groupby(
            shown, key=lambda item: write_local(item.time_ns, reader.zone)[:10]
        )
    ]
    response = show_page(
        request,
        "activity.html",
        {
            "days": days,
            "kind": kind,
            "kinds": list_kinds(reader, project),
            "new": sum(item.is_new for item in shown),
            "seen": write_local(seen_ns, reader.zone)[:16] if seen_ns else "",
            "next_cursor": activity.next_cursor,
            "cursor": cursor,
            "api": view.api_address("projects", project, "activity", kind=kind),
            "python": python_call("activity", kind=kind),
        },
    )
    if not cursor:
        response.set_cookie(
            _LOOKED,
            f"{(seen_ns or now_ns) // SECOND_NS}.{now_ns // SECOND_NS}",
            max_age=_LOOKED_S,
            path=view.address(project),
            httponly=True,
            samesite="lax",
        )
    return response


@pages.get("/projects/{project:path}/activity-mark")
def show_mark(request: Request, project: str, reader: FromReader) -> Response:
    """Show the number of changes since the last visit of the activity, for the navigation."""
    now_ns = time.time_ns()
    visit = read_visit(request.cookies.get(_LOOKED, ""))
    activity = find_activity(
        reader,
        project,
        now_ns,
        start_ns=visit.last_ns or now_ns - DAY_NS,
        limit=_MOST_MARKED,
    )
    count = len(activity.entries)
    response = show_page(
        request,
        "activity_mark.html",
        {"new": f"{count}+" if activity.next_cursor else str(count or "")},
    )
    response.headers["Cache-Control"] = f"private, max-age={_MARK_S}"
    return response


def _show_entry(project: str, entry: ActivityEntry, seen_ns: int) -> ShownEntry:
    time_ns = from_rfc3339(entry.time, "time")
    return ShownEntry(
        entry=entry,
        time_ns=time_ns,
        is_new=bool(seen_ns) and time_ns > seen_ns,
        link=_find_link(project, entry),
        changes=[_write_change(change) for change in entry.changes[:_SHOWN_FIELDS]],
        more=max(len(entry.changes) - _SHOWN_FIELDS, 0),
    )


def _write_change(change: FieldChange) -> tuple[str, str, str]:
    return change.field, _write_value(change.before), _write_value(change.after)


def _write_value(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return view.short(text or '""', _LISTED_VALUE_CHARS)


def _find_link(project: str, entry: ActivityEntry) -> str:
    """Return the page of what was changed; empty if it has none or was deleted."""
    if entry.kind == "shared file":  # its name is an address below the project
        return f"{view.address(project)}/{entry.name}"
    path = () if entry.action == "deleted" else _path_of(entry)
    if not path:
        return ""
    return view.address(project, *path)


def _path_of(entry: ActivityEntry) -> tuple[str, ...]:
    """Return the parts of an address below the project; none without a page."""
    is_judge = any(change.after == "judge" for change in entry.changes)
    name = entry.name.rpartition(":v")[0]
    paths: dict[str, tuple[str, ...]] = {
        "version": ("judges" if is_judge else "models", name),
        "data set": ("datasets", name),
        "judge": ("judges", entry.name),
        "label": ("judges", entry.name),
        "alert": ("alerts",),
        "alert rule": ("alerts", entry.name),
        "alias": ("models", entry.name.rpartition("@")[0]),
        "queue": ("queues", entry.name),
        "baseline": ("experiments", entry.name),
        "key": ("settings",),
        "retention": ("settings",),
    }
    return paths.get(entry.kind, ())
