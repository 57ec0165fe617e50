"""Measure what a call with a real model input costs the caller, relative to a manual span.

The function gets one value and returns it. By hand means: the unmodified SDK, the shape of the
value, and at most 64 KB of JSON if it is short enough. Both are timed in one process, in turns, so
that the speed of the machine affects both. A ratio is the median over the rounds.
"""

import dataclasses
import gc
import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import orjson
from opentelemetry.sdk.trace import TracerProvider

from otel_ml import Client
from tests.bench.by_hand import stock_provider
from tests.bench.sink import open_sink
from tests.bench.table import print_table, verdict

ROUNDS: Final = 7
_CALLS: Final = 400  # fit in the queue of the batch processor
_LONGEST: Final = 64 * 1024
_RANDOM: Final = np.random.default_rng(0)


@dataclasses.dataclass
class Applicant:
    """A dataclass with three fields."""

    age: int
    income: float
    job: str


def _frame(rows: int) -> Any:
    pandas: Any = importlib.import_module("pandas")
    return pandas.DataFrame({f"column {n}": _RANDOM.normal(size=rows) for n in range(8)})


def _series() -> Any:
    return importlib.import_module("pandas").Series(_RANDOM.normal(size=100), name="income")


def _image() -> Any:
    pixels = _RANDOM.integers(0, 255, (224, 224, 3), dtype=np.uint8)
    return importlib.import_module("PIL.Image").fromarray(pixels)


def _sparse() -> Any:
    return importlib.import_module("scipy.sparse").random(1, 1_000, 0.05, format="csr")


def _model() -> Any:
    pydantic: Any = importlib.import_module("pydantic")
    fields: dict[str, Any] = {"age": (int, ...), "income": (float, ...), "job": (str, ...)}
    return pydantic.create_model("Applicant", **fields)(age=31, income=5.5, job="baker")


