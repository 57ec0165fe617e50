"""The tool activity."""

from otel_ml_collector.activity.find import FieldChange, find_activity
from otel_ml_collector.assistants.answers import Digest, DigestTable, Own, moment
from otel_ml_collector.assistants.call import ToolCall

_CHANGED_COLUMNS = ("time", "who", "program", "kind", "name", "action", "changes")
_SHOWN_FIELDS = 5


def list_changes(call: ToolCall) -> Digest:
    """Answer a call of the tool activity."""
    window = call.window
    kind = call.given["kind"]
    activity = find_activity(
        call.reader,
        call.project,
        call.now_ns,
        start_ns=window.start_ns,
        end_ns=window.end_ns,
        kinds=[kind] if kind else [],
        limit=call.limit,
        cursor=call.given["cursor"],
    )
    rows = [
        [
            moment(entry.time),
            entry.who,
            entry.program,
            Own(entry.kind),
            entry.name,
            Own(entry.action),
            [*map(_write, entry.changes[:_SHOWN_FIELDS])],
        ]
        for entry in activity.entries
    ]
    return Digest(
        table=DigestTable(_CHANGED_COLUMNS, rows),
        url=call.page("activity", kind=kind),
        hint="" if rows else "nothing changed in this time",
        go_on=call.go_on(cursor=activity.next_cursor) if activity.next_cursor else None,
        chars=call.chars,
    )


def _write(change: FieldChange) -> str:
    before = "" if change.before is None else f"{change.before} -> "
    return f"{change.field}: {before}{change.after}"
