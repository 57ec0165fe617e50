"""Tests of writes: order, repetition, arrival times and rejected records."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic_core import to_jsonable_python

from otel_ml_collector.artifacts.find import ObjectsQuery, find_objects
from otel_ml_collector.errors import Rejected, Unavailable
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.measures import statistics
from otel_ml_collector.measures.projects import find_projects
from otel_ml_collector.metrics import find_metrics
from otel_ml_collector.records import Metric, ModelVersion, ProcessSign, Records, TraceKey
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.traces import find_trace
from otel_ml_collector.span import Event, Span
from otel_ml_collector.stats import StatsQuery, find_stats
from otel_ml_collector.store import versions
from otel_ml_collector.store.schema import TABLE_NAMES
from otel_ml_collector.store.sql import ALWAYS, Sql, identifier
from otel_ml_collector.store.tables import METRICS, OPEN_RUNS, PROCESSES, RUNS
from otel_ml_collector.store.writer import Writer
from otel_ml_collector.times import HOUR_NS
from otel_ml_collector.versions import find as models
from otel_ml_collector.windows import Window
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    MS_NS,
    NOW_NS,
    SECOND_NS,
    id_of,
    make_artifact,
    make_call,
    make_record,
    make_sign,
    make_span,
    make_start,
    map_all,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.sampling import at_night, sampled

PART: Final = 3  # spans per write when a story arrives in parts
FUTURE_NS: Final = 2_000_000_000 * SECOND_NS  # 2033, for a clock that is ahead


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a store for one test, so that the next test can open another."""
    with open_store(tmp_path) as opened:
        yield opened


