"""Files written by the standard OpenTelemetry Collector are imported into a real collector."""

import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from otel_ml.reader import Reader
from otel_ml_collector.cli import main
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

# Written by otelcol 0.161.0: three traces of January 2024, log records and metrics.
WRITTEN: Final = ROOT / "tests/support/otlp_files/telemetry.jsonl"
EVERY: Final = 'kind == "span" or kind == "model"'


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def import_files(collector: CollectorProcess, *arguments: str) -> int:
    """Import files as a user does."""
    return main(["import", "otlp-json", "--endpoint", collector.endpoint, *arguments])


def read_spans(collector: CollectorProcess, project: str) -> list[Any]:
    """Return the runs and spans of a project, oldest first."""
    with Reader(project, endpoint=collector.endpoint) as reader:
        return sorted(reader.runs(where=EVERY), key=lambda run: run.start_ns)


def test_each_span_once(collector: CollectorProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """Spans keep IDs, times, tokens and sessions; importing a file twice adds nothing."""
    Path("rotated.jsonl.gz").write_bytes(gzip.compress(WRITTEN.read_bytes()))
    for file in (str(WRITTEN), "rotated.jsonl.gz"):
        assert import_files(collector, file) == 0
        told = capsys.readouterr().out
        assert told.startswith("Imported 6 spans and 3 log records in ")
        assert told.endswith("\nNot imported: 2 metrics\n")
    spans = read_spans(collector, "assistant")
    written = json.loads(WRITTEN.read_text().splitlines()[0])["resourceSpans"][0]["scopeSpans"][0]
    assert sorted((span.run_id, span.start_ns) for span in spans) == sorted(
        (f"{span['traceId']}-{span['spanId']}", int(span["startTimeUnixNano"]))
        for span in written["spans"]
    )
    chat = spans[1]
    assert (chat.name, chat.model, chat.latency_ms) == ("chat gpt-4o-mini", "gpt-4o-mini", 690)
    assert (chat.tokens.input, chat.tokens.output) == (12, 5)
    detail = collector.get(f"/projects/assistant/runs/{spans[0].run_id}")
    assert [line["message"] for line in detail["logs"]] == ["answered"]
    assert detail["resource"]["otel_ml.import"] == "otlp-json"


def test_project(collector: CollectorProcess) -> None:
    """All records are stored in the project of --project, even if a span names another one."""
    request = json.loads(WRITTEN.read_text().splitlines()[0])
    span = request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    span["attributes"].append({"key": "otel_ml.project", "value": {"stringValue": "assistant"}})
    Path("named.jsonl").write_text(json.dumps(request))
    assert import_files(collector, "named.jsonl", "--project", "otlp elsewhere") == 0
    assert len(read_spans(collector, "otlp elsewhere")) == 6


def test_bad_lines(collector: CollectorProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad lines, and single bad spans, are written to a file; everything else is stored."""
    request = json.loads(WRITTEN.read_text().splitlines()[0])
    spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans[0]["traceId"] = "soon"
    spans[1]["startTimeUnixNano"] = "1"
    spans[1]["spanId"] = "0" * 16
    text = json.dumps(request)
    deep = '{"arrayValue": {"values": [' * 300 + "]}}" * 300
    deep = text.replace('{"stringValue": "openai"}', deep, 1)
    lines = ["{", '{"spans": []}', '{"resourceSpans": [1]}', "", text, deep]
    Path("bad.jsonl").write_text("\n".join(lines))
    assert import_files(collector, "bad.jsonl", "--project", "otlp bad") == 1
    assert capsys.readouterr().out.startswith("Imported 4 spans and 0 log records")
    assert len(read_spans(collector, "otlp bad")) == 4
    rejected = list(map(json.loads, Path("bad.jsonl.rejected.jsonl").read_text().splitlines()))
    assert [(each["row"], each["reason"].partition(":")[0]) for each in rejected] == [
        *((1, "lines"), (2, "lines"), (3, "lines")),
        *((5, "spans"), (5, "spans"), (6, "lines")),
    ]
    assert rejected[0]["reason"] == "lines: not JSON"
    assert rejected[5]["reason"] == "lines: nested too deeply"
    assert rejected[3]["values"]["span"]["traceId"] == "soon"
    assert "traceId" in rejected[3]["reason"]
    assert "invalid_span_id" in rejected[4]["reason"]


def test_other_formats(collector: CollectorProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """A file in another format of the exporter is refused, with the expected format."""
    Path("t.binpb").write_bytes(b"\0\0\0\x04\x0a\x02\x08\x01")
    assert import_files(collector, "t.binpb") == 2
    assert "expected a file that the exporter wrote with format: json" in capsys.readouterr().err


@at_night
def test_resumed_after_a_kill(collector: CollectorProcess) -> None:
    """A killed import continues where it stopped, and stores each span once."""
    lines, each = 800, 10
    with Path("long.jsonl").open("w") as file:
        for line in range(lines):
            file.write(json.dumps(request_of(line, each)) if line % 100 else "{")
            file.write("\n")
    project = "otlp resumed"
    command = ["import", "otlp-json", "long.jsonl", "--endpoint", collector.endpoint]
    program = [sys.executable, "-m", "otel_ml_collector", *command, "--project", project]
    progress = Path("long.jsonl.import-progress")
    with subprocess.Popen(program, stderr=subprocess.DEVNULL) as process:
        wait_until(progress.exists)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    read = json.loads(progress.read_bytes())["rows"]
    bad, spans = 8, (lines - 8) * each
    assert 0 < read < bad + spans
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert f"Imported {spans:,} spans and 0 log records" in done.stdout
    assert f"{read:,} records were read before the import was interrupted" in done.stdout
    assert not progress.exists()
    rejected = Path("long.jsonl.rejected.jsonl").read_text().splitlines()
    assert [json.loads(item)["row"] for item in rejected] == [*range(1, lines, 100)]
    total = collector.get(
        f"/projects/{quote(project)}/stats", start="2024-01-01", end="2024-02-01"
    )["total"]
    assert total["runs"] == spans


def request_of(line: int, spans: int) -> dict[str, Any]:
    """Return a request with model calls of January 2024."""
    start_ns = 1_705_312_800 * 10**9 + line * 10**6
    made = [
        {
            "traceId": f"{line + 1:032x}",
            "spanId": f"{place + 1:016x}",
            "name": "chat",
            "startTimeUnixNano": str(start_ns + place),
            "endTimeUnixNano": str(start_ns + place + 1),
            "attributes": [
                {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
                {"key": "gen_ai.input.messages", "value": {"stringValue": "x" * 500}},
            ],
        }
        for place in range(spans)
    ]
    return {"resourceSpans": [{"scopeSpans": [{"spans": made}]}]}
