"""Signing in to the pages with a key."""

import json
from typing import Final
from urllib.parse import quote, urlencode

import pytest

from otel_ml_collector.access import ADMIN, ANNOTATE, READ, Access
from otel_ml_collector.keyring import Keyring
from otel_ml_collector.project_settings.keys import Attempts, local_path
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.stores import Service

FORM: Final = {"content-type": "application/x-www-form-urlencoded"}
WRONG: Final = f"omk_{'0' * 16}_{'0' * 64}"


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """Return a separate service, because a key closes a store to everyone without one."""
    return own_service


@pytest.fixture
def closed(service: Service) -> Service:
    """Return the service with a key, and without any failed attempts."""
    make_key(service)
    service.app.state.services.put(Attempts())
    return service


def make_key(service: Service, *scopes: str) -> str:
    ring: Keyring = service.app.state.services.find(Keyring)
    return ring.add(Access("", "", frozenset(scopes or {READ}), ("ours",))).text


def post(service: Service, path: str = "/sign-in", **fields: str) -> Answered:
    body = [urlencode(fields).encode()]
    return ask(service.app, path, method="POST", headers=FORM, body=body)


def test_sign_in(closed: Service) -> None:
    """A key with the scope read opens a session, and leads to the requested page."""
    answered = post(closed, key=f" {make_key(closed)} ", next="/projects/ours/runs?where=a%20b")
    assert (answered.status, answered.headers["location"]) == (
        303,
        "/projects/ours/runs?where=a%20b",
    )
    cookie, *told = answered.headers["set-cookie"].split("; ")
    assert sorted(told) == ["HttpOnly", "Max-Age=43200", "Path=/", "SameSite=lax"]
    page = ask(closed.app, "/projects/ours/runs", headers={"cookie": cookie})
    assert page.status == 200


def test_tls(closed: Service) -> None:
    """The cookie of a session opened over TLS is only sent over TLS."""

    async def over_tls(scope, receive, send):  # type: ignore[no-untyped-def]
        await closed.app({**scope, "scheme": "https"}, receive, send)

    body = [urlencode({"key": make_key(closed)}).encode()]
    answered = ask(over_tls, "/sign-in", method="POST", headers=FORM, body=body)
    assert "Secure" in answered.headers["set-cookie"].split("; ")


@pytest.mark.parametrize("scopes", [[], ["ingest", "admin", "import"]])
def test_refused(closed: Service, scopes: list[str]) -> None:
    """An invalid key, or one without read and annotate, opens no session and is not shown."""
    key = make_key(closed, *scopes) if scopes else WRONG
    answered = post(closed, key=key, next="/projects/ours/runs")
    assert (answered.status, "set-cookie" in answered.headers) == (403, False)
    problem = "This key cannot open pages" if scopes else "This key is not valid"
    assert problem in answered.text
    assert 'value="/projects/ours/runs"' in answered.text
    assert key not in answered.text
    assert answered.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("body", [b"", b"key", b"key=%ff", b"\xff", b"key=" + b"a" * 9_000])
def test_odd_forms(closed: Service, body: bytes) -> None:
    """A form that cannot be parsed counts as having no key."""
    make_key(closed)
    answered = ask(closed.app, "/sign-in", method="POST", headers=FORM, body=[body])
    assert answered.status == 403


def test_sign_out(closed: Service) -> None:
    """Signing out ends the session."""
    answered = post(closed, "/sign-out")
    assert (answered.status, answered.headers["location"]) == (303, "/sign-in")
    assert 'otel_ml_session=""' in answered.headers["set-cookie"]
    assert "Max-Age=0" in answered.headers["set-cookie"]


def test_other_site(closed: Service) -> None:
    """A page of another site cannot sign anyone in."""
    headers = {**FORM, "origin": "https://evil.example"}
    body = [urlencode({"key": make_key(closed)}).encode()]
    assert ask(closed.app, "/sign-in", method="POST", headers=headers, body=body).status == 403


def test_right_key_after_wrong_ones(closed: Service) -> None:
    """A valid key opens a session, however many wrong keys its address has sent."""
    key = make_key(closed)
    assert [post(closed, key=WRONG).status for _ in range(12)] == [403] * 10 + [429] * 2
    assert post(closed, key=key).status == 303
    assert post(closed, key=WRONG).status == 429


def test_many_wrong_keys(closed: Service) -> None:
    """After ten wrong keys, another wrong key must wait."""
    make_key(closed)
    assert [post(closed, key=WRONG).status for _ in range(10)] == [403] * 10
    answered = post(closed, key=WRONG)
    wait_s = answered.headers["retry-after"]  # below six seconds if the ten attempts took time
    assert (answered.status, wait_s in {"1", "2", "3", "4", "5", "6"}) == (429, True)
    assert f"Too many wrong keys: try again in {wait_s} s" in answered.text


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_attempts() -> None:
    """Each address has ten failed attempts at once, and one more every six seconds."""
    clock = Clock()
    attempts = Attempts(clock)
    for _ in range(10):
        assert attempts.wait_s("a") == 0
        attempts.fail("a")
    assert (attempts.wait_s("a"), attempts.wait_s("b")) == (6, 0)
    clock.now_s = 6.0
    assert attempts.wait_s("a") == 0
    attempts.fail("a")
    assert attempts.wait_s("a") == 6
    clock.now_s = 10_000.0
    attempts.fail("a")
    assert attempts.wait_s("a") == 0


