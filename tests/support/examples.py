"""How hard a property is tried: on every commit a little, at night as hard as it says."""

import os
from typing import Final

from hypothesis import HealthCheck, settings

AT_NIGHT: Final = os.environ.get("OTEL_ML_TESTS") == "nightly"
_ON_COMMIT: Final = 25


def examples(at_night: int, on_commit: int = _ON_COMMIT) -> int:
    """Return how often this run tries what is tried ``at_night`` times at night."""
    return at_night if AT_NIGHT else min(at_night, on_commit)


def load_profile() -> None:
    """Make the profile of this run that of all properties.

    How long one example takes tells of the machine, which others may use too. A commit is judged
    by the same examples each time; the night draws new ones.
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
