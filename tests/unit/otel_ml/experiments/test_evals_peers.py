"""What we say beside MLflow and pydantic-evals is what docs/benchmarks.md says."""

from tests.bench.evals_cases import CASES, ITEMS, Case, expected
from tests.bench.evals_peers import HEADS, NAMES
from tests.support.folders import ROOT

PAGE = ROOT / "docs/benchmarks.md"


def documented(name: str) -> list[list[str]]:
    """Return the rows of both tables of the docs that are of one of the three, without times."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    of_cases = [row for row in rows if row[0] in CASES and row[1] == NAMES[name]]
    return [row[: len(HEADS) - 1] for row in of_cases]


def right(case: Case) -> tuple[int, int]:
    """Count what versions A and B answer right, without waiting; a call that fails is not right."""
    a = sum(case.is_right_a(number) for number in range(ITEMS))
    b = sum(case.is_right_b(number) and number not in case.failing_calls for number in range(ITEMS))
    return a, b


def test_items() -> None:
    """A is right on 180 of 200 items and B on 164; a tenth of calls or scores fails."""
    assert len({expected(number) for number in range(ITEMS)}) == ITEMS == 200
    assert right(CASES["nothing fails"]) == (180, 164)
    assert right(CASES["10 % of B's calls"]) == (180, 147)
    assert len(CASES["10 % of B's calls"].failing_calls) == 20
    assert len(CASES["10 % of the scorer's calls"].failing_scores) == 20
