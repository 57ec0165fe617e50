"""Options of experiments.

This module imports nothing else, because the client shows the options.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from otel_ml.experiments.result import Result
    from otel_ml.experiments.rows import ItemRun, RejudgedRun


class ExperimentOptions(TypedDict, total=False):
    """Options that `Client.evaluate`, `Client.aevaluate` and `Client.replay` have in common."""

    name: str | None
    """Name of the experiment. Experiments with the same name are compared. Default: ``FUNCTION on
    DATASET``."""
    repeats: int
    """Number of runs per item. The value of an item is the mean of its runs."""
    concurrency: int
    """Number of simultaneous calls. With 1 and no `timeout_s`, a function that is not async runs on
    the caller's thread. Otherwise calls run on other threads, or on the event loop if the function
    is async."""
    timeout_s: float | None
    """Time limit of a call in seconds. None for no limit. A call that takes longer counts as an
    error. If the function is not async, its thread is abandoned."""
    cluster: "str | Callable[[ItemRun], object] | None"
    """Key that groups items into clusters, such as ``tags["document"]``, ``source_run``, or a
    function of a run. Default: the session of the run that the item was created from. An item
    without a key is its own cluster."""
    margin: Mapping[str, float] | None
    """Smallest difference that matters, by judge. Default: 0.02 for a pass rate, a tenth of the
    baseline's standard deviation for a score."""
    lower_is_better: Collection[str]
    """Judges for which lower scores are better."""
    resume: "bool | str"
    """Continue an unfinished experiment instead of starting a new one: its run id, or ``auto``.
    ``auto`` picks the newest one with the same name, data set, function version, judges, params,
    repeats and source files of the function's package. Runs that the collector has are not
    repeated. False starts a new experiment."""
    partial: bool
    """Give a verdict even if the baseline shares less than 90 % of the items."""
    params: Mapping[str, object] | None
    """Params of the experiment."""
    tags: Mapping[str, object] | None
    """Tags of the experiment."""


class EvaluateOptions(ExperimentOptions, total=False):
    """Options of `Client.evaluate` and `Client.aevaluate`: those of every experiment, and these."""

    baseline: "Result | str | os.PathLike[str] | None"
    """What to compare with: a result, the path of a file that `Result.save` wrote, or a stored
    experiment on this data set. Name a stored one by its run id, by ``answer:v3`` for the newest
    finished experiment of that version of the function, or by one of its tags."""
    limit: int | None
    """Maximum number of items. Every call selects the same ones. None for all."""
    sample: float
    """Share of the items to run, from 0 to 1. Every call selects the same ones."""


class ReplayOptions(ExperimentOptions, total=False):
    """Options of `Client.replay`: those of every experiment, and these."""

    limit: int
    """Maximum number of recorded runs, the newest first. Skipped runs count too."""
    stub: Collection[str]
    """Names of traced functions that are not called during the replay. For inputs that it got in
    the recorded call, a stubbed function returns its recorded answer. Repeated calls with the same
    inputs get the recorded answers in their order."""
    on_miss: Literal["raise", "call"]
    """What a stubbed function does with inputs that it did not get in the recorded call: ``raise``
    raises `otel_ml.stubs.StubMissError` inside the call, ``call`` calls the real function."""


EVALUATED: Final[Mapping[str, Any]] = {
    **dict.fromkeys(EvaluateOptions.__annotations__),
    "repeats": 1,
    "concurrency": 1,
    "lower_is_better": (),
    "resume": False,
    "partial": False,
    "sample": 1.0,
}


class BackfillOptions(TypedDict, total=False):
    """Options of `Client.judge`."""

    against: "str | int | None"
    """Version of the judge to compare with: ``newest`` for the newest different version, a number,
    ``v2``, or a digest. None for no comparison."""
    rate: float | None
    """Maximum number of runs per minute. None for no limit."""
    concurrency: int
    """Number of runs that are scored at the same time."""
    limit: int | None
    """Maximum number of runs. None for all."""
    sample: float
    """Share of the runs to score, from 0 to 1. Every call selects the same ones."""
    write: bool
    """Store each score as soon as it is computed. An interrupted backfill can then continue where
    it ended."""
    progress: "Callable[[RejudgedRun], object] | None"
    """Called with each scored run, on the caller's thread."""


BACKFILLED: Final[Mapping[str, Any]] = {
    **dict.fromkeys(BackfillOptions.__annotations__),
    "against": "newest",
    "concurrency": 4,
    "sample": 1.0,
    "write": False,
}
REPLAYED: Final[Mapping[str, Any]] = {
    **dict.fromkeys(ReplayOptions.__annotations__),
    **{name: EVALUATED[name] for name in ExperimentOptions.__annotations__},
    "limit": 200,
    "stub": (),
    "on_miss": "raise",
}
