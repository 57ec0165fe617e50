"""Tables of predictions are imported as runs into a real collector."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from urllib.request import urlopen

import polars as pl
import pytest

from otel_ml import Client
from otel_ml.reader import Reader
from otel_ml.reader.records import Run
from otel_ml_collector.cli import main
from tests.support.collector import CollectorProcess, running
from tests.support.keys import run_keys
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

MIDNIGHT: Final = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
BEFORE: Final = MIDNIGHT - timedelta(days=3)
CHURN: Final[list[dict[str, Any]]] = [
    {
        "scored_at": BEFORE,
        "age": 41,
        "plan": "pro",
        "churned": False,
        "actually_churned": True,
        "region": "EU",
        "customer_id": 7,
        "release": "2026.1",
        "took": 12.5,
        "rating": 0.25,
    },
    {"scored_at": BEFORE + timedelta(hours=1), "age": None, "plan": "basic", "churned": True},
]
ROLES: Final[dict[str, Any]] = {
    "time": "scored_at",
    "inputs": ["age", "plan"],
    "outputs": "churned",
    "truth": "actually_churned",
    "tags": ["region"],
    "session": "customer_id",
    "version": "release",
    "latency_ms": "took",
    "scores": {"quality": "rating"},
}
COMMAND: Final = [
    "--model=churn",
    "--time=scored_at",
    "--inputs=age,plan",
    "--outputs=churned",
    "--truth=actually_churned",
]


@pytest.fixture
def client(collector: CollectorProcess, request: pytest.FixtureRequest) -> Iterator[Client]:
    """Yield a client of a project that is named after the test."""
    made = Client(f"table {request.node.name}", endpoint=collector.endpoint, join=False)
    yield made
    made.close()


def read_runs(collector: CollectorProcess, project: str) -> list[Run]:
    """Return the runs of a project, oldest first."""
    with Reader(project, endpoint=collector.endpoint) as reader:
        return sorted(reader.runs(), key=lambda run: (run.start_ns, run.run_id))


def read_rejected(folder: Path) -> list[dict[str, Any]]:
    """Return the rows that the import of t.csv in this folder rejected."""
    lines = (folder / "t.csv.rejected.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def read_page(address: str) -> str:
    """Return the text of a page; an error status is an error."""
    with urlopen(address, timeout=30) as answer:
        return str(answer.read().decode())


def test_each_row_is_a_run(client: Client, collector: CollectorProcess) -> None:
    """A run has the values of its row, and no others."""
    done = client.import_table(CHURN, model="churn", **ROLES)
    assert (done.rows, done.stored, done.truths, done.targets) == (2, 2, 1, ("churned",))
    first, second = read_runs(collector, client.project)
    assert (first.model, first.kind, first.outcome, first.version) == ("churn", "model", "ok", 1)
    assert first.start_ns == int(BEFORE.timestamp()) * 10**9
    assert (first.inputs, first.outputs) == ({"age": 41, "plan": "pro"}, {"churned": False})
    assert (first.tags, first.session, first.latency_ms) == ({"region": "EU"}, "7", 12.5)
    assert (first.scores, first.truth) == ({"quality": 0.25}, {"churned": True})
    assert (second.inputs, second.outputs) == ({"plan": "basic"}, {"churned": True})
    assert (second.tags, second.session, second.version) == ({}, "", None)
    assert (second.scores, second.truth, second.latency_ms) == ({}, {}, None)


def test_latency_is_not_zero(client: Client, collector: CollectorProcess) -> None:
    """Runs without a latency are not part of latency statistics, and pages show none."""
    client.import_table([{**CHURN[0], "took": None}] * 3, model="churn", **ROLES)
    project = f"/projects/{quote(client.project)}"
    total = collector.get(f"{project}/stats", start=BEFORE.isoformat())["total"]
    assert (total["runs"], total["p50_ms"], total["p99_ms"]) == (3, None, None)
    assert collector.get(f"{project}/runs", where="latency_ms < 5")["runs"] == []
    [run_id] = [run["run_id"] for run in collector.get(f"{project}/runs", limit=1)["runs"]]
    page = collector.get_text(f"{project}/runs/{run_id}")
    assert "<dt>Started</dt>" in page
    assert "<dt>Latency</dt>" not in page


def test_row_without_inputs(client: Client, collector: CollectorProcess) -> None:
    """If a model's only input is missing in a row, it counts as missing."""
    rows = [{"at": BEFORE, "age": 41 if row % 4 else None, "churned": True} for row in range(8)]
    client.import_table(rows, model="churn", time="at", inputs=["age"], outputs="churned")
    fields = collector.get(f"/projects/{quote(client.project)}/fields", model="churn", last="7d")
    [age] = [field for field in fields["fields"] if field["field"] == "inputs.age"]
    assert (age["n"], age["missing"]) == (6, 0.25)


