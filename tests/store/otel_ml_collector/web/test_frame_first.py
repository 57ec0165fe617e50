"""Browsers get the frame of a page before its content, if the content takes time."""

import asyncio
import inspect
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest
from starlette.types import ASGIApp, Message

from otel_ml_collector.access import OPEN, put_access
from otel_ml_collector.serve.routes import ROUTES
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import TEMPLATES, PageRoute
from tests.support.examples import AT_NIGHT
from tests.support.otel_ml_collector.asgi import HOST, ask
from tests.support.otel_ml_collector.desk import PROJECT, make_desk
from tests.support.otel_ml_collector.spans import id_of
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import harder

MAIN: Final = '<main id="main">'
BROWSER: Final = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
# Whole pages that are sent in one piece, with the reason.
IN_ONE_PIECE: Final = {
    "/projects/{project:path}/activity": "it sets a cookie, which shows what its user has seen",
}
# Queries that run at the same time in a collector, and for how long they keep it busy.
CLIENTS: Final = 4
WHOLE: Final = f"/projects/{PROJECT}/queue-form"
MISSING: Final = f"/projects/{PROJECT}/models/none"
BUSY_S: Final = 4
ADDRESSES: Final = {
    "/projects/{project:path}/compare": "?of=reply:v1&of=reply:v2",
    "/projects/{project:path}/trace-pair": "?of={run_id}&of={run_id}",
    "/projects/{project:path}/fields/{field:path}": "?model=reply",
    "/projects/{project:path}/monitor/slice": "?model=reply&where=version+%3D%3D+2",
    "/projects/{project:path}/queue-form": "",
}


def is_page(route: object) -> bool:
    return isinstance(route, PageRoute) and route.methods == {"GET"}


PAGES: Final = [route for route in ROUTES if isinstance(route, PageRoute) and is_page(route)]
FRAMED: Final = [page for page in PAGES if page.response_class is FramedPage]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a response, and how long after the request it came."""

    text: str
    after_s: float


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(tmp_path_factory.mktemp("frames")) as opened:
        now_ns = time.time_ns()
        opened.store.take(PROJECT, *make_desk(now_ns), now_ns=now_ns)
        yield opened


def fill(path: str) -> str:
    """Write an address of a route: of what the desk has where possible."""
    run_id = id_of(next(make_desk(time.time_ns())))
    values = {"project": PROJECT, "run_id": run_id, "model": "reply", "judge": "brief"}
    address = path + ADDRESSES.get(path, "")
    for name in re.findall(r"{(\w+)[^}]*}", address):
        address = re.sub(rf"{{{name}[^}}]*}}", values.get(name, "latency_ms"), address)
    return address


async def receive_parts(app: ASGIApp, target: str) -> list[Part]:
    """Open a page like a browser; return the parts of its response, as they arrive."""
    begun_s = time.monotonic()
    parts: list[Part] = []
    address = urlsplit(target)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(address.path),
        "raw_path": address.path.encode(),
        "query_string": address.query.encode(),
        "root_path": "",
        "headers": [(b"host", HOST.encode()), (b"accept", BROWSER["accept"].encode())],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 4318),
    }
    put_access(scope, OPEN)  # normally set by the access gate

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            parts.append(Part(message["body"].decode(), time.monotonic() - begun_s))

    await app(scope, receive, send)
    return parts


def has_frame(service: Service, page: PageRoute) -> bool:
    """Return whether a route answers with a whole page, which is no error."""
    answer = ask(service.app, fill(page.path))
    return answer.status == 200 and MAIN in answer.text


def extends_frame(page: PageRoute) -> bool:
    """Return whether the function of a route names a template with a frame."""
    assert TEMPLATES.loader is not None
    names = re.findall(r"\w+\.html", inspect.getsource(page.endpoint))
    sources = [TEMPLATES.loader.get_source(TEMPLATES, name)[0] for name in names]
    return any(re.search('{% extends ("base.html"|frame) %}', source) for source in sources)


def occupy(service: Service) -> None:
    """Keep one of the store's clients busy."""
    query = Sql("SELECT sleepEachRow(1) FROM numbers({rows:UInt8}) SETTINGS max_block_size = 1")
    service.store.reader.rows(query, {"rows": BUSY_S})


@dataclass(frozen=True, slots=True)
class Opened:
    """What arrived of each page that was opened while the store was busy, by address."""

    parts: dict[str, list[Part]]
    free_s: float


@pytest.fixture(scope="module")
def opened(service: Service) -> Opened:
    """While the store is busy, open framed pages (in CI a third) and one that does not exist."""

    async def open_busy() -> Opened:
        loop = asyncio.get_running_loop()
        begun_s = time.monotonic()
        # The first ones wait less than the 10 s after which the store has too many queries.
        framed = FRAMED if AT_NIGHT else FRAMED[::3]
        targets = [MISSING, WHOLE, *(fill(page.path) for page in framed)]
        with ThreadPoolExecutor(CLIENTS) as threads:
            busy = [loop.run_in_executor(threads, occupy, service) for _ in range(CLIENTS)]
            await asyncio.wait(busy, timeout=1)  # until the queries have begun: none ends so soon
            pages = asyncio.gather(*(receive_parts(service.app, target) for target in targets))
            await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)
            free_s = time.monotonic() - begun_s
            arrived = dict(zip(targets, await pages, strict=True))
            await asyncio.gather(*busy)
        return Opened(arrived, free_s)

    return asyncio.run(open_busy())


@harder
def test_frame_before_content(opened: Opened) -> None:
    """While the store is busy, each page sends its frame; its content follows."""
    waited = 0
    for target, (frame, *contents) in opened.parts.items():
        assert frame.after_s < opened.free_s, target
        assert MAIN in frame.text, target
        for content in contents:  # none for a page that asks the store nothing
            assert frame.text.endswith(MAIN), target
            assert "<title>" not in frame.text, target
            assert content.text.startswith("<title>"), target
            assert content.text.endswith("</html>"), target
            waited += 1
    assert waited > (25 if AT_NIGHT else 8)


def test_same_page(service: Service, opened: Opened) -> None:
    """Frame and content together are the page that other programs get, with a later title."""
    text = "".join(part.text for part in opened.parts[WHOLE])
    whole = ask(service.app, WHOLE).text
    title, head_end, main = (whole.index(mark) for mark in ("<title>", "</head>", MAIN))
    begin = main + len(MAIN)
    frame, content = whole[:title] + whole[head_end:begin], whole[title:head_end] + whole[begin:]
    assert text in {whole, frame + content}  # in one piece if its content came first


def test_late_error(service: Service, opened: Opened) -> None:
    """An error that is found after the frame was sent is shown as the content of the page."""
    whole = ask(service.app, MISSING)
    assert whole.status == 404
    title = re.search("<title>.*?</title>", whole.text)
    assert title is not None
    [_, content] = opened.parts[MISSING]
    # With so many pages at once, the store can have too many queries: that is an error, too.
    assert content.text.startswith((title[0], "<title>Not available right now"))


def test_each_page_has_a_frame(service: Service) -> None:
    """Every route of a whole page sends its frame first, except for the stated ones."""
    whole = {
        page.path
        for page in PAGES
        if page not in FRAMED and (has_frame(service, page) or extends_frame(page))
    }
    assert whole == set(IN_ONE_PIECE)
