"""Slow cases of tests/process/end_to_end/test_experiments_elsewhere.py."""

import re
from pathlib import Path

from otel_ml import Client
from tests.process.end_to_end.test_experiments_elsewhere import PROJECT, check, record
from tests.support.collector import CollectorProcess, running
from tests.support.keys import ask, make_key
from tests.support.program import otel_ml


def test_restored(tmp_path: Path) -> None:
    """A collector restored from a backup gives the same answers."""
    with running(tmp_path / "data") as collector:
        run_id = record(Client(PROJECT, endpoint=collector.endpoint, join=False))
        answered = check(collector.get_text, run_id)
        places = (str(tmp_path / "backup"), "--data-dir", str(tmp_path / "data"))
        assert otel_ml("backup", *places, "--endpoint", collector.endpoint).returncode == 0
    places = (str(tmp_path / "backup"), "--data-dir", str(tmp_path / "new"))
    assert otel_ml("restore", *places).returncode == 0
    with running(tmp_path / "new") as collector:
        assert check(collector.get_text, run_id) == answered


def test_under_a_quota(admin: str, closed: CollectorProcess) -> None:
    """A key with a quota below an experiment's size delivers all runs later, each once."""
    key = make_key(closed, admin, PROJECT, spans_per_second=20)
    run_id = record(Client(PROJECT, endpoint=closed.endpoint, api_key=key, join=False))
    check(lambda path: ask(closed, path, key).body.decode(), run_id)
    counted = ask(closed, "/metrics", admin).body.decode()
    assert re.search('quota_refusals_total{quota="spans"} [1-9]', counted)
