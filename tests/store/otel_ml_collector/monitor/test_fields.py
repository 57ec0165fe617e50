"""Drifted fields of a model, found from recorded runs without any setup, through the API."""

import json
import math
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import pytest
from scipy.stats import ks_2samp, wasserstein_distance

from otel_ml_collector.span import Span
from otel_ml_collector.store.connection import Connections
from otel_ml_collector.store.sketches import sketch_day
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS, MINUTE_NS
from tests.store.otel_ml_collector.test_datasets import make_item, make_versions
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import MS_NS, make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

TODAY_NS: Final = time.time_ns() // DAY_NS * DAY_NS
DAYS: Final = 10
RUNS: Final = 130
Payload = Mapping[str, Any]


def make_day(
    model: str, day: int, runs: int, write: Callable[[random.Random], tuple[Payload, Payload]]
) -> list[Span]:
    """Make the runs of one day `day` days ago, with inputs and outputs from `write`."""
    draw = random.Random(f"{model}{day}")  # noqa: S311 - not for secrets
    spans = []
    for place in range(runs):
        start_ns = TODAY_NS - day * DAY_NS + place * MINUTE_NS
        inputs, outputs = write(draw)
        spans.append(
            make_call(
                model,
                {
                    "otel_ml.model.version": "v1",
                    "otel_ml.inputs": json.dumps(inputs),
                    "otel_ml.outputs": json.dumps(outputs),
                },
                start_ns=start_ns,
                end_ns=start_ns + draw.randrange(80, 120) * MS_NS,
            )
        )
    return spans


def pay(draw: random.Random) -> tuple[Payload, Payload]:
    """Make a normal payment."""
    inputs = {
        "amount": round(draw.lognormvariate(3, 0.5), 2),
        "card": draw.choice(["amex", "mastercard"]),
        "note": f"please pay order {draw.randrange(10**6)} now",
        "secret": "[redacted]",
    }
    return inputs, {"label": draw.choice(["good", "good", "bad"])}


def pay_broken(draw: random.Random) -> tuple[Payload, Payload]:
    """Make a payment that often has no amount, and sometimes a new card."""
    inputs, outputs = pay(draw)
    changed = {**inputs, "card": "visa" if draw.random() < 0.2 else inputs["card"]}
    if draw.random() < 0.3:
        del changed["amount"]
    return changed, outputs


def pay_refused(draw: random.Random) -> tuple[Payload, Payload]:
    """Make a normal payment with a changed output of the model."""
    inputs, _ = pay(draw)
    return inputs, {"label": "bad"}


def sketch_days(connections: Connections, project: str, days: range) -> None:
    """Make the sketches of days, counted back from today, as if nothing changed for a minute."""
    client = connections.open()
    for day in days:
        now_ns = client.query(Sql("SELECT toUnixTimestamp64Nano(now64(9))")).result_rows[0][0]
        sketch_day(client, connections.memory, project, TODAY_NS - day * DAY_NS, now_ns)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector with three models: data broken yesterday, changed outputs, unchanged."""
    with open_service(tmp_path_factory.mktemp("fields")) as service:
        yesterday = {"broken": pay_broken, "changed": pay_refused, "same": pay}
        for model, write in yesterday.items():
            spans = make_day(model, 1, RUNS, write)
            for day in range(2, DAYS):
                spans += make_day(model, day, RUNS, pay)
            for first in range(0, len(spans), 500):
                service.store.take("p", *spans[first : first + 500], now_ns=time.time_ns())
        sketch_days(service.store.connections, "p", range(1, DAYS))
        yield service


def get(service: Service, path: str) -> Any:
    return ask(service.app, f"/api/v1/projects/p/{path}").json


def get_fields(service: Service, model: str, **asked: str) -> dict[str, Any]:
    more = "".join(f"&{name}={quote(value)}" for name, value in asked.items())
    fields = get(service, f"fields?model={model}{more}")
    return {field["field"]: field for field in fields["fields"]}


def test_broken(service: Service) -> None:
    """A field that is missing more often is broken data, with a sentence and its runs' filter."""
    amount = get_fields(service, "broken")["inputs.amount"]
    assert (amount["word"], amount["change"], amount["kind"]) == ("drift", "broken", "number")
    assert amount["sentence"].startswith("missing 0 → ")
    assert amount["where"] == 'model == "broken" and not (inputs.amount <= 1e300)'
    runs = get(service, f"runs?where={quote(amount['where'])}&limit=100")["runs"]
    assert len(runs) == round(amount["missing"] * RUNS)


