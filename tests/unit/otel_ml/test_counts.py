"""A count is written with its noun."""

import pytest

from otel_ml.counts import write_count


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ((0, "run"), "0 runs"),
        ((1, "run"), "1 run"),
        ((2_000, "run"), "2,000 runs"),
        ((1, "run was", "runs were"), "1 run was"),
        ((3, "query", "queries"), "3 queries"),
    ],
)
def test_only_a_single_thing_is_singular(given: tuple[int, str], written: str) -> None:
    """The noun after 1 is singular; after any other count it is plural."""
    assert write_count(*given) == written
