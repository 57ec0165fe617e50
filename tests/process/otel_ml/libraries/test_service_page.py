"""The service from the scikit-learn page, started and called as the page describes."""

import sys
from pathlib import Path

from tests.support.collector import CollectorProcess
from tests.support.otel_ml.service_pages import follow_page


def test_service_of_the_page(collector: CollectorProcess, tmp_path: Path) -> None:
    """After following the page, there are a training run and a prediction run."""
    answer = follow_page(
        "scikit-learn.md",
        Path(sys.executable).parent,
        tmp_path,
        OTEL_ML_ENDPOINT=collector.endpoint,
    )
    assert answer == '{"kind":0}'
    runs = collector.runs("flowers", where='kind == "model" or kind == "training"')
    model = "StandardScaler + LogisticRegression"
    assert [(run["model"], run["kind"], run["tags"], run["outcome"]) for run in runs] == [
        (model, "model", {"rows": 1}, "ok"),
        (model, "training", {"rows": 150}, "ok"),
    ]
    assert runs[0]["version"] == 1
    training = collector.get(f"/projects/flowers/runs/{runs[1]['run_id']}")
    assert training["params"]["logisticregression__C"] == 1.0
