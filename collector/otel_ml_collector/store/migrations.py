"""Opens a store and upgrades it to the current schema, in steps that can be repeated.

First, missing tables are created as they are defined today, and existing tables get the columns and
indexes that they lack. Then the steps since the store's version run in order. Each is noted when it
is done. A step that was interrupted by a kill runs again at the next start, so each statement must
be repeatable, even after it did a part of its work. New steps go to the end of `STEPS`. A released
step is never changed. There is no downgrade.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from otel_ml_collector.errors import BadSetting, StoreUnreachable, Unavailable
from otel_ml_collector.store.connection import Connections, describe_error, refuse_version
from otel_ml_collector.store.repair import drop_unread
from otel_ml_collector.store.schema import COPIES, META, TABLE_NAMES, TABLES
from otel_ml_collector.store.sql import Sql, StoreClient, identifier, join_sql
from otel_ml_collector.store.tables import DECLARED_TABLES, Table

# A step may read large tables, so it has no time limit.
_UNHURRIED: Final = {
    "max_execution_time": 0,
    "mutations_sync": 2,
    "max_partitions_per_insert_block": 0,
    "max_memory_usage": 2_500_000_000,
}

# Makes one thread remove the parts that merges replaced. After minutes of load, more than 100 such
# parts are removed at once. For these, the engine would start 128 threads that never end and keep
# three files open each.
_REMOVAL: Final = "concurrent_part_removal_threshold"
_REMOVE: Final = Sql("ALTER TABLE {table} MODIFY SETTING {setting} = 1000000000")
_UNTOLD: Final = Sql("""
    SELECT name FROM system.tables WHERE database = currentDatabase()
      AND engine LIKE '%MergeTree' AND position(engine_full, {setting:String}) = 0""")

# Stores from an older version keep replaced parts for 480 s. For the reason against it, see
# `tables.DURABLE`.
_KEPT_LONG: Final = Sql("""
    SELECT name FROM system.tables WHERE database = currentDatabase()
      AND engine LIKE '%MergeTree' AND position(engine_full, 'old_parts_lifetime = 480') > 0""")
_KEEP_SHORT: Final = Sql("ALTER TABLE {table} MODIFY SETTING old_parts_lifetime = 8")

# The engine can delete and change rows only in MergeTree tables.
_OTHER_ENGINES: Final = Sql("""
    SELECT name, engine FROM system.tables
    WHERE database = currentDatabase() AND name IN {names:Array(String)}
      AND engine NOT LIKE '%MergeTree' ORDER BY name LIMIT 1""")

# Tables whose inserts have deduplication tokens. The engine accepts each token once. So only one of
# two collectors saves a document, and a repeated insert of sketches is counted once.
_NAMED_INSERTS: Final = ("documents", "sketches")
_OF_REPLICAS: Final = "replicated_deduplication_window"
_OF_ONE: Final = "non_replicated_deduplication_window"
_WINDOWS: Final = Sql("""
    SELECT name, startsWith(engine, 'Replicated') AS is_replicated,
      extract(engine_full, '[ ,]{of_replicas} = (\\d+)') AS of_replicas,
      extract(engine_full, '[ ,]{of_one} = (\\d+)') AS of_one,
      (SELECT value FROM system.replicated_merge_tree_settings WHERE name = '{of_replicas}')
        AS usual_of_replicas
    FROM system.tables
    WHERE database = currentDatabase() AND name IN {names:Array(String)}
      AND engine LIKE '%MergeTree' ORDER BY name""").fill(
    of_replicas=Sql(_OF_REPLICAS), of_one=Sql(_OF_ONE)
)
_ADD_WINDOW: Final = Sql("ALTER TABLE {table} MODIFY SETTING {setting} = 1000").fill(
    table=Sql("sketches"), setting=Sql(_OF_ONE)
)

_HAS_TTL: Final = Sql("""
    SELECT count() FROM system.tables WHERE database = currentDatabase()
      AND name = 'notifications' AND position(engine_full, ' TTL ') > 0""")

# Temporary errors of a server that is starting, or of a cluster without its coordinator.
_PASSING: Final = frozenset(
    {"ALL_CONNECTION_TRIES_FAILED", "KEEPER_EXCEPTION", "MEMORY_LIMIT_EXCEEDED", "NETWORK_ERROR"}
    | {"NO_ZOOKEEPER", "SOCKET_TIMEOUT", "TABLE_IS_READ_ONLY", "TOO_MANY_SIMULTANEOUS_QUERIES"}
    | {"REPLICA_IS_NOT_IN_QUORUM", "TOO_FEW_LIVE_REPLICAS", "UNKNOWN_STATUS_OF_INSERT"}
    | {"UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE"}
)
# Not temporary: the certificate or the settings must be changed.
_CERTIFICATE: Final = "CERTIFICATE_VERIFY_FAILED"

_logger = logging.getLogger(__name__)


# No release had an older schema. Older stores are refused with an error that names the last commit
# that can upgrade them.
OLDEST_SCHEMA: Final = 29
LAST_UPGRADER: Final = "100d45b4"

# The statements that upgrade a store by one version each, starting after `OLDEST_SCHEMA`. Missing
# tables are created without a step.
STEPS: Final[Sequence[Sequence[Sql]]] = (
    (),  # 30: notes on costs
    (),  # 31: calls that are recorded in several traces
    (  # 32: ranks of rows that are folded again, docs/design/068-rank-of-a-row.md
        Sql("ALTER TABLE runs MODIFY COLUMN rank UInt128"),
        # The engine cannot change the rank of a stored row, so each run is stored again.
        Sql("""
            INSERT INTO runs SELECT * REPLACE (bitShiftLeft(old.rank, 64) AS rank)
            FROM (SELECT * FROM runs FINAL WHERE rank < bitShiftLeft(toUInt128(1), 64)) AS old"""),
    ),
    # 33: columns of `runs` with what other runs change. The rows of older runs are written again in
    # the background, as if they had arrived now.
    (Sql("ALTER TABLE store_meta DELETE WHERE startsWith(name, 'settled ')"),),
    (),  # 34: who changed what, docs/design/071-activity.md
    # 35: newest scores in rows of `runs`. Rows of scored runs are written again in the background.
    (Sql("ALTER TABLE store_meta DELETE WHERE startsWith(name, 'settled ')"),),
    # 36: labels of reviewers in rows of `runs`, in the same way.
    (Sql("ALTER TABLE store_meta DELETE WHERE startsWith(name, 'settled ')"),),
    # 37: the rows of `runs` get late tags, in the same way.
    (Sql("ALTER TABLE store_meta DELETE WHERE startsWith(name, 'settled ')"),),
    (  # 38: the same for scores and tags that name a trace key or a tag
        Sql("ALTER TABLE store_meta DELETE WHERE startsWith(name, 'settled ')"),
        Sql("""ALTER TABLE runs COMMENT COLUMN final_scores
          'newest score of each judge and reviewer that names the run, its trace key or a tag'"""),
    ),
    # 39: the rows of `runs` get ground truth, in the same way as scores.
    (Sql("ALTER TABLE store_meta DELETE WHERE startsWith(name, 'settled ')"),),
    (  # 40: the newest time of arrival before a deletion
        Sql("""ALTER TABLE deletions ADD COLUMN IF NOT EXISTS arrived_ns Int64 DEFAULT deleted_ns
          COMMENT 'newest time of arrival before the request'"""),
    ),
    # 41: the rows of `runs` get reports of programs, in the same way as ground truth.
    (Sql("ALTER TABLE store_meta DELETE WHERE startsWith(name, 'settled ')"),),
    # Add new steps here. A step for declared tables, columns or indexes is empty.
)

# Version of the schema. Each release that changes a table increases it by one.
SCHEMA_VERSION: Final = OLDEST_SCHEMA + len(STEPS)

_READ_COLUMNS: Final = Sql("""
    SELECT name FROM system.columns
    WHERE database = currentDatabase() AND table = {table:String}""")
_INDEXES: Final = Sql("""
    SELECT name FROM system.data_skipping_indices
    WHERE database = currentDatabase() AND table = {table:String}""")
_FOUND: Final = Sql("SELECT max(value) FROM store_meta WHERE name = 'schema'")
# Notes when the store got the rule that a definition has at most two versions by output structure.
# Versions that arrived before keep their numbers. A new store has 0: the rule applies to all of its
# versions.
_TWO_STRUCTURES: Final = Sql("""
INSERT INTO store_meta (name, value)
SELECT 'two_structures', if({is_new:Bool}, 0, toUnixTimestamp64Nano(now64(9)))
FROM (SELECT count() AS known FROM store_meta WHERE name = 'two_structures') WHERE known = 0""")


def connect(url: str) -> Connections:
    """Open a store, and upgrade it to the current schema.

    Args:
        url: URL of the store, as for `Connections`.

    Raises:
        StoreUnreachable: The server does not answer, or the disk of the folder fails or is full.
        BadSetting: The URL is invalid; another process uses the data directory; the server refuses
            the user; its tables have an engine that cannot delete rows; or the store is newer than
            this program or too old for it.
    """
    connections = Connections(url)
    for folder in connections.folder.glob("store/store/*/*") if connections.folder else ():
        drop_unread(folder)
    try:
        client = connections.open()
        if connections.folder is None:
            _check_engines(client)
        migrate(client)
        _keep_parts_short(client)
        if connections.folder is not None:
            _remove_by_one_thread(client)
    except (ClickHouseError, Unavailable, TypeError) as error:  # TypeError: unknown URL option
        connections.close()
        text = f"The store at {connections.name} cannot be opened: {describe_error(error)}"
        raise (StoreUnreachable(text) if _may_pass(error) else BadSetting(text)) from error
    except BadSetting:
        connections.close()
        raise
    return connections


def _may_pass(error: Exception) -> bool:
    """Return whether opening the same store may succeed later, with the same settings."""
    if isinstance(error, OperationalError):
        return _CERTIFICATE not in str(error)
    return isinstance(error, Unavailable) or getattr(error, "name", None) in _PASSING


def _check_engines(client: StoreClient) -> None:
    """Refuse an old server, and tables whose rows cannot be deleted, such as Distributed tables."""
    refuse_version(client.query(Sql("SELECT version()")).result_rows[0][0])
    result_rows = client.query(
        _OTHER_ENGINES, parameters={"names": sorted(TABLE_NAMES)}
    ).result_rows
    for name, engine in result_rows:
        raise BadSetting(
            f"The table {name} of the store has the engine {engine}. ClickHouse cannot delete its "
            "rows, so deletions and retention would fail. Expected tables of the MergeTree family, "
            "as in deploy/clickhouse/cluster.sql. If you have several shards, run separate "
            "collectors for each shard"
        )


def _keep_parts_short(client: StoreClient) -> None:
    for (table,) in client.query(_KEPT_LONG).result_rows:
        if table in TABLE_NAMES:
            client.command(_KEEP_SHORT.fill(table=identifier(table, TABLE_NAMES)))


def _remove_by_one_thread(client: StoreClient) -> None:
    for (table,) in client.query(_UNTOLD, parameters={"setting": _REMOVAL}).result_rows:
        if table in TABLE_NAMES:
            name = identifier(table, TABLE_NAMES)
            client.command(_REMOVE.fill(table=name, setting=Sql(_REMOVAL)))


def _keep_windows(client: StoreClient) -> None:
    """Make the engine remember the deduplication tokens of inserts.

    Raises:
        BadSetting: It does not, because a table of a cluster was created with other settings.
    """
    asked = {"names": list(_NAMED_INSERTS)}
    for name, is_replicated, *windows, usual in client.query(_WINDOWS, asked).result_rows:
        setting, window = (
            (_OF_REPLICAS, windows[0] or usual) if is_replicated else (_OF_ONE, windows[1])
        )
        if name == "sketches" and not is_replicated and not window:
            client.command(_ADD_WINDOW)  # a table from an older version
        elif not int(window or 0):
            raise BadSetting(
                f"The table {name} of the store has {setting} = {window or 0}: expected 1000. "
                "Otherwise ClickHouse stores an insert twice if it is sent again, and loses one of "
                "two saves that happen at the same time"
            )


def _remove_ttl(client: StoreClient) -> None:
    """Remove the engine's own expiry of notifications: its clock may be wrong."""
    if client.query(_HAS_TTL).result_rows[0][0]:
        client.command(Sql("ALTER TABLE notifications REMOVE TTL"))


