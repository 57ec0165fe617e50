"""Partly stored versions of data sets: the newest version, and changes that start from it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from otel_ml_collector.span import Span
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import ITEMS, MODEL_VERSIONS, OBJECTS, Table
from otel_ml_collector.store.tombstones import RUN, Tombstones
from tests.store.otel_ml_collector.test_datasets import (
    call,
    contents,
    listed,
    make_item,
    make_versions,
)
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import id_of, make_call
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, sampled

WRITTEN: Final = (ITEMS, OBJECTS, MODEL_VERSIONS)  # in the order in which a change writes them
NEW: Final = {"items": [{"id": "new", "inputs": {"q": "new"}}]}


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """Return a separate service, because tests make its tables refuse inserts."""
    return own_service


@contextmanager
def refusing(service: Service, table: Table[Any]) -> Iterator[None]:
    """Make the store refuse every insert into a table."""
    client = service.store.connections.open()
    add = Sql("ALTER TABLE {table} ADD CONSTRAINT never CHECK 0")
    drop = Sql("ALTER TABLE {table} DROP CONSTRAINT never")
    client.command(add.fill(table=table.sql))
    try:
        yield
    finally:
        client.command(drop.fill(table=table.sql))
        client.close()


def changes(service: Service, project: str) -> list[tuple[int, bool, bool, int | None, int | None]]:
    """Return each version's number, whether it is complete and the newest, and its changes."""
    names = ("version", "is_complete", "is_newest", "added", "removed")
    found = call(service, project, "/qa/versions")["versions"]
    return [tuple(version[name] for name in names) for version in found]


def save(service: Service, project: str, item_id: str, status: int | None = 200) -> int:
    """Save an item by HTTP; return the status. A status of None accepts any response."""
    answered = ask(
        service.app,
        f"/api/v1/projects/{project}/datasets/qa/items",
        method="POST",
        headers={"content-type": "application/json"},
        body=[f'{{"items":[{{"id":"{item_id}","inputs":{{"q":"{item_id}"}}}}]}}'.encode()],
    )
    assert status in {None, answered.status}, answered.text
    return answered.status


@sampled(1)
@pytest.mark.parametrize("is_repeated", [False, True])
def test_each_insert_fails(service: Service, project: str, is_repeated: bool) -> None:
    """Whichever insert of a change fails, the next change starts from all stored data."""
    save(service, project, "first")
    kept = {"first"}
    for table in WRITTEN:
        with refusing(service, table):
            assert save(service, project, f"in {table.name}", None) >= 400
        after = f"in {table.name}" if is_repeated else f"after {table.name}"
        save(service, project, after)
        kept.add(after)
        [(_, number, items, stored, is_complete)] = listed(service, project)
        assert (items, stored, is_complete) == (len(kept), len(kept), True), table.name
        assert contents(service, project, "qa", number).keys() == kept


def cut_manifest(version: list[Span]) -> list[Span]:
    return version[:1]


def cut_version_row(version: list[Span]) -> list[Span]:
    for record in version:
        record.events.clear()  # type: ignore[attr-defined]
    return version


@sampled(1)
@pytest.mark.parametrize("cut", [cut_manifest, cut_version_row])
def test_manifest_in_part(
    service: Service, project: str, cut: Callable[[list[Span]], list[Span]]
) -> None:
    """A version without its full manifest is incomplete, and no change starts from it.

    Once the missing records arrive, it is the newest.
    """
    items = {f"{number:04}": make_item({"q": number}) for number in range(1_500)}
    first = {"0001": items["0001"]}
    service.store.take(project, *items.values(), *make_versions("qa", first))
    service.store.take(project, *cut(make_versions("qa", items, a_record=1)))
    assert changes(service, project) == [(2, False, False, None, None), (1, True, True, 1, 0)]
    assert listed(service, project) == [("qa", 1, 1, 1, True)]
    service.store.take(project, *make_versions("qa", items))
    assert changes(service, project) == [(2, True, True, 1_499, 0), (1, True, False, 1, 0)]
    assert call(service, project, "/qa/items", NEW)["items"] == 1_501


