"""Finds records that still name a person after a deletion: items, alert rules, labels and others.

Deleting a user removes the runs of the user. Items of data sets, alert rules, queues, filters and
labels are written by others, and may name the person too.
"""

from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import Field

from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.store.mentions import (
    MOST_MENTIONS,
    find_holders,
    find_items,
    find_records,
)
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.times import to_rfc3339

# Kinds of documents that have another name in the user interface.
_USERS_WORDS: Final = {"alert": "rule"}

api = APIRouter(prefix="/api/v1", tags=["storage"], route_class=DeferredRoute)


class Mention(AnswerBody):
    """Something that contains the name."""

    kind: str = Field(
        description="item, rule, mute, view, queue, target, label, tag, alert state, alert "
        "history or notification"
    )
    name: str = Field(description="ID of the item, or name of the rule, judge, tag and so on")
    place: str = Field(
        description="The data set of an item, the run or session of a label or tag, the slice of "
        "an alert, the receiver of a notification; else empty"
    )
    time: str = Field(description="When it was last stored or changed, RFC 3339 in UTC")


class Mentions(AnswerBody):
    """What contains a name; not the inputs and outputs of runs, which a filter finds."""

    mentions: list[Mention]
    is_complete: bool = Field(description="False if one of the lists has more than 1,000 entries")


def find_mentions(reader: Reader, project: str, who: str) -> Mentions:
    """Find where a name is stored in records such as data set items and alert rules.

    Upper and lower case are treated alike. Runs are not searched.

    Args:
        reader: Reads the store.
        project: The project.
        who: The name, such as an email address.
    """
    items = find_items(reader, project, who)
    rows = find_records(reader, project, who)
    is_complete = len(items) < MOST_MENTIONS and len(rows) < MOST_MENTIONS
    mentions = [*_list_items(reader, project, items), *map(_make_mention, rows)]
    return Mentions(mentions=mentions, is_complete=is_complete)


def _list_items(reader: Reader, project: str, items: Mapping[str, int]) -> list[Mention]:
    """List items by data set. An item without a data set has its digest as its name.

    Args:
        reader: Reads the store.
        project: The project.
        items: Time when each item was stored, by digest.
    """
    if not items:
        return []
    holders = find_holders(reader, project, list(items))
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
        kind=_USERS_WORDS.get(str(row["kind"]), str(row["kind"])),
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
    """Find a person's name in data set items, alert rules, labels and similar records.

    After you delete a user, call this to see where the name still appears. To search the inputs and
    outputs of runs, use a filter.
    """
    return find_mentions(reader, project, who)
