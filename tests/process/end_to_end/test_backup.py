"""Backup and restore with real processes: the same answers, completely or not at all."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from otel_ml_collector.errors import BadSetting
from otel_ml_collector.store.backup import restore
from tests.support.collector import CollectorProcess, running
from tests.support.disk import LimitedDisk, kinds, open_disk
from tests.support.otel_ml_collector.deleting import make_told
from tests.support.otel_ml_collector.spans import id_of
from tests.support.otel_ml_collector.wire import encode
from tests.support.program import otel_ml
from tests.support.sampling import at_night, sampled
from tests.support.waiting import wait_until

HEADERS: Final = {"content-type": "application/x-protobuf", "x-otel-ml-project": "kept"}


def send(collector: CollectorProcess, mark: str) -> list[str]:
    """Send a trace, and wait until its key's record is stored; return the API paths to read it."""
    told = make_told(mark, f"session {mark}", f"user {mark}", f"model {mark}")
    collector.deliver(encode(told), HEADERS)
    run = f"/api/v1/projects/kept/runs/{id_of(told[0])}"
    wait_until(lambda: '"people":1.0' in collector.get_text(run))
    conditions = [
        f'session == "session {mark}"',
        f'tags["client"] == "{mark}"',
        f'scores["grounded"] < 1 and name == "model {mark}"',
    ]
    of_project, model = "/api/v1/projects/kept", quote(f"model {mark}")
    return [
        run,
        f"{of_project}/runs/{id_of(told[1])}",
        *(f"{of_project}/runs?where={quote(where)}" for where in conditions),
        f"{of_project}/models/{model}/versions",
        f"{of_project}/models/{model}/versions/1",
        f"/api/v1/traces/{told[0].trace_id.hex()}",
        f"/api/v1/traces/{quote(f'key {mark}')}",
    ]


def test_same_answers(tmp_path: Path) -> None:
    """A backup taken from a store in use and restored gives the same answers, byte for byte."""
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
        assert re.search(r"^Writing was paused for \d+\.\d\d s$", written.stdout, re.MULTILINE)
        assert [text for text in before if text.startswith('{"error"')] == []
        send(collector, "three")  # not in the backup
    shutil.rmtree(tmp_path / "data")
    restored = otel_ml("restore", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "new"))
    assert (restored.returncode, restored.stderr) == (0, "")
    with running(tmp_path / "new") as collector:
        wait_until(lambda: [collector.get_text(path) for path in paths] == before)
        assert collector.runs("kept", where='tags["client"] == "three"') == []
        send(collector, "four")


def ask_for_backup(collector: CollectorProcess, folder: Path) -> None:
    """Request a backup, ignoring errors because the collector may be killed meanwhile."""
    body = json.dumps({"folder": str(folder)}).encode()
    with suppress(OSError):
        collector.post("/api/v1/backup", body, {"content-type": "application/json"})


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with running(folder / "data") as collector:
        send(collector, "one")
        ask_for_backup(collector, folder / "backup")
    return folder / "backup"


def flip(file: Path, place: int) -> None:
    """Flip one bit of a file."""
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def cut(file: Path) -> None:
    """Remove the last byte of a file."""
    file.write_bytes(file.read_bytes()[:-1])


DAMAGES: Final[dict[str, Callable[[Path], None]]] = {
    "missing": Path.unlink,
    "cut": cut,
    "first byte": partial(flip, place=0),
    "last byte": partial(flip, place=-1),
}


