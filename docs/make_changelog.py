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
    """Read the version, from the one place that says it."""
    found = _VERSION.search((root / "pyproject.toml").read_text())
    if found is None:
        raise ValueError("There is no version in pyproject.toml")
    return found[1]


def collect(root: Path = ROOT) -> None:
    """Write what the fragments say into the version's chapter, and delete them.

    A second call adds what came since to the same chapter. Words that stand there already stay.

    Raises:
        ValueError: A file of changelog.d is named like none of the kinds; nothing is changed.
    """
    fragments = list((root / "changelog.d").glob("*.md"))
    if strange := [one.name for one in fragments if not _FRAGMENT.fullmatch(one.name)]:
        raise ValueError(f"Invalid names {strange}: expected NUMBER.TOPIC.KIND.md, {KINDS}")
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
    said = "".join(f"* {line}\n" for line in lines)
    before, found, after = chapter.partition(heading)
    return f"{before}{heading}{said}{after}" if found else f"{chapter.rstrip()}\n\n{heading}{said}"


def _lines(fragment: Path) -> list[str]:
    return [line for line in fragment.read_text().splitlines() if line]


if __name__ == "__main__":
    collect()
