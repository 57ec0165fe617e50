"""The items, two versions, scorer and failures for otel-ml, MLflow and pydantic-evals alike.

This module needs only Python: each of the three reads it in its own environment.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.bench.pace import pace

ITEMS: Final = 200
CONCURRENCY: Final = 4
JUDGE: Final = "exact"
_CALL_S: Final = 0.01
_SPREAD: Final = 73  # shares no factor with the number of items


@dataclass(frozen=True, slots=True)
class Case:
    """The failures of a case, in addition to wrong answers.

    Attributes:
        failing_calls: Items for which the call of version B raises.
        failing_scores: Items for which the scorer raises, with either version.
        takes_none: Whether the scorer accepts None as an answer; otherwise it raises.
    """

    failing_calls: frozenset[int] = frozenset()
    failing_scores: frozenset[int] = frozenset()
    takes_none: bool = True

    def is_right_a(self, number: int) -> bool:
        """Return whether A answers an item correctly: 90 % of them."""
        return place(number) >= 20

    def is_right_b(self, number: int) -> bool:
        """Return whether B is correct: 4 items that A has wrong, not 20 that A has right (82 %)."""
        return not 4 <= place(number) < 40

    def answer_a(self, number: int) -> str:
        """Answer as version A does."""
        pace(_CALL_S)
        return expected(number) if self.is_right_a(number) else "?"

    def answer_b(self, number: int) -> str:
        """Answer as version B does.

        Raises:
            RuntimeError: It is one of those that fail.
        """
        pace(_CALL_S)
        if number in self.failing_calls:
            raise RuntimeError("the model is overloaded")
        return expected(number) if self.is_right_b(number) else "?"

    def score(self, number: int, output: str, wanted: str) -> bool:
        """Pass an output that is what is wanted.

        Raises:
            RuntimeError: It is one of those that fail.
        """
        if number in self.failing_scores:
            raise RuntimeError("the scorer is overloaded")
        return (output if self.takes_none else output.strip()) == wanted


def place(number: int) -> int:
    """Return a number's place in an order that looks random and is always the same."""
    return number * _SPREAD % ITEMS


def expected(number: int) -> str:
    """Return the correct answer."""
    return f"{number} squared is {number * number}"


def _each_tenth(at: int) -> frozenset[int]:
    return frozenset(number for number in range(ITEMS) if place(number) % 10 == at)


CASES: Final[Mapping[str, Case]] = {
    "nothing fails": Case(),
    "10 % of B's calls": Case(failing_calls=_each_tenth(3)),
    "the same, a scorer that takes no None": Case(failing_calls=_each_tenth(3), takes_none=False),
    "10 % of the scorer's calls": Case(failing_scores=_each_tenth(6)),
    "B's call of the first item": Case(failing_calls=frozenset({0})),
}
