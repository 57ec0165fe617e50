"""`opentelemetry-instrument` records models in a program that does not use otel-ml."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.collector import CollectorProcess
from tests.support.sampling import at_night

MAIN: Final = """
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

x = np.array([[0.0], [1.0], [2.0], [3.0]] * 3)
y = [0, 0, 1, 1] * 3
if __name__ == "__main__":
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, n_jobs=2, cv=2).fit(x, y)
    print(search.predict([[0.0], [3.0]]).tolist())
"""


def run_program(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m shop.main`` with `opentelemetry-instrument`."""
    shop = folder / "shop"
    shop.mkdir()
    (shop / "main.py").write_text(MAIN)
    kept = {key: item for key, item in os.environ.items() if not key.startswith("OTEL_")}
    programs = Path(sys.executable).parent
    return subprocess.run(
        [str(programs / "opentelemetry-instrument"), sys.executable, "-m", "shop.main"],
        cwd=folder,
        env={**kept, "PATH": f"{programs}:{kept['PATH']}", **variables},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_models_are_recorded(collector: CollectorProcess, tmp_path: Path) -> None:
    """Trainings and predictions are runs; a grid search's workers record nothing."""
    ended = run_program(
        tmp_path,
        OTEL_ML_INSTRUMENT="sklearn",
        OTEL_ML_ENDPOINT=collector.endpoint,
        OTEL_ML_PROJECT="without code",
    )
    assert (ended.stdout, ended.returncode) == ("[0, 1]\n", 0)
    runs = collector.runs("without code", where='kind == "model" or kind == "training"')
    assert sorted((run["model"], run["kind"], run["outcome"], run["tags"]) for run in runs) == [
        ("GridSearchCV", "model", "ok", {"rows": 2}),
        ("GridSearchCV", "training", "ok", {"rows": 12}),
    ]


@at_night
def test_an_unknown_library(tmp_path: Path) -> None:
    """An unknown library is logged, and the program runs as without it."""
    ended = run_program(tmp_path, OTEL_ML_INSTRUMENT="skleran")
    assert (ended.stdout, ended.returncode) == ("[0, 1]\n", 0)
    assert "Invalid OTEL_ML_INSTRUMENT: Invalid library 'skleran'" in ended.stderr
