"""The store's tables on a ClickHouse cluster: ``python -m tests.support.deploy.cluster``.

Made from the single-server schema, with each table Replicated. A shard is a separate store with
separate collectors; only the keys are the same on all shards.
"""

import re
import sys
from collections.abc import Iterator
from typing import Final

from otel_ml_collector.store.schema import COPIES, TABLES

CLUSTER: Final = "otel_ml"
DATABASE: Final = "otel_ml"
# Tables with the same rows on every node of the cluster.
SHARED: Final = frozenset({"access_keys", "key_uses"})
_HEAD: Final = """\
-- Tables of otel-ml for a ClickHouse cluster named otel_ml whose nodes have the macros shard and
-- replica. Run this file once, on any node, before the first collector starts. Each shard is a
-- separate store with its own collectors. All shards share the API keys.
--
-- `python -m tests.support.deploy.cluster` writes this file from the schema.
-- Tested: ClickHouse's parser accepts it, and a collector works with these tables (not replicated).
-- Not tested: a real ClickHouse cluster.
"""
_TABLE: Final = re.compile(
    r"\s*CREATE TABLE IF NOT EXISTS (?P<name>\w+) (?P<columns>\(.*\))\s*"
    r"ENGINE = (?P<engine>\w*MergeTree)(?:\((?P<version>\w+)\))?(?P<rest>.*)",
    re.DOTALL,
)
_COPY: Final = re.compile(
    r"CREATE MATERIALIZED VIEW IF NOT EXISTS (?P<name>\w+) TO (?P<table>\w+) AS "
    r"(?P<columns>SELECT .*)FROM (?P<rest>.*)",
    re.DOTALL,
)


def statements() -> Iterator[str]:
    """Yield each statement, without its final semicolon."""
    yield f"CREATE DATABASE IF NOT EXISTS {DATABASE} ON CLUSTER {CLUSTER}"
    for table in TABLES:
        match = _TABLE.fullmatch(table)
        assert match, table
        yield _of_table(match)
    for copy in COPIES:
        match = _COPY.fullmatch(copy)
        assert match, copy
        yield (
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {DATABASE}.{match['name']} "
            f"ON CLUSTER {CLUSTER} TO {DATABASE}.{match['table']} "
            f"AS {match['columns']}FROM {DATABASE}.{match['rest']}"
        )


def text() -> str:
    """Return the whole file."""
    return _HEAD + "".join(f"\n{statement};\n" for statement in statements())


def without_replication(statement: str) -> str:
    """Convert a statement for a cluster into one for a single server."""
    alone = statement.replace(f" ON CLUSTER {CLUSTER}", "")
    return re.sub(
        r"ENGINE = Replicated(\w+)\('[^']*', '[^']*'(?:, (\w+))?\)",
        lambda found: f"ENGINE = {found[1]}({found[2] or ''})",
        alone,
    )


def _of_table(match: re.Match[str]) -> str:
    name = match["name"]
    is_shared = name in SHARED
    path = f"/clickhouse/tables/{'all' if is_shared else '{shard}'}/otel_ml/{name}"
    replica = "{shard}-{replica}" if is_shared else "{replica}"
    version = f", {match['version']}" if match["version"] else ""
    return (
        f"CREATE TABLE IF NOT EXISTS {DATABASE}.{name} ON CLUSTER {CLUSTER} {match['columns']}\n"
        f"ENGINE = Replicated{match['engine']}('{path}', '{replica}'{version})"
        f"{match['rest'].rstrip()}"
    )


if __name__ == "__main__":
    sys.stdout.write(text())
