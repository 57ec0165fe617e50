"""The options of what makes experiments; they load nothing, because the client shows them."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from otel_ml.experiments.result import Result
    from otel_ml.experiments.rows import ItemRun, RejudgedRun


class ExperimentOptions(TypedDict, total=False):
    """Options that every way to make an experiment takes."""

    name: str | None
    """Under which experiments gather; the names of function and data set when not given."""
    repeats: int
    """How often each item is run; an item's value is the mean of its runs."""
    concurrency: int
    """How many calls at once: of one the function runs on the caller's thread, where no
    `timeout_s` is given; of several on threads, or on the loop."""
    timeout_s: float | None
    """How long a call may take; None for as long as it does. One that takes longer is an error,
    and where it is not async its thread is left behind."""
    cluster: "str | Callable[[ItemRun], object] | None"
    """What items belong together by, such as ``tags["document"]``, ``source_run`` or a function of
    a run; the session of the run that an item was made of when not given. An item that belongs to
    nothing stands alone."""
    margin: Mapping[str, float] | None
    """By judge, how much is a difference at all; 0.02 of a rate, a tenth of the baseline's standard
    deviation of a score when not given."""
    lower_is_better: Collection[str]
    """Judges whose lower scores are the better ones."""
    resume: "bool | str"
    """Go on with an experiment that did not end: ``auto`` for the newest one of the same name, data
    set, function version, judges, params, repeats and source files of the function's package, or
    the run id of one. What the collector has of it is not run again. False begins anew."""
    partial: bool
    """Give a verdict also where less than 90 % of the items are those of the baseline."""
    params: Mapping[str, object] | None
    """Set on the experiment."""
    tags: Mapping[str, object] | None
    """Set on the experiment."""


class EvaluateOptions(ExperimentOptions, total=False):
    """Options of `Client.evaluate` and `Client.aevaluate`."""

    baseline: "Result | str | os.PathLike[str] | None"
    """What to compare with: a result, the path of a file that `Result.save` wrote, or an experiment
    on this data set that the collector has: its run id, ``answer:v3`` (the newest finished one of
    that version of the function) or a tag of it."""
    limit: int | None
    """Run at most so many items, the same ones each time; None for all."""
    sample: float
    """Run this share of the items, the same ones each time."""


class ReplayOptions(ExperimentOptions, total=False):
    """Options of `Client.replay`."""

    limit: int
    """Take at most so many runs, the newest ones; those that are left out count."""
    stub: Collection[str]
    """Names of traced functions that are not called: within a replayed call each answers as it did
    in the recorded one to the same inputs, the first time with the first answer, and so on."""
    on_miss: Literal["raise", "call"]
    """What a stubbed function does with what it was not asked in the recorded call: raise
    `otel_ml.stubs.StubMissError` within the call, or be called for real."""


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
    """Which version of the judge to compare with: ``newest`` for the newest other one, a number or
    ``v2``, a digest, or None."""
    rate: float | None
    """Judge at most so many runs a minute; None for as many as it can."""
    concurrency: int
    """How many runs at once."""
    limit: int | None
    """Judge at most so many runs; None for all."""
    sample: float
    """Judge this share of the runs, the same ones each time."""
    write: bool
    """Store each evaluation as soon as it is made: what is interrupted goes on where it ended."""
    progress: "Callable[[RejudgedRun], object] | None"
    """Called for each run that was judged, on the caller's thread."""


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
