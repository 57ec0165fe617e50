"""Tests of the order in which workers run the test modules."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

from tests.support.folders import ROOT
from tests.support.order import LONGEST, order_modules


@dataclass(frozen=True)
class StandIn:
    """A stand-in for a test, with its module and its number in it."""

    path: Path
    number: int


def place(module: str, tests: int) -> list[StandIn]:
    return [StandIn(ROOT / module, number) for number in range(tests)]


def test_longest_begin() -> None:
    """The longest modules come first, in the listed order, however few tests they have."""
    short = [test for name in "abc" for test in place(f"tests/process/test_{name}.py", 9)]
    long = [test for module in LONGEST[:3] for test in place(module, 2)]
    assert order_modules([*short, *reversed(long)])[:6] == [
        StandIn(test.path, 1 - test.number) for test in long
    ]


def test_sorts_alternate() -> None:
    """Modules that compute and modules that wait are mixed over the whole run."""
    modules = [f"tests/{tier}/test_{name}.py" for tier in ("store", "process") for name in "abcd"]
    ordered = order_modules([test for module in modules for test in place(module, 3)])
    tiers = [test.path.parent.name for test in ordered[::3]]
    assert [set(tiers[start : start + 2]) for start in range(0, 8, 2)] == [{"store", "process"}] * 4


def test_modules_are_whole() -> None:
    """Each test occurs once, and the tests of a module stay together and in order."""
    draw = Random(7)  # noqa: S311 - not for secrets
    names = [*LONGEST[:4], *(f"tests/unit/test_{number}.py" for number in range(20))]
    draw.shuffle(names)
    tests = [test for name in names for test in place(name, draw.randrange(1, 5))]
    ordered = order_modules(tests)
    assert sorted(ordered, key=tests.index) == tests
    begins = [test.path for test in ordered if test.number == 0]
    assert [path for path in begins for test in tests if test.path == path] == [
        test.path for test in ordered
    ]
    assert all(
        after.number == before.number + 1 or after.number == 0
        for before, after in pairwise(ordered)
    )


def test_longest_exist() -> None:
    """Each of the longest modules exists and is listed once."""
    assert [path for path in LONGEST if not (ROOT / path).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)
