"""Logged artifacts as the API tells them, and their documents, wherever these are kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from otel_ml_collector.artifacts.sql import ObjectsWanted, list_objects, read_inline
from otel_ml_collector.errors import NotFound
from otel_ml_collector.query.answers.artifacts import Artifact
from otel_ml_collector.store.artifacts import find_sizes, read_chunks
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.rows import load_json
from otel_ml_collector.times import to_rfc3339

_MOST: Final = 1_000
_NO_HASH: Final = "0" * 64
_HASH_DIGITS: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Document:
    """A document that is here: how many bytes it has, and these, part after part."""

    size: int
    parts: Iterator[bytes]


def find_artifacts(reader: Reader, project: str, owners: Sequence[str]) -> list[Artifact]:
    """Find what was logged about some owners, newest first, at most 1,000."""
    rows = list_objects(reader, ObjectsWanted(project, owners), _MOST)
    return [Artifact(**facts) for facts in describe_rows(reader, project, rows)]


def describe_rows(reader: Reader, project: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Make the fields of artifacts out of their rows."""
    uploaded = [row["sha256"] for row in rows if not row["is_inline"]]
    sizes = find_sizes(reader, project, [sha256 for sha256 in uploaded if sha256 != _NO_HASH])
    return [
        {
            "ref": row["ref"],
            "type": row["type"],
            "bytes": row["bytes"],
            "sha256": None if row["sha256"] == _NO_HASH else row["sha256"],
            "preview": load_json(row["preview"]),
            "time": to_rfc3339(row["time_ns"]),
            "url": address_of(project, row["sha256"])
            if row["is_inline"] or row["sha256"] in sizes
            else None,
        }
        for row in rows
    ]


def address_of(project: str, sha256: str) -> str:
    """Write where a document is read."""
    return f"/api/v1/projects/{quote(project, safe='')}/artifacts/{sha256}"


def open_document(reader: Reader, project: str, sha256: str) -> Document:
    """Find a document by its hash in hex: uploaded, or come along with a record.

    Raises:
        NotFound: The project has no such document.
    """
    if len(sha256) == len(_NO_HASH) and _HASH_DIGITS.issuperset(sha256):
        sizes = find_sizes(reader, project, [sha256])
        if sha256 in sizes:
            size = sizes[sha256]
            return Document(size, read_chunks(reader, project, sha256, size))
        inline = read_inline(reader, project, sha256)
        if inline is not None:
            return Document(len(inline), iter([inline]))
    raise NotFound(f"Project {project!r} has no artifact {sha256[:80]!r}")
