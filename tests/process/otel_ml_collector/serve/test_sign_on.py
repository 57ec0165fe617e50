"""Single sign-on: a trusted proxy names the user in a header, and nobody else can."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import pytest

from tests.support.collector import CollectorProcess, running
from tests.support.keys import PROTOBUF
from tests.support.load import make_request
from tests.support.otel_ml_collector.asgi import Answered
from tests.support.sampling import sampled

PROXY, STRANGER = "127.0.0.1", "127.0.0.2"
ACCESS: Final = {
    "Ada@example.com": {"scopes": ["read", "annotate", "admin"], "projects": ["*"]},
    "bo@example.com": {"scopes": ["read"], "projects": ["signed"]},
    "group:senders": {"scopes": ["ingest", "read"], "projects": ["signed"]},
    "group:reviewers": {"scopes": ["annotate"], "projects": ["signed"]},
}
ADA: Final = {"x-forwarded-email": "ada@EXAMPLE.com"}
BO: Final = {"x-forwarded-email": "bo@example.com"}
SENDER: Final = {"x-forwarded-email": "cy@example.com", "x-forwarded-groups": "x,senders,reviewers"}
SPANS: Final = {"content-type": PROTOBUF}
NOBODY: Final = {"x-forwarded-email": "eve@example.com"}


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    with running(
        tmp_path_factory.mktemp("sign-on"),
        *("--auth-header", "X-Forwarded-Email", "--auth-groups-header", "X-Forwarded-Groups"),
        *("--trusted-proxies", PROXY, "--auth-access", json.dumps(ACCESS)),
        *("--auth-sign-out", "/oauth2/sign_out"),
    ) as started:
        yield started


def ask_from(
    source: str,
    collector: CollectorProcess,
    path: str,
    headers: dict[str, str],
    *,
    method: str = "GET",
    body: bytes = b"",
) -> Answered:
    """Send one request from a local source address."""
    host = urlsplit(collector.endpoint).netloc
    with closing(http.client.HTTPConnection(host, timeout=120, source_address=(source, 0))) as line:
        line.request(method, path, body, headers)
        answer = line.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Answered(answer.status, names, answer.read())


def ask(collector: CollectorProcess, path: str, headers: dict[str, str], **others: Any) -> Answered:
    return ask_from(PROXY, collector, path, headers, **others)


def test_only_the_proxy_names_the_user(collector: CollectorProcess) -> None:
    """A user header is accepted from the proxy; from others it is refused, logged and counted."""
    before = refusals(collector)
    for path in ("/api/v1/projects", "/projects/signed", "/healthz"):
        assert ask_from(PROXY, collector, path, ADA).status == 200
        refused = ask_from(STRANGER, collector, path, ADA)
        assert (refused.status, refused.json["error"]["message"]) == (
            401,
            "The header x-forwarded-email is accepted only from an address in trusted_proxies",
        )
    assert refusals(collector) - before == 3
    assert f"peer={STRANGER}:" in collector.output
    assert "The header x-forwarded-email is accepted only from" in collector.output
    # Forwarding headers or a key of the stranger's do not help.
    for more in ({"x-forwarded-for": PROXY}, {"forwarded": f"for={PROXY}"}):
        assert ask_from(STRANGER, collector, "/api/v1/projects", {**ADA, **more}).status == 401
    key = make_key(collector, "read", "*")
    keyed = {"authorization": f"Bearer {key}"}
    assert ask_from(STRANGER, collector, "/api/v1/projects", {**keyed, **ADA}).status == 401
    assert ask_from(STRANGER, collector, "/api/v1/projects", keyed).status == 200


def refusals(collector: CollectorProcess) -> float:
    metrics = ask(collector, "/metrics", ADA).text
    [line] = [line for line in metrics.splitlines() if line.startswith("otel_ml_user_refusals_tot")]
    return float(line.split()[1])


def test_without_a_user(collector: CollectorProcess) -> None:
    """Without the header a key is required, even for the proxy and on this machine."""
    for source in (PROXY, STRANGER):
        assert ask_from(source, collector, "/api/v1/projects", {}).status == 401
        page = ask_from(source, collector, "/projects/signed", {})
        assert (page.status, page.headers["location"][:13]) == (303, "/sign-in?next")


@sampled(5)
@pytest.mark.parametrize(
    ("who", "path", "method", "status"),
    [
        (ADA, "/api/v1/projects/signed/runs", "GET", 200),
        (ADA, "/api/v1/projects/other/runs", "GET", 200),
        (ADA, "/api/v1/keys", "GET", 200),
        (ADA, "/v1/traces", "POST", 403),
        (BO, "/api/v1/projects/signed/runs", "GET", 200),
        (BO, "/api/v1/projects/other/runs", "GET", 404),
        (BO, "/api/v1/keys", "GET", 403),
        (BO, "/api/v1/projects/signed", "DELETE", 403),
        (SENDER, "/api/v1/projects/signed/runs", "GET", 200),
        (SENDER, "/v1/traces", "POST", 200),
        (SENDER, "/api/v1/keys", "GET", 403),
        (NOBODY, "/api/v1/projects", "GET", 403),
        (NOBODY, "/projects/signed", "GET", 403),
        (NOBODY, "/healthz", "GET", 200),
        ({"x-forwarded-email": "group:senders"}, "/api/v1/projects", "GET", 403),
    ],
)
def test_scopes(
    collector: CollectorProcess, who: dict[str, str], path: str, method: str, status: int
) -> None:
    """A user may do what a key with the same scopes and projects may."""
    body = make_request("signed", 1).SerializeToString() if method == "POST" else b""
    answer = ask(collector, path, {**who, **SPANS}, method=method, body=body)
    assert answer.status == status, answer.text


def test_pages_show_the_user(collector: CollectorProcess) -> None:
    """Pages show the user, and signing out goes through the proxy."""
    page = ask(collector, "/projects/signed", ADA)
    assert '<small id="user" title="ada@example.com">ada@example.com</small>' in page.text
    assert '<a class="set" href="/oauth2/sign_out">Sign out</a>' in page.text
    assert 'action="/sign-out"' not in page.text
    assert page.headers["cache-control"] == "no-store"
    sign_in = ask(collector, "/sign-in?next=/projects/signed", ADA)
    assert (sign_in.status, sign_in.headers["location"]) == (303, "/projects/signed")
    assert "set-cookie" not in sign_in.headers
    unknown = ask(collector, "/projects/signed", NOBODY)
    assert "<h1>You cannot open this page</h1>" in unknown.text
    assert "eve@example.com has no access" in unknown.text
    assert 'href="/oauth2/sign_out">Sign out</a>' in unknown.text


def test_other_sites_act_for_no_user(collector: CollectorProcess) -> None:
    """A page of another site cannot change anything with the user's session at the proxy."""
    body = json.dumps({"scopes": ["read"], "projects": ["*"]}).encode()
    for foreign in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        headers = {**ADA, **foreign, "content-type": "application/json"}
        assert ask(collector, "/api/v1/keys", headers, method="POST", body=body).status == 403


