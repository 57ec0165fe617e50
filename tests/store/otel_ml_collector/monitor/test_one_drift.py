"""Drift of the same data is the same for the SDK, the API, pages, findings and alerts."""

import json
import random
import re
import time
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Any, Final, NamedTuple

import pytest

import otel_ml
from otel_ml import InputComponent, ModelProfile, OutputComponent
from otel_ml.profiles import Component
from otel_ml_collector.alerts.measurement import MeasuredWindows, Measurement, measure
from otel_ml_collector.alerts.rule import WantedAlert, make_plan
from otel_ml_collector.alerts.sentences import describe_value
from otel_ml_collector.alerts.states import key_of
from otel_ml_collector.findings.drift import reference_name
from otel_ml_collector.times import DAY_NS, MINUTE_NS
from otel_ml_collector.wording import score
from tests.store.otel_ml_collector.monitor.test_fields import sketch_days
from tests.store.otel_ml_collector.monitor.test_profiles import send
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import MS_NS, make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import sampled

MODEL: Final = "churn"
TODAY_NS: Final = time.time_ns() // DAY_NS * DAY_NS
RUNS: Final = 400
BEFORE: Final = 600
# Each is one field: a number, codes, two categories, texts, a broken number, and no change.
FIELDS: Final[Mapping[str, type[Component]]] = {
    "age": InputComponent,
    "rooms": InputComponent,
    "city": InputComponent,
    "member": InputComponent,
    "note": InputComponent,
    "amount": InputComponent,
    "label": OutputComponent,
}
DTYPES: Final = {
    "age": "FLOAT",
    "rooms": "INT",
    "city": "CAT",
    "member": "CAT",
    "note": "TEXT",
    "amount": "FLOAT",
    "label": "CAT",
}


class Drift(NamedTuple):
    """What one of the faces says about a field."""

    is_drift: bool
    distance: str
    sentence: str


def draw_row(draw: random.Random, *, is_new: bool) -> dict[str, Any]:
    """Draw the values of one run."""
    row: dict[str, Any] = {
        "age": draw.gauss(52 if is_new else 40, 9),
        "rooms": draw.choice([2, 4, 4, 5] if is_new else [1, 2, 2, 3]),
        "city": draw.choice(["Ghent", "Lund", *["Rome"] * is_new]),
        "member": draw.random() < (0.8 if is_new else 0.5),
        "note": " ".join(f"word{draw.randrange(500)}" for _ in range(14 if is_new else 9)),
        "amount": draw.lognormvariate(3, 0.5),
        "label": draw.choice(["no", "no", "yes"]),
    }
    if is_new and (chance := draw.random()) < 0.3:
        row["amount"] = "n/a" if chance < 0.1 else None
    return row


def path_of(name: str) -> str:
    """Return the path of a field in a run."""
    return f"{'outputs' if name == 'label' else 'inputs'}.{name}"


def build(rows: list[dict[str, Any]]) -> ModelProfile:
    """Build the profile that describes some rows."""
    profile = ModelProfile(
        reference_name(MODEL),
        components=[
            make(name, path=path_of(name), dtype=DTYPES[name]) for name, make in FIELDS.items()
        ],
    )
    profile.build(rows, rows)
    return profile


