"""Exports by the command: complete files or none, progress on a terminal, broken responses."""

import json
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pyarrow.parquet as pq
import pytest

from tests.support.collector import CollectorProcess
from tests.support.load import PROTOBUF, make_request
from tests.support.otel_ml_collector.cli.program import on_terminal, otel_ml

PROJECT = "exported"
RUNS = 700
FAILED, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130


@pytest.fixture(scope="module")
def endpoint(collector: CollectorProcess) -> str:
    """The address of a collector with a project of runs."""
    body = make_request(PROJECT, RUNS).SerializeToString()
    collector.deliver(body, PROTOBUF)
    return collector.endpoint


def export(endpoint: str, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return otel_ml(endpoint, "export", "--project", PROJECT, *arguments)


def test_files_are_read_again(endpoint: str, tmp_path: Path) -> None:
    """A file in each format contains every run, and other libraries can read it."""
    files = {kind: tmp_path / f"runs.{kind}" for kind in ("jsonl", "csv", "parquet")}
    for kind, file in files.items():
        done = export(endpoint, "--format", kind, "--columns", "*", "--output", str(file))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    lines = [json.loads(line) for line in files["jsonl"].read_text().splitlines()]
    assert len({line["run_id"] for line in lines}) == RUNS
    assert lines[7]["inputs"] == {"question": "question 7"}
    frame = pd.read_csv(files["csv"])
    assert frame["run_id"].tolist() == [line["run_id"] for line in lines]
    table = pq.read_table(files["parquet"])
    assert table["outputs"].to_pylist() == [f'"answer {place}"' for place in range(RUNS)]
    assert stat.S_IMODE(files["csv"].stat().st_mode) == 0o666 & ~_umask()
    assert sorted(tmp_path.iterdir()) == sorted(files.values())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_output(endpoint: str) -> None:
    """Without a file the export goes to standard output."""
    done = export(endpoint, "--where", "scores['length'] > 8")
    assert [json.loads(line)["scores"] for line in done.stdout.splitlines()] == [
        {"length": 9.0}
    ] * (RUNS // 10)


def test_fields_of_filters(endpoint: str) -> None:
    """Any field that `--where` accepts can be a column."""
    asked = ("--columns", 'inputs.question,scores["length"],params["lr"],latency')
    done = export(endpoint, "--where", 'inputs.question == "question 7"', *asked)
    [line] = [json.loads(line) for line in done.stdout.splitlines()]
    assert list(line) == ["inputs.question", 'scores["length"]', 'params["lr"]', "latency"]
    assert (line["inputs.question"], line['params["lr"]']) == ("question 7", None)


def test_progress_is_told_on_a_terminal(endpoint: str, tmp_path: Path) -> None:
    """A terminal shows the progress of an export."""
    file = tmp_path / "runs.csv"
    asked = ("export", "--project", PROJECT, "--format", "csv", "--output", str(file))
    status, sent = on_terminal(endpoint, *asked)
    assert (status, "kB" in sent) == (0, True)
    assert len(file.read_text().splitlines()) == RUNS + 1


def test_unknown_ending_is_refused(endpoint: str, tmp_path: Path) -> None:
    """An unknown file ending without --format is refused."""
    file = tmp_path / "runs.xlsx"
    done = export(endpoint, str(file))
    assert (done.returncode, done.stderr.decode()) == (
        USAGE,
        "otel-ml: Invalid file 'runs.xlsx': expected a name that ends in .jsonl, .csv, .parquet, "
        "or --format\n",
    )
    assert export(endpoint, "--format", "csv", str(file)).returncode == 0


def test_device_is_written_to(endpoint: str) -> None:
    """A device can be written to and remains a device."""
    assert export(endpoint, "--output", "/dev/null").returncode == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_place_that_cannot_be_written(endpoint: str, tmp_path: Path) -> None:
    """A file that cannot be written is reported in one line, with an exit status."""
    file = tmp_path / "none" / "runs.csv"
    done = export(endpoint, "--output", str(file))
    assert (done.returncode, done.stderr.decode()) == (
        FAILED,
        f"otel-ml: The file {file} cannot be written: No such file or directory\n",
    )


class _Breaks(BaseHTTPRequestHandler):
    """Sends part of a body, waits for `go_on`, and closes the connection."""

    protocol_version = "HTTP/1.1"
    go_on = threading.Event()
    asked = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nhello\r\n")
        self.wfile.flush()
        self.asked.set()
        self.go_on.wait(30)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def breaking() -> Iterator[str]:
    """Start a server that cuts its responses off once `go_on` is set."""
    _Breaks.go_on.clear()
    _Breaks.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Breaks) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            _Breaks.go_on.set()
            server.shutdown()


def test_export_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    """A response that is cut off is an error, and the old file is unchanged."""
    file = tmp_path / "runs.jsonl"
    file.write_text("before")
    with breaking() as endpoint:
        _Breaks.go_on.set()
        done = export(endpoint, "--output", str(file))
    assert done.returncode == UNREACHABLE
    assert done.stderr.decode().startswith(f"otel-ml: The response of {endpoint} was cut off: ")
    assert (file.read_text(), list(tmp_path.iterdir())) == ("before", [file])
