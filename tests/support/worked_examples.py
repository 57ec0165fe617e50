"""The edits of CONTRIBUTING's worked examples."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.folders import ROOT

_EDIT: Final = re.compile(
    r"`(?P<path>[\w/.]+\.\w+)`, (?P<where>after|before) `(?P<anchor>[^`]+)`:\n\n"
    r"```\w+\n(?P<text>.*?)```\n",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Edit:
    """A text to insert into a file, before or after the first line that starts with an anchor."""

    path: str
    where: str
    anchor: str
    text: str

    def make(self, root: Path) -> None:
        """Insert the text into the file in a tree."""
        path = root / self.path
        before = path.read_text()
        at = f"\n{before}".find(f"\n{self.anchor}")
        assert at >= 0, f"{self.path} has no line that begins with {self.anchor!r}"
        if self.where == "after":
            at = before.index("\n", at + len(self.anchor)) + 1
        path.write_text(before[:at] + self.text + before[at:])


def read_example(title: str) -> list[Edit]:
    """Read the edits of a section of CONTRIBUTING."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    chapter = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
    edits = [
        Edit(one["path"], one["where"], one["anchor"].replace("\\n", "\n"), one["text"])
        for one in _EDIT.finditer(chapter)
    ]
    assert len(edits) == chapter.count("```") // 2  # each block has a place
    return edits


def count_places(edits: Sequence[Edit]) -> tuple[int, int]:
    """Count the files and lines that edits touch, not counting the proto message."""
    counted = [edit for edit in edits if not edit.path.endswith(".proto")]
    lines = sum(edit.text.count("\n") for edit in counted)
    return len({edit.path for edit in counted}), lines