def test_new_value(service: Service) -> None:
    """A new value of a category is named with its share, and links to its runs."""
    card = get_fields(service, "broken")["inputs.card"]
    assert (card["word"], card["change"], card["kind"]) == ("drift", "traffic", "category")
    assert card["sentence"].startswith('new value "visa": ')
    assert card["where"] == 'model == "broken" and inputs.card == "visa"'


def test_model_changed(service: Service) -> None:
    """If an output drifts and the inputs do not, the model has changed."""
    fields = get_fields(service, "changed")
    assert fields["outputs.label"]["change"] == "model"
    assert {name for name, field in fields.items() if field["change"]} == {"outputs.label"}


def test_as_before(service: Service) -> None:
    """No field of an unchanged model drifts."""
    fields = get_fields(service, "same")
    assert {field["word"] for field in fields.values()} <= {"as before", "too few"}
    assert fields["inputs.note"]["kind"] == "text"


def test_redacted(service: Service) -> None:
    """A redacted value is not stored, and it does not count as missing."""
    secret = get_fields(service, "same")["inputs.secret"]
    assert (secret["n"], secret["missing"]) == (0, 0.0)


@at_night
def test_of_runs(service: Service) -> None:
    """Fields computed from filtered runs equal those from sketches."""
    kept = get_fields(service, "broken")["inputs.card"]
    read = get_fields(service, "broken", where='outcome == "ok"')["inputs.card"]
    assert {**read, "distance": 0} == {**kept, "distance": 0}
    assert read["distance"] == pytest.approx(kept["distance"])


def test_report(service: Service) -> None:
    """A report has both distributions, each day's distance, and runs typical of the new values."""
    report = get(service, "fields/inputs.card?model=broken")
    (value,) = [one for one in report["histograms"] if one["part"] == "value"]
    visa = next(cell for cell in value["cells"] if cell["label"] == "visa")
    assert visa["reference"] == 0
    assert sum(cell["window"] for cell in value["cells"]) == pytest.approx(1)
    assert [point["n"] for point in report["curve"]] == [RUNS] * (DAYS - 1)
    assert [point["is_drift"] for point in report["curve"]] == [False] * (DAYS - 2) + [True]
    assert report["is_calibrated"]
    assert {run["value"] for run in report["runs"]} == {"visa"}


def read_inputs(model: str, day: int, write: Callable[[random.Random], Any], name: str) -> Any:
    """Return the values of an input in one day's runs."""
    inputs = [
        json.loads(str(span.attributes["otel_ml.inputs"]))
        for span in make_day(model, day, RUNS, write)
    ]
    return [payload[name] for payload in inputs if name in payload]


def read_both(name: str) -> tuple[list[Any], list[Any]]:
    """Return an input's values for the broken model: those before, and yesterday's."""
    before = [value for day in range(2, DAYS) for value in read_inputs("broken", day, pay, name)]
    return before, read_inputs("broken", 1, pay_broken, name)


def get_part(service: Service, field: str, part: str = "value") -> Any:
    report = get(service, f"fields/{field}?model=broken")
    return next(entry for entry in report["parts"] if entry["part"] == part)


def test_kolmogorov_smirnov(service: Service) -> None:
    """For numbers, the report has the Kolmogorov-Smirnov statistic that scipy computes."""
    value = get_part(service, "inputs.amount")
    assert value["ks"] == pytest.approx(ks_2samp(*read_both("amount")).statistic, abs=0.02)
    assert value["psi"] is None


