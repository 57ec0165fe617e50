"""Reads records from a collector: runs, traces, models, versions, metrics and data.

``Reader("shop").runs('model == "answer" and latency_ms > 200')``
"""

from otel_ml.reader.errors import (
    BadQuery,
    Busy,
    Forbidden,
    NotFound,
    ReaderError,
    Refused,
    TimedOut,
    Unreachable,
)
from otel_ml.reader.listing import Runs
from otel_ml.reader.lists import Experiments
from otel_ml.reader.reader import Reader
from otel_ml.reader.records import (
    Artifact,
    Figures,
    Group,
    LogLine,
    Model,
    Point,
    Project,
    Run,
    Series,
    Sums,
    Trace,
    UnmatchedRecords,
    Version,
)
from otel_ml.reader.targets import MatchedActuals, TargetHandle
from otel_ml.records import (
    Alias,
    Aliases,
    ChangedItem,
    CoveredSlice,
    DatasetCoverage,
    DatasetDiff,
    DatasetItem,
    DatasetVersion,
    Evaluation,
    Inside,
    Linked,
    LinkedRun,
    Tokens,
    WorstScore,
)

__all__ = [
    "Alias",
    "Aliases",
    "Artifact",
    "BadQuery",
    "Busy",
    "ChangedItem",
    "CoveredSlice",
    "DatasetCoverage",
    "DatasetDiff",
    "DatasetItem",
    "DatasetVersion",
    "Evaluation",
    "Experiments",
    "Figures",
    "Forbidden",
    "Group",
    "Inside",
    "Linked",
    "LinkedRun",
    "LogLine",
    "MatchedActuals",
    "Model",
    "NotFound",
    "Point",
    "Project",
    "Reader",
    "ReaderError",
    "Refused",
    "Run",
    "Runs",
    "Series",
    "Sums",
    "TargetHandle",
    "TimedOut",
    "Tokens",
    "Trace",
    "UnmatchedRecords",
    "Unreachable",
    "Version",
    "WorstScore",
]
