"""Slow cases of tests/process/end_to_end/test_places.py."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.process.end_to_end.test_places import (
    DONE,
    NOWHERE,
    UNREACHABLE,
    USAGE,
    add_key,
    somebody_else,
)
from tests.support.collector import CollectorProcess, running
from tests.support.keys import UNAUTHENTICATED, call_now, send_http
from tests.support.otel_ml_collector.wire import encode
from tests.support.program import otel_ml


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder without any collector data."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_endpoint_that_is_named_is_all_that_is_meant(tmp_path: Path, elsewhere: Path) -> None:
    """If an endpoint is given, commands never use a data directory instead."""
    with running(elsewhere / "otel-ml-data"):
        pass
    for named, variables in (
        (("--endpoint", f"http://{NOWHERE}"), {}),
        ((), {"OTEL_ML_ENDPOINT": f"http://{NOWHERE}"}),
    ):
        done = otel_ml(*add_key(*named), **variables)
        assert (done.returncode, done.stdout) == (UNREACHABLE, "")
        assert f"No answer from http://{NOWHERE}" in done.stderr
    with somebody_else() as address:
        done = otel_ml(*add_key("--endpoint", f"http://{address}"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not an otel-ml collector" in done.stderr
    listed = otel_ml("keys", "list", "--http", NOWHERE)
    assert (listed.returncode, len(listed.stdout.splitlines())) == (DONE, 1)  # only the header


def test_data_directory_that_is_named_is_made(elsewhere: Path) -> None:
    """A key is stored in the given data directory, new or not, which the output names."""
    new = elsewhere / "new"
    made = otel_ml(*add_key("--data-dir", str(new)))
    assert (made.returncode, len(made.stdout.splitlines())) == (DONE, 1)
    assert f"in the data directory {new}" in made.stderr
    assert "the next collector that uses this store" in made.stderr
    assert "will require a key for every request" in made.stderr
    with running(new) as collector:
        assert send_http(collector, "", encode([call_now("stranger")]))[0] == UNAUTHENTICATED
        key = made.stdout.strip()
        assert send_http(collector, key, encode([call_now("mine")]))[0] == 0


def test_backup_from_any_folder(
    own_collector: CollectorProcess, tmp_path: Path, elsewhere: Path
) -> None:
    """From any folder, a backup contains the data of the running collector."""
    assert send_http(own_collector, "", encode([call_now("mine")]), "shop")[0] == 0
    there = ("--http", urlsplit(own_collector.endpoint).netloc)
    written = otel_ml("backup", "copy", *there)
    assert written.returncode == DONE, written.stderr
    assert f"of the collector at {own_collector.endpoint}" in written.stdout
    assert [path.name for path in elsewhere.iterdir()] == ["copy"]
    unnamed = otel_ml("restore", "copy")
    assert (unnamed.returncode, "--data-dir" in unnamed.stderr) == (USAGE, True)
    restored = otel_ml("restore", "copy", "--data-dir", "again")
    assert restored.returncode == DONE, restored.stderr
    listed = otel_ml("projects", "--data-dir", "again", "--columns", "project,runs")
    assert listed.stdout.split() == ["project", "runs", "shop", "1"]


def test_store_that_nobody_serves_is_read_and_changed(tmp_path: Path, elsewhere: Path) -> None:
    """Every command works on a data directory without a running collector, with or without keys."""
    with running(elsewhere / "otel-ml-data") as collector:
        assert send_http(collector, "", encode([call_now("mine")]), "shop")[0] == 0
    at = ("--http", NOWHERE)
    made = otel_ml("keys", "add", "--project", "shop", *at)
    assert made.returncode == DONE, made.stderr
    runs = otel_ml("runs", "--project", "shop", "--columns", "model", *at)
    assert runs.stdout.split() == ["model", "mine"]
    kept = otel_ml("retention", "shop", "--records", "7", *at)
    assert "records: 7 days" in kept.stdout
    assert f"in the data directory {elsewhere / 'otel-ml-data'}" in kept.stdout
    told = otel_ml("storage", "--columns", "project,record_days", *at)
    assert told.stdout.split() == ["project", "record_days", "shop", "7"]
    written = otel_ml("backup", "copy", *at)
    assert f"of the data directory {elsewhere / 'otel-ml-data'}" in written.stdout
    key_id = made.stdout.split("_")[1]
    revoked = otel_ml("keys", "revoke", key_id, *at)
    assert revoked.stdout.startswith(f"{key_id} is revoked")
    assert "data directory" in revoked.stdout
