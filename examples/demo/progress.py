"""Shows the progress of the demo: bars on a terminal, otherwise lines."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

EVERY_S: Final = 5.0


class Steps:
    """The steps of the demo, shown in order.

    Args:
        console: The console that shows them. If it is not a terminal, each step is one line at its
            end, and a line every few seconds before.
        every_s: How many seconds are between two lines of a step.
    """

    def __init__(self, console: Console, every_s: float = EVERY_S) -> None:
        self._console = console
        self._every_s = every_s
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "Steps":
        """Show the bars while the block runs."""
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        """Stop updating the bars."""
        self._bars.stop()

    @contextmanager
    def step(self, text: str, total: int = 1) -> Iterator[Callable[[], None]]:
        """Show one step. Call the yielded function after each of its `total` parts."""
        task = self._bars.add_task(text, total=total)
        began = time.monotonic()
        done, ended = [0], Event()

        def advance() -> None:
            done[0] += 1
            self._bars.advance(task)

        def beat() -> None:
            while not ended.wait(self._every_s):
                parts = f" ({done[0]} of {total})" if total > 1 else ""
                self._console.print(f"{text}{parts}: {time.monotonic() - began:.0f} s so far")

        beats = Thread(target=beat)
        if not self._console.is_terminal:
            beats.start()
        try:
            yield advance
        finally:
            ended.set()
        self._bars.update(task, completed=total)
        self._bars.stop_task(task)
        if not self._console.is_terminal:
            beats.join()
            parts = f" ({total})" if total > 1 else ""
            self._console.print(f"{text}{parts}: {time.monotonic() - began:.1f} s")
