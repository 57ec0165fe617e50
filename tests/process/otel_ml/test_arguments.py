"""Every public call either accepts an argument's value or refuses it at once."""

import asyncio
import enum
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import orjson
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from PIL import Image

from docs.make_reference import INTERNAL
from otel_ml import (
    ActualComponent,
    Client,
    Dataset,
    EvalComponent,
    InputComponent,
    Judge,
    LLMJudge,
    MeanScore,
    ModelProfile,
    OutputComponent,
    testing,
    types,
)
from otel_ml.errors import trouble
from otel_ml.reader import Reader, ReaderError
from otel_ml.targets import Elsewhere, TargetModel
from tests.support.otel_ml.hostile import HostileClass, HostileType
from tests.support.sampling import sampled

MODULES: Final = ("otel_ml", "otel_ml.reader", "otel_ml.testing", "otel_ml.types")


def rubric(outputs: object) -> float:
    return 1.0


JUDGE: Final = Judge("positive", "", rubric)
FRAME: Final = pd.DataFrame({"a": [1]})
DATASET: Final = Dataset("items", [1])
SAVED: Final = "../saved.json"
RUN_ID: Final = f"{'1' * 32}-{'2' * 16}"


def built_profile() -> ModelProfile:
    components = [
        InputComponent("age"),
        OutputComponent("churn"),
        ActualComponent("a"),
        EvalComponent("error", lambda output, actual: float(output != actual)),
    ]
    profile = ModelProfile("churn", components=components, scores=[MeanScore("errors", "error")])
    profile.build([1], [1], [1])
    return profile


BUILT: Final = built_profile()


class Wrapper(types.Native):
    """A custom data class."""


class Word(str, enum.Enum):
    TEXT = "text"


# A value of each sort that a call may be given.
VALUES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "None": None,
        "True": True,
        "5": 5,
        "0": 0,
        "-1": -1,
        "0.5": 0.5,
        "nan": float("nan"),
        "inf": float("inf"),
        "10**400": 10**400,
        "1j": 1j,
        "''": "",
        "'text'": "text",
        "'..'": "..",
        "long text": "x" * 100_000,
        "word": Word.TEXT,
        "b'x'": b"x",
        "[]": [],
        "[1]": [1],
        "['text']": ["text"],
        "{}": {},
        "{'a': 1}": {"a": 1},
        "{1: 'a'}": {1: "a"},
        "{1}": {1},
        "range": range(3),
        "object": object(),
        "function": rubric,
        "class": dict,
        "judge": JUDGE,
        "exception": KeyError("a"),
        "datetime": datetime(2026, 11, 21),  # noqa: DTZ001 - without a zone, as users write it
        "path": Path("models"),
        "array": np.array([1, 2]),
        "frame": FRAME,
        "wrapper": types.Text("a"),
        "hostile class": HostileClass(),
        "hostile type": HostileType(),
    }
)


@dataclass(frozen=True)
class Sort:
    """The `VALUES` that an argument accepts; all others are refused."""

    taken: frozenset[str]


def sort(*taken: str) -> Sort:
    assert set(taken) <= set(VALUES), taken
    return Sort(frozenset(taken))


def also(base: Sort, *taken: str) -> Sort:
    return Sort(base.taken | sort(*taken).taken)


def but(base: Sort, *refused: str) -> Sort:
    return Sort(base.taken - sort(*refused).taken)


ANY: Final = sort(*VALUES)
NAME: Final = sort("'text'", "'..'", "word")
OPTIONAL_NAME: Final = also(NAME, "None")
OPTIONAL_TEXT: Final = also(OPTIONAL_NAME, "''")
FLAG: Final = sort("True")
OPTIONAL_FLAG: Final = sort("True", "None")
NUMBER: Final = sort("5", "0", "-1", "0.5")
POSITIVE: Final = sort("5", "0.5")
MAPPING: Final = sort("{}", "{'a': 1}", "{1: 'a'}")
OPTIONAL_MAPPING: Final = also(MAPPING, "None")
FUNCTION: Final = sort("function", "class")
OPTIONAL_FUNCTION: Final = also(FUNCTION, "None")
KIND: Final = sort()
TAGS: Final = also(OPTIONAL_MAPPING, "[]")
ITEMS: Final = sort("[]", "[1]", "['text']", "{1}", "range", "array")
MOMENT: Final = also(OPTIONAL_TEXT, "datetime")
LONG_TEXT: Final = also(NAME, "''")
DATA: Final = sort("wrapper")
NONE: Final = sort("None")
ALIAS: Final = sort("'text'", "word")
THINGS: Final = NAME


def _is_json(value: object) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


