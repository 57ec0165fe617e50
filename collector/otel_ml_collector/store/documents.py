"""Named documents of a project, such as saved views, labelling queues, alert rules and mutes.

Each kind of document is a `DocumentKind`, defined in the module that uses such documents. Bodies
are JSON. Each save under a name increases the version of the document, and a save may state the
version that it replaces. If two saves happen at the same time, even through two collectors, only
one succeeds: each insert has a token made from the state that the save has read, and the engine
accepts only the first insert with a token (``insert_deduplication_token``). A replicated table
shares these tokens with all replicas.
"""

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from otel_ml_collector.errors import BadInput, Conflict, Missing, Unavailable
from otel_ml_collector.store.activity import begin_change, compare_fields, confirm_change
from otel_ml_collector.store.connection import (
    ORDERED_INSERT,
    ORDERED_READ,
    Connections,
    store_trouble,
)
from otel_ml_collector.store.reader import READABLE, Reader, Row
from otel_ml_collector.store.sql import Sql

_TRIES: Final = 50
_DOCUMENT_COLUMNS: Final = ("project", "kind", "name", "body", "version", "saved_ns", "save_id")
# A document with an empty body is deleted.
_THERE: Final = Sql("""
SELECT name, body, version, saved_ns FROM documents FINAL
WHERE project = {project:String} AND kind = {kind:String} AND body != ''""")
_LIST: Final = _THERE + Sql(" ORDER BY name LIMIT {limit:UInt32}")
_OF_ALL: Final = Sql("""
SELECT project, name, body, version, saved_ns FROM documents FINAL
WHERE {readable} AND kind = {kind:String} AND body != ''
ORDER BY project, name LIMIT {limit:UInt32}""").fill(readable=READABLE)
# Maximum number of documents of a kind that are read at once from all projects.
_MOST_OF_ALL: Final = 10_000
_READ: Final = _THERE + Sql(" AND name = {name:String}")
# Every save increases `revision`, the sum of versions, by one, until the project is deleted.
_STATE: Final = Sql("""
SELECT sum(version) AS revision, countIf(body != '') AS number,
  sumIf(version, name = {name:String}) AS version,
  countIf(name = {name:String} AND body != '') > 0 AS is_there,
  anyIf(save_id, name = {name:String}) AS saves,
  anyIf(body, name = {name:String}) AS body,
  (SELECT max(deleted_ns) FROM deletions
   WHERE project = {project:String} AND kind = 'project') AS emptied_ns
FROM documents FINAL WHERE project = {project:String} AND kind = {kind:String}""")
# If a later save replaces a row at once, a merge may remove the row before its own save looks for
# it. So each row names its save and the saves before it.
_SAVED: Final = Sql("""
SELECT count() AS saves FROM documents
WHERE project = {project:String} AND kind = {kind:String} AND name = {name:String}
  AND has(splitByChar(' ', save_id), {save_id:String})""")
_NAMED_SAVES: Final = 50


@dataclass(frozen=True, slots=True)
class DocumentKind:
    """A kind of document, such as saved views or alert rules, with its limits.

    A document is a JSON object that a project stores under a name.

    Attributes:
        name: Name in the store and in messages.
        most: Maximum number of documents of this kind in a project.
        limit_bytes: Maximum size of one document as JSON.
        noted_as: Kind of its changes in the activity of the project, from `ACTIVITY_KINDS`; empty
            if they are not noted.
    """

    name: str
    most: int
    limit_bytes: int = 1_000_000
    noted_as: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """The newest version of a document, such as a saved view or an alert rule.

    Attributes:
        name: Name under which it is saved.
        body: The content, parsed from JSON.
        version: How many times this name was saved or deleted.
        saved_ns: Time of the last save, in nanoseconds since 1970.
    """

    name: str
    body: Any
    version: int
    saved_ns: int


