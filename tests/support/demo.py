"""The demo, run as a user runs it, for the tests that look at what it prints and leaves."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.folders import ROOT

OUTPUT: Final = "output.txt"
_TIMEOUT_S: Final = 300


@contextlib.contextmanager
def usual_ports_taken() -> Iterator[None]:
    """Keep the demo off the ports that other tests' clients would send to by default."""
    with contextlib.ExitStack() as stack:
        for port in (4317, 4318):
            holder = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # somebody else has it, which is as good
                holder.bind(("127.0.0.1", port))
        yield


def record_demo(folder: Path) -> Path:
    """Record what the demo records, with what it printed beside it; returns the data directory."""
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
            demo.terminate()  # if it runs on: then it ends what it has started
    assert demo.returncode == 0, output
    (folder / OUTPUT).write_text(output)
    return folder / "data"
