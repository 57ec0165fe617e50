"""Models of other libraries are recorded without a decorator and otherwise unchanged."""

from pathlib import Path
from typing import Any, Final

import pytest

from tests.nightly.integrations.environment import ask, run
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.otel_ml.service_pages import find_block, follow_page

PROGRAMS: Final = ROOT / ".venv-integrations" / "bin"
PAGES: Final = {
    "xgboost.md": (
        "xgboost-service",
        '{"kind":0}',
        ["XGBClassifier model", "XGBClassifier training"],
    ),
    "lightgbm.md": (
        "lightgbm-service",
        '{"kind":0}',
        ["LGBMClassifier model", "LGBMClassifier training"],
    ),
    "onnx-runtime.md": ("onnx-service", '{"score":0.6791787147521973}', ["churn model"]),
    "pytorch.md": ("pytorch-service", '{"score":0.', ["Score model"]),
    "transformers.md": (
        "transformers-service",
        '{"label":"LABEL_',
        ["tiny (text-classification) model"],
    ),
}


@pytest.mark.parametrize("page", PAGES)
def test_service_of_the_page(page: str, collector: CollectorProcess, tmp_path: Path) -> None:
    """The code of a docs page records the expected runs, each with a version."""
    project, answer, expected = PAGES[page]
    if page in {"onnx-runtime.md", "transformers.md"}:
        (tmp_path / "prepare.py").write_text(find_block(page, "python prepare"))
        run(["python", "prepare.py"], tmp_path)
    told = follow_page(page, PROGRAMS, tmp_path, OTEL_ML_ENDPOINT=collector.endpoint)
    assert told.startswith(answer)
    runs = collector.runs(project, where='kind == "model" or kind == "training"')
    assert [f"{each['model']} {each['kind']}" for each in runs] == expected
    assert runs[0]["version"] == 1


# The records of the program: name, kind and rows of the runs, curves, and names of inputs.
RECORDED: Final[dict[str, tuple[list[list[Any]], list[str], list[str]]]] = {
    "xgboost": (
        [
            ["XGBClassifier", "training", 40],
            ["Booster", "training", 40],
            ["XGBClassifier", "model", 40],
            ["XGBClassifier", "model", 2],
            ["Booster", "model", 40],
            ["Booster", "model", 40],
        ],
        ["fit-logloss", "validation_0-logloss"],
        ["X", "data"],
    ),
    "lightgbm": (
        [
            ["LGBMClassifier", "training", 40],
            ["Booster", "training", 40],
            ["LGBMClassifier", "model", 40],
            ["LGBMClassifier", "model", 2],
            ["Booster", "model", 40],
        ],
        ["fit-binary_logloss", "valid_0-binary_logloss"],
        ["X", "data"],
    ),
    "catboost": (
        [
            ["CatBoostClassifier", "training", 40],
            ["CatBoostClassifier", "model", 40],
            ["CatBoostClassifier", "model", 2],
            ["CatBoostClassifier", "model", 40],
        ],
        ["learn-Logloss", "validation-Logloss"],
        ["X", "data"],
    ),
    "keras": (
        [
            ["Sequential", "training", 40],
            ["Sequential", "model", 40],
            ["Sequential", "model", 2],
        ],
        ["loss"],
        ["verbose", "x"],
    ),
    "onnxruntime": ([["score", "model", 40], ["score", "model", 1]], [], ["x"]),
    "torch": (
        [
            ["Sequential", "model", 40],
            ["Sequential", "model", 2],
            ["Sequential", "model", 40],  # torch.jit.trace compares both
            ["TopLevelTracedModule", "model", 40],
            ["OptimizedModule", "model", 40],
        ],
        [],
        ["args", "input"],
    ),
    "transformers": (
        [
            ["GPT2LMHeadModel", "model", 1],
            ["BertForSequenceClassification (text-classification)", "model", None],
            ["BertForSequenceClassification (text-classification)", "model", 2],
        ],
        [],
        ["attention_mask", "inputs", "max_new_tokens", "pad_token_id"],
    ),
    "sentence_transformers": (
        [["SentenceTransformer", "model", 2], ["SentenceTransformer", "model", None]],
        [],
        ["inputs"],
    ),
}


@pytest.mark.parametrize("library", RECORDED)
def test_recorded_models_do_the_same(library: str, tmp_path: Path) -> None:
    """Recording does not change results, and removing it restores the classes exactly."""
    told = ask("recorded_models", library, folder=tmp_path)
    runs, curves, inputs = RECORDED[library]
    assert (told["same"], told["restored"]) == (True, True)
    assert [run[:3] for run in told["runs"]] == runs
    assert all(has_version for _, kind, _, has_version in told["runs"] if kind == "model")
    assert (told["curves"], told["inputs"]) == (curves, inputs)


@pytest.mark.parametrize("library", ["catboost", "keras", "lightgbm", "xgboost"])
def test_versions_of_equal_models(library: str, tmp_path: Path) -> None:
    """Models with equal training in two processes are the same version."""
    first, second = (ask("recorded_models", library, folder=tmp_path) for _ in range(2))
    assert first["versions"] == second["versions"]


@pytest.mark.parametrize("library", RECORDED)
def test_without_code(library: str, collector: CollectorProcess, tmp_path: Path) -> None:
    """`OTEL_ML_INSTRUMENT` records a library's models in a program without otel-ml code."""
    program = "tests.nightly.integrations.programs.recorded_models"
    code = f"from {program} import USES; USES['{library}']()"
    run(
        ["opentelemetry-instrument", "python", "-W", "ignore", "-c", code],
        tmp_path,
        PYTHONPATH=str(ROOT),
        OTEL_TRACES_EXPORTER="otel_ml",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        OTEL_ML_ENDPOINT=collector.endpoint,
        OTEL_ML_PROJECT=f"no code {library}",
        OTEL_ML_INSTRUMENT=library,
    )
    runs = collector.runs(f"no code {library}", where='kind == "model" or kind == "training"')
    named = sorted((each["model"], each["kind"]) for each in runs)
    assert named == sorted((name, kind) for name, kind, _ in RECORDED[library][0])


def test_every_service_is_run() -> None:
    """Each page with such a service is tested, here or in the tests of scikit-learn."""
    pages = (ROOT / "docs" / "how-to").glob("*.md")
    shown = {page.name for page in pages if "```python service\n" in page.read_text()}
    assert shown == {*PAGES, "scikit-learn.md"}
