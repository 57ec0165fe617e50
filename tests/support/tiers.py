"""Which tests a commit runs, and which wait for the night.

`make test-all` is the commit's: each promise once. `make test-nightly` runs what is left: other
versions and libraries beside ours, each theme and width of a page, hostile data at length, what
needs a machine of its own, and each property with all of its examples.
"""

from fnmatch import fnmatchcase
from typing import Final

# The first pattern that fits a test's id decides whether it waits.
_RULES: Final = (
    ("tests/interop/test_sdk_versions*[[]sdk-1.25*", False),  # the oldest SDK that we run with
    ("tests/interop/*", True),
    ("tests/services/*", True),
    ("tests/integrations/*", True),
    ("tests/origins/test_frameworks.py*", True),
    ("tests/browser/*[[]*dark*", True),
    ("tests/browser/test_pages.py*", False),
    ("tests/browser/test_list_walk.py*", False),
    ("tests/browser/test_run_page.py*", False),
    ("tests/browser/test_sign_in.py*", False),
    ("tests/browser/*", True),
    ("tests/hostile/test_thirty.py*", True),
    ("tests/end_to_end/test_overload.py*", True),  # how much is stored in a second
    ("tests/otel_ml_collector/query/test_million_points.py*", True),
    ("tests/otel_ml_collector/query/test_lines_of_many_spans.py*", True),
)


def waits_for_night(test: str) -> bool:
    """Tell from a test's id whether commits go without it."""
    return next((waits for pattern, waits in _RULES if fnmatchcase(test, pattern)), False)
