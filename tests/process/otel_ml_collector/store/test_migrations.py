"""Tests of older stores: this version opens each and gives the same answers as for a new store."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import clickhouse_connect
import orjson
import pytest
from clickhouse_connect.driver.client import Client

from otel_ml_collector.errors import BadSetting
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Event, Span, Value
from otel_ml_collector.store.backup import restore
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.connection import MANIFEST
from otel_ml_collector.store.migrations import LAST_UPGRADER, OLDEST_SCHEMA, SCHEMA_VERSION, connect
from otel_ml_collector.store.schema import META, TABLE_NAMES
from otel_ml_collector.store.sql import Sql, identifier, join_sql
from otel_ml_collector.store.tables import COPY
from otel_ml_collector.store.writer import Writer
from tests.store.otel_ml_collector.store.test_versions import arrive, numbers
from tests.support.folders import SCHEMAS
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.folded import count_rows, find_differing, finish
from tests.support.otel_ml_collector.scored import count_scored, find_wrong_scores
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
)
from tests.support.otel_ml_collector.stores import Service, Store, open_service, open_store
from tests.support.sampling import at_night, sampled
from tests.support.waiting import elapsed, wait_until

# Tables that keep replaced parts for as long as older stores did.
KEPT_LONG: Final = Sql("SELECT name FROM system.tables WHERE engine_full LIKE '%lifetime = 480%'")
SCHEMA: Final = Sql("SELECT max(value) AS version FROM store_meta WHERE name = 'schema'")
# The first schema in which the rank of a row in `runs` is more than that of its record.
ROWS_FOLDED: Final = 32
VERSIONS: Final = range(OLDEST_SCHEMA, SCHEMA_VERSION + 1)
# Opens a store as a collector does; prints a line when it begins.
OPENER: Final = """
import sys
from otel_ml_collector.store.migrations import connect
print("begins", flush=True)
connect(sys.argv[1]).close()
"""
_TABLE: Final = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) \((.*)\)\nENGINE", re.DOTALL)
_COLUMN: Final = re.compile(r"^  (?!INDEX)`?(\w+)`? (?!.*(?:EPHEMERAL|ALIAS))", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Old:
    """The contents of a store with an older schema.

    Attributes:
        rows: Columns and rows of each table, in the engine's format.
        spans: The spans behind the rows.
        expected: The expected response for each path.
    """

    rows: Mapping[str, tuple[list[str], bytes]]
    spans: Sequence[Span]
    expected: Mapping[str, str]


class Olds:
    """Contents of older stores by schema; each is made on first use, before a test opens its store.

    Args:
        folder: A store with the current schema, in which each version has a project.
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
    """Make spans that a program with this schema stored completely."""
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
            **numbered,
        },
        events=[line, make_artifact("data", '"text"')],
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
    # Before ground truth had values it was recorded as a label, a score or a pass.
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
    started = [make_start(begun), make_sign("heartbeat", NOW_NS)]
    return [call, update, below, older, *started, *said]


def id_of_number(number: int) -> str:
    """Return the run id for a number."""
    return f"{number:032x}-{number:016x}"


def write(service: Service, version: int, spans: Sequence[Span]) -> None:
    writer = Writer(service.store.connections, clock=lambda: NOW_NS)
    writer.write(map_spans(spans, Filing(f"p{version}", NOW_NS)))


def save_view(service: Service, version: int) -> None:
    """Save a view in the project of the version."""
    view = {"page": "runs", "parameters": {"where": 'tags["client"] == "big\\"shot"'}}
    address = f"/api/v1/projects/p{version}/views/a%20view"
    headers = {"content-type": "application/json"}
    body = [orjson.dumps(view)]
    assert ask(service.app, address, method="PUT", headers=headers, body=body).status == 200


def answers(service: Service, version: int, spans: Sequence[Span]) -> dict[str, str]:
    """Request every kind of answer about the spans; return the responses by path."""
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
        "loss?start=2026-11-20T00:00:00Z&end=2026-11-21T00:00:00Z",  # a fixed last day
    ]
    paths = [f"projects/p{version}/{path}" for path in of_project]
    paths += [f"traces/{trace_id}", f"traces/order%20{version}", "keys"]
    return {path: ask(service.app, f"/api/v1/{path}").text for path in paths}


def told_truth(service: Service, version: int, call: Span) -> object:
    """Record ground truth with a value; return the value that applies."""
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
    """Set an alias for a version of a model; return the alias and its version."""
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
    return SCHEMAS / f"schema_{version}.sql"


def statements_of(version: int) -> list[str]:
    """Return the statements that created the tables of a schema."""
    text = file_of(version).read_text()
    if version == OLDEST_SCHEMA:  # older programs kept replaced parts for longer
        text = text.replace("old_parts_lifetime = 8", "old_parts_lifetime = 480")
    return [statement for statement in text.split(";\n") if statement.strip()]


def read_tables(service: Service, version: int) -> dict[str, tuple[list[str], bytes]]:
    """Read from the current store the columns that the tables of a schema have."""
    client = service.store.connections.open()
    found: dict[str, tuple[list[str], bytes]] = {}
    for match in filter(None, map(_TABLE.search, statements_of(version))):
        table, columns = match[1], _COLUMN.findall(match[2])
        if "project" in columns:
            sql = Sql("SELECT {names} FROM {table} WHERE project = {project:String}").fill(
                names=join_sql(", ", [read_column(version, table, name) for name in columns]),
                table=identifier(table, TABLE_NAMES),
            )
            values = {"project": f"p{version}"}
            found[table] = columns, client.raw_query(sql, values, fmt="Native")
    return found