IN_JSON: Final = sort(*(name for name, value in VALUES.items() if _is_json(value)))
INSTRUMENT: Final = {
    "libraries": sort(),
    "names": also(OPTIONAL_MAPPING, "function", "class"),
    "rows": sort(),
    "depth": sort("5"),
    "fit": FLAG,
    "capture": sort("None"),
}
TRACED: Final = {
    "name": OPTIONAL_NAME,
    "kind": KIND,
    "tags": OPTIONAL_MAPPING,
    "params": also(OPTIONAL_MAPPING, *FUNCTION.taken),
    "version_on": sort(),
    "capture": NONE,
    "columns": sort("None", "[]", "['text']"),
    "provider": NONE,
    "model": NONE,
}
TRACE: Final = {"function": sort("function", "None"), **TRACED}
ASSESS: Final = {
    "judges": sort("judge"),
    "inline": FLAG,
    "sample": sort("0", "0.5"),
    **TRACED,
}
OPEN: Final = {
    "name": NAME,
    "kind": also(KIND, "None"),
    "inputs": ANY,
    "params": OPTIONAL_MAPPING,
    "tags": TAGS,
    "session": ANY,
    "user": ANY,
    "trace_key": ANY,
    "start": sort("None"),
    "end": sort("None"),
}
RECORD_CALL: Final = {
    **OPEN,
    "kind": also(KIND, "None"),
    "outputs": ANY,
    "start": sort(),
    "error": sort("None", "exception"),
}
# no single value is enough to name the columns
IMPORT_TABLE: Final = {"table": sort(), "model": sort(), "options": sort()}
EVALUATE: Final = {
    "function": FUNCTION,
    "dataset": sort("[]", "[1]", "['text']"),
    "judges": sort("[]"),
    "name": OPTIONAL_TEXT,
    "repeats": sort("5"),
    "concurrency": sort("5"),
    "timeout_s": also(POSITIVE, "None"),
    "baseline": NONE,
    "cluster": also(FUNCTION, "None"),
    "margin": sort("None", "{}"),  # no judge runs that could have a margin
    "lower_is_better": sort("[]"),
    "resume": FLAG,
    "partial": FLAG,
    "limit": sort("None", "5"),
    "sample": sort("0", "0.5"),
    "params": OPTIONAL_MAPPING,
    "tags": OPTIONAL_MAPPING,
}
BACKFILL: Final = {
    "runs": Sort(sort("''", "'text'", "'..'", "word").taken | ITEMS.taken),
    "judge": sort("function", "judge"),
    "against": also(OPTIONAL_NAME, "5"),
    "rate": sort("None", "5", "0.5"),
    "concurrency": sort("5"),
    "limit": sort("None", "5"),
    "sample": sort("0", "0.5"),
    "write": FLAG,
    "progress": OPTIONAL_FUNCTION,
}
REPLAY: Final = {
    **{name: EVALUATE[name] for name in EVALUATE if name not in {"dataset", "baseline", "sample"}},
    "runs": NAME,
    "limit": sort("5"),
    "stub": sort("[]", "['text']"),
    "on_miss": sort(),
}
FLUSH: Final = {"timeout_s": also(POSITIVE, "0")}
LINE: Final = {"text": ANY}
STEP: Final = sort("None", "5", "0", "-1", "True")
ACTUAL: Final = also(NUMBER, "True", "''", "'text'", "'..'", "word", "[]", "[1]", "['text']")
READ: Final = {"where": LONG_TEXT, "start": MOMENT, "end": MOMENT}

DATA_METRICS: Final = {
    "frame": sort("frame", "[]"),
    "reference": sort("None", "[]", "frame"),
    "label": NONE,
    "sensitive": sort("[]"),
    "prediction": NONE,
    "positive": ANY,  # its value is not checked
}

COMPONENT: Final = {
    "name": NAME,
    "extractor": OPTIONAL_FUNCTION,
    "dtype": sort(),
    "low": also(NUMBER, "None"),
    "high": also(NUMBER, "None"),
    "path": OPTIONAL_NAME,
    "values": NONE,  # other values are only allowed for a CAT
}
SCORE: Final = {"name": NAME, "inputs": also(NAME, "['text']"), "preference": sort()}
# Loading a missing file is attempted like that of any other file.
PATH: Final = also(NAME, "long text", "path")
EXTRACTORS: Final = sort("None", "{}")
PROFILE: Final = {"profile": sort(), "action": NAME}

# `Client.about` and `Client.model` return these, which have methods of a run.
TARGET: Final = {
    "name": NAME,
    "model": NAME,
    "prediction": NAME,
    "kind": sort(),
    "positive": LONG_TEXT,
    "probability": LONG_TEXT,
    "truth": LONG_TEXT,
    "k": sort("5"),
}
SAID_OF: Final = tuple(f"{one.__module__}.{one.__qualname__}" for one in (Elsewhere, TargetModel))
SAID: Final = (
    *("tag", "debug", "info", "warning", "error", "log", "log_metric", "log_metrics"),
    "data_metrics",
)

