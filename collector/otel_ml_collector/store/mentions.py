"""Finds records, other than runs, that contain the name of a person."""

import json
from collections.abc import Mapping
from typing import Final

from otel_ml.items import MANIFEST
from otel_ml_collector.owners import SET
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.sql import Sql, join_sql

MOST_MENTIONS: Final = 1_000
_OURS: Final = Sql("project = {project:String}")
# The name as it is, and as it is written in JSON text.
_NAMES: Final = Sql("""multiSearchAnyCaseInsensitiveUTF8(
  concatWithSeparator('\n', {columns}), {names:Array(String)})""")


def _contain(*columns: Sql) -> Sql:
    """Write the condition that at least one of these columns contains the name."""
    return _NAMES.fill(columns=join_sql(", ", columns))


_NAMING_ITEMS: Final = Sql("""
    SELECT digest, max(time_ns) AS time_ns FROM items WHERE {ours} AND {named}
    GROUP BY digest ORDER BY digest LIMIT {most}""").fill(
    ours=_OURS,
    named=_contain(Sql("inputs"), Sql("expected"), Sql("tags"), Sql("source_session")),
    most=MOST_MENTIONS,
)
# All versions of data sets are searched: an item that is not in the newest version is still shown
# in older ones.
_HOLDERS: Final = Sql("""
    SELECT right(line, 64) AS digest, substring(owner, {behind}) AS dataset,
      any(left(line, -65)) AS item
    FROM (
      SELECT owner, arrayJoin(splitByChar('\n', JSONExtractString(json))) AS line
      FROM objects
      WHERE {ours} AND startsWith(owner, '{set}') AND startsWith(ref, '{manifest}') AND json != '')
    WHERE digest IN {digests:Array(String)}
    GROUP BY digest, dataset ORDER BY dataset, item LIMIT {most}""").fill(
    ours=_OURS, behind=len(SET) + 64 + 2, set=Sql(SET), manifest=Sql(MANIFEST), most=MOST_MENTIONS
)
_NAMING_RECORDS: Final = Sql("""
    SELECT * FROM (
      SELECT kind, name, '' AS place, saved_ns AS time_ns FROM documents FINAL
      WHERE {ours} AND body != '' AND {in_document}
      UNION ALL
      SELECT 'label' AS kind, name, owner AS place, max(time_ns) AS time_ns FROM metrics FINAL
      WHERE {ours} AND {in_label} GROUP BY name, owner
      UNION ALL
      SELECT 'tag' AS kind, name, owner AS place, max(time_ns) AS time_ns FROM late_tags
      WHERE {ours} AND {in_tag} GROUP BY name, owner
      UNION ALL
      SELECT 'alert state' AS kind, rule AS name, slice AS place, since_ns AS time_ns
      FROM alerts FINAL WHERE {ours} AND {in_state}
      UNION ALL
      SELECT 'alert history' AS kind, rule AS name, slice AS place, max(time_ns) AS time_ns
      FROM alert_events WHERE {ours} AND {in_event} GROUP BY rule, slice
      UNION ALL
      SELECT 'notification' AS kind, rule AS name, target AS place, max(changed_ns) AS time_ns
      FROM notifications WHERE {ours} AND {in_message} GROUP BY rule, target)
    ORDER BY kind, name, place LIMIT {most}""").fill(
    ours=_OURS,
    in_document=_contain(Sql("name"), Sql("body")),
    in_label=_contain(
        Sql("owner"),
        Sql("label"),
        Sql("explanation"),
        Sql("error"),
        Sql("actual"),
        Sql("annotator"),
    ),
    in_tag=_contain(Sql("owner"), Sql("value")),
    in_state=_contain(Sql("slice"), Sql("body")),
    in_event=_contain(Sql("slice"), Sql("reason")),
    in_message=_contain(Sql("body")),
    most=MOST_MENTIONS,
)


def find_records(reader: Reader, project: str, who: str) -> list[Row]:
    """Find the places, except in runs, where the name of a person is stored.

    Upper and lower case are treated alike. Documents, labels, tags, alerts and notifications are
    searched.

    Args:
        reader: The store.
        project: The project.
        who: Name of the person.

    Returns:
        At most 1,000 rows, one for each record that contains the name:

        * `kind`: ``label``, ``tag``, ``alert state``, ``alert history``, ``notification``, or the
          kind of a document.
        * `name`: Name of the label, tag or document. For alerts and notifications, the alert rule.
        * `place`: For a label or tag, the ID of the run (or the trace key etc.) to which it
          belongs. For an alert, the slice. For a notification, the receiver. Empty for a document.
        * `time_ns`: When the record was stored or changed, in nanoseconds since 1970.
    """
    return reader.rows(_NAMING_RECORDS, {"project": project, "names": _spell(who)})


def find_items(reader: Reader, project: str, who: str) -> Mapping[str, int]:
    """Find data set items that contain a name in any case: time of storing, by digest."""
    rows = reader.rows(_NAMING_ITEMS, {"project": project, "names": _spell(who)})
    return {row["digest"]: row["time_ns"] for row in rows}


def find_holders(reader: Reader, project: str, digests: list[str]) -> list[Row]:
    """Find the data sets of items: for each digest, the data set and the item's ID in it."""
    return reader.rows(_HOLDERS, {"project": project, "digests": digests})


def _spell(who: str) -> list[str]:
    """Write the name as it is, and as in JSON text, with escaped quotes and backslashes."""
    return sorted({who, json.dumps(who, ensure_ascii=False)[1:-1]})
