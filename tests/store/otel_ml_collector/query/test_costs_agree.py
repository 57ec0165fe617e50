"""Every page and API reports the same cost for one project with calls inside agents.

Some agents report the sum of their calls, some report nothing, and some report usage that
their calls do not report.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, Final
from urllib.parse import quote, urlencode

import pytest

from otel_ml_collector.alerts.measurement import MeasuredWindows, Measurement, measure
from otel_ml_collector.alerts.rule import SliceKey, WantedAlert, make_plan
from otel_ml_collector.alerts.states import FigureKey, MeasuredSlice
from otel_ml_collector.runs.answers import add_up
from otel_ml_collector.runs.traces import find_outline
from otel_ml_collector.span import Span, Value
from otel_ml_collector.times import HOUR_NS, MINUTE_NS
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import MS_NS, SECOND_NS, make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night

PROJECT: Final = "agents"
TRACES: Final = 72
# Cost in dollars by client: of the two calls in a request, and of the whole request.
CALLS: Final = {"Remax": (0.02, 0.01), "Zillow": (0.06, 0.03)}
COSTS: Final = {client: round(sum(calls), 2) for client, calls in CALLS.items()}
WHOLE: Final = round(sum(COSTS.values()) * TRACES / 2, 6)
TOKENS: Final = 300 * TRACES
# The first version runs for 12 minutes around a full hour, then the second one.
START_NS: Final = (time.time_ns() // HOUR_NS - 1) * HOUR_NS - 6 * MINUTE_NS
END_NS: Final = START_NS + HOUR_NS


def use(cost: float, tokens: int) -> dict[str, Value]:
    return {"gen_ai.usage.cost": cost, "gen_ai.usage.input_tokens": tokens}


def make_request(place: int) -> list[Span]:
    """Make an agent with two calls and a judge. In every third, only the agent reports usage."""
    client = "Remax" if place < TRACES // 2 else "Zillow"
    start_ns = START_NS + place * 20 * SECOND_NS
    is_sum, is_alone = place % 3 == 0, place % 3 == 1
    agent = make_call(
        "support",
        {
            "otel_ml.kind": "agent",
            "otel_ml.tag.client": client,
            "otel_ml.model.version": {"Remax": "v1", "Zillow": "v2"}[client],
            "session.id": f"chat {place // 2}",
            **(use(COSTS[client], 300) if is_sum or is_alone else {}),
        },
        start_ns=start_ns,
        end_ns=start_ns + 900 * MS_NS,
    )
    calls = [
        make_call(
            "llm",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": f"llm {at}",
                **({} if is_alone else use(cost, tokens)),
            },
            trace_id=agent.trace_id,
            parent_span_id=agent.span_id,
            start_ns=start_ns + 10 * at * MS_NS,
            end_ns=start_ns + (200 - 20 * at) * MS_NS,
        )
        for at, (cost, tokens) in enumerate(zip(CALLS[client], (200, 100), strict=True), 1)
    ]
    calls[1] = replace(calls[1], parent_span_id=calls[0].span_id)  # nested in the first call
    judge = make_call(
        "judged",
        {"otel_ml.judging": "grounded", "gen_ai.operation.name": "chat", **use(7.0, 1_000)},
        trace_id=agent.trace_id,
        parent_span_id=agent.span_id,
        start_ns=start_ns + 400 * MS_NS,
        end_ns=start_ns + 500 * MS_NS,
    )
    return [*calls, judge, agent]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(tmp_path_factory.mktemp("costs")) as service:
        for place in range(0, TRACES, 36):
            spans = [span for one in range(place, place + 36) for span in make_request(one)]
            service.store.take(PROJECT, *spans, now_ns=END_NS)
        yield service


def get(service: Service, path: str, **asked: Any) -> Any:
    return ask(service.app, f"/api/v1/projects/{PROJECT}/{path}?{urlencode(asked)}").json


def measured(service: Service, when: str, where: str = "") -> MeasuredSlice:
    """Return the values of an alert rule's metric over all requests."""
    condition = make_plan(WantedAlert.model_validate({"when": when, "window": "2h"})).condition
    asked = Measurement(PROJECT, where, (), condition.figures, condition.sure, END_NS)
    windows = MeasuredWindows(END_NS, 2 * HOUR_NS, 1, 2 * HOUR_NS)
    return measure(service.store.reader, asked, windows)[END_NS][SliceKey("[]")]


def read_only(numbers: Mapping[FigureKey, float]) -> float:
    [number] = numbers.values()
    return round(number, 6)


def add(found: Iterable[Any]) -> tuple[float, int]:
    """Return the total cost and input tokens of the items."""
    pairs = [(item["cost"], item["tokens"]["input"]) for item in found]
    return round(sum(cost for cost, _ in pairs), 6), sum(tokens for _, tokens in pairs)


def test_totals(service: Service) -> None:
    """Statistics, list sums, requests, sessions and alert rules add up to the same total."""
    found = {
        "statistics": add([get(service, "stats", bucket="all")["total"]]),
        "list of calls": add([get(service, "sums")["total"]]),
        "list of requests": add([get(service, "sums", roots=True)["total"]]),
        "requests": add(get(service, "runs", roots=True, limit=1_000)["inside"].values()),
        "sessions": add(get(service, "sessions", limit=200)["sessions"]),
        "rule": tuple(
            read_only(measured(service, f"{name} > 0").numbers) for name in ("cost", "tokens")
        ),
    }
    assert found == dict.fromkeys(found, (WHOLE, TOKENS))


def test_parts(service: Service) -> None:
    """A trace adds up to its listed request, and the turns of a session add up to the session."""
    requests = get(service, "runs", roots=True, limit=3)
    for run in requests["runs"]:
        outline = find_outline(service.store.reader, run["trace_id"])
        inside = requests["inside"][run["run_id"]]
        assert add([asdict(add_up(outline or []))]) == add([inside]) == (COSTS["Zillow"], 300)
    [session] = get(service, "sessions", limit=1)["sessions"]
    turns = get(service, f"sessions/{quote(session['session'])}")["conversation"]
    assert add(turns) == add([session]) == (2 * COSTS["Zillow"], 600)


@at_night
def test_costs_per_run(service: Service) -> None:
    """Alert rules, slices and comparisons all include the cost of the calls inside an agent."""
    mean = measured(service, "mean(cost) > 0", 'model == "support"')
    assert (read_only(mean.numbers), read_only(mean.counts)) == (round(WHOLE / TRACES, 6), TRACES)
    answer = get(service, "slices", where='model == "support"', figure="cost")
    [worst, *_] = [one for one in answer["slices"] if one["dimension"] == "version"]
    [cell] = worst["cells"]
    assert answer["same_as_version"] == ["client"]
    assert (cell["word"], cell["n"]) == ("worse", TRACES // 2)
    shown = [cell["value"], cell["rest"], cell["difference"]["value"]]
    assert shown == pytest.approx([COSTS["Zillow"], COSTS["Remax"], 3], rel=0.02)
    [release] = get(service, "models/support/release")["releases"]
    [cost] = [figure for figure in release["figures"] if figure["name"] == "cost"]
    assert cost["difference"]["value"] == pytest.approx(cell["difference"]["value"])
