"""Tests of uploaded documents: complete or absent, stored once, and deleted if unused."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.store.artifacts import (
    CHUNK_BYTES,
    KEPT_NS,
    ArtifactWriter,
    find_sizes,
    read_chunks,
)
from otel_ml_collector.store.schema import TABLE_NAMES
from otel_ml_collector.store.sql import Sql, identifier
from tests.support.otel_ml_collector.spans import NOW_NS, make_artifact, make_call
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.sampling import sampled

# Chunks begin in the middle of characters, and contain bytes that are not valid text.
DOCUMENT: Final = b"\x00\xff\xc3" + "é日".encode() * 1_300_000
SHA256: Final = hashlib.sha256(DOCUMENT).hexdigest()


class Clock:
    """A clock that changes only when it is set."""

    def __init__(self) -> None:
        self.now_ns = NOW_NS

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        yield opened


class BrokenFile(io.BytesIO):
    """A file whose second read fails, like one on a failing disk."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise OSError(5, "Input/output error")
        return super().read(CHUNK_BYTES)


def read(store: Store, project: str) -> bytes | None:
    """Return the document with the test hash, or None if it does not exist."""
    size = find_sizes(store.reader, project, [SHA256]).get(SHA256)
    if size is None:
        return None
    return b"".join(read_chunks(store.reader, project, SHA256, size))


def count(store: Store, table: str) -> int:
    (row,) = store.reader.rows(
        Sql("SELECT count() AS number FROM {table}").fill(table=identifier(table, TABLE_NAMES)), {}
    )
    return int(row["number"])


def test_written_and_read(store: Store) -> None:
    """A document of any bytes is read back unchanged, only in its own project."""
    writer = ArtifactWriter(store.connections)
    assert writer.find("p", SHA256) is None
    writer.write("p", SHA256, io.BytesIO(DOCUMENT))
    assert writer.find("p", SHA256) == len(DOCUMENT)
    assert read(store, "p") == DOCUMENT
    assert read(store, "q") is None


@sampled(3)
@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 4 * CHUNK_BYTES])
def test_sizes(store: Store, size: int) -> None:
    """A document is read back unchanged, whether or not it fills its chunks."""
    document = b"x" * size
    sha256 = hashlib.sha256(document).hexdigest()
    ArtifactWriter(store.connections).write("p", sha256, io.BytesIO(document))
    assert find_sizes(store.reader, "p", [sha256]) == {sha256: size}
    assert b"".join(read_chunks(store.reader, "p", sha256, size)) == document


def test_half_written(store: Store) -> None:
    """A document with only some chunks written does not exist, and can be written again."""
    writer = ArtifactWriter(store.connections)
    with pytest.raises(Unavailable):
        writer.write("p", SHA256, BrokenFile(DOCUMENT))
    assert count(store, "artifact_chunks") == 1
    assert (writer.find("p", SHA256), read(store, "p")) == (None, None)
    writer.write("p", SHA256, io.BytesIO(DOCUMENT))
    assert read(store, "p") == DOCUMENT


def test_written_twice(store: Store) -> None:
    """A document written by two writers exists once, before and after the engine merges it."""
    for _ in range(2):
        ArtifactWriter(store.connections).write("p", SHA256, io.BytesIO(DOCUMENT))
    assert read(store, "p") == DOCUMENT
    store.connections.open().command(Sql("OPTIMIZE TABLE artifact_chunks FINAL"))
    assert read(store, "p") == DOCUMENT
    assert count(store, "artifact_chunks") == -(-len(DOCUMENT) // CHUNK_BYTES)


def test_sweep(store: Store) -> None:
    """A document that no record refers to is deleted after a day. Others stay."""
    clock = Clock()
    writer = ArtifactWriter(store.connections, clock)
    writer.write("p", SHA256, io.BytesIO(DOCUMENT))
    writer.write("q", SHA256, io.BytesIO(DOCUMENT))
    store.take("p", make_call(events=[make_artifact("sample", sha256=SHA256)]))
    clock.now_ns += KEPT_NS
    assert writer.sweep() == 0
    clock.now_ns += 1
    assert writer.sweep() == 1
    assert read(store, "p") == DOCUMENT
    assert read(store, "q") is None
    assert count(store, "artifact_chunks") == -(-len(DOCUMENT) // CHUNK_BYTES)


def test_sweep_of_a_half(store: Store) -> None:
    """Chunks of an unfinished upload are deleted after a day."""
    clock = Clock()
    writer = ArtifactWriter(store.connections, clock)
    with pytest.raises(Unavailable):
        writer.write("p", SHA256, BrokenFile(DOCUMENT))
    writer.sweep()
    assert count(store, "artifact_chunks") == 1
    clock.now_ns += KEPT_NS + 1
    writer.sweep()
    assert count(store, "artifact_chunks") == 0


def test_renewed(store: Store) -> None:
    """An upload or lookup keeps a document for another day, so that a record can refer to it."""
    clock = Clock()
    writer = ArtifactWriter(store.connections, clock)
    writer.write("p", SHA256, io.BytesIO(DOCUMENT))
    clock.now_ns += KEPT_NS - 1
    assert writer.find("p", SHA256) == len(DOCUMENT)
    clock.now_ns += KEPT_NS - 1
    assert writer.sweep() == 0
    assert read(store, "p") == DOCUMENT
    clock.now_ns += 2
    assert writer.sweep() == 1
    assert read(store, "p") is None


def test_deleted_while_it_is_read(store: Store) -> None:
    """A document deleted while it is read is never returned as complete."""
    ArtifactWriter(store.connections).write("p", SHA256, io.BytesIO(DOCUMENT))
    parts = read_chunks(store.reader, "p", SHA256, len(DOCUMENT))
    assert len(next(parts)) == 4 * CHUNK_BYTES
    store.connections.open().command(Sql("TRUNCATE TABLE artifact_chunks"))
    with pytest.raises(Unavailable):
        next(parts)
