"""Stores who changed what in a project, and reads it together with what other tables contain.

The reasons are in docs/design/071-activity.md.
"""

import hashlib
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import orjson

from otel_ml_collector.access import USER, actor_now
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.sql import Sql, StoreClient, join_sql
from otel_ml_collector.store.versions import NUMBERED_VERSIONS
from otel_ml_collector.times import DAY_NS, HOUR_NS

ACTIVITY_DAYS: Final = 400
KEPT_ACTIVITY_NS: Final = ACTIVITY_DAYS * DAY_NS
# Kinds that are derived from other tables, and kinds that `note_change` stores.
_DERIVED_KINDS: Final = ("version", "alert", "alias", "baseline", "data set", "label", "key")
ACTIVITY_KINDS: Final = (
    *_DERIVED_KINDS,
    *("alert rule", "mute", "judge", "judge backfill", "queue", "prediction target"),
    *("known problem", "view", "shared file", "retention", "deletion", "read"),
)
# A new document has such values in fields that nobody set.
_UNSET: Final[tuple[object, ...]] = (None, "", [])
_VALUE_CHARS: Final = 1_000
_MOST_FIELDS: Final = 50
_USER_DIGEST_CHARS: Final = 12
_NAMED_REVIEWERS: Final = 5
_ENTRY_COLUMNS: Final = (
    *("project", "time_ns", "id", "kind", "action", "name", "who", "program", "changes"),
)

# Replaces the name of a deleted user. The name can also be a value in a changed filter.
HIDE_USER: Final = Sql("""
ALTER TABLE activity UPDATE
  who = if(who = {user_id:String}, {digest:String}, who),
  name = if(name = {target:String}, {digest:String}, name),
  changes = replaceAll(replaceAll(changes, {quoted:String}, {quoted_digest:String}),
    {escaped:String}, {escaped_digest:String})
WHERE project = {project:String} AND time_ns <= {deleted:Int64}
  AND (who = {user_id:String} OR name = {target:String}
    OR position(changes, {quoted:String}) > 0 OR position(changes, {escaped:String}) > 0)""")
HAS_OLD_ACTIVITY: Final = Sql("SELECT count() FROM activity WHERE time_ns < {before:Int64}")
DELETE_OLD_ACTIVITY: Final = Sql("ALTER TABLE activity DELETE WHERE time_ns < {before:Int64}")

_IN_TIME: Final = Sql("time_ns >= {start:Int64} AND time_ns < {end:Int64}")
_OF_KEYS: Final = Sql("""
  FROM access_keys FINAL
  WHERE (has(projects, {project:String}) OR has(projects, '*')) AND time_ns > 0""")
# An entry is written before its change, with this in front of its action, and again without it
# after the change. If the collector is killed in between, the entry counts if the change is stored.
_PENDING: Final = "pending "
_IS_MADE: Final = Sql("""(NOT startsWith(toString(action), 'pending ')
  OR substring(id, position(id, ':') + 1) IN (
    SELECT arrayJoin(splitByChar(' ', save_id)) FROM documents WHERE project = {project:String}
    UNION ALL SELECT toString(set_ns) FROM retention WHERE project = {project:String}
    UNION ALL SELECT toString(deleted_ns) FROM deletions WHERE project = {project:String}))""")