def read_column(version: int, table: str, name: str) -> Sql:
    """Write the SQL for a column with the value that a schema stored."""
    if version < ROWS_FOLDED and (table, name) == ("runs", "rank"):
        return Sql("{copy} AS rank").fill(copy=COPY)
    return Sql("`{name}`").fill(name=identifier(name, [name]))


def test_each_older_schema_is_kept() -> None:
    """The statements of every upgradable schema are kept, so that tests can make such stores."""
    assert {*SCHEMAS.glob("schema_*.sql")} == {*map(file_of, VERSIONS)}


def make_old(folder: Path, version: int, rows: Mapping[str, tuple[list[str], bytes]]) -> None:
    """Make a store with an older schema and fill it."""
    with open_raw(folder) as client:
        for statement in statements_of(version):
            client.command(statement)
        for table, (columns, block) in rows.items():
            client.raw_insert(table, columns, block, fmt="Native")
        client.insert("store_meta", [["schema", version]], column_names=["name", "value"])


@sampled(1)
@pytest.mark.parametrize("version", VERSIONS)
def test_older_store(tmp_path: Path, olds: Olds, version: int) -> None:
    """Once resolved, a store with an older schema answers like a new one with the same records."""
    old = olds[version]
    make_old(tmp_path, version, old.rows)
    with open_service(tmp_path) as service:
        finish(service.store, service.store.watch)
        assert answers(service, version, old.spans) == old.expected
        write(service, version, old.spans)  # it accepts all current records
        assert told_truth(service, version, old.spans[0]) == {"churned": [1, "no"]}
        assert name_version(service, version, old.spans[0]) == ("champion", "aa")
        rows = service.store.reader.rows(SCHEMA, {})
        kept_long = service.store.reader.rows(KEPT_LONG, {})
        finish(service.store, CallResolver(service.store.connections))
        assert count_rows(service.store).folded > 0
        assert find_differing(service.store) == []
        assert count_scored(service.store) > 0
        assert find_wrong_scores(service.store) == []
    assert rows == [{"version": SCHEMA_VERSION}]
    assert kept_long == []


def make_backup(folder: Path, version: int, backup: Path) -> None:
    """Back up an older store as the first programs with backups did."""
    tables: dict[str, dict[str, dict[str, int]]] = {}
    with open_raw(folder) as client:
        asked = (
            "SELECT name, data_paths[1] FROM system.tables"
            " WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
        )
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


@at_night
@pytest.mark.parametrize("delay_s", [0.05, 0.3])
def test_killed_migration(tmp_path: Path, olds: Olds, delay_s: float) -> None:
    """A migration that is killed in the middle is completed by the next start."""
    old = olds[OLDEST_SCHEMA]
    make_old(tmp_path, OLDEST_SCHEMA, old.rows)
    command = [sys.executable, "-c", OPENER, f"chdb://{tmp_path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        wait_until(elapsed(delay_s))  # the time of the kill varies
        process.kill()
    with open_service(tmp_path) as service:
        finish(service.store, service.store.watch)
        assert answers(service, OLDEST_SCHEMA, old.spans) == old.expected


@at_night
def test_numbers_of_an_older_store_stay(tmp_path: Path) -> None:
    """A store keeps its version numbers; more structures of an old version share one new number."""
    with open_store(tmp_path) as store:
        arrive(store, "p", ("a", "s"), ("a", "t"), ("a", "u"), ("b", "s"))
    with open_raw(tmp_path) as client:  # as an older program left it, before it knew this rule
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


@pytest.mark.parametrize("version", [1, OLDEST_SCHEMA - 1])
def test_too_old_store(tmp_path: Path, version: int) -> None:
    """A store that is too old is refused with the last commit that can upgrade it."""
    with open_raw(tmp_path) as client:
        client.command(META)
        client.insert("store_meta", [["schema", version]], column_names=["name", "value"])
        client.command("CREATE TABLE views (n UInt64) ENGINE = MergeTree ORDER BY n")
    with pytest.raises(
        BadSetting,
        match=rf"^The store has schema {version}, and this program reads {OLDEST_SCHEMA} or newer: "
        rf"open it once with otel-ml at commit {LAST_UPGRADER}, which upgrades it. "
        r"Nothing was changed$",
    ):
        connect(f"chdb://{tmp_path}")
    with open_raw(tmp_path) as client:
        assert client.query("SHOW TABLES").result_rows == [("store_meta",), ("views",)]


@sampled(1)
@pytest.mark.parametrize("version", [OLDEST_SCHEMA - 1, OLDEST_SCHEMA])
def test_backup_of_an_older_store(tmp_path: Path, olds: Olds, version: int) -> None:
    """A restored backup of an older store gives the same answers; a too old backup is refused."""
    old = olds[OLDEST_SCHEMA]
    make_old(tmp_path / "old", OLDEST_SCHEMA, old.rows)
    make_backup(tmp_path / "old", version, tmp_path / "backup")
    if version < OLDEST_SCHEMA:
        with pytest.raises(BadSetting, match=rf"^The backup has schema {version}, .*upgrades"):
            restore(tmp_path / "backup", tmp_path / "new")
        return
    restore(tmp_path / "backup", tmp_path / "new")
    with open_service(tmp_path / "new") as service:
        finish(service.store, service.store.watch)
        assert answers(service, OLDEST_SCHEMA, old.spans) == old.expected
