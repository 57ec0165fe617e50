"""The nginx lines of docs/how-to/proxies.md work, with a stub for oauth2-proxy.

The nginx is Debian's package, unpacked by `make check-deploy`.
"""

import http.client
import json
import re
import subprocess
import textwrap
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from playwright.sync_api import Browser

from tests.support.browser.fixtures import chromium
from tests.support.collector import CollectorProcess, running
from tests.support.folders import ROOT
from tests.support.load import PROTOBUF, make_request
from tests.support.ports import free_port
from tests.support.waiting import wait_until

__all__ = ["chromium"]

NGINX: Final = ROOT / ".cache/nginx/usr/sbin/nginx"
PAGE: Final = (ROOT / "docs/how-to/proxies.md").read_text()
BASE: Final = "/otel-ml"
_BLOCK: Final = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_LINK: Final = re.compile(r"""(?:href|src|action|hx-get|hx-post|data-[\w-]+)="(/[^"]*)\"""")
_MOST_PAGES: Final = 40
_COOKIE: Final = "_oauth2_proxy"
_CONFIG: Final = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""


def blocks(kind: str) -> list[str]:
    """Return the code blocks of the page in one language."""
    return [textwrap.dedent(text) for name, text in _BLOCK.findall(PAGE) if name == kind]


[PATH_TOML, SIGN_ON_TOML] = blocks("toml")
[PATH_LOCATIONS, SIGN_ON_LOCATIONS] = blocks("nginx")


class SignOnStub(BaseHTTPRequestHandler):
    """Responds like oauth2-proxy: `/oauth2/auth` returns the user from a cookie."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        user = re.search(rf"{_COOKIE}=(\S+)", self.headers.get("cookie", ""))
        if path == "/oauth2/auth":
            self.send_response(202 if user else 401)
            if user:
                self.send_header("X-Auth-Request-Email", user[1])
                self.send_header("X-Auth-Request-Groups", "ml" if user[1].startswith("bo") else "")
        elif path == "/oauth2/sign_in":
            self.send_response(302)
            self.send_header("Set-Cookie", f"{_COOKIE}=ada@example.com; Path=/; HttpOnly")
            [wanted] = parse_qs(urlsplit(self.path).query)["rd"]
            self.send_header("Location", wanted)
        else:
            self.send_response(200)
            self.send_header("Set-Cookie", f"{_COOKIE}=; Path=/; Max-Age=0")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Site:
    """A collector behind nginx."""

    collector: CollectorProcess
    port: int

    def ask(
        self, path: str, headers: Mapping[str, str] = {}, body: bytes | None = None
    ) -> tuple[int, Mapping[str, str], str]:
        """Send one request to nginx, and return status, headers by lower-case name, and text."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as line:
            line.request("GET" if body is None else "POST", path, body, dict(headers))
            answer = line.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read().decode(errors="replace")


@contextmanager
def serving(folder: Path, toml: str, locations: str) -> Iterator[Site]:
    """Run a collector, nginx and the stub with settings and lines of the page."""
    assert NGINX.exists(), "make check-deploy brings nginx"
    settings = folder / "otel-ml.toml"
    settings.write_text(toml)
    port = free_port()
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), SignOnStub) as stub,
        running(folder / "data", "--config", str(settings)) as collector,
    ):
        threading.Thread(target=stub.serve_forever, daemon=True).start()
        there = urlsplit(collector.endpoint).netloc
        locations = locations.replace("127.0.0.1:4318", there)
        locations = locations.replace("127.0.0.1:4180", f"127.0.0.1:{stub.server_port}")
        config = folder / "nginx.conf"
        config.write_text(_CONFIG.format(folder=folder, port=port, locations=locations))
        command: list[Path | str] = [NGINX, "-p", folder, "-e", "stderr", "-c", config]
        nginx = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            site = Site(collector, port)

            def answers() -> bool:
                assert nginx.poll() is None, nginx.stderr and nginx.stderr.read()
                try:
                    return site.ask("/") is not None
                except OSError:
                    return False

            wait_until(answers)
            yield site
        finally:
            nginx.terminate()
            nginx.communicate()
            stub.shutdown()


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Yield a site without keys, below a path."""
    with serving(tmp_path_factory.mktemp("below"), PATH_TOML, PATH_LOCATIONS) as site:
        send(site, "below")
        yield site


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Yield a site with single sign-on."""
    with serving(tmp_path_factory.mktemp("signed"), SIGN_ON_TOML, SIGN_ON_LOCATIONS) as site:
        yield site


ADA: Final = {"cookie": f"{_COOKIE}=ada@example.com"}
BO: Final = {"cookie": f"{_COOKIE}=bo@example.com"}
NOBODY: Final = {"cookie": f"{_COOKIE}=eve@example.com"}


