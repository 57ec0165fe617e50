"""Tests that charts, sums, comparisons and exports read late-arriving records from rows."""

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from otel_ml_collector.alerts.measurement import MeasuredWindows, Measurement, measure
from otel_ml_collector.alerts.rule import Dimension
from otel_ml_collector.decode.protobuf import decode_traces
from otel_ml_collector.export import ExportQuery, export_runs
from otel_ml_collector.filter.figures import Figure
from otel_ml_collector.findings.slice_sums import SlicesQuery
from otel_ml_collector.findings.slices import find_slices
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.measures.facets import find_facets
from otel_ml_collector.measures.statistics import (
    count_roots,
    count_runs,
    list_models,
    read_version_runs,
    read_version_scores,
)
from otel_ml_collector.runs.errors import find_error_groups
from otel_ml_collector.runs.find import RunsQuery, compile_query
from otel_ml_collector.stats import StatsQuery, find_stats
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.verdicts.sides import compare_filters
from otel_ml_collector.windows import Window
from tests.bench.dataset import JUDGE, Plan, model_name, project_name
from tests.bench.dataset_full import FullDataset
from tests.store.otel_ml_collector.store.test_scored_lists import (
    in_rows,
    names_in_rows,
    of_table,
    tags_in_rows,
)
from tests.support.otel_ml_collector.folded import finish
from tests.support.otel_ml_collector.stores import Service, Store
from tests.support.sampling import sampled

FILTERS: Final = (
    f'scores["{JUDGE}"] < 0.6',
    f'passed["{JUDGE}"] == True and latency_ms > 1',
    'tags["reviewed"] == "yes"',
    'tags["reviewed"] != "yes"',
    'session != ""',
    "",
)

# Of few runs, each can be inside another, and none can have failed.
MAY_BE_EMPTY: Final = {"requests", "errors"}


def list_answers(
    project: str, where: str, window: Window, now_ns: int
) -> Mapping[str, Callable[[Reader], Any]]:
    """Return what each page and export asks about the runs of a filter."""
    query = RunsQuery(project, where, start_ns=window.start_ns, end_ns=window.end_ns)
    day = MeasuredWindows(window.start_ns + DAY_NS, DAY_NS, 31, DAY_NS)
    by = (Dimension("reviewed", is_tag=True), Dimension("model", is_tag=False))
    figures = (Figure("error_share", "", 0), Figure("share", where or "latency_ms > 1", 0))

    def compiled(ask: Callable[..., Any], *others: object) -> Callable[[Reader], Any]:
        return lambda reader: ask(
            reader, project, compile_query(reader, query, reads_rows=True)[0], *others
        )

    def export(reader: Reader) -> list[Any]:
        asked = ExportQuery(project, where, window.start_ns, window.end_ns, ["run_id"], True)
        return [run for table in export_runs(reader, asked) for run in table.to_pylist()]

    def compare(reader: Reader) -> Any:
        return compare_filters(reader, project, where, f"not ({where})", window)

    answers = {
        "chart": compiled(count_runs, window.cut(DAY_NS)),
        "requests": compiled(count_roots, window.cut(None)),
        "facets": compiled(find_facets, window),
        "errors": lambda reader: find_error_groups(reader, query, now_ns, 50),
        "export": export,
        "slices": lambda reader: find_slices(
            reader, SlicesQuery(project, where, "", window.start_ns, window.end_ns), now_ns
        ),
        "alert": lambda reader: measure(
            reader, Measurement(project, where, by, figures, None, now_ns), day
        ),
    }
    if where:
        return answers | {"comparison": compare}
    return answers | {
        "models": lambda reader: list_models(reader, project),
        "versions": lambda reader: read_version_runs(reader, project, model_name(0)),
        "scores": lambda reader: read_version_scores(reader, project, model_name(0)),
        "statistics": lambda reader: find_stats(
            reader, StatsQuery(project, "", "model", window, None, 10)
        ),
    }


@pytest.fixture(scope="module")
def full_store(own_service: Service) -> Store:
    """Return a store with runs that have late-arriving scores, tags and sessions."""
    store, draw = own_service.store, random.Random(5)  # noqa: S311 - an order, no secret
    watch = CallResolver(store.connections)
    requests = [body for body, _ in FullDataset(Plan(400, time.time_ns(), seed=81)).requests(16)]
    draw.shuffle(requests)
    for body in requests:
        records = map_spans(decode_traces(body), Filing("default", time.time_ns()))
        store.writer.write(records)
        watch.note(records, store.writer.stamped_ns or 0)
    finish(store, watch)
    return store


@sampled(3)
@pytest.mark.parametrize("where", FILTERS)
def test_answers_are_those_of_tables(full_store: Store, where: str) -> None:
    """Each answer from rows is the same as from the tables of scores, tags and resolutions."""
    store, now_ns = full_store, time.time_ns()
    project = project_name(0)
    assert in_rows(store, project)
    assert tags_in_rows(store, project)
    assert names_in_rows(store, project)
    window = Window(now_ns - 31 * DAY_NS, now_ns + DAY_NS)
    condition, _ = compile_query(store.reader, RunsQuery(project, where), reads_rows=True)
    assert "SELECT" not in condition.sql
    for name, ask in list_answers(project, where, window, now_ns).items():
        answer = ask(store.reader)
        assert answer or name in MAY_BE_EMPTY, name
        assert answer == ask(of_table(store.reader)), name
