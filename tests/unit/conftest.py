"""Checks that unit tests start no process, no socket and no store engine."""

import sys
from collections.abc import Iterator
from typing import Final

import pytest

# Names of audit events: https://docs.python.org/3/library/audit_events.html
_STARTS: Final = {
    "os.fork": "forks",
    "os.forkpty": "forks",
    "os.posix_spawn": "starts a process",
    "socket.bind": "opens a socket",
    "socket.connect": "connects a socket",
    "subprocess.Popen": "starts a process",
}
_ENGINE: Final = "chdb"


class _Guard:
    """Records the processes, sockets and engines that a test starts, from any thread."""

    def __init__(self) -> None:
        self.is_on = False
        self.started: list[str] = []

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.is_on:
            return
        if event in _STARTS:
            self.started.append(f"{_STARTS[event]}: {event}{arguments!r:.200}")
        elif event == "import" and str(arguments[0]).partition(".")[0] == _ENGINE:
            self.started.append("opens the engine of the store")


_GUARD: Final = _Guard()
sys.addaudithook(_GUARD)  # permanent: Python cannot remove an audit hook


@pytest.fixture(autouse=True)
def _starts_nothing() -> Iterator[None]:
    """Fail a test that starts anything, because it belongs to the folder of another tier."""
    _GUARD.started.clear()
    _GUARD.is_on = True
    yield
    _GUARD.is_on = False
    assert not _GUARD.started, (
        f"A unit test {_GUARD.started[0]}. Move its module to tests/store or tests/process"
    )