def test_change_beside_a_half(service: Service, project: str) -> None:
    """A change starts from the newest complete version, and is compared with it."""
    items = {name: make_item({"q": name}) for name in ("a", "b")}
    service.store.take(project, *items.values(), *make_versions("qa", {"a": items["a"]}))
    service.store.take(project, *cut_version_row(make_versions("qa", items)))
    call(service, project, "/qa/items", NEW, 412, base='"2"')
    made = call(service, project, "/qa/items", NEW, base='"1"')
    assert (made["version"], made["items"], made["is_complete"]) == (3, 2, True)
    assert changes(service, project) == [
        (3, True, True, 1, 0),
        (2, False, False, None, None),
        (1, True, False, 1, 0),
    ]
    page = call(service, project, "/qa/versions?limit=1")
    assert [version["added"] for version in page["versions"]] == [1]
    new_items = call(service, project, "/qa/versions/3/items?show=changed")["items"]
    assert [item["id"] for item in new_items] == ["new"]


def test_half_on_pages(service: Service, project: str) -> None:
    """The pages show the newest complete version, and that a newer one is incomplete."""
    items = {name: make_item({"q": name}) for name in ("a", "b")}
    service.store.take(project, *items.values(), *make_versions("qa", {"a": items["a"]}))
    service.store.take(project, *cut_version_row(make_versions("qa", items)))
    assert "v2 is incomplete (0 of 2)" in ask(service.app, f"/projects/{project}/datasets").text
    page = ask(service.app, f"/projects/{project}/datasets/qa").text
    assert "is incomplete: 2 of 2 items have not arrived. New versions start from v1." in page
    assert "Save as v3" in page
    half = ask(service.app, f"/projects/{project}/datasets/qa?version=2").text
    assert "Edit item" not in half
    assert "Add item" not in half


def test_items_in_part(service: Service, project: str) -> None:
    """A version whose items have not arrived is not the newest."""
    a, b = make_item({"q": "a"}), make_item({"q": "b"})
    service.store.take(project, a, *make_versions("qa", {"a": a}))
    service.store.take(project, *make_versions("qa", {"a": a, "b": b}))
    assert listed(service, project) == [("qa", 1, 1, 1, True)]
    assert call(service, project, "/qa/items", NEW)["is_complete"]


def test_deleted_items_are_not_missing(service: Service, project: str) -> None:
    """A version whose items were deleted with their run stays the newest."""
    run = make_call("answer", {"otel_ml.inputs": "1"})
    a, b = make_item(1, None, {"otel_ml.item.source_run": id_of(run)}), make_item({"q": "b"})
    service.store.take(project, run, a, b, *make_versions("qa", {"b": b}))
    service.store.take(project, *make_versions("qa", {"a": a, "b": b}))
    connections = service.store.connections
    Deleter(connections, Tombstones(connections)).delete(project, RUN, id_of(run))
    assert listed(service, project) == [("qa", 2, 2, 1, False)]
    made = call(service, project, "/qa/items", {"remove": ["a"]})
    assert (made["version"], made["is_complete"]) == (1, True)


def test_nothing_whole(service: Service, project: str) -> None:
    """Without a complete version a change starts empty, and the page reports that."""
    items = {"a": make_item({"q": "a"})}
    service.store.take(project, *cut_version_row(make_versions("qa", items)))
    assert changes(service, project) == [(1, False, False, None, None)]
    assert listed(service, project) == [("qa", 1, 1, 0, False)]
    page = ask(service.app, f"/projects/{project}/datasets/qa").text
    assert "Save as v2" in page
    assert "No version is complete, so the new one starts empty." in page
    made = call(service, project, "/qa/items", NEW, base='"0"')
    assert (made["version"], made["items"]) == (2, 1)
    assert "Based on v2" in ask(service.app, f"/projects/{project}/datasets/qa").text


@at_night
def test_many_halves(service: Service, project: str) -> None:
    """The newest complete version is found behind any number of incomplete ones."""
    items = {f"{number:02}": make_item({"q": number}) for number in range(20)}
    service.store.take(project, *items.values(), *make_versions("qa", {"00": items["00"]}))
    for number in range(2, 20):
        half = make_versions("qa", dict(list(items.items())[:number]))
        service.store.take(project, *cut_version_row(half))
    assert listed(service, project) == [("qa", 1, 1, 1, True)]
    shown = call(service, project, "/qa/versions?limit=2")["versions"]
    assert [(version["version"], version["added"]) for version in shown] == [(19, None), (18, None)]
    call(service, project, "/qa/items", NEW)
    shown = call(service, project, "/qa/versions?limit=2")["versions"]
    assert [(version["version"], version["added"]) for version in shown] == [(20, 1), (19, None)]
