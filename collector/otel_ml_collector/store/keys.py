"""Keys as the store keeps them: with a hash in place of the secret, and never deleted.

The secret that signs sessions is a file next to the store, so that no backup contains it.
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
# In place of a key: a request from the collector's own machine while there are no keys.
LOCAL: Final = "local"
_SECRET_BYTES: Final = 32
_SECRET: Final = re.compile(rb"[0-9a-f]{64}")
# All shards of a cluster have the same keys. A quorum of their replicas would be missing while one
# shard is down, and no key could be revoked.
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
    """One key.

    Attributes:
        access: What it allows, with its public id.
        secret_hash: SHA-256 of its secret part, in hex.
        revoked_ns: When it was revoked; 0 while it is valid.
        made_by: Id of the key that made it, or `LOCAL`; empty if an older version made it.
        revoked_by: The same of whoever revoked it.
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
        """Return the secret that signs sessions, and make it if there is none.

        It is in the data directory, readable by its owner only. For a ClickHouse server, each call
        returns another secret.

        Raises:
            Unavailable: The file cannot be read or written.
        """
        if self._folder is None:
            return secrets.token_hex(_SECRET_BYTES).encode()
        with store_trouble():
            return _read_secret(self._folder / SECRET_FILE)

    def read_owner_token(self) -> str:
        """Return the token of whoever can read the data directory; empty for a ClickHouse server.

        Raises:
            Unavailable: The secret in the data directory cannot be read or written.
        """
        return make_owner_token(self.read_session_secret()) if self._folder else ""

    def read(self) -> list[StoredKey]:
        """Read all keys, oldest first, the revoked ones too.

        Raises:
            Unavailable: The store has trouble.
        """
        with self._ask() as client:
            return [_key(row) for row in client.query(_READ).named_results()]

    def add(self, key: StoredKey) -> None:
        """Store a new key; when this returns, it is on disk.

        Raises:
            Unavailable: The store has trouble.
        """
        with self._ask() as client:
            _insert(client, key, _MADE)

    def revoke(self, key: StoredKey, now_ns: int, by: str) -> StoredKey:
        """Store that a key is revoked, for ever; when this returns, that is on disk.

        Args:
            key: The key.
            now_ns: The time.
            by: Id of the key that revoked it, or `LOCAL`.

        Raises:
            Unavailable: The store has trouble.
        """
        revoked = replace(key, revoked_ns=now_ns, revoked_by=by)
        with self._ask() as client:
            _insert(client, revoked, _REVOKED)
        return revoked

    def read_uses(self) -> dict[str, int]:
        """Read when each key was last used, as nanoseconds by id, to the hour.

        Raises:
            Unavailable: The store has trouble.
        """
        with self._ask() as client:
            return {row[0]: int(row[1]) for row in client.query(_USES).result_rows}

    def add_uses(self, uses: Mapping[str, int]) -> None:
        """Store when keys were last used.

        Raises:
            Unavailable: The store has trouble.
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
    """Return the secret in a file. Replace it if it is missing, or cut off by a crash."""
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
