"""Uploaded documents, stored in chunks under their hash. Only complete documents are visible."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Final, Literal

import pyarrow as pa

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.store.connection import Connections, store_trouble
from otel_ml_collector.store.mutations import Mutator
from otel_ml_collector.store.reader import READABLE, Reader
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS

# Size of a chunk. It must never change: if two programs write one document, their chunks replace
# each other.
CHUNK_BYTES: Final = 1024 * 1024
KEPT_NS: Final = DAY_NS
# Age from which another upload of a stored document renews it.
_RENEW_NS: Final = KEPT_NS // 2
_CHUNKS_AT_ONCE: Final = 4

_ONE: Final = Sql(
    "project = {project:String} AND sha256 = toFixedString(unhex({sha256:String}), 32)"
)
_UNNAMED: Final = Sql("(project, sha256) NOT IN (SELECT project, sha256 FROM objects)")
_UNFINISHED: Final = Sql("(project, sha256) NOT IN (SELECT project, sha256 FROM artifacts)")


class ArtifactWriter:
    """Writes and deletes documents, on one thread, so that no sweep runs during an upload."""

    def __init__(self, connections: Connections, clock: Callable[[], int] = time.time_ns) -> None:
        self._client = connections.open()
        self._mutator = Mutator(self._client, connections.folder)
        self._clock = clock

    def find(self, project: str, sha256: str) -> int | None:
        """Return the size of a stored document, and keep it for at least half a day.

        Raises:
            Unavailable: The store does not answer.
        """
        sql = Sql("SELECT max(arrived_ns), max(bytes) FROM artifacts WHERE {one}").fill(one=_ONE)
        with store_trouble():
            rows = self._client.query(sql, {"project": project, "sha256": sha256}).result_rows
            arrived_ns, size = rows[0]
            if arrived_ns and self._clock() - arrived_ns > _RENEW_NS:
                self._finish(project, sha256, size)
        return int(size) if arrived_ns else None

    def write(self, project: str, sha256: str, file: BinaryIO) -> None:
        """Store a document. On return it is on disk and can be read.

        You can call it again with the same document, for example after an interrupted call.

        Args:
            project: The project of the document.
            sha256: The verified hash of the bytes, in hex.
            file: The document. It is read from the current position.

        Raises:
            Unavailable: The store does not answer. The part that was stored is not visible.
        """
        size = position = 0
        with store_trouble():
            while block := file.read(_CHUNKS_AT_ONCE * CHUNK_BYTES):
                chunks = [block[at : at + CHUNK_BYTES] for at in range(0, len(block), CHUNK_BYTES)]
                self._insert(project, sha256, position, chunks)
                position += len(chunks)
                size += len(block)
            self._finish(project, sha256, size)

    def sweep(self) -> int:
        """Delete documents that were uploaded at least a day ago and that no record refers to.

        Returns:
            Number of deleted documents.

        Raises:
            Unavailable: The store does not answer.
        """
        until_ns = self._clock() - KEPT_NS
        before = Sql("arrived_ns < {until_ns} AND ").fill(until_ns=until_ns)
        unnamed = Sql("""
            SELECT count() FROM (
              SELECT project, sha256 FROM artifacts GROUP BY project, sha256
              HAVING max(arrived_ns) < {until_ns})
            WHERE {unnamed}""").fill(until_ns=until_ns, unnamed=_UNNAMED)
        rest = Sql("SELECT count() FROM artifact_chunks WHERE ") + before + _UNFINISHED
        with store_trouble():
            number = int(self._client.query(unnamed).result_rows[0][0])
            if number:
                self._delete("artifacts", before + _UNNAMED)
            if self._client.query(rest).result_rows[0][0]:
                self._delete("artifact_chunks", before + _UNFINISHED)
        return number

    def _insert(self, project: str, sha256: str, first: int, chunks: Sequence[bytes]) -> None:
        arrow = pa.table(
            {
                "project": pa.array([project] * len(chunks), pa.string()),
                "sha256": pa.array([bytes.fromhex(sha256)] * len(chunks), pa.binary(32)),
                "position": pa.array(range(first, first + len(chunks)), pa.uint32()),
                "data": pa.array(chunks, pa.binary()),
                "arrived_ns": pa.array([self._clock()] * len(chunks), pa.int64()),
            }
        )
        self._client.insert_arrow("artifact_chunks", arrow)

    def _finish(self, project: str, sha256: str, size: int) -> None:
        arrow = pa.table(
            {
                "project": pa.array([project], pa.string()),
                "sha256": pa.array([bytes.fromhex(sha256)], pa.binary(32)),
                "bytes": pa.array([size], pa.int64()),
                "arrived_ns": pa.array([self._clock()], pa.int64()),
            }
        )
        self._client.insert_arrow("artifacts", arrow)

    def _delete(self, table: Literal["artifacts", "artifact_chunks"], condition: Sql) -> None:
        """Delete rows from the disk too, because parts of this size are rarely merged."""
        sql = Sql("ALTER TABLE {table} DELETE WHERE {condition}")
        self._mutator.run(table, sql.fill(table=Sql(table), condition=condition))


def find_sizes(reader: Reader, project: str, hashes: Sequence[str]) -> dict[str, int]:
    """Return the sizes of the documents that are stored, by hash in hex."""
    if not hashes:
        return {}
    sql = Sql("""
        SELECT DISTINCT lower(hex(sha256)) AS sha256, bytes FROM artifacts
        WHERE project = {project:String}
          AND sha256 IN (SELECT toFixedString(unhex(arrayJoin({hashes:Array(String)})), 32))""")
    rows = reader.rows(sql, {"project": project, "hashes": sorted(set(hashes))})
    return {row["sha256"]: row["bytes"] for row in rows}


def read_chunks(reader: Reader, project: str, sha256: str, size: int) -> Iterator[bytes]:
    """Read an uploaded document, several chunks at a time.

    Raises:
        Unavailable: The store does not answer, or the document was deleted meanwhile.
    """
    sql = Sql("""
        SELECT data FROM artifact_chunks
        WHERE {one} AND position >= {first:UInt32} AND position < {end:UInt32}
        ORDER BY position LIMIT 1 BY position""").fill(one=_ONE)
    parameters = {"project": project, "sha256": sha256}
    step = _CHUNKS_AT_ONCE
    for first in range(0, -(-size // CHUNK_BYTES), step):
        wanted = min(size - first * CHUNK_BYTES, step * CHUNK_BYTES)
        part = reader.blob(sql, {**parameters, "first": first, "end": first + step})
        if len(part) != wanted:
            raise Unavailable(f"The artifact {sha256} was deleted while it was read")
        yield part


def count_artifacts(reader: Reader) -> dict[str, tuple[int, int]]:
    """Return number and bytes of the distinct documents of each project."""
    sql = Sql("""
        SELECT project, toInt64(count()) AS artifacts, toInt64(sum(size)) AS size FROM (
          SELECT project, sha256, max(bytes) AS size FROM (
            SELECT project, sha256, bytes FROM artifacts WHERE {readable}
            UNION ALL
            SELECT project, sha256, bytes FROM objects WHERE is_inline AND {readable}
          ) GROUP BY project, sha256
        ) GROUP BY project
        """).fill(readable=READABLE)
    return {row["project"]: (row["artifacts"], row["size"]) for row in reader.rows(sql, {})}
