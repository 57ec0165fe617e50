"""Columns of tables are fields of a kind, with cells, missing values and drift."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import orjson
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest
from scipy.stats import wasserstein_distance

from otel_ml.capture.values import encode
from otel_ml_collector.store.field_values import MOST_COLUMNS, sketch_runs
from tests.store.otel_ml_collector.monitor.test_fields import Payload, make_day, sketch_days
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night

DAYS: Final = 10
RUNS: Final = 60
ROWS: Final = 5
Draw = Callable[[random.Random], tuple[Payload, Payload]]


def write_table(draw: random.Random, *, older: float = 0.0, new: bool = False) -> pd.DataFrame:
    """Make a table of customers with an age, a card, an income and a note."""
    cards = ["amex", "mastercard"]
    return pd.DataFrame(
        {
            "age": [round(draw.gauss(40 + older, 10), 1) for _ in range(ROWS)],
            "card": [
                "visa" if new and draw.random() < 0.3 else draw.choice(cards) for _ in range(ROWS)
            ],
            "income": [
                None if new and draw.random() < 0.25 else round(draw.lognormvariate(10, 0.4), 2)
                for _ in range(ROWS)
            ],
            "note": [f"order {draw.randrange(10**6)} of {draw.choice(cards)}" for _ in range(ROWS)],
        }
    )


def score(draw: random.Random) -> tuple[Payload, Payload]:
    """Make a normal call with a table and an array."""
    return {"frame": write_table(draw), "array": write_array(draw)}, {"ok": True}


def score_changed(draw: random.Random) -> tuple[Payload, Payload]:
    """Make a call with a table of older people with new cards, some without an income."""
    inputs = {"frame": write_table(draw, older=15, new=True), "array": write_array(draw, 2.0)}
    return inputs, {"ok": True}


def write_array(draw: random.Random, shift: float = 0.0) -> Any:
    """Make an array whose second column may be shifted."""
    return np.array([[draw.gauss(0, 1), draw.gauss(shift, 1)] for _ in range(ROWS)])


def describing(write: Draw) -> Draw:
    """Convert payloads to the form that a client sends."""

    def make(draw: random.Random) -> tuple[Payload, Payload]:
        inputs, outputs = write(draw)
        return orjson.loads(encode(inputs).text), outputs

    return make


def read_column(model: str, day: int, write: Draw, name: str) -> list[Any]:
    """Return the original cells of a column from all tables of one day."""
    draw = random.Random(f"{model}{day}")  # noqa: S311 - not for secrets
    columns: list[list[Any]] = []
    for _ in range(RUNS):
        columns.append(write(draw)[0]["frame"][name].tolist())
        draw.randrange(80, 120)  # consumes the random number of the latency
    return [*chain(*columns)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector with two models; the tables of one changed yesterday."""
    with open_service(tmp_path_factory.mktemp("tables")) as service:
        for model, write in (("risk", score_changed), ("same", score)):
            spans = make_day(model, 1, RUNS, describing(write))
            for day in range(2, DAYS):
                spans += make_day(model, day, RUNS, describing(score))
            for first in range(0, len(spans), 300):
                service.store.take("p", *spans[first : first + 300], now_ns=time.time_ns())
        sketch_days(service.store.connections, "p", range(1, DAYS))
        yield service


def get_fields(service: Service, model: str, more: str = "") -> dict[str, Any]:
    answer = ask(service.app, f"/api/v1/projects/p/fields?model={model}{more}").json
    return {field["field"]: field for field in answer["fields"]}


def get_report(service: Service, field: str) -> Any:
    return ask(service.app, f"/api/v1/projects/p/fields/{quote(field)}?model=risk").json


