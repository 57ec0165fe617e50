"""Drift of a field as a slice figure: values in a slice that differ from all other runs."""

import html
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from otel_ml.statistics.distances import FEWEST_VALUES
from otel_ml_collector.span import Span, Value
from otel_ml_collector.times import DAY_NS
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import SECOND_NS, make_call, span_id, trace_id
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import sampled

RUNS: Final = 1_500
NOW_NS: Final = time.time_ns()
FIRST_NS: Final = NOW_NS - 20 * 3_600 * SECOND_NS
YESTERDAY_NS: Final = (NOW_NS // DAY_NS - 1) * DAY_NS
CLIENTS: Final = ("Remax", "Century", "Zillow")
LANGUAGES: Final = ("en", "de", "fr")
NULLS: Final = 48
DRAW: Final = random.Random(7)  # noqa: S311 - not for secrets
WORDS: Final = ("house", "garden", "street", "price", "view", "near", "old", "new")


def make_value(client: str) -> dict[str, Any]:
    """Draw the inputs of a run; Remax's differ in each field except `size`."""
    is_other = client == "Remax"
    inputs: dict[str, Any] = {
        "language": DRAW.choices(LANGUAGES, (2, 7, 1) if is_other else (7, 2, 1))[0],
        "age": round(DRAW.gauss(40 if is_other else 30, 5), 3),
        "size": round(DRAW.gauss(100, 20), 3),
        "text": " ".join(DRAW.choices(WORDS, k=DRAW.randint(15, 25) if is_other else 5)),
        "code": f"{DRAW.randint(0, 9)}{DRAW.randint(0, 9)}" if is_other else DRAW.randint(0, 99),
    }
    if not is_other or DRAW.random() < 0.5:
        inputs["street"] = "Long Road"
    return inputs


def write(inputs: dict[str, Any]) -> str:
    pairs = (
        f'"{name}": "{value}"' if isinstance(value, str) else f'"{name}": {value}'
        for name, value in inputs.items()
    )
    return "{" + ", ".join(pairs) + "}"


CALLS: Final = [(client, make_value(client)) for client in DRAW.choices(CLIENTS, k=RUNS)]


def make_run(
    place: int,
    client: str,
    inputs: dict[str, Any],
    *,
    first_ns: int = FIRST_NS,
    tags: Mapping[str, str] | None = None,
) -> Span:
    attributes: dict[str, Value] = {
        "otel_ml.inputs": write(inputs),
        "otel_ml.tag.client": client,
        **{f"otel_ml.tag.{name}": value for name, value in (tags or {}).items()},
    }
    return make_call(
        "answer",
        attributes,
        trace_id=trace_id(place + 1),
        span_id=span_id(place + 1),
        start_ns=first_ns + place * 10 * SECOND_NS,
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector with runs of three clients, and runs with 48 random tags."""
    with open_service(tmp_path_factory.mktemp("slice-fields")) as service:
        spans = [make_run(place, client, inputs) for place, (client, inputs) in enumerate(CALLS)]
        for first in range(0, RUNS, 500):
            service.store.take("p", *spans[first : first + 500], now_ns=NOW_NS)
        days = [
            make_run(place, client, inputs, first_ns=YESTERDAY_NS)
            for place, (client, inputs) in enumerate(CALLS)
        ]
        for first in range(0, RUNS, 500):
            service.store.take("yesterday", *days[first : first + 500], now_ns=NOW_NS)
        nulls = [
            make_run(
                place,
                "Century",
                make_value("Century"),
                tags={f"t{tag}": str(DRAW.randint(0, 1)) for tag in range(NULLS)},
            )
            for place in range(RUNS)
        ]
        for first in range(0, RUNS, 500):
            service.store.take("nulls", *nulls[first : first + 500], now_ns=NOW_NS)
        yield service


def get(service: Service, figure: str, project: str = "p", status: int = 200, **more: str) -> Any:
    asked = urlencode({"figure": figure, **more})
    answer = ask(service.app, f"/api/v1/projects/{project}/slices?{asked}")
    assert answer.status == status, answer.json
    return answer.json


def list_sides(field: str) -> tuple[list[Any], list[Any]]:
    """Return the values of Remax and of all other runs."""
    sides: tuple[list[Any], list[Any]] = ([], [])
    for client, inputs in CALLS:
        sides[client != "Remax"].append(inputs[field])
    return sides


def test_categories(service: Service) -> None:
    """Remax, whose language differs, is first, with scipy's distance and the filter of its runs."""
    answer = get(service, "drift inputs.language")
    [figure] = answer["figures"]
    assert (figure["name"], figure["kind"]) == ("drift inputs.language", "drift")
    first = answer["slices"][0]
    assert (first["name"], first["word"]) == ("client = Remax", "other")
    assert first["where"] == 'model == "answer" and tags["client"] == "Remax"'
    start = "client = Remax differs in inputs.language (all other runs → this slice): "
    assert first["sentence"].startswith(start)
    counts = [Counter(side) for side in list_sides("language")]
    gap = jensenshannon(*([count[name] for name in LANGUAGES] for count in counts), base=2)
    [cell] = first["cells"]
    assert float(cell["shown"]) == pytest.approx(gap, abs=0.006)
    assert (cell["n"], first["runs"]) == (counts[0].total(), counts[0].total())
    assert answer["runs"] == RUNS
    assert answer["share"] == 1


def test_numbers(service: Service) -> None:
    """Remax, whose age is higher, is first, by Wasserstein's distance in interquartile ranges."""
    first = get(service, "drift inputs.age")["slices"][0]
    assert (first["name"], first["word"]) == ("client = Remax", "other")
    own, rest = list_sides("age")
    ordered = sorted(rest)
    between = ordered[3 * len(rest) // 4] - ordered[len(rest) // 4]
    gap = wasserstein_distance(own, rest) / between
    [cell] = first["cells"]
    assert float(cell["shown"]) == pytest.approx(gap, rel=0.03)
    assert cell["strength"] == 3


@sampled(1)
@pytest.mark.parametrize(
    ("field", "words"),
    [("text", "words"), ("street", "missing"), ("code", "text")],
)
def test_other_parts(service: Service, field: str, words: str) -> None:
    """Longer texts, a field that is missing more often, and another type count as different."""
    first = get(service, f"drift inputs.{field}")["slices"][0]
    assert (first["name"], first["word"]) == ("client = Remax", "other")
    assert words in first["sentence"].split(": ", 1)[1]


def test_what_is_alike(service: Service) -> None:
    """A field with the same distribution everywhere differs in no slice."""
    answer = get(service, "drift inputs.size")
    assert {item["name"] for item in answer["slices"]} >= {f"client = {name}" for name in CLIENTS}
    assert {item["word"] for item in answer["slices"]} == {"no difference"}


def test_figures_of_runs(service: Service) -> None:
    """Fields that every run has, such as outcome, work too, without slices of the field itself."""
    answer = get(service, "drift outcome")
    assert {item["dimension"] for item in answer["slices"]} == {"client"}


@sampled(1)
@pytest.mark.parametrize("field", ["language", "age", "size", "text"])
def test_slices_of_nothing(service: Service, field: str) -> None:
    """Of about 100 slices with the same distribution, at most 1 is called different."""
    slices = get(service, f"drift inputs.{field}", "nulls")["slices"]
    assert len(slices) >= (NULLS // 4 if field == "text" else 2 * NULLS)
    assert sum(item["word"] == "other" for item in slices) <= 1


def test_few_runs(service: Service) -> None:
    """A slice with fewer than 100 values is not judged."""
    answer = get(service, "drift inputs.age", where="inputs.age < 25")
    assert {item["word"] for item in answer["slices"]} == {"not enough data"}
    assert answer["slices"][0]["cells"][0]["shown"].startswith("n ")


def test_where_narrows_both_sides(service: Service) -> None:
    """A filter applies to the slice and to all other runs."""
    slices = get(service, "drift inputs.age", where='tags["client"] != "Remax"')["slices"]
    assert {item["name"] for item in slices} == {"client = Century", "client = Zillow"}
    assert {item["word"] for item in slices} == {"no difference"}


@pytest.mark.parametrize("figure", ["drift inputs.nothing", "drift nothing", "drift "])
def test_unknown_fields(service: Service, figure: str) -> None:
    """A field that no run has is refused."""
    error = get(service, figure, status=400)["error"]
    assert "expected the path of a field that runs have" in error["message"]


def test_pairs_are_refused(service: Service) -> None:
    """Drift of pairs of conditions is refused."""
    error = get(service, "drift inputs.age", status=400, pairs="true")["error"]
    assert "pairs of slices" in error["message"]


def test_no_runs(service: Service) -> None:
    """Without runs there are no slices."""
    answer = get(
        service, "drift inputs.age", end="2020-01-01T00:00:00Z", start="2019-01-01T00:00:00Z"
    )
    assert (answer["slices"], answer["runs"]) == ([], 0)


def get_part(service: Service, field: str) -> str:
    """Return the part of a field's page that lists slices, from the address in the page."""
    page = ask(service.app, f"/projects/yesterday/fields/{field}?model=answer")
    assert page.status == 200
    [address] = re.findall(r'hx-get="([^"]*/field-slices[^"]*)"', page.text)
    part = ask(service.app, html.unescape(address))
    assert part.status == 200
    return part.text


def test_page_of_a_field(service: Service) -> None:
    """A field's page lists the slices in which the field differs, with links to their runs."""
    text = get_part(service, "inputs.language")
    rows = re.findall(r'<tr><td class="wrap"><a href="([^"]*)">([^<]*)</a>(.*?)</tr>', text)
    asked = [dict(parse_qsl(urlsplit(html.unescape(link)).query)) for link, _, _ in rows]
    answer = get(
        service, "drift inputs.language", "yesterday", start=asked[0]["start"], end=asked[0]["end"]
    )
    expected = [item for item in answer["slices"] if item["word"] == "other"]
    assert rows[0][1] == "client Remax"
    assert [one["where"] for one in asked] == [item["where"] for item in expected]
    shown = [
        re.findall("<td[^>]*>([^<]*)</td>", html.unescape(cells).replace("\u202f", " "))
        for _, _, cells in rows
    ]
    assert shown == [
        [item["cells"][0]["shown"], item["sentence"].partition(": ")[2]] for item in expected
    ]
    opened = ask(service.app, html.unescape(rows[0][0]).replace("/projects", "/api/v1/projects"))
    assert opened.json["runs"]


def test_page_of_a_field_that_is_alike(service: Service) -> None:
    """If no slice differs, the page reports that, with the number of slices compared."""
    text = get_part(service, "inputs.size")
    shown = re.sub("<[^>]+>", " ", text)
    assert re.findall(r"\d+", shown) == [str(len(CLIENTS)), str(FEWEST_VALUES)]
    assert "/runs?" not in text
