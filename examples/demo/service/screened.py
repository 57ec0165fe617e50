"""Sends ten days of tumour screenings, with timestamps in the past.

On the last day until 18:00, a device omits the texture in every third case. No run fails. The
findings show the missing field because earlier days had it, and an alert rule would have fired.
"""

import json
import time
from typing import Any, Final

import numpy as np

from otel_ml import Client

from .data import load_tumours  # noqa: TID252 - see the package
from .kept import TUMOURS, load  # noqa: TID252

MODEL: Final = "screen"
BROKEN: Final = "mean texture"
_DAYS: Final = 10
_RUNS_PER_DAY: Final = 150
_BROKEN_EVERY: Final = 3
_REPAIRED: Final = 0.75  # of the last day
_SHOWN: Final = 8  # measurements in the inputs of a run
_SEED: Final = 5
_DAY_NS: Final = 24 * 60 * 60 * 1_000_000_000
_CALL_NS: Final = 2_000_000


def screen(client: Client) -> None:
    """Screen random tumours of the test part on each day and send the runs."""
    data, model = load_tumours(), load(TUMOURS)
    generator = np.random.default_rng(_SEED)
    today_ns = time.time_ns() // _DAY_NS * _DAY_NS
    tracer = client.tracer_provider.get_tracer("otel_ml")
    for day in range(_DAYS):
        places = generator.integers(0, len(data.test.targets), _RUNS_PER_DAY)
        measured = data.test.features[places]
        cases = np.arange(_RUNS_PER_DAY)
        is_ill = (day == _DAYS - 1) & (cases < _REPAIRED * _RUNS_PER_DAY)
        is_broken = is_ill & (cases % _BROKEN_EVERY == 0)
        column = data.feature_names.index(BROKEN)
        measured[is_broken, column] = data.train.features[:, column].mean()
        shares = model.predict_proba(measured)[:, 0].tolist()
        for number, row in enumerate(measured.tolist()):
            inputs: dict[str, Any] = dict(zip(data.feature_names, row, strict=True))
            if is_broken[number]:
                inputs[BROKEN] = None
            start_ns = today_ns - (_DAYS - day) * _DAY_NS + number * (_DAY_NS // _RUNS_PER_DAY)
            shown = dict(list(inputs.items())[:_SHOWN])
            span = tracer.start_span(
                MODEL,
                start_time=start_ns,
                attributes={
                    "otel_ml.kind": "model",
                    "otel_ml.model.name": MODEL,
                    "otel_ml.inputs": json.dumps({"measurements": shown}),
                    "otel_ml.outputs": json.dumps({"malignant": round(shares[number], 4)}),
                    "otel_ml.outcome": "ok",
                    "otel_ml.latency_ms": _CALL_NS / 1e6,
                },
            )
            span.end(end_time=start_ns + _CALL_NS)
        client.flush()