def test_population_stability(service: Service) -> None:
    """For categories, the report has the population stability index, computed by its formula."""
    before, after = (Counter(values) for values in read_both("card"))
    expected = 0.0
    for name in before | after:
        # A value that is missing on one side counts as half a run.
        low, high = (max(side[name], 0.5) / side.total() for side in (before, after))
        expected += (high - low) * math.log(high / low)
    value = get_part(service, "inputs.card")
    assert value["psi"] == pytest.approx(expected)
    assert value["ks"] is None


@at_night
def test_page_of_both(service: Service) -> None:
    """A field's page shows both statistics, and a dash for one that does not apply."""
    for field, name in (("inputs.amount", "ks"), ("inputs.card", "psi")):
        shown = get_part(service, field)[name]
        page = ask(service.app, f"/projects/p/fields/{field}?model=broken").text
        fold = page.partition('id="reference"')[2]
        row = fold.partition('<tr><td class="wrap">Value</td>')[2].partition("</tr>")[0]
        cells = re.findall(r'<td class="n mute">([^<]*)</td>', row)
        assert len(cells) == 2
        assert cells[name == "ks"] == "–"
        assert float(cells[name == "psi"]) == pytest.approx(shown, abs=0.006)


def test_findings(service: Service) -> None:
    """Findings are ordered: broken data first, then changed models, then traffic."""
    findings = get(service, "findings")["findings"]
    assert [(one["kind"], one["model"], one["field"]) for one in findings] == [
        ("broken", "broken", "inputs.amount"),
        ("model", "changed", "outputs.label"),
        ("traffic", "broken", "inputs.card"),
    ]
    assert findings[0]["sentence"].endswith(", never before")


@sampled(1)
@pytest.mark.parametrize("than", ["28", "0d", "version:x", "2026-11-02/2026-11-01", "profile"])
def test_wrong_reference(service: Service, than: str) -> None:
    """An invalid reference is refused, and the error lists the valid ones."""
    answer = ask(service.app, f"/api/v1/projects/p/fields?model=same&than={quote(than)}")
    assert answer.status == 400
    assert "expected reference, a number of days such as 28d" in str(answer.json)


def test_unknown(service: Service) -> None:
    """An unknown field gets a 404 response."""
    assert ask(service.app, "/api/v1/projects/p/fields/inputs.no?model=same").status == 404


def test_page_of_unknown_model(service: Service) -> None:
    """The fields page refuses an unknown model and suggests the closest name."""
    answer = ask(service.app, "/projects/p/fields?model=brokn")
    assert answer.status == 404
    assert "Project &#39;p&#39; has no model &#39;brokn&#39;: did you mean broken?" in answer.text


def test_page_of_fields(service: Service) -> None:
    """The page lists a model's fields, broken data first, each with its change."""
    page = ask(service.app, "/projects/p/fields?model=broken").text
    rows = page.partition('<table class="t fit sec" id="fields">')[2]
    assert rows.index("inputs.amount") < rows.index("inputs.card") < rows.index("outputs.label")
    assert "missing 0 → " in rows
    assert "reader.fields(&#39;broken&#39;" in page


def test_page_of_fields_without_values(service: Service) -> None:
    """The page shows no kind for a field without a value in any run."""
    field = get_fields(service, "same")["inputs.secret"]
    assert (field["n"], field["reference_n"]) == (0, 0)
    page = ask(service.app, "/projects/p/fields?model=same").text
    row = page.partition("/fields/inputs.secret?")[2]
    assert re.findall('<td class="opt">([^<]*)</td>', row)[0] == "–"


