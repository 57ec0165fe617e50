"""Every estimator of scikit-learn behaves the same whether or not it is recorded."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

import pytest

from otel_ml import Client
from otel_ml.testing import record
from tests.support.otel_ml.versions.estimators import ask, fit, make_all
from tests.support.sampling import at_night

RECORDED_METHODS: Final = ("predict", "predict_proba", "decision_function", "score_samples")
PARTS: Final = 16
THREADS: Final = 3


def use(name: str, model: Any) -> tuple[Any, str]:
    """Fit a model; return the probe for it, and its results or error as text."""
    try:
        probe = fit(name, model, 1)
    except Exception as error:  # noqa: BLE001 - both must raise the same
        return None, f"{type(error)}: {error}"
    return probe, ask(model, probe)


def compare(name: str, bare: Any, recorded: Any, client: Client) -> None:
    """Use two equal models and record one of them."""
    _, expected = use(name, bare)
    client.instrument("sklearn")
    with record(client) as calls:
        probe, answer = use(name, recorded)
        assert (name, answer) == (name, expected)
        assert (name, calls.runs[0].kind) == (name, "training")
        if probe is None:
            return
        with ThreadPoolExecutor(THREADS) as pool:
            answers = {*pool.map(lambda _: ask(recorded, probe), range(THREADS))}
        assert (name, answers) == (name, {expected})
        for method in RECORDED_METHODS:
            before = len(calls.runs)
            with suppress(Exception):  # the probe does not suit every method
                getattr(recorded, method)(probe)
            there = hasattr(recorded, method)
            assert (name, method, len(calls.runs) - before) == (name, method, int(there))


@pytest.mark.parametrize("part", range(PARTS))
@at_night
def test_same_answers(part: int, client: Client) -> None:
    """Recorded estimators give the same results, also in threads, and each call is one run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pairs = zip([*make_all()][part::PARTS], [*make_all()][part::PARTS], strict=True)
        for (name, bare), (_, recorded) in pairs:
            try:
                compare(name, bare, recorded, client)
            finally:
                client.uninstrument()
