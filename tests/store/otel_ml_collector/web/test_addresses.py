"""Addresses below a project: an unknown one is not the page of a new project."""

import pytest

from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.documents import DocumentKind, Documents
from otel_ml_collector.store.tombstones import PROJECT, Tombstones
from tests.store.otel_ml_collector.test_datasets import make_item, make_versions
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, sampled


@sampled(2)
@pytest.mark.parametrize(
    "path",
    [
        "nonsense",
        "nonsense/",
        "runs/of/nobody",
        "nonsense/runs",
        "nonsense/datasets",
        "nonsense/monitor",
        "nonsense/news",
        "model",
    ],
)
def test_unknown_page(service: Service, project: str, path: str) -> None:
    """An unknown page below a project gets a 404 response, whether the project exists or not."""
    assert ask(service.app, f"/projects/{project}/{path}").status == 404
    service.store.take(project, make_call("answer"))
    answered = ask(service.app, f"/projects/{project}/{path}")
    assert answered.status == 404
    assert "There is no" in answered.text
    assert ask(service.app, f"/projects/{project}").status == 200


def test_an_unknown_page_names_only_its_project(service: Service, project: str) -> None:
    """The switch of a 404 page names the project that exists, not the path as a second project."""

    def read_switch() -> str:
        page = ask(service.app, f"/projects/{project}/nope").text
        return page.partition('<details class="switch"')[2].partition("</details>")[0]

    assert "nope" not in read_switch()
    assert '<span class="name">All projects</span>' in read_switch()
    service.store.take(project, make_call("answer"))
    assert "nope" not in read_switch()
    assert f'<span class="name">{project}</span>' in read_switch()


@at_night
@pytest.mark.parametrize("path", ["", "/runs", "/models", "/datasets", "/alerts"])
def test_project_below_another(service: Service, project: str, path: str) -> None:
    """A project with a slash in its name has pages, whatever kind of record it has."""
    item = make_item({"q": 1})
    service.store.take(f"{project}/runs-only", make_call("answer"))
    service.store.take(f"{project}/set-only", item, *make_versions("qa", {"a": item}))
    kind = DocumentKind("note", 10)
    documents = Documents(service.store.connections)
    documents.save(service.store.reader, f"{project}/note-only", kind, "mine", {"a": 1})
    service.store.take(f"{project}/deleted", make_call("answer"))
    connections = service.store.connections
    Deleter(connections, Tombstones(connections)).delete(f"{project}/deleted", PROJECT, "")
    for part in ("runs-only", "set-only", "note-only", "deleted"):
        assert ask(service.app, f"/projects/{project}/{part}{path}").status == 200


def test_new_project(service: Service, project: str) -> None:
    """A project without a slash in its name has a page before its first run."""
    assert ask(service.app, f"/projects/{project}").status == 200
