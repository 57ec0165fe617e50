"""Exports of Langfuse are imported into a real collector."""

import csv
import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml.attributes import PROJECT_HEADER
from otel_ml.reader import Reader
from otel_ml_collector.cli import main
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.langfuse_export import Form, Row, export_recording
from tests.support.sampling import sampled

RECORDINGS: Final = ROOT / "tests/support/recorded/recordings"
WHOLE: Final = 'kind == "span" or kind != "span"'
COSTS: Final = {"gpt-4o-mini-2024-07-18": 0.0125}
SAME: Final = (
    *("run_id", "parent_run_id", "name", "kind", "model", "provider_model", "outcome"),
    *("error_message", "session", "user", "release", "tags", "inputs", "outputs", "params"),
    *("tokens", "cost", "dialect"),
)
FILES: Final = ("traces", "observations", "scores")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def import_files(collector: CollectorProcess, project: str, *files: str) -> int:
    """Import files as a user does."""
    at = ("--endpoint", collector.endpoint, "--project", project)
    return main(["import", "langfuse", *at, *files])


def read_recording(name: str) -> dict[str, Any]:
    """Return the recorded requests of Langfuse's SDK."""
    recording: dict[str, Any] = json.loads((RECORDINGS / f"{name}.json").read_text())
    return recording


def write_export(rows: Mapping[str, Iterable[Row]], form: Form) -> list[str]:
    """Write the files of an export in the format of `form`; return their names."""
    for name in FILES:
        several = [*rows[name]]
        if form == "api":
            Path(name).write_text(json.dumps({"data": several, "meta": {"page": 1}}))
        elif form == "pages":
            Path(name).write_text(json.dumps(several))
        else:
            lines = "".join(f"{json.dumps(row)}\n" for row in several)
            Path(name).write_bytes(gzip.compress(lines.encode()))
    return [*FILES]


def read_runs(collector: CollectorProcess, project: str) -> list[dict[str, Any]]:
    """Return the details of all runs of a project, ordered by id."""
    found = sorted(run["run_id"] for run in collector.runs(project, where=WHOLE))
    return [collector.get(f"/projects/{project}/runs/{run_id}") for run_id in found]


