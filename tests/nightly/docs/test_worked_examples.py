"""Tests that CONTRIBUTING's worked examples are complete for a new field and a new record."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path
from typing import Final

import pytest

from tests.support.folders import ROOT
from tests.support.worked_examples import count_places, read_example

# The most files under ``store`` that an example may change.
TABLE_FILES: Final = 2
# The most files of an example, not counting the proto message.
KIND_FILES: Final = 6
# Makes a store with an older schema.
OLD: Final = """
import sys
from pathlib import Path
import clickhouse_connect

schema = Path("tests/support/otel_ml_collector/store/schemas/schema_29.sql")
with clickhouse_connect.get_client(interface="chdb", path=sys.argv[1] + "/store") as client:
    for statement in schema.read_text().split(";\\n"):
        if statement.strip():
            client.command(statement)
    client.insert("store_meta", [["schema", 29]], column_names=["name", "value"])
"""
# Makes a store with the current program, which does not have the field or record.
TODAY: Final = """
import sys
from otel_ml_collector.store.migrations import connect

connect("chdb://" + sys.argv[1] + "/store").close()
"""
# Runs in the changed copy with such a store: stores a span with the field and checks each output.
FIELD: Final = """
import json
import sys
from dataclasses import fields
from pathlib import Path
from otel_ml.reader import Run
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Scope
from otel_ml_collector.store.tables import OPEN_RUNS, RUNS
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import NOW_NS, id_of, make_call
from tests.support.otel_ml_collector.stores import open_service

def named(region):
    return make_call(scope=Scope({"cloud.region": region}, "tests", "1", {}))