@sampled(1)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged(tmp_path: Path, backup: Path, damage: str) -> None:
    """A backup with a damaged file is not restored, and the error names the file."""
    copy = tmp_path / "backup"
    shutil.copytree(backup, copy)
    files = sorted(path for path in copy.glob("*/*/*") if path.is_file() and path.stat().st_size)
    assert {"runs", "payloads", "metrics"} < {path.parent.parent.name for path in files}
    for file in [copy / "backup.json", copy / "SHA256SUMS", *files[:: max(1, len(files) // 20)]]:
        name, whole = str(file.relative_to(copy)), file.read_bytes()
        DAMAGES[damage](file)
        with pytest.raises(BadSetting) as caught:
            restore(copy, tmp_path / "new")
        # If SHA256SUMS and a file contradict each other, either may be the damaged one.
        is_sums = name == "SHA256SUMS"
        assert is_sums or f"is not a complete backup of otel-ml: {name} " in str(caught.value), name
        assert "SHA256SUMS" in str(caught.value) or not is_sums
        assert not (tmp_path / "new").exists()
        file.write_bytes(whole)


@at_night
def test_every_byte_of_the_lists(tmp_path: Path, backup: Path) -> None:
    """A change to any of about fifty bytes of each list of files prevents a restore."""
    copy = tmp_path / "backup"
    shutil.copytree(backup, copy)
    for file in (copy / "backup.json", copy / "SHA256SUMS"):
        whole = file.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 50)):
            flip(file, place)
            with pytest.raises(BadSetting):
                restore(copy, tmp_path / "new")
            file.write_bytes(whole)


@at_night
def test_damaged_command(tmp_path: Path, backup: Path) -> None:
    """The command reports in one line which file is damaged, and exits with status 2."""
    shutil.copytree(backup, tmp_path / "backup")
    damaged = next((tmp_path / "backup" / "runs").rglob("data.bin"))
    flip(damaged, damaged.stat().st_size // 2)
    refused = otel_ml("restore", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "new"))
    name = damaged.relative_to(tmp_path / "backup")
    assert (refused.returncode, refused.stdout, refused.stderr) == (
        2,
        "",
        f"otel-ml: {tmp_path}/backup is not a complete backup of otel-ml: {name} is damaged: "
        "SHA256SUMS has a different checksum, or none\n",
    )


def test_standard_checksums(backup: Path) -> None:
    """`sha256sum` accepts the list of checksums."""
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"],
        cwd=backup, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@at_night
def test_backup_without_room(tmp_path: Path) -> None:
    """The error of a backup that does not fit on the disk names the cause."""
    with open_disk(tmp_path, kind=kinds()[0]) as disk:
        data = disk.data_dir.parent if isinstance(disk, LimitedDisk) else tmp_path
        with running(data / "data", "--min-free-disk-bytes", "0") as collector:
            send(collector, "one")
            disk.fill(collector.pid)
            body = json.dumps({"folder": str(disk.data_dir.parent / "backup")}).encode()
            headers = {"content-type": "application/json"}
            status, _, answer = collector.post("/api/v1/backup", body, headers)
            disk.free(collector.pid)
        message = json.loads(answer)["error"]["message"]
        assert status in {400, 503}, message
        assert any(why in message for why in ("No space left", "File too large")), message


@sampled(1)
@pytest.mark.parametrize("folder", ["relative/folder", "/proc/nothing/here"])
def test_wrong_folder(collector: CollectorProcess, folder: str) -> None:
    """The error for a folder that cannot be written names the invalid field."""
    body = json.dumps({"folder": folder}).encode()
    headers = {"content-type": "application/json"}
    status, _, answer = collector.post("/api/v1/backup", body, headers)
    assert (status, json.loads(answer)["error"]["field"]) == (400, "folder")


@at_night
def test_owner_of_a_restored_store(tmp_path: Path, backup: Path) -> None:
    """Files restored by root belong to the owner of the data directory."""
    new = tmp_path / "new"
    new.mkdir()
    if os.geteuid() == 0:
        os.chown(new, 10_001, 10_002)
    owner = (new.stat().st_uid, new.stat().st_gid)
    assert otel_ml("restore", str(backup), "--data-dir", str(new)).returncode == 0
    files = [path.lstat() for path in new.rglob("*")]
    assert {(file.st_uid, file.st_gid) for file in files} == {owner}


@at_night
def test_without_the_old_secret(tmp_path: Path, backup: Path) -> None:
    """A collector starts on a restored store and creates a new session secret."""
    assert not list(backup.rglob("session.secret"))
    assert otel_ml("restore", str(backup), "--data-dir", str(tmp_path / "new")).returncode == 0
    with running(tmp_path / "new") as collector:
        assert len(collector.runs("kept", where='tags["client"] == "one"')) == 1
    old = backup.parent / "data" / "session.secret"
    assert (tmp_path / "new" / "session.secret").read_bytes() != old.read_bytes()
