"""Exports of Phoenix are imported into a real collector."""

import json
import shutil
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from otel_ml.experiments.dataset import Dataset
from otel_ml.reader import Reader
from otel_ml_collector.cli import main
from tests.support.collector import CollectorProcess, running
from tests.support.folders import ROOT
from tests.support.keys import WRONG, run_keys
from tests.support.sampling import at_night, sampled
from tests.support.waiting import wait_until

# Written by Phoenix 20.26.1 as in tests/nightly/interop/test_phoenix.py: three traces of January
# 2024, seven annotations of spans, one of them a note, and a data set.
EXPORTED: Final = ROOT / "tests/support/phoenix_files"
REQUESTS: Final = 'kind in ("chain", "model", "retriever")'
CALLS: Final = 'kind == "model"'
# a table in Parquet and its annotations; the two forms of the REST API
FORMS: Final = [
    ("spans.parquet", "annotations.jsonl", "orders.json"),
    ("rest_spans.json", "rest_annotations.json", "orders.jsonl"),
    ("rest_otlp.json", "annotations.jsonl", "orders.csv"),
]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(EXPORTED, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


def import_exports(collector: CollectorProcess, project: str, *files: str) -> int:
    """Import files as a user does."""
    endpoint = f"--endpoint={collector.endpoint}"
    return main(["import", "phoenix", endpoint, "--project", project, *files])


@sampled(1)
@pytest.mark.parametrize("files", FORMS, ids=[files[0] for files in FORMS])
def test_each_record_once(
    files: tuple[str, ...], collector: CollectorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """Traces keep times, tokens, costs, sessions, users, scores and tags, in every format."""
    project = f"phoenix {files[0]}"
    for _ in range(2):
        assert import_exports(collector, project, *files) == 0
        printed = capsys.readouterr().out.splitlines()
        assert printed[0].startswith("Imported 9 spans, 7 scores and 1 data set in ")
        assert printed[1] == "Not in the export: links and resources of spans"
    with Reader(project, endpoint=collector.endpoint) as reader:
        runs = sorted(reader.runs(where=REQUESTS), key=lambda run: run.start_ns)
        items = list(Dataset.load("orders", reader=reader))
        call = reader.run(runs[2].run_id)
    assert [run.name for run in runs] == ["answer", "retrieve", "ChatCompletion"] * 3
    assert [run.session for run in runs] == ["s-0"] * 6 + ["s-1"] * 3
    assert [run.user for run in runs] == ["u-0"] * 3 + ["u-1"] * 3 + ["u-2"] * 3
    assert [run.tokens.input for run in runs[2::3]] == [100, 101, 102]
    assert [run.tokens.output for run in runs[2::3]] == [20, 21, 22]
    assert [run.cost for run in runs[2::3]] == [0.25, 0.5, 0.75]
    assert call.start_ns == 1_705_312_800_100_123_000
    assert (call.latency_ms, call.kind, call.model) == (700.333, "model", "gpt-4o-mini")
    assert call.inputs == [{"role": "user", "content": "Where is order 0?"}]
    arguments = {"name": "track", "arguments": '{"order": 1}'}
    assert call.outputs[0]["tool_calls"] == [{"function": arguments}]
    tags = {"order": 0, "prompt_version": "v2", "region": "EU", "web": True}
    assert (call.tags, runs[0].tags) == (tags, {**tags, "prompt": "answer-orders"})
    assert (runs[8].outcome, runs[8].error_message) == ("error", "no such order")
    assert runs[1].outputs[0]["metadata"] == '{"page":3}'
    assert [(item.inputs, item.expected, dict(item.tags)) for item in items] == [
        ({"q": "Where?"}, {"a": "Here"}, {"lang": "en"}),
        ({"q": "When?"}, {"a": "Now"}, {}),
    ]
    expected: list[tuple[Any, ...]] = [
        ("correct", "judge", "", 0.0, "no", "because"),
        ("helpful", "human", "ada", 1.0, "thumbs-up", ""),
        ("helpful", "human", "bob", 0.0, "thumbs-down", ""),
    ]
    wait_for_scores(collector, project, call.run_id, expected)
    expected = [
        ("length", "judge", "", 15.0, "", ""),
        ("note", "human", "", None, "", "look at this"),
    ]
    wait_for_scores(collector, project, runs[3].run_id, expected)


def wait_for_scores(
    collector: CollectorProcess, project: str, run_id: str, expected: list[tuple[Any, ...]]
) -> None:
    """Wait until a run has these scores, because scores in another request are added later."""
    path = f"/projects/{quote(project)}/runs/{run_id}"
    keys = ("judge", "source", "annotator", "score", "label", "explanation")
    found: list[tuple[Any, ...]] = []

    def is_scored() -> bool:
        scores = collector.get(path)["evaluations"]
        found[:] = sorted((tuple(each[key] for key in keys) for each in scores), key=str)
        return found == sorted(expected, key=str)

    wait_until(is_scored, about=lambda: f"{found} to be {expected}")


def test_a_changed_annotation(collector: CollectorProcess) -> None:
    """A later export with a changed annotation replaces the score."""
    project = "phoenix changed"
    files = ("rest_spans.json", "rest_annotations.json")
    assert import_exports(collector, project, *files) == 0
    page = json.loads(Path("rest_annotations.json").read_text())
    [ada] = [each for each in page["data"] if each["identifier"] == "ada"]
    ada |= {"result": {"score": 0.5, "label": "meh"}, "updated_at": "2026-11-27T05:00:00Z"}
    Path("rest_annotations.json").write_text(json.dumps(page))
    assert import_exports(collector, project, *files) == 0
    [trace_id] = [
        span["context"]["trace_id"]
        for span in json.loads(Path("rest_spans.json").read_text())["data"]
        if span["context"]["span_id"] == ada["span_id"]
    ]
    expected: list[tuple[Any, ...]] = [
        ("correct", "judge", "", 0.0, "no", "because"),
        ("helpful", "human", "ada", 0.5, "meh", ""),
        ("helpful", "human", "bob", 0.0, "thumbs-down", ""),
    ]
    wait_for_scores(collector, project, f"{trace_id}-{ada['span_id']}", expected)


def test_json_lines_of_a_table(
    collector: CollectorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table as JSON Lines has the same spans; the report names what pandas left out."""
    assert import_exports(collector, "phoenix lines", "spans.jsonl") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Imported 9 spans and 0 scores in ")
    assert (
        "Not in the export: annotations, data sets, links and resources of spans, "
        "times finer than a millisecond\n"
    ) in printed
    with Reader("phoenix lines", endpoint=collector.endpoint) as reader:
        [first, *_] = sorted(reader.runs(where=CALLS), key=lambda run: run.start_ns)
    assert (first.tokens.input, first.tokens.cached) == (100, 10)


def test_bad_rows(collector: CollectorProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """A row that Phoenix would not write is rejected with the reason; others are stored."""
    good = json.loads(Path("rest_spans.json").read_text())["data"]
    context = good[0]["context"]
    rows = [
        good[0],
        {**good[0], "context": {**context, "span_id": "7"}},
        {**good[0], "start_time": "soon"},
        {**good[0], "attributes": {"events": 1}, "events": 7},
        {**good[0], "context": {**context, "trace_id": "0" * 32}},
        [1],
    ]
    deep = json.dumps({**good[0], "start_time": "@"}).replace('"@"', "[" * 600 + "]" * 600)
    Path("bad.jsonl").write_text("\n".join([*map(json.dumps, rows), "{", deep]))
    about = {"annotator_kind": "LLM", "name": "n", "updated_at": "2024-01-15T10:00:00Z"}
    wrong = [
        {**about, "span_id": context["span_id"], "result": {"score": 1}},
        {**about, "span_id": "f" * 16, "result": {"score": 1}},
        {**about, "result": {"score": 1}},
        {**about, "span_id": context["span_id"], "document_position": 0, "result": {"score": 1}},
        {**about, "trace_id": context["trace_id"], "result": {"label": "fine"}},
        {**about, "session_id": "s-1", "result": {"score": 0.5}},
    ]
    Path("scores.json").write_text(json.dumps({"data": wrong}, indent=1))
    assert import_exports(collector, "phoenix bad", "bad.jsonl", "scores.json") == 1
    printed = capsys.readouterr().out
    assert printed.startswith("Imported 1 span and 3 scores in ")
    assert "Not imported: 1 document annotation\n" in printed
    lines = Path("bad.jsonl.rejected.jsonl").read_text().splitlines()
    assert [(item["row"], item["reason"]) for item in map(json.loads, lines)] == [
        (2, "rows: invalid span ID"),
        (3, "rows: span without start time"),
        (4, "rows: not in the format of Phoenix"),
        (5, "rows: invalid trace ID"),
        (6, "rows: not a JSON object"),
        (7, "rows: not JSON"),
        (8, "rows: span without start time"),
        (2, "rows: its span is not in the files"),
        (3, "rows: annotation without span_id"),
    ]
    assert json.loads(lines[6])["values"]["row"] == "(nested too deeply to be written)"
    run_id = f"{context['trace_id']}-{context['span_id']}"
    wait_for_scores(
        collector,
        "phoenix bad",
        run_id,
        [("n", "judge", "", None, "fine", ""), ("n", "judge", "", 1.0, "", "")],
    )


@at_night
def test_scopes_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key with the scopes ingest and import is sufficient, also for data sets."""
    data = str(tmp_path / "data")
    made = run_keys("add", "--data-dir", data, "--project", "p", "--scope", "ingest,import")
    monkeypatch.setenv("OTEL_ML_API_KEY", made.stdout.strip())
    with running(tmp_path / "data") as closed:
        assert import_exports(closed, "p", *FORMS[0]) == 0
        assert "Imported 9 spans, 7 scores and 1 data set in " in capsys.readouterr().out
        monkeypatch.setenv("OTEL_ML_API_KEY", WRONG)
        assert import_exports(closed, "p", "orders.csv") == 3
        assert "Data set orders is not stored" in capsys.readouterr().err


def test_spans_as_csv(collector: CollectorProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """Spans that pandas wrote as CSV are refused, because their messages would be lost."""
    Path("spans.csv").write_text("context.span_id,name,context.span_id\n1,answer,1\n")
    assert import_exports(collector, "phoenix csv", "spans.csv") == 2
    assert "expected Parquet or JSON Lines" in capsys.readouterr().err


@pytest.mark.parametrize("content", ['{"a": 1}', "[1, 2]", "text"])
def test_other_files(
    content: str, collector: CollectorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is not an export of Phoenix is refused before anything is stored."""
    Path("other.json").write_text(content)
    assert import_exports(collector, "phoenix other", "spans.jsonl", "other.json") == 2
    assert "other.json is not an export of Phoenix: expected spans" in capsys.readouterr().err
