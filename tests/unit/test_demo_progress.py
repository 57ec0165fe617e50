"""Tests of the lines of the demo."""

import io
import re
from threading import Event

from rich.console import Console

from examples.demo.progress import Steps


class Output(io.StringIO):
    """A file that sets an event at each line."""

    def __init__(self) -> None:
        super().__init__()
        self.has_lines = Event()

    def write(self, text: str) -> int:
        self.has_lines.set()
        return super().write(text)


def test_long_step_is_shown() -> None:
    """Without a terminal, lines show a long step before it ends."""
    output = Output()
    with Steps(Console(file=output), every_s=0.01) as steps, steps.step("Send", total=2) as advance:
        assert output.has_lines.wait(30)
        advance()
    *before, last = output.getvalue().splitlines()
    assert before[0] == "Send (0 of 2): 0 s so far"
    assert re.fullmatch(r"Send \(2\): \d+\.\d s", last)
