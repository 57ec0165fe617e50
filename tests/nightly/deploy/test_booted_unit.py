"""The systemd unit works under a real systemd, which systemd-nspawn boots in a container.

This needs root. The container has the host's /usr; everything else is empty and in memory.
`make check-deploy` unpacks Debian's systemd-nspawn, and prints "not run" if it is not permitted.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from sysconfig import get_path
from typing import Final

import pytest

from tests.support.deploy.tools import DEPLOY
from tests.support.folders import ROOT
from tests.support.load import PROTOBUF, make_request
from tests.support.waiting import wait_until

pytestmark = pytest.mark.booted

NSPAWN: Final = ROOT / ".cache/systemd/usr/bin/systemd-nspawn"
MACHINE: Final = f"otel-ml-{os.getpid()}"
PROGRAM: Final = "/opt/otel-ml/bin/otel-ml"
BACKUPS: Final = "/var/lib/otel-ml-backups"
REFUSED_FOLDERS: Final = {
    "/tmp/monday": "/tmp is a private folder of the service",  # noqa: S108 - it is refused
    "/etc/monday": "Read-only file system",
    "/var/lib/otel-ml/monday": "whose data it would back up",
}
# The Python of these tests may be in a home folder, which the unit cannot see.
LAUNCHER: Final = f"""#!/bin/sh
export PYTHONHOME=/opt/python LD_LIBRARY_PATH=/opt/python/lib
export PYTHONPATH=/opt/otel-ml/root:/opt/otel-ml/root/collector:/opt/otel-ml/site
exec /opt/python/bin/python{sys.version_info[0]}.{sys.version_info[1]} -m otel_ml_collector "$@"
"""
ASK: Final = """
import sys, urllib.request
kind, path = sys.argv[1:]
body = sys.stdin.buffer.read() or None
headers = {"content-type": kind} if body else {}
address = f"http://127.0.0.1:4318{path}"
with urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=20) as answer:
    sys.stdout.write(answer.read().decode())