class World(NamedTuple):
    """The same rows in the SDK and, as runs of yesterday, in a store."""

    service: Service
    before: ModelProfile
    rows: list[dict[str, Any]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    draw = random.Random(83)  # noqa: S311 - the same each time
    before = build([draw_row(draw, is_new=False) for _ in range(BEFORE)])
    rows = [draw_row(draw, is_new=True) for _ in range(RUNS)]
    spans = []
    for place, row in enumerate(rows):
        inputs = {name: value for name, value in row.items() if value is not None}
        start_ns = TODAY_NS - DAY_NS + place * MINUTE_NS
        told = {
            "otel_ml.model.version": "v1",
            "otel_ml.inputs": json.dumps(inputs),
            "otel_ml.outputs": json.dumps({"label": inputs.pop("label")}),
        }
        spans.append(make_call(MODEL, told, start_ns=start_ns, end_ns=start_ns + 100 * MS_NS))
    with open_service(tmp_path_factory.mktemp("drift")) as service:
        now_ns = time.time_ns()
        service.store.take("p", send(before.name, "aa", before.to_dict()), now_ns=now_ns)
        service.store.take("p", *spans, now_ns=now_ns)
        sketch_days(service.store.connections, "p", range(1, 2))
        yield World(service, before, rows)


def of_profile(world: World, name: str) -> Drift:
    """Ask `ModelProfile.contrast` of the SDK."""
    report = world.before.contrast(build(world.rows))["health_reports"][name]["drift"]
    return Drift(report["alert"], score(report["drift"]), report["sentence"])


def of_metrics(world: World, name: str) -> str:
    """Ask `data_metrics` of the SDK, which has no words."""
    rows = [
        {f"outputs.{name}" if name == "label" else name: value for name, value in row.items()}
        for row in world.rows
    ]
    return score(otel_ml.data_metrics(rows, reference=world.before)[f"drift.{path_name(name)}"])


def path_name(name: str) -> str:
    """Return the column of a field in a table."""
    return path_of(name).removeprefix("inputs.")


def of_api(world: World, name: str) -> Drift:
    """Ask the JSON API, which compares a model with its reference by default."""
    address = f"/api/v1/projects/p/fields/{path_of(name)}?model={MODEL}"
    field = ask(world.service.app, address).json
    return Drift(field["word"] == "drift", score(field["distance"]), field["sentence"])


def of_pages(world: World, name: str) -> Drift:
    """Read the row of the field on the page of all fields, and the words on its own page."""
    address = f"/projects/p/fields?model={MODEL}"
    row = ask(world.service.app, address).text.partition(f"/fields/{path_of(name)}?")[2]
    cells = [cell.rpartition("<td")[2].partition(">")[2] for cell in row.split("</td>")[:6]]
    own = ask(world.service.app, f"/projects/p/fields/{path_of(name)}?model={MODEL}").text
    words = unescape(own.partition(f"</b> Field {path_of(name)}: ")[2].partition(".</p>")[0])
    return Drift("worse-w" in cells[5], cells[4], words)


def of_alert(world: World, name: str) -> Drift:
    """Measure the rule that the page of the field suggests."""
    wanted = {
        "when": f'drift({path_of(name)}, than="reference") > 0',
        "where": f'model == "{MODEL}"',
        "window": "1d",
    }
    plan = make_plan(WantedAlert.model_validate(wanted))
    asked = Measurement("p", plan.where, plan.by, plan.condition.figures, None, TODAY_NS)
    windows = MeasuredWindows(TODAY_NS, plan.window_ns, 1, plan.window_ns)
    (measured,) = measure(world.service.store.reader, asked, windows)[TODAY_NS].values()
    key = key_of(plan.condition.main)
    value, text = measured.numbers[key], measured.texts.get(key, "")
    described = describe_value(plan.condition.main, value, text)
    return Drift(value > 0, score(value), described.partition(": ")[2])


@sampled(3)
@pytest.mark.parametrize("name", FIELDS)
def test_same_drift(world: World, name: str) -> None:
    """All faces report the same distance of a field, and the same words."""
    expected = of_profile(world, name)
    assert expected.is_drift == (name != "label")
    assert of_api(world, name) == of_pages(world, name) == expected
    assert of_metrics(world, name) == expected.distance
    if expected.is_drift:
        assert of_alert(world, name) == expected
    else:
        assert not of_alert(world, name).is_drift


def test_choice_of_references(world: World) -> None:
    """The page of fields offers the model's reference first, and the days before."""
    page = ask(world.service.app, f"/projects/p/fields?model={MODEL}").text
    choice = page.partition('aria-label="Compare with"')[2].partition("</nav>")[0]
    assert re.findall(r">([^<]+)</a>", choice) == ["reference of churn", "28 days before"]


def test_findings(world: World) -> None:
    """Findings have the drift score and the words of the field that changed most."""
    findings = ask(world.service.app, "/api/v1/projects/p/findings").json["findings"]
    of_fields = {found["field"]: found for found in findings if found["field"]}
    for path, found in of_fields.items():
        distance = of_api(world, path.partition(".")[2]).distance
        assert f": {distance}." in f"{found['evidence']}."
    sentences = {path: found["sentence"] for path, found in of_fields.items()}
    broken = sentences.pop("inputs.amount")
    share = of_api(world, "amount").sentence.partition(" → ")[2].partition(" %")[0]
    assert f"is missing in {share}" in broken
    ((path, sentence),) = sentences.items()
    assert f": {of_api(world, path.partition('.')[2]).sentence} since" in sentence