def test_attempts_are_bounded() -> None:
    """The memory for failed attempts is limited, however many addresses they come from."""
    attempts = Attempts(Clock())
    for _ in range(10):
        attempts.fail("first")
    for number in range(1_023):
        attempts.fail(str(number))
    assert attempts.wait_s("first") == 6
    attempts.fail("one more")
    assert attempts.wait_s("first") == 0


@pytest.mark.parametrize("path", ["/", "/projects/a%2Fb/runs?where=model%20==%20%22a%22&last=1h"])
def test_local_path(path: str) -> None:
    """A local path is kept as the page after signing in."""
    assert local_path(path) == path


@pytest.mark.parametrize(
    "address",
    [
        *("", "projects", "//evil.example", "/\\evil.example", "https://evil.example"),
        *("javascript:alert(1)", "/a\nb", "/a b", "/\t/evil.example", "\\/evil.example", "/é"),
        "/a\\b",
    ],
)
def test_other_addresses(closed: Service, address: str) -> None:
    """Any other address is replaced by the home page."""
    assert local_path(address) == "/"
    page = ask(closed.app, f"/sign-in?next={quote(address, safe='')}")
    assert '<input type="hidden" name="next" value="/">' in page.text


def sign_in_to_label(service: Service, *projects: str) -> tuple[str, str]:
    """Sign in with a key for labelling only; return the next address and the cookie."""
    ring: Keyring = service.app.state.services.find(Keyring)
    wanted = Access("", "ann", frozenset({ANNOTATE}), projects or None)
    answered = post(service, key=ring.add(wanted).text, next="/")
    return answered.headers["location"], answered.headers["set-cookie"].partition(";")[0]


def test_reviewer_of_a_project(closed: Service) -> None:
    """A key for labelling only leads to its project's queues, from every page."""
    target, cookie = sign_in_to_label(closed, "ours")
    assert target == "/projects/ours/queues"
    page = ask(closed.app, target, headers={"cookie": cookie})
    assert (page.status, "<h1>Labelling queues</h1>" in page.text) == (200, True)
    for path in ("/", "/projects/ours", "/projects/ours/runs", "/projects/theirs/monitor"):
        answered = ask(closed.app, path, headers={"cookie": cookie})
        assert (answered.status, answered.headers["location"]) == (303, target)
    part = ask(closed.app, "/projects/ours/runs", headers={"cookie": cookie, "hx-request": "true"})
    assert part.status == 403


@pytest.mark.parametrize("projects", [("ours", "theirs"), ()])
def test_reviewer_of_several_projects(closed: Service, projects: tuple[str, ...]) -> None:
    """A key for labelling in several projects leads to the queues of all of them."""
    body = {"judge": "grounded", "labels": [{"label": "Yes", "passed": True}, {"label": "No"}]}
    ring: Keyring = closed.app.state.services.find(Keyring)
    maker = ring.add(Access("", "", frozenset({READ, ANNOTATE}), None)).text
    headers = {"authorization": f"Bearer {maker}", "content-type": "application/json"}
    for project, name in (("ours", "mine"), ("theirs", "other"), ("hidden", "xyzzy")):
        path = f"/api/v1/projects/{project}/queues/{name}"
        made = ask(
            closed.app, path, method="PUT", headers=headers, body=[json.dumps(body).encode()]
        )
        assert made.status == 200, made.text
    target, cookie = sign_in_to_label(closed, *projects)
    page = ask(closed.app, target, headers={"cookie": cookie})
    assert (target, page.status) == ("/queues", 200)
    assert 'href="/projects/ours/queues/mine"' in page.text
    assert 'href="/projects/theirs/queues/other"' in page.text
    assert ("xyzzy" in page.text) is not bool(projects)
    answered = ask(closed.app, "/projects/theirs/runs", headers={"cookie": cookie})
    assert answered.headers["location"] == "/projects/theirs/queues"
    assert ask(closed.app, "/", headers={"cookie": cookie}).headers["location"] == "/queues"


def test_mute_names_its_key(closed: Service) -> None:
    """A mute names the key that set it, whatever name the form contains."""
    ring: Keyring = closed.app.state.services.find(Keyring)
    scopes = frozenset({READ, ANNOTATE, ADMIN})
    key = ring.add(Access("", "ann", scopes, ("ours",))).text
    bearer = {"authorization": f"Bearer {key}"}
    rule = json.dumps({"when": "runs > 3"}).encode()
    api, page = "/api/v1/projects/ours", "/projects/ours/alerts/many/mute"
    saved = ask(
        closed.app,
        f"{api}/alerts/many",
        method="PUT",
        headers={**bearer, "content-type": "application/json"},
        body=[rule],
    )
    assert saved.status == 200, saved.text
    form = [urlencode({"length": "1h", "who": "bob"}).encode()]
    assert ask(closed.app, page, method="POST", headers=FORM | bearer, body=form).status == 303
    mutes = ask(closed.app, f"{api}/mutes", headers=bearer).json["mutes"]
    assert [mute["who"] for mute in mutes] == ["ann"]