# All public calls, their arguments and the accepted values. A call without a row fails a test.
ROWS: Final[dict[str, Mapping[str, Sort]]] = {
    "otel_ml.Client": {
        "project": sort("None", "''", "'text'", "word"),
        "api_key": also(OPTIONAL_TEXT, "long text"),
        "endpoint": OPTIONAL_TEXT,
        "exporter": NONE,
        "tracer_provider": NONE,
        "join": sort(),
        "spool": also(OPTIONAL_NAME, "path"),
        "flush_on_sigterm": FLAG,
        "capture_hidden": OPTIONAL_FLAG,
        "redact": OPTIONAL_FUNCTION,
        "redact_keys": sort("[]", "['text']", "{}", "{'a': 1}", "frame"),
    },
    "otel_ml.Client.trace": TRACE,
    "otel_ml.Client.assess": ASSESS,
    "otel_ml.Client.add_judge": {"judge": sort("judge")},
    "otel_ml.Client.run": OPEN,
    "otel_ml.Client.record_call": RECORD_CALL,
    "otel_ml.Client.import_table": IMPORT_TABLE,
    "otel_ml.Client.data_metrics": DATA_METRICS,
    "otel_ml.Client.about": {"run_id": sort(), "trace_key": but(ANY, "None"), "tag": sort()},
    "otel_ml.Client.model": {
        "name": NAME,
        "params": OPTIONAL_MAPPING,
        "artifact": sort("None", "b'x'", "'..'"),
    },
    "otel_ml.Client.target": TARGET,
    "otel_ml.Client.set_alias": {
        "model": NAME,
        "alias": ALIAS,
        "version": sort("None", "5"),
        "by": LONG_TEXT,
    },
    "otel_ml.Client.instrument": INSTRUMENT,
    "otel_ml.Client.uninstrument": {"libraries": NAME},
    "otel_ml.context": {"session": ANY, "user": ANY, "tags": ANY},
    "otel_ml.instrument": INSTRUMENT,
    "otel_ml.uninstrument": {"libraries": NAME},
    "otel_ml.Client.evaluate": EVALUATE,
    "otel_ml.Client.aevaluate": EVALUATE,
    "otel_ml.Client.judge": BACKFILL,
    "otel_ml.Client.replay": REPLAY,
    "otel_ml.Client.save": {"dataset": sort(), "timeout_s": POSITIVE, "reason": LONG_TEXT},
    "otel_ml.Client.flush": FLUSH,
    "otel_ml.Client.profile": PROFILE,
    "otel_ml.Dataset": {"name": NAME, "data": ITEMS, "description": LONG_TEXT},
    "otel_ml.Dataset.diff": {"before": sort()},
    "otel_ml.Dataset.from_frame": {
        "name": NAME,
        "frame": sort("frame"),
        "inputs": sort("None", "[]"),
        "expected": NONE,
        "id": NONE,
        "tags": sort("[]"),
        "description": LONG_TEXT,
    },
    "otel_ml.Dataset.from_runs": {
        "name": NAME,
        "runs": sort("[]"),
        "expected": OPTIONAL_FUNCTION,
        "description": LONG_TEXT,
    },
    "otel_ml.Dataset.load": {"name": NAME, "reader": NONE},
    "otel_ml.Dataset.read": {"path": sort(), "name": OPTIONAL_TEXT},
    "otel_ml.Judge": {
        "name": NAME,
        "description": LONG_TEXT,
        "scoring_rubric": sort("function"),
        "passing_criteria": OPTIONAL_FUNCTION,
        "timeout_s": POSITIVE,
        "cache": FLAG,
        "pairwise": FLAG,
        "lower_is_better": OPTIONAL_FLAG,
    },
    "otel_ml.Judge.evaluate": {"inputs": MAPPING, "outputs": ANY},
    "otel_ml.LLMJudge": {
        "name": NAME,
        "rubric": NAME,
        "ask": FUNCTION,
        "minimum": sort("0", "-1", "0.5"),
        "maximum": sort("5", "0.5"),
        "labels": sort("None", "{'a': 1}"),
        "passing_criteria": OPTIONAL_FUNCTION,
        "description": also(LONG_TEXT, "None"),
        "retries": sort("5", "0"),
        "timeout_s": POSITIVE,
        "cache": FLAG,
        "lower_is_better": OPTIONAL_FLAG,
    },
    "otel_ml.LLMJudge.evaluate": {"inputs": MAPPING, "outputs": ANY},
    "otel_ml.LLMJudge.from_rubric": {
        "name": NAME,
        "rubric": sort(),
        "ask": FUNCTION,
        "retries": sort("5", "0"),
        "timeout_s": POSITIVE,
        "cache": FLAG,
    },
    **{f"otel_ml.{side}Component": COMPONENT for side in ("Actual", "Input", "Output")},
    "otel_ml.EvalComponent": {
        **{name: COMPONENT[name] for name in COMPONENT if name != "path"},
        "extractor": FUNCTION,
        "output": NAME,
        "actual": NAME,
    },
    **{f"otel_ml.{figure}Score": SCORE for figure in ("Mean", "Precision", "Recall")},
    "otel_ml.ModelProfile": {
        "name": NAME,
        "version": NAME,
        "components": sort("[]", "{}"),
        "scores": sort("[]", "{}"),
    },
    "otel_ml.ModelProfile.build": {
        "inputs": sort("[1]"),
        "outputs": sort("[1]"),
        "actuals": sort("[1]", "frame"),
    },
    "otel_ml.ModelProfile.build_from": {"runs": sort()},
    "otel_ml.ModelProfile.contrast": {"other": sort(), "thresholds": sort("None", "{}")},
    "otel_ml.ModelProfile.from_dict": {"document": sort(), "extractors": EXTRACTORS},
    "otel_ml.ModelProfile.load": {"path": PATH, "extractors": EXTRACTORS},
    "otel_ml.ModelProfile.save": {"directory": PATH},
    "otel_ml.ModelProfile.validate_actual": {"actual": ANY},
    "otel_ml.ModelProfile.validate_all": {"input": ANY, "output": ANY, "actual": ANY},
    "otel_ml.ModelProfile.validate_eval": {"output": ANY, "actual": ANY},
    "otel_ml.ModelProfile.validate_input": {"input": ANY},
    "otel_ml.ModelProfile.validate_output": {"output": ANY},
    "otel_ml.ModelProfile.view": {"path": also(PATH, "None"), "tags": sort("[]"), "show": FLAG},
    "otel_ml.Run.tag": {"tags": TAGS, "more": ANY},
    "otel_ml.Run.debug": LINE,
    "otel_ml.Run.info": LINE,
    "otel_ml.Run.warning": LINE,
    "otel_ml.Run.error": LINE,
    "otel_ml.Run.log": {"ref": NAME, "value": ANY},
    "otel_ml.Run.log_metric": {
        "name": NAME,
        "value": also(NUMBER, "nan", "inf", "[]", "[1]", "array", "frame"),
        "step": STEP,
        "overwrite": FLAG,
        "single_value": FLAG,
        "time": sort("None"),
    },
    "otel_ml.Run.log_metrics": {
        "values": sort("{}", "{'a': 1}"),
        "step": STEP,
        "overwrite": FLAG,
        "time": sort("None"),
    },
    "otel_ml.Run.data_metrics": DATA_METRICS,
    "otel_ml.Run.feedback": {
        "name": NAME,
        "score": also(NUMBER, "None", "inf", "frame"),
        "passed": OPTIONAL_FLAG,
        "label": OPTIONAL_TEXT,
        "explanation": OPTIONAL_TEXT,
        "source": sort(),
    },
    "otel_ml.Run.actual": {
        "value": also(ACTUAL, "array"),
        "name": NAME,
        "explanation": OPTIONAL_TEXT,
        "annotator": OPTIONAL_TEXT,
    },
    "otel_ml.Run.set_input": {"value": ANY},
    "otel_ml.Run.set_output": {"value": ANY},
    "otel_ml.Run.identify": {"session": ANY, "user": ANY},
    "otel_ml.Run.uses": {"things": THINGS, "kind": KIND},
    "otel_ml.Run.produced": {"things": THINGS, "kind": KIND},
    "otel_ml.Run.end": {"error": sort("None", "exception")},
    "otel_ml.Score": {
        "value": also(NUMBER, "True"),
        "label": also(OPTIONAL_TEXT, "long text"),
        "explanation": also(OPTIONAL_TEXT, "long text"),
        "cost": also(NUMBER, "None", "True"),
    },
    "otel_ml.Tag": {"name": NAME, "value": ANY, "type": OPTIONAL_TEXT, "group": OPTIONAL_TEXT},
    "otel_ml.add_judge": {"judge": sort("judge")},
    "otel_ml.data_metrics": DATA_METRICS,
    "otel_ml.evaluate": EVALUATE,
    "otel_ml.judge": BACKFILL,
    "otel_ml.aevaluate": EVALUATE,
    "otel_ml.replay": REPLAY,
    "otel_ml.assess": ASSESS,
    "otel_ml.profile": PROFILE,
    "otel_ml.flush": FLUSH,
    "otel_ml.load_result": {"run_id": NAME, "baseline": OPTIONAL_NAME, "reader": NONE},
    "otel_ml.run": OPEN,
    "otel_ml.record_call": RECORD_CALL,
    "otel_ml.import_table": IMPORT_TABLE,
    "otel_ml.trace": TRACE,
    "otel_ml.wrap": {"function": FUNCTION},
    "otel_ml.reader.Reader": {
        "project": sort("None", "''", "'text'", "word"),
        "api_key": also(OPTIONAL_TEXT, "long text"),
        "endpoint": OPTIONAL_TEXT,
        "timeout_s": POSITIVE,
    },
    "otel_ml.reader.Reader.overview": {
        "last": NAME,
        "models": NAME,
        "users": NAME,
        "order": NAME,
        "tz": OPTIONAL_NAME,
    },
    "otel_ml.reader.Reader.projects": {"find": LONG_TEXT},
    "otel_ml.reader.Reader.runs": {
        **READ,
        "tz": OPTIONAL_NAME,
        "limit": sort("None", "5", "0"),
        "order": sort(),
        "roots": FLAG,
        "traces": FLAG,
    },
    "otel_ml.reader.Reader.run": {"run_id": NAME},
    "otel_ml.reader.Reader.trace": {"key": NAME},
    "otel_ml.reader.Reader.versions": {"model": NAME},
    "otel_ml.reader.Reader.judge_versions": {"judge": NAME},
    "otel_ml.reader.Reader.judge_agreement": {"judge": NAME},
    "otel_ml.reader.Reader.queue": {"name": NAME},
    "otel_ml.reader.Reader.target": {"name": NAME},
    "otel_ml.reader.Reader.delete_target": {"name": NAME},
    "otel_ml.reader.Reader.save_target": TARGET,
    "otel_ml.reader.Reader.actuals": {
        "frame": sort("frame"),
        "name": NAME,
        "key": sort(),
        "value": sort(),
        "by": sort("None"),
        "time": sort("None"),
    },
    "otel_ml.reader.TargetHandle.quality": {
        "last": sort(),
        "where": LONG_TEXT,
        "start": MOMENT,
        "end": MOMENT,
        "bucket": sort("None"),
    },
    "otel_ml.reader.Reader.queue_agreement": {"name": NAME},
    "otel_ml.reader.Reader.judge_strictness": {
        "judge": NAME,
        "version": sort("5"),
        "against": sort("5"),
    },
    "otel_ml.reader.Reader.sessions": {"where": LONG_TEXT, "limit": sort("5")},
    "otel_ml.reader.Reader.session": {"session": NAME},
    "otel_ml.reader.Reader.version": {"model": NAME, "number": sort("5")},
    "otel_ml.reader.Reader.variability": {
        "model": NAME,
        "version": also(sort("5"), "None"),
        "against": also(sort("5"), "None"),
    },
    "otel_ml.reader.Reader.releases": {"model": OPTIONAL_NAME, "where": LONG_TEXT},
    "otel_ml.reader.Reader.check_alert": {"name": NAME, "since": NAME},
    "otel_ml.reader.Reader.alert_deliveries": {"rule": LONG_TEXT},
    "otel_ml.reader.Reader.activity": {
        "last": LONG_TEXT,
        "kind": LONG_TEXT,
        "limit": sort("5"),
        "cursor": LONG_TEXT,
    },
    "otel_ml.reader.Reader.save_alert": {"name": NAME, "wanted": IN_JSON},
    "otel_ml.reader.Reader.fields": {
        "model": NAME,
        "last": NAME,
        "than": NAME,
        "where": LONG_TEXT,
    },
    "otel_ml.reader.Reader.findings": {"last": NAME, "than": NAME},
    "otel_ml.reader.Reader.slices": {**READ, "figure": LONG_TEXT, "pairs": FLAG},
    "otel_ml.reader.Reader.field": {
        "name": NAME,
        "model": NAME,
        "last": NAME,
        "than": NAME,
        "where": LONG_TEXT,
    },
    "otel_ml.reader.Reader.aliases": {"model": NAME},
    "otel_ml.reader.Reader.dataset_versions": {"name": NAME},
    "otel_ml.reader.Reader.experiment": {"run_id": NAME},
    "otel_ml.reader.Reader.experiment_rows": {"run_id": NAME, "baseline": NAME},
    "otel_ml.reader.Reader.experiments": {
        "where": LONG_TEXT,
        "limit": sort("None", "5", "0"),
        "verdicts": FLAG,
    },
    "otel_ml.reader.Reader.dataset_items": {"name": NAME, "version": sort("5")},
    "otel_ml.reader.Reader.dataset_coverage": {"name": NAME, "version": sort("5")},
    "otel_ml.reader.Reader.dataset_diff": {
        "name": NAME,
        "version": sort("5"),
        "against": sort("5"),
    },
    "otel_ml.reader.Reader.compare": {
        "of": sort("[]", "['text']"),
        "baseline": OPTIONAL_TEXT,
        "metric": OPTIONAL_TEXT,
        "where": LONG_TEXT,
        "by": LONG_TEXT,
        "lower": sort("[]", "['text']"),
        "higher": sort("[]", "['text']"),
        "pairs": sort("5", "0"),
    },
    "otel_ml.reader.Reader.set_alias": {
        "model": NAME,
        "alias": NAME,
        "version": sort("None", "5"),
        "by": LONG_TEXT,
        "move_id": OPTIONAL_TEXT,
    },
    "otel_ml.reader.Reader.metrics": {
        "run_id": LONG_TEXT,
        "name": OPTIONAL_TEXT,
        "model": OPTIONAL_TEXT,
        "version": sort("None", "5"),
        "points": sort("5"),
    },
    "otel_ml.reader.Reader.artifacts": {
        "run_id": OPTIONAL_TEXT,
        "trace": OPTIONAL_TEXT,
        "start": MOMENT,
        "end": MOMENT,
    },
    "otel_ml.reader.Reader.artifact": {"ref": NAME, "run_id": LONG_TEXT, "trace": NONE},
    "otel_ml.reader.Reader.feedback": {
        "judge": NAME,
        "run_id": OPTIONAL_TEXT,
        "trace_id": OPTIONAL_TEXT,
        "trace_key": OPTIONAL_TEXT,
        "tag": OPTIONAL_TEXT,
        "score": also(NUMBER, "None"),
        "passed": OPTIONAL_FLAG,
        "label": OPTIONAL_TEXT,
        "explanation": OPTIONAL_TEXT,
        "source": sort(),
        "actual": also(ACTUAL, "None"),
        "time": MOMENT,
        "statement_id": OPTIONAL_TEXT,
    },
    "otel_ml.reader.Reader.export": {
        "kind": sort(),
        **READ,
        "tz": OPTIONAL_NAME,
        "columns": LONG_TEXT,
    },
    "otel_ml.reader.Runs.ask_sums": {"group": LONG_TEXT, "groups": sort("None", "5")},
    "otel_ml.reader.Runs.by": {"group": LONG_TEXT},
    "otel_ml.reader.Runs.to_arrow": {"columns": LONG_TEXT},
    "otel_ml.reader.Runs.to_pandas": {"columns": LONG_TEXT},
    "otel_ml.testing.record": {"client": NONE},
    "otel_ml.testing.RecordedCalls.named": {"name": NAME},
    "otel_ml.types.Arrow": {"data": sort()},
    "otel_ml.types.Bytes": {"data": sort("b'x'")},
    "otel_ml.types.DataFrame": {"data": sort("frame")},
    "otel_ml.types.Image": {"data": sort(), "lossless": FLAG},
    "otel_ml.types.Jax": {"data": sort()},
    "otel_ml.types.Native": {"data": ANY},
    "otel_ml.types.Numpy": {"data": sort("array")},
    "otel_ml.types.Picture": {"data": sort()},
    "otel_ml.types.Polars": {"data": sort()},
    "otel_ml.types.Series": {"data": sort()},
    "otel_ml.types.Sparse": {"data": sort()},
    "otel_ml.types.Text": {"data": also(LONG_TEXT, "long text")},
    "otel_ml.types.Torch": {"data": sort()},
    "otel_ml.types.TorchState": {"data": sort()},
    "otel_ml.types.describe": {"data": DATA},
    "otel_ml.types.dump": {"data": DATA},
    "otel_ml.types.load": {"jcr": sort(), "kind": also(NAME, "''")},
    "otel_ml.types.register": {"cls": sort(), "name": OPTIONAL_NAME},
    "otel_ml.types.wrap": {"value": ANY},
}

