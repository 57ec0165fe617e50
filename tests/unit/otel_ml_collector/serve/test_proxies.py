"""Tests of proxy headers: which are trusted, and how client, scheme, path and user are read."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from otel_ml_collector.access import ProxyUser, find_user_of, is_local
from otel_ml_collector.serve.proxies import PREFIX, UNKNOWN, Proxies, parse_forwarded, read_node
from otel_ml_collector.settings.sources import load

HERE: Final = "127.0.0.1"
PROXY: Final = "10.0.0.5"
SIGN_ON: Final = {
    "trusted_proxies": f"{HERE},{PROXY},2001:db8::5",
    "auth_header": "X-Forwarded-Email",
    "auth_groups_header": "X-Forwarded-Groups",
    "auth_access": '{"ada@example.com": {"scopes": ["read"], "projects": ["*"]}}',
}


class Refused(Exception):
    """The middleware answered the request before it reached the application."""


async def see(
    headers: Sequence[tuple[str, str]], peer: str | None, settings_of: Mapping[str, str]
) -> Scope:
    """Return the request as the application sees it."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def receive() -> Any:
        raise AssertionError("nothing reads the body")

    status = 0

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {
        "type": "http",
        "scheme": "http",
        "client": (peer, 50_000) if peer else None,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }
    counted: list[int] = []
    settings = load(settings_of, {}, None)
    await Proxies(app, settings, lambda: counted.append(1))(scope, receive, send)
    assert len(counted) == (status != 0)
    if status:
        raise Refused(status)
    [passed] = seen
    return passed


def ask(*headers: tuple[str, str], peer: str | None = HERE, **settings_of: str) -> Scope:
    """Send one request from an address through the middleware, and return its scope."""
    passing = see(headers, peer, settings_of)
    try:
        passing.send(None)
    except StopIteration as end:
        scope: Scope = end.value
        return scope
    raise AssertionError("nothing waits")


def client_of(*headers: tuple[str, str], peer: str = HERE, **settings_of: str) -> str:
    host: str = ask(*headers, peer=peer, **settings_of)["client"][0]
    return host


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("for=192.0.2.60;proto=https;by=203.0.113.43", [("192.0.2.60", "https")]),
        ('For="[2001:db8:cafe::17]:4711"', [("[2001:db8:cafe::17]:4711", None)]),
        ("for=192.0.2.43, for=198.51.100.17", [("192.0.2.43", None), ("198.51.100.17", None)]),
        ('for="_gazonk" , for=unknown', [("_gazonk", None), ("unknown", None)]),
        ('for="a\\"b,c";proto=http', [('a"b,c', "http")]),
        (",, for=1.1.1.1 ;; proto=http,", [("1.1.1.1", "http")]),
        ("for=192.0.2.43:47011", [("192.0.2.43:47011", None)]),
        ("", []),
    ],
)
def test_parse_forwarded(text: str, elements: list[tuple[str, str | None]]) -> None:
    """The parameters of each proxy are parsed according to RFC 7239."""
    parsed = parse_forwarded(text)
    assert parsed is not None
    assert [(element.get("for"), element.get("proto")) for element in parsed] == elements


@pytest.mark.parametrize(
    "text",
    ["for", "for=", 'for="1.1.1.1', "for=1.1.1.1 for=2.2.2.2", "for=1.1.1.1;for=2.2.2.2", "=x"],
)
def test_garbage(text: str) -> None:
    """A header with an invalid part is ignored."""
    assert parse_forwarded(text) is None


@given(st.text())
def test_any_text(text: str) -> None:
    """Any text can be parsed without an error."""
    parse_forwarded(text)
    read_node(text)


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (("x-forwarded-for", "192.0.2.60"), "192.0.2.60"),
        (("x-forwarded-for", "192.0.2.60:8080"), "192.0.2.60"),
        (("x-forwarded-for", "6.6.6.6, 192.0.2.60, 10.0.0.5"), "192.0.2.60"),
        (("x-forwarded-for", "10.0.0.5, 127.0.0.1"), "10.0.0.5"),
        (("x-forwarded-for", "127.0.0.1"), "127.0.0.1"),
        (("x-forwarded-for", "127.0.0.1, 10.0.0.5"), UNKNOWN),
        (("x-forwarded-for", "garbage"), UNKNOWN),
        (("x-forwarded-for", f"{'127.0.0.1, ' * 400}192.0.2.60"), UNKNOWN),
        (("x-forwarded-for", f"{'127.0.0.1, ' * 200}192.0.2.60"), "192.0.2.60"),
        (("forwarded", "for=192.0.2.60"), "192.0.2.60"),
        (("forwarded", 'for="[2001:db8:cafe::17]:4711"'), "2001:db8:cafe::17"),
        (("forwarded", "for=6.6.6.6, for=192.0.2.60, for=10.0.0.5"), "192.0.2.60"),
        (("forwarded", 'for=1.1.1.1, for="[2001:db8::5]"'), "1.1.1.1"),
        (("forwarded", f"{'for=127.0.0.1, ' * 400}for=192.0.2.60"), UNKNOWN),
        (("forwarded", "for=_hidden"), UNKNOWN),
        (("forwarded", 'for="broken'), UNKNOWN),
        (("forwarded", "proto=https"), UNKNOWN),
    ],
)
def test_client(header: tuple[str, str], client: str) -> None:
    """The client is the last address that is not a trusted proxy, in either header."""
    assert client_of(header, trusted_proxies=SIGN_ON["trusted_proxies"]) == client