def test_page_of_a_field(service: Service) -> None:
    """A field's page plots its distance over time, and lists runs with the new value and inputs."""
    page = ask(service.app, "/projects/p/fields/inputs.card?model=broken").text
    assert "new value &#34;visa&#34;: " in page
    assert page.count('class="dot"') == DAYS - 2
    assert page.count('class="bad"') == 1
    table = page.partition('id="typical"')[2].partition("</table>")[0]
    assert ">visa</a>" in table
    inputs = re.findall('<td class="opt">([^<]*)</td>', table)
    assert len(inputs) == table.count("<tr>") - 1 > 0
    assert all("visa" in text and "please pay order" in text for text in inputs)


def test_finding_about_a_field_opens_its_page(service: Service) -> None:
    """A finding about a field links to its page as a problem, which links to the field."""
    page = ask(service.app, "/projects/p/monitor/findings?last=24h").text
    problem = "/projects/p/problems/broken-data-inputs-amount?last=24h"
    broken, changed, _ = get(service, "findings")["findings"]
    assert f'<a href="{problem}">{broken["title"]}</a>' in page
    field = "/projects/p/fields/inputs.amount?model=broken"
    assert field in ask(service.app, problem).text
    assert ask(service.app, field).status == 200
    change = "/projects/p/problems/changed-quality-outputs-label?last=24h"
    assert f'<a href="{change}">{changed["title"]}</a>' in page


def test_least_usual_texts(service: Service) -> None:
    """The page of a text field that did not drift lists its least usual texts."""
    page = ask(service.app, "/projects/p/fields/inputs.note?model=same").text
    assert "<h2>Most unusual values</h2>" in page
    table = page.partition('id="typical"')[2]
    assert table.count("please pay order") > 0
    ticks = re.findall('name="of" value="([^"]*)" form="compare"', table)
    assert re.findall("/runs/([0-9a-f-]{49})", table) == ticks
    assert 'data-save-test="selected"' in table


def test_page_of_numbers(service: Service) -> None:
    """The page of a number field draws both distributions on one axis."""
    page = ask(service.app, "/projects/p/fields/inputs.amount?model=broken&part=value").text
    assert page.count('<path class="area"') == page.count('<path class="a"') == 1
    assert "The data has been broken since" in page


@at_night
def test_other_references(service: Service) -> None:
    """An hour is compared with hours; an unknown version or data set gets a 404 response."""
    hour = get(service, "fields?model=same&last=1h")
    assert (hour["reference"], hour["runs"]) == ("the 7 days before", 0)
    for than in ("version", "version:7", "dataset:none"):
        address = f"/api/v1/projects/p/fields?model=same&than={than}"
        assert ask(service.app, address).status == 404, than


def test_data_set(service: Service) -> None:
    """A data set that differs from the traffic drifts, by the distance that scipy computes."""
    draw = random.Random(17)  # noqa: S311 - not for secrets
    items = {
        f"q-{place}": make_item(
            {
                "amount": round(draw.lognormvariate(3.5, 0.5), 2),
                "card": draw.choice(["amex", "visa"]),
            }
        )
        for place in range(300)
    }
    service.store.take("p", *items.values(), *make_versions("qa", items))
    for than in ("dataset:qa", "dataset:qa:v1"):
        answer = get(service, f"fields?model=same&than={than}")
        assert (answer["reference"], answer["reference_runs"]) == (f"data set {than[8:]}", 300)
        fields = {field["field"]: field for field in answer["fields"]}
        amount, card = fields["inputs.amount"], fields["inputs.card"]
        assert (amount["word"], amount["reference_n"]) == ("drift", 300)
        assert card["sentence"].startswith('new value "mastercard": ')
        assert "latency_ms" not in fields
    before = [
        json.loads(str(item.attributes["otel_ml.inputs"]))["amount"] for item in items.values()
    ]
    after = read_inputs("same", 1, pay, "amount")
    unit = np.subtract(*np.percentile(before, [75, 25]))
    assert amount["distance"] == pytest.approx(wasserstein_distance(before, after) / unit, abs=0.03)


