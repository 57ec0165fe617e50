"""DigitalHub's snippets work with their frameworks: MLflow's autolog and a `Trainer`.

These fix two faults of the original: `get_mlflow_model_metrics` loses the history, which
`import_mlflow_run` imports (`tests/nightly/integrations/test_mlflow.py`); and a callback that
logs at every step costs as much at step 1,000 as at the first (`test_digitalhub_faults.py`).
"""

import json
from pathlib import Path
from typing import Any, Final

from tests.nightly.integrations.environment import run
from tests.support.collector import CollectorProcess
from tests.support.origins.program import preamble, snippet

TRAIN: Final = '@handler(outputs=["summary"])\ndef train(project):'
CALLBACK: Final = "\n".join(
    [preamble("c"), preamble("c3"), snippet("c3_callback"), preamble("c3_end")]
)
KEYS: Final = [
    "flavor",
    "framework",
    "input_datasets",
    "model_config",
    "parameters",
    "signature",
    "source",
]


def autolog() -> str:
    """Return the MLflow snippet with code in place of its ellipses."""
    head, middle, tail = snippet("c2_mlflow").split("...\n")
    middle = middle.rstrip(" ")
    parts = [preamble("c"), head, TRAIN, middle, preamble("c2_training"), tail, preamble("c2_end")]
    return "\n".join(parts)


def ask(text: str, folder: Path, collector: CollectorProcess, **variables: str) -> Any:
    """Run a program with the frameworks, and return its last line as JSON."""
    (folder / "program.py").write_text(text)
    settings = {"OTEL_ML_ENDPOINT": collector.endpoint, "OTEL_ML_PROJECT": "churn", **variables}
    return json.loads(run(["python", "program.py"], folder, **settings).splitlines()[-1])


def test_autolog_snippet(own_collector: CollectorProcess, tmp_path: Path) -> None:
    """A model trained under autolog becomes a version with MLflow's description and metrics."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    keys, metrics, digest = ask(autolog(), tmp_path, own_collector, MLFLOW_TRACKING_URI=uri)
    assert keys == KEYS
    assert metrics["training_accuracy_score"] > 0.9
    [version] = own_collector.get("/projects/churn/models/iris/versions")["versions"]
    assert (version["digest"], version["metrics"]) == (digest, metrics)
    params = version["definition"]["params"]
    assert (params["framework"], params["parameters"]["max_iter"]) == ("sklearn", "500")
    [job] = own_collector.runs("churn", where='kind == "training"')
    assert (job["model"], job["outcome"]) == ("train", "ok")


def test_callback_snippet(own_collector: CollectorProcess, tmp_path: Path) -> None:
    """A run has all values that a Trainer logs, and 1,000 tensors as a series."""
    logged = ask(CALLBACK, tmp_path, own_collector)
    expected: dict[str, Any] = {}
    for logs in logged:
        for name, value in logs.items():
            expected.setdefault(name, []).append(value)
    singles = {name: item[0] if len(item) == 1 else item for name, item in expected.items()}
    [summary] = own_collector.runs("churn", where='model == "fine-tune"')
    found = own_collector.get(f"/runs/{summary['run_id']}")["metrics"]
    assert found == {**singles, "scalar": [step + 0.5 for step in range(1000)]}
    assert len(found["loss"]) == 5
