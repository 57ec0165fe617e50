"""The demo, run as a user runs it, for the tests that look at what it prints and leaves."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

OUTPUT: Final = "output.txt"
_CHECKOUT: Final = Path(__file__).parents[2]


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
    with usual_ports_taken():
        done = subprocess.run(
            [sys.executable, "-m", "examples.demo", "--once", "--folder", str(folder)],
            check=False,
            cwd=_CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
        )
    assert done.returncode == 0, done.stdout
    (folder / OUTPUT).write_text(done.stdout)
    return folder / "data"
