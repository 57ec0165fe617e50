"""Pages below the path of a proxy: every link stays below that path.

The path comes from `public_url`, or from `X-Forwarded-Prefix` of a trusted proxy.
"""

import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Final
from urllib.parse import urljoin, urlsplit

import pytest

from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import sampled

BASE: Final = "/otel-ml"
LINK: Final = re.compile(r"""(?:href|src|action|hx-get|hx-post|data-[\w-]+)="(/[^"]*)\"""")
MOST_PAGES: Final = 60
PREFIXED: Final = {"x-forwarded-prefix": BASE, "x-forwarded-proto": "https"}


@pytest.fixture(scope="module", params=["public_url", "X-Forwarded-Prefix"])
def below(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, Mapping[str, str]]]:
    """Yield a service, and the headers for each request to it."""
    is_set = request.param == "public_url"
    public_url = f"https://ml.example{BASE}" if is_set else ""
    with open_service(tmp_path_factory.mktemp("below"), public_url=public_url) as service:
        service.store.take("below", make_call("answer"))
        yield service, {} if is_set else PREFIXED


@sampled(1)
@pytest.mark.parametrize("is_stripped", [True, False], ids=["stripped", "kept"])
def test_no_link_leaves_the_base_path(
    below: tuple[Service, Mapping[str, str]], is_stripped: bool
) -> None:
    """Each link of each page starts with the base path, and its target exists."""
    service, headers = below
    waiting, known = [f"{BASE}/"], {f"{BASE}/"}
    outside: list[tuple[str, str]] = []
    while waiting and len(known) < MOST_PAGES:
        page = waiting.pop(0)
        target = page.removeprefix(BASE) if is_stripped else page
        answered = ask(service.app, target, headers=headers)
        assert answered.status == 200, page
        if not answered.headers["content-type"].startswith("text/html"):
            continue
        links = LINK.findall(answered.text)
        outside += [(page, found) for found in links if not f"{found}/".startswith(f"{BASE}/")]
        for written in re.findall(r'<a [^>]*href="([^"]*)"', answered.text):
            found = urljoin(page, unescape(written).partition("#")[0])
            if urlsplit(found).scheme or found in known:
                continue
            known.add(found)
            waiting.append(found)
    assert len(known) > 20
    assert outside == []


def test_redirects_stay_below_the_base_path(below: tuple[Service, Mapping[str, str]]) -> None:
    """Redirects start with the base path too."""
    service, headers = below
    for path, target in (("/favicon.ico", "/static/icon.svg"), ("/projects/", "/")):
        answered = ask(service.app, f"{BASE}{path}", headers=headers)
        assert answered.headers["location"] == f"{BASE}{target}"


def test_addresses_in_examples(below: tuple[Service, Mapping[str, str]]) -> None:
    """The code on an empty page uses the collector's address with the base path."""
    service, headers = below
    page = ask(service.app, "/projects/empty", headers=headers).text
    host = "localhost:4318" if headers else "ml.example"
    assert f'endpoint="https://{host}{BASE}"' in page
