"""Copies the service and edits the copy, which creates a second version of its model."""

import shutil
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).parent / "service"

# An edit that a developer might make after seeing the scores: answer with the sentence closest to
# the question and the one after it.
_EDITS: Final = (
    ("WORDS = 40\n", "WORDS = 60\n"),
    (
        '    sentence = sentences(best["text"])[0]\n',
        "    asked = words(question)\n"
        '    found = sentences(best["text"])\n'
        "    closest = max(range(len(found)), key=lambda place: len(asked & words(found[place])))\n"
        '    sentence = " ".join(found[closest : closest + 2])\n',
    ),
)


def copy_service(folder: Path) -> None:
    """Copy the service's source to ``service`` in the folder."""
    shutil.copytree(_SOURCE, folder / "service", ignore=shutil.ignore_patterns("__pycache__"))


def edit_service(folder: Path) -> None:
    """Change the `answer` function of the copy to its second version."""
    file = folder / "service" / "docs_search.py"
    text = file.read_text("utf-8")
    for before, after in _EDITS:
        assert text.count(before) == 1, f"expected {before!r} exactly once in {file}"
        text = text.replace(before, after)
    file.write_text(text, "utf-8")
