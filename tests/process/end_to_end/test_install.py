"""The package as a user installs it: few dependencies, a quick import, clear missing extras."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.folders import ROOT
from tests.support.otel_ml.otlp_sink import open_sink
from tests.support.sampling import sampled

ROUNDS = 15
# Prints the CPU seconds of a process after importing the SDK's tracing, and after importing the
# client, which needs it. One process measures both: other programs slow down all of it.
TIMED = """
import time
import opentelemetry.sdk.trace
theirs_s = time.process_time()
from otel_ml import Client
print(theirs_s, time.process_time())
"""


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the scripts folder of a fresh environment after ``pip install .``."""
    folder = tmp_path_factory.mktemp("light")
    wheel = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(wheel, check=True, cwd=ROOT, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    programs = folder / "env" / "bin"
    [built] = folder.glob("*.whl")
    subprocess.run(
        [programs / "python", "-m", "pip", "install", "--quiet", str(built)],
        check=True,
        capture_output=True,
    )
    return programs


def test_install_is_light(light: Path) -> None:
    """A plain install has at most eight distributions, including otel-ml."""
    listed = subprocess.run(
        [light / "python", "-m", "pip", "list", "--format", "json"],
        check=True,
        capture_output=True,
        text=True,
    )
    names = {one["name"] for one in json.loads(listed.stdout)} - {"pip", "setuptools", "wheel"}
    assert "otel-ml" in names
    assert len(names) <= 8, sorted(names)


def test_import_is_quick(light: Path) -> None:
    """Importing the client takes at most 1.75 times as long as importing the SDK's tracing."""
    command = [str(light / "python"), "-I", "-c", TIMED]  # -I: the installed package
    ratios = []
    for _ in range(ROUNDS):
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        theirs_s, ours_s = map(float, found.split())
        ratios.append(ours_s / theirs_s)
    ratio = statistics.median(ratios)
    assert ratio <= 1.75, f"{ratio:.2f} times the SDK's import"


def test_collector_command_names_its_extra(light: Path) -> None:
    """In a plain install, `otel-ml serve` names the missing extra in one line."""
    done = subprocess.run(
        [light / "otel-ml", "serve"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        [
            "otel-ml: The collector is not installed: run pip install '.[collector]' in a clone of "
            "the repository"
        ],
    )


@pytest.mark.parametrize(
    "statement", ["import otel_ml; otel_ml.launch('data')", "command"], ids=["launch", "share"]
)
def test_launch_names_its_extra(light: Path, tmp_path: Path, statement: str) -> None:
    """In a plain install, `launch` and `evaluate --share` name the line to type."""
    (tmp_path / "app.py").write_text("def answer(a):\n    return a\n")
    (tmp_path / "qa.jsonl").write_text('{"inputs": {"a": 1}, "expected": 1}\n')
    evaluate = ("evaluate", "app.py:answer", "--dataset", "qa.jsonl", "--share", "report.html")
    command = (
        [str(light / "otel-ml"), *evaluate]
        if statement == "command"
        else [str(light / "python"), "-I", "-c", statement]
    )
    kept = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        command, cwd=tmp_path, env=kept, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].endswith(
        "The collector is not installed: run pip install '.[collector]' in a clone of the "
        "repository"
    )


def test_line_that_is_told_is_the_readme_s() -> None:
    """The README has the install command that `otel-ml serve` prints."""
    assert "\npip install '.[collector]' " in (ROOT / "README.md").read_text()


@sampled(2)
@pytest.mark.parametrize(
    "arguments", [("runs", "--project", "p"), ("keys", "list"), ("check",), ("doctor",)], ids=str
)
def test_light_install_runs_commands(
    light: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """In a plain install, commands that need no store work and report what they do not find."""
    at = () if arguments == ("doctor",) else ("--http", "127.0.0.1:9")
    done = subprocess.run(
        [light / "otel-ml", *arguments, *at],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        cwd=tmp_path,
        env={**os.environ, "OTEL_ML_ENDPOINT": "http://127.0.0.1:9"} if not at else None,
    )
    assert "Traceback" not in done.stderr
    expected = {"check": 0, "doctor": 1}.get(arguments[0], 3)
    assert (done.returncode, list(tmp_path.iterdir())) == (expected, [])


def test_light_install_has_ready_rubrics(light: Path, tmp_path: Path) -> None:
    """A plain install contains the ready rubrics with their examples."""
    done = subprocess.run(
        [light / "python", "-I", light / "otel-ml", "judge", "ready", "--format", "json"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert [one["examples"] for one in json.loads(done.stdout)["rubrics"]] == [40] * 6


def test_import_leaves_the_program_s_packages_alone(light: Path) -> None:
    """Importing the client does not load packages that only the command line needs."""
    script = "import sys, otel_ml, otel_ml.reader; print('click' in sys.modules)"
    done = subprocess.run(
        [light / "python", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_light_install_sends(light: Path) -> None:
    """A plain install delivers runs."""
    script = "import otel_ml\n@otel_ml.trace\ndef f(a): return a + 1\nprint(f(1), f(2))"
    with open_sink() as sink:
        environment = {**os.environ, "OTEL_ML_ENDPOINT": sink.address}
        done = subprocess.run(
            [light / "python", "-c", script],
            capture_output=True,
            text=True,
            check=True,
            timeout=180,
            env=environment,
        )
    assert (done.stdout, done.stderr) == ("2 3\n", "")
    assert [span["otel_ml.outputs"] for span in sink.spans] == ["2", "3"]


def test_protocol_names_its_extra(light: Path) -> None:
    """In a plain install, gRPC is not available, and one warning names the missing extra."""
    script = "import otel_ml\n@otel_ml.trace\ndef f(a): return a + 1\nprint(f(1), f(2))"
    done = subprocess.run(
        [light / "python", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
        env={**os.environ, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    )
    assert done.stdout == "2 3\n"
    [line] = done.stderr.splitlines()
    assert "pip install opentelemetry-exporter-otlp" in line
