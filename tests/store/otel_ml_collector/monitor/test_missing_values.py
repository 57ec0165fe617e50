"""Missing values of all libraries, as the SDK sends them, count as missing in rules and drift."""

import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import orjson
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import polars as pl
import pyarrow as pa
import pytest

from otel_ml.capture.values import encode
from otel_ml_collector.alerts.history import check_rule, make_unsaved
from otel_ml_collector.alerts.rule import WantedAlert
from otel_ml_collector.times import DAY_NS
from tests.store.otel_ml_collector.monitor.test_fields import (
    TODAY_NS,
    Payload,
    make_day,
    sketch_days,
)
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

DAYS: Final = 5
RUNS: Final = 130
SHARE: Final = 0.3
# A missing value, and a function that makes a value of the same kind that is present.
VALUES: Final[dict[str, tuple[Any, Callable[[float], Any]]]] = {
    "na": (pd.NA, float),
    "nat": (pd.NaT, pd.Timestamp),
    "datetime64": (np.datetime64("NaT"), lambda number: np.datetime64(int(number), "s")),
    "nan": (float("nan"), float),
    "masked": (np.ma.masked, float),
    "arrow": (pa.scalar(None, pa.float64()), pa.scalar),
    "polars": (pl.Series([1.5, None])[1], float),
}
# A function that makes a table of one column "c" from cells, of which some are None.
TABLES: Final[dict[str, Callable[[list[float | None]], Any]]] = {
    "pandas": lambda cells: pd.DataFrame({"c": pd.array(cells, dtype="Float64")}),
    "pandas_objects": lambda cells: pd.DataFrame(
        {"c": pd.Series([pd.NA if cell is None else cell for cell in cells], dtype=object)}
    ),
    "pandas_times": lambda cells: pd.DataFrame({"c": pd.to_datetime(cells, unit="s")}),
    "polars_table": lambda cells: pl.DataFrame({"c": cells}),
    "arrow_table": lambda cells: pa.table({"c": cells}),
}


def write_inputs(draw: random.Random, share: float) -> Payload:
    """Make inputs in which each value is missing in a share of the runs, as the SDK sends them."""
    given: dict[str, Any] = {}
    for name, (missing, make) in VALUES.items():
        value = missing if draw.random() < share else make(round(draw.gauss(1e6, 1e5)))
        given[name] = value
        given[f"{name}_inside"] = {"value": value, "listed": [value]}
    for name, write_table in TABLES.items():
        given[name] = write_table(
            [
                None if draw.random() < share else float(round(draw.gauss(1e6, 1e5)))
                for _ in range(4)
            ]
        )
    return dict(orjson.loads(encode(given).text))


def call_model(draw: random.Random) -> tuple[Payload, Payload]:
    """Make a normal call."""
    return write_inputs(draw, 0.0), {"ok": True}


def call_broken(draw: random.Random) -> tuple[Payload, Payload]:
    """Make a call whose values are often missing."""
    return write_inputs(draw, SHARE), {"ok": True}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector whose model gets missing values since yesterday."""
    with open_service(tmp_path_factory.mktemp("missing")) as service:
        spans = make_day("score", 1, RUNS, call_broken)
        for day in range(2, DAYS):
            spans += make_day("score", day, RUNS, call_model)
        for first in range(0, len(spans), 500):
            service.store.take("p", *spans[first : first + 500], now_ns=time.time_ns())
        sketch_days(service.store.connections, "p", range(1, DAYS))
        yield service


@pytest.fixture(scope="module")
def fields(service: Service) -> dict[str, Any]:
    answer = ask(service.app, "/api/v1/projects/p/fields?model=score").json
    return {field["field"]: field for field in answer["fields"]}


def count_share(read: Callable[[Payload], bool]) -> float:
    """Return the share of yesterday's runs for which a function of the inputs is true."""
    draw = random.Random("score1")  # noqa: S311 - not for secrets
    missing = 0
    for _ in range(RUNS):
        missing += read(call_broken(draw)[0])
        draw.randrange(80, 120)  # consumes the random number of the latency
    return missing / RUNS


@at_night
@pytest.mark.parametrize("name", VALUES)
def test_drift(fields: dict[str, Any], name: str) -> None:
    """Drift counts each missing value, and reports broken data."""
    share = count_share(lambda inputs: inputs[name] is None)
    assert share == pytest.approx(SHARE, abs=0.12)
    for path in (f"inputs.{name}", f"inputs.{name}_inside.value"):
        field = fields[path]
        assert field["missing"] == pytest.approx(share)
        assert (field["change"], field["sentence"].partition(" → ")[0]) == ("broken", "missing 0")


@sampled(2)
@pytest.mark.parametrize("name", TABLES)
def test_drift_of_cells(fields: dict[str, Any], name: str) -> None:
    """Drift counts the missing cells of each kind of table."""
    field = fields[f"inputs.{name}.cells.c"]
    assert field["missing"] == pytest.approx(SHARE, abs=0.06)
    assert (field["change"], field["sentence"].partition(" → ")[0]) == ("broken", "missing 0")


@sampled(1)
@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize(
    "path", ["inputs.{}", "inputs.{}_inside.value", "inputs.{}_inside.listed[0]"]
)
def test_figure(service: Service, name: str, path: str) -> None:
    """The figure missing(...) of alert rules counts each missing value."""
    rule = make_unsaved(
        WantedAlert.model_validate(
            {"when": f"missing({path.format(name)}) > 0.1", "window": "1d", "every": "1d"}
        )
    )
    history = check_rule(service.store.reader, "p", rule, TODAY_NS - DAY_NS, TODAY_NS + DAY_NS // 2)
    points = {point.time[:10]: point.value for point in history.slices[0].points}
    share = count_share(lambda inputs: inputs[name] is None)
    assert [value for value in points.values() if value is not None][-1] == pytest.approx(share)
