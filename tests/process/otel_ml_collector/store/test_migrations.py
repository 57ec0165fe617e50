"""Tests of older stores: today's program opens each, and answers as if it had always been there."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Final
from urllib.parse import quote

import clickhouse_connect
import orjson
import pytest
from clickhouse_connect.driver.client import Client

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Event, Scope, Span, Value
from otel_ml_collector.store.backup import MANIFEST, restore
from otel_ml_collector.store.migrations import DROPPED, SCHEMA_VERSION, STEPS
from otel_ml_collector.store.schema import TABLE_NAMES
from otel_ml_collector.store.sql import Sql, identifier, join_sql
from otel_ml_collector.store.writer import Writer
from tests.store.otel_ml_collector.store.test_tables import RENAMED
from tests.store.otel_ml_collector.store.test_versions import arrive, numbers
from tests.store.otel_ml_collector.test_datasets import make_item, make_versions
from tests.support.folders import SCHEMAS
from tests.support.otel_ml_collector.asgi import ask
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
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service, Store, open_service, open_store
from tests.support.sampling import sampled
from tests.support.waiting import elapsed, wait_until

# Tables that keep replaced parts as long as stores of older programs did.
KEPT_LONG: Final = Sql("SELECT name FROM system.tables WHERE engine_full LIKE '%lifetime = 480%'")
SCHEMA: Final = Sql("SELECT max(value) AS version FROM store_meta WHERE name = 'schema'")
VERSIONS: Final = range(1, SCHEMA_VERSION)
# Schemas that came together, by that of which the tables are kept: no program ended at the
# others, a migration that was killed leaves them.
TOGETHER: Final = {26: 27}
# Opens a store, as a collector does; says when it begins.
OPENER: Final = """
import sys
from otel_ml_collector.store.migrations import connect
print("begins", flush=True)
connect(sys.argv[1]).close()
"""
# What the table of saved views had of what are documents now.
_SAVED_VIEWS: Final = Sql("""(
  SELECT project, name, JSONExtractString(body, 'page') AS page,
    JSONExtractRaw(body, 'parameters') AS parameters, saved_ns, version
  FROM documents WHERE kind = 'view')""")
_TABLE: Final = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) \((.*)\)\nENGINE", re.DOTALL)
_COLUMN: Final = re.compile(r"^  (?!INDEX)`?(\w+)`? (?!.*EPHEMERAL)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Old:
    """What a program of an older schema kept.

    Attributes:
        rows: Columns and rows of each table, as the engine writes them.
        spans: Of what they were made.
        expected: What is answered of them, by path.
    """

    rows: Mapping[str, tuple[list[str], bytes]]
    spans: Sequence[Span]
    expected: Mapping[str, str]


class Olds:
    """What older programs kept, by schema: read when it is first asked for, before a store is open.

    Args:
        folder: A store of today, where each has a project.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[int, Old] = {}

    def __getitem__(self, version: int) -> Old:
        if version not in self._found:
            with open_service(self._folder) as service:
                spans = spans_of(version)
                write(service, version, spans)
                save_view(service, version)
                expected = answers(service, version, spans)
                assert [text for text in expected.values() if text.startswith('{"error"')] == []
                self._found[version] = Old(read_tables(service, version), spans, expected)
        return self._found[version]


@pytest.fixture(scope="module")
def olds(tmp_path_factory: pytest.TempPathFactory) -> Olds:
    return Olds(tmp_path_factory.mktemp("today"))


