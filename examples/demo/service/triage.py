"""Sends a day of tumour triage, with timestamps in the past, that has two problems to find.

The newer version refuses tumours that the model is unsure about, which is more often than its
author expected. One client writes decimals with a comma in 40 % of its requests, and both versions
fail on them. The findings of the project show both problems.
"""

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from opentelemetry.trace import Span, Status, StatusCode

from otel_ml import Client

from .data import load_tumours  # noqa: TID252 - see the package
from .kept import TUMOURS, load  # noqa: TID252

MODEL: Final = "triage"
SURE_FROM: Final = 0.99
_CLIENTS: Final = ("northside", "lakeview", "hillcrest")
_WITH_COMMAS: Final = "lakeview"
_COMMAS: Final = 0.4
_RUNS: Final = 900
_NEWER: Final = 300  # runs of the newer version
_EVERY_NS: Final = 85 * 1_000_000_000
_FIRST_NS: Final = 600 * 1_000_000_000  # before now, the time of the newest run
_SEED: Final = 7
_CALL_NS: Final = 2_000_000
_DIGEST_CHARS: Final = 16


class UnsureError(ValueError):
    """The model is not confident enough."""


def triage_all(model: Any, measurements: Mapping[str, str]) -> dict[str, Any]:
    """Return how likely a tumour is malignant. The measurements are text, as typed in."""
    values = [float(text) for text in measurements.values()]
    malignant = float(model.predict_proba([values])[0, 0])
    return {"malignant": round(malignant, 4)}


def triage_sure(model: Any, measurements: Mapping[str, str]) -> dict[str, Any]:
    """Return how likely a tumour is malignant, but refuse unsure cases.

    Raises:
        UnsureError: The model is not confident enough.
    """
    values = [float(text) for text in measurements.values()]
    malignant = float(model.predict_proba([values])[0, 0])
    if max(malignant, 1 - malignant) < SURE_FROM:
        raise UnsureError(f"The model is sure to {malignant:.4f}: expected {SURE_FROM} or more")
    return {"malignant": round(malignant, 4)}


def triage(client: Client) -> None:
    """Triage random tumours of the test part, first with the older version, then with the newer."""
    data, model = load_tumours(), load(TUMOURS)
    generator = np.random.default_rng(_SEED)
    now_ns = time.time_ns()
    places = generator.integers(0, len(data.test.targets), _RUNS)
    has_commas = generator.random(_RUNS) < _COMMAS
    for number, row in enumerate(data.test.features[places].tolist()):
        measurements = {
            name: str(value) for name, value in zip(data.feature_names, row, strict=True)
        }
        sender = _CLIENTS[number % len(_CLIENTS)]
        if sender == _WITH_COMMAS and has_commas[number]:
            measurements = {name: text.replace(".", ",") for name, text in measurements.items()}
        version = triage_all if number < _RUNS - _NEWER else triage_sure
        start_ns = now_ns - _FIRST_NS - (_RUNS - number) * _EVERY_NS
        span = _start(client, version, measurements, sender, start_ns)
        try:
            outputs = version(model, measurements)
        except ValueError as error:
            span.record_exception(error, timestamp=start_ns + _CALL_NS)
            span.set_status(Status(StatusCode.ERROR, str(error)))
            span.set_attributes({"otel_ml.outcome": "error", "error.type": type(error).__name__})
        else:
            span.set_attributes({"otel_ml.outcome": "ok", "otel_ml.outputs": json.dumps(outputs)})
        span.end(end_time=start_ns + _CALL_NS)
        if number % 100 == 0:
            client.flush()
    client.flush()


def _start(
    client: Client,
    version: Callable[[Any, Mapping[str, str]], dict[str, Any]],
    measurements: Mapping[str, str],
    sender: str,
    start_ns: int,
) -> Span:
    """Start the span of a run in the past. The digest of the source identifies the version."""
    digest = hashlib.sha256(inspect.getsource(version).encode()).hexdigest()
    return client.tracer_provider.get_tracer("otel_ml").start_span(
        MODEL,
        start_time=start_ns,
        attributes={
            "otel_ml.kind": "model",
            "otel_ml.model.name": MODEL,
            "otel_ml.model.version": digest[:_DIGEST_CHARS],
            "otel_ml.tag.client": sender,
            "otel_ml.inputs": json.dumps({"measurements": measurements}),
            "otel_ml.latency_ms": _CALL_NS / 1e6,
        },
    )
