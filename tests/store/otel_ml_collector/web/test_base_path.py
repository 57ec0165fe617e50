"""Pages below the path of a proxy: every link leads back below it."""

import re
from collections.abc import Iterator
from html import unescape
from typing import Final
from urllib.parse import urljoin, urlsplit

import pytest

from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service, open_service

BASE: Final = "/otel-ml"
LINK: Final = re.compile(r"""(?:href|src|action|hx-get|hx-post|data-[\w-]+)="(/[^"]*)\"""")
MOST_PAGES: Final = 60


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("below")
    with open_service(folder, public_url=f"https://ml.example{BASE}") as service:
        service.store.take("below", make_call("answer"))
        yield service


@pytest.mark.parametrize("is_stripped", [True, False], ids=["stripped", "kept"])
def test_no_link_leaves_the_base_path(below: Service, is_stripped: bool) -> None:
    """Each link of each page begins with the path of `public_url`, and answers below it."""
    waiting, known = [f"{BASE}/"], {f"{BASE}/"}
    outside: list[tuple[str, str]] = []
    while waiting and len(known) < MOST_PAGES:
        page = waiting.pop(0)
        target = page.removeprefix(BASE) if is_stripped else page
        answered = ask(below.app, target)
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


def test_redirects_stay_below_the_base_path(below: Service) -> None:
    """A redirect begins with the path too."""
    assert ask(below.app, f"{BASE}/favicon.ico").headers["location"] == f"{BASE}/static/icon.svg"
    assert ask(below.app, f"{BASE}/projects/").headers["location"] == f"{BASE}/"
