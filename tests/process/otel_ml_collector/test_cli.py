"""Tests of the command ``otel-ml``, run as users run it."""

import os
import re
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.sampling import sampled


def run(folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a folder until it ends."""
    return subprocess.run(
        [sys.executable, "-m", "otel_ml_collector", *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_version(tmp_path: Path) -> None:
    """``--version`` prints the version."""
    done = run(tmp_path, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{version('otel-ml')}\n", "")


def test_installed_program(tmp_path: Path) -> None:
    """The command is installed next to Python as ``otel-ml``."""
    program = Path(sys.executable).with_name("otel-ml")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{version('otel-ml')}\n"


def test_help(tmp_path: Path) -> None:
    """The help of ``serve`` lists flags with their defaults."""
    text = " ".join(run(tmp_path, "serve", "--help").stdout.split())
    assert "--data-dir VALUE Folder of the embedded store [otel-ml-data]" in text
    about = "Address for pages, API and OTLP over HTTP, HOST:PORT"
    assert f"--http VALUE {about} [127.0.0.1:4318]" in text
    assert "--insecure Listen on addresses beyond loopback" in text


@sampled(2)
@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("paint",), "No such command 'paint'."),
        (("serve", "--colour", "blue"), "No such option '--colour'."),
        (("serve", "--http"), "Option '--http' requires an argument."),
        (("serve", "extra"), "Got unexpected extra argument (extra)"),
        (("runs", "--format", "xml"), "Invalid value for '--format'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_flags(tmp_path: Path, arguments: tuple[str, ...], wrong: str) -> None:
    """A wrong flag exits with status 2 and an error, and prints nothing on stdout."""
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(f"Error: {wrong}")


def test_alone(tmp_path: Path) -> None:
    """Without a command, the commands are listed in groups by purpose."""
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    _, *sections = re.split(r"^([A-Z][^\n]*):$", done.stderr, flags=re.MULTILINE)
    groups = {
        title: re.findall(r"^  ([a-z]+)  +\S", text, re.MULTILINE)
        for title, text in zip(sections[::2], sections[1::2], strict=True)
        if title != "Options"
    }
    assert groups == {
        "Start": ["serve", "doctor", "import", "mcp"],
        "Look at recorded runs": [
            *("projects", "runs", "open", "sessions", "models", "metrics", "export", "share"),
        ],
        "Compare and evaluate": [
            *("evaluate", "replay", "judge", "compare", "experiments", "baseline", "dataset"),
            *("alias", "variability"),
        ],
        "Monitor and alert": [
            *("findings", "release", "slices", "fields", "targets", "activity", "alerts"),
        ],
        "Review": ["queue"],
        "Operate the collector": [
            *("check", "keys", "storage", "find", "retention", "backup", "restore"),
        ],
    }
    assert "  runs      List runs\n" in done.stderr


@sampled(2)
@pytest.mark.parametrize(
    ("typed", "offered"),
    [("", "export"), ("keys r", "revoke"), ("runs --form", "--format"), ("runs --format c", "csv")],
)
def test_completion(tmp_path: Path, typed: str, offered: str) -> None:
    """Shell completion offers commands, options and option values."""
    words = ["otel-ml", *typed.split(" ")]
    done = run(
        tmp_path,
        _OTEL_ML_COMPLETE="bash_complete",
        COMP_WORDS=" ".join(words),
        COMP_CWORD=str(len(words) - 1),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"plain,{offered}" in done.stdout.splitlines()


@sampled(1)
@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (
            ("--http", "nonsense"),
            {},
            "Invalid --http 'nonsense': expected HOST:PORT with a port from 0 to 65535",
        ),
        (
            (),
            {"OTEL_ML_LOG_LEVEL": "loud"},
            "Invalid OTEL_ML_LOG_LEVEL 'loud': expected one of debug, info, warning, error",
        ),
        (
            ("--http", "127.0.0.1:0", "--grpc", "0.0.0.0:4317"),
            {},
            "Listening at 0.0.0.0:4317 without keys would let anyone who can connect read and "
            "write: create a key with 'otel-ml keys add', listen on 127.0.0.1, or use --insecure",
        ),
        (
            ("--store", "postgres://localhost/db", "--http", "127.0.0.1:0"),
            {},
            "Invalid --store 'postgres://localhost/db': expected chdb:///absolute/path or "
            "clickhouse://user:password@host:port/database",
        ),
        (
            ("--config", "missing.toml"),
            {},
            "The file missing.toml cannot be read: [Errno 2] No such file or directory: "
            "'missing.toml'",
        ),
        (
            ("--store", "clickhouse://localhost:99999/db", "--http", "127.0.0.1:0"),
            {},
            "Invalid --store 'clickhouse://localhost:99999/db': expected chdb:///absolute/path or "
            "clickhouse://user:password@host:port/database",
        ),
    ],
    ids=["address", "level", "open", "store", "file", "port"],
)
def test_bad_settings(
    tmp_path: Path, arguments: tuple[str, ...], variables: dict[str, str], message: str
) -> None:
    """A wrong setting exits with status 2 and one line about the error."""
    done = run(tmp_path, "serve", *arguments, **variables)
    lines = [line for line in done.stderr.splitlines() if " INFO " not in line]
    assert (done.returncode, done.stdout, lines) == (2, "", [f"otel-ml: {message}"])


def test_taken_port(tmp_path: Path) -> None:
    """For a taken port the error is one line with the programs that usually use it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run(tmp_path, "serve", "--http", address)
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        f"otel-ml: The HTTP address {address} cannot be used (Address already in use): "
        "probably another otel-ml, OpenTelemetry collector or Jaeger listens there; choose a "
        "different one with --http HOST:PORT\n",
    )
