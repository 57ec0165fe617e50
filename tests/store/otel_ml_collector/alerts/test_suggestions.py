"""Suggested rules: each would have fired for the problem it is suggested for."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from otel_ml_collector.alerts.forms import RuleForm
from otel_ml_collector.alerts.history import AlertHistory, check_rule, make_unsaved
from otel_ml_collector.findings.drift import FieldsQuestion
from otel_ml_collector.findings.releases import find_releases, find_worse_releases
from otel_ml_collector.findings.slice_sums import SlicesQuery
from otel_ml_collector.findings.slices import find_slices
from otel_ml_collector.findings.suggestions import (
    suggest_for_error,
    suggest_for_field,
    suggest_for_release,
    suggest_for_slice,
)
from otel_ml_collector.monitor.fields import find_field
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, to_rfc3339
from tests.store.otel_ml_collector.alerts.test_monitored import (
    END_NS,
    fill_release,
    make_drift,
    make_excess,
)
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.sampling import at_night

NOW_NS: Final = END_NS + MINUTE_NS


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder: Path = tmp_path_factory.mktemp("suggestions")
    with open_store(folder / "store") as store:
        store.take("slice", *make_excess())
        store.take("field", *make_drift())
        fill_release(store, "release")
        yield store


def check(
    store: Store, project: str, suggestion: Mapping[str, str] | None, length_ns: int
) -> AlertHistory:
    """Check a suggested rule over the time up to now, as the form does."""
    assert suggestion is not None
    rule = make_unsaved(RuleForm.model_validate(suggestion).wanted)
    return check_rule(store.reader, project, rule, NOW_NS - length_ns, NOW_NS)


@at_night
def test_error(store: Store) -> None:
    """The rule suggested for a new error fires while runs fail with that error."""
    suggestion = suggest_for_error("ValueError", 'outcome == "error"')
    history = check(store, "slice", suggestion, HOUR_NS)
    assert history.fired == 1
    none = suggest_for_error("ValueError", 'outcome == "error" and error_type == "NoError"')
    assert check(store, "slice", none, HOUR_NS).fired == 0


def test_slice(store: Store) -> None:
    """The rule for a worse slice fires in the hour in which the slice got worse, only for it."""
    query = SlicesQuery("slice", "", "errors", start_ns=END_NS - HOUR_NS, end_ns=END_NS)
    slices = find_slices(store.reader, query, NOW_NS)
    suggestion = suggest_for_slice(slices.slices[0], slices.figures, "1h")
    history = check(store, "slice", suggestion, HOUR_NS)
    assert history.fired == 1
    assert history.firings[0].start < to_rfc3339(END_NS)
    assert suggestion is not None
    assert slices.slices[0].condition in suggestion["where"]
    assert suggestion["when"].startswith("surely(error_share > ")


@at_night
def test_field(store: Store) -> None:
    """The rule for a drifted field fires on the day whose values differ from earlier days."""
    question = FieldsQuestion(store.reader, "field", "answer", NOW_NS, last="24h")
    report = find_field(question, "inputs.language")
    assert report.word == "drift"
    history = check(
        store, "field", suggest_for_field(report.model, report.field, "24h"), 3 * DAY_NS
    )
    assert [firing.start for firing in history.firings] == [to_rfc3339(END_NS)]


def test_release(store: Store) -> None:
    """The rule for a worse version fires in the hour in which the version is found to be worse."""
    later_ns = END_NS + HOUR_NS
    [finding, *_] = find_worse_releases(
        find_releases(store.reader, "release", later_ns, "answer"), later_ns
    )
    suggestion = suggest_for_release(finding.model, finding.figure)
    history = check(store, "release", suggestion, 3 * HOUR_NS)
    assert [firing.start for firing in history.firings] == [to_rfc3339(END_NS)]