def send(site: Site, project: str, **headers: str) -> int:
    """Send spans through nginx, and return the status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = make_request(project, 2).SerializeToString()
    return site.ask(f"{BASE}/v1/traces", {**PROTOBUF, **named}, body)[0]


def test_crawl(below: Site) -> None:
    """Every link on every page stays below the path and can be opened through nginx."""
    waiting, known = [f"{BASE}/"], {f"{BASE}/"}
    outside: list[tuple[str, str]] = []
    while waiting and len(known) < _MOST_PAGES:
        page = waiting.pop(0)
        status, headers, text = below.ask(page)
        assert status == 200, page
        if not headers["content-type"].startswith("text/html"):
            continue
        links = _LINK.findall(text)
        outside += [(page, link) for link in links if not f"{link}/".startswith(f"{BASE}/")]
        files = [link for link in links if link.startswith(f"{BASE}/static/") and "." in link]
        pages = re.findall(r'<a [^>]*href="([^"]*)"', text)
        for link in dict.fromkeys([*files, *pages]):
            target = urljoin(page, unescape(link).partition("#")[0])
            if not urlsplit(target).scheme and target not in known:
                known.add(target)
                waiting.append(target)
    assert len(known) > 20
    assert outside == []
    assert below.ask("/projects/below")[0] == 404


def test_live(below: Site) -> None:
    """Live events arrive through nginx while the stream is open."""
    with closing(http.client.HTTPConnection("127.0.0.1", below.port, timeout=30)) as line:
        line.request("GET", f"{BASE}/api/v1/projects/below/live")
        stream = line.getresponse()
        assert stream.status == 200
        assert send(below, "below") == 200
        read: list[bytes] = []
        while not any(part.startswith(b"data:") for part in read):
            read.append(stream.readline())
            assert read[-1], read


def test_browser(below: Site, chromium: Browser) -> None:
    """A browser loads all files of the main pages below the path, without an error."""
    context = chromium.new_context()
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "response",
        lambda answer: (
            complaints.append(f"{answer.status} {answer.url}")
            if answer.status >= 400 or not urlsplit(answer.url).path.startswith(f"{BASE}/")
            else None
        ),
    )
    page.goto(f"http://127.0.0.1:{below.port}{BASE}/")
    page.get_by_role("link", name="below").first.click()
    for name in ("Runs", "Models", "Metrics", "Data sets", "Experiments", "Judges", "Monitor"):
        page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        page.wait_for_load_state("networkidle")
        assert urlsplit(page.url).path.startswith(f"{BASE}/projects/below/")
    page.goto(f"http://127.0.0.1:{below.port}{BASE}/projects/below/runs")
    page.locator("table a[href*='/runs/']").first.click()
    page.wait_for_load_state("networkidle")
    context.close()
    assert complaints == []


def test_sign_on(signed: Site) -> None:
    """Without a session, the proxy redirects to sign-in; then the page shows the user."""
    page = f"{BASE}/projects/shop?last=7d"
    here = f"http://127.0.0.1:{signed.port}"
    status, headers, _ = signed.ask(page)
    assert (status, headers["location"]) == (302, f"{here}/oauth2/sign_in?rd={page}")
    status, headers, _ = signed.ask(headers["location"].removeprefix(here))
    cookie = headers["set-cookie"].partition(";")[0]
    assert (status, headers["location"]) == (302, page)
    status, headers, text = signed.ask(page, {"cookie": cookie})
    assert status == 200
    assert '<small id="user" title="ada@example.com">ada@example.com</small>' in text
    assert 'href="/oauth2/sign_out">Sign out</a>' in text
    status, headers, _ = signed.ask("/oauth2/sign_out", {"cookie": cookie})
    assert (status, headers["set-cookie"]) == (200, f"{_COOKIE}=; Path=/; Max-Age=0")


def test_users(signed: Site) -> None:
    """Users and groups have the access that the table grants; others have none."""
    wanted = json.dumps({"scopes": ["ingest"], "projects": ["shop"]}).encode()
    told = {"content-type": "application/json", "origin": f"http://127.0.0.1:{signed.port}"}
    made = [signed.ask(f"{BASE}/api/v1/keys", {**who, **told}, wanted) for who in (ADA, BO, NOBODY)]
    assert [status for status, _, _ in made] == [201, 403, 403]
    foreign = {**ADA, **told, "origin": "https://evil.example"}
    assert signed.ask(f"{BASE}/api/v1/keys", foreign, wanted)[0] == 403
    assert send(signed, "shop", x_api_key=json.loads(made[0][2])["key"]) == 200
    lists = [
        signed.ask(f"{BASE}/api/v1/projects/{project}/runs", BO)[0]
        for project in ("shop", "bank", "other")
    ]
    assert lists == [200, 200, 404]


def test_forged_headers(signed: Site) -> None:
    """Forged user headers of a client are ignored on every path through the proxy."""
    forged = {"X-Forwarded-Email": "ada@example.com", "X-Forwarded-Groups": "ml"}
    assert signed.ask(f"{BASE}/", forged)[0] == 302
    status, _, text = signed.ask(f"{BASE}/", {**forged, **NOBODY})
    assert status == 403
    assert "eve@example.com has no access" in text
    body = make_request("shop", 1).SerializeToString()
    assert signed.ask(f"{BASE}/v1/traces", {**PROTOBUF, **forged}, body)[0] == 401
    assert signed.ask("/oauth2/auth", ADA)[0] == 404
    # Without keys, this machine may read the metrics, but a user of its proxy may not.
    assert signed.ask(f"{BASE}/metrics", {**BO, "Forwarded": "for=127.0.0.1"})[0] == 403
    assert signed.ask(f"{BASE}/metrics", ADA)[0] == 200
