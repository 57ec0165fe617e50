"""Programs that fork six children at once while twelve busy loops run.

``python -m tests.support.hostile.crowd`` runs one and prints the results of its calls. With a name
in ``HOSTILE_MODEL`` the model is traced; the parent calls it right before it forks, while the
sender is being loaded.
"""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

NAME: Final = os.environ.get("HOSTILE_MODEL", "")
CHILDREN: Final = 6
CALLS: Final = CHILDREN + 1
_LOOPS: Final = 12


def model(number: int) -> int:
    return 2 * number


if NAME:
    import otel_ml

    model = otel_ml.trace(name=NAME)(model)


def use(name: str, rounds: int, function: Callable[..., Any]) -> list[str]:
    """Run the program several times in a row; trace its model if the function is traced."""
    with busy_loops():
        return [run("" if function is model else name).stdout for _ in range(rounds)]


def run(name: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program once; trace its model if a name is given."""
    return subprocess.run(
        # Python 3.12 and newer warn about any fork with other threads.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-m", __name__],
        env={**os.environ, "HOSTILE_MODEL": name, **variables},
        capture_output=True,
        text=True,
        check=True,
    )


@contextmanager
def busy_loops() -> Iterator[None]:
    """Keep the machine busy until the block ends."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(_LOOPS)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> list[int | None]:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=model, args=(number,)) for number in range(CHILDREN)]
    first = model(-1)
    for child in children:
        child.start()
    for child in children:
        child.join()
    return [first, *(child.exitcode for child in children)]


if __name__ == "__main__":
    sys.stdout.write(f"{main()}\n")
