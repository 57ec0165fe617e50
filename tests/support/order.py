"""The order in which the pytest-xdist workers run modules. A worker runs a whole module."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

from tests.support.folders import ROOT

_COMPUTING: Final = (ROOT / "tests" / "unit", ROOT / "tests" / "store")


class Located(Protocol):
    """The attributes of a test that determine its order."""

    @property
    def path(self) -> Path: ...


Test = TypeVar("Test", bound=Located)


def order_modules(tests: Sequence[Test], longest: Sequence[str]) -> list[Test]:
    """Start with the longest modules, then mix those that compute with those that wait.

    If a long module began last, one worker would run it while the others are idle. If all stores
    came before all processes, the workers would only compute at first, and a core would be idle
    later.

    Args:
        tests: Those that the run chose.
        longest: Paths of modules from the root of the project, the longest first.

    Returns:
        The tests. Each module is in one piece, and the order within a module is unchanged.
    """
    modules: dict[Path, list[Test]] = defaultdict(list)
    for test in tests:
        modules[test.path].append(test)
    places = {ROOT / path: place for place, path in enumerate(longest)}
    sizes = Counter(map(_is_computing, (test.path for test in tests)))
    done: Counter[bool] = Counter()
    placed: list[tuple[int, float, Path]] = []
    for path, own in modules.items():
        sort = _is_computing(path)
        share = (done[sort] + len(own) / 2) / sizes[sort]
        placed.append((places.get(path, len(places)), share, path))
        done[sort] += len(own)
    return [test for *_, path in sorted(placed) for test in modules[path]]


def _is_computing(path: Path) -> bool:
    return any(map(path.is_relative_to, _COMPUTING))