def test_kinds(service: Service) -> None:
    """Each column has its own kind, and one value per cell."""
    fields = get_fields(service, "same")
    kinds = {name: fields[f"inputs.frame.cells.{name}"]["kind"] for name in ("age", "card", "note")}
    assert kinds == {"age": "number", "card": "category", "note": "text"}
    assert {
        (field["n"], field["missing"], field["reference_n"])
        for name, field in fields.items()
        if name.startswith("inputs.frame.cells")
    } == {(RUNS * ROWS, 0.0, RUNS * ROWS * (DAYS - 2))}
    assert fields["inputs.frame.shape[0]"]["n"] == RUNS
    assert fields['inputs.array.cells["1"]']["n"] == RUNS * ROWS
    assert {field["word"] for field in fields.values()} <= {"as before", "too few"}


def test_number(service: Service) -> None:
    """A column of numbers drifts by the distance that scipy computes for its cells."""
    field = get_fields(service, "risk")["inputs.frame.cells.age"]
    before = [*chain(*(read_column("risk", day, score, "age") for day in range(2, DAYS)))]
    after = read_column("risk", 1, score_changed, "age")
    unit = np.subtract(*np.percentile(before, [75, 25]))
    assert (field["word"], field["change"]) == ("drift", "traffic")
    assert field["distance"] == pytest.approx(wasserstein_distance(before, after) / unit, abs=0.03)
    assert field["sentence"].startswith("median ")
    shifted = get_fields(service, "risk")['inputs.array.cells["1"]']
    assert (shifted["word"], shifted["where"]) == ("drift", 'model == "risk"')


def test_category(service: Service) -> None:
    """A new value in a column is named with its share, and its filter matches the runs with it."""
    field = get_fields(service, "risk")["inputs.frame.cells.card"]
    cells = Counter(read_column("risk", 1, score_changed, "card"))
    share = round(100 * cells["visa"] / cells.total())
    assert field["sentence"].startswith(f'new value "visa": {share} %')
    assert field["where"] == 'model == "risk" and "visa" in inputs.frame.cells.card'
    runs = ask(
        service.app, f"/api/v1/projects/p/runs?where={quote(field['where'])}&limit=100"
    ).json["runs"]
    tables = [
        column
        for column in zip(
            *[iter(read_column("risk", 1, score_changed, "card"))] * ROWS, strict=True
        )
        if "visa" in column
    ]
    assert len(runs) == len(tables)


@at_night
def test_missing(service: Service) -> None:
    """Missing values in a column are broken data, measured as a share of its cells."""
    field = get_fields(service, "risk")["inputs.frame.cells.income"]
    cells = read_column("risk", 1, score_changed, "income")
    share = sum(cell is None or cell != cell for cell in cells) / len(cells)  # noqa: PLR0124 - NaN
    assert field["missing"] == pytest.approx(share)
    assert (field["change"], field["sentence"].partition(" → ")[0]) == ("broken", "missing 0")
    first = ask(service.app, "/api/v1/projects/p/findings").json["findings"][0]
    assert (first["kind"], first["model"]) == ("broken", "risk")
    assert first["title"] == "risk: input frame.cells.income is missing"


def test_report(service: Service) -> None:
    """The report has both distributions of a column's cells, and runs typical of the new values."""
    report = get_report(service, "inputs.frame.cells.card")
    (value,) = [part for part in report["histograms"] if part["part"] == "value"]
    cells = Counter(read_column("risk", 1, score_changed, "card"))
    assert {cell["label"]: cell["window"] for cell in value["cells"]} == pytest.approx(
        {name: count / cells.total() for name, count in cells.items()}
    )
    assert [point["n"] for point in report["curve"]] == [RUNS * ROWS] * (DAYS - 1)
    assert {run["value"] for run in report["runs"]} == {"visa"}


def test_page(service: Service) -> None:
    """The pages show columns like other fields."""
    page = ask(service.app, "/projects/p/fields?model=risk").text
    rows = page.partition('<table class="t fit sec" id="fields">')[2]
    assert rows.index("inputs.frame.cells.income") < rows.index("inputs.frame.cells.card")
    page = ask(service.app, "/projects/p/fields/inputs.frame.cells.age?model=risk&part=value").text
    assert page.count('<path class="area"') == page.count('<path class="a"') == 1


