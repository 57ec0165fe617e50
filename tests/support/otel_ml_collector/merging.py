"""A process that stores runs and merges its tables in a loop, to be killed during a merge.

Run it as ``python -m tests.support.otel_ml_collector.merging FOLDER``. It prints how many runs and
payloads it finds, and how many there are after it has stored some. Then it merges forever.
"""

import sys
from pathlib import Path
from typing import Final

from otel_ml_collector.store.sql import Sql, identifier
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Store, open_store

GROUPS: Final = 8
RUNS: Final = 200
_TABLES: Final = ("runs", "payloads")
_COUNT: Final = Sql("SELECT (SELECT count() FROM runs) AS runs, (SELECT count() FROM payloads)")
# Delete replaced parts at once, and merge a part even if it is the only one.
_HASTEN: Final = Sql("ALTER TABLE {table} MODIFY SETTING old_parts_lifetime = 0")
_MERGE: Final = Sql("OPTIMIZE TABLE {table} FINAL SETTINGS optimize_skip_merged_partitions = 0")


def main(folder: str) -> None:
    """Store runs, then merge until the process is killed."""
    with open_store(Path(folder)) as store:
        client = store.connections.open()
        _print_count(store)
        for group in range(GROUPS):
            text = {"otel_ml.inputs": f'"{group} {"x" * 1_000}"'}
            store.take("p", *(make_call("answer", text) for _ in range(RUNS)))
        _print_count(store)
        tables = [identifier(name, _TABLES) for name in _TABLES]
        for table in tables:
            client.command(_HASTEN.fill(table=table))
        while True:
            for table in tables:
                client.command(_MERGE.fill(table=table))


def _print_count(store: Store) -> None:
    [row] = store.connections.open().query(_COUNT).result_rows
    sys.stdout.write(" ".join(map(str, row)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
