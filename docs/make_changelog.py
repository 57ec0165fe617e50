"""Moves the fragments of changelog.d into CHANGELOG.md, below the version of pyproject.toml."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = ROOT / "CHANGELOG.md"
KINDS: Final = ("added", "changed", "fixed", "removed")
_FRAGMENT: Final = re.compile(rf"\d+\.(?:[\w-]+\.)?({'|'.join(KINDS)})\.md")
_VERSION: Final = re.compile(r'^version = "(.+)"$', re.MULTILINE)


def version(root: Path = ROOT) -> str:
    """Return the version in pyproject.toml."""
    found = _VERSION.search((root / "pyproject.toml").read_text())
    if found is None:
        raise ValueError("There is no version in pyproject.toml")
    return found[1]


def collect(root: Path = ROOT) -> None:
    """Move the text of all fragments into the section of the current version.

    A later call adds new fragments to the same section and keeps its existing text.

    Raises:
        ValueError: The name of a fragment has no valid kind. Nothing is changed.
    """
    fragments = list((root / "changelog.d").glob("*.md"))
    if invalid := [one.name for one in fragments if not _FRAGMENT.fullmatch(one.name)]:
        raise ValueError(f"Invalid names {invalid}: expected NUMBER.TOPIC.KIND.md, {KINDS}")
    fragments.sort(key=lambda one: (int(one.name.partition(".")[0]), one.name))
    target = root / "CHANGELOG.md"
    text = target.read_text()
    heading = f"## {version(root)}\n"
    if heading not in text:
        before, _, after = text.partition("\n## ")
        text = f"{before.rstrip()}\n\n{heading}" + (f"\n## {after}" if after else "")
    head, _, rest = text.partition(heading)
    chapter, mark, older = rest.partition("\n## ")
    for kind in KINDS:
        lines = [line for one in fragments if f".{kind}." in one.name for line in _lines(one)]
        chapter = _with_lines(chapter, f"### {kind.capitalize()}\n\n", lines)
    target.write_text(f"{head}{heading}\n{chapter.strip()}\n{mark}{older}")
    for fragment in fragments:
        fragment.unlink()


def _with_lines(chapter: str, heading: str, lines: list[str]) -> str:
    if not lines:
        return chapter
    items = "".join(f"* {line}\n" for line in lines)
    before, found, after = chapter.partition(heading)
    return (
        f"{before}{heading}{items}{after}" if found else f"{chapter.rstrip()}\n\n{heading}{items}"
    )


def _lines(fragment: Path) -> list[str]:
    return [line for line in fragment.read_text().splitlines() if line]


if __name__ == "__main__":
    collect()
