"""Notes on disk which projects have rows with values of deleted records, until these are rewritten.

A deletion of scores or tags that were sent for trace keys or tags leaves no record that tells which
rows it changes. If the collector is killed before it writes these rows again, the next one finds
the project here. Design record: docs/design/074-scores-in-rows.md.
"""

import time
from collections.abc import Collection
from typing import Final

from otel_ml_collector.store.connection import Memory
from otel_ml_collector.store.rows import EVERY_OWNER
from otel_ml_collector.store.sql import Sql, StoreClient
from otel_ml_collector.times import MINUTE_NS

_META_NAME: Final = "stale rows "
# If another collector has not written the rows after this time, it was probably killed.
_KILLED_NS: Final = 5 * MINUTE_NS
# The table keeps the highest value of a name. The lowest bit says that the rows are written again.
_STALE: Final = Sql("""
    SELECT substring(name, {length}) AS project, max(value) AS newest FROM store_meta
    WHERE startsWith(name, '{name}') GROUP BY name
    HAVING newest % 2 = 0 AND newest < {before:UInt64}""").fill(
    name=Sql(_META_NAME), length=len(_META_NAME) + 1
)
_DELETING: Final = Sql("""
    SELECT count() FROM system.mutations WHERE database = currentDatabase()
      AND table IN ('metrics', 'late_tags') AND NOT is_done""")


def note_stale(client: StoreClient, memory: Memory, projects: Collection[str]) -> None:
    """Note the projects that are about to lose records for keys and tags.

    After the deletion, call `RowUpdates.put_owners` and then `RowUpdates.note_deleted`.
    """
    if not projects:
        return
    value = time.time_ns() << 1
    memory.updates.note_stale(dict.fromkeys(projects, value))
    client.insert("store_meta", [[_META_NAME + project, value] for project in sorted(projects)])


def find_stale(client: StoreClient, memory: Memory) -> bool:
    """Write the rows of projects again that a killed collector noted.

    Returns:
        Whether to call this again later, because the store is still deleting records.
    """
    before_ns = time.time_ns() - (0 if memory.is_alone else _KILLED_NS)
    rows = client.query(_STALE, {"before": before_ns << 1}).result_rows
    known = memory.updates.list_stale()
    stale = {project: value for project, value in rows if project not in known}
    if not stale:
        return False
    if client.query(_DELETING).result_rows[0][0]:
        return True
    memory.updates.note_stale(stale)
    memory.updates.put_owners((project, EVERY_OWNER) for project in stale)
    memory.updates.note_deleted(stale)
    return False


def note_written(client: StoreClient, memory: Memory) -> None:
    """Note which projects have no such rows any more."""
    if written := memory.updates.find_written():
        rows = [[_META_NAME + project, value | 1] for project, value in written.items()]
        client.insert("store_meta", rows)
        memory.updates.forget_stale(written)
