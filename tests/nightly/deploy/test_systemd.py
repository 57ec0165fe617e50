"""Systemd accepts the unit. `test_booted_unit` starts it."""

import shlex
from pathlib import Path

import pytest

from tests.support.collector import CollectorProcess
from tests.support.deploy.tools import DEPLOY, Verdict, change, run

UNIT = DEPLOY / "systemd/otel-ml.service"
PROGRAM = "/opt/otel-ml/bin/otel-ml"
# Exposure in tenths: 0 is closed, 100 is open.
EXPOSURE = "15"


def test_unit_is_valid(tmp_path: Path) -> None:
    """Systemd reports nothing about the unit, with a different program in its place."""
    assert verify(UNIT, tmp_path) == Verdict(0, "", "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ProtectHome=yes", "ProtectHomes=yes"),
        ("ProtectSystem=strict", "ProtectSystem=srtict"),
        ("RestartSec=2s", "RestartSec=soon"),
        ("SystemCallFilter=@system-service", "SystemCallFilter=@system-servce"),
        ("[Service]", "[Sevice]"),
    ],
)
def test_unit_is_refused(old: str, new: str, tmp_path: Path) -> None:
    """Systemd reports a misspelt key, value, set of system calls, or section."""
    (tmp_path / "broken").mkdir()
    verdict = verify(change(UNIT, tmp_path / "broken", old, new), tmp_path)
    assert verdict.status != 0 or verdict.errors


def test_missing_program_is_refused() -> None:
    """A missing program is an error, so the check above includes the program."""
    verdict = run("systemd-analyze", "verify", UNIT)
    assert verdict.status != 0
    assert PROGRAM in verdict.errors


def test_unit_is_closed() -> None:
    """Systemd rates the exposure of the service as low."""
    assert rate(UNIT).status == 0


def test_open_unit_is_refused(tmp_path: Path) -> None:
    """Without its filter of system calls, the unit exceeds the allowed exposure."""
    assert rate(change(UNIT, tmp_path, "SystemCallFilter=@system-service\n", "")).status != 0


def test_arguments_start_a_collector(tmp_path: Path) -> None:
    """The unit's arguments start a collector, here with another folder and on free ports."""
    [line] = [line for line in UNIT.read_text().splitlines() if line.startswith("ExecStart=")]
    program, command, *arguments = shlex.split(line.removeprefix("ExecStart="))
    assert (program, command) == (PROGRAM, "serve")
    changed = [argument.replace("%S", str(tmp_path)) for argument in arguments]
    collector = CollectorProcess(tmp_path / "unused", *changed)
    try:
        collector.wait_ready()
        assert (tmp_path / "otel-ml").is_dir()
    finally:
        collector.kill()


def verify(unit: Path, folder: Path) -> Verdict:
    return run("systemd-analyze", "verify", change(unit, folder, PROGRAM, "/bin/true"))


def rate(unit: Path) -> Verdict:
    return run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", unit)