def _tensor(*shape: int) -> Any:
    return importlib.import_module("torch").rand(*shape)


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One kind of value.

    Attributes:
        make: Makes a value.
        floor: The highest ratio to a span by hand.
        needs: The library of the value.
    """

    make: Callable[[], Any]
    floor: float | None = None
    needs: str = "numpy"


ROWS: Final[Mapping[str, Row]] = {
    "number": Row(lambda: 7, 0.22),
    "dataclass of 3 fields": Row(lambda: Applicant(31, 5.5, "baker"), 0.8),
    "pydantic model": Row(_model, 0.8, "pydantic"),
    "NumPy, 8": Row(lambda: _RANDOM.normal(size=8), 1.0),
    "NumPy, 256": Row(lambda: _RANDOM.normal(size=256), 1.0),
    "NumPy, 64 x 30": Row(lambda: _RANDOM.normal(size=(64, 30)), 1.0),
    "dict of 8 arrays": Row(
        lambda: {f"feature_{n}": _RANDOM.normal(size=16) for n in range(8)}, 1.5
    ),
    "list of 1,000 floats": Row(lambda: _RANDOM.normal(size=1_000).tolist(), 1.0),
    "list of 1,536 floats": Row(lambda: _RANDOM.normal(size=1_536).tolist(), 1.0),
    "DataFrame, 1 x 8": Row(lambda: _frame(1), 3.0, "pandas"),
    "DataFrame, 100 x 8": Row(lambda: _frame(100), 3.0, "pandas"),
    "DataFrame, 100,000 x 8": Row(lambda: _frame(100_000), 3.0, "pandas"),
    "Series of 100": Row(_series, 1.5, "pandas"),
    "image, 224 x 224": Row(_image, 1.0, "PIL"),
    "sparse row": Row(_sparse, 1.0, "scipy"),
    "tensor of 256": Row(lambda: _tensor(256), 1.0, "torch"),
    "tensor of 1 x 3 x 224 x 224": Row(lambda: _tensor(1, 3, 224, 224), 1.0, "torch"),
}


# Models are recorded with the tag `rows`, which a decorated function does not have.
MODEL_INPUTS: Final = ("number", "NumPy, 8", "NumPy, 64 x 30", "DataFrame, 100 x 8")
MODEL_FLOOR: Final = 1.5
INNER_US: Final = 1.0


def _echo(value: Any) -> Any:
    return value


def by_hand(
    provider: TracerProvider, function: Callable[[Any], Any] = _echo
) -> Callable[[Any], Any]:
    """Return a function that is traced by hand."""
    tracer = provider.get_tracer("bench")

    def describe(value: Any) -> dict[str, Any]:
        shape = getattr(value, "shape", None)
        if shape is not None:
            return {"shape": list(shape)}
        if dataclasses.is_dataclass(value):
            return {"json": orjson.dumps(vars(value)).decode()}
        if hasattr(value, "model_dump_json"):
            return {"json": value.model_dump_json()}
        if hasattr(value, "mode"):
            return {"shape": list(value.size), "mode": value.mode}
        if isinstance(value, dict):
            shapes = {key: list(item.shape) for key, item in value.items()}
            return {"json": orjson.dumps(shapes).decode()}
        if value and hasattr(value, "append") and hasattr(value[0], "shape"):
            return {"json": orjson.dumps([list(item.shape) for item in value]).decode()}
        return {"json": orjson.dumps(value)[:_LONGEST].decode()}

    def predict(value: Any) -> Any:
        inputs = {f"input.{key}": item for key, item in describe(value).items()}
        with tracer.start_as_current_span("predict", attributes=inputs) as span:
            output = function(value)
            outputs = {f"output.{key}": item for key, item in describe(output).items()}
            span.set_attributes(outputs)
            return output

    return predict


def measure(name: str, endpoint: str, rounds: int = ROUNDS) -> tuple[float, float, float, float]:
    """Time the calls with one kind of value, see `measure_value`."""
    return measure_value(ROWS[name].make(), endpoint, rounds)


def measure_value(
    value: Any, endpoint: str, rounds: int = ROUNDS
) -> tuple[float, float, float, float]:
    """Time calls that take a value and return it.

    Returns:
        The median ratio, CPU µs of the caller by hand and with otel-ml, and CPU µs per span of the
        sending thread.
    """
    provider = stock_provider(endpoint)
    client = Client("bench", endpoint=endpoint, join=False)
    hand, ours = by_hand(provider), client.trace(name="predict")(_echo)
    ratios, costs, sent = [], [], []
    for number in range(rounds + 1):
        pair = []
        for function, flush in ((hand, provider.force_flush), (ours, client.flush)):
            gc.collect()
            cpu_s, began_s = time.process_time(), time.thread_time()
            for _ in range(_CALLS):
                function(value)
            took_s = time.thread_time() - began_s
            flush()
            pair.append(took_s / _CALLS * 1e6)
            sender_us = (time.process_time() - cpu_s - took_s) / _CALLS * 1e6
        if number:  # the first round loads and warms
            ratios.append(pair[1] / pair[0])
            costs.append(pair)
            sent.append(sender_us)
    client.close()
    provider.shutdown()
    hand_us, ours_us = (statistics.median(column) for column in zip(*costs, strict=True))
    return statistics.median(ratios), hand_us, ours_us, statistics.median(sent)


def measure_model(name: str, endpoint: str, rounds: int = ROUNDS) -> tuple[float, float, float]:
    """Compare calls of a model that `Client.instrument` records with a decorated function.

    Returns:
        The median ratio, and CPU µs of the caller: decorated and recorded.
    """
    from sklearn.base import BaseEstimator  # takes a second to load

    class Echo(BaseEstimator):  # type: ignore[misc]  # has no types
        def predict(self, value: Any) -> Any:
            return value

    value, model = ROWS[name].make(), Echo()
    client = Client("bench", endpoint=endpoint, join=False)
    client.instrument("sklearn")
    functions = client.trace(name="predict")(lambda value: value), model.predict
    costs = []
    for number in range(rounds + 1):
        pair = []
        for function in functions:
            gc.collect()
            began_s = time.thread_time()
            for _ in range(_CALLS):
                function(value)
            pair.append((time.thread_time() - began_s) / _CALLS * 1e6)
            client.flush()
        if number:  # the first round loads and warms
            costs.append(pair)
    client.close()
    decorated_us, recorded_us = (statistics.median(column) for column in zip(*costs, strict=True))
    return statistics.median(pair[1] / pair[0] for pair in costs), decorated_us, recorded_us


def measure_inner(calls: int = 100_000, rounds: int = ROUNDS) -> float:
    """Return the extra cost of a call inside a recorded call, compared with a bare one, in µs."""
    from sklearn.base import BaseEstimator

    class Inner(BaseEstimator):  # type: ignore[misc]  # has no types
        def predict(self, value: Any) -> Any:
            return value

    class Outer(BaseEstimator):  # type: ignore[misc]
        def predict(self, predict: Callable[[Any], Any]) -> float:
            began_s = time.thread_time()
            for _ in range(calls):
                predict(7)
            return (time.thread_time() - began_s) / calls * 1e6

    inner, outer, client = Inner(), Outer(), Client("bench", join=False)
    differences = []
    for _ in range(rounds):
        bare_us = outer.predict(inner.predict)
        client.instrument("sklearn", capture="off")
        with client.disabled():
            differences.append(outer.predict(inner.predict) - bare_us)
        client.uninstrument()
    client.close()
    return statistics.median(differences)


def report_models() -> None:
    """Print the cost of a recorded model, compared with a decorated function."""
    if importlib.util.find_spec("sklearn") is None:
        print("Not installed, so not measured: models of scikit-learn\n")
        return
    rows = []
    with open_sink(is_as_collector=True) as endpoint:
        for name in MODEL_INPUTS:
            ratio, decorated_us, recorded_us = measure_model(name, endpoint)
            cells = [f"{decorated_us:.1f}", f"{recorded_us:.1f}"]
            rows.append(
                [name, f"{ratio:.2f}", f"{MODEL_FLOOR}", verdict(ratio <= MODEL_FLOOR), *cells]
            )
    inner_us = measure_inner()
    within = verdict(inner_us <= INNER_US)
    rows.append(["a call inside, µs more", f"{inner_us:.2f}", f"{INNER_US}", within, "", ""])
    heads = ("a recorded model", "÷ decorated", "floor", "", "decorated, µs", "recorded, µs")
    print_table(heads, rows)


def report() -> None:
    """Print the tables; list the values whose libraries are not installed."""
    rows, left_out = [], []
    with open_sink(is_as_collector=True) as endpoint:
        for name, row in ROWS.items():
            if importlib.util.find_spec(row.needs) is None:
                left_out.append(name)
                continue
            ratio, hand_us, ours_us, sender_us = measure(name, endpoint)
            floor = "" if row.floor is None else f"{row.floor:.2f}"
            is_met = "" if row.floor is None else verdict(ratio <= row.floor)
            cells = [f"{hand_us:.1f}", f"{ours_us:.1f}", f"{sender_us:.1f}"]
            rows.append([name, f"{ratio:.2f}", floor, is_met, *cells])
    heads = ("one value in, one out", "÷ by hand", "floor", "", "by hand, µs", "ours, µs")
    print_table((*heads, "sender, µs a span"), rows)
    if left_out:
        print(f"Not installed, so not measured: {', '.join(left_out)}\n")
    report_models()


if __name__ == "__main__":
    report()