@at_night
def test_window_of_days(service: Service) -> None:
    """Two days can be the reference: from the first day up to, but not including, the second."""
    days = [
        datetime.fromtimestamp((TODAY_NS - day * DAY_NS) / 10**9, UTC).date().isoformat()
        for day in (6, 3)
    ]
    answer = get(service, f"fields?model=broken&than={'/'.join(days)}")
    assert (answer["reference"], answer["reference_runs"]) == (" to ".join(days), 3 * RUNS)
    amount = next(field for field in answer["fields"] if field["field"] == "inputs.amount")
    assert (amount["reference_n"], amount["word"], amount["change"]) == (
        3 * RUNS,
        "drift",
        "broken",
    )


@at_night
def test_version(service: Service) -> None:
    """The newest version's runs in the window are compared with the previous version's."""
    spans = make_day("two", 2, 120, pay)
    for span in make_day("two", 1, 120, pay_refused):
        spans.append(replace(span, attributes={**span.attributes, "otel_ml.model.version": "v2"}))
    service.store.take("versions", *spans, now_ns=time.time_ns())
    address = "/api/v1/projects/versions/fields?model=two&than=version"
    answer = ask(service.app, address).json
    assert (answer["reference"], answer["runs"], answer["reference_runs"]) == ("two:v1", 120, 120)
    label = next(field for field in answer["fields"] if field["field"] == "outputs.label")
    assert (label["word"], label["change"]) == ("drift", "model")


@at_night
def test_page_of_a_change(service: Service) -> None:
    """A field that only drifted has the page of a problem, with chart, slices and examples."""
    for model, field, opened in (
        ("changed", "outputs.label", "outputs.label"),
        ("broken", "inputs.card", "inputs.card"),
    ):
        asked = f"/projects/p/problem-of?model={model}&field={quote(field)}"
        found = ask(service.app, asked)
        assert found.status == 303
        page = ask(service.app, found.headers["location"])
        assert page.status == 200
        text = page.text
        assert "A change, not counted as a problem," in text
        assert "Mark as known" not in text
        assert '<section class="sec" id="since">' in text
        assert re.search('<line class="need" x2="100%" y1="[0-9.]+"', text)
        assert re.search('<path class="hotline" d="M[0-9. L]+"', text)
        assert "Drift score of" in text
        assert "field-slices?" not in text  # too few runs
        for action in ("Alert on this", "Save as tests", "Label these"):
            assert f">{action}</a>" in text
        examples = text[text.index('id="examples"') :]
        assert examples.count("<tr data-run=") == 5
        assert f'<th class="opt">{opened}</th>' in examples
        shown = ask(service.app, f"/projects/p/fields/{quote(field)}?model={model}").text
        assert "Open the problem" in shown


def test_changes_open_their_page(service: Service) -> None:
    """The list of changes on Monitor and overview opens the page of each changed field."""
    for path in ("monitor/findings", "news"):
        text = ask(service.app, f"/projects/p/{path}?last=24h").text
        noticed = text[text.index('id="noticed"') :]
        keys = re.findall('href="/projects/p/problems/([^?"]+)', noticed)
        assert keys == ["changed-quality-outputs-label", "broken-traffic-inputs-card"]


def test_round_ticks(service: Service) -> None:
    """The axes of a field's charts have round, equally spaced ticks that begin at 0."""
    page = ask(service.app, "/projects/p/fields/inputs.amount?model=broken&part=value").text
    charts = re.findall(r'<svg height="180".*?</svg></figure>', page, re.DOTALL)
    assert len(charts) == 2
    for chart in charts:
        texts = re.findall(r'<text class="y"[^>]*>([^<]+)<', chart)
        ticks = [float(text.rstrip("\u202f%")) for text in texts]
        assert ticks[0] == 0
        assert ticks == pytest.approx([place * ticks[1] for place in range(len(ticks))])
        assert f"{ticks[1]:e}".partition("e")[0].rstrip("0").rstrip(".") in ("1", "2", "2.5", "5")