_CONFIRM_LEFT: Final = Sql("""
INSERT INTO activity (project, time_ns, id, kind, action, name, who, program, changes)
SELECT project, time_ns, id, kind, replaceOne(toString(stored), 'pending ', ''), name, who, program,
  changes
FROM (SELECT *, action AS stored FROM activity FINAL
  WHERE project = {project:String} AND startsWith(toString(action), 'pending ') AND {is_made})
""").fill(is_made=_IS_MADE)
# A SELECT for each source of entries, and the kinds of its entries. All have the same columns.
_ENTRY_SOURCES: Final[Sequence[tuple[frozenset[str], Sql]]] = (
    (
        frozenset(ACTIVITY_KINDS) - frozenset(_DERIVED_KINDS),
        Sql("""
    SELECT time_ns, id, toString(kind) AS kind,
      replaceOne(toString(stored), 'pending ', '') AS action, name, who,
      toString(program) AS program, changes
    FROM (SELECT *, action AS stored FROM activity FINAL
      WHERE project = {project:String} AND {within} AND {is_made})""").fill(
            within=_IN_TIME, is_made=_IS_MADE
        ),
    ),
    (
        frozenset({"version", "data set"}),
        Sql("""
    SELECT min(first_ns) AS time_ns,
      concat('version:', toString(source_kind), ':', source_name, ':', toString(number)) AS id,
      if(source_kind = 'dataset', 'data set', 'version') AS kind, 'new version' AS action,
      concat(source_name, ':v', toString(number)) AS name, '' AS who, '' AS program,
      if(source_kind = 'judge', 'judge', '') AS changes
    FROM (SELECT kind AS source_kind, name AS source_name, number, first_ns, last_ns
      FROM ({numbered}))
    GROUP BY source_kind, source_name, number HAVING max(last_ns) > 0""").fill(
            numbered=NUMBERED_VERSIONS
        ),
    ),
    (
        frozenset({"alert"}),
        Sql("""
    SELECT time_ns, concat('alert:', alert_events.id) AS id, 'alert' AS kind,
      if(state = 'firing', 'firing', 'resolved') AS action,
      if(slice IN ('', '[]'), rule, concat(rule, ' ', slice)) AS name, '' AS who, '' AS program,
      '' AS changes
    FROM alert_events FINAL WHERE project = {project:String} AND {within}
      AND (state = 'firing') != (before = 'firing')""").fill(within=_IN_TIME),
    ),
    (
        frozenset({"alias"}),
        Sql("""
    SELECT time_ns, concat('alias:', record_id) AS id, 'alias' AS kind,
      if(is_removed, 'removed', 'set') AS action, concat(model, '@', alias) AS name,
      toString(by) AS who, toString(source) AS program, digest AS changes
    FROM aliases FINAL WHERE project = {project:String} AND {within}""").fill(within=_IN_TIME),
    ),
    (
        frozenset({"baseline"}),
        Sql("""
    SELECT time_ns, concat('baseline:', record_id) AS id, 'baseline' AS kind, 'set' AS action,
      owner AS name, '' AS who, '' AS program, '' AS changes
    FROM (SELECT time_ns, record_id, owner FROM late_tags FINAL
      WHERE project = {project:String} AND name = 'baseline' AND {within})""").fill(
            within=_IN_TIME
        ),
    ),
    (
        frozenset({"label"}),
        Sql("""
    SELECT max(labelled_ns) AS time_ns,
      concat('label:', toString(judge), ':', toString(source), ':', toString(hour)) AS id,
      'label' AS kind, 'added' AS action, toString(judge) AS name,
      arrayStringConcat(arraySort(groupUniqArray({named})(reviewer)), ', ') AS who,
      if(source = 'agent', 'assistant', '') AS program,
      toString(uniqExact(owner, record_id)) AS changes
    FROM (SELECT name AS judge, source, owner, record_id, time_ns AS labelled_ns,
        toString(annotator) AS reviewer, intDiv(time_ns, {hour_ns}) AS hour
      FROM metrics
      WHERE project = {project:String} AND source IN ('human', 'agent') AND {within})
    GROUP BY judge, source, hour""").fill(named=_NAMED_REVIEWERS, hour_ns=HOUR_NS, within=_IN_TIME),
    ),
    (
        frozenset({"key"}),
        Sql("""
    SELECT created_ns AS time_ns, concat('created:', access_keys.id) AS id, 'key' AS kind,
      'created' AS action, if(access_keys.name = '', access_keys.id, access_keys.name) AS name,
      made_by AS who, '' AS program, arrayStringConcat(scopes, ', ') AS changes
    {of_keys}
    UNION ALL
    SELECT revoked_ns AS time_ns, concat('revoked:', access_keys.id) AS id, 'key' AS kind,
      'revoked' AS action, if(access_keys.name = '', access_keys.id, access_keys.name) AS name,
      revoked_by AS who, '' AS program, '' AS changes
    {of_keys}""").fill(of_keys=_OF_KEYS),
    ),
)
# The field whose value is the column `changes` of derived entries, by kind.
_DERIVED_FIELDS: Final = {
    "version": "version of a",
    "alias": "digest",
    "label": "labels",
    "key": "scopes",
}
_LIST_ENTRIES: Final = Sql("""
SELECT time_ns, id, kind, action, name, who, program, changes FROM ({sources})
WHERE {within} AND kind IN {kinds:Array(String)}
  AND (time_ns, id) < ({last_ns:Int64}, {last_id:String})
ORDER BY time_ns DESC, id DESC LIMIT {limit:UInt32}""")
_KEY_NAMES: Final = Sql("""
SELECT id, name FROM access_keys FINAL
WHERE {project:String} != '' AND id IN {ids:Array(String)} AND name != ''""")
_DELETED_USERS: Final = Sql("""
SELECT target, max(deleted_ns) AS deleted_ns FROM deletions
WHERE project = {project:String} AND kind = 'user' GROUP BY target""")