@at_night
def test_of_runs(service: Service) -> None:
    """Columns computed from filtered runs equal those from sketches."""
    filtered = "&where=" + quote('outcome == "ok"')
    for name in ("inputs.frame.cells.card", "inputs.frame.cells.income"):
        kept = get_fields(service, "risk")[name]
        read = get_fields(service, "risk", filtered)[name]
        assert {**read, "distance": 0} == {**kept, "distance": 0}
        assert read["distance"] == pytest.approx(kept["distance"])


def make_rows(runs: int, columns: int, cells: int) -> Iterator[dict[str, Any]]:
    """Make rows of the store; each run has a table and five other values."""
    figures = dict.fromkeys(
        ("latency_ms", "first_token_ms", "stream_chunks", "input_tokens", "output_tokens", "cost")
    )
    for place in range(runs):
        table = {f"c{column:02}": [place] * cells for column in range(columns)}
        frame = {"type": "pandas.DataFrame", "shape": [cells, columns], "cells": table}
        yield {
            **figures,
            "run_id": f"{place}",
            "model": "m",
            "digest": "v1",
            "structure": "",
            "session": f"s{place}",
            "outcome": "ok",
            "error_type": "",
            "inputs": orjson.dumps({"frame": frame, **{f"f{n}": n for n in range(5)}}).decode(),
            "outputs": "",
            "params": "",
        }


def test_bounds() -> None:
    """At most 50 columns are kept, next to other fields, and the cells of the first runs only."""
    (fields,) = sketch_runs(make_rows(300, 60, 8), {}).values()
    columns = [path for path in fields.fields if path.startswith("inputs.frame.cells")]
    assert len(columns) == MOST_COLUMNS
    assert {f"inputs.f{n}" for n in range(5)} <= fields.fields.keys()
    filled = fields.filled(columns)
    # 50 columns of 8 cells per run: the 250th run reaches 100,000 cells.
    assert {(own.n, own.runs, own.types["tables"]) for own in filled.values()} == {
        (2_000, 2_000, 250)
    }


BATCH_ROWS: Final = 5_000
BATCH_DAYS: Final = 12


def predict_batch(draw: random.Random, *, late: float = 0.0) -> tuple[Payload, Payload]:
    """Make a nightly call with 5,000 rows; the last tenth may have other values."""
    values = np.random.default_rng(draw.randrange(10**9)).normal(size=(BATCH_ROWS, 4))
    values[-BATCH_ROWS // 10 :, 1] += late
    return {"X": values}, {"ok": True}


def predict_changed_batch(draw: random.Random) -> tuple[Payload, Payload]:
    """Make a nightly call whose last 500 rows changed."""
    return predict_batch(draw, late=4.0)


@pytest.fixture
def batches(service: Service) -> Service:
    """Open a collector with two models that are called once a day; one changed yesterday."""
    spans = []
    for model, write in (("batches", predict_changed_batch), ("same batches", predict_batch)):
        spans += make_day(model, 1, 1, describing(write))
        for day in range(2, BATCH_DAYS):
            spans += make_day(model, day, 1, describing(predict_batch))
    service.store.take("p", *spans, now_ns=time.time_ns())
    sketch_days(service.store.connections, "p", range(1, BATCH_DAYS))
    return service


@at_night
def test_end_of_a_batch(batches: Service) -> None:
    """A change in the last tenth of one daily call's rows is drift of that column only."""
    for model, drifted in (("batches", {'inputs.X.cells["1"]'}), ("same%20batches", set())):
        fields = get_fields(batches, model)
        assert fields['inputs.X.cells["1"]']["n"] == 500
        assert {name for name, field in fields.items() if field["word"] == "drift"} == drifted
