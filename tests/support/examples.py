"""How many examples property tests run: a few on every commit, all nightly."""

import os
from typing import Final

from hypothesis import HealthCheck, settings

# If this environment variable is `nightly`, tests run all their cases and examples.
WHICH_TESTS: Final = "OTEL_ML_TESTS"
AT_NIGHT: Final = os.environ.get(WHICH_TESTS) == "nightly"
_ON_COMMIT: Final = 25


def examples(at_night: int, on_commit: int = _ON_COMMIT) -> int:
    """Return how many examples this run tries of a property with ``at_night`` nightly examples."""
    return at_night if AT_NIGHT else min(at_night, on_commit)


def draws(at_night: int, on_commit: int) -> int:
    """Return how many draws this run makes of a simulation.

    ``OTEL_ML_TEST_SIMULATIONS`` sets another number, for the tables of the documentation.
    """
    return int(os.environ.get("OTEL_ML_TEST_SIMULATIONS", examples(at_night, on_commit)))


def load_profile() -> None:
    """Load the Hypothesis profile of this run for all properties.

    There is no deadline, because the duration of an example depends on the load of the machine. A
    commit runs the same examples each time; a nightly run draws new ones.
    """
    slow = [HealthCheck.too_slow]
    settings.register_profile(
        "commit",
        max_examples=_ON_COMMIT,
        derandomize=True,
        deadline=None,
        suppress_health_check=slow,
    )
    settings.register_profile(
        "nightly", max_examples=100, deadline=None, suppress_health_check=slow
    )
    settings.load_profile("nightly" if AT_NIGHT else "commit")