def refuse_schema(schema: int) -> str:
    """Raise an error that names the program that can upgrade this old schema."""
    return (
        f"schema {schema}, and this program reads {OLDEST_SCHEMA} or newer: open it once with "
        f"otel-ml at commit {LAST_UPGRADER}, which upgrades it"
    )


def migrate(client: StoreClient) -> None:
    """Upgrade a store to the current schema. You can call it again.

    Raises:
        BadSetting: The store is newer than this program, or too old for it. Nothing was changed.
    """
    client.command(META)
    rows = client.query(_FOUND).result_rows
    schema = int(rows[0][0]) if rows else 0
    if schema > SCHEMA_VERSION:
        raise BadSetting(
            f"The store has schema {schema}, but this program supports {SCHEMA_VERSION}: "
            "use a newer otel-ml, nothing was changed"
        )
    if 0 < schema < OLDEST_SCHEMA:
        raise BadSetting(f"The store has {refuse_schema(schema)}. Nothing was changed")
    client.command(_TWO_STRUCTURES, {"is_new": schema == 0})
    _remove_ttl(client)
    _keep_windows(client)
    if schema == SCHEMA_VERSION:
        return
    for table in TABLES:
        client.command(table)
    if schema:  # a new store already has all columns
        for declared in DECLARED_TABLES:
            _add_declared(client, declared)
    for copy in COPIES:
        client.command(copy)
    if schema:
        for version, step in enumerate(STEPS, OLDEST_SCHEMA + 1):
            if schema < version:
                _run(client, version, step)
    _note(client, SCHEMA_VERSION)
    if schema:
        _logger.info("The store was upgraded to schema %d from %d", SCHEMA_VERSION, schema)
    else:
        _logger.info("The store was created with schema %d", SCHEMA_VERSION)


def _add_declared(client: StoreClient, table: Table[Any]) -> None:
    """Add columns and indexes that a table declares and the store lacks."""
    asked = {"table": table.name}
    columns = {name for (name,) in client.query(_READ_COLUMNS, asked).result_rows}
    indexes = {name for (name,) in client.query(_INDEXES, asked).result_rows}
    lines = [
        *(line for column, line in table.added_columns if column not in columns),
        *(line for index, line in table.added_indexes if index not in indexes),
    ]
    if lines:
        alter = Sql("ALTER TABLE {table} {lines}")
        client.command(alter.fill(table=table.sql, lines=join_sql(", ", lines)))


def _run(client: StoreClient, version: int, step: Sequence[Sql]) -> None:
    for statement in step:
        client.command(statement, settings=dict(_UNHURRIED))
    if version < SCHEMA_VERSION:
        _note(client, version)


def _note(client: StoreClient, version: int) -> None:
    client.insert("store_meta", [["schema", version]])
