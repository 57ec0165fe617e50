"""Tests of the order in which workers run the test modules."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

from tests.support.durations import LONG_S, TABLE, read_seconds
from tests.support.folders import ROOT
from tests.support.order import order_modules

LONGEST = [f"tests/process/test_long_{number}.py" for number in range(4)]


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
    assert order_modules([*short, *reversed(long)], LONGEST)[:6] == [
        StandIn(test.path, 1 - test.number) for test in long
    ]


def test_sorts_alternate() -> None:
    """Modules that compute and modules that wait are mixed over the whole run."""
    modules = [f"tests/{tier}/test_{name}.py" for tier in ("store", "process") for name in "abcd"]
    ordered = order_modules([test for module in modules for test in place(module, 3)], LONGEST)
    tiers = [test.path.parent.name for test in ordered[::3]]
    assert [set(tiers[start : start + 2]) for start in range(0, 8, 2)] == [{"store", "process"}] * 4


def test_only_one_waits_at_the_beginning() -> None:
    """Of the modules that wait for one preparation, the longest begins, and the others later."""
    longest = [f"tests/process/test_{number}.py" for number in range(30)]
    tests = [test for module in longest for test in place(module, 1)]
    waiting = [ROOT / longest[number] for number in (2, 3, 25)]
    ordered = [test.path for test in order_modules(tests, longest, waiting)]
    assert ordered[0] == waiting[0]
    assert [path for path in ordered if path not in waiting[:2]] == [
        ROOT / module for module in longest if ROOT / module not in waiting[:2]
    ]
    assert 19 <= ordered.index(waiting[1]) <= 21


def test_modules_are_whole() -> None:
    """Each test occurs once, and the tests of a module stay together and in order."""
    draw = Random(7)  # noqa: S311 - not for secrets
    names = [*LONGEST, *(f"tests/unit/test_{number}.py" for number in range(20))]
    draw.shuffle(names)
    tests = [test for name in names for test in place(name, draw.randrange(1, 5))]
    ordered = order_modules(tests, LONGEST)
    assert sorted(ordered, key=tests.index) == tests
    begins = [test.path for test in ordered if test.number == 0]
    assert [path for path in begins for test in tests if test.path == path] == [
        test.path for test in ordered
    ]
    assert all(
        after.number == before.number + 1 or after.number == 0
        for before, after in pairwise(ordered)
    )


def test_table_fits() -> None:
    """The committed table names existing modules that take longer than 5 s."""
    modules = read_seconds(TABLE)
    assert [module for module in modules if not (ROOT / module).is_file()] == []
    assert [module for module, spent_s in modules.items() if spent_s <= LONG_S] == []
