"""The access of a key: its scopes, its projects and its rates.

Every request has an `Access`: that of its key, or `OPEN` while there are no keys. It is stored in
the ASGI scope, so that all parts of the collector use the same one.
"""

import ipaddress
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from otel_ml_collector.errors import NotPermitted, Unauthenticated

INGEST: Final = "ingest"
READ: Final = "read"
ANNOTATE: Final = "annotate"
ADMIN: Final = "admin"
IMPORT: Final = "import"
SCOPES: Final = (INGEST, READ, ANNOTATE, ADMIN, IMPORT)
ALL_PROJECTS: Final = "*"

NO_KEY: Final = "This needs a valid key: send 'authorization: Bearer omk_...' or 'x-api-key'"
NEEDS_ALL_PROJECTS: Final = "This request needs a key for all projects, not only for some."

USER: Final = "user:"
# Makes the changes that the settings file asks for.
SETTINGS_FILE: Final = "settings file"
# The sender of a request without a key while there are no keys.
LOCAL: Final = "local"
_STATE: Final = "otel_ml.access"
_USER: Final = "otel_ml.user"
_AGAIN: Final = "otel_ml.access_again"
_WRITTEN: Final = ("name", "scopes", "projects", "spans_per_second", "bytes_per_second")


@dataclass(frozen=True, slots=True)
class Access:
    """The permissions of a request's sender.

    Attributes:
        key_id: Public part of the sender's key. If a proxy signed the user in, this is the user's
            name after the prefix ``user:``. Empty if the sender has neither a key nor a sign-in.
        name: Name of the key or user.
        scopes: What the sender may do: some of ``ingest``, ``read``, ``annotate``, ``admin`` and
            ``import``.
        projects: Names of the projects that the sender may access, in the order of the key. If
            None, the sender may access all projects.
        spans_per_second: How many spans the sender may send per second; 0 for no limit.
        bytes_per_second: How many bytes the sender may send per second; 0 for no limit.
    """

    key_id: str
    name: str
    scopes: frozenset[str]
    projects: tuple[str, ...] | None
    spans_per_second: int = 0
    bytes_per_second: int = 0

    @classmethod
    def read(cls, key_id: str, written: Mapping[str, Any]) -> "Access":
        """Build an access from its stored form. Duplicate projects are removed."""
        facts = {**written, "scopes": frozenset(written["scopes"])}
        named = list(dict.fromkeys(written["projects"]))
        facts["projects"] = None if named == [ALL_PROJECTS] else tuple(named)
        return cls(key_id, **{name: facts[name] for name in _WRITTEN})

    @property
    def written(self) -> dict[str, Any]:
        """All fields except the id, in the form of the store and the API.

        `ALL_PROJECTS` alone means all projects.
        """
        facts = {name: getattr(self, name) for name in _WRITTEN}
        projects = [ALL_PROJECTS] if self.projects is None else list(self.projects)
        return {**facts, "scopes": sorted(self.scopes), "projects": projects}

    @property
    def is_user(self) -> bool:
        """Whether a proxy signed the sender in."""
        return self.key_id.startswith(USER)

    def has(self, scope: str) -> bool:
        """Return whether the sender has a scope, in any project."""
        return scope in self.scopes

    def demand(self, scope: str) -> "Access":
        """Return this access if the sender has a scope.

        Raises:
            NotPermitted: The sender does not have the scope.
        """
        if scope not in self.scopes:
            sender = "user" if self.is_user else "key"
            raise NotPermitted(f"This {sender} does not have the scope {scope}")
        return self

    def reaches(self, project: str) -> bool:
        """Return whether the sender may access a project, with any scope."""
        return self.projects is None or project in self.projects

    def may(self, scope: str, project: str) -> bool:
        """Return whether the sender has a scope and may access a project."""
        return scope in self.scopes and self.reaches(project)

    def covers(self, projects: Sequence[str] | None) -> bool:
        """Return whether the sender may access all given projects. None means all projects."""
        if self.projects is None:
            return True
        return projects is not None and set(projects) <= set(self.projects)