for said in (*SAID, "feedback", "actual"):
    ROWS.update({f"{owner}.{said}": ROWS[f"otel_ml.Run.{said}"] for owner in SAID_OF})
ROWS["otel_ml.targets.TargetModel.set_alias"] = {
    "alias": ALIAS,
    "version": sort("None", "5"),
    "by": LONG_TEXT,
}
ROWS["otel_ml.targets.TargetModel.remove_alias"] = {"alias": ALIAS, "by": LONG_TEXT}

EVALUATING: Final = tuple(
    f"otel_ml.{owner}{name}" for owner in ("", "Client.") for name in ("evaluate", "aevaluate")
)

PAST_CALL: Final = {"name": "a", "inputs": 1, "outputs": 1, "start": "2026-01-02T03:04:05Z"}
# The other arguments that a call needs in addition to the tested one.
UNANSWERED: Final = Reader("arguments", endpoint="http://127.0.0.1:9", timeout_s=0.01)
BESIDES: Final[dict[str, Mapping[str, Any]]] = {
    "otel_ml.reader.Runs.ask_sums": {"group": "model"},
    "otel_ml.Client.add_judge": {"judge": JUDGE},
    "otel_ml.Client.save": {"dataset": DATASET},
    **{path: {"function": rubric, "dataset": [1]} for path in EVALUATING},
    "otel_ml.Client.judge": {"runs": "", "judge": JUDGE},
    "otel_ml.judge": {"runs": "", "judge": JUDGE},
    **{f"otel_ml.{owner}replay": {"function": rubric, "runs": "a"} for owner in ("", "Client.")},
    "otel_ml.reader.Reader.experiment_rows": {"run_id": RUN_ID},
    "otel_ml.Dataset": {"name": "a"},
    "otel_ml.Dataset.from_frame": {"name": "a", "frame": FRAME},
    "otel_ml.Dataset.from_runs": {"name": "a", "runs": []},
    "otel_ml.Dataset.read": {"path": Path(__file__).with_name("items.jsonl")},
    "otel_ml.Client.run": {"name": "a"},
    **{f"otel_ml.{owner}record_call": PAST_CALL for owner in ("", "Client.")},
    **{f"otel_ml.{owner}import_table": {"table": FRAME, "model": "a"} for owner in ("", "Client.")},
    "otel_ml.Client.model": {"name": "a"},
    "otel_ml.Client.set_alias": {"model": "a", "alias": "b"},
    "otel_ml.targets.TargetModel.set_alias": {"alias": "b"},
    "otel_ml.targets.TargetModel.remove_alias": {"alias": "b"},
    "otel_ml.reader.Reader.set_alias": {"model": "a", "alias": "b", "version": 1},
    "otel_ml.Judge": {"name": "a", "description": "", "scoring_rubric": rubric},
    "otel_ml.Judge.evaluate": {"inputs": {}, "outputs": 1},
    "otel_ml.LLMJudge": {"name": "a", "rubric": "a", "ask": rubric, "minimum": 0, "maximum": 1},
    "otel_ml.LLMJudge.evaluate": {"inputs": {}, "outputs": 1},
    "otel_ml.LLMJudge.from_rubric": {
        "name": "a",
        "rubric": {"instruction": "a", "model": "b"},
        "ask": rubric,
    },
    **{f"otel_ml.{side}Component": {"name": "a"} for side in ("Actual", "Input", "Output")},
    "otel_ml.EvalComponent": {"name": "a", "extractor": rubric},
    **{
        f"otel_ml.{figure}Score": {"name": "a", "inputs": "b"}
        for figure in ("Mean", "Precision", "Recall")
    },
    "otel_ml.Client.profile": {"profile": BUILT, "action": "a"},
    "otel_ml.profile": {"profile": BUILT, "action": "a"},
    "otel_ml.ModelProfile.build": {"inputs": [1], "outputs": [1], "actuals": [1]},
    "otel_ml.ModelProfile.contrast": {"other": BUILT},
    "otel_ml.ModelProfile.from_dict": {"document": BUILT.to_dict()},
    "otel_ml.ModelProfile.load": {"path": SAVED},
    "otel_ml.ModelProfile.validate_all": {"input": {}, "output": {}, "actual": {}},
    "otel_ml.ModelProfile.validate_eval": {"output": {}, "actual": {}},
    "otel_ml.ModelProfile.view": {"path": "."},
    "otel_ml.Run.log": {"ref": "a", "value": 1},
    "otel_ml.Run.log_metric": {"name": "a", "value": 1},
    "otel_ml.Run.log_metrics": {"values": {"a": 1}},
    "otel_ml.Client.data_metrics": {"frame": FRAME},
    "otel_ml.data_metrics": {"frame": FRAME},
    "otel_ml.Run.data_metrics": {"frame": FRAME},
    "otel_ml.Run.feedback": {"name": "a", "passed": True, "label": "a"},
    "otel_ml.Run.actual": {"value": 1},
    "otel_ml.Score": {"value": 1.0},
    "otel_ml.Tag": {"name": "a", "value": 1},
    "otel_ml.Dataset.load": {"name": "a", "reader": UNANSWERED},
    "otel_ml.load_result": {"run_id": RUN_ID, "reader": UNANSWERED},
    "otel_ml.run": {"name": "a"},
    "otel_ml.reader.Reader.check_alert": {"name": "a"},
    "otel_ml.reader.Reader.save_alert": {"name": "a"},
    "otel_ml.reader.Reader.compare": {"of": ["a:v1", "a:v2"]},
    "otel_ml.reader.Reader.version": {"model": "a", "number": 1},
    "otel_ml.reader.Reader.fields": {"model": "a"},
    "otel_ml.reader.Reader.field": {"name": "a", "model": "a"},
    "otel_ml.reader.Reader.dataset_items": {"name": "a", "version": 1},
    "otel_ml.reader.Reader.dataset_coverage": {"name": "a", "version": 1},
    "otel_ml.reader.Reader.dataset_diff": {"name": "a", "version": 1, "against": 1},
    "otel_ml.reader.Reader.judge_strictness": {"judge": "a", "version": 1, "against": 1},
    "otel_ml.reader.Reader.variability": {"model": "a"},
    "otel_ml.reader.Reader.metrics": {"run_id": RUN_ID},
    "otel_ml.reader.Reader.artifact": {"ref": "a", "run_id": RUN_ID},
    "otel_ml.reader.Reader.feedback": {"judge": "a"},
    "otel_ml.Client.target": {"name": "a", "model": "b"},
    "otel_ml.reader.Reader.save_target": {"name": "a", "model": "b"},
    "otel_ml.reader.Reader.actuals": {"frame": FRAME, "name": "b", "key": "a", "value": "a"},
    "otel_ml.types.Image": {"data": Image.new("RGB", (1, 1))},
    "otel_ml.types.load": {"jcr": {"type": "otel_ml.types.Native", "params": {"data": 1}}},
    "otel_ml.types.register": {"cls": Wrapper},
}
for said in ("log", "log_metric", "log_metrics", "data_metrics", "feedback", "actual"):
    BESIDES.update({f"{owner}.{said}": BESIDES[f"otel_ml.Run.{said}"] for owner in SAID_OF})