def test_keys_beside_users(collector: CollectorProcess) -> None:
    """A key in the request takes precedence over the user; Basic credentials do not."""
    key = {"x-api-key": make_key(collector, "read", "signed")}
    assert ask(collector, "/api/v1/keys", {**ADA, **key}).status == 403
    for wrong in ({"x-api-key": "omk_no"}, {"authorization": "Bearer omk_no"}):
        assert ask(collector, "/api/v1/keys", {**ADA, **wrong}).status == 401
    assert ask(collector, "/api/v1/keys", {**ADA, "authorization": "Basic YTpi"}).status == 200
    [made] = [
        made["made_by"]
        for made in ask(collector, "/api/v1/keys", ADA).json["keys"]
        if made["name"] == "of-signed"
    ]
    assert made == "user:ada@example.com"
    settings = ask(collector, "/projects/signed/settings", ADA).text
    assert "<td>ada@example.com</td>" in settings


def make_key(collector: CollectorProcess, scope: str, project: str) -> str:
    wanted = {"name": f"of-{project}", "scopes": [scope], "projects": [project]}
    made = ask(
        collector,
        "/api/v1/keys",
        {**ADA, "content-type": "application/json"},
        method="POST",
        body=json.dumps(wanted).encode(),
    )
    assert made.status == 201, made.text
    key: str = made.json["key"]
    return key


def test_a_key_for_a_user_without_access(collector: CollectorProcess) -> None:
    """A user who is missing from the access table may sign in with a key."""
    key = make_key(collector, "read", "other")
    form = {"content-type": "application/x-www-form-urlencoded"}
    body = urlencode({"key": key}).encode()
    signed = ask(collector, "/sign-in", {**NOBODY, **form}, method="POST", body=body)
    cookie = signed.headers["set-cookie"].partition(";")[0]
    page = ask(collector, "/", {**NOBODY, "cookie": cookie})
    assert page.status == 200
    assert 'action="/sign-out"' in page.text


def test_unsafe_settings(tmp_path: Path) -> None:
    """A collector that would let anyone name any user does not start."""
    access = ("--auth-access", json.dumps(ACCESS), "--auth-groups-header", "X-Forwarded-Groups")
    process = CollectorProcess(tmp_path, "--auth-header", "X-Forwarded-Email", *access)
    assert process.wait_end() == 2
    assert process.output == (
        "otel-ml: Invalid --auth-header 'X-Forwarded-Email': expected trusted_proxies too: "
        "otherwise anyone could name any user\n"
    )
