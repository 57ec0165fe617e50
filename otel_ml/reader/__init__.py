"""Reads records back from a collector: runs, traces, models, versions, metrics and data.

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
    LogLine,
    Model,
    Point,
    Project,
    Run,
    Series,
    Told,
    Trace,
    Version,
)
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
    "Forbidden",
    "Inside",
    "Linked",
    "LinkedRun",
    "LogLine",
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
    "TimedOut",
    "Tokens",
    "Told",
    "Trace",
    "Unreachable",
    "Version",
    "WorstScore",
]