def make_story() -> list[Span]:
    """Make spans of every kind: versions, scores, failures, updates, labels and a plain span."""
    spans: list[Span] = []
    for number in range(12):
        call = make_call(
            "answer" if number % 3 else "search",
            {
                "otel_ml.model.version": f"{number % 2:016x}",
                "otel_ml.model.output_schema": "" if number % 4 else "flat",
                "otel_ml.model.definition": f'{{"source": "def answer(): return {number % 2}"}}',
                "otel_ml.inputs": f'{{"question": "number {number}"}}',
                "otel_ml.tag.client": f"client {number % 3}",
                "otel_ml.score.grounded": number / 8,  # exact, so that no sum depends on its order
                "otel_ml.passed.grounded": number > 5,
                "otel_ml.judges": '{"grounded": {"version": "00000000000000aa"}}',
                "otel_ml.trace_key": f"key {number % 5}",
            },
            trace_id=trace_id(1 + number // 2),
            span_id=span_id(100 + number),
            parent_span_id=span_id(99 + number) if number % 2 else b"",
            start_ns=NOW_NS - number * SECOND_NS,
            end_ns=NOW_NS - number * SECOND_NS + (number + 1) * MS_NS,
            status_code=2 if number == 7 else 0,
        )
        spans += [call, *make_records_about(call, number), *make_starts(call, number)]
    return [*spans, make_span("GET", trace_id=trace_id(1), span_id=span_id(99))]


def make_starts(call: Span, number: int) -> list[Span]:
    """Make start records of the given call and of an unfinished one, and a sign of life."""
    unfinished = make_call(
        "answer",
        {"otel_ml.tag.client": f"client {number % 3}"},
        trace_id=call.trace_id,
        span_id=span_id(600 + number),
        parent_span_id=call.span_id,
        start_ns=call.start_ns + 1,
    )
    beat = make_sign("goodbye" if number == 5 else "heartbeat", NOW_NS, f"{number % 7:08x}")
    told = {"otel_ml.process": f"{number % 7:08x}"}
    return [
        make_start(call, told, span_id=span_id(700 + number)),
        make_start(unfinished, told, span_id=span_id(800 + number)),
        replace(beat, trace_id=trace_id(50), span_id=span_id(900 + number)),
    ]


def make_records_about(call: Span, number: int) -> list[Span]:
    late = {"start_ns": call.end_ns + SECOND_NS}
    update = make_record(
        "update",
        call,
        {
            "otel_ml.metric.names": ["loss", "loss"],
            "otel_ml.metric.values": [1 / (number + 1), 1 / (number + 2)],
            "otel_ml.metric.modes": ["auto", "auto"],
            "otel_ml.tag.late": number,
        },
        span_id=span_id(200 + number),
        events=[
            Event("otel_ml.log", call.start_ns + 1, {"otel_ml.log.message": f"line {number}"}),
            make_artifact("sample", f'{{"type": "t", "params": {number}}}', at_ns=call.end_ns),
        ],
        **late,
    )
    judge = make_record(
        "evaluation",
        call,
        {
            "otel_ml.judge.name": "polite",
            "otel_ml.judge.version": "00000000000000bb",
            "otel_ml.score.value": number,
            "otel_ml.target.start_ns": call.start_ns,
        },
        span_id=span_id(300 + number),
        **late,
    )
    person = make_record(
        "evaluation",
        call,
        {
            "otel_ml.judge.name": "liked",
            "otel_ml.source": "human",
            "otel_ml.passed": number % 2 == 0,
            "otel_ml.score.value": 1,
        },
        span_id=span_id(400 + number),
        **late,
    )
    return [update, judge, person]


def answers(store: Store, project: str, story: Sequence[Span]) -> dict[str, Any]:
    """Return the results of all queries about a project, without its name and arrival times."""
    reader = store.reader
    window = Window(NOW_NS - DAY_NS, NOW_NS + DAY_NS)
    everything = runs.RunsQuery(project, 'kind != "none"', limit=1_000)
    calls = [span for span in story if "otel_ml.record" not in span.attributes]
    found: dict[str, Any] = {
        "project": [p for p in find_projects(reader) if p.project == project],
        "list": runs.find_runs(reader, everything, NOW_NS).runs,
        "runs": [runs.find_run(reader, id_of(call), project, now_ns=NOW_NS) for call in calls],
        "trace": find_trace(reader, trace_id(1).hex(), project, now_ns=NOW_NS),
        "key": find_trace(reader, "key 1", project, now_ns=NOW_NS),
        "models": models.find_models(reader, project),
        "versions": models.find_versions(reader, project, "answer"),
        "series": [find_metrics(reader, project, id_of(call)) for call in calls],
        "owners": find_metrics(reader, project),
        "count": statistics.count_runs(reader, project, ALWAYS, window.cut(HOUR_NS)),
        "objects": [
            find_objects(reader, project, ObjectsQuery()),
            find_objects(reader, project, ObjectsQuery(trace_id=trace_id(1).hex())),
        ],
        "bounds": statistics.bound_runs(reader, project),
        "version_runs": statistics.read_version_runs(reader, project, "answer"),
        "version_scores": statistics.read_version_scores(reader, project, "answer"),
        "stats": [
            find_stats(reader, StatsQuery(project, "", group, window, HOUR_NS, 10))
            for group in ("", "version", "model", "outcome", 'tags["client"]')
        ],
    }
    return {name: plain(answer, project) for name, answer in found.items()}


def plain(answer: Any, project: str) -> Any:
    """Return plain values of a result, without the project's name and times of arrival."""
    answer = to_jsonable_python(answer, fallback=str)  # fallback for time zones
    if isinstance(answer, list):
        return [plain(item, project) for item in answer]
    if isinstance(answer, dict):
        kept = {
            key: value
            for key, value in answer.items()
            if key not in {"first_seen_time", "last_heard_ns", "url"}
        }
        return {key: plain(value, project) for key, value in kept.items()}
    return "the project" if answer == project else answer


@at_night
def test_order_and_repetition(store: Store) -> None:
    """A story delivered repeatedly, in other orders and parts, by two writers, reads the same."""
    story = make_story()
    store.take("once", *story)
    store.take("again", *reversed(story))  # first arrivals in order of start
    for writer in (store.writer, Writer(store.connections)):
        parts = sorted(story, key=lambda span: span.span_id[-1] * 7 % 13)
        for at in range(0, len(parts), PART):
            writer.write(map_spans(parts[at : at + PART], Filing("again", NOW_NS)))
        writer.write(map_spans(story, Filing("again", NOW_NS)))
    once, again = answers(store, "once", story), answers(store, "again", story)
    assert {name: again[name] == answer for name, answer in once.items()} == dict.fromkeys(
        once, True
    )
    assert [run["outcome"] for run in once["list"]].count("crashed") == 1
    assert len(once["list"]) == 13 + 12


def test_winner_in_either_order(store: Store, project: str) -> None:
    """The longer of two deliveries of a run is read, in any order of arrival."""
    ids = {"trace_id": trace_id(7), "span_id": span_id(7)}
    short = make_call("answer", {"otel_ml.outputs": '"short"'}, **ids)
    longer = make_call("answer", {"otel_ml.outputs": '"the longer one"'}, **ids)
    found = []
    for name, order in (("a", [short, longer]), ("b", [longer, short])):
        for span in order:
            store.take(f"{project} {name}", span)
        found.append(
            runs.find_run(store.reader, id_of(short), f"{project} {name}", now_ns=NOW_NS).outputs
        )
    assert found == ["the longer one", "the longer one"]


def test_empty_group(store: Store, project: str) -> None:
    """An empty batch writes nothing."""
    store.writer.write(Records())
    assert statistics.bound_runs(store.reader, project) is None


STAMPS: Final = Sql("""
    SELECT arrived_ns AS stamp FROM runs FINAL UNION ALL SELECT arrived_ns FROM metrics
    UNION ALL SELECT arrived_ns FROM late_tags UNION ALL SELECT arrived_ns FROM late_logs
    UNION ALL SELECT arrived_ns FROM payloads UNION ALL SELECT arrived_ns FROM objects
    UNION ALL SELECT first_arrived_ns FROM model_versions""")


def stamps_of(store: Store) -> list[int]:
    return sorted(row["stamp"] for row in store.reader.rows(STAMPS, {}))


def test_stamps(tmp_path: Path) -> None:
    """No arrival time is used twice, and none is earlier than a previous one."""
    with open_store(tmp_path) as store:
        story = make_story()
        store.take("p", *story)
        first = stamps_of(store)
        store.take("q", *story)
        both = stamps_of(store)
    assert len(set(both)) == len(both) == 2 * len(first)
    assert both[: len(first)] == first


@at_night
def test_stamps_after_reopening(tmp_path: Path) -> None:
    """Arrival times keep rising after the store is reopened."""
    with open_store(tmp_path) as store:
        store.take("p", *make_story())
        last_ns = stamps_of(store)[-1]
    with open_store(tmp_path) as store:
        store.take("q", make_call())
        rows = store.reader.rows(Sql("SELECT arrived_ns FROM runs WHERE project = 'q'"), {})
    assert rows[0]["arrived_ns"] > last_ns


def metric(name: str = "loss", **fields: Any) -> Metric:
    made = Metric(
        project="p",
        owner=id_of(make_call()),
        owner_start_ns=NOW_NS,
        name=name,
        value=1.0,
        step=-1,
        time_ns=NOW_NS,
        mode="append",
        source="logged",
    )
    return replace(made, **{"record_id": "00000000000000aa", **fields})


@at_night
@pytest.mark.parametrize("table", [RUNS, METRICS], ids=["runs", "metrics"])
def test_stamps_after_the_clock_fell(tmp_path: Path, table: Any) -> None:
    """Arrival times keep rising if the clock was ahead before the store was closed."""
    rows = map_all(make_call()).runs if table is RUNS else [metric()]
    with open_store(tmp_path) as store:
        arrow = table.to_arrow(rows, [FUTURE_NS])
        store.connections.open().insert_arrow(table.name, arrow)
    with open_store(tmp_path) as store:
        store.writer.write(Records(runs=map_all(make_call()).runs, metrics=[metric("other")]))
        assert stamps_of(store)[0] == FUTURE_NS


@at_night
@pytest.mark.parametrize("table", [OPEN_RUNS, PROCESSES], ids=["open runs", "processes"])
def test_stamps_after_starts_and_signs(tmp_path: Path, table: Any) -> None:
    """Arrival times keep rising above those of start records and signs of life."""
    rows = map_all(make_start(make_call())).open_runs
    with open_store(tmp_path) as store:
        arrow = table.to_arrow(rows if table is OPEN_RUNS else [SIGN], [FUTURE_NS])
        store.connections.open().insert_arrow(table.name, arrow)
    with open_store(tmp_path) as store:
        store.take("p", make_call())
        assert stamps_of(store)[0] > FUTURE_NS


SIGN: Final = ProcessSign("p", "00000001")
NUMBER_OF_STARTS: Final = Sql("SELECT count() AS number FROM open_runs")
SIGNS: Final = Sql("""
    SELECT max(heartbeat_ns) AS heartbeat_ns, max(goodbye_ns) AS goodbye_ns, max(seq) AS seq,
      max(dropped) AS dropped, count() AS written FROM processes WHERE process = '00000001'""")


@at_night
def test_start_in_two_months(tmp_path: Path) -> None:
    """A start record delivered again in another month is one run."""
    run = make_call("train")
    records = map_spans([make_start(run)], Filing("p", NOW_NS))
    with open_store(tmp_path) as store:
        for now_ns in (NOW_NS, NOW_NS + 40 * DAY_NS):
            clock = itertools.count(now_ns)
            Writer(store.connections, clock.__next__).write(records)
            found = runs.find_runs(store.reader, runs.RunsQuery("p"), now_ns).runs
            assert [(one.run_id, one.outcome) for one in found] == [(id_of(run), "running")]


def test_swept(tmp_path: Path) -> None:
    """Start records of ended runs are deleted, others stay, and all queries return the same."""
    open_run, ended = make_call("open", start_ns=NOW_NS + 1), make_call("ended")
    with open_store(tmp_path) as store:
        store.take("p", ended, make_start(ended), make_start(open_run))
        assert store.reader.rows(NUMBER_OF_STARTS, {}) == [{"number": 1}]
        for _ in range(2):
            found = runs.find_runs(store.reader, runs.RunsQuery("p"), NOW_NS).runs
            assert [(run.name, run.outcome) for run in found] == [
                ("open", "running"),
                ("ended", "ok"),
            ]
            store.take("p", make_start(ended))


@at_night
def test_start_is_swept_in_its_project_only(tmp_path: Path) -> None:
    """The end of a run in one project does not delete its start record in another."""
    run = make_call()
    with open_store(tmp_path) as store:
        store.take("q", run)
        store.take("p", make_start(run))
        assert runs.find_run(store.reader, id_of(run), "p", now_ns=NOW_NS).outcome == "running"


@at_night
def test_sweep_that_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A batch is stored even if old start records cannot be deleted. The failure is logged."""
    run = make_call()
    with open_store(tmp_path) as store:
        client = store.connections.open()
        client.command(  # A table with a projection rejects deletes.
            Sql("ALTER TABLE open_runs MODIFY SETTING deduplicate_merge_projection_mode = 'drop'")
        )
        client.command(
            Sql("ALTER TABLE open_runs ADD PROJECTION p (SELECT process ORDER BY process)")
        )
        store.take("p", make_start(run))
        assert runs.find_run(store.reader, id_of(run), "p", now_ns=NOW_NS).outcome == "running"
    (message,) = caplog.messages
    assert message.startswith("Start records of ended runs were not deleted: ")


@at_night
def test_what_processes_tell(tmp_path: Path) -> None:
    """The latest times and highest counts of a process are kept, in any order of arrival."""
    signs = [
        replace(SIGN, heartbeat_ns=NOW_NS, seq=9, dropped=1),
        replace(SIGN, heartbeat_ns=NOW_NS - 1, seq=5, dropped=3),
        replace(SIGN, goodbye_ns=NOW_NS + 1, seq=7),
    ]
    with open_store(tmp_path) as store:
        for sign in [*signs, *reversed(signs)]:
            store.writer.write(Records(signs=[sign]))
        (row,) = store.reader.rows(SIGNS, {})
    assert (row["heartbeat_ns"], row["goodbye_ns"]) == (NOW_NS, NOW_NS + 1)
    assert (row["seq"], row["dropped"]) == (9, 3)


@at_night
def test_process_that_sends_much(tmp_path: Path) -> None:
    """A process that sends runs continuously is recorded once a minute."""
    clock = itertools.count(NOW_NS, SECOND_NS // 4)  # read several times per write
    with open_store(tmp_path) as store:
        writer = Writer(store.connections, clock.__next__)
        for _ in range(30):
            writer.write(Records(signs=[SIGN]))
        rows = store.reader.rows(SIGNS, {})
    assert rows[0]["written"] == 1


@sampled(1)
@pytest.mark.parametrize(
    "wrong",
    [
        {"start_ns": 2**63},
        {"start_ns": -(2**63) - 1},
        {"end_ns": 2**63, "start_ns": -1},
        {"trace_id": b"short"},
        {"span_id": b"longer than eight"},
        {"name": "\ud800"},
        {"rank": 2**64},
        {"rank": -1},
        {"input_tokens": 2**63},
    ],
    ids=str,
)
def test_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """A run with a value that fits no column is rejected, and none of its rows are read."""
    (run,) = map_all(make_call()).runs
    with open_store(tmp_path) as store:
        with pytest.raises(Rejected, match=r"^A value does not fit its column: \w+$"):
            store.writer.write(Records(runs=[replace(run, **wrong)]))
        store.writer.write(Records(runs=[replace(run, name="after")]))
        assert store.reader.rows(Sql("SELECT name FROM runs"), {}) == [{"name": "after"}]


def test_refused_by_the_engine(store: Store) -> None:
    """Rows that violate a constraint of the engine are rejected with the engine's error name."""
    client = store.connections.open()
    client.command(Sql("ALTER TABLE runs ADD CONSTRAINT good CHECK name != 'bad'"))
    with pytest.raises(Rejected, match=r"^The store refuses these rows: VIOLATED_CONSTRAINT$"):
        store.take("p", make_call("good"), make_call("bad"))
    store.take("p", make_call("good"))
    assert store.reader.rows(Sql("SELECT name FROM runs"), {}) == [{"name": "good"}]


def test_trouble(store: Store) -> None:
    """A store error raises Unavailable with its name. Afterwards the same records are stored."""
    client = store.connections.open()
    client.command(Sql("RENAME TABLE runs TO gone"))
    call = make_call()
    with pytest.raises(Unavailable, match=r"^The store has trouble: UNKNOWN_TABLE$"):
        store.take("p", call)
    client.command(Sql("RENAME TABLE gone TO runs"))
    store.take("p", call)
    assert runs.find_run(store.reader, id_of(call), "p", now_ns=NOW_NS).run_id == id_of(call)


def test_runs_come_last(tmp_path: Path) -> None:
    """A batch that fails midway leaves no run without its related records."""
    (run,) = map_all(make_call()).runs
    key = TraceKey("key", "p", b"short", NOW_NS, NOW_NS)
    with open_store(tmp_path) as store:
        with pytest.raises(Rejected):
            store.writer.write(Records(runs=[run], trace_keys=[key]))
        assert store.reader.rows(Sql("SELECT name FROM runs"), {}) == []
        store.writer.write(Records(runs=[run], trace_keys=[replace(key, trace_id=run.trace_id)]))
        assert store.reader.rows(Sql("SELECT name FROM runs"), {}) == [{"name": "answer"}]


def test_no_run_without_payload(store: Store) -> None:
    """A run whose payload cannot be stored is not stored. Sent again, both are."""
    client = store.connections.open()
    client.command(Sql("RENAME TABLE payloads TO gone"))
    call = make_call("answer", {"otel_ml.inputs": '{"question": "Where?"}'})
    with pytest.raises(Unavailable, match=r"^The store has trouble: UNKNOWN_TABLE$"):
        store.take("p", call)
    assert store.reader.rows(Sql("SELECT name FROM runs"), {}) == []
    client.command(Sql("RENAME TABLE gone TO payloads"))
    store.take("p", call)
    found = runs.find_run(store.reader, id_of(call), "p", now_ns=NOW_NS)
    assert found.inputs == {"question": "Where?"}


def test_large_group(store: Store) -> None:
    """The rows of a large batch are one insert per table."""
    (run,) = map_all(make_call()).runs
    many = [replace(run, span_id=span_id(number + 1)) for number in range(2_500)]
    store.writer.write(Records(runs=many))
    for table in ("runs", "payloads"):
        sql = Sql("SELECT uniq(span_id) AS rows, uniq(_part) AS parts FROM {table}").fill(
            table=identifier(table, TABLE_NAMES)
        )
        assert store.reader.rows(sql, {}) == [{"rows": 2_500, "parts": 1}]


@at_night
def test_many_months(store: Store) -> None:
    """A batch with runs of 60 months is stored, each run in its month."""
    (run,) = map_all(make_call()).runs
    many = [
        replace(run, span_id=span_id(number + 1), start_ns=number * 31 * DAY_NS)
        for number in range(60)
    ]
    store.writer.write(Records(runs=many))
    for table in ("runs", "payloads"):
        sql = Sql("SELECT count() AS rows, uniq(_partition_id) AS months FROM {table}").fill(
            table=identifier(table, TABLE_NAMES)
        )
        assert store.reader.rows(sql, {}) == [{"rows": 60, "months": 60}]


@at_night
def test_claimed_starts(tmp_path: Path) -> None:
    """Evaluations are stored whatever start of their run they claim."""
    evaluations = [
        make_record(
            "evaluation",
            make_call(),
            {
                "otel_ml.judge.name": "polite",
                "otel_ml.score.value": 1.0,
                "otel_ml.target.start_ns": number * 31 * DAY_NS - DAY_NS,
            },
        )
        for number in range(150)
    ]
    with open_store(tmp_path) as store:
        store.take("p", *evaluations)
        rows = store.reader.rows(Sql("SELECT count() AS scores FROM scores"), {})
    assert rows == [{"scores": 150}]


@at_night
def test_version_that_is_seen_again(tmp_path: Path) -> None:
    """A version named by every run is written once, and again with its definition."""
    version = ModelVersion("p", "model", "answer", "aa", "", "", NOW_NS, NOW_NS)
    defined = replace(version, definition='{"source": "def answer(): ..."}')
    with open_store(tmp_path) as store:
        for one in (version, version, defined, version):
            store.writer.write(Records(versions=[one]))
        (found,) = versions.read_versions(store.reader, "p", "model", ["answer"])
    assert (found["number"], found["definition"], found["last_ns"]) == (
        1,
        '{"source": "def answer(): ..."}',
        NOW_NS,
    )


@at_night
def test_definition_that_changes_at_once(tmp_path: Path) -> None:
    """The greatest definition is kept, even if a smaller one was stored just before."""
    version = ModelVersion("p", "dataset", "qa", "aa", "", '{"items":1}', NOW_NS, NOW_NS)
    explained = replace(version, definition='{"reason":"new","items":1}')
    with open_store(tmp_path) as store:
        for one in (version, explained, version):
            store.writer.write(Records(versions=[one]))
        (found,) = versions.read_versions(store.reader, "p", "dataset", ["qa"])
    assert found["definition"] == '{"reason":"new","items":1}'
