"""Slow cases of tests/store/otel_ml_collector/test_retention.py."""

import pytest

from otel_ml_collector.store.retention import Days
from otel_ml_collector.versions.find import find_versions
from tests.store.otel_ml_collector.test_retention import _TIMES, Aged
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.deleting import BEGAN_NS, Project, make_told
from tests.support.otel_ml_collector.spans import id_of, make_call
from tests.support.otel_ml_collector.stores import Service


@pytest.fixture
def aged(service: Service, request: pytest.FixtureRequest) -> Aged:
    return Aged(Project(service, request.node.name), next(_TIMES))


def test_second_run(aged: Aged) -> None:
    """A second retention pass on the same day deletes nothing."""
    aged.arrive(40, *make_told("mark", "session", "user", "model"))
    retention = aged.retention(Days(records=30))
    assert retention.sweep().rows != {}
    assert retention.sweep().rows == {}


def test_model_metrics(aged: Aged) -> None:
    """Metrics of a model version are kept as long as the version."""
    told = make_call(
        "update",
        {
            "otel_ml.record": "update",
            "otel_ml.target.model": "model",
            "otel_ml.target.version": "aa",
            "otel_ml.metric.names": ["accuracy"],
            "otel_ml.metric.values": [0.5],
        },
    )
    aged.arrive(40, told)
    aged.retention(Days(records=30)).sweep()
    assert "metrics" in aged.project.tables_with("accuracy")


def test_purge(service: Service) -> None:
    """A purge frees the disk space of deleted rows, and a second purge has nothing to do."""
    project = Project(service, "purged")
    project.send(*make_told("mark", "session", "user", "model"))
    project.send(make_call("stays"))
    project.delete(f"/runs/{id_of(project.sent[0])}")
    before = ask(service.app, "/api/v1/storage").json
    purged = ask(service.app, "/api/v1/storage/purge?wait_s=120", method="POST").json
    after = ask(service.app, "/api/v1/storage").json
    assert before["waiting_bytes"] > 0 == after["waiting_bytes"]
    assert "runs" in purged["tables"]
    assert (purged["replaced_bytes"], purged["freed_time"] is None) == (0, False)
    again = ask(service.app, "/api/v1/storage/purge", method="POST").json
    assert again["tables"] == []
    assert project.names() == ["mark", "stays"]


def test_version_numbers(aged: Aged) -> None:
    """Version numbers follow the order of arrival; retention and old code do not change them."""
    project = aged.project
    calls = [
        make_call("model", {"otel_ml.model.version": f"digest {place}"}, start_ns=BEGAN_NS - place)
        for place in range(5)
    ]
    for call in calls:  # each started before the previous one, and has its own writer
        aged.arrive(40, call)
    numbers = {f"digest {place}": place + 1 for place in range(5)}
    assert numbers_of(project) == numbers
    aged.retention(Days(records=30)).sweep()
    assert (project.names(), numbers_of(project)) == ([], numbers)
    project.send_again(*calls[3:])
    assert (len(project.names()), numbers_of(project)) == (2, numbers)


def numbers_of(project: Project) -> dict[str, int]:
    """Return the numbers of a model's versions, by digest."""
    found = find_versions(project.service.store.reader, project.name, "model")
    return {one.digest: one.version for one in found}
