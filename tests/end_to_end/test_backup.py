"""Tests of backup and restore with real processes: the same answers, whole or not at all."""

import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from tests.otel_ml_collector.deleting import make_told
from tests.otel_ml_collector.spans import id_of
from tests.otel_ml_collector.wire import encode
from tests.support.collector import CollectorProcess, running

HEADERS: Final = {"content-type": "application/x-protobuf", "x-otel-ml-project": "kept"}


def send(collector: CollectorProcess, mark: str) -> list[str]:
    """Send a trace; return the paths of questions about it, and about all."""
    told = make_told(mark, f"session {mark}", f"user {mark}", f"model {mark}")
    assert collector.post("/v1/traces", encode(told), HEADERS)[0] == 200
    conditions = [
        f'session == "session {mark}"',
        f'tags["client"] == "{mark}"',
        f'scores["grounded"] < 1 and name == "model {mark}"',
    ]
    of_project, model = "/api/v1/projects/kept", quote(f"model {mark}")
    return [
        f"{of_project}/runs/{id_of(told[0])}",
        f"{of_project}/runs/{id_of(told[1])}",
        *(f"{of_project}/runs?where={quote(where)}" for where in conditions),
        f"{of_project}/models/{model}/versions",
        f"{of_project}/models/{model}/versions/1",
        f"/api/v1/traces/{told[0].trace_id.hex()}",
        f"/api/v1/traces/{quote(f'key {mark}')}",
    ]


def otel_ml(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program; nothing of the environment says where things are."""
    command = [sys.executable, "-m", "otel_ml_collector", *arguments]
    environment = {key: text for key, text in os.environ.items() if "OTEL_ML" not in key}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def test_same_answers(tmp_path: Path) -> None:
    """A backup of a store in use, restored to an empty folder, answers the same, byte for byte."""
    with running(tmp_path / "data") as collector:
        paths = [*send(collector, "one"), *send(collector, "two")]
        paths += ["/api/v1/projects", "/api/v1/projects/kept/runs"]
        assert len(paths) == 20
        before = [collector.get_text(path) for path in paths]
        written = otel_ml(
            "backup", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "data"),
            "--endpoint", collector.endpoint,
        )  # fmt: skip
        assert (written.returncode, written.stderr) == (0, "")
        assert [text for text in before if text.startswith('{"error"')] == []
        send(collector, "three")  # is not in the backup
    shutil.rmtree(tmp_path / "data")
    restored = otel_ml("restore", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "new"))
    assert (restored.returncode, restored.stderr) == (0, "")
    with running(tmp_path / "new") as collector:
        assert [collector.get_text(path) for path in paths] == before
        assert collector.runs("kept", where='tags["client"] == "three"') == []
        send(collector, "four")


def test_not_serving(tmp_path: Path) -> None:
    """A store that nobody serves is backed up too, and an occupied folder is refused."""
    with running(tmp_path / "data") as collector:
        send(collector, "one")
    places = (str(tmp_path / "backup"), "--data-dir", str(tmp_path / "data"))
    assert otel_ml("backup", *places).returncode == 0
    again = otel_ml("backup", *places)
    assert (again.returncode, again.stderr) == (
        2,
        f"otel-ml: The folder {tmp_path}/backup is not empty: expected a new one\n",
    )
    over = otel_ml("restore", *places)
    assert (over.returncode, over.stderr) == (
        2,
        f"otel-ml: The data directory {tmp_path}/data is not empty: it has store\n",
    )


def test_kill_during_backup(tmp_path: Path) -> None:
    """A backup whose collector is killed is none, and the next one is whole."""
    with running(tmp_path / "data") as collector:
        paths = send(collector, "one")
        before = [collector.get_text(path) for path in paths]
        asking = threading.Thread(target=ask_for_backup, args=(collector, tmp_path / "backup"))
        asking.start()
        partial = tmp_path / "backup.partial"
        while asking.is_alive() and not partial.exists():
            asking.join(0.001)
        collector.kill()
        asking.join(30)
        assert partial.exists()
        assert not (tmp_path / "backup").exists()
        refused = otel_ml("restore", str(partial), "--data-dir", str(tmp_path / "new"))
        assert refused.returncode == 2
        assert f"{partial} is no whole backup of otel-ml" in refused.stderr
        collector.restart()
        ask_for_backup(collector, tmp_path / "backup")
    restored = otel_ml("restore", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "new"))
    assert restored.returncode == 0
    with running(tmp_path / "new") as collector:
        assert [collector.get_text(path) for path in paths] == before


def ask_for_backup(collector: CollectorProcess, folder: Path) -> None:
    """Ask for a backup; the collector may be killed meanwhile."""
    body = json.dumps({"folder": str(folder)}).encode()
    with suppress(OSError):
        collector.post("/api/v1/backup", body, {"content-type": "application/json"})


def test_damaged(tmp_path: Path) -> None:
    """A backup of which a file is missing is not restored at all."""
    with running(tmp_path / "data") as collector:
        send(collector, "one")
        ask_for_backup(collector, tmp_path / "backup")
    next((tmp_path / "backup" / "runs").rglob("data.bin")).unlink()
    refused = otel_ml("restore", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "new"))
    assert refused.returncode == 2
    assert "is no whole backup of otel-ml: runs/" in refused.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("folder", ["relative/folder", "/proc/nothing/here"])
def test_wrong_folder(collector: CollectorProcess, folder: str) -> None:
    """A folder that cannot be written to is told with the field that is wrong."""
    body = json.dumps({"folder": folder}).encode()
    headers = {"content-type": "application/json"}
    status, _, answer = collector.post("/api/v1/backup", body, headers)
    assert (status, json.loads(answer)["error"]["field"]) == (400, "folder")
