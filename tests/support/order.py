"""The order in which the pytest-xdist workers run modules. A worker runs a whole module."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

from tests.support.folders import ROOT

# Modules that take more than 20 s, the longest first: `make test-rest` prints the slowest tests.
# If a long one began last, one worker would run it while the others are idle.
LONGEST: Final = (
    "tests/process/test_commands.py",
    "tests/process/hostile/test_hostile.py",
    "tests/browser/test_ten_tasks.py",
    "tests/process/end_to_end/test_demo.py",  # records the demo that other modules wait for
    "tests/process/otel_ml_collector/web/test_pages.py",
    "tests/process/test_smoke.py",
    "tests/process/test_worked_examples.py",
    "tests/process/contract/test_replicas.py",
    "tests/browser/test_pages.py",
    "tests/process/end_to_end/test_any_language.py",
    "tests/process/contract/test_judging_replicas.py",
    "tests/process/end_to_end/test_places.py",
    "tests/process/test_house.py",
    "tests/process/otel_ml_collector/api/test_schema.py",
    "tests/process/end_to_end/test_doctor.py",
    "tests/process/otel_ml_collector/cli/test_evaluate.py",
    "tests/process/end_to_end/test_keys_in_use.py",
    "tests/process/test_docs.py",
    "tests/unit/otel_ml/statistics/test_coverage.py",
    "tests/store/otel_ml_collector/quality/test_kept.py",
    "tests/store/otel_ml_collector/test_experiments.py",
    "tests/process/end_to_end/test_durability.py",
    "tests/process/end_to_end/test_resume.py",
    "tests/process/hostile/test_crowd.py",
    "tests/store/otel_ml_collector/serve/test_gate.py",
    "tests/store/otel_ml_collector/store/test_writer.py",
    "tests/process/otel_ml_collector/judges/test_rubric_judges.py",
)
_COMPUTING: Final = (ROOT / "tests" / "unit", ROOT / "tests" / "store")


class Located(Protocol):
    """The attributes of a test that determine its order."""

    @property
    def path(self) -> Path: ...


Test = TypeVar("Test", bound=Located)


def order_modules(tests: Sequence[Test]) -> list[Test]:
    """Start with the longest modules, then mix those that compute with those that wait.

    If all stores came before all processes, the workers would only compute at first, and a core
    would be idle later.

    Returns:
        The tests. Each module is in one piece, and the order within a module is unchanged.
    """
    modules: dict[Path, list[Test]] = defaultdict(list)
    for test in tests:
        modules[test.path].append(test)
    places = {ROOT / path: place for place, path in enumerate(LONGEST)}
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
