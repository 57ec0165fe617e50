"""The order in which the workers of pytest-xdist run the tests."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.support.folders import ROOT

_COMPUTING: Final = (ROOT / "tests" / "unit", ROOT / "tests" / "store")


def mix_tiers(tests: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Spread the modules of both sorts evenly: those that compute, and those that mostly wait.

    Each worker begins with one stretch of the tests. If stores came before processes, two workers
    would compute all the time at first, and a core would be idle later.

    Returns:
        The tests. Each module is in one piece, and the order within a sort is unchanged.
    """
    modules: dict[Path, list[pytest.Item]] = defaultdict(list)
    for test in tests:
        modules[test.path].append(test)
    sizes = Counter(map(_is_computing, (test.path for test in tests)))
    done: Counter[bool] = Counter()
    placed: list[tuple[float, Path]] = []
    for path, own in modules.items():
        sort = _is_computing(path)
        placed.append(((done[sort] + len(own) / 2) / sizes[sort], path))
        done[sort] += len(own)
    return [test for _, path in sorted(placed) for test in modules[path]]


def _is_computing(path: Path) -> bool:
    return any(map(path.is_relative_to, _COMPUTING))
