"""Tests of the parts of the nightly run."""

from collections import Counter
from pathlib import Path

from tests.nightly.__main__ import describe
from tests.nightly.parts import PARTS, find_ignored, find_modules, find_part
from tests.support.folders import ROOT

TIERS = ("unit", "store", "process", "browser", "nightly")


def test_every_module_is_in_one_part() -> None:
    """Each test module belongs to exactly one part."""
    modules = [
        module.relative_to(ROOT)
        for tier in TIERS
        for module in (ROOT / "tests" / tier).rglob("test_*.py")
    ]
    parts = Counter(module for part in PARTS for module in find_modules(part))
    assert parts == Counter(modules)


def test_longer_path_decides() -> None:
    """A module belongs to the part that names its own folder, not to one with a parent folder."""
    part = find_part(Path("tests/nightly/browser/test_alerts.py"))
    assert part.name == "pages in Chromium"
    assert "tests/nightly/browser" in find_ignored(PARTS[-1])
    assert find_ignored(part) == []


def test_paths_exist() -> None:
    """Each path of a part exists in the project."""
    assert [path for part in PARTS for path in part.paths if not (ROOT / path).exists()] == []
    assert all(set(part.run_by_targets) <= set(part.paths) for part in PARTS)


def test_part_is_described() -> None:
    """The description names the folders of a part and counts their modules."""
    count = len(list((ROOT / "tests/nightly/browser").glob("test_*.py")))
    assert f"  tests/nightly/browser: {count} test modules\n" in describe(4, PARTS[3])
