"""Unusual properties of a run: its fields compared with earlier days, and its worse slices."""

import json
import re
import time
from collections.abc import Iterable
from typing import Any, Final

import pytest

from otel_ml_collector.monitor.unusual import compare_with_usual, find_unusual
from otel_ml_collector.runs.find import find_run
from otel_ml_collector.span import Span
from otel_ml_collector.store.field_values import VersionFields, sketch_runs
from otel_ml_collector.store.sketches import sketch_day
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS, HOUR_NS
from tests.store.otel_ml_collector.monitor.test_tables import make_rows
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import MS_NS, make_call
from tests.support.otel_ml_collector.stores import Service

NOW_NS: Final = time.time_ns()
DAY_START_NS: Final = (NOW_NS // DAY_NS - 2) * DAY_NS
USUAL: Final = {"amount": 10, "card": "visa", "note": "two words"}


def make_run(start_ns: int, inputs: object, client: str = "b", *, failed: bool = False) -> Span:
    return make_call(
        "pay",
        {"otel_ml.inputs": json.dumps(inputs), "otel_ml.tag.client": client},
        start_ns=start_ns,
        end_ns=start_ns + 50 * MS_NS,
        status_code=2 if failed else 0,
    )


def id_of(run: Span) -> str:
    return f"{run.trace_id.hex()}-{run.span_id.hex()}"


def take(service: Service, project: str) -> tuple[Span, Span]:
    """Store a day of normal runs; return a normal and an unusual run of another day."""
    runs = [
        make_run(
            DAY_START_NS + place * 60 * 10**9,
            {**USUAL, "amount": 5 + place % 30, "card": "visa" if place % 2 else "amex"},
        )
        for place in range(150)
    ]
    start_ns = NOW_NS - HOUR_NS
    usual = make_run(start_ns, USUAL)
    odd = make_run(start_ns, {"amount": 900, "card": "<b>none", "extra": True}, "a", failed=True)
    # Client a's runs fail today; client b's never do.
    others = [
        make_run(start_ns - place * 10**9, USUAL, "ab"[place % 2], failed=place % 2 == 0)
        for place in range(1, 121)
    ]
    service.store.take(project, *runs, usual, odd, *others, now_ns=NOW_NS)
    connections = service.store.connections
    client = connections.open()
    now_ns = client.query(Sql("SELECT toUnixTimestamp64Nano(now64(9))")).result_rows[0][0]
    sketch_day(client, connections.memory, project, DAY_START_NS, now_ns)
    return usual, odd


def facts_of(sentence: str) -> list[str]:
    """Return the deciding words and figures of a sentence about an unusual value."""
    return re.findall(r"\b(?:high|low|not seen|new field|missing|all|\d[\d.,]*)\b", sentence)


def test_unusual(service: Service) -> None:
    """The unusual fields are a number out of range, a new value, a new field and a missing field.

    The run's slice with more failures is listed too, and the page shows both.
    """
    usual, odd = take(service, "shop")
    reader = service.store.reader
    found = find_unusual(reader, find_run(reader, id_of(odd), "shop", now_ns=NOW_NS))
    told = {field.path: (field.value, facts_of(field.sentence)) for field in found.fields}
    assert told == {
        "inputs.amount": ("900", ["high", "5", "34"]),
        "inputs.card": ("<b>none", ["not seen", "150"]),
        "inputs.extra": ("true", ["new field", "150"]),
        "inputs.note": ("", ["missing", "all"]),
    }
    assert [item.name for item in found.slices] == ["client = a"]
    as_usual = find_unusual(reader, find_run(reader, id_of(usual), "shop", now_ns=NOW_NS))
    assert (as_usual.runs, as_usual.fields, as_usual.slices) == (150, [], [])
    part = ask(service.app, f"/projects/shop/run-unusual/{id_of(odd)}")
    assert "&lt;b&gt;none" in part.text
    assert ">Show client a</a>" in part.text
    values = part.text.partition('hx-target="#input-values"')[2]
    assert values.count('class="odd"') == 3
    assert "usually 5 to 34" in values
    assert 'id="unusual"' not in ask(service.app, f"/projects/shop/run-unusual/{id_of(usual)}").text
    page = ask(service.app, f"/projects/shop/runs/{id_of(odd)}").text
    assert f"/projects/shop/run-unusual/{id_of(odd)}" in page


def sketch_tables(tables: Iterable[dict[str, list[Any]]]) -> VersionFields:
    """Sketch calls with a table of three rows each, with the given columns."""
    (row,) = make_rows(1, 1, 3)
    frames = (
        {"frame": {"type": "pandas.DataFrame", "shape": [3, len(cells)], "cells": cells}}
        for cells in tables
    )
    rows = ({**row, "inputs": json.dumps(frame)} for frame in frames)
    (fields,) = sketch_runs(rows, {}).values()
    return fields


def test_columns_of_tables() -> None:
    """An unusual cell is reported by its column; a missing column only if all tables have it."""
    usual = sketch_tables(
        {
            "age": [20 + place / 7, 30 + place / 7, 60 - place / 11],
            "card": ["visa", "amex", "visa"],
            "income": [1, 2, 3],
            **({"bonus": [1, 2, 3]} if place % 3 == 0 else {}),
        }
        for place in range(150)
    )
    odd = sketch_tables([{"age": [30, 900, 40], "card": ["visa", "odd", "amex"]}])
    unusual = {
        field.path.removeprefix("inputs.frame.cells."): (field.value, facts_of(field.sentence))
        for field in compare_with_usual(odd, usual)
        if "cells" in field.path
    }
    value, facts = unusual.pop("age")
    assert (value, facts[0]) == ("900", "high")
    assert unusual == {
        "card": ("odd", ["not seen", "450"]),
        # 50 of the 150 tables have a bonus, in 150 cells: lacking one is normal.
        "income": ("", ["missing", "all"]),
    }
    same = sketch_tables([{"age": [30, 40, 50], "card": ["amex"] * 3, "income": [3, 2, 1]}])
    fields = (field.path for field in compare_with_usual(same, usual))
    assert [path for path in fields if "cells" in path] == []


def sketch_inputs(every: Iterable[dict[str, Any]]) -> VersionFields:
    """Sketch calls with the given inputs."""
    (row,) = make_rows(1, 1, 3)
    (fields,) = sketch_runs(({**row, "inputs": json.dumps(one)} for one in every), {}).values()
    return fields


QUESTIONS: Final = [f"where is order {place}" + " please" * (place % 5) for place in range(15)]


@pytest.mark.parametrize(
    "values",
    [
        [QUESTIONS[place % 15] for place in range(150)],  # sentences that often repeat
        [f"{QUESTIONS[place % 15]} {place}" + " today" * (place % 5) for place in range(150)],
        # short texts that mostly occur once
        [f"shoes {place}" if place % 20 == 0 else "red shoes" for place in range(150)],
    ],
)
def test_new_text_is_usual(values: list[str]) -> None:
    """A new free text is not unusual, even if texts often repeat."""
    usual = sketch_inputs({"question": value} for value in values)
    own = sketch_inputs([{"question": "can you tell me more about boots"}])
    assert [field.path for field in compare_with_usual(own, usual)] == []


def test_new_code_is_unusual() -> None:
    """A code that no run had is unusual, and so is a sentence in place of a code."""
    usual = sketch_inputs({"card": ["visa", "amex"][place % 2]} for place in range(150))
    for odd in ("jcb", "ask the customer again"):
        [field] = compare_with_usual(sketch_inputs([{"card": odd}]), usual)
        assert (field.value, facts_of(field.sentence)) == (odd, ["not seen", "150"])
