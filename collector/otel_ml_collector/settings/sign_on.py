"""The settings of single sign-on: which proxy names the user, and what each user may do."""

import ipaddress
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from otel_ml_collector.access import ALL_PROJECTS, SCOPES, USER, Access, ProxyUser
from otel_ml_collector.settings.values import HEADER_NAME, table_of

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

GROUP: Final = "group:"
# Decoders replace bytes that are not valid UTF-8 with this character.
_UNREADABLE: Final = "\ufffd"
_EXAMPLE: Final = """{"ada@example.com": {"scopes": ["read"], "projects": ["*"]}}"""
_ENTRY_KEYS: Final = frozenset({"scopes", "projects"})
_MAX_ENTRIES: Final = 1_000
_MAX_NAME_CHARS: Final = 254
_MAX_PROJECTS: Final = 100
_MAX_PROJECT_CHARS: Final = 128
# Headers that the collector itself reads, so they cannot name the user.
_TAKEN: Final = frozenset(
    {"authorization", "x-api-key", "cookie", "host", "origin", "forwarded", "content-type"}
    | {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-prefix", "x-otel-ml-project"}
)


@dataclass(frozen=True, slots=True)
class AccessEntry:
    """What one user, or each member of one group, may do.

    Attributes:
        name: Name of the user in lower case, or ``group:`` and the name of the group.
        scopes: Some of `SCOPES`.
        projects: Projects; ``*`` alone means all.
    """

    name: str
    scopes: tuple[str, ...]
    projects: tuple[str, ...]


def read_networks(text: str) -> tuple[Network, ...]:
    """Read addresses and networks, separated by commas, such as ``10.0.0.0/8``."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return tuple(dict.fromkeys(ipaddress.ip_network(part) for part in parts))
    except ValueError:
        raise ValueError(
            "expected IP addresses or networks separated by commas, such as 127.0.0.1,10.0.0.0/8"
        ) from None


def read_header_name(text: str) -> str:
    """Read the name of a header in which a proxy names the user, or empty text."""
    name = text.strip().lower()
    if name and (not HEADER_NAME.fullmatch(name) or name in _TAKEN):
        raise ValueError(
            "expected the name of a header that has no other meaning, such as X-Forwarded-Email"
        )
    return name


def read_sign_out(text: str) -> str:
    """Read the address at which the proxy signs out: a path or a URL, or empty text."""
    parts = urlsplit(text)
    is_path = text.startswith("/") and not text.startswith(("//", "/\\"))
    is_address = parts.scheme in {"http", "https"} and bool(parts.netloc)
    if text and (not (is_path or is_address) or not text.isprintable() or " " in text):
        raise ValueError("expected a path or an address, such as /oauth2/sign_out")
    return text


def read_access(text: str) -> tuple[AccessEntry, ...]:
    """Read a JSON object of users and groups. Empty text gives no entries.

    Raises:
        ValueError: An entry is invalid. The message says what is expected.
    """
    try:
        tables = json.loads(text) if text else {}
    except ValueError:
        raise ValueError(f"expected a JSON object such as {_EXAMPLE}") from None
    if not isinstance(tables, dict) or len(tables) > _MAX_ENTRIES:
        raise ValueError(f"expected at most {_MAX_ENTRIES} entries such as {_EXAMPLE}")
    entries = tuple(_read_entry(name, table) for name, table in tables.items())
    if len({entry.name for entry in entries}) < len(entries):
        raise ValueError("expected each user or group once: upper and lower case are equal")
    return entries


def _read_entry(name: str, table: object) -> AccessEntry:
    is_misspelt = name.lower().startswith(GROUP) and not name.startswith(GROUP)
    if is_misspelt or not name.removeprefix(GROUP).strip() or not is_identity(name):
        raise ValueError(f"{name[:80]!r}: expected an email address, or {GROUP} and a name")
    values = table_of(name, table, f" such as {_EXAMPLE}")
    if values.keys() != _ENTRY_KEYS:
        raise ValueError(f"{name}: expected scopes and projects")
    scopes, projects = _read_list(values["scopes"]), _read_list(values["projects"])
    if not scopes or set(scopes) - set(SCOPES):
        raise ValueError(f"{name}.scopes: expected a list of some of {', '.join(SCOPES)}")
    is_all = projects == (ALL_PROJECTS,)
    if not 1 <= len(projects) <= _MAX_PROJECTS or (ALL_PROJECTS in projects and not is_all):
        raise ValueError(
            f"{name}.projects: expected a list of 1 to {_MAX_PROJECTS} names, or [{ALL_PROJECTS!r}]"
        )
    return AccessEntry(name if name.startswith(GROUP) else name.lower(), scopes, projects)


def _read_list(value: object) -> tuple[str, ...]:
    """Return the names of a list without repetitions; empty if it is no list of names."""
    is_list = isinstance(value, list) and all(
        isinstance(name, str) and name.isprintable() and 1 <= len(name) <= _MAX_PROJECT_CHARS
        for name in value
    )
    return tuple(dict.fromkeys(value)) if isinstance(value, list) and is_list else ()


def is_identity(name: str) -> bool:
    """Return whether a text can be the name of a user."""
    is_short = 1 <= len(name) <= _MAX_NAME_CHARS
    return is_short and name.isprintable() and not {",", _UNREADABLE} & {*name}


def find_access(entries: Collection[AccessEntry], user: ProxyUser) -> Access | None:
    """Return the access of a user; None if no entry matches.

    If several entries match, only one is used: the entry of the user or, if there is none, the
    first matching entry of a group in the order of the table. Entries are not combined: if one
    entry permits `read` in project A and another one `admin` in B, the result would permit both in
    both projects.
    """
    groups = [entry for entry in entries if entry.name.startswith(GROUP)]
    matches = [entry for entry in entries if entry not in groups and entry.name == user.name]
    matches += [entry for entry in groups if entry.name.removeprefix(GROUP) in user.groups]
    if not matches:
        return None
    written = {"name": user.name, "scopes": matches[0].scopes, "projects": matches[0].projects}
    rates = {"spans_per_second": 0, "bytes_per_second": 0}
    # No key has an ID with this prefix, so no user name can match the ID of a key.
    return Access.read(f"{USER}{user.name}", {**written, **rates})


def find_sign_on_conflicts(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Find unsafe or useless settings of single sign-on; yields the name and what is expected."""
    names = ("auth_header", "auth_groups_header", "auth_access", "auth_sign_out", "trusted_proxies")
    if not values.keys() >= set(names):
        return
    header, groups_header, entries, sign_out, proxies = (values[name] for name in names)
    if header and not proxies:
        yield "auth_header", "expected trusted_proxies too: otherwise anyone could name any user"
    if header and any(network.prefixlen == 0 for network in proxies):
        yield "trusted_proxies", "expected the addresses of your proxies, not every address"
    if header and not entries:
        yield "auth_header", "expected auth_access too: otherwise no user may do anything"
    if header and header == groups_header:
        yield "auth_groups_header", "expected a header that is not auth_header"
    if entries and not groups_header and any(entry.name.startswith(GROUP) for entry in entries):
        yield "auth_access", "expected auth_groups_header too, because groups have access"
    for name, value in (
        ("auth_groups_header", groups_header),
        ("auth_access", entries),
        ("auth_sign_out", sign_out),
    ):
        if value and not header:
            yield name, "expected auth_header too"
