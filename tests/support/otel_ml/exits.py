"""Many processes that end at once, while threads of otel-ml are inside native code."""

import os
import subprocess
import sys
from collections.abc import Sequence
from textwrap import dedent

from tests.support.sampling import EVERY_CASE

EXITS = 100 if EVERY_CASE in os.environ else 5
_AT_ONCE = 5


def end_often(program: str, endpoint: str, python: str = sys.executable) -> list[tuple[int, str]]:
    """Run a program 5 times, at night 100 times, and return status and errors of bad ends.

    Args:
        program: The program. It finds the endpoint in ``OTEL_ML_ENDPOINT``.
        endpoint: Address of a collector, or an address where none listens.
        python: The interpreter.
    """
    kept = {key: item for key, item in os.environ.items() if not key.startswith("OTEL_")}
    environment = {**kept, "OTEL_ML_ENDPOINT": endpoint}
    bad: list[tuple[int, str]] = []
    for begun in range(0, EXITS, _AT_ONCE):
        processes = [
            subprocess.Popen(
                [python, "-c", dedent(program)],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(min(_AT_ONCE, EXITS - begun))
        ]
        bad += _wait_for(processes)
    return bad


def _wait_for(processes: Sequence["subprocess.Popen[str]"]) -> list[tuple[int, str]]:
    ends = [(process, process.communicate(timeout=180)[1]) for process in processes]
    return [(process.returncode, error) for process, error in ends if process.returncode != 0]