def describe(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are equal in live and imported runs. Langfuse rounds times to 1 ms."""
    return {
        **{key: run[key] for key in SAME},
        "start_ms": run["start_ns"] // 10**6,
        "latency_ms": round((run["latency_ms"] or 0) / 10),
    }


@sampled(1)
@pytest.mark.parametrize("form", ["api", "blob", "pages"])
def test_same_runs_as_live(
    collector: CollectorProcess, capsys: pytest.CaptureFixture[str], form: Form
) -> None:
    """An export gives the same runs as the SDK's spans, and importing it twice adds nothing."""
    recording = read_recording("langfuse")
    live, project = f"langfuse-live-{form}", f"langfuse-{form}"
    headers = {"content-type": "application/json", PROJECT_HEADER: live}
    body = json.dumps(recording["request"]).encode()
    assert collector.post("/v1/traces", body, headers)[0] == 200
    files = write_export(export_recording(recording, form, COSTS), form)
    for _ in range(2):
        assert import_files(collector, project, *files) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("Imported 7 spans and 0 scores in ")
        assert "\nNot in the export: scores, data sets, texts of prompts\n" in shown
    imported = [*map(describe, read_runs(collector, project))]
    expected = [*map(describe, read_runs(collector, live))]
    for run in expected:
        run["cost"] = COSTS.get(run["provider_model"], run["cost"])  # as computed by Langfuse
        if run["release"]:
            run["tags"]["version"] = run["release"]
    assert imported == expected
    assert len(imported) == 7


def write_csv(name: str, rows: Iterable[Row]) -> str:
    """Write rows as Langfuse's pages export CSV: all cells quoted, and null as an empty cell."""
    several = [*rows]
    with Path(name).open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(several[0])
        for row in several:
            writer.writerow(
                "" if cell is None else cell if isinstance(cell, str) else json.dumps(cell)
                for cell in row.values()
            )
    return name


def test_scores(collector: CollectorProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """Scores belong to their run, to the first run of their trace, or to their session."""
    recording = read_recording("langfuse_people")
    rows = export_recording(recording, "pages")
    files = [write_csv(f"{name}.csv", rows[name]) for name in FILES]
    Path("listed.json").write_text(json.dumps({"data": recording["listed"]}))  # format of version 3
    for last in (files[2], "listed.json"):
        assert import_files(collector, "langfuse-scores", *files[:2], last) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("Imported 1 span and 8 scores in ")
        assert "\nNot in the export: data sets, texts of prompts\n" in shown
    [run] = read_runs(collector, "langfuse-scores")
    keys = ("judge", "source", "annotator", "label", "score", "passed", "explanation")
    people = [score for score in run["evaluations"] if score["source"] == "human"]
    assert sorted(tuple(score[key] for key in keys) for score in people) == [
        ("brief", "human", "cyd", "", None, True, ""),
        ("grounded", "human", "cyd", "", None, False, "it made that up"),
        ("sources", "human", "cyd", "", None, None, "it names none"),
        ("stars", "human", "cyd", "", 4.0, None, ""),
        ("tone", "human", "cyd", "friendly", None, None, ""),
    ]
    assert run["truth"] == {"output": "It is 42."}
    session = collector.get("/projects/langfuse-scores/sessions/chat%207")
    assert sorted((s["judge"], s["label"], s["passed"]) for s in session["evaluations"]) == [
        ("helpful", "", True),
        ("mood", "calm", None),
    ]


def test_score_columns(collector: CollectorProcess) -> None:
    """Without a file of scores, those in columns of traces and observations are imported."""
    rows = export_recording(read_recording("langfuse_people"), "pages")
    files = write_export({**rows, "scores": []}, "pages")
    assert import_files(collector, "langfuse-columns", *files) == 0
    [run] = read_runs(collector, "langfuse-columns")
    assert run["scores"] == {"brief": 1.0, "grounded": 0.0, "stars": 4.0}


def test_prompts_data_sets(collector: CollectorProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """Names of prompts become tags; active items of data sets become a data set."""
    observation = {
        "id": "observation",
        "traceId": "trace",
        "type": "GENERATION",
        "name": "answer",
        "startTime": "2024-05-01T10:00:00.000Z",
        "promptName": "greet",
        "promptVersion": 3,
    }
    item = {
        "id": "sum",
        "status": "ACTIVE",
        "datasetName": "qa",
        "datasetId": "d-1",
        "input": {"question": "1+1"},
        "expectedOutput": "2",
        "metadata": {"topic": "sums"},
        "sourceTraceId": "trace",
        "sourceObservationId": "observation",
    }
    lines = [
        observation,
        item,
        {**item, "id": "gone", "status": "ARCHIVED"},
        {"id": "d-1", "name": "qa", "description": "Sums", "createdAt": "2024-05-01T10:00:00Z"},
        {"id": "run", "datasetItemId": "sum", "traceId": "trace"},
    ]
    Path("all.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    for _ in range(2):
        assert import_files(collector, "langfuse-prompts", "all.jsonl") == 0
        shown = capsys.readouterr().out
        assert shown.startswith("Imported 1 span, 0 scores and 1 data set in ")
        assert "\nNot imported: 1 archived data set item\n" in shown
        assert "\nNot imported: 1 data set run\n" in shown
    [run] = read_runs(collector, "langfuse-prompts")
    assert run["tags"] == {"prompt": "greet", "prompt_version": 3}
    assert run["trace_key"] == "trace"
    with Reader("langfuse-prompts", endpoint=collector.endpoint) as reader:
        [version] = reader.datasets()
        [kept] = reader.dataset_items("qa", version.version)
    assert version.description == "Sums"
    assert (kept.id, kept.inputs, kept.expected) == ("sum", {"question": "1+1"}, "2")
    assert (kept.tags, kept.source_run) == ({"topic": "sums"}, run["run_id"])


def test_bad_records(collector: CollectorProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """Records that cannot be imported are written to a file with the reason."""
    trace = {"id": "t", "timestamp": "2024-05-01T10:00:00Z", "name": "ask", "input": "hi"}
    score = {"id": "s", "name": "tone", "source": "API", "dataType": "NUMERIC", "value": 1}
    lines = [trace, {**trace, "timestamp": "yesterday"}, score, {"unknown": 1}]
    Path("bad.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + "{")
    assert import_files(collector, "langfuse-bad", "bad.jsonl") == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("Imported 1 span and 0 scores in ")
    rejected = map(json.loads, Path("bad.jsonl.rejected.jsonl").read_text().splitlines())
    assert [(each["row"], each["reason"]) for each in rejected] == [
        (2, "records: invalid timestamp 'yesterday'"),
        (4, "records: not a record of Langfuse"),
        (5, "records: not JSON"),
        (3, "scores: no traceId and no sessionId"),
    ]
    [run] = read_runs(collector, "langfuse-bad")
    assert (run["name"], run["inputs"]) == ("ask", "hi")