def test_untrusted_headers_are_ignored() -> None:
    """An untrusted peer cannot set the client address, scheme or path."""
    lies = [
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1;proto=https"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/elsewhere"),
    ]
    for peer in ("10.0.0.6", None):
        seen = ask(*lies, peer=peer, trusted_proxies=PROXY)
        assert (seen["scheme"], seen.get(PREFIX)) == ("http", None)
        assert not is_local(seen)
    assert client_of(*lies, peer=HERE, trusted_proxies=PROXY) == HERE
    assert client_of(("x-forwarded-for", "9.9.9.9"), peer="127.0.0.9") == "9.9.9.9"


@pytest.mark.parametrize("peer", [PROXY, f"::ffff:{PROXY}"])
def test_a_distant_proxy_reports_no_address_of_this_machine(peer: str) -> None:
    """A remote proxy that passes on a client's header does not make that client local."""
    seen = ask(("x-forwarded-for", "127.0.0.1"), peer=peer, trusted_proxies=PROXY)
    assert seen["client"] == (UNKNOWN, 0)
    assert not is_local(seen)


def test_headers_that_disagree() -> None:
    """If two headers disagree, because a proxy sets only one of them, the client is unknown."""
    both = [("x-forwarded-for", "192.0.2.60"), ("forwarded", "for=127.0.0.1")]
    assert client_of(*both) == UNKNOWN
    assert client_of(both[0], ("forwarded", "for=192.0.2.60")) == "192.0.2.60"


@pytest.mark.parametrize(
    ("prefix", "path"),
    [
        ("/otel-ml", "/otel-ml"),
        ("/tools/otel-ml/", "/tools/otel-ml"),
        ("", None),
        ("/", None),
        ("otel-ml", None),
        ("//evil.example", None),
        ("/a/../b", None),
        ("/a/.", None),
        ('/a"onload=', None),
        ("/a, /b", None),
        ("/a\\b", None),
    ],
)
def test_prefix(prefix: str, path: str | None) -> None:
    """A prefix must be a plain path. Anything else is ignored."""
    assert ask(("x-forwarded-prefix", prefix)).get(PREFIX) == path


def test_scheme() -> None:
    """The scheme is the client's, from either header."""
    assert ask(("x-forwarded-proto", "https,http"))["scheme"] == "https"
    assert ask(("forwarded", "for=1.1.1.1;proto=HTTPS"))["scheme"] == "https"
    assert ask(("x-forwarded-proto", "javascript"))["scheme"] == "http"


def test_user() -> None:
    """A trusted proxy names the user and groups, and then the request is not local."""
    seen = ask(
        ("x-forwarded-email", "Ada@Example.com"), ("x-forwarded-groups", "ml, ops"), **SIGN_ON
    )
    assert find_user_of(seen) == ProxyUser("ada@example.com", frozenset({"ml", "ops"}))
    assert not is_local(seen)
    local = ask(("x-forwarded-email", "ada"), ("x-forwarded-for", HERE), **SIGN_ON)
    assert not is_local(local)
    assert find_user_of(ask(("x-forwarded-email", ""), **SIGN_ON)) is None
    assert find_user_of(ask(("x-forwarded-email", "ada@example.com"))) is None


@pytest.mark.parametrize("peer", ["127.0.0.2", "10.0.0.6", None])
@pytest.mark.parametrize("name", ["x-forwarded-email", "x-forwarded-groups"])
def test_user_of_a_stranger(name: str, peer: str | None) -> None:
    """A request from an untrusted peer that names a user is rejected."""
    with pytest.raises(Refused, match="401"):
        ask((name, "ada@example.com"), peer=peer, **SIGN_ON)


@pytest.mark.parametrize(
    "values", [["a@x", "b@x"], ["a@x,b@x"], ["a\tb"], ["a" * 255], ["\x80"], ["", "b@x"]]
)
def test_invalid_user(values: list[str]) -> None:
    """A header that does not name exactly one user is rejected."""
    with pytest.raises(Refused, match="400"):
        ask(*[("x-forwarded-email", value) for value in values], **SIGN_ON)