def spans_of(version: int) -> list[Span]:
    """Make spans of which a program of a schema kept everything."""
    numbered: dict[str, Value] = {"otel_ml.process": "0000000a", "otel_ml.seq": 1}
    line = Event("otel_ml.log", NOW_NS, {"otel_ml.log.message": "a line"})
    call = make_call(
        "answer",
        {
            "session.id": "session",
            "otel_ml.trace_key": f"order {version}",
            "otel_ml.model.version": "aa",
            "otel_ml.model.definition": '{"source":"code"}',
            "otel_ml.inputs": '{"question":"why"}',
            "otel_ml.tag.client": "bigshot",
            "otel_ml.score.grounded": 0.5,
            "otel_ml.judges": '{"grounded": {"version": "a1", "definition": "{}"}}',
            **(numbered if version >= 5 else {}),
        },
        events=[line, *([make_artifact("data", '"text"')] if version >= 4 else [])],
    )
    late: dict[str, Value] = {
        "otel_ml.tag.late": 1,
        "otel_ml.metric.names": ["loss"],
        "otel_ml.metric.values": [0.25],
    }
    update = make_record("update", call, late, events=[line], start_ns=NOW_NS + SECOND_NS)
    below = make_span(
        "below", trace_id=call.trace_id, parent_span_id=call.span_id, start_ns=NOW_NS + MS_NS
    )
    # What came true was told as a word, a score or a pass before it had a value.
    truth: dict[str, Value] = {
        "otel_ml.judge.name": "churned",
        "otel_ml.source": "actual",
        "otel_ml.score.label": "yes",
    }
    liked: dict[str, Value] = {
        "otel_ml.judge.name": "liked",
        "otel_ml.source": "human",
        "otel_ml.score.value": 4,
    }
    said = [make_record("evaluation", call, word) for word in (truth, liked)]
    judged: dict[str, Value] = {
        "otel_ml.model.version": "bb",
        "otel_ml.score.grounded": 1.0,
        "otel_ml.judges": '{"grounded": {"version": "b2"}}',
    }
    older = make_call("answer", judged, start_ns=NOW_NS - 40 * DAY_NS)
    begun = make_call("begun", start_ns=NOW_NS + MS_NS)
    started = [make_start(begun), make_sign("heartbeat", NOW_NS)] if version > 1 else []
    return [call, update, below, older, *started, *said]


def id_of_number(number: int) -> str:
    """Return the id of the run of a number."""
    return f"{number:032x}-{number:016x}"


def write(service: Service, version: int, spans: Sequence[Span]) -> None:
    writer = Writer(service.store.connections, clock=lambda: NOW_NS)
    writer.write(map_spans(spans, Filing(f"p{version}", NOW_NS)))


def save_view(service: Service, version: int) -> None:
    """Save a view, as programs do that have a table for them."""
    if version >= 6:
        view = {"page": "runs", "parameters": {"where": 'tags["client"] == "big\\"shot"'}}
        address = f"/api/v1/projects/p{version}/views/a%20view"
        headers = {"content-type": "application/json"}
        body = [orjson.dumps(view)]
        assert ask(service.app, address, method="PUT", headers=headers, body=body).status == 200


def answers(service: Service, version: int, spans: Sequence[Span]) -> dict[str, str]:
    """Ask everything about the spans, by path."""
    call, older = spans[0], spans[3]
    conditions = (
        *('tags["client"] == "bigshot"', 'scores["grounded"] < 1', "tags['late'] == 1"),
        *('truth["churned"] == "yes"', 'label["liked"] > 3 and scores["liked"] == 4'),
    )
    trace_id = call.trace_id.hex()
    of_project = [
        "runs",
        *(f"runs?where={quote(condition)}" for condition in conditions),
        f"runs/{id_of(call)}",
        f"runs/{id_of(older)}",
        "models",
        "judges",
        "judges/grounded/versions",
        "stats?start=2026-10-01T00:00:00Z&end=2026-12-01T00:00:00Z&bucket=1d",
        "models/answer/versions",
        "models/answer/versions/2",
        "metrics",
        "views",
        f"objects?trace_id={trace_id}",
        "loss?start=2026-11-20T00:00:00Z&end=2026-11-21T00:00:00Z",  # the last day moves on
    ]
    paths = [f"projects/p{version}/{path}" for path in of_project]
    paths += [f"traces/{trace_id}", f"traces/order%20{version}", "keys"]
    return {path: ask(service.app, f"/api/v1/{path}").text for path in paths}