def test_quality_at_once(client: Client, collector: CollectorProcess) -> None:
    """The prediction target of the ground truth is saved with its kind and positive class."""
    client.import_table(CHURN, model="churn", **ROLES)
    with Reader(client.project, endpoint=collector.endpoint) as reader:
        [target] = reader.targets()["targets"]
        quality = reader.target("churned").quality(last="60d")
    assert (target["model"], target["prediction"]) == ("churn", "outputs.churned")
    assert (target["kind"], target["positive"]) == ("class", "true")
    assert (quality["runs"], quality["here"]) == (2, 1)


@at_night
def test_two_models_with_outputs_of_one_name(client: Client, collector: CollectorProcess) -> None:
    """Each model gets a prediction target if several have an output of the same name."""
    done = [client.import_table(CHURN, model=name, **ROLES) for name in ("churn", "eu", "eu")]
    assert [item.targets for item in done] == [("churned",), ("eu churned",), ("eu churned",)]
    assert not any(item.notes for item in done)
    with Reader(client.project, endpoint=collector.endpoint) as reader:
        targets = {item["name"]: item["model"] for item in reader.targets()["targets"]}
        quality = reader.target("eu churned").quality(last="60d")
    assert targets == {"churned": "churn", "eu churned": "eu"}
    assert quality["here"] == 1


def test_a_table_that_is_imported_twice(client: Client, collector: CollectorProcess) -> None:
    """Importing a table again stores each row once, and equal rows are separate runs."""
    rows = [CHURN[0], CHURN[1], CHURN[0]]
    for table in (rows, pl.DataFrame(rows), rows):
        client.import_table(table, model="churn", **ROLES)
    runs = read_runs(collector, client.project)
    assert len({run.run_id for run in runs}) == len(runs) == 3


def test_ground_truth_that_comes_later(client: Client, collector: CollectorProcess) -> None:
    """A second import with ground truth adds it to the runs of the first."""
    bare = [{**row, "actually_churned": None} for row in CHURN]
    client.import_table(bare, model="churn", **ROLES)
    assert [run.truth for run in read_runs(collector, client.project)] == [{}, {}]
    client.import_table(CHURN, model="churn", **ROLES)
    assert [run.truth for run in read_runs(collector, client.project)] == [{"churned": True}, {}]


def test_ids(client: Client, collector: CollectorProcess) -> None:
    """A row with a known ID is the same run, even if its content changed."""
    rows = [{"id": 1, **CHURN[0]}, {"id": 1, **CHURN[1]}, {"id": None, **CHURN[0]}]
    done = client.import_table(rows, model="churn", id="id", **ROLES)
    assert done.rejected == {"the ID is already in an earlier row of the table": 1, "no ID": 1}
    client.import_table([{**rows[0], "plan": "max"}], model="churn", id="id", **ROLES)
    assert len(read_runs(collector, client.project)) == 1


