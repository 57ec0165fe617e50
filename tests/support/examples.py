"""How hard a property is tried: on every commit a little, at night as hard as it says."""

import os
from typing import Final

from hypothesis import HealthCheck, settings

AT_NIGHT: Final = os.environ.get("OTEL_ML_TESTS") == "nightly"
_ON_COMMIT: Final = 25


def examples(at_night: int) -> int:
    """Return the number of examples of a property that tries ``at_night`` of them at night."""
    return at_night if AT_NIGHT else min(at_night, _ON_COMMIT)


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
