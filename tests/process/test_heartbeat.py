"""Tests that long commands show what they do."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.support.folders import ROOT
from tests.support.sampling import at_night

EVERY_S = 0.2
MOST_S = 10 * EVERY_S
SILENT = """
from tests.support.waiting import elapsed, wait_until
wait_until(elapsed(2))
raise SystemExit(7)
"""
INSTALLER = """
import sys
from pathlib import Path
from tests.support.waiting import elapsed, wait_until

print("Looking in indexes: https://packages.example/simple", flush=True)
wheel = "some_model-1.2-py3-none-any.whl"
print(f"  Downloading https://packages.example/{wheel} (16.5 MB)", flush=True)
wait_until(elapsed(1))
info = Path(sys.argv[1], "lib/python3.11/site-packages/some_model-1.2.dist-info")
info.mkdir(parents=True)
(info / "RECORD").write_text("a.py,sha256=0,40000000\\nsome_model-1.2.dist-info/RECORD,,\\n")
wait_until(elapsed(1))
sys.exit(len(sys.argv) - 2)
"""


def watch(command: list[str], folder: Path = ROOT) -> tuple[int, list[str], float]:
    """Run a command; return its status, its lines, and the longest time without a line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    with subprocess.Popen(
        [sys.executable, "-u", "-m", *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines, gaps = [process.stdout.readline()], []
        last_s = time.monotonic()
        for line in process.stdout:
            lines.append(line)
            gaps.append(time.monotonic() - last_s)
            last_s += gaps[-1]
    return process.returncode, lines, max(gaps, default=0.0)


def beat(*arguments: str) -> list[str]:
    return ["tests.support.heartbeat", "--every", str(EVERY_S), *arguments]


def test_silent_command_is_shown() -> None:
    """While a command prints nothing, lines show its name and how long it runs."""
    silent = [sys.executable, "-c", SILENT]
    status, lines, longest_s = watch(beat("mypy", *silent))
    assert status == 7
    assert lines[0] == "mypy\n"
    assert {line.lstrip()[1:] for line in lines[1:]} == {" s: mypy\n"}
    assert longest_s < MOST_S


def test_packages_are_named(tmp_path: Path) -> None:
    """The lines of an installer name packages and sizes, without the address of a registry."""
    install = [sys.executable, "-c", INSTALLER, str(tmp_path)]
    status, lines, longest_s = watch(beat("--into", str(tmp_path), "install", *install))
    assert status == 0
    texts = [line.partition(" s: ")[2] for line in lines[1:]]
    assert [text for text in texts if text != "install\n"] == [
        "fetched some-model 1.2 (16.5 MB)\n",
        "installed some-model 1.2 (40.0 MB)\n",
        "installed 1 package, 40.0 MB\n",
    ]
    assert longest_s < MOST_S


@at_night
def test_failed_installer(tmp_path: Path) -> None:
    """If an installer fails, its output follows."""
    install = [sys.executable, "-c", INSTALLER, str(tmp_path), "and fail"]
    status, lines, _ = watch(beat("--into", str(tmp_path), "install", *install))
    assert status == 1
    assert lines[-2].startswith("Looking in indexes")


@at_night
def test_pytest_shows_progress(tmp_path: Path) -> None:
    """While workers run long tests, lines show how many tests are done."""
    (tmp_path / "test_slow.py").write_text(
        "import pytest\n"
        "from tests.support.waiting import elapsed, wait_until\n"
        "@pytest.mark.parametrize('n', range(3))\n"
        "def test_it(n):\n    wait_until(elapsed(1))\n"
    )
    shown = ["-p", "tests.support.progress", "--progress-every", str(EVERY_S)]
    status, lines, longest_s = watch(["pytest", "--numprocesses", "1", *shown], tmp_path)
    assert status == 0
    assert longest_s < MOST_S
    texts = list(dict.fromkeys(line.partition(" s: ")[2] for line in lines if " s: " in line))
    expected = ["collecting tests\n", *(f"{done} of 3 tests\n" for done in range(3))]
    assert texts[: len(expected)] == expected