def told_truth(service: Service, version: int, call: Span) -> object:
    """Tell a truth with a value, and read which one holds."""
    attributes: dict[str, Value] = {
        "otel_ml.judge.name": "churned",
        "otel_ml.actual": [1, "no"],
    }
    said = make_record("evaluation", call, attributes, start_ns=NOW_NS + SECOND_NS)
    write(service, version, [said])
    where = quote('truth["churned"][1] == "no"')
    [run] = ask(service.app, f"/api/v1/projects/p{version}/runs?where={where}").json["runs"]
    return run["truth"]


def name_version(service: Service, version: int, call: Span) -> object:
    """Name a version of a model, and read which one has the name."""
    told: dict[str, Value] = {
        "otel_ml.target.model": "answer",
        "otel_ml.target.version": "aa",
        "otel_ml.alias": "champion",
    }
    write(service, version, [make_record("update", call, told)])
    path = f"/api/v1/projects/p{version}/models/answer/aliases"
    [alias] = ask(service.app, path).json["aliases"]
    return alias["alias"], alias["digest"]


def open_raw(folder: Path) -> Client:
    return clickhouse_connect.get_client(interface="chdb", path=str(folder / "store"))


def file_of(version: int) -> Path:
    return SCHEMAS / f"schema_{TOGETHER.get(version, version)}.sql"


def statements_of(version: int) -> list[str]:
    """Read the statements that made the tables of a schema."""
    return [
        statement for statement in file_of(version).read_text().split(";\n") if statement.strip()
    ]


def read_tables(service: Service, version: int) -> dict[str, tuple[list[str], bytes]]:
    """Read what the tables of a schema would hold of today's."""
    client = service.store.connections.open()
    found: dict[str, tuple[list[str], bytes]] = {}
    for match in filter(None, map(_TABLE.search, statements_of(version))):
        table, columns = match[1], _COLUMN.findall(match[2])
        if "project" in columns and table != "experiment_traces":
            names = [Sql("`{name}`").fill(name=identifier(name, columns)) for name in columns]
            today = RENAMED.get(table, table)
            sql = Sql("SELECT {names} FROM {table} WHERE project = {project:String}{known}").fill(
                names=join_sql(", ", names),
                table=_SAVED_VIEWS if table == "views" else identifier(today, TABLE_NAMES),
                # Until schema 16 the table had nothing but what counts.
                known=Sql(" AND counts" if today == "settled" and "counts" not in columns else ""),
            )
            values = {"project": f"p{version}"}
            found[table] = columns, client.raw_query(sql, values, fmt="Native")
    return found


def test_each_older_schema_is_kept() -> None:
    """The tables of every schema but today's are kept, so that its stores can be made."""
    assert {*SCHEMAS.glob("schema_*.sql")} == {*map(file_of, VERSIONS)}


@pytest.mark.parametrize("table", DROPPED)
def test_steps_keep_their_numbers(table: str) -> None:
    """A table is dropped by the step to the first schema without it, whatever came since."""
    without = next(
        version
        for version in range(VERSIONS.stop - 1, 0, -1)
        if f"EXISTS {table} (" in file_of(version).read_text()
    )
    [step] = [
        version
        for version, statements in enumerate(STEPS, 3)
        if any(statement == f"DROP TABLE {table}" for statement in statements)
    ]
    assert step == without + 1


def make_old(folder: Path, version: int, rows: Mapping[str, tuple[list[str], bytes]]) -> None:
    """Make a store of a schema and fill it."""
    with open_raw(folder) as client:
        for statement in statements_of(version):
            client.command(statement)
        for table, (columns, block) in rows.items():
            client.raw_insert(table, columns, block, fmt="Native")
        client.insert("store_meta", [["schema", version]], column_names=["name", "value"])


@sampled(only=("1",))
@pytest.mark.parametrize("version", VERSIONS)
def test_older_store(tmp_path: Path, olds: Olds, version: int) -> None:
    """A store of an older schema answers what a new one with the same records answers."""
    old = olds[version]
    make_old(tmp_path, version, old.rows)
    with open_service(tmp_path) as service:
        assert answers(service, version, old.spans) == old.expected
        write(service, version, old.spans)  # it takes all that comes today
        assert told_truth(service, version, old.spans[0]) == {"churned": [1, "no"]}
        assert name_version(service, version, old.spans[0]) == ("champion", "aa")
        rows = service.store.reader.rows(SCHEMA, {})
        kept_long = service.store.reader.rows(KEPT_LONG, {})
    assert rows == [{"version": SCHEMA_VERSION}]
    assert kept_long == []


