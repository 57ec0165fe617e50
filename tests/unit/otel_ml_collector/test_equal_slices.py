"""Two tags with the same runs: which of them explains why a version is worse."""

import numpy as np
import pyarrow as pa

from otel_ml_collector.findings.slice_changes import (
    ChangedFigure,
    ComparedRuns,
    find_changes_of_slices,
)

RUNS = 4_000
FIGURE = ChangedFigure(name="grounded", kind="rate", lower_is_better=False, margin=0.02)
CLIENT, LANGUAGE = 1, 3


def test_order_of_runs() -> None:
    """Of two slices with the same runs, the first one is named, in whatever order the runs come."""
    draw = np.random.default_rng(80)
    is_after = np.arange(RUNS) >= RUNS // 2
    is_german = draw.random(RUNS) < 0.3
    is_right = draw.random(RUNS) < np.where(is_after & is_german, 0.7, 0.99)
    named = set()
    for _ in range(12):
        order = draw.permutation(RUNS)
        runs = pa.table(
            {
                "is_before": ~is_after[order],
                "start_ns": np.arange(RUNS)[order],
                "hour": (np.arange(RUNS) // 20)[order],
                "unit": np.arange(RUNS)[order],
                "h0": np.ones(RUNS, bool),
                "v0": is_right[order].astype(float),
            }
        )
        other = (~is_german[order]).astype(np.int64)
        ids = pa.array(np.concatenate([other + CLIENT, other + LANGUAGE]))
        tags = {1: "client", 2: "client", 3: "language", 4: "language"}
        compared = ComparedRuns(runs, ids, pa.array(np.tile(np.arange(RUNS), 2)), tags)
        changes = find_changes_of_slices(compared, [FIGURE])
        named |= {change.slice for change in changes if change.is_named}
    assert named == {CLIENT}
