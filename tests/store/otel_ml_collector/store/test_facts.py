"""Tests of `store/facts.py`, which reads facts as they were recorded."""

from otel_ml_collector.store.documents import DocumentKind, Documents
from otel_ml_collector.store.facts import has_records
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Store


def test_project_with_a_run(store: Store, project: str) -> None:
    """A project has records as soon as it has a run."""
    assert not has_records(store.reader, project)
    store.take(project, make_call())
    assert has_records(store.reader, project)


def test_project_with_a_document(store: Store, project: str) -> None:
    """A project has records if it only has a document, until the document is deleted."""
    documents, views = Documents(store.connections), DocumentKind("view", most=10)
    documents.save(store.reader, project, views, "slow", {})
    assert has_records(store.reader, project)
    documents.delete(store.reader, project, views, "slow")
    assert not has_records(store.reader, project)
