"""Shows the progress of the demo: bars on a terminal, otherwise one line per step."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Steps:
    """The steps of the demo, shown in order.

    Args:
        console: The console that shows them.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
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
        yield lambda: self._bars.advance(task)
        self._bars.update(task, completed=total)
        self._bars.stop_task(task)
        if not self._console.is_terminal:
            parts = f" ({total})" if total > 1 else ""
            self._console.print(f"{text}{parts}: {time.monotonic() - began:.1f} s")