# Their errors name something more specific, such as the metric's name.
OTHERWISE_NAMED: Final = frozenset(
    {
        ("otel_ml.Client.assess", "judges"),
        ("otel_ml.Client.instrument", "libraries"),
        ("otel_ml.instrument", "libraries"),
        ("otel_ml.LLMJudge.from_rubric", "rubric"),
        ("otel_ml.assess", "judges"),
        ("otel_ml.Run.log_metrics", "values"),
        *((f"otel_ml.{owner}import_table", "model") for owner in ("", "Client.")),
        *((f"{owner}.log_metrics", "values") for owner in SAID_OF),
    }
)


# These read or write a file at a path that may not exist.
OF_FILES: Final = frozenset(
    {
        ("otel_ml.ModelProfile.load", "path"),
        ("otel_ml.ModelProfile.save", "directory"),
        ("otel_ml.ModelProfile.view", "path"),
    }
)


def public_calls() -> Iterator[str]:
    """Yield the name of every public function, class and method, without foreign inherited ones."""
    internal = {f"otel_ml.{name}" for name in INTERNAL}
    exported = [f"{name}.{one}" for name in MODULES for one in import_module(name).__all__]
    for path in (*exported, *SAID_OF):
        thing = find(path)
        if path == "otel_ml.launch":  # starts a collector: test_launched has its argument
            continue
        if not isinstance(thing, type):
            yield path
            continue
        if is_made(path, thing):
            yield path
        for name, member in inspect.getmembers(thing, inspect.isroutine):
            # Methods that custom wrappers may override are called by otel-ml.
            if name.startswith("_") or issubclass(thing, Exception | types.Data):
                continue
            home = f"{getattr(member, '__module__', '')}.{getattr(member, '__qualname__', name)}"
            if home.startswith("otel_ml.") and home not in internal:
                yield f"{path}.{name}"


