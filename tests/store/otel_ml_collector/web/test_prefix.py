"""The proxy path in `X-Forwarded-Prefix`: who may set it, and signing in below it."""

from pathlib import Path
from urllib.parse import urlencode

from otel_ml_collector.access import READ, Access
from otel_ml_collector.keyring import Keyring
from tests.store.otel_ml_collector.web.test_base_path import BASE, PREFIXED
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.stores import open_service


def test_prefix_of_a_stranger(tmp_path: Path) -> None:
    """A prefix counts only if a trusted proxy sends it."""
    with open_service(tmp_path, trusted_proxies="10.0.0.5") as service:
        page = ask(service.app, "/", headers=PREFIXED)
        assert page.status == 200
        assert BASE not in page.text


def test_sign_in_below_the_base_path(tmp_path: Path) -> None:
    """The sign-in page, its redirect and its cookie stay below the path."""
    with open_service(tmp_path, require_keys="true") as service:
        keyring = service.app.state.services.find(Keyring)
        key = keyring.add(Access("", "mira", frozenset({READ}), None)).text
        opened = ask(service.app, "/projects/shop?last=7d", headers=PREFIXED)
        assert opened.status == 303
        there = opened.headers["location"]
        assert there == f"{BASE}/sign-in?next=%2Fotel-ml%2Fprojects%2Fshop%3Flast%3D7d"
        form = ask(service.app, there.removeprefix(BASE), headers=PREFIXED).text
        assert f'action="{BASE}/sign-in"' in form
        signed = ask(
            service.app,
            "/sign-in",
            method="POST",
            headers=PREFIXED,
            body=[urlencode({"key": key, "next": f"{BASE}/projects/shop"}).encode()],
        )
        cookie = signed.headers["set-cookie"]
        assert signed.headers["location"] == f"{BASE}/projects/shop"
        assert {f"Path={BASE}", "Secure", "HttpOnly"} <= {*cookie.split("; ")}
        session = {**PREFIXED, "cookie": cookie.partition(";")[0]}
        assert ask(service.app, "/", headers=session).status == 200
        left = ask(service.app, "/sign-out", method="POST", headers=session)
        assert f"Path={BASE}" in left.headers["set-cookie"].split("; ")
