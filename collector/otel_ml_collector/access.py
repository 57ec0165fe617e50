"""The access of a key: its scopes, over its projects, with its rates.

Every request has an `Access`: that of its key, or `OPEN` while there are no keys. It travels in
the ASGI scope, so that whoever answers asks the same one.
"""

import ipaddress
from collections.abc import Callable, Mapping, MutableMapping, Sequence
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

NO_KEY: Final = "A valid key is needed, sent as 'authorization: Bearer omk_...' or 'x-api-key'"

_STATE: Final = "otel_ml.access"
_WRITTEN: Final = ("name", "scopes", "projects", "spans_per_second", "bytes_per_second")


@dataclass(frozen=True, slots=True)
class Access:
    """The access of the sender of a request.

    Attributes:
        key_id: The public part of its key; empty for nobody.
        name: The name of its key.
        scopes: Some of `SCOPES`.
        projects: In the order in which the key names them; None for all.
        spans_per_second: How many spans it may send; 0 for any number.
        bytes_per_second: How many bytes it may send; 0 for any number.
    """

    key_id: str
    name: str
    scopes: frozenset[str]
    projects: tuple[str, ...] | None
    spans_per_second: int = 0
    bytes_per_second: int = 0

    @classmethod
    def read(cls, key_id: str, written: Mapping[str, Any]) -> "Access":
        """Read the access of a key from its written form, each project once."""
        facts = {**written, "scopes": frozenset(written["scopes"])}
        named = list(dict.fromkeys(written["projects"]))
        facts["projects"] = None if named == [ALL_PROJECTS] else tuple(named)
        return cls(key_id, **{name: facts[name] for name in _WRITTEN})

    @property
    def written(self) -> dict[str, Any]:
        """All but its id, as the store and the API have it: `ALL_PROJECTS` alone for all."""
        facts = {name: getattr(self, name) for name in _WRITTEN}
        projects = [ALL_PROJECTS] if self.projects is None else list(self.projects)
        return {**facts, "scopes": sorted(self.scopes), "projects": projects}

    def has(self, scope: str) -> bool:
        """Tell whether it has a scope, over whatever projects."""
        return scope in self.scopes

    def demand(self, scope: str) -> "Access":
        """Return itself when it has a scope.

        Raises:
            NotPermitted: It has not.
        """
        if scope not in self.scopes:
            raise NotPermitted(f"The key has not the scope {scope}")
        return self

    def reaches(self, project: str) -> bool:
        """Tell whether a project is among its own, whatever it may do there."""
        return self.projects is None or project in self.projects

    def may(self, scope: str, project: str) -> bool:
        """Tell whether it has a scope over a project."""
        return scope in self.scopes and self.reaches(project)

    def covers(self, projects: Sequence[str] | None) -> bool:
        """Tell whether all of some projects are among its own; None stands for all projects."""
        if self.projects is None:
            return True
        return projects is not None and set(projects) <= set(self.projects)


# Finds what the sender of some headers or metadata may do, names in lower case.
FindAccess: TypeAlias = Callable[[Mapping[str, str]], Access | None]

OPEN: Final = Access("", "", frozenset(SCOPES), None)
# Of senders beyond this machine while there are no keys: they cannot make the first one.
OPEN_BEYOND: Final = Access("", "", frozenset(SCOPES) - {ADMIN}, None)


def put_access(scope: MutableMapping[str, Any], access: Access | None) -> None:
    """Store the access of the sender in a request; None without a valid key."""
    scope[_STATE] = access


def find_access_of(scope: MutableMapping[str, Any]) -> Access | None:
    """Return the access of the sender of a request; None without a valid key."""
    access: Access | None = scope.get(_STATE)
    return access


def access_of(scope: MutableMapping[str, Any]) -> Access:
    """Return the access of the sender of a request.

    Raises:
        Unauthenticated: It has no key, or a wrong one, or nobody has looked at it.
    """
    return known(scope.get(_STATE))


def is_local(scope: Mapping[str, Any]) -> bool:
    """Tell whether the sender of a request is on this machine."""
    client = scope.get("client")
    if not client:  # such as a socket in the file system
        return False
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def known(access: Access | None) -> Access:
    """Return the access, or refuse a sender without any.

    Raises:
        Unauthenticated: There is no access.
    """
    if access is not None:
        return access
    raise Unauthenticated(NO_KEY)