call, other = named("eu-1"), named("us-2")
JSON = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
API = "/api/v1/projects/p"
FILTER = "where=region%20%3D%3D%20%22eu-1%22"
SINCE = {"since": "2026-11-01", "until": "2026-12-01"}
with open_service(Path(sys.argv[1])) as service:
    service.store.writer.write(map_spans([call, other], Filing("p", NOW_NS)))

    def get(path):
        return ask(service.app, path)

    def tool(name, **arguments):
        called = {"name": name, "arguments": {"project": "p", **SINCE, **arguments}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": called}
        raw = json.dumps(body).encode()
        return ask(service.app, "/mcp", method="POST", headers=JSON, body=[raw]).text

    listed = {run["run_id"]: run["region"] for run in get(f"{API}/runs").json["runs"]}
    one = get(f"{API}/runs/{id_of(call)}").json
    page = get(f"/projects/p/runs/{id_of(call)}").text
    exported = get(f"{API}/export?format=jsonl&columns=region&{FILTER}").text
    schema = get("/openapi.json").text
    jaeger = get(f"/api/traces/{call.trace_id.hex()}").text
    filtered = get(f"{API}/runs?{FILTER}").json["runs"]
    completed = get(f"{API}/completion?where=region%20%3D%3D%20&start=2026-11-01").text
    rows = get("/projects/p/runs?columns=region").text
    days = "start=2026-11-20T00:00:00Z&end=2026-11-21T00:00:00Z"
    groups = get(f"{API}/stats?group=region&{days}").json["groups"]
    told = tool("find_runs", columns=["run", "region"]), tool("statistics", group="region")
expected = {id_of(call): "eu-1", id_of(other): "us-2"}
faces = {
    "list": listed == expected,
    "run": one["region"] == "eu-1",
    "page": "<dt>Region</dt><dd>eu-1</dd>" in page,
    "export": exported == '{"region":"eu-1"}\\n',
    "OpenAPI": "Where it ran" in schema,
    "Jaeger": '"cloud.region"' in jaeger and "eu-1" in jaeger,
    "reader": "region" in {field.name for field in fields(Run)},
    "filter": [run["run_id"] for run in filtered] == [id_of(call)],
    "completion": "eu-1" in completed and "us-2" in completed,
    "column": "Region</th>" in rows and "us-2" in rows,
    "statistics": sorted(group["group"] for group in groups) == ["eu-1", "us-2"],
    "assistants": all("eu-1" in text and "us-2" in text for text in told),
}
assert all(faces.values()), [name for name, is_there in faces.items() if not is_there]
assert "region" in RUNS.names() and "region" in OPEN_RUNS.names()
"""
# The same for a record: it is sent twice, stored once, and deleted with its run.
KIND: Final = """
import sys
from pathlib import Path
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.retention import Days, Retention
from otel_ml_collector.store.tombstones import Tombstones
from otel_ml_collector.store.writer import Writer
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from tests.support.otel_ml_collector.spans import NOW_NS, id_of, make_call, make_record
from tests.support.otel_ml_collector.stores import open_store

call, other = make_call("answer"), make_call("other")
told = {"otel_ml.note": "odd"}
spans = [call, other, *(make_record("update", one, told) for one in (call, other))]
NOTES = "SELECT owner, text FROM notes FINAL WHERE project = {project:String} ORDER BY owner"
with open_store(Path(sys.argv[1]) / "store") as store:
    tombstones = Tombstones(store.connections)
    writer = Writer(store.connections, lambda: NOW_NS, tombstones)
    for _ in range(2):
        writer.write(map_spans(spans, Filing("p", NOW_NS)))
    found = store.reader.rows(NOTES, {"project": "p"})
    expected = [{"owner": owner, "text": "odd"} for owner in sorted([id_of(call), id_of(other)])]
    assert found == expected, found
    Deleter(store.connections, tombstones).delete("p", "run", id_of(call))
    writer.write(map_spans(spans, Filing("p", NOW_NS)))
    found = store.reader.rows(NOTES, {"project": "p"})
    assert found == [{"owner": id_of(other), "text": "odd"}], found
    retention = Retention(store.connections, Days(records=1))
    retention.confirm()
    swept = retention.sweep()
    assert swept.rows["notes"] > 0, swept
    assert store.reader.rows(NOTES, {"project": "p"}) == []
"""


def copy_product(folder: Path) -> None:
    """Copy the product's committed files and their compiled versions into a folder."""
    listed = subprocess.run(
        ["git", "ls-files", "otel_ml", "collector", "proto"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.split():
        compiled = cache_from_source(name) if name.endswith(".py") else ""
        for path in filter(None, (name, compiled)):
            if (ROOT / path).is_file():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / path, folder / path)  # with times: compiled files stay valid


def run_in(folder: Path, program: str, data: Path) -> None:
    """Run a program with the product of a tree."""
    path = os.pathsep.join(map(str, (folder, folder / "collector", ROOT)))
    run = subprocess.run(
        [sys.executable, "-c", program, str(data)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("store", [OLD, TODAY], ids=["old", "today"])
@pytest.mark.parametrize(
    ("title", "program"),
    [("A field of a run", FIELD), ("A kind of record", KIND)],
    ids=["field", "record"],
)
def test_worked_example(tmp_path: Path, title: str, program: str, store: str) -> None:
    """The edits of an example touch few files and are sufficient, in old and in current stores."""
    edits = read_example(title)
    assert count_places(edits)[0] <= KIND_FILES
    assert len({edit.path for edit in edits if "/store/" in edit.path}) <= TABLE_FILES
    copy_product(tmp_path)
    for edit in edits:
        edit.make(tmp_path)
    proto = (tmp_path / "proto/otel_ml_collector/v1/records.proto").read_text()
    for message in proto.split("\nmessage ")[1:]:
        numbers = re.findall(r"^  \w.* = (\d+);", message, re.MULTILINE)
        assert len(numbers) == len({*numbers}), "the example takes a number that is taken"
    data = tmp_path / "data"
    data.mkdir()
    run_in(ROOT, store, data)
    run_in(tmp_path, program, data)


def test_field_stands_in_few_files() -> None:
    """A field of a run is named in at most ten files, and never in a template of a page."""
    from tests.house import read_tree

    for field in ("cached_tokens", "reasoning_tokens"):
        assert len(read_tree().naming(field)) <= 10, field
    templates = [path for path in read_tree().naming("release") if path.endswith(".html")]
    assert templates == []  # pages show it by its label
