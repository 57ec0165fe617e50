"""The package as a user installs it: light, quick to import, clear about what it lacks."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.folders import ROOT
from tests.support.otel_ml.otlp_sink import open_sink

ROUNDS = 9


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a fresh environment that holds what ``pip install .`` brings."""
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
    """A plain install brings at most eight distributions, ours included."""
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
    """Importing the client takes at most one and a half times what the SDK's tracing takes."""

    def import_s(statement: str) -> float:
        """Return the processor's seconds of what is installed, not of this folder (``-I``)."""
        timed = f"import time\n{statement}\nprint(time.process_time())"
        command = [str(light / "python"), "-I", "-c", timed]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    pairs = [
        (import_s("from otel_ml import Client"), import_s("import opentelemetry.sdk.trace"))
        for _ in range(ROUNDS)
    ]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs[1:])
    assert ratio <= 1.5, f"{ratio:.2f} times the SDK's import"


def test_collector_command_names_its_extra(light: Path) -> None:
    """In a light install the program says in one line which extra it lacks."""
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


def test_line_that_is_told_is_the_readme_s() -> None:
    """What the program tells to install is what the README does."""
    assert "\npip install '.[collector]' " in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    "arguments", [("runs", "--project", "p"), ("keys", "list"), ("check",), ("doctor",)], ids=str
)
def test_light_install_runs_commands(
    light: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """In a light install commands that need no store work, and say what they do not find."""
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
    """The package contains the ready rubrics with their examples, also without the collector."""
    done = subprocess.run(
        [light / "python", "-I", light / "otel-ml", "judge", "ready", "--format", "json"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert [one["examples"] for one in json.loads(done.stdout)["rubrics"]] == [40] * 6


def test_import_leaves_the_program_s_packages_alone(light: Path) -> None:
    """Importing the client loads nothing that only the program needs."""
    script = "import sys, otel_ml, otel_ml.reader; print('click' in sys.modules)"
    done = subprocess.run(
        [light / "python", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_light_install_sends(light: Path) -> None:
    """What a plain install brings delivers runs."""
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
    """In a light install gRPC works in no way, and one warning names the extra that it lacks."""
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
