"""The list of models, and the page of a model without versions."""

import re
import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

import pytest

from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.desk import BEFORE, PROJECT, make_desk
from tests.support.otel_ml_collector.stores import Service, open_service

PAGE: Final = f"/projects/{PROJECT}/models"
NAME: Final = re.compile(r'<td class="l1"[^>]*><span class="mv"><a href="([^"]+)">([^<]+)</a>')


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a service with a help desk whose LLMs have no versions."""
    with open_service(tmp_path_factory.mktemp("desk")) as opened:
        now_ns = time.time_ns()
        opened.store.take(PROJECT, *make_desk(now_ns), now_ns=now_ns)
        yield opened


def test_nothing_is_a_dead_end(service: Service) -> None:
    """Each model of the list has a page: with versions, without versions, and without runs."""
    links = NAME.findall(ask(service.app, PAGE).text)
    assert {name for _, name in links} == {
        *("reply", "gpt-4o", "claude-sonnet-4-5", "find_order", "index", "trial")
    }
    for address, name in links:
        page = ask(service.app, address)
        assert (page.status, f"<h1>{name}</h1>" in page.text) == (200, True)


@pytest.mark.parametrize(
    ("order", "first"),
    [
        ("model", ["claude-sonnet-4-5", "find_order", "gpt-4o"]),
        ("runs", ["reply", "gpt-4o", "claude-sonnet-4-5"]),
        ("errors", ["find_order"]),
        ("cost", ["gpt-4o", "claude-sonnet-4-5"]),
        ("quality", ["reply"]),
    ],
)
def test_order(service: Service, order: str, first: list[str]) -> None:
    """A heading sorts the whole list, and is marked as the sort column."""
    text = ask(service.app, f"{PAGE}?order={order}").text
    assert [name for _, name in NAME.findall(text)][: len(first)] == first
    assert text.count("aria-sort=") == 1


def test_page_without_a_version(service: Service) -> None:
    """A model without versions has figures and users; each figure links to its runs."""
    text = ask(service.app, f"{PAGE}/gpt-4o").text
    tiles = dict(re.findall(r"<dt>([^<]+)</dt><dd><a href=\"[^\"]+\">([^<]+)<", text))
    assert list(tiles) == ["Runs", "Errors", "Latency p95", "Cost"]
    assert tiles["Runs"] == f"{BEFORE}"
    assert (
        f"where={quote('model == ', safe='').replace('%20', '+')}%22gpt-4o%22&amp;last=24h" in text
    )
    assert ">u-0482</a>" in text
    users = ask(service.app, f"{PAGE}/gpt-4o?users=session&last=7d&order=runs").text
    assert "<h2>By session</h2>" in users


def test_no_model(service: Service) -> None:
    """A model without any run gets a 404 response."""
    assert ask(service.app, f"{PAGE}/nobody").status == 404
