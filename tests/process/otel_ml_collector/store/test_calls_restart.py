"""Tests of calls recorded by two instrumentations, in a store that is reopened."""

from pathlib import Path

from tests.store.otel_ml_collector.store.test_calls import ONCE, count, make_answer, resolve
from tests.support.otel_ml_collector.stores import open_service, open_store
from tests.support.sampling import at_night


@at_night
def test_what_was_left(tmp_path: Path) -> None:
    """Spans that a collector stored but did not resolve are resolved after the next start."""
    with open_store(tmp_path) as store:
        for span in make_answer(1):
            store.take("p", span)
    with open_service(tmp_path) as service:
        resolve(service.store)
        assert count(service, "p") == ONCE


def test_late_after_a_restart(tmp_path: Path) -> None:
    """A record that arrives after a restart joins the call that was stored before it."""
    spans = make_answer(1)
    with open_store(tmp_path) as store:
        store.take("p", *spans[:2])
        resolve(store)
    with open_service(tmp_path) as service:
        service.store.take("p", *spans[2:])
        resolve(service.store)
        assert count(service, "p") == ONCE
