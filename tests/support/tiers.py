"""Which tests a commit runs, and which wait for the night.

`make test-all` is the commit's: each promise once. `make test-nightly` runs what is left: other
versions and libraries beside ours, each theme and width of a page, hostile data at length, what
needs a machine of its own, and with all of its examples each property and whatever is tried more
often at night (`tests.support.examples`).
"""

from fnmatch import fnmatchcase
from typing import Final

# The first pattern that fits a test's id decides whether it waits.
_WAITS: Final = (
    ("tests/interop/test_sdk_versions*[[]sdk-1.25*", False),  # the oldest SDK that we run with
    ("tests/interop/*", True),
    ("tests/services/*", True),
    ("tests/integrations/*", True),
    ("tests/origins/test_frameworks.py*", True),
    ("tests/browser/*[[]*dark*", True),
    ("tests/browser/test_frame.py::test_calls*", False),
    ("tests/browser/test_pages.py*", False),
    ("tests/browser/test_list_walk.py*", False),
    ("tests/browser/test_run_page.py*", False),
    ("tests/browser/test_sign_in.py*", False),
    ("tests/browser/*", True),
    ("tests/hostile/test_thirty.py*", True),
    ("tests/otel_ml/versions/test_shapes.py::test_edit_alone*[[]method of a*", False),
    ("tests/otel_ml/versions/test_shapes.py::test_edit_alone*", True),
    ("tests/end_to_end/test_overload.py*", True),  # how much is stored in a second
    ("tests/end_to_end/test_demo.py::test_demo_stays*", True),
    ("tests/otel_ml_collector/query/test_million_points.py*", True),
    ("tests/otel_ml_collector/query/test_lines_of_many_spans.py*", True),
    ("tests/otel_ml_collector/store/test_migrations.py::test_older_store[[]1]", False),
    ("tests/otel_ml_collector/store/test_migrations.py::test_older_store*", True),
    ("tests/otel_ml_collector/store/test_two_writers.py::*[[]shuffled]", True),
)
# Other tests than properties that are tried more often at night.
_HARDER: Final = (
    "tests/end_to_end/test_mutations.py*",
    "tests/end_to_end/test_durability.py::test_kill*",
    "tests/end_to_end/test_open_runs_grow.py::test_very_many_points*",
    "tests/end_to_end/test_deletion_kills.py*",
    "tests/end_to_end/test_artifacts.py::test_kill*",
    "tests/otel_ml_collector/api/test_any_request.py*",
)
PATTERNS: Final = (*(pattern for pattern, _ in _WAITS), *_HARDER)


def waits_for_night(test: str) -> bool:
    """Tell from a test's id whether commits go without it."""
    return next((waits for pattern, waits in _WAITS if fnmatchcase(test, pattern)), False)


def is_harder_at_night(test: str) -> bool:
    """Tell from a test's id whether the night runs it again, as hard as it can."""
    return any(fnmatchcase(test, pattern) for pattern in _HARDER)
