"""Orders of lists in the API and on the page, for a project with every kind of record."""

import re
import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

import pytest

from otel_ml.orders import JUDGE, NEWEST, ORDERS
from otel_ml_collector.times import DAY_NS
from tests.support.otel_ml_collector.api.world import PROJECT, fill
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import id_of, make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import sampled

NAMES: Final = [one.name.replace(JUDGE, "grounded") for one in ORDERS]
HEADING: Final = re.compile(r"<th ([^>]*)><a href=\"([^\"]+)\" title=\"([^\"]+)\">([^<]+)</a>")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a project with every kind of record, and a call with a cost."""
    with open_service(tmp_path_factory.mktemp("data")) as service:
        fill(service)
        service.store.take(PROJECT, make_call("dear", {"gen_ai.usage.cost": 0.25}))
        yield service


@sampled(2)
@pytest.mark.parametrize("tops", ["", "&roots=true", "&traces=true"])
@pytest.mark.parametrize("order", NAMES)
def test_answers(shop: Service, order: str, tops: str) -> None:
    """Every order works for runs, root runs and traces."""
    assert ask(shop.app, f"/api/v1/projects/{PROJECT}/runs?order={order}{tops}").json["runs"]


def test_headings(shop: Service) -> None:
    """A heading sorts the list by its column and marks it; for a judge, the worst comes first."""
    columns = "&".join(f"columns={name}" for name in ("ago", "latency_ms", "cost", "tokens"))
    path = f"/projects/{PROJECT}/runs?{columns}&columns=score:grounded&columns=input"
    body = ask(shop.app, path).text
    found = {label: (head, link) for head, link, _, label in HEADING.findall(body)}
    assert list(found) == ["Ago", "ms", "$", "Tokens", "grounded"]
    assert 'aria-sort="descending"' in found["Ago"][0]
    wanted = {"ms": "slowest", "$": "costliest", "Tokens": "most_tokens", "grounded": "worst"}
    for label, order in wanted.items():
        assert f"order={order}" in found[label][1]
        ordered = ask(shop.app, found[label][1].replace("&amp;", "&")).text
        heads = {name: head for head, _, _, name in HEADING.findall(ordered)}
        assert [name for name, head in heads.items() if "aria-sort" in head] == [label]
        assert 'id="ordered"' in ordered
    again = {name: link for _, link, _, name in HEADING.findall(ordered)}
    assert "order=best" in again["grounded"]


def test_days(shop: Service, project: str) -> None:
    """Today and yesterday are UTC days; an explicit start replaces them."""
    today_ns = time.time_ns() // DAY_NS * DAY_NS
    calls = {
        "before": make_call(start_ns=today_ns - DAY_NS - 1),
        "yesterday": make_call(start_ns=today_ns - DAY_NS),
        "late": make_call(start_ns=today_ns - 1),
        "today": make_call(start_ns=today_ns),
    }
    shop.store.take(project, *calls.values(), now_ns=time.time_ns())
    path = f"/projects/{quote(project)}/runs?last="
    for last, names in {"yesterday": ["late", "yesterday"], "today": ["today"]}.items():
        listed = [one["run_id"] for one in ask(shop.app, f"/api/v1{path}{last}").json["runs"]]
        assert listed == [id_of(calls[name]) for name in names]
        shown = re.findall(r'data-run="([^"]+)"', ask(shop.app, path + last).text)
        assert shown == listed
    since = "yesterday&start=2020-01-01T00:00:00Z"
    assert len(ask(shop.app, f"/api/v1{path}{since}").json["runs"]) == len(calls)


def test_none_has_a_value(shop: Service, project: str) -> None:
    """If no run has a value to sort by, the page reports that and offers the newest runs."""
    shop.store.take(project, make_call())
    body = ask(shop.app, f"/projects/{quote(project)}/runs?order=costliest").text
    assert "No finished run has a value to sort by." in body
    assert f'href="/projects/{quote(project)}/runs">Newest first' in body


def test_newest_is_usual(shop: Service) -> None:
    """Without an order, the newest runs come first."""
    path = f"/api/v1/projects/{PROJECT}/runs"
    assert ask(shop.app, path).json == ask(shop.app, f"{path}?order={NEWEST}").json
