"""The package's public names: lazy, complete, and independent of the collector."""

import pytest

import otel_ml
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

PUBLIC = {
    "ActualComponent": ActualComponent,
    "Client": Client,
    "Dataset": Dataset,
    "EvalComponent": EvalComponent,
    "InputComponent": InputComponent,
    "InvalidMetricError": InvalidMetricError,
    "Judge": Judge,
    "LLMJudge": LLMJudge,
    "MeanScore": MeanScore,
    "ModelProfile": ModelProfile,
    "OutputComponent": OutputComponent,
    "PrecisionScore": PrecisionScore,
    "RecallScore": RecallScore,
    "Run": Run,
    "Score": Score,
    "Tag": Tag,
    "add_judge": add_judge,
    "aevaluate": aevaluate,
    "assess": assess,
    "context": context,
    "current_run": current_run,
    "data_metrics": data_metrics,
    "evaluate": evaluate,
    "flush": flush,
    "follow_threads": follow_threads,
    "import_table": import_table,
    "instrument": instrument,
    "judge": judge,
    "launch": launch,
    "load_result": load_result,
    "profile": profile,
    "record_call": record_call,
    "replay": replay,
    "run": run,
    "trace": trace,
    "uninstrument": uninstrument,
    "wrap": wrap,
}


def test_all_is_what_the_package_offers() -> None:
    """A star import gives exactly the public names, each the object from its own module."""
    offered: dict[str, object] = {}
    exec("from otel_ml import *", offered)  # noqa: S102 - a star import stands at module level only
    del offered["__builtins__"]
    assert offered == PUBLIC


def test_all_is_sorted_without_repetition() -> None:
    """Each public name is listed once, in alphabetical order."""
    assert otel_ml.__all__ == sorted(PUBLIC)


def test_unknown_name_is_an_attribute_error() -> None:
    """An unknown name raises the same AttributeError as in any module."""
    with pytest.raises(AttributeError, match=r"^module 'otel_ml' has no attribute 'nothing'$"):
        _ = otel_ml.nothing
