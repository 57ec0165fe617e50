"""Tests of ``otel-ml check``, run as users run it."""

import json
import re
from pathlib import Path

import pytest

from otel_ml_collector.settings.table import TABLE
from tests.process.otel_ml_collector.test_cli import run
from tests.support.folders import ROOT

EXAMPLE = ROOT / "deploy/otel-ml.toml"

WRONG = """\
htttp = "127.0.0.1:80"
http = "127.0.0.1"

[store]
host = "db"
"""
PROBLEMS = """\
otel-ml: otel-ml.toml:1: Unknown key 'htttp': did you mean http?
otel-ml: otel-ml.toml:4: Invalid store (a table): expected one value
otel-ml: otel-ml.toml:2: Invalid http '127.0.0.1': expected HOST:PORT with a port from 0 to 65535
"""


@pytest.mark.parametrize("command", [("check", "otel-ml.toml"), ("check",), ("serve",)], ids=str)
def test_wrong_file(tmp_path: Path, command: tuple[str, ...]) -> None:
    """All errors in a file are listed, and each command prints the same lines."""
    (tmp_path / "otel-ml.toml").write_text(WRONG)
    done = run(tmp_path, *command)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", PROBLEMS)


def test_right_file(tmp_path: Path) -> None:
    """A valid file is reported as valid, even if the environment has invalid variables."""
    (tmp_path / "a.toml").write_text('http = "127.0.0.1:0"')
    done = run(tmp_path, "check", "a.toml", OTEL_ML_HTTP="nonsense")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a.toml is valid\n", "")


def test_missing_file(tmp_path: Path) -> None:
    """A missing file is an error with status 2."""
    done = run(tmp_path, "check", "a.toml")
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        "otel-ml: The file a.toml cannot be read: [Errno 2] No such file or directory: 'a.toml'\n",
    )


def test_open_address(tmp_path: Path) -> None:
    """An address beyond loopback gives a warning, because a file cannot contain keys."""
    (tmp_path / "a.toml").write_text('http = "0.0.0.0:80"')
    done = run(tmp_path, "check", "a.toml")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "a.toml is valid\n",
        "otel-ml: To listen at 0.0.0.0:80, create a key first (otel-ml keys add): without keys, "
        "otel-ml serve does not start\n",
    )
    assert run(tmp_path, "check", "a.toml", "--insecure").stderr == ""


def test_effective_settings(tmp_path: Path) -> None:
    """Without a file the command prints each setting with its source, and hides passwords."""
    (tmp_path / "otel-ml.toml").write_text(
        '# mine\nlog_level = "error"\nallowed_hosts = ["a", "b"]'
    )
    store = "clickhouse://me:hush@db/x"
    done = run(
        tmp_path, "check", "--http", "[::1]:80", OTEL_ML_STORE=store, OTEL_ML_LOG_FORMATT="json"
    )
    assert (done.returncode, done.stderr) == (
        0,
        "otel-ml: Unknown variable OTEL_ML_LOG_FORMATT: did you mean OTEL_ML_LOG_FORMAT?\n",
    )
    rows = [re.split("  +", line) for line in done.stdout.splitlines()]
    said = {
        "http": ["[::1]:80", "flag --http"],
        "store": ["clickhouse://me:***@db/x", "variable OTEL_ML_STORE"],
        "log_level": ["error", "file otel-ml.toml:2"],
        "allowed_hosts": ["a,b", "file otel-ml.toml:3"],
    }
    assert rows == [
        [setting.name, *said.get(setting.name, [setting.default or "-", "default"])]
        for setting in TABLE
    ]


def test_long_values(tmp_path: Path) -> None:
    """A long value continues on the next lines, so that no line is wider than the terminal."""
    models = {f"model-{place}": {"input": place, "output": 2 * place} for place in range(20)}
    prices = json.dumps({"provider": models})
    (tmp_path / "otel-ml.toml").write_text(f"prices = {json.dumps(prices)}")
    for width, variables in ((100, {"COLUMNS": ""}), (80, {"COLUMNS": "80"})):
        done = run(tmp_path, "check", **variables)
        lines = done.stdout.splitlines()
        assert max(map(len, lines)) <= width
        (first,) = [place for place, line in enumerate(lines) if line.startswith("prices ")]
        assert lines[first].endswith("file otel-ml.toml:1")
        assert lines[first + 1].startswith("  ")
        assert "".join(re.findall("model-[0-9]+", done.stdout)) == "".join(models)
        (http,) = [line for line in lines if line.startswith("http ")]
        assert http.split() == ["http", "127.0.0.1:4318", "default"]


def test_example(tmp_path: Path) -> None:
    """The example file is valid, and stays valid if all its commented lines are enabled."""
    whole = tmp_path / "whole.toml"
    whole.write_text(re.sub("^#(?! )(?=.)", "", EXAMPLE.read_text(), flags=re.MULTILINE))
    done = run(tmp_path, "check", str(EXAMPLE))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{EXAMPLE} is valid\n", "")
    done = run(tmp_path, "check", "whole.toml")
    assert (done.returncode, done.stdout, done.stderr) == (0, "whole.toml is valid\n", "")


def test_example_names_all() -> None:
    """The example file has every setting with its default, except for the log format."""
    said = dict(re.findall("^#?([a-z_]+) = (.*)$", EXAMPLE.read_text(), re.MULTILINE))
    texts = {name: "" if text == "[]" else text.strip("\"'") for name, text in said.items()}
    assert texts == {setting.name: setting.default for setting in TABLE} | {"log_format": "json"}
