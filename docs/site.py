"""Builds the docs as a website with search that works without a network: ``make site``."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

from docs.markdown import anchor

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = ROOT / ".cache" / "site"
_FENCED: Final = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_HEADING: Final = re.compile(r"^(#+ )(.+)$", re.MULTILINE)
_LINK: Final = re.compile(r"\]\((?!https?:)([^)#\s]+)")
_LANGUAGE: Final = re.compile(
    r"^```(\w+) \w+$", re.MULTILINE
)  # the second word is only for the tests


def pages() -> list[Path]:
    """Return all pages: docs/, the Markdown files next to the README, and deploy/README.md."""
    return [*ROOT.glob("*.md"), ROOT / "deploy" / "README.md", *(ROOT / "docs").rglob("*.md")]


def build(target: Path) -> None:
    """Build all pages.

    Args:
        target: The output folder, which is deleted and recreated.

    Raises:
        CalledProcessError: A link or an anchor is broken. mkdocs prints which one and where.
    """
    shutil.rmtree(target, ignore_errors=True)
    source = target / "source"
    for page in pages():
        text = page.read_text()
        _write(source / page.relative_to(ROOT), _with_anchors(_LANGUAGE.sub(r"```\1", text)))
        for link in _LINK.findall(text):
            linked = (page.parent / link).resolve()
            if linked.suffix != ".md" and linked.is_file():
                copied = source / linked.relative_to(ROOT)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(linked, copied)
    settings = (ROOT / "mkdocs.yml").read_text()
    _write(target / "mkdocs.yml", f"{settings}nav: {json.dumps(_navigation())}\n")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # the theme prints an unrelated warning
    subprocess.run(command, check=True, cwd=target, env=quiet)  # noqa: S603 - the current Python with fixed arguments


def _navigation() -> list[object]:
    """Return the navigation, in the order of the links in each folder's index."""

    def named(index: str) -> list[str]:
        folder = (ROOT / index).parent.relative_to(ROOT)
        links = _LINK.findall((ROOT / index).read_text())
        return list(dict.fromkeys(str(folder / link) for link in links if "/" not in link))

    first = ["README.md", "docs/tutorial.md"]
    how_to, design = "docs/how-to/README.md", "docs/design/README.md"
    reference = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md"))
    return [
        *first,
        {"How to": [how_to, *named(how_to)]},
        {"Reference": [page for page in reference if page not in first]},
        {"Design": [design, *named(design)]},
        {"Project": ["deploy/README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]},
    ]


def _with_anchors(text: str) -> str:
    """Give each heading the anchor that GitHub gives it, so that links work on both."""
    counts: Counter[str] = Counter()

    def name(found: re.Match[str]) -> str:
        slug = anchor(found[2])
        counts[slug] += 1
        number = counts[slug] - 1
        return f"{found[0]} {{ #{slug}-{number} }}" if number else f"{found[0]} {{ #{slug} }}"

    parts, at = [], 0
    for block in _FENCED.finditer(text):
        parts += [_HEADING.sub(name, text[at : block.start()]), block[0]]
        at = block.end()
    return "".join([*parts, _HEADING.sub(name, text[at:])])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=Path, default=TARGET)
    chosen = parser.parse_args().target
    build(chosen)
    sys.stdout.write(
        f"To read the docs, run: python3 -m http.server --directory {chosen / 'site'}\n"
    )
