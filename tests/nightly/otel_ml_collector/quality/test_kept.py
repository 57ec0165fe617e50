"""Slow cases of tests/store/otel_ml_collector/quality/test_kept.py."""

from collections.abc import Iterator

import pytest

from tests.store.otel_ml_collector.quality.test_kept import (
    answers,
    keep,
    list_kept,
    make_runs,
    save_all,
    take,
    tell_all,
)
from tests.support.otel_ml_collector.stores import Service, open_service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(tmp_path_factory.mktemp("kept")) as service:
        yield service


def test_same_answers(service: Service) -> None:
    """Cached results equal fresh ones after redelivery, late ground truth and a second writer."""
    store = service.store
    runs = make_runs(1)
    more = make_runs(2, 6)
    for project in ("plain", "kept"):
        take(service, project, runs[:30])
        save_all(service, project)
    keep(store, "kept")
    assert list_kept(store, "kept") == [0, 1, 2]
    take(service, "kept", runs[10:])  # repeats stored runs, and adds six of the last day
    take(service, "plain", runs[10:])
    assert list_kept(store, "kept") == [], "what changed is read from the payloads"
    keep(store, "kept")
    truths = tell_all([*runs, *more])
    take(service, "kept", truths)  # includes ground truth of future runs
    take(service, "plain", truths)
    assert list_kept(store, "kept", "best") == [0, 1, 2], "a truth changes no day"
    take(service, "kept", more)
    take(service, "plain", more)
    assert list_kept(store, "kept") == []
    expected = answers(service, "plain")
    assert expected["churned"]["runs"] > expected["churned"]["here"] > 10
    assert answers(service, "kept") == expected
    keep(store, "kept")
    assert list_kept(store, "kept") == [0, 1, 2]
    assert answers(service, "kept") == expected
