"""Record model calls as OpenTelemetry spans: inputs, outputs, latency, tags, scores and versions.

Each public name is imported on first use, so ``import otel_ml`` itself loads almost nothing.
"""

from importlib import import_module
from os import environ
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otel_ml.client import Client
    from otel_ml.default import (
        add_judge,
        aevaluate,
        assess,
        data_metrics,
        evaluate,
        flush,
        import_table,
        instrument,
        judge,
        profile,
        record_call,
        replay,
        run,
        trace,
        uninstrument,
    )
    from otel_ml.errors import InvalidMetricError
    from otel_ml.experiments.dataset import Dataset
    from otel_ml.experiments.stored_results import load_result
    from otel_ml.judges.judge import Judge, Score
    from otel_ml.judges.llm import LLMJudge
    from otel_ml.launched import launch
    from otel_ml.profiles import (
        ActualComponent,
        EvalComponent,
        InputComponent,
        MeanScore,
        ModelProfile,
        OutputComponent,
        PrecisionScore,
        RecallScore,
    )
    from otel_ml.run_context import context
    from otel_ml.runs import Run, current_run
    from otel_ml.tags import Tag
    from otel_ml.threads import follow_threads, wrap

__all__ = [
    "ActualComponent",
    "Client",
    "Dataset",
    "EvalComponent",
    "InputComponent",
    "InvalidMetricError",
    "Judge",
    "LLMJudge",
    "MeanScore",
    "ModelProfile",
    "OutputComponent",
    "PrecisionScore",
    "RecallScore",
    "Run",
    "Score",
    "Tag",
    "add_judge",
    "aevaluate",
    "assess",
    "context",
    "current_run",
    "data_metrics",
    "evaluate",
    "flush",
    "follow_threads",
    "import_table",
    "instrument",
    "judge",
    "launch",
    "load_result",
    "profile",
    "record_call",
    "replay",
    "run",
    "trace",
    "uninstrument",
    "wrap",
]

_HOMES = {
    "ActualComponent": "profiles",
    "Client": "client",
    "Dataset": "experiments.dataset",
    "EvalComponent": "profiles",
    "InputComponent": "profiles",
    "InvalidMetricError": "errors",
    "Judge": "judges.judge",
    "LLMJudge": "judges.llm",
    "MeanScore": "profiles",
    "ModelProfile": "profiles",
    "OutputComponent": "profiles",
    "PrecisionScore": "profiles",
    "RecallScore": "profiles",
    "Run": "runs",
    "Score": "judges.judge",
    "Tag": "tags",
    "context": "run_context",
    "current_run": "runs",
    "follow_threads": "threads",
    "launch": "launched",
    "load_result": "experiments.stored_results",
    "wrap": "threads",
}


if environ.get("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "").strip("0123456789 "):
    import_module("otel_ml.sdk_import").load_sdk()  # an invalid value would make the SDK raise


def load_ipython_extension(shell: object) -> None:
    """Add the cell magic ``%%trace`` to a notebook: ``%load_ext otel_ml``."""
    import_module("otel_ml.cell_magic").register(shell)


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'otel_ml' has no attribute {name!r}")
    value = getattr(import_module(f"otel_ml.{_HOMES.get(name, 'default')}"), name)
    globals()[name] = value
    return value
