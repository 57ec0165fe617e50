"""Read a Dockerfile; supports the instructions that the project's own file uses."""

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

_INSTRUCTIONS: Final = frozenset(
    {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN"}
    | {"STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
)
_PINNED: Final = re.compile(r"\w[\w./-]*:\d[\w.-]*")

Instructions = list[tuple[str, str]]


def read(file: Path) -> Instructions:
    """List the instructions with their arguments, in order and without comments."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(name, argument.strip()) for name, _, argument in pairs]


def command(instructions: Instructions, wanted: str) -> list[str]:
    """Return the words of the last ENTRYPOINT, CMD or HEALTHCHECK, given in JSON form."""
    argument = [argument for name, argument in instructions if name == wanted][-1]
    words: list[str] = json.loads(argument[argument.index("[") :])
    return words


def problems(file: Path, context: Path) -> list[str]:
    """List the problems of a Dockerfile that is built with a folder as its context."""
    instructions = read(file)
    names = {name for name, _ in instructions}
    found = [f"unknown instruction {name}" for name in sorted(names - _INSTRUCTIONS)]
    found += [f"no {name}" for name in ("HEALTHCHECK", "ENTRYPOINT") if name not in names]
    if _user(instructions) in {"", "root", "0"}:
        found.append("the image runs as root")
    found += [
        f"base {argument} has no fixed version"
        for name, argument in instructions
        if name == "FROM" and not _PINNED.fullmatch(argument.split()[0])
    ]
    return found + list(_bad_sources(instructions, context))


def _user(instructions: Instructions) -> str:
    """Return the user of the last stage, or an empty string if the stage sets no user."""
    user = ""
    for name, argument in instructions:
        if name == "FROM":
            user = ""
        elif name == "USER":
            user = argument.partition(":")[0]
    return user


def _bad_sources(instructions: Instructions, context: Path) -> Iterator[str]:
    ignore = (context / ".dockerignore").read_text().splitlines()
    for name, argument in instructions:
        words = argument.split()
        if name != "COPY" or words[0].startswith("--from="):
            continue
        for source in words[:-1]:
            if not (context / source).exists():
                yield f"{source} is not there"
            elif _is_ignored(source, ignore):
                yield f"{source} is kept out by .dockerignore"


def _is_ignored(path: str, patterns: list[str]) -> bool:
    """Return whether the last pattern that matches the path or a parent folder excludes it."""
    parts = path.split("/")
    above = ["/".join(parts[: number + 1]) for number in range(len(parts))]
    ignored = False
    for pattern in patterns:
        if pattern and not pattern.startswith("#"):
            body = pattern.removeprefix("!")
            if any(fnmatch(place, body) for place in above):
                ignored = not pattern.startswith("!")
    return ignored
