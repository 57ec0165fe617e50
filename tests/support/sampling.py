"""Decorators for cases that CI leaves to the nightly run.

The nightly run tries every case. ``OTEL_ML_TESTS=nightly`` selects it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

import pytest

# If this environment variable is set, pytest runs every selected case, in CI and at night.
EVERY_CASE: Final = "OTEL_ML_EVERY_CASE"


def sampled(
    cases: int | None = None, *, only: Sequence[str] = (), without: str = ""
) -> pytest.MarkDecorator:
    """Let CI run a sample of the cases of a test, or of every test of a module.

    Args:
        cases: How many, spread evenly over those that `only` and `without` leave.
        only: Patterns: CI runs the cases whose ID matches one of them. Tests without cases stay.
        without: A pattern: CI leaves out the cases whose ID matches it.
    """
    return pytest.mark.sampled(cases=cases, only=tuple(only), without=without)


# CI leaves this test, or each test of a module, to the nightly run.
at_night = sampled(0)

# CI runs this test with few examples or repetitions, the nightly run with more.
harder = pytest.mark.harder


def find_left_out(tests: Iterable[pytest.Item]) -> set[str]:
    """Return the IDs of the cases that CI leaves out."""
    left_out: set[str] = set()
    cells: dict[str, list[str]] = defaultdict(list)
    sizes: dict[str, int] = {}
    for test in tests:
        function, _, case = test.nodeid.rstrip("]").partition("[")
        for mark in test.iter_markers("sampled"):
            only, without = mark.kwargs["only"], mark.kwargs["without"]
            is_kept = not case or not only or any(fnmatchcase(case, each) for each in only)
            if not is_kept or (case and without and fnmatchcase(case, without)):
                left_out.add(test.nodeid)
            if mark.kwargs["cases"] is not None:
                sizes[function] = mark.kwargs["cases"]
        if function in sizes and test.nodeid not in left_out:
            cells[function].append(test.nodeid)
    for function, size in sizes.items():
        cases = cells[function]
        kept = {len(cases) * number // size for number in range(size)}
        left_out.update(case for place, case in enumerate(cases) if place not in kept)
    return left_out
