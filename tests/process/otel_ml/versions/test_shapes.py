"""Typical changes to the code of models create the expected versions."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Final

import pytest

from tests.process.otel_ml.versions.shapes import SHAPES, Shape, write
from tests.support.folders import ROOT
from tests.support.sampling import sampled

Pair = tuple[str, str]
# Several shapes share a process, but the three states of one shape never do.
_AT_ONCE: Final = 24
PARTS: Final = range(-(-len(SHAPES) // _AT_ONCE))


def run(folders: Iterable[Path]) -> dict[str, list[Pair]]:
    """Run packages in a new Python process; return the versions of each package's calls."""
    command = [sys.executable, "-m", "tests.process.otel_ml.versions.shapes", *map(str, folders)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found: Mapping[str, list[list[str]]] = json.loads(done.stdout)
    return {
        folder: [(digest, structure) for digest, structure in one] for folder, one in found.items()
    }


def numbered(states: list[list[Pair]]) -> list[list[int]]:
    """Number the versions as the store does, in their order of arrival."""
    structures: dict[str, list[str]] = {}
    for digest, structure in (pair for state in states for pair in state):
        known = structures.setdefault(digest, [])
        if structure and structure not in known:
            known.append(structure)
    slots: list[tuple[str, bool]] = []
    found = []
    for state in states:
        numbers = []
        for digest, structure in state:
            slot = (digest, structure in structures[digest][1:])
            if slot not in slots:
                slots.append(slot)
            numbers.append(slots.index(slot) + 1)
        found.append(numbers)
    return found


def is_there(shape: Shape) -> bool:
    return not shape.needs or importlib.util.find_spec(shape.needs) is not None


def test_there_are_many_shapes() -> None:
    """The table has enough edits with and without a new version, and data-only shapes."""
    assert len({shape.name for shape in SHAPES}) == len(SHAPES) >= 45
    kinds = [(bool(shape.old), shape.opens) for shape in SHAPES]
    assert kinds.count((True, True)) >= 45
    assert kinds.count((True, False)) >= 4
    assert kinds.count((False, True)) >= 15


@sampled(1)
@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"part {part + 1}")
def test_edits_open_versions(tmp_path: Path, part: int) -> None:
    """Each shape has the expected versions before its edit, after it, and once it is reverted."""
    check([shape for shape in SHAPES[part * _AT_ONCE :][:_AT_ONCE] if is_there(shape)], tmp_path)


@sampled(1, only=("method of a*",))
@pytest.mark.parametrize("shape", SHAPES, ids=attrgetter("name"))
def test_edit_alone_opens_a_version(tmp_path: Path, shape: Shape) -> None:
    """Each shape also has the expected versions if no other shape is in its processes."""
    if not is_there(shape):
        pytest.skip(f"{shape.needs} is not installed")
    check([shape], tmp_path)


def check(shapes: Sequence[Shape], tmp_path: Path) -> None:
    """Run the three states of some shapes, and check and print their versions."""
    states: list[dict[str, list[Pair]]] = []
    for state in range(3):
        folders = [
            write(shape, tmp_path / f"{state} {number}", edited=state == 1)
            for number, shape in enumerate(shapes)
        ]
        found = run(folders)
        states.append(
            {shape.name: found[str(at)] for shape, at in zip(shapes, folders, strict=True)}
        )
    wrong = []
    for shape in shapes:
        numbers = numbered([state[shape.name] for state in states])
        row = " → ".join("+".join(f"v{number}" for number in dict.fromkeys(one)) for one in numbers)
        is_right = numbers[0] == numbers[2] and max(map(max, numbers)) <= expected(shape)
        if shape.old and shape.opens:
            is_right = numbers == [[1], [2], [1]]
        sys.stdout.write(f"{'' if is_right else 'WRONG '}{shape.name:36} {row}\n")
        if not is_right:
            wrong.append(f"{shape.name}: {row}")
    assert wrong == []


def expected(shape: Shape) -> int:
    """Return the maximum number of versions of a shape."""
    return 2 if shape.old and shape.opens else shape.versions
