"""The keys of a collector: create, list, revoke, and look up the key of each request.

A secret has 256 random bits, so its SHA-256 hash is as hard to reverse as the secret is to guess.
Slow password hashes would cost time on each request without adding protection. Sessions are signed
with a secret that no backup contains. So nobody can forge a session with a stolen backup.
"""

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from otel_ml_collector.access import (
    ADMIN,
    ALL_PROJECTS,
    ANNOTATE,
    LOCAL,
    OPEN,
    OPEN_BEYOND,
    READ,
    SCOPES,
    Access,
)
from otel_ml_collector.background import BackgroundJob
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.mapping.filing import is_project
from otel_ml_collector.store.keys import MOST, KeyStore, StoredKey
from otel_ml_collector.times import HOUR_NS

SESSION_COOKIE: Final = "otel_ml_session"
SESSION_S: Final = 12 * 3600
KEY_START: Final = "omk_"
# How much the clocks of collectors that share a store may differ.
_CLOCKS_DIFFER_S: Final = 60
_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 32
_KEY: Final = re.compile(f"{KEY_START}([0-9a-f]{{16}})_([0-9a-f]{{64}})")
_SESSION: Final = re.compile("([0-9a-f]{16})\\.([0-9]{1,12})\\.([0-9a-f]{64})")
_KEY_NAME_CHARS: Final = 200
_PROJECTS_OF_KEY: Final = 100
_MAX_RATE: Final = 2**40
_BEARER: Final = "bearer "
_NOBODY: Final = "0" * 64
_OWNER: Final = replace(OPEN, scopes=frozenset({ADMIN}))
# Scopes of a session of the pages. The pages never send spans.
_SESSION_SCOPES: Final = frozenset({READ, ANNOTATE, ADMIN})


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just created. `text` is not stored and cannot be shown again."""

    key: StoredKey
    text: str


class Keyring:
    """Checks, creates and revokes API keys, and checks browser sessions.

    Safe to call from any thread.
    The keys are in the store; checks use a copy in memory.

    Args:
        store: Stores the keys.
        required: Whether requests need a key even if no key exists yet.
        clock: Returns the time in nanoseconds since the epoch.
        session_secret: Secret that signs browser sessions. If empty, the secret in the data
            directory is used. If it is empty and the store is a ClickHouse server, a random secret
            is used. Then sessions are valid only until a restart.

    Raises:
        Unavailable: The store failed, or the secret cannot be read.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        required: bool = False,
        clock: Callable[[], int] = time.time_ns,
        session_secret: str = "",
    ) -> None:
        self._store = store
        self._required = required
        self._clock = clock
        self._session_secret = session_secret.encode() or store.read_session_secret()
        self._owner_token = store.read_owner_token() if required else ""
        self._keys: Mapping[str, StoredKey] = {}
        # When each key was last used here, and the uses that the store knows.
        self._uses: dict[str, int] = {}
        self._stored_uses = store.read_uses()
        # Prevents a refresh that read the store before a change from overwriting the change.
        self._changing = threading.Lock()
        self.refresh()

    @property
    def is_on(self) -> bool:
        """Whether requests need a key. True once a key was created, even if all are revoked."""
        return self._required or bool(self._keys)

    def list_jobs(self, every_s: float) -> Sequence[BackgroundJob]:
        """List the job that reloads the keys.

        If another collector at the same store revokes a key, the key stops working here within
        `every_s` and a second, and its streams end.
        """
        trouble = "API keys could not be reloaded"
        return [BackgroundJob(self.refresh, every_s, trouble, first_s=every_s)]

    def refresh(self) -> None:
        """Reload the keys, to see changes by other collectors with the same store.

        Also stores when keys were last used, at most once an hour for each key.

        Raises:
            Unavailable: The store failed; the known keys stay valid.
        """
        with self._changing:
            keys = {key.access.key_id: key for key in self._store.read()}
            self._keys = keys or self._keys  # an emptied store must not allow access without a key
            new = {
                key_id: used_ns
                for key_id, used_ns in list(self._uses.items())
                if used_ns - self._stored_uses.get(key_id, 0) >= HOUR_NS
            }
            if new:
                self._store.add_uses(new)
                self._stored_uses |= new

    def find_keys(self, within: Access = OPEN) -> list[StoredKey]:
        """Return the keys whose projects are all covered by an access, oldest first."""
        return [key for key in self._keys.values() if within.covers(key.access.projects)]

    def find_uses(self) -> dict[str, int]:
        """Return when each key was last used, in nanoseconds since the epoch, by ID of the key.

        The time is exact if the key was last used in a request to this collector. If the request
        was to another collector with the same store, the real time can be about an hour later. The
        reason is that each collector stores a use at most once an hour.

        Raises:
            Unavailable: The store failed.
        """
        uses = self._store.read_uses()
        for key_id, used_ns in list(self._uses.items()):
            uses[key_id] = max(used_ns, uses.get(key_id, 0))
        return uses

    def add(self, wanted: Access, by: Access = OPEN) -> NewKey:
        """Create a key. When this method returns, the key is on disk and valid.

        Args:
            wanted: Name and permissions of the key: scopes, projects and rates. Its `key_id` is
                ignored.
            by: Permissions of the caller. The caller's `key_id` is stored with the key.

        Raises:
            BadInput: The name, a scope, a project or a rate is invalid, or there are too many keys.
            Unavailable: The store failed.
        """
        _check(wanted)
        if len(self._keys) >= MOST:
            raise BadInput(f"The maximum of {MOST} keys is reached, including revoked keys", "name")
        key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
        access = replace(wanted, key_id=key_id)
        key = StoredKey(access, _hash(secret), self._clock(), made_by=by.key_id or LOCAL)
        with self._changing:
            self._store.add(key)
            self._keys = {**self._keys, key_id: key}
        return NewKey(key, f"{KEY_START}{key_id}_{secret}")

    def revoke(self, key_id: str, within: Access = OPEN) -> StoredKey:
        """Revoke a key, so that requests with this key are refused.

        In this collector, the key is invalid at once. Other collectors with the same store refuse
        the key after they have reloaded their keys. Revoking a key twice is harmless.

        Args:
            key_id: ID of the key.
            within: Permissions of the caller.

        Raises:
            Missing: There is no such key, or the caller may not access all projects of the key.
            Unavailable: The store failed.
        """
        with self._changing:
            key = self._keys.get(key_id)
            if key is None or not within.covers(key.access.projects):
                raise Missing(f"There is no key {key_id[:80]!r}")
            if not key.revoked_ns:
                key = self._store.revoke(key, self._clock(), within.key_id or LOCAL)
                self._keys = {**self._keys, key_id: key}
        return key

    def find(self, headers: Mapping[str, str], *, is_local: bool = False) -> Access | None:
        """Return the permissions of the sender of a request; None if the key is missing or wrong.

        While no key exists, there are two cases:

        * If keys are optional, everything is allowed, except that a sender on another machine
          cannot act as administrator.
        * If keys are required, a sender on this machine can send the token from the data directory
          instead of a key. With this token, the sender can create the first key.

        Args:
            headers: HTTP headers or gRPC metadata with lower-case names. The key is in
                ``authorization: Bearer KEY`` or ``x-api-key: KEY``.
            is_local: Whether the sender is on this machine.
        """
        if not self.is_on:
            return OPEN if is_local else OPEN_BEYOND
        authorization = headers.get("authorization", "")
        if authorization.lower().startswith(_BEARER):
            text = authorization[len(_BEARER) :]
            if is_local and self._is_owner(text):
                return _OWNER
            return self.find_key(text)
        return self.find_key(headers.get("x-api-key", ""))

    def _is_owner(self, text: str) -> bool:
        """Return whether a sender can read the data directory, while there is no key yet."""
        if self._keys or not self._owner_token:
            return False
        return hmac.compare_digest(text.strip().encode(), self._owner_token.encode())

    def find_key(self, text: str) -> Access | None:
        """Return the access of a key; None if it does not exist or is revoked."""
        match = _KEY.fullmatch(text.strip())
        key_id, secret = match.groups() if match else ("", "")
        key = self._keys.get(key_id)
        # Compare even if there is no such key, so that timing does not reveal which ids exist.
        is_right = hmac.compare_digest(_hash(secret), key.secret_hash if key else _NOBODY)
        if key is None or not is_right or key.revoked_ns:
            return None
        self._uses[key_id] = self._clock()
        return key.access

    def open_session(self, access: Access) -> str:
        """Return a signed session for a cookie; valid for 12 hours."""
        until_s = self._clock() // 10**9 + SESSION_S
        return f"{access.key_id}.{until_s}.{self._sign(access.key_id, until_s)}"

    def find_session(self, text: str) -> Access | None:
        """Return the access of a session: that of its key, without sending spans."""
        match = _SESSION.fullmatch(text)
        key = self._keys.get(match[1]) if match else None
        if match is None or key is None or key.revoked_ns:
            return None
        until_s = int(match[2])
        if not hmac.compare_digest(self._sign(match[1], until_s), match[3]):
            return None
        # Refuse sessions that would last too long: they were signed by a collector whose clock was
        # ahead.
        latest_s = self._clock() // 10**9 + SESSION_S + _CLOCKS_DIFFER_S
        if not self._clock() < until_s * 10**9 <= latest_s * 10**9:
            return None
        self._uses[match[1]] = self._clock()
        return replace(key.access, scopes=key.access.scopes & _SESSION_SCOPES)

    def _sign(self, key_id: str, until_s: int) -> str:
        text = f"otel-ml session {key_id} {until_s}".encode()
        return hmac.new(self._session_secret, text, "sha256").hexdigest()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _check(wanted: Access) -> None:
    """Raise `BadInput` if a key cannot have this name, scope, project or rate."""
    if len(wanted.name) > _KEY_NAME_CHARS or not wanted.name.isprintable():
        raise BadInput(
            f"Invalid name: expected at most {_KEY_NAME_CHARS} visible characters", "name"
        )
    unknown = sorted(wanted.scopes - set(SCOPES))
    if unknown or not wanted.scopes:
        named = repr(unknown[0][:80]) if unknown else "''"
        raise BadInput(f"Invalid scope {named}: expected some of {', '.join(SCOPES)}", "scopes")
    for project in wanted.projects or ():
        if not project or project == ALL_PROJECTS or not is_project(project):
            raise BadInput(
                f"Invalid project {project[:80]!r}: expected 1 to 128 visible characters, or "
                f"{ALL_PROJECTS!r} alone for all",
                "projects",
            )
    if wanted.projects is not None and not 1 <= len(wanted.projects) <= _PROJECTS_OF_KEY:
        raise BadInput(f"Invalid projects: expected 1 to {_PROJECTS_OF_KEY}", "projects")
    for field in ("spans_per_second", "bytes_per_second"):
        if not 0 <= getattr(wanted, field) <= _MAX_RATE:
            raise BadInput(f"Invalid {field}: expected 0 (no limit) to {_MAX_RATE}", field)
