"""The demo, run as a user runs it, for tests of its output and its data."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.folders import ROOT

OUTPUT: Final = "output.txt"
_TIMEOUT_S: Final = 600


@contextlib.contextmanager
def usual_ports_taken() -> Iterator[None]:
    """Occupy the default ports, so the demo avoids the ports of other tests' clients."""
    with contextlib.ExitStack() as stack:
        for port in (4317, 4318):
            holder = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # already taken, which has the same effect
                holder.bind(("127.0.0.1", port))
        yield


def record_demo(folder: Path) -> Path:
    """Record the demo's data and save its output next to it; return the data directory."""
    command = [sys.executable, "-m", "examples.demo", "--once", "--folder", str(folder)]
    with (
        usual_ports_taken(),
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as demo,
    ):
        try:
            output, _ = demo.communicate(timeout=_TIMEOUT_S)
        finally:
            demo.terminate()  # if it is still running, this also ends the processes it started
    assert demo.returncode == 0, output
    (folder / OUTPUT).write_text(output)
    return folder / "data"