def digest_user(name: str) -> str:
    """Return the text that replaces the name of a deleted user."""
    return f"deleted user {hashlib.sha256(name.encode()).hexdigest()[:_USER_DIGEST_CHARS]}"


def hide_parameters(user: str) -> dict[str, str]:
    """Return the parameters of `HIDE_USER`, except for those of the deletion itself."""
    digest = digest_user(user)
    quoted, quoted_digest = (orjson.dumps(text).decode() for text in (user, digest))
    escaped, escaped_digest = (
        orjson.dumps(text).decode()[1:-1] for text in (quoted, quoted_digest)
    )
    return {
        "user_id": f"{USER}{user}",
        "digest": digest,
        "quoted": quoted,
        "quoted_digest": quoted_digest,
        "escaped": escaped,
        "escaped_digest": escaped_digest,
    }


def compare_fields(before: Any, after: Any) -> list[dict[str, Any]]:
    """List the fields of two JSON objects that differ, each with its value before and after.

    A field of a nested object is named by its path, such as ``model.name``. Long values are cut.
    """
    old, new = dict(_flatten(before)), dict(_flatten(after))
    return [
        {"field": name, "before": _cut(old.get(name)), "after": _cut(new.get(name))}
        for name in [*new, *(name for name in old if name not in new)]
        if old.get(name) != new.get(name)
        and not (old.get(name) in _UNSET and new.get(name) in _UNSET)
    ][:_MOST_FIELDS]