def test_whole_runs_of_an_older_store(tmp_path: Path) -> None:
    """Of an older store, too, a run that has its input and output borrows none."""
    used: dict[str, Value] = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 3}
    call = make_call(attributes={**used, "otel_ml.inputs": '"a"', "otel_ml.outputs": '"b"'})
    ids = {"trace_id": call.trace_id, "parent_span_id": call.span_id}
    with open_service(tmp_path / "today") as service:
        service.store.take(
            "p20", call, make_span("chat", used, scope=Scope({}, "s", "", {}), **ids)
        )
        rows = read_tables(service, 20)
    make_old(tmp_path / "old", 20, rows)
    sql = Sql("""SELECT is_whole FROM settled FINAL
      WHERE project = {project:String} AND others NOT IN ('', '[]')""")
    with open_service(tmp_path / "old") as service:
        assert service.store.reader.rows(sql, {"project": "p20"}) == [{"is_whole": True}]


def test_keys_and_tags_of_an_older_store(tmp_path: Path) -> None:
    """Of an older store, too, it is settled which runs keys and tags name of which is told."""
    told: dict[str, Value] = {"otel_ml.judge.name": "j", "otel_ml.score.value": 0.5}
    used: dict[str, Value] = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 3}
    call = make_call(attributes={**used, "otel_ml.trace_key": "order", "otel_ml.tag.client": "a"})
    ids = {"trace_id": call.trace_id, "parent_span_id": call.span_id}
    inner = make_span("chat", used, scope=Scope({}, "s", "", {}), **ids)
    targets: list[dict[str, Value]] = [
        {"otel_ml.target.trace_key": "order"},
        {"otel_ml.target.tag": "client=a"},
        {"otel_ml.target.tag": "client=late"},
        {"otel_ml.target.tag": "client=nobody"},
    ]
    sql = Sql("""SELECT * EXCEPT rank FROM settled FINAL WHERE project = {project:String}
      ORDER BY span_id""")
    with open_service(tmp_path / "today") as service:
        service.store.take(
            "p23",
            call,
            inner,
            make_record("update", inner, {"otel_ml.tag.client": "late"}),
            *(
                make_record("evaluation", call, told | target, span_id=b"told %03d" % place)
                for place, target in enumerate(targets)
            ),
        )
        expected = service.store.reader.rows(sql, {"project": "p23"})
        rows = read_tables(service, 23)
    assert sorted(owner for row in expected for owner in row["owners"]) == [
        "key:order",
        "tag:client=a",
        "tag:client=late",
    ]
    make_old(tmp_path / "old", 23, rows)
    with open_service(tmp_path / "old") as service:
        assert service.store.reader.rows(sql, {"project": "p23"}) == expected


def make_backup(folder: Path, version: int, backup: Path) -> None:
    """Write a backup of an older store, as the first programs that could did."""
    tables: dict[str, dict[str, dict[str, int]]] = {}
    with open_raw(folder) as client:
        asked = "SELECT name, data_paths[1] FROM system.tables WHERE database = currentDatabase()"
        for table, path in client.query(asked).result_rows:
            client.command(f"ALTER TABLE `{table}` FREEZE WITH NAME 'b'")
            place = Path(path).relative_to(folder / "store")
            frozen = folder / "store/shadow/b" / place
            parts = [part for part in frozen.iterdir() if part.is_dir()] if frozen.exists() else []
            for part in parts:
                shutil.copytree(part, backup / table / part.name)
            tables[table] = {
                part.name: {file.name: file.stat().st_size for file in part.iterdir()}
                for part in parts
            }
    manifest = {"format": "otel-ml backup 1", "schema": version, "tables": tables}
    (backup / MANIFEST).write_bytes(orjson.dumps(manifest))


