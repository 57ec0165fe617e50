"""Data of a real Phoenix server can be imported, from its export and from its REST API."""

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from otel_ml.reader import Reader
from otel_ml_collector.cli import main
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.ports import free_port
from tests.support.waiting import wait_until

BIN: Final = ROOT / ".venv-phoenix" / "bin"
PAGE: Final = ROOT / "docs/how-to/import-from-tools.md"
BLOCK: Final = re.compile(r"^```python phoenix\n(.*?)^```$", re.DOTALL | re.MULTILINE)
EVERY: Final = 'kind in ("chain", "model", "retriever")'
START_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Phoenix:
    """A running server, the environment of its programs, and a summary of its data."""

    address: str
    environment: dict[str, str]
    has: dict[str, Any]


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    """Start a Phoenix server with spans, annotations and a data set."""
    if not BIN.exists():
        pytest.skip("There is no .venv-phoenix: make .venv-phoenix/stamp")
    folder = tmp_path_factory.mktemp("phoenix")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    kept = {
        key: text for key, text in os.environ.items() if not key.startswith(("OTEL_", "PHOENIX_"))
    }
    environment = {
        **kept,
        "PHOENIX_COLLECTOR_ENDPOINT": address,
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [BIN / "phoenix", "serve"], env=environment, stdout=log, stderr=subprocess.STDOUT
        ) as server,
    ):
        try:
            wait_until(lambda: is_up(address), START_S, about="Phoenix")
            program = ROOT / "tests/support/interop/programs/phoenix_calls.py"
            printed = run([str(program), address], folder, environment)
            yield Phoenix(address, environment, json.loads(printed.splitlines()[-1]))
        finally:
            server.terminate()


def is_up(address: str) -> bool:
    """Return whether a server responds."""
    with suppress(URLError, OSError), urlopen(f"{address}/healthz", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def run(arguments: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Run Python of Phoenix's environment, and return its output."""
    done = subprocess.run(
        [BIN / "python", "-W", "ignore", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(phoenix: Phoenix, path: str) -> bytes:
    """Return a response of Phoenix's REST API."""
    with urlopen(f"{phoenix.address}/v1/projects/support/{path}", timeout=60) as answer:
        return bytes(answer.read())


def test_exported_as_documented(
    phoenix: Phoenix,
    collector: CollectorProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Counts, tokens, costs and sessions equal Phoenix's, even after a second import."""
    monkeypatch.chdir(tmp_path)
    [block] = BLOCK.findall(PAGE.read_text())
    run(["-c", block], tmp_path, phoenix.environment)
    for _ in range(2):
        files = ("spans.parquet", "annotations.jsonl", "orders.json")
        assert import_files(collector, "phoenix exported", *files) == 0
        printed = capsys.readouterr().out
        assert printed.startswith("Imported 9 spans, 7 scores and 1 data set in ")
        assert "\nNot in the export: links and resources of spans\n" in printed
    compare(phoenix, collector, "phoenix exported")


def test_read_from_the_api(
    phoenix: Phoenix, collector: CollectorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both span formats of the REST API give the same runs."""
    monkeypatch.chdir(tmp_path)
    for form in ("spans", "spans/otlpv1"):
        name = f"{form.replace('/', '-')}.json"
        Path(name).write_bytes(read(phoenix, f"{form}?limit=1000"))
        spans = json.loads(read(phoenix, "spans?limit=1000"))["data"]
        ids = "&".join(f"span_ids={span['context']['span_id']}" for span in spans)
        Path("annotations.json").write_bytes(read(phoenix, f"span_annotations?{ids}&limit=1000"))
        assert import_files(collector, f"phoenix {name}", name, "annotations.json") == 0
        compare(phoenix, collector, f"phoenix {name}")


def import_files(collector: CollectorProcess, project: str, *files: str) -> int:
    """Import files with the command, as a user does."""
    return main(
        ["import", "phoenix", f"--endpoint={collector.endpoint}", "--project", project, *files]
    )


def compare(phoenix: Phoenix, collector: CollectorProcess, project: str) -> None:
    """Compare the runs of a project with Phoenix's summary of its data."""
    with Reader(project, endpoint=collector.endpoint) as reader:
        runs = list(reader.runs(where=EVERY))
        calls = [run for run in runs if run.kind == "model"]
        wait_until(
            lambda: count_scores(reader) == 7, about=lambda: f"{count_scores(reader)} scores"
        )
    assert len({run.run_id for run in runs}) == len(runs) == phoenix.has["spans"] == 9
    assert sorted({run.trace_id for run in runs}) == phoenix.has["traces"]
    assert sum(run.tokens.input or 0 for run in calls) == phoenix.has["input_tokens"] == 303
    assert sum(run.tokens.output or 0 for run in calls) == phoenix.has["output_tokens"] == 63
    assert sum(run.cost or 0 for run in calls) == 1.5
    sessions = Counter(run.session for run in runs if run.kind == "chain")
    assert dict(sessions) == phoenix.has["sessions"]
    assert [run.outcome for run in calls].count("error") == 1


def count_scores(reader: Reader) -> int:
    """Return how many scores the runs of a project have."""
    return sum(len(reader.run(run.run_id).evaluations) for run in reader.runs(where=EVERY))
