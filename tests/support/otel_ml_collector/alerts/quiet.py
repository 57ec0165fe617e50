"""Simulated traffic in which nothing is wrong, to count false alarms of alert rules.

Three functions of a shop run for four clients of different sizes, with a daily cycle. Answers are
scored by two judges. Latencies and costs have long tails, and the runs of a session are alike: some
sessions are harder, slower and longer than others. All rates stay the same throughout.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from otel_ml_collector.alerts.evaluation import AlertEvaluator
from otel_ml_collector.alerts.notification import Notification
from otel_ml_collector.alerts.rule import ALERT, AlertName, WantedAlert, make_plan
from otel_ml_collector.span import Span, Value
from otel_ml_collector.store.alerts import read_alert_events
from otel_ml_collector.store.documents import Documents
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS, SECOND_NS, make_call
from tests.support.otel_ml_collector.stores import Store

PROJECT: Final = "shop"
START_NS: Final = (NOW_NS // DAY_NS - 10) * DAY_NS
# Sessions in an average hour, by client.
CLIENTS: Final[Mapping[str, float]] = {"acme": 24, "Remax": 20, "Century": 16, "Kessler": 14}
_CYCLE: Final = 0.6
_MEAN_TURNS: Final = 2.5
# True values; latencies are in ms.
PASS_RATE: Final = 0.93
ERROR_SHARE: Final = 0.02
MEAN_LATENCY: Final = {"answer": 900.0, "search": 120.0, "sort": 45.0}
MEAN_SCORE: Final = 4.2
MEAN_COST: Final = 0.004
MISSING_SHARE: Final = 0.01
_TAIL: Final = 0.6  # standard deviation of the logarithm of latencies and costs
_OF_SESSION: Final = 0.3  # the part of it that the runs of a session share
# Passed to the evaluator once a day: it catches up at most a hundred windows.
_PASS_NS: Final = DAY_NS


@dataclass
class Silent:
    """Receives notifications and sends nothing."""

    def announce(self, notification: Notification) -> None:
        """Do nothing."""

    def withdraw(self, project: str, rule: str) -> None:
        """Do nothing."""


def draw_hours(
    seed: int, hours: int, clients: Mapping[str, float] = CLIENTS
) -> Iterator[list[Span]]:
    """Draw the spans of each hour from `START_NS` on."""
    draw = np.random.default_rng(seed)
    for hour in range(hours):
        spans = [tell("j1"), tell("j2", "helpful")] if not hour else []
        factor = 1 + _CYCLE * math.sin(2 * math.pi * (hour % 24 - 9) / 24)
        for client, sessions in clients.items():
            for number in range(int(draw.poisson(sessions * factor))):
                session = f"{client}-{hour}-{number}"
                spans += _draw_session(draw, START_NS + hour * HOUR_NS, client, session)
        yield spans


def _draw_session(
    draw: np.random.Generator, hour_ns: int, client: str, session: str
) -> Iterator[Span]:
    """Draw the turns of a session. Each sorts a question, searches, and answers."""
    passing = draw.beta(6 * PASS_RATE, 6 * (1 - PASS_RATE))
    slow = draw.normal(0, _OF_SESSION)
    score = draw.beta(8 * (MEAN_SCORE - 1) / 4, 8 * (5 - MEAN_SCORE) / 4)
    start_ns = hour_ns + int(draw.integers(0, HOUR_NS))
    for _ in range(int(draw.geometric(1 / _MEAN_TURNS))):
        for model, mean in MEAN_LATENCY.items():
            has_failed = draw.random() < ERROR_SHARE
            language = {} if draw.random() < MISSING_SHARE else {"language": "de"}
            attributes: dict[str, Value] = {
                "otel_ml.model.version": "v1",
                "otel_ml.tag.client": client,
                "session.id": session,
                "otel_ml.inputs": json.dumps({"question": "why", **language}),
                "otel_ml.outputs": json.dumps({"price": round(_draw_amount(draw, 50, 0.0), 2)}),
            }
            if model == "answer":
                attributes["gen_ai.usage.cost"] = _draw_amount(draw, MEAN_COST, slow)
            run = make_call(
                model,
                attributes,
                start_ns=start_ns,
                end_ns=start_ns + int(_draw_amount(draw, mean, slow) * MS_NS),
                status_code=2 if has_failed else 0,
            )
            yield run
            if model == "answer":
                yield say(run, "j1", float(draw.random() < passing))
                helpful = {"otel_ml.judge.name": "helpful", "otel_ml.judge.version": "j2"}
                points = 1 + round(4 * draw.beta(8 * score, 8 * (1 - score)))
                yield say(run, "j2", points, more=helpful)
        start_ns += int(draw.exponential(40)) * SECOND_NS


def _draw_amount(draw: np.random.Generator, mean: float, of_session: float) -> float:
    """Draw a number with a long tail."""
    own = math.sqrt(_TAIL**2 - _OF_SESSION**2)
    return mean * math.exp(of_session + draw.normal(0, own) - _TAIL**2 / 2)


def make_wanted(when: str) -> WantedAlert:
    """Make a rule about the answers to each client, with the defaults of a new rule."""
    return WantedAlert(when=when, where='model == "answer"', by=['tags["client"]'])


def count_firings(
    store: Store, rules: Mapping[AlertName, WantedAlert], hours: int
) -> dict[str, int]:
    """Evaluate rules over the simulated hours as a collector does; count how often each fires."""
    documents = Documents(store.connections)
    for name, wanted in rules.items():
        make_plan(wanted)
        documents.save(store.reader, PROJECT, ALERT, name, wanted.model_dump())
    now_ns = [START_NS]
    evaluator = AlertEvaluator(
        store.reader, store.connections, Silent(), clock=lambda: now_ns[0], budget_s=600
    )
    end_ns = START_NS + hours * HOUR_NS
    now_ns[0] += HOUR_NS
    evaluator.evaluate()  # a new rule begins with the newest window
    while now_ns[0] < end_ns + 15 * MINUTE_NS:
        now_ns[0] = min(now_ns[0] + _PASS_NS, end_ns + 15 * MINUTE_NS)
        evaluator.evaluate()
    events = read_alert_events(store.reader, PROJECT, 0)
    return {
        name: sum(event.rule == name and event.state == "firing" for event in events)
        for name in rules
    }
