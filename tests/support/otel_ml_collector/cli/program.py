"""Runs ``otel-ml`` as its users do: in a pipe, or on a terminal."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Final

PROGRAM: Final = (sys.executable, "-m", "otel_ml_collector")
_ENDS_S: Final = 60


def environment(endpoint: str, **variables: str) -> Mapping[str, str]:
    """Return the test's environment without the variables that the program reads."""
    words = ("OTEL_", "HTTP", "NO_", "ALL_PROXY", "COLUMNS", "FORCE_")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(words)}
    return {**kept, "OTEL_ML_ENDPOINT": endpoint, **variables}


def otel_ml(
    endpoint: str, *arguments: str, **variables: str
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command in a pipe until it exits."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        env=environment(endpoint, **variables),
        capture_output=True,
        timeout=_ENDS_S,
        check=False,
    )


def on_terminal(endpoint: str, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run a command on a terminal; return its exit status and the terminal's content."""
    ours, theirs = pty.openpty()
    shown = {"TERM": "xterm", "COLUMNS": "120", **variables}
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        env=environment(endpoint, **shown),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    sent = _read_all(ours)
    os.close(ours)
    return process.wait(_ENDS_S), sent.decode().replace("\r\n", "\n")


def _read_all(terminal: int) -> bytes:
    sent, deadline = b"", time.monotonic() + _ENDS_S
    poll = select.poll()  # not select: a process of many tests has descriptors beyond 1,023
    poll.register(terminal)
    while poll.poll(1_000 * max(deadline - time.monotonic(), 0)):
        try:
            part = os.read(terminal, 65_536)
        except OSError:  # Linux reports a closed terminal in this way
            return sent
        if not part:
            return sent
        sent += part
    raise AssertionError(f"the program did not end: {sent!r}")
