"""The order in which the pytest-xdist workers run modules. A worker runs a whole module."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

from tests.support.folders import ROOT

# Modules that wait for what another prepares begin as if this many modules were longer.
_LATER: Final = 20
_COMPUTING: Final = (ROOT / "tests" / "unit", ROOT / "tests" / "store")


class Located(Protocol):
    """The attributes of a test that determine its order."""

    @property
    def path(self) -> Path: ...


Test = TypeVar("Test", bound=Located)


def order_modules(
    tests: Sequence[Test], longest: Sequence[str], waiting: Collection[Path] = ()
) -> list[Test]:
    """Start with the longest modules, then mix those that compute with those that wait.

    If a long module began last, one worker would run it while the others are idle. If all stores
    came before all processes, the workers would only compute at first, and a core would be idle
    later.

    Args:
        tests: Those that the run chose.
        longest: Paths of modules from the root of the project, the longest first.
        waiting: Modules that need what one of them prepares for all. The longest prepares it. If
            the others began at the same time, their workers would only wait.

    Returns:
        The tests. Each module is in one piece, and the order within a module is unchanged.
    """
    modules: dict[Path, list[Test]] = defaultdict(list)
    for test in tests:
        modules[test.path].append(test)
    places = {ROOT / path: place for place, path in enumerate(longest)}
    last = len(places)
    later = sorted(waiting, key=lambda path: (places.get(path, last), path))
    for path in later:
        places[path] = max(places.get(path, last), min(_LATER, last))
    if later:
        places[later[0]] = -1
    sizes = Counter(map(_is_computing, (test.path for test in tests)))
    done: Counter[bool] = Counter()
    placed: list[tuple[int, float, Path]] = []
    for path, own in modules.items():
        sort = _is_computing(path)
        share = (done[sort] + len(own) / 2) / sizes[sort]
        placed.append((places.get(path, last), share, path))
        done[sort] += len(own)
    return [test for *_, path in sorted(placed) for test in modules[path]]


def _is_computing(path: Path) -> bool:
    return any(map(path.is_relative_to, _COMPUTING))
