"""Tests of `otel-ml alerts test`, which sends a test notification to a receiver."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.collector import CollectorProcess, running
from tests.support.otlp_sink import Reply, Sink, http_sink


def try_target(
    folder: Path, address: str, target: str = "desk"
) -> "subprocess.CompletedProcess[str]":
    """Send a test notification with a settings file that has a webhook."""
    (folder / "otel-ml.toml").write_text(
        f"""
        public_url = "https://ml.example"
        [alert_targets.desk]
        kind = "webhook"
        url = "http://{address}/s3cret"
        secret = "0123456789abcdef"
        allow_private = true
        """
    )
    return subprocess.run(
        [sys.executable, "-m", "otel_ml_collector", "alerts", "test", target],
        cwd=folder,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_trial(tmp_path: Path) -> None:
    """The receiver gets a signed message, and the command prints its id."""
    with http_sink() as sink:
        done = try_target(tmp_path, sink.address)
        [sent] = sink.requests
    document = json.loads(sent.body)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"desk at 127.0.0.1 accepted the test notification {document['id']}\n"
    assert (document["rule"], document["status"]) == ("trial", "firing")
    assert sent.headers["webhook-signature"].startswith("v1,")


def test_trial_that_is_refused(tmp_path: Path) -> None:
    """The receiver's error is printed, without its address, which may be secret."""
    with http_sink() as sink:
        sink.replies.append(Reply(500, body=b"/s3cret is broken"))
        done = try_target(tmp_path, sink.address)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "otel-ml: The receiver desk at 127.0.0.1 did not accept the test notification: "
        "500 Internal Server Error "
        "/*** is broken\n"
    )


def test_unknown_target(tmp_path: Path) -> None:
    """For an unknown receiver, the command suggests one from the settings."""
    done = try_target(tmp_path, "127.0.0.1:9", "desc")
    assert (done.returncode, done.stderr) == (
        5,
        "otel-ml: There is no receiver 'desc' in the settings: did you mean desk?\n",
    )


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    """The server behind the running collector's receiver."""
    with http_sink() as opened:
        yield opened


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, sink: Sink) -> Iterator[CollectorProcess]:
    """A collector with a receiver."""
    folder = tmp_path_factory.mktemp("collector")
    desk = {"kind": "webhook", "url": f"http://{sink.address}/s3cret", "allow_private": True}
    with running(folder, "--alert-targets", json.dumps({"desk": desk})) as opened:
        yield opened


def try_collector(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a folder whose settings have another receiver."""
    (folder / "otel-ml.toml").write_text(
        '[alert_targets.here]\nkind = "slack"\nurl = "https://127.0.0.1:9/x"\n'
    )
    return subprocess.run(
        [sys.executable, "-m", "otel_ml_collector", "alerts", "test", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_trial_of_a_collector(tmp_path: Path, collector: CollectorProcess, sink: Sink) -> None:
    """The collector sends to its own receiver, wherever the command runs."""
    done = try_collector(tmp_path, "desk", "--endpoint", collector.endpoint)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(sink.requests[-1].body)
    assert done.stdout == f"desk at 127.0.0.1 accepted the test notification {document['id']}\n"
    sink.replies.append(Reply(500, body=b"/s3cret is broken"))
    done = try_collector(tmp_path, "desk", "--endpoint", collector.endpoint)
    assert (done.returncode, done.stdout) == (1, "")
    assert "did not accept the test notification: 500" in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    ("target", "hint"), [("desc", "did you mean desk?"), ("here", "expected one of desk")]
)
def test_unknown_target_of_a_collector(
    tmp_path: Path, collector: CollectorProcess, target: str, hint: str
) -> None:
    """The receivers are those of the collector, not those of the current folder."""
    done = try_collector(tmp_path, target, "--endpoint", collector.endpoint)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == f"otel-ml: There is no receiver {target!r} in the settings: {hint}\n"
