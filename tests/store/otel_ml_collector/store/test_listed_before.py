"""Tests that project lists stay correct after an earlier query found nothing to exclude."""

from pathlib import Path

from otel_ml_collector.measures.projects import find_projects
from otel_ml_collector.stats import find_all_stats
from tests.store.otel_ml_collector.store.test_calls import make_answer
from tests.store.otel_ml_collector.store.test_experiments import make_item_run, make_production
from tests.support.otel_ml_collector.spans import NOW_NS, SECOND_NS
from tests.support.otel_ml_collector.stores import open_store
from tests.support.sampling import at_night


@at_night
def test_experiments(tmp_path: Path) -> None:
    """Item runs that arrive after all projects were listed are excluded from the next list."""
    with open_store(tmp_path) as store:
        store.take("other", *make_production(16))
        for expected in (2, 3):
            listed = find_projects(store.reader)
            counted = find_all_stats(store.reader, NOW_NS + SECOND_NS).groups
            assert sum(one.runs for one in listed) == expected
            assert sum(one.runs for one in counted) == expected
            store.take("shop", *make_item_run(17), *make_production(18)[:1])


def test_calls(tmp_path: Path) -> None:
    """Second records of a call that arrive after all projects were listed count once."""
    with open_store(tmp_path) as store:
        for expected in (0, 2):
            assert sum(one.runs for one in find_projects(store.reader)) == expected
            store.take("shop", *make_answer(1))
