"""The cases of the comparison with MLflow and pydantic-evals in docs/benchmarks.md."""

from tests.bench.evals_cases import CASES, ITEMS, Case, expected
from tests.bench.evals_peers import HEADS, NAMES
from tests.support.folders import ROOT

PAGE = ROOT / "docs/benchmarks.md"


def documented(name: str) -> list[list[str]]:
    """Return the documented rows of one library, without the column of times."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    of_cases = [row for row in rows if row[0] in CASES and row[1] == NAMES[name]]
    return [row[: len(HEADS) - 1] for row in of_cases]


def right(case: Case) -> tuple[int, int]:
    """Return how many items versions A and B answer correctly; a failed call is not correct."""
    a = sum(case.is_right_a(number) for number in range(ITEMS))
    b = sum(case.is_right_b(number) and number not in case.failing_calls for number in range(ITEMS))
    return a, b


def test_items() -> None:
    """Of 200 items, A is correct on 180 and B on 164; a tenth of the calls or scores fails."""
    assert len({expected(number) for number in range(ITEMS)}) == ITEMS == 200
    assert right(CASES["nothing fails"]) == (180, 164)
    assert right(CASES["10 % of B's calls"]) == (180, 147)
    assert len(CASES["10 % of B's calls"].failing_calls) == 20
    assert len(CASES["10 % of the scorer's calls"].failing_scores) == 20
