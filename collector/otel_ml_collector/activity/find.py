"""What changed in a project: new versions, alerts, rules, judges, keys, deletions and labels.

The reasons are in docs/design/071-activity.md.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import Field

from otel_ml_collector.access import ADMIN
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import TIMES, read_cursor, write_place
from otel_ml_collector.errors import BadInput
from otel_ml_collector.store.activity import (
    ACTIVITY_KINDS,
    KEPT_ACTIVITY_NS,
    read_activity,
)
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.versions import all_version_numbers
from otel_ml_collector.times import to_rfc3339

# Only administrators see changes of keys, and who reads payloads.
_ADMIN_KINDS: Final = frozenset({"key", "read"})
# The programs by which SDK and commands sign their records, as the activity names them.
_PROGRAM_NAMES: Final = {"cli": "command", "ui": "page", "sdk": "api"}
# Numbers of nanoseconds below this are lengths of time, not moments since 1973.
_FIRST_MOMENT_NS: Final = 10**17
_LAST_ID: Final = "\U0010ffff"


class FieldChange(AnswerBody):
    """A changed field. Long values are cut."""

    field: str = Field(description="Its name; a path such as `model.name` in a nested object")
    before: Any = Field(description="The value before; null if there was none")
    after: Any = Field(description="The value after; null if it was removed")


class ActivityEntry(AnswerBody):
    """A change in a project."""

    time: str = Field(description="RFC 3339, UTC")
    who: str = Field(
        description="Name of the key, user or reviewer; `local` for the collector's own machine "
        "without keys; `settings file` for its rules and judges; empty if unknown, as for a new "
        "version. A deleted user is a digest"
    )
    program: str = Field(
        description="With what it was changed: `page`, `command`, `assistant` or `api`; empty if "
        "unknown"
    )
    kind: str = Field(description=f"What was changed: one of {', '.join(ACTIVITY_KINDS)}")
    action: str = Field(description="What happened, such as `created`, `changed` or `deleted`")
    name: str = Field(description="Name of what was changed")
    changes: list[FieldChange] = Field(description="The changed fields, at most 50")


class ProjectActivity(AnswerBody):
    """Changes in a project, newest first."""

    entries: list[ActivityEntry]
    next_cursor: str | None = Field(description="The `cursor` of the next page; null at the end")


def list_kinds(reader: Reader, project: str) -> list[str]:
    """List the kinds of changes that the caller may see."""
    is_admin = reader.access.may(ADMIN, project)
    return [kind for kind in ACTIVITY_KINDS if is_admin or kind not in _ADMIN_KINDS]


def find_activity(
    reader: Reader,
    project: str,
    now_ns: int,
    *,
    start_ns: int = 0,
    end_ns: int | None = None,
    kinds: Collection[str] = (),
    limit: int = 50,
    cursor: str | None = None,
) -> ProjectActivity:
    """Find what changed in a project in the last 400 days, newest first.

    Args:
        reader: The store, with the rights of the caller.
        project: The project.
        now_ns: The current time.
        start_ns: Start of the time range.
        end_ns: End of the time range; None for now.
        kinds: Kinds of changes; empty for all except reads of payloads.
        limit: Maximum number of entries.
        cursor: The `next_cursor` of the page before.

    Raises:
        BadInput: A kind or the cursor is invalid.
    """
    for kind in kinds:
        if kind not in ACTIVITY_KINDS:
            raise BadInput(
                f"Invalid kind {kind[:80]!r}: expected one of {', '.join(ACTIVITY_KINDS)}", "kind"
            )
    last_ns, last_id = (
        read_cursor(cursor, int, str, numbers=TIMES) if cursor else (2**63 - 1, _LAST_ID)
    )
    wanted = set(kinds) or set(ACTIVITY_KINDS) - {"read"}
    rows = read_activity(
        reader,
        project,
        wanted & set(list_kinds(reader, project)),
        start_ns=max(start_ns, now_ns - KEPT_ACTIVITY_NS),
        end_ns=now_ns + 1 if end_ns is None else end_ns,
        last=(last_ns, last_id),
        limit=limit + 1,
    )
    _name_versions(reader, project, rows)
    shown = rows[:limit]
    more = len(rows) > limit
    return ProjectActivity(
        entries=[_make_entry(row) for row in shown],
        next_cursor=write_place([shown[-1]["time_ns"], shown[-1]["id"]]) if more else None,
    )


def _name_versions(reader: Reader, project: str, rows: Sequence[Row]) -> None:
    """Write versions instead of digests to which aliases were set."""
    if not any(row["kind"] == "alias" for row in rows):
        return
    numbers = {
        (name, digest): number
        for (name, digest, _), number in sorted(
            all_version_numbers(reader, project, "model").items(), key=lambda item: -item[1]
        )
    }
    for row in rows:
        if row["kind"] == "alias":
            model = row["name"].rpartition("@")[0]
            for change in row["changes"]:
                number = numbers.get((model, change["after"]))
                named = change["after"][:12] if number is None else f"v{number}"
                change |= {"field": "version", "after": named}


def _make_entry(row: Row) -> ActivityEntry:
    return ActivityEntry(
        time=to_rfc3339(row["time_ns"]),
        who=row["who"],
        program=str(_PROGRAM_NAMES.get(row["program"], row["program"])),
        kind=row["kind"],
        action=row["action"],
        name=row["name"],
        changes=list(_list_changes(row["changes"])),
    )


def _list_changes(changes: Iterable[Mapping[str, Any]]) -> Iterator[FieldChange]:
    """Write moments as RFC 3339, and leave out those that are not set."""
    for change in changes:
        field = str(change["field"])
        sides = change["before"], change["after"]
        if field.endswith("_ns") and all(map(_is_moment, sides)):
            if any(sides):
                before, after = (f"{to_rfc3339(side)[:19]}Z" if side else None for side in sides)
                yield FieldChange(field=field.removesuffix("_ns"), before=before, after=after)
        else:
            yield FieldChange(**change)


def _is_moment(value: object) -> bool:
    """Whether a number of nanoseconds is a moment, or 0 for none."""
    return not value or (isinstance(value, int) and value >= _FIRST_MOMENT_NS)