class Documents:
    """Writes documents, one at a time. Any thread may call it."""

    def __init__(self, connections: Connections) -> None:
        self._client = connections.open()
        self._lock = threading.Lock()

    def save(
        self,
        reader: Reader,
        project: str,
        kind: DocumentKind,
        name: str,
        body: Mapping[str, Any],
        *,
        base: int | None = None,
    ) -> Document:
        """Save a document under its name. On return it is on disk.

        Args:
            reader: The store, with the rights of the caller.
            project: The project.
            kind: Kind of the document.
            name: Name of the document.
            body: The content, as JSON.
            base: Version that it replaces, 0 for a new document; None to replace any version.

        Raises:
            BadInput: The document is too large, or there are too many of its kind.
            Conflict: The newest version is not `base`.
            Unavailable: The store does not answer, or other requests saved documents of this kind
                during each of 50 attempts.
        """
        text = orjson.dumps(body).decode()
        if (size := len(text.encode())) > kind.limit_bytes:
            message = f"The {kind.name} has {size} bytes: expected at most {kind.limit_bytes}"
            raise BadInput(message, "body")
        return self._write(reader, project, kind, Document(name, text, 0, 0), base)

    def delete(
        self,
        reader: Reader,
        project: str,
        kind: DocumentKind,
        name: str,
        *,
        base: int | None = None,
    ) -> Document:
        """Delete a document, and return it. On return the deletion is on disk.

        Args:
            reader: The store, with the rights of the caller.
            project: The project.
            kind: Kind of the document.
            name: Name of the document.
            base: Version to delete; None for any version.

        Raises:
            Missing: There is no document with this name.
            Conflict: The newest version is not `base`.
            Unavailable: The store does not answer, or other requests saved documents of this kind
                during each of 50 attempts.
        """
        document = read_document(reader, project, kind, name)
        self._write(reader, project, kind, Document(name, "", 0, 0), base)
        return document

    def _write(
        self, reader: Reader, project: str, kind: DocumentKind, wanted: Document, base: int | None
    ) -> Document:
        asked = {"project": project, "kind": kind.name, "name": wanted.name}
        state_before: Row = {}
        lost = 0
        made: Document | None = None
        entry: Mapping[str, Any] | None = None
        save_id = ""
        with self._lock:
            for _ in range(_TRIES):
                [state] = reader.rows(_STATE, asked, ORDERED_READ)
                # The state may already contain this save, if it could not be read right after the
                # insert.
                if made is not None and self._is_stored(reader, asked, save_id):
                    return self._confirm(made, entry)
                # If the state is unchanged, the engine accepted an insert whose rows were lost
                # later. `lost` then makes a new deduplication token.
                lost = lost + 1 if state == state_before else 0
                state_before = state
                newest = state["version"] if state["is_there"] else 0
                if base not in {None, newest}:
                    is_here = f"is {newest}" if newest else "is none"
                    raise Conflict(
                        f"The newest version of the {kind.name} {wanted.name[:80]!r} {is_here}, "
                        f"not {base}: reload it, then save your change again"
                    )
                if wanted.body and not newest and state["number"] >= kind.most:
                    message = (
                        f"The project has {kind.most} {kind.name}s, the most allowed: delete one "
                        "first"
                    )
                    raise BadInput(message, "name")
                version, saved_ns, save_id = (
                    state["version"] + 1,
                    time.time_ns(),
                    secrets.token_hex(8),
                )
                saves = " ".join([save_id, *state["saves"].split()[: _NAMED_SAVES - 1]])
                row = [*asked.values(), wanted.body, version, saved_ns, saves]
                made = Document(wanted.name, orjson.loads(wanted.body or "null"), version, saved_ns)
                entry = self._announce(project, kind, made, state["body"], save_id)
                self._insert(row, [state["emptied_ns"], state["revision"], lost])
                if self._is_stored(reader, asked, save_id):
                    return self._confirm(made, entry)
        raise Unavailable(
            f"Other requests save {kind.name}s of the project at the same time: try again"
        )

    def _announce(
        self, project: str, kind: DocumentKind, made: Document, body_before: str, save_id: str
    ) -> Mapping[str, Any] | None:
        """Note who saves or deletes a document. None if it is equal to the version before."""
        before = orjson.loads(body_before or "null")
        changes = compare_fields(before, made.body)
        if not kind.noted_as or not (changes or before is None or made.body is None):
            return None
        action = "deleted" if made.body is None else "changed" if before else "created"
        with store_trouble():
            return begin_change(
                self._client,
                project,
                kind.noted_as,
                action,
                made.name,
                identity=save_id,
                time_ns=made.saved_ns,
                changes=changes,
            )

    def _confirm(self, made: Document, entry: Mapping[str, Any] | None) -> Document:
        """Note that a document was saved, and return it."""
        if entry is not None:
            with store_trouble():
                confirm_change(self._client, entry)
        return made

    def _is_stored(self, reader: Reader, asked: Mapping[str, str], save_id: str) -> bool:
        """Return whether the engine has taken the insert of a save."""
        [saved] = reader.rows(_SAVED, {**asked, "save_id": save_id}, ORDERED_READ)
        return bool(saved["saves"])

    def _insert(self, row: list[Any], state: list[int]) -> None:
        settings = {
            **ORDERED_INSERT,
            "insert_deduplicate": 1,
            "insert_deduplication_token": orjson.dumps([*row[:2], *state]).decode(),
        }
        with store_trouble():
            self._client.insert(
                "documents", [row], column_names=_DOCUMENT_COLUMNS, settings=settings
            )


def list_documents(reader: Reader, project: str, kind: DocumentKind) -> list[Document]:
    """List the documents of a kind, by name."""
    asked = {"project": project, "kind": kind.name, "limit": kind.most}
    return [_document(row) for row in reader.rows(_LIST, asked)]


def list_all_documents(reader: Reader, kind: DocumentKind) -> list[tuple[str, Document]]:
    """List the documents of a kind in all projects, each with its project; at most 10,000."""
    rows = reader.rows(_OF_ALL, {"kind": kind.name, "limit": _MOST_OF_ALL})
    return [(row["project"], _document(row)) for row in rows]


def read_document(reader: Reader, project: str, kind: DocumentKind, name: str) -> Document:
    """Read a document.

    Raises:
        Missing: There is no document with this name.
    """
    rows = reader.rows(_READ, {"project": project, "kind": kind.name, "name": name})
    if not rows:
        raise Missing(f"There is no {kind.name} {name[:80]!r}")
    return _document(rows[0])


def _document(row: Row) -> Document:
    return Document(row["name"], orjson.loads(row["body"]), row["version"], row["saved_ns"])