def is_made(path: str, thing: type) -> bool:
    """Return whether users create instances of a class, instead of only receiving them."""
    given = {*SAID_OF, "otel_ml.Run", "otel_ml.types.Data", "otel_ml.testing.RecordedCalls"}
    given.add("otel_ml.types.TextOnly")
    is_given = path.startswith(("otel_ml.reader.", "otel_ml.testing.")) or path in given
    return path == "otel_ml.reader.Reader" or not (is_given or issubclass(thing, Exception))


def arguments_of(path: str) -> list[str]:
    call = find(path)
    named = inspect.signature(call).parameters
    is_method = path.count(".") > (2 if path.startswith(MODULES[1:]) else 1)
    has_self = is_method and not isinstance(call, type) and not inspect.ismethod(call)
    return list(named)[1:] if has_self else list(named)


def find(path: str) -> Any:
    module = max((one for one in MODULES if path.startswith(f"{one}.")), key=len)
    found: Any = import_module(module)
    for name in path.removeprefix(f"{module}.").split("."):
        found = getattr(found, name)
    return found


@pytest.fixture(scope="module")
def owners() -> Iterator[Mapping[str, object]]:
    """Yield the owners of methods; nothing is sent, and no server answers the reader."""
    client = Client("arguments", exporter=InMemorySpanExporter(), join=False)
    with testing.record() as records, client.run("owner") as run:
        yield {
            "otel_ml.Client": client,
            "otel_ml.Dataset": DATASET,
            "otel_ml.Judge": JUDGE,
            "otel_ml.ModelProfile": built_profile(),
            "otel_ml.LLMJudge": LLMJudge("a", "a", lambda _prompt: "no reply", retries=0),
            "otel_ml.Run": run,
            "otel_ml.targets.Elsewhere": client.about(run_id=RUN_ID),
            "otel_ml.targets.TargetModel": client.model("weights"),
            "otel_ml.reader.Reader": UNANSWERED,
            "otel_ml.reader.Runs": UNANSWERED.runs(),
            "otel_ml.reader.TargetHandle": UNANSWERED.target("a"),
            "otel_ml.testing.RecordedCalls": records,
        }
    client.close()


