"""`otel_ml.launch` starts, joins and ends real collectors."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import otel_ml
from otel_ml import Client
from otel_ml.launched import LaunchError
from otel_ml.reader import Reader
from tests.support.collector import CollectorProcess
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

# The process answers each line: it calls a traced function, and prints the collector's address.
_NOTEBOOK = """
import sys
import otel_ml

collector = otel_ml.launch("data")
client = otel_ml.Client("shop")
answer = client.trace(lambda text: text.upper(), name="answer")
for line in sys.stdin:
    answer(line.strip())
    client.flush()
    print(collector.url, flush=True)
"""
_ENDS_S = 10


def outputs(url: str) -> list[object]:
    return sorted(run.outputs for run in Reader("shop", endpoint=url).runs())


def is_served(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
    except OSError:
        return False
    return True


@contextmanager
def notebook(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", _NOTEBOOK]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def call(process: "subprocess.Popen[str]", text: str) -> str:
    """Let a process call its function, and return the address of its collector."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{text}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


@at_night
def test_clients_of_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients without an endpoint send to the collector, also what was queued before."""
    monkeypatch.chdir(tmp_path)
    before = Client("shop", join=False)
    before.trace(name="answer")(str.upper)("early")
    named = Client("shop", endpoint="http://127.0.0.1:9", join=False)
    launched = otel_ml.launch()
    try:
        after = Client("shop", join=False)
        after.trace(name="answer")(str.upper)("late")
        after.flush()
        before.flush()
        assert outputs(launched.url) == ["EARLY", "LATE"]
        assert before.stats().configuration["endpoint"] == launched.url
        assert repr(named) == "<Client shop http://127.0.0.1:9/projects/shop>"
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", launched.url)
        assert launched.folder == tmp_path / "otel-ml-data"
        assert f'href="{launched.url}"' in launched._repr_html_()
        assert otel_ml.launch() is otel_ml.launch("otel-ml-data") is launched
        with pytest.raises(LaunchError, match="call its stop"):
            otel_ml.launch("other")
    finally:
        launched.stop()
        launched.stop()
    assert not is_served(launched.url)
    assert "OTEL_ML_ENDPOINT" not in os.environ


@at_night
def test_last_process_ends_it(tmp_path: Path) -> None:
    """A second process joins the collector, which ends after both were killed."""
    with notebook(tmp_path) as first, notebook(tmp_path) as second:
        urls = {call(first, "one"), call(second, "two")}
        [url] = urls
        first.kill()
        first.wait()
        with pytest.raises(AssertionError):  # longer than the collector waits between two checks
            wait_until(lambda: not is_served(url), 1.5)
        assert call(second, "three") == url
        assert outputs(url) == ["ONE", "THREE", "TWO"]
    wait_until(lambda: not is_served(url), _ENDS_S)


def test_collector_of_a_terminal(tmp_path: Path) -> None:
    """A collector that serves the folder already is used, and keeps running."""
    collector = CollectorProcess(tmp_path / "data")
    try:
        collector.wait_ready()
        with notebook(tmp_path) as process:
            assert call(process, "one") == collector.endpoint
        assert outputs(collector.endpoint) == ["ONE"]
    finally:
        collector.kill()


def test_endpoint_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """If a variable names an endpoint, nothing is started, and a warning says so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://example.test:4318")
    assert otel_ml.launch().url == "http://example.test:4318"
    assert "No collector is started" in caplog.text
    assert list(tmp_path.iterdir()) == []


@at_night
def test_folder_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If a folder is given, a collector is started although a variable names an endpoint."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://example.test:4318")
    launched = otel_ml.launch(tmp_path / "data")
    try:
        client = Client("shop", join=False)
        client.trace(name="answer")(str.upper)("here")
        client.flush()
        assert outputs(launched.url) == ["HERE"]
    finally:
        launched.stop()


@pytest.mark.parametrize(
    "variable", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"]
)
def test_grpc_of_the_environment(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Clients that send over gRPC cannot use a launched collector, so nothing is started."""
    monkeypatch.setenv(variable, "grpc")
    with pytest.raises(LaunchError, match=rf"^launch\(\) works over HTTP only: unset {variable}"):
        otel_ml.launch(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_no_path() -> None:
    """An argument that is no path is refused, and nothing is started."""
    for folder in (5, b"data", "", ["data"]):
        with pytest.raises(ValueError, match=r"Invalid dir .*: expected a path"):
            otel_ml.launch(folder)  # type: ignore[arg-type]
    assert "OTEL_ML_ENDPOINT" not in os.environ


def test_reason_of_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that does not start says why: the last line of its output."""
    monkeypatch.setenv("OTEL_ML_LOG_LEVEL", "soon")
    with pytest.raises(LaunchError, match="soon"):
        otel_ml.launch(tmp_path / "data")
    (tmp_path / "file").write_text("")
    with pytest.raises(LaunchError, match="cannot be used"):
        otel_ml.launch(tmp_path / "file")
    assert "OTEL_ML_ENDPOINT" not in os.environ
