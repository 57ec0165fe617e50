"""API keys in the store. They contain a hash instead of the secret, and are never deleted.

The secret that signs browser sessions is a file next to the store, so no backup contains it.
"""

import os
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from otel_ml_collector.access import Access
from otel_ml_collector.store.connection import Connections, store_trouble
from otel_ml_collector.store.owner import SECRET_FILE, make_owner_token
from otel_ml_collector.store.sql import Sql, StoreClient

MOST: Final = 10_000
_SECRET_BYTES: Final = 32
_SECRET: Final = re.compile(rb"[0-9a-f]{64}")
# All shards of a cluster store the same keys. With a quorum of all their replicas, no key could be
# revoked while a shard is down: docs/design/057-quorum.md.
_OF_ALL_SHARDS: Final = {"insert_quorum": 0}
_MADE: Final = 1
_REVOKED: Final = 2
_READ: Final = Sql("""
SELECT id, hash, name, scopes, projects, spans_per_second, bytes_per_second, created_ns, revoked_ns,
  made_by, revoked_by
FROM access_keys FINAL ORDER BY created_ns, id LIMIT {most}
""").fill(most=MOST)
_USES: Final = Sql("SELECT id, max(used_ns) AS used_ns FROM key_uses GROUP BY id")


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key.

    Attributes:
        access: Its public ID and what it allows.
        secret_hash: SHA-256 of its secret part, in hex.
        revoked_ns: Time of its revocation; 0 while it is valid.
        made_by: Who created it: the ID of another key, or ``user:`` and the name of a user. `LOCAL`
            if the request came from the collector's own machine while no key was needed. Empty for
            keys that an older version created.
        revoked_by: Who revoked it, in the same form; empty while it is valid.
    """

    access: Access
    secret_hash: str
    created_ns: int
    revoked_ns: int = 0
    made_by: str = ""
    revoked_by: str = ""


class KeyStore:
    """Reads and writes keys; any thread may call it."""

    def __init__(self, connections: Connections) -> None:
        self._client = connections.open()
        self._folder = connections.folder
        self._lock = threading.Lock()

    def read_session_secret(self) -> bytes:
        """Return the secret that signs browser sessions. Create it if there is none.

        It is in the data directory, and only the owner can read it. With a ClickHouse server, each
        call returns a new secret.

        Raises:
            Unavailable: The file cannot be read or written.
        """
        if self._folder is None:
            return secrets.token_hex(_SECRET_BYTES).encode()
        with store_trouble():
            return _read_secret(self._folder / SECRET_FILE)

    def read_owner_token(self) -> str:
        """Return the token that gives all rights to those who can read the data directory.

        It is derived from a secret in that directory. Empty if the store is a ClickHouse server.

        Raises:
            Unavailable: The secret in the data directory cannot be read or written.
        """
        return make_owner_token(self.read_session_secret()) if self._folder else ""

    def read(self) -> list[StoredKey]:
        """Read all keys, oldest first, including revoked ones.

        Raises:
            Unavailable: The store does not answer.
        """
        with self._ask() as client:
            return [_key(row) for row in client.query(_READ).named_results()]

    def add(self, key: StoredKey) -> None:
        """Store a new key. On return it is on disk.

        Raises:
            Unavailable: The store does not answer.
        """
        with self._ask() as client:
            _insert(client, key, _MADE)

    def revoke(self, key: StoredKey, now_ns: int, by: str) -> StoredKey:
        """Revoke a key permanently. On return the revocation is on disk.

        Args:
            key: The key.
            now_ns: Current time, in nanoseconds since 1970.
            by: Who revokes it: the ID of another key, or ``user:`` and the name of a user. `LOCAL`
                if the request has no key and needs none.

        Raises:
            Unavailable: The store does not answer.
        """
        revoked = replace(key, revoked_ns=now_ns, revoked_by=by)
        with self._ask() as client:
            _insert(client, revoked, _REVOKED)
        return revoked

    def read_uses(self) -> dict[str, int]:
        """Read when each key was last used: nanoseconds since 1970 by ID, exact to the hour.

        Raises:
            Unavailable: The store does not answer.
        """
        with self._ask() as client:
            return {row[0]: int(row[1]) for row in client.query(_USES).result_rows}

    def add_uses(self, uses: Mapping[str, int]) -> None:
        """Store when keys were last used.

        Raises:
            Unavailable: The store does not answer.
        """
        with self._ask() as client:
            rows = [list(use) for use in uses.items()]
            settings = dict(_OF_ALL_SHARDS)
            client.insert("key_uses", rows, column_names=["id", "used_ns"], settings=settings)

    @contextmanager
    def _ask(self) -> Iterator[StoreClient]:
        with self._lock, store_trouble():
            yield self._client


def _read_secret(file: Path) -> bytes:
    """Return the secret in a file. Replace it if it is missing or was cut off by a crash."""
    try:
        secret = file.read_bytes()
    except FileNotFoundError:
        secret = b""
    if _SECRET.fullmatch(secret):
        file.chmod(0o600)
        return secret
    secret = secrets.token_hex(_SECRET_BYTES).encode()
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(secret)
        opened.flush()
        os.fsync(opened.fileno())
    draft.replace(file)
    return secret


def _insert(client: StoreClient, key: StoredKey, version: int) -> None:
    row: dict[str, Any] = {
        "id": key.access.key_id,
        "hash": key.secret_hash,
        **key.access.written,
        "created_ns": key.created_ns,
        "revoked_ns": key.revoked_ns,
        "version": version,
        "made_by": key.made_by,
        "revoked_by": key.revoked_by,
    }
    client.insert(
        "access_keys", [list(row.values())], column_names=list(row), settings=dict(_OF_ALL_SHARDS)
    )


def _key(row: dict[str, Any]) -> StoredKey:
    access = Access.read(row["id"], row)
    facts = ("hash", "created_ns", "revoked_ns", "made_by", "revoked_by")
    return StoredKey(access, *(row[name] for name in facts))