@pytest.fixture(autouse=True)
def _small_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a small folder, because some paths are used, and prevent opening a browser."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path(SAVED).write_bytes(orjson.dumps(BUILT.to_dict()))
    monkeypatch.setenv("BROWSER", "true")


def call(owners: Mapping[str, object], path: str, argument: str, value: object) -> object:
    """Call with this value; enter a returned context, because only that runs it."""
    owner, _, name = path.rpartition(".")
    if path == "otel_ml.Run.end":
        client: Any = owners["otel_ml.Client"]
        called = client.run("ended").end
    else:
        called = getattr(owners[owner], name) if owner in owners else find(path)
    kind = inspect.signature(called).parameters[argument].kind
    besides = BESIDES.get(path, {})
    if kind is inspect.Parameter.VAR_POSITIONAL:
        return called(value, **besides)
    if kind is inspect.Parameter.POSITIONAL_ONLY:
        return called(value)
    made = called(**{**besides, argument: value})
    if path == "otel_ml.testing.record":
        with made:
            pass
    return asyncio.run(made) if inspect.iscoroutine(made) else made


def test_every_public_call_has_a_row() -> None:
    """The table has every public call with each of its arguments, and no others."""
    told = {path: sorted(row) for path, row in ROWS.items()}
    found = {path: sorted(arguments_of(path)) for path in public_calls()}
    assert told == {path: arguments for path, arguments in found.items() if arguments}


