"""The tables of the store on a ClickHouse cluster: ``python -m tests.deploy.cluster``.

Made of the one schema: each table of a project's rows is Replicated in a database of its shard, and
Distributed over the shards by the project, so that all that is asked of a project is on one shard.
What belongs to no project is on every node.
"""

import re
import sys
from collections.abc import Iterator
from typing import Final

from otel_ml_collector.store.migrations import SCHEMA_VERSION
from otel_ml_collector.store.schema import TABLES
from otel_ml_collector.store.sql import Sql

CLUSTER: Final = "otel_ml"
DATABASE: Final = "otel_ml"
LOCAL: Final = "otel_ml_local"
_HEAD: Final = """\
-- Tables of otel-ml on a ClickHouse cluster named otel_ml, whose nodes have the macros shard and
-- replica. Run it once, on any node, before the first collector starts.
--
-- Not run: no ClickHouse server and no cluster was at hand. Checked: it is what
-- `python -m tests.deploy.cluster` makes of the schema, and ClickHouse's parser takes all of it.
"""
_TABLE: Final = re.compile(
    r"\s*CREATE TABLE IF NOT EXISTS (?P<name>\w+) (?P<columns>\(.*\))\s*"
    r"ENGINE = (?P<engine>\w*MergeTree)(?:\((?P<version>\w+)\))?(?P<rest>.*)",
    re.DOTALL,
)


def statements() -> Iterator[str]:
    """Make each statement, without the semicolon behind it."""
    for database in (DATABASE, LOCAL):
        yield f"CREATE DATABASE IF NOT EXISTS {database} ON CLUSTER {CLUSTER}"
    for table in TABLES:
        match = _TABLE.fullmatch(table)
        assert match, table
        yield from _of_table(match)
    schema = Sql("INSERT INTO {database}.store_meta (name, value) VALUES ('schema', {version})")
    yield schema.fill(database=Sql(DATABASE), version=SCHEMA_VERSION)


def text() -> str:
    """Make the whole file."""
    return _HEAD + "".join(f"\n{statement};\n" for statement in statements())


def _of_table(match: re.Match[str]) -> Iterator[str]:
    name = match["name"]
    is_of_project = re.search(r"^\s*\(?\s*project ", match["columns"], re.MULTILINE) is not None
    database, shard = (LOCAL, "{shard}") if is_of_project else (DATABASE, "all")
    path = f"'/clickhouse/tables/{shard}/otel_ml/{name}', '{{replica}}'"
    version = f", {match['version']}" if match["version"] else ""
    if not is_of_project:
        path = path.replace("'{replica}'", "'{shard}-{replica}'")
    yield (
        f"CREATE TABLE IF NOT EXISTS {database}.{name} ON CLUSTER {CLUSTER} {match['columns']}\n"
        f"ENGINE = Replicated{match['engine']}({path}{version}){match['rest'].rstrip()}"
    )
    if is_of_project:
        yield (
            f"CREATE TABLE IF NOT EXISTS {DATABASE}.{name} ON CLUSTER {CLUSTER} AS {LOCAL}.{name}\n"
            f"ENGINE = Distributed({CLUSTER}, {LOCAL}, {name}, cityHash64(project))"
        )


if __name__ == "__main__":
    sys.stdout.write(text())