@sampled(1)
@pytest.mark.parametrize("version", [14, 16])
def test_backup_of_an_older_store(tmp_path: Path, olds: Olds, version: int) -> None:
    """A backup of an older store has the same answers once it is restored and opened."""
    old = olds[version]
    make_old(tmp_path / "old", version, old.rows)
    make_backup(tmp_path / "old", version, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "new")
    with open_service(tmp_path / "new") as service:
        assert answers(service, version, old.spans) == old.expected


def test_stream_of_an_older_store(tmp_path: Path) -> None:
    """A run that was stored before streams had columns says of its stream what it says today."""
    told: dict[str, Value] = {
        "otel_ml.stream.chunks": 12,
        "gen_ai.server.time_to_first_token": 0.002,
        "gen_ai.usage.output_tokens": 30,
    }
    run = make_call("stream", told, start_ns=NOW_NS, end_ns=NOW_NS + 12 * MS_NS)
    path = f"/api/v1/projects/p11/runs/{id_of(run)}"
    with open_service(tmp_path / "today") as service:
        write(service, 11, [run])
        expected, rows = ask(service.app, path).text, read_tables(service, 11)
    assert '"first_token_ms":2.0,"stream_chunks":12' in expected
    assert '"tokens_per_second":3000.0' in expected
    make_old(tmp_path / "old", 11, rows)
    with open_service(tmp_path / "old") as service:
        assert ask(service.app, path).text == expected


def test_items_of_an_older_store(tmp_path: Path) -> None:
    """Items that were kept without a session answer as before, until somebody tells it."""
    before, after = (
        make_call(
            "experiment",
            {"otel_ml.kind": "experiment", "otel_ml.experiment.dataset": "qa", **told},
            trace_id=trace_id(number),
            span_id=span_id(number),
        )
        for number, told in ((1, {}), (2, {"otel_ml.experiment.baseline": id_of_number(1)}))
    )
    items = [
        make_item(place, told={"otel_ml.item.source_run": id_of_number(100 + place)})
        for place in range(40)
    ]
    spans = [
        before,
        after,
        *items,
        *make_versions("qa", {f"{at}": one for at, one in enumerate(items)}),
    ]
    for number, (experiment, place) in enumerate(product((before, after), range(40)), 200):
        passed = experiment is before or place % 4 > 0
        told: dict[str, Value] = {
            "otel_ml.experiment": id_of(experiment),
            "otel_ml.experiment.dataset": "qa",
            "otel_ml.item.id": f"{place}",
            "otel_ml.item.digest": str(items[place].attributes["otel_ml.item.digest"]),
            "otel_ml.score.exact": float(passed),
            "otel_ml.passed.exact": passed,
            "session.id": "of the experiment",
        }
        spans.append(make_call("answer", told, trace_id=trace_id(number), span_id=span_id(number)))
    api = "/api/v1/projects/p12"
    verdict = f"{api}/experiments/{id_of(after)}"
    paths = [verdict, f"{verdict}/rows", f"{api}/datasets/qa/versions/1/items", f"{api}/datasets"]
    with open_service(tmp_path / "today") as service:
        write(service, 12, spans)
        expected = [ask(service.app, path).text for path in paths]
        rows = read_tables(service, 12)
    assert "25 points worse" in expected[0]
    assert "clusters by" not in expected[0]
    make_old(tmp_path / "old", 12, rows)
    with open_service(tmp_path / "old") as service:
        assert [ask(service.app, path).text for path in paths] == expected
        write(service, 12, items)
        assert [ask(service.app, path).text for path in paths] == expected
        sessions = [
            replace(
                item,
                attributes={**item.attributes, "otel_ml.item.source_session": f"s{place // 2}"},
            )
            for place, item in enumerate(items)
        ]
        write(service, 12, sessions)
        assert "n = 40 in 20 clusters by session" in ask(service.app, verdict).text
        assert ask(service.app, paths[3]).text == expected[3]