"""
DROP_IN: Final = Path("/etc/systemd/system/otel-ml.service.d/server.conf")
SERVER: Final = f"""[Service]
ExecStart=
ExecStart={PROGRAM} serve --store clickhouse://user:password@127.0.0.1:9/otel_ml
"""
_START_S: Final = 120
_STOP_S: Final = 10


@dataclass(frozen=True, slots=True)
class Machine:
    """A booted container.

    Attributes:
        leader: Process ID of its systemd on the host.
    """

    leader: int

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container."""
        inside = ("nsenter", "--target", str(self.leader), "--mount", "--pid", "--net")
        return subprocess.run([*inside, *command], capture_output=True, text=True, check=False)

    def manage(self, *command: str) -> None:
        """Run a systemctl command in the container, and require success."""
        answer = self.run("systemctl", *command)
        assert answer.returncode == 0, answer.stderr

    def show(self, name: str) -> str:
        """Return a property of the unit."""
        return self.run("systemctl", "show", "otel-ml", "--value", f"--property={name}").stdout[:-1]

    def start(self, settings: str = "") -> None:
        """Restart the unit with the given settings."""
        self.run("sh", "-c", 'printf %s "$0" > /etc/otel-ml/otel-ml.toml', settings)
        self.run("systemctl", "stop", "otel-ml")
        self.run("systemctl", "reset-failed", "otel-ml")
        self.manage("start", "--no-block", "otel-ml")

    def wait_ready(self) -> None:
        """Wait until the unit reports that it is ready."""
        wait_until(lambda: self.show("ActiveState") == "active", _START_S, about=self.log)

    def log(self) -> str:
        """Return the latest log lines of the unit."""
        return self.run("journalctl", "--unit=otel-ml", "--no-pager", "--lines=40").stdout

    def ask(self, path: str, body: bytes = b"") -> str:
        """Send a request to the collector from inside, and return the response text."""
        inside = ["nsenter", "--target", str(self.leader), "--net", sys.executable, "-c", ASK]
        command = [*inside, PROTOBUF["content-type"], path]
        return subprocess.run(command, input=body, capture_output=True, check=True).stdout.decode()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Boot a container whose only service is the unit."""
    folder = tmp_path_factory.mktemp("booted")
    folder.chmod(0o755)
    launcher = folder / "otel-ml"
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    mounts = {
        sys.base_prefix: "/opt/python",
        get_path("purelib"): "/opt/otel-ml/site",
        str(ROOT): "/opt/otel-ml/root",
        str(folder): "/opt/otel-ml/bin",
        str(DEPLOY / "systemd/otel-ml.service"): "/etc/systemd/system/otel-ml.service",
    }
    command = [
        *(str(NSPAWN), f"--machine={MACHINE}", "--directory=/", "--volatile=yes", "--quiet"),
        *("--register=no", "--keep-unit", "--private-network", "--console=read-only"),
        *(f"--bind-ro={Path(source).resolve()}:{target}" for source, target in mounts.items()),
        *("--boot", "--", "systemd.firstboot=no", "systemd.unit=otel-ml.service"),
    ]
    printed = folder / "console"
    environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    with printed.open("w") as console:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=console, stderr=console
        )

    def find_booted() -> Machine | None:
        assert process.poll() is None, printed.read_text()
        leader = find_leader(process.pid)
        if leader is None:
            return None
        booted = Machine(leader)
        return booted if booted.show("LoadState") == "loaded" else None

    try:
        yield wait_until(find_booted, _START_S, about=printed.read_text)
    finally:
        with suppress(ProcessLookupError):
            os.kill(find_leader(process.pid) or process.pid, 9)
        process.wait()
        shutil.rmtree(f"/run/systemd/nspawn/propagate/{MACHINE}", ignore_errors=True)


def find_leader(pid: int) -> int | None:
    """Return the descendant of a process that has PID 1 in its own namespace."""
    with suppress(OSError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            status = Path(f"/proc/{child}/status").read_text()
            [pids] = [line.split()[1:] for line in status.splitlines() if line.startswith("NSpid")]
            if len(pids) > 1 and pids[-1] == "1":
                return child
            if (found := find_leader(child)) is not None:
                return found
    return None


def test_start(machine: Machine) -> None:
    """The unit starts, notifies systemd when it is ready, and does not run as root."""
    machine.start()
    machine.wait_ready()
    found = [machine.show(name) for name in ("SubState", "StatusText", "NRestarts")]
    assert found == ["running", "Ready", "0"]
    assert machine.ask("/readyz") == '{"status":"ready"}'
    process = machine.run("stat", "--format=%u", f"/proc/{machine.show('MainPID')}")
    assert int(process.stdout) > 60_000
    assert machine.run("stat", "--format=%a", "/var/lib/private/otel-ml").stdout == "700\n"


def test_kill(machine: Machine) -> None:
    """SIGHUP has no effect; after a kill, the unit restarts with all runs."""
    machine.start()
    machine.wait_ready()
    machine.ask("/v1/traces", make_request("booted", 20).SerializeToString())
    before = machine.show("MainPID")
    machine.manage("kill", "--signal=HUP", "otel-ml")
    assert machine.ask("/healthz")
    assert machine.show("MainPID") == before
    machine.manage("kill", "--signal=KILL", "otel-ml")
    wait_until(lambda: machine.show("NRestarts") == "1", about=machine.log)
    machine.wait_ready()
    assert machine.show("MainPID") not in {before, "0"}
    assert machine.ask("/api/v1/projects/booted/runs?limit=100").count('"run_id"') == 20


def test_stop(machine: Machine) -> None:
    """The unit stops successfully within 10 s."""
    machine.start()
    machine.wait_ready()
    begun_s = time.monotonic()
    machine.manage("stop", "otel-ml")
    assert time.monotonic() - begun_s < _STOP_S
    found = [machine.show(name) for name in ("ActiveState", "Result", "ExecMainStatus")]
    assert found == ["inactive", "success", "0"]


def test_store_away(machine: Machine) -> None:
    """If the store does not respond in time, the collector exits with 1 and is restarted."""
    machine.run("mkdir", str(DROP_IN.parent))
    machine.run("sh", "-c", f'printf %s "$0" > {DROP_IN}', SERVER)
    machine.manage("daemon-reload")
    try:
        machine.start("store_wait_s = 1\n")
        wait_until(lambda: int(machine.show("NRestarts")) >= 2, _START_S, about=machine.log)
        assert "status=1/FAILURE" in machine.log()
    finally:
        machine.run("rm", str(DROP_IN))
        machine.manage("daemon-reload")


def test_wrong_setting(machine: Machine) -> None:
    """With an invalid setting the collector exits with 2 and is not restarted."""
    machine.start('log_level = "loud"\n')
    wait_until(lambda: machine.show("ActiveState") == "failed", _START_S, about=machine.log)
    found = [machine.show(name) for name in ("Result", "ExecMainStatus", "NRestarts")]
    assert found == ["exit-code", "2", "0"]


def test_backup(machine: Machine) -> None:
    """A backup is written to the given folder, or refused with the reason."""
    machine.start()
    machine.wait_ready()
    for folder, reason in REFUSED_FOLDERS.items():
        answer = machine.run(PROGRAM, "backup", folder)
        assert answer.returncode == 2
        assert reason in answer.stderr
        assert machine.run("ls", folder).returncode != 0
    answer = machine.run(PROGRAM, "backup", f"{BACKUPS}/monday")
    assert answer.returncode == 0, answer.stderr
    assert machine.run("ls", f"{BACKUPS}/monday").stdout