def _flatten(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        return [(path, value)] if path else []
    return [
        pair
        for name, part in value.items()
        for pair in _flatten(part, f"{path}.{name}" if path else str(name))
    ]


def _cut(value: Any) -> Any:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    if len(text) <= _VALUE_CHARS:
        return value
    return f"{text[:_VALUE_CHARS]}…(+{len(text) - _VALUE_CHARS:,})"


def begin_change(
    client: StoreClient,
    project: str,
    kind: str,
    action: str,
    name: str,
    *,
    identity: str,
    time_ns: int,
    changes: Sequence[Mapping[str, Any]] = (),
) -> Mapping[str, Any]:
    """Store that the sender of the current request changes something. On return it is on disk.

    Call it just before the change, and `confirm_change` after it. If the collector is killed in
    between, the entry is listed if the change is stored.

    Args:
        client: The store.
        project: The project.
        kind: What is changed, one of `ACTIVITY_KINDS`.
        action: What happens, such as ``changed``.
        name: Name of what is changed.
        identity: ID that the change has in its table: of the save, or the time in ns.
        time_ns: Time of the change.
        changes: The changed fields, from `compare_fields`.

    Returns:
        The entry, for `confirm_change`.
    """
    # A table names only its last changes, so the ones before are confirmed now.
    client.command(_CONFIRM_LEFT, parameters={"project": project})
    about = {"kind": kind, "action": action, "name": name}
    entry = _make_entry(project, time_ns, f"{kind}:{identity}", about, changes)
    _insert(client, {**entry, "action": f"{_PENDING}{action}"})
    return entry


def confirm_change(client: StoreClient, entry: Mapping[str, Any]) -> None:
    """Store that the change of an entry was made. A second call is harmless."""
    _insert(client, entry)


def note_change(
    client: StoreClient,
    project: str,
    kind: str,
    action: str,
    name: str,
    *,
    changes: Sequence[Mapping[str, Any]] = (),
    time_ns: int = 0,
    identity: str = "",
) -> None:
    """Store what the sender of the current request did, if no table has it. It is on disk then.

    Args:
        client: The store.
        project: The project.
        kind: What it is about, one of `ACTIVITY_KINDS`.
        action: What happened, such as ``read inputs``.
        name: Name of the subject.
        changes: Fields with a value before and after, as from `compare_fields`.
        time_ns: Time; 0 for now.
        identity: Identifies the entry, so that it is stored once if this is called again.
    """
    about = {"kind": kind, "action": action, "name": name}
    own_id = f"{kind}:{identity or secrets.token_hex(8)}"
    _insert(client, _make_entry(project, time_ns or time.time_ns(), own_id, about, changes))


def _make_entry(
    project: str,
    time_ns: int,
    own_id: str,
    about: Mapping[str, str],
    changes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Make an entry by the sender of the current request."""
    actor = actor_now()
    return {
        "project": project,
        "time_ns": time_ns,
        "id": own_id,
        **about,
        "who": actor.who,
        "program": actor.program,
        "changes": orjson.dumps(changes).decode() if changes else "",
    }


def _insert(client: StoreClient, entry: Mapping[str, Any]) -> None:
    client.insert("activity", [list(entry.values())], column_names=_ENTRY_COLUMNS)


def read_activity(
    reader: Reader,
    project: str,
    kinds: Collection[str],
    *,
    start_ns: int,
    end_ns: int,
    last: tuple[int, str],
    limit: int,
) -> list[Row]:
    """Read what changed in a project, newest first.

    Args:
        reader: The store, with the rights of the caller.
        project: The project.
        kinds: Kinds of entries, from `ACTIVITY_KINDS`.
        start_ns: Start of the time range.
        end_ns: End of the time range; entries at this time are left out.
        last: Time and ID of an entry. Only entries after it in the list are read.
        limit: Maximum number of entries.

    Returns:
        Rows with the columns of `_LIST_ENTRIES`. The sender is a name where it is known. The name
        of a deleted user is a digest. The column `changes` has a list as from `compare_fields`.
    """
    values = {
        "project": project,
        "kinds": sorted(kinds),
        "start": start_ns,
        "end": end_ns,
        "last_ns": last[0],
        "last_id": last[1],
        "limit": limit,
    }
    sources = [sql for own, sql in _ENTRY_SOURCES if own & frozenset(kinds)]
    if not sources:
        return []
    sql = _LIST_ENTRIES.fill(sources=join_sql(" UNION ALL ", sources), within=_IN_TIME)
    rows = reader.rows(sql, values)
    ids = sorted({row["who"] for row in rows})
    names = reader.rows(_KEY_NAMES, {"project": project, "ids": ids}) if ids else []
    key_names = {row["id"]: row["name"] for row in names}
    deleted = {
        row["target"]: row["deleted_ns"]
        for row in reader.rows(_DELETED_USERS, {"project": project})
    }
    for row in rows:
        field = _DERIVED_FIELDS.get(row["kind"], "")
        row["changes"] = (
            [{"field": field, "before": None, "after": row["changes"]}]
            if field and row["changes"]
            else orjson.loads(row["changes"] or "[]")
        )
        who = [key_names.get(part, part.removeprefix(USER)) for part in row["who"].split(", ")]
        row["who"] = ", ".join(
            digest_user(part) if row["time_ns"] <= deleted.get(part, -1) else part for part in who
        )
    return rows
