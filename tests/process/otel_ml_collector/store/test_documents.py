"""Tests of documents: concurrent saves are ordered, even through several collectors."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml_collector.errors import BadInput, Conflict, Missing
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.documents import (
    DocumentKind,
    Documents,
    list_documents,
    read_document,
)
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tombstones import Tombstones
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.sampling import at_night

RULE: Final = DocumentKind("rule", most=5, limit_bytes=200)
MUTE: Final = DocumentKind("mute", most=5)
THREADS: Final = 6
WAIT_S: Final = 60


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store that only one test uses, so that the next test can open another one."""
    with open_store(tmp_path) as opened:
        yield opened


def test_kinds(store: Store, project: str) -> None:
    """Documents with the same name are separate for each kind and project."""
    documents = Documents(store.connections)
    documents.save(store.reader, project, RULE, "a", {"of": "rule"})
    documents.save(store.reader, project, MUTE, "a", {"of": "mute"})
    documents.save(store.reader, "another", RULE, "a", {"of": "another"})
    assert [one.body for one in list_documents(store.reader, project, RULE)] == [{"of": "rule"}]
    assert read_document(store.reader, project, MUTE, "a").body == {"of": "mute"}
    documents.delete(store.reader, project, MUTE, "a")
    with pytest.raises(Missing, match="no mute 'a'"):
        read_document(store.reader, project, MUTE, "a")
    assert read_document(store.reader, project, RULE, "a").version == 1


def test_large(store: Store, project: str) -> None:
    """A document above its kind's size limit is refused, and the previous one stays."""
    documents = Documents(store.connections)
    documents.save(store.reader, project, RULE, "a", {"text": "é" * 94})
    with pytest.raises(BadInput, match="expected at most 200"):
        documents.save(store.reader, project, RULE, "a", {"text": "é" * 95})
    assert read_document(store.reader, project, RULE, "a").body == {"text": "é" * 94}


@at_night
def test_collectors_at_once(store: Store, project: str) -> None:
    """Several collectors add to a document concurrently, and no addition is lost."""
    Documents(store.connections).save(store.reader, project, RULE, "sum", {"sum": 0})
    refused = []

    def add() -> None:
        documents = Documents(store.connections)
        for _ in range(5):
            while True:
                read = read_document(store.reader, project, RULE, "sum")
                body = {"sum": read.body["sum"] + 1}
                try:
                    documents.save(store.reader, project, RULE, "sum", body, base=read.version)
                except Conflict:
                    refused.append(read.version)
                else:
                    break

    in_threads(add)
    assert read_document(store.reader, project, RULE, "sum").body == {"sum": 5 * THREADS}
    assert refused  # some saves did conflict


class SlowReader(Reader):
    """A reader that runs a function before a save is confirmed, as if it were slow."""

    def __init__(self, store: Store, meanwhile: Callable[[], object]) -> None:
        super().__init__(store.connections)
        self._meanwhile: list[Callable[[], object]] = [meanwhile]

    def rows(
        self, sql: Sql, parameters: Mapping[str, Any], settings: Mapping[str, Any] | None = None
    ) -> list[Row]:
        if "save_id" in parameters and self._meanwhile:
            self._meanwhile.pop()()
        return super().rows(sql, parameters, settings)


@at_night
def test_replaced_before_it_is_confirmed(store: Store, project: str) -> None:
    """A save succeeds even if it is replaced and merged away before it is confirmed."""
    first, second = Documents(store.connections), Documents(store.connections)

    def replace() -> None:
        second.save(store.reader, project, RULE, "a", {"n": 2}, base=1)
        store.connections.open().command(Sql("OPTIMIZE TABLE documents FINAL"))

    with closing(SlowReader(store, replace)) as reader:
        assert first.save(reader, project, RULE, "a", {"n": 1}, base=0).version == 1
    assert read_document(store.reader, project, RULE, "a").version == 2


@at_night
def test_collectors_at_once_make_no_more(store: Store, project: str) -> None:
    """Collectors that create documents concurrently do not exceed the limit of a project."""
    made = []
    names = iter(range(100))

    def make() -> None:
        documents = Documents(store.connections)
        for _ in range(3):
            name = f"{next(names)}"
            try:
                documents.save(store.reader, project, RULE, name, {})
            except BadInput:
                continue
            made.append(name)

    in_threads(make)
    assert len(made) == RULE.most
    assert {one.name for one in list_documents(store.reader, project, RULE)} == {*made}


def in_threads(target: object) -> None:
    threads = [threading.Thread(target=target) for _ in range(THREADS)]  # type: ignore[arg-type] # a function
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()


@at_night
def test_deleted_project(store: Store, project: str) -> None:
    """A deleted project has no documents, and new ones start at version 1."""
    documents = Documents(store.connections)
    deleter = Deleter(store.connections, Tombstones(store.connections))
    for _ in range(3):
        store.take(project, make_call())
        assert documents.save(store.reader, project, RULE, "a", {}, base=0).version == 1
        deleter.delete(project, "project", "")
        assert list_documents(store.reader, project, RULE) == []


@at_night
def test_lost_rows(store: Store, project: str) -> None:
    """A store that lost its rows of documents accepts documents again."""
    documents = Documents(store.connections)
    for _ in range(3):
        assert documents.save(store.reader, project, RULE, "a", {}).version == 1
        store.connections.open().command(
            Sql("ALTER TABLE documents DELETE WHERE 1"), settings={"mutations_sync": 2}
        )


def test_kept(tmp_path: Path) -> None:
    """Documents survive a restart, and their versions continue."""
    with open_store(tmp_path) as store:
        Documents(store.connections).save(store.reader, "p", RULE, "a", {"n": 1})
    with open_store(tmp_path) as store:
        assert read_document(store.reader, "p", RULE, "a").body == {"n": 1}
        assert Documents(store.connections).save(store.reader, "p", RULE, "a", {}).version == 2
