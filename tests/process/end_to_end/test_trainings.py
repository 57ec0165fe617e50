"""Trainings with different hyperparameters, from `examples/trainings.py`, are compared."""

import os
import subprocess
import sys
from itertools import product
from typing import Final
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from examples.trainings import PENALTIES, RATES, fit, show
from otel_ml.reader import Reader
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.sampling import at_night

PROJECT: Final = "digits-search"


@at_night
def test_metrics_of_trainings_are_compared(collector: CollectorProcess) -> None:
    """The metrics of real trainings are compared, and the best one is named."""
    done = subprocess.run(
        [sys.executable, "examples/trainings.py"],
        cwd=ROOT,
        env={**os.environ, "OTEL_ML_ENDPOINT": collector.endpoint},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    runs = collector.runs(PROJECT, where='model == "train-digits"')
    ids = [run["run_id"] for run in runs][::-1]
    grid = list(product(RATES, PENALTIES))
    trained = [[*fit(*params)] for params in grid]  # the same trainings without a collector
    with Reader(PROJECT, endpoint=collector.endpoint) as reader:
        found = reader.compare(ids, metric="val_loss")
    assert done.stdout.splitlines() == [*show(found)]
    assert found["differing"] == ["penalty", "rate"] or found["differing"] == ["rate", "penalty"]
    for side, (rate, penalty), epochs in zip(found["sides"], grid, trained, strict=True):
        assert side["params"] == {"rate": rate, "penalty": penalty}
        for name in ("val_loss", "val_accuracy"):
            values = [epoch[name] for epoch in epochs]
            told = side["metrics"][name]
            assert told["count"] == len(values)
            assert told["last"] == pytest.approx(values[-1], rel=1e-12)
            assert told["low"] == pytest.approx(min(values), rel=1e-12)
            assert told["high"] == pytest.approx(max(values), rel=1e-12)
    last = [epochs[-1]["val_loss"] for epochs in trained]
    best = found["sides"][last.index(min(last))]
    assert found["metrics"][0] == {
        "name": "val_loss",
        "lower_is_better": True,
        "best": [best["reference"]],
    }
    assert found["sentence"].startswith(
        f"{best['letter']} has the lowest val_loss, {min(last):.4g}: "
        f"{last[0] - min(last):.3g} below the baseline A"
    )
    query = urlencode({"of": ids, "metric": "val_loss"}, doseq=True)
    with urlopen(f"{collector.endpoint}/projects/{PROJECT}/compare?{query}") as page:
        text = page.read().decode()
    assert found["sentence"].partition(" (in ")[0] in text
    for side in found["sides"]:
        assert f">{side['metrics']['val_loss']['last']:.4g}</td>" in text