@dataclass(frozen=True, slots=True)
class ProxyUser:
    """The user that a trusted proxy names in its headers.

    Attributes:
        name: Name or email address, in lower case.
        groups: Groups of the user.
    """

    name: str
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change, and with what.

    Attributes:
        who: Public part of a key; ``user:`` and the name of a user; `LOCAL` without keys. For
            changes that no request makes, a part of the collector, such as ``settings file``.
        program: ``page``, ``command``, ``assistant`` or ``api``; empty if no request makes it.
    """

    who: str
    program: str = ""


_BACKGROUND: Final = Actor("collector")
_ACTOR: Final[ContextVar[Actor | None]] = ContextVar("actor", default=None)


def actor_now() -> Actor:
    """Return who makes the changes of the current request or background job."""
    return _ACTOR.get() or _BACKGROUND


def set_actor(actor: Actor) -> None:
    """Set who makes the changes from now on, in the context of the current request."""
    _ACTOR.set(actor)


@contextmanager
def acting_as(who: str) -> Iterator[None]:
    """Name a part of the collector that makes the changes within the `with` block."""
    token = _ACTOR.set(Actor(who))
    try:
        yield
    finally:
        _ACTOR.reset(token)


# The payloads that the current request reads: projects, each with what was read. None unless reads
# are audited. The threads of a request share the list.
_NOTED_READS: Final[ContextVar[list[tuple[str, str]] | None]] = ContextVar("reads", default=None)


def collect_reads() -> list[tuple[str, str]]:
    """Return the list to which `note_read` adds, for the current request."""
    reads: list[tuple[str, str]] = []
    _NOTED_READS.set(reads)
    return reads


def note_read(project: str, name: str) -> None:
    """Note that the current request reads payloads, where its address does not show it."""
    reads = _NOTED_READS.get()
    if reads is not None and (project, name) not in reads:
        reads.append((project, name))


# Returns the access for headers or metadata with lower-case names.
FindAccess: TypeAlias = Callable[[Mapping[str, str]], Access | None]

OPEN: Final = Access("", "", frozenset(SCOPES), None)
# For senders on other machines while there are no keys: they cannot create the first key.
OPEN_BEYOND: Final = Access("", "", frozenset(SCOPES) - {ADMIN}, None)


def put_access(
    scope: MutableMapping[str, Any],
    access: Access | None,
    find_again: Callable[[], Access | None] | None = None,
) -> None:
    """Store the sender's access in the ASGI scope of a request.

    Args:
        scope: The ASGI scope of the request.
        access: The access of the sender; None if the request has no valid key or sign-in.
        find_again: Looks up the access of the same sender again. `has_still` calls it during a long
            response, to find out whether the access has changed since the start.
    """
    scope[_STATE] = access
    scope[_AGAIN] = find_again


def put_user(scope: MutableMapping[str, Any], user: ProxyUser) -> None:
    """Store in the ASGI scope the user whom a trusted proxy signed in."""
    scope[_USER] = user


def find_user_of(scope: MutableMapping[str, Any]) -> ProxyUser | None:
    """Return the user whom a trusted proxy signed in; None for all other requests."""
    user: ProxyUser | None = scope.get(_USER)
    return user


def find_access_of(scope: MutableMapping[str, Any]) -> Access | None:
    """Return the access of the sender of a request; None without a valid key."""
    access: Access | None = scope.get(_STATE)
    return access


def has_still(scope: MutableMapping[str, Any], access: Access) -> bool:
    """Return whether the sender's access is unchanged since the start of the request.

    Returns False if the sender's key was revoked, the sender's session ended, or keys became
    required in the meantime. Call it during a long response, to stop sending data.
    """
    find_again: Callable[[], Access | None] | None = scope.get(_AGAIN)
    return find_again is None or find_again() == access


def access_of(scope: MutableMapping[str, Any]) -> Access:
    """Return the access of the sender of a request.

    Raises:
        Unauthenticated: The request has no key or a wrong one, or `put_access` was not called.
    """
    return known(scope.get(_STATE))


def is_local(scope: Mapping[str, Any]) -> bool:
    """Return whether the sender of a request is on this machine."""
    client = scope.get("client")
    if not client:  # for example a Unix socket
        return False
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def known(access: Access | None) -> Access:
    """Return the access, or raise if there is none.

    Raises:
        Unauthenticated: There is no access.
    """
    if access is not None:
        return access
    raise Unauthenticated(NO_KEY)
