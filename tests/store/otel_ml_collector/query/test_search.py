"""Tests of word searches with an index, and of patterns narrowed by other conditions."""

from collections.abc import Mapping

import orjson
import pytest

from otel_ml.orders import NEWEST, OLDEST
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.sql import compile_filter
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.span import Scope, Span, Value
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.sql import EMPTY, Sql
from tests.support.otel_ml_collector.spans import NOW_NS, SECOND_NS, id_of, make_call, make_span
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import sampled


def texts_of(number: int) -> Mapping[str, Value]:
    found_word = " needle" if number % 3 else ""
    return {
        "otel_ml.inputs": orjson.dumps(f"number {number}{found_word}").decode(),
        "otel_ml.tag.half": number % 2,
    }


def make_second(call: Span, attributes: Mapping[str, Value]) -> Span:
    """Make a second record of a call, by another instrumentation, inside its run."""
    ids = {"trace_id": call.trace_id, "parent_span_id": call.span_id}
    times = {"start_ns": call.start_ns, "end_ns": call.end_ns}
    return make_span("chat", attributes, scope=Scope({}, "other", "1", {}), **ids, **times)


@sampled(1)
@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("where", ['"needle" in input', '"needle" in input and tags["half"] == 1'])
def test_pages(
    store: Store, request: pytest.FixtureRequest, where: str, *, newest_first: bool
) -> None:
    """The pages of a search contain each matching run once, in order, despite redeliveries."""
    project = request.node.name
    numbers_made = range(0, 400, 2) if "half" not in where else range(400)
    calls = [
        make_call(attributes=texts_of(number), start_ns=NOW_NS - number * SECOND_NS * 1_000)
        for number in numbers_made
    ]
    store.take(project, *calls)
    store.take(project, *calls[:100])
    expected = [
        id_of(call)
        for number, call in zip(numbers_made, calls, strict=True)
        if number % 3 and ("half" not in where or number % 2)
    ]
    runs: list[str] = []
    cursor = None
    while cursor is not None or not runs:
        query = RunsQuery(project, where, 30, cursor, order=NEWEST if newest_first else OLDEST)
        page = find_runs(store.reader, query, NOW_NS)
        runs += [run.run_id for run in page.runs]
        cursor = page.next_cursor
    assert runs == (expected if newest_first else expected[::-1])


def test_index_is_used(store: Store, project: str) -> None:
    """A search uses the word index once parts are merged."""
    for number in range(3):
        store.take(project, make_call(attributes=texts_of(number + 1)))
    client = store.connections.open()
    client.command(Sql("OPTIMIZE TABLE payloads FINAL"))
    kinds = find_record_kinds(store.reader, project)
    _, condition = compile_filter('"needle" in input', kinds)
    assert condition.search is not None
    plan = client.query(
        Sql("EXPLAIN indexes = 1 SELECT 1 FROM payloads WHERE {tests}").fill(
            tests=condition.search.tests
        ),
        {"project": project, "start": 0, "end": NOW_NS, **condition.parameters},
    )
    assert any("Name: by_input" in line for (line,) in plan.result_rows)


def test_several_records_keep_the_index(store: Store, project: str) -> None:
    """The word index works with several records per call, without a join if records are whole."""
    used: dict[str, Value] = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 3}
    asked: dict[str, Value] = {"otel_ml.inputs": '"the needle"'}
    whole = make_call(attributes={**used, **asked, "otel_ml.outputs": '"hay"'})
    store.take(project, whole, make_second(whole, used))
    kinds = find_record_kinds(store.reader, project)
    _, condition = compile_filter('"needle" in input', kinds)
    assert (kinds.same_calls, kinds.lacking) == (True, False)
    assert condition.search is not None
    assert condition.search.others == EMPTY
    lacking = make_call(attributes=used)
    message = orjson.dumps([{"role": "user", "content": "a needle"}]).decode()
    store.take(project, lacking, make_second(lacking, {**used, "gen_ai.input.messages": message}))
    kinds = find_record_kinds(store.reader, project)
    _, condition = compile_filter('"needle" in input', kinds)
    assert kinds.lacking
    assert condition.search is not None
    page = find_runs(store.reader, RunsQuery(project, '"needle" in input'), NOW_NS)
    assert {run.run_id for run in page.runs} == {id_of(whole), id_of(lacking)}


@pytest.mark.parametrize(
    "where",
    [
        'matches(model, "a.*") and last("1h")',
        'matches(model, "a.*") and tags["a"] == 1',
        'matches(model, "a.*") and run_id in ("x", "y")',
        'matches(model, "a.*") and "refund" in input',
        '(matches(model, "a") and trace_key == "k") or start > "2026-01-01"',
    ],
)
def test_narrow_pattern(store: Store, where: str) -> None:
    """A pattern is accepted if another required condition narrows the runs."""
    assert find_runs(store.reader, RunsQuery("none", where), NOW_NS).runs == []


@pytest.mark.parametrize(
    ("where", "start_ns", "message", "column"),
    [
        (
            'matches(model, "a")',
            0,
            "matches would read every run: combine it (and) with a time range",
            8,
        ),
        ('kind == "x" or matches(name, "a") and last("1h")', 0, "matches would read every run", 23),
        ('matches(model, "a") and not last("1h")', 0, "matches would read every run", 8),
        ('matches(model, "a") and start < "2026-01-01"', 0, "matches would read every run", 8),
        ('matches(model, "a") and "ab" in input', 0, "matches would read every run", 8),
        ('matches(model, "(a")', 1, "This is not a regular expression that RE2 supports", 15),
        ('matches(model, "(?=a)")', 1, "This is not a regular expression that RE2 supports", 15),
    ],
)
def test_refused_pattern(
    store: Store, where: str, start_ns: int, message: str, column: int
) -> None:
    """A pattern that is invalid or would read every run is rejected with its column."""
    with pytest.raises(BadInput) as caught:
        find_runs(store.reader, RunsQuery("none", where, start_ns=start_ns), NOW_NS)
    assert str(caught.value).startswith(message)
    assert (caught.value.field, caught.value.column) == ("where", column)