@sampled(1)
@pytest.mark.parametrize("delay_s", [0.05, 0.3])
def test_killed_migration(tmp_path: Path, olds: Olds, delay_s: float) -> None:
    """A migration that is killed in the middle is completed by the next start."""
    make_old(tmp_path, 2, olds[2].rows)
    command = [sys.executable, "-c", OPENER, f"chdb://{tmp_path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        wait_until(elapsed(delay_s))  # the moment is what is tried here
        process.kill()
    with open_service(tmp_path) as service:
        assert answers(service, 2, olds[2].spans) == olds[2].expected


def test_scores_without_metrics(tmp_path: Path, olds: Olds) -> None:
    """Scores whose metrics have left an older store stay, and those of metrics are there once."""
    where = quote('scores["grounded"] < 1')
    path = f"/api/v1/projects/p17/runs?where={where}"
    make_old(tmp_path, 17, olds[17].rows)
    with open_raw(tmp_path) as client:
        client.command(
            "ALTER TABLE metrics DELETE WHERE name = 'grounded' AND judge_version = 'a1'"
            " SETTINGS mutations_sync = 2"
        )
    with open_service(tmp_path) as service:
        assert len(ask(service.app, path).json["runs"]) == 1
        rows = service.store.reader.rows(
            Sql("SELECT judge, count() AS n FROM scores FINAL GROUP BY judge ORDER BY judge"), {}
        )
    assert rows == [
        {"judge": "churned", "n": 1},
        {"judge": "grounded", "n": 2},
        {"judge": "liked", "n": 1},
    ]


def test_data_metrics_are_no_scores(tmp_path: Path) -> None:
    """What is computed of a table is a metric and no score, also in a store from before it."""
    make_old(tmp_path, 19, {})
    call = spans_of(19)[0]
    told: dict[str, Value] = {
        "otel_ml.metric.names": ["missing.age"],
        "otel_ml.metric.values": [0.25],
        "otel_ml.metric.modes": ["auto"],
        "otel_ml.metric.sources": ["data"],
    }
    with open_service(tmp_path) as service:
        write(service, 19, [call, make_record("update", call, told)])
        run = ask(service.app, f"/api/v1/projects/p19/runs/{id_of(call)}").json
        judges = ask(service.app, "/api/v1/projects/p19/judges").json["judges"]
    assert run["metrics"] == {"missing.age": 0.25}
    assert [one["judge"] for one in judges] == ["grounded"]
    assert [*run["scores"]] == ["grounded"]


def test_numbers_of_an_older_store_stay(tmp_path: Path) -> None:
    """A store keeps the numbers that it gave, and opens one more for further structures."""
    with open_store(tmp_path) as store:
        arrive(store, "p", ("a", "s"), ("a", "t"), ("a", "u"), ("b", "s"))
    with open_raw(tmp_path) as client:  # as the program before the rule left it
        client.command("ALTER TABLE store_meta DELETE WHERE name = 'two_structures'")
    with open_store(tmp_path) as store:
        before = {("a", "s"): 1, ("a", "t"): 2, ("a", "u"): 3, ("b", "s"): 4}
        assert numbers(store, "p") == before
        writer = Writer(store.connections)
        later = Store(store.connections, writer, store.reader)
        arrive(later, "p", ("a", "v"), ("a", "w"), ("b", "t"), ("b", "u"), ("c", "s"), ("c", "t"))
        assert numbers(store, "p") == before | {
            ("a", "v"): 5,
            ("a", "w"): 5,
            ("b", "t"): 6,
            ("b", "u"): 6,
            ("c", "s"): 7,
            ("c", "t"): 8,
        }
    with open_store(tmp_path) as store:
        arrive(Store(store.connections, Writer(store.connections), store.reader), "p", ("c", "u"))
        assert numbers(store, "p")["c", "u"] == 8


def test_tables_of_today(tmp_path: Path) -> None:
    """A store of the first schema has tables, columns and indexes of a new one once opened."""
    make_old(tmp_path / "old", 1, {})
    here = Sql(" WHERE database = currentDatabase() ORDER BY table, name")
    columns = Sql("SELECT table, name, type FROM system.columns") + here
    indexes = Sql("SELECT table, name, expr FROM system.data_skipping_indices") + here
    found = []
    for name in ("old", "new"):
        with open_store(tmp_path / name) as store:
            found.append([store.reader.rows(asked, {}) for asked in (columns, indexes)])
    assert found[0] == found[1]
