"""Finds what still contains a person's name after a deletion: items, rules, labels and the like.

Deleting a user removes the runs of the user. Items of data sets, alert rules, queues, filters and
labels are written by others, and may name the person too.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from otel_ml.items import MANIFEST
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.owners import SET
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.sql import Sql, join_sql
from otel_ml_collector.times import to_rfc3339

_MOST: Final = 1_000
_OURS: Final = Sql("project = {project:String}")
# The name as it is, and as it is written within JSON.
_NAMES: Final = Sql("""multiSearchAnyCaseInsensitiveUTF8(
  concatWithSeparator('\n', {columns}), {names:Array(String)})""")


def _contain(*columns: Sql) -> Sql:
    """Write the condition that one of some columns contains the name."""
    return _NAMES.fill(columns=join_sql(", ", columns))


_ITEMS: Final = Sql("""
    SELECT digest, max(time_ns) AS time_ns FROM items WHERE {ours} AND {named}
    GROUP BY digest ORDER BY digest LIMIT {most}""").fill(
    ours=_OURS,
    named=_contain(Sql("inputs"), Sql("expected"), Sql("tags"), Sql("source_session")),
    most=_MOST,
)
# The newest versions of data sets are not enough: an older one still shows the item.
_HOLDERS: Final = Sql("""
    SELECT right(line, 64) AS digest, substring(owner, {behind}) AS dataset,
      any(left(line, -65)) AS item
    FROM (
      SELECT owner, arrayJoin(splitByChar('\n', JSONExtractString(json))) AS line
      FROM objects
      WHERE {ours} AND startsWith(owner, '{set}') AND startsWith(ref, '{manifest}') AND json != '')
    WHERE digest IN {digests:Array(String)}
    GROUP BY digest, dataset ORDER BY dataset, item LIMIT {most}""").fill(
    ours=_OURS, behind=len(SET) + 64 + 2, set=Sql(SET), manifest=Sql(MANIFEST), most=_MOST
)
_OTHERS: Final = Sql("""
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
    most=_MOST,
)
_RULE: Final = "rule"
# As users call what a kind of documents is stored as.
_KINDS: Final = {"alert": _RULE}

api = APIRouter(prefix="/api/v1", tags=["storage"])


class Mention(BaseModel):
    """Something that contains the name."""

    kind: str = Field(
        description="item, rule, mute, view, queue, target, label, tag, alert state, alert "
        "history or notification"
    )
    name: str = Field(description="The item's id, or the name of the rule, judge, tag or the like")
    place: str = Field(
        description="The data set of an item, the run or session of a label or tag, the slice of "
        "an alert, the receiver of a notification; else empty"
    )
    time: str = Field(description="When it was stored or changed last; RFC 3339, UTC")


class Mentions(BaseModel):
    """What contains a name; not the inputs and outputs of runs, which a filter finds."""

    mentions: list[Mention]
    is_complete: bool = Field(description="False if there are more than 1,000 of a kind")


def find_mentions(reader: Reader, project: str, who: str) -> Mentions:
    """Find what contains a name in any case, besides runs.

    Args:
        reader: Reads the store.
        project: The project.
        who: The name, such as an email address.
    """
    # JSON text has quotes and backslashes escaped.
    names = sorted({who, json.dumps(who, ensure_ascii=False)[1:-1]})
    asked = {"project": project, "names": names}
    items = {row["digest"]: row["time_ns"] for row in reader.rows(_ITEMS, asked)}
    rows = reader.rows(_OTHERS, asked)
    is_complete = len(items) < _MOST and len(rows) < _MOST
    mentions = [*_find_items(reader, project, items), *map(_make_mention, rows)]
    return Mentions(mentions=mentions, is_complete=is_complete)


def _find_items(reader: Reader, project: str, items: Mapping[str, int]) -> list[Mention]:
    """List items by data set. An item of none has its digest as its name.

    Args:
        reader: Reads the store.
        project: The project.
        items: When each item was stored, by its digest.
    """
    if not items:
        return []
    holders = reader.rows(_HOLDERS, {"project": project, "digests": list(items)})
    held = {row["digest"] for row in holders}
    places = [
        *((row["digest"], row["item"], row["dataset"]) for row in holders),
        *((digest, digest, "") for digest in items if digest not in held),
    ]
    return [
        Mention(kind="item", name=name, place=dataset, time=to_rfc3339(items[digest]))
        for digest, name, dataset in places
    ]


def _make_mention(row: Row) -> Mention:
    return Mention(
        kind=_KINDS.get(str(row["kind"]), str(row["kind"])),
        name=row["name"],
        place=row["place"],
        time=to_rfc3339(row["time_ns"]),
    )


@api.get("/projects/{project:path}/mentions")
def get_mentions(
    project: str,
    reader: FromReader,
    who: Annotated[str, Query(min_length=1, max_length=500, description="The name to look for")],
) -> Mentions:
    """Find what contains a person's name: items, rules, labels and the like.

    Use it after you delete a user, to see what else names the person. It does not search the
    inputs and outputs of runs: use a filter for these.
    """
    return find_mentions(reader, project, who)