@sampled(8)
@pytest.mark.parametrize("path", ROWS)
def test_values_are_taken_or_refused(owners: Mapping[str, object], path: str) -> None:
    """A value is accepted without internal errors, or refused with the argument and the value."""
    for argument, row in ROWS[path].items():
        outcomes = {value: outcome_of(owners, path, argument, value) for value in VALUES}
        expected = {value: "taken" if value in row.taken else "refused" for value in VALUES}
        assert outcomes == expected, argument


def outcome_of(owners: Mapping[str, object], path: str, argument: str, value: str) -> str:
    before = trouble()
    try:
        call(owners, path, argument, VALUES[value])
    except ReaderError:  # accepted, but no server answered
        pass
    except OSError as error:
        return "taken" if (path, argument) in OF_FILES else repr(error)[:200]
    except (ValueError, TypeError) as error:
        said = str(error)
        is_named = argument in said or (path, argument) in OTHERWISE_NAMED
        is_told = re.match(r"Invalid .*expected |Unknown .*expected |Expected ", said, re.DOTALL)
        return "refused" if is_named and is_told and len(said) < 1_000 else said
    except RuntimeError as error:
        return "taken" if str(error).startswith("Already recording") else repr(error)[:200]
    return "taken" if trouble() == before else f"trouble: {trouble()}"
