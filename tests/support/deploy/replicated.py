"""Execute `cluster.sql` in chDB with a ZooKeeper and print the outcome as JSON.

Run as ``python -m tests.support.deploy.replicated FOLDER PORT``: chDB keeps its data in the folder,
and the ZooKeeper listens at the port. chDB has no worker for ``ON CLUSTER``, which is left out, and
starts no replica, so the tables stay read-only.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, Final

import chdb

from tests.support.deploy import cluster

_CONFIG: Final = """<clickhouse>
  <zookeeper><node><host>127.0.0.1</host><port>{port}</port></node></zookeeper>
  <macros><shard>1</shard><replica>a</replica></macros>
</clickhouse>
"""
_COUNTS: Final = """
SELECT count(), countIf(total_replicas = 1), countIf(zookeeper_path LIKE
  '/clickhouse/tables/%/otel_ml/%') FROM system.replicas WHERE database = 'otel_ml'"""
_INSERT: Final = "INSERT INTO otel_ml.store_meta VALUES ('a', 1)"


def main(folder: str, port: str) -> None:
    """Execute every statement, then insert with a quorum of two replicas."""
    config = Path(folder) / "config.xml"
    config.write_text(_CONFIG.format(port=port))
    connection = chdb.connect(f"{folder}/store?config-file={config}")  # type: ignore[no-untyped-call]  # it carries no types

    def run(statement: str) -> str:
        """Run a statement; return its result or the name of its error."""
        try:
            return str(connection.query(statement, "TabSeparated")).strip()
        except RuntimeError as error:
            return str(error).strip().rpartition("(")[2].rstrip(").")

    statements = list(cluster.statements())
    told: dict[str, Any] = {
        "statements": len(statements),
        "errors": [
            error
            for statement in statements
            if (error := run(statement.replace(f" ON CLUSTER {cluster.CLUSTER}", "")))
        ],
        "replicas": run(_COUNTS).split("\t"),
    }
    run("SET insert_keeper_max_retries = 1, insert_quorum = 2")
    told["quorum of two"] = run(_INSERT)
    sys.stdout.write(json.dumps(told))
    sys.stdout.flush()
    os._exit(0)  # closing chDB would wait for its replicas forever


if __name__ == "__main__":
    main(*sys.argv[1:])