@at_night
def test_rejected_rows(
    collector: CollectorProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A row that cannot be imported is written to a file with the reason; others are stored."""
    monkeypatch.chdir(tmp_path)
    lines = [
        "scored_at,age,plan,churned,actually_churned,took",
        "2026-01-02T03:04:05Z,41,pro,false,true,5",
        ",41,pro,false,true,5",
        "soon,41,pro,false,true,5",
        "1969-01-01,41,pro,false,true,5",
        "2999-01-01,41,pro,false,true,5",
        "2026-01-02,41,pro,,true,5",
        "2026-01-02,41,pro,false,true,-1",
        '2026-01-02,41,pro,false,"{""a"": 1}",5',
        "2026-01-02,41",
    ]
    Path("t.csv").write_text("\n".join(lines))
    command = ["import", "t.csv", "--endpoint", collector.endpoint, "--project", "table rejects"]
    assert main([*command, *COMMAND, "--latency-ms=took"]) == 1
    assert "Imported 1 of 9 rows" in capsys.readouterr().out
    rejected = read_rejected(tmp_path)
    assert [(item["row"], item["reason"]) for item in rejected] == [
        (2, "no time"),
        (3, "invalid time"),
        (4, "time before 1970"),
        (5, "time in the future"),
        (6, "no prediction"),
        (7, "invalid latency"),
        (8, "invalid ground truth"),
        (9, "expected 6 cells"),
    ]
    assert rejected[1]["values"]["scored_at"] == "soon"
    assert rejected[-1]["values"] == {"text": "2026-01-02,41"}
    assert len(read_runs(collector, "table rejects")) == 1


def test_a_column_that_does_not_exist(
    collector: CollectorProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error for an unknown column lists the columns of the table."""
    path = tmp_path / "t.jsonl"
    path.write_text('{"scored_at": "2026-01-02", "age": 3, "churned": 1}\n')
    command = ["import", str(path), "--endpoint", collector.endpoint, "--project", "table columns"]
    assert main([*command, "--model=churn", "--time=scored", "--outputs=churned"]) == 2
    assert capsys.readouterr().err == (
        "otel-ml: Unknown column 'scored': did you mean 'scored_at'? The table has scored_at, "
        "age, churned\n"
    )


@at_night
def test_resumed_after_a_kill(collector: CollectorProcess, tmp_path: Path) -> None:
    """A killed import continues where it stopped, and stores each row once."""
    rows = 8_000
    start = int(BEFORE.timestamp())
    with (tmp_path / "t.csv").open("w") as file:
        file.write("scored_at,age,plan,churned,actually_churned\n")
        file.writelines(
            f"{start + row // 3},{row % 50},pro,{row % 2},1\n" if row % 1_000 else "never,1,a,1,1\n"
            for row in range(rows)
        )
    project, endpoint = "table resumed", collector.endpoint
    command = ["import", "t.csv", *COMMAND, "--project", project, "--endpoint", endpoint]
    program = [sys.executable, "-m", "otel_ml_collector", *command]
    progress = tmp_path / "t.csv.import-progress"
    with subprocess.Popen(program, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        wait_until(progress.exists)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    stored = json.loads(progress.read_bytes())["rows"]
    assert 0 < stored < rows
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"Imported {rows - 8:,} of {rows:,} rows" in done.stdout
    assert f"{stored:,} of them were stored before the import was interrupted" in done.stdout
    assert not progress.exists()
    rejected = read_rejected(tmp_path)
    assert [item["row"] for item in rejected] == [1 + row for row in range(0, rows, 1_000)]
    total = collector.get(
        f"/projects/{project}/stats".replace(" ", "%20"), start=BEFORE.isoformat()
    )
    assert total["total"]["runs"] == rows - 8


@at_night
def test_a_key_without_the_scope_import(tmp_path: Path) -> None:
    """With a key without the scope import, old rows are rejected and the others are stored."""
    made = run_keys(
        *("add", "--data-dir", str(tmp_path / "data"), "--project", "p"),
        *("--scope", "ingest,read,annotate"),
    )
    old, new = datetime(2020, 1, 1, tzinfo=timezone.utc), BEFORE
    times = [new, new, old, new, old, new, new]
    rows = [{"at": at, "x": place, "y": 1} for place, at in enumerate(times)]
    rejected = tmp_path / "rejected.jsonl"
    with running(tmp_path / "data") as closed:
        client = Client("p", made.stdout.strip(), closed.endpoint, join=False)
        done = client.import_table(rows, model="m", time="at", outputs="y", rejected=rejected)
    assert sum(done.rejected.values()) == 2
    assert "outside_time_window" in next(iter(done.rejected))
    lines = [json.loads(line) for line in rejected.read_text().splitlines()]
    assert [(line["row"], line["values"]["x"]) for line in lines] == [(3, 2), (5, 4)]


@at_night
def test_a_call_of_the_past(client: Client, collector: CollectorProcess) -> None:
    """A call from more than 400 days ago is stored with its times and later ground truth."""
    start = datetime(2020, 2, 29, 12, tzinfo=timezone.utc)
    end = start + timedelta(milliseconds=1_500)
    run_id = client.record_call("answer", {"x": 1}, {"label": "a"}, start=start, end=end)
    client.about(run_id=run_id).actual("b", "label")
    with client.run("train", start=start, end=end) as run:
        run.log_metrics({"loss": 0.5}, step=1, time=start)
        run.log_metrics({"loss": 0.25}, step=2)
    assert client.flush()
    call, training = sorted(read_runs(collector, client.project), key=lambda run: run.kind)
    start_ns = int(start.timestamp()) * 10**9
    assert (call.run_id, call.start_ns, call.latency_ms) == (run_id, start_ns, 1_500)
    assert (call.inputs, call.outputs, call.truth) == ({"x": 1}, {"label": "a"}, {"label": "b"})
    assert (training.kind, training.start_ns) == ("training", start_ns)
    with Reader(client.project, endpoint=collector.endpoint) as reader:
        found = reader.run(training.run_id).metrics
    assert found == {"loss": [0.5, 0.25]}


def test_page_shows_what_was_imported(client: Client, collector: CollectorProcess) -> None:
    """`page` leads to the model's page, and for a reference to the fields."""
    base = f"{collector.endpoint}/projects/{quote(client.project)}"
    done = client.import_table(CHURN, model="churn now", **ROLES)
    assert done.page == f"{base}/models/churn%20now"
    assert "churn now" in read_page(done.page)
    done = client.import_table(CHURN, model="churn later", outputs="churned", as_reference=True)
    assert done.page == f"{base}/fields"
    assert "reference of churn later" in read_page(done.page)


@at_night
def test_a_reference(client: Client, collector: CollectorProcess) -> None:
    """Drift is measured against a table imported as the reference, which is not traffic."""
    day = MIDNIGHT - timedelta(days=1)
    values = [place % 100 for place in range(1_000)]
    training = pl.DataFrame({"x": values, "y": [0, 1] * 500, "__index_level_0__": range(1_000)})
    moved = [
        {"at": day + timedelta(minutes=place), "x": 200 + place % 100, "y": place % 2}
        for place in range(400)
    ]
    done = client.import_table(training, model="m", outputs="y", as_reference=True)
    assert (done.stored, done.reference) == (1_000, "reference of m")
    client.import_table(moved, model="m", time="at", inputs=["x"], outputs="y")
    with Reader(client.project, endpoint=collector.endpoint) as reader:
        answer = reader.fields("m")
        findings = str(reader.findings())
        before = reader.fields("m", than="28d")
    words = {field["field"]: field["word"] for field in answer["fields"]}
    assert (answer["reference"], answer["reference_runs"]) == ("the reference of m", 1_000)
    assert words == {"inputs.x": "drift", "outputs.y": "as before"}
    assert "the reference of m" in findings, findings
    assert before["reference"] == "the 28 days before"
    assert len(read_runs(collector, client.project)) == 400
