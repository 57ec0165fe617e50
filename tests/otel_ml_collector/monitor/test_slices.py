"""Slices of recorded runs against the rest, through the API, with nothing set up."""

import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from otel_ml_collector.span import Span
from tests.otel_ml_collector.asgi import ask
from tests.otel_ml_collector.query.test_judges import say, tell
from tests.otel_ml_collector.spans import MS_NS, make_call
from tests.otel_ml_collector.stores import Service, Store, open_service

HOUR_NS: Final = 3_600 * 1_000 * MS_NS
NOW_NS: Final = time.time_ns()
RUNS: Final = 1_200
CLIENTS: Final = ("Remax", "Century", "Redfin", "Zillow")
APPS: Final = ("v1.0.0", "v1.0.1")


def make_traffic(
    runs: int = RUNS, *, seed: int = 1, hours_ago: float = 20, **other: Any
) -> list[Span]:
    """Make runs of four clients; those of Remax pass seldom, and more so in one app."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    spans: list[Span] = []
    for place in range(runs):
        client, app = draw.choice(CLIENTS), draw.choice(APPS)
        is_bad = client == "Remax"
        start_ns = NOW_NS - int(hours_ago * HOUR_NS) + place * 19 * HOUR_NS // runs
        attributes = {
            "otel_ml.model.version": "v1",
            "otel_ml.inputs": '{"question": "why"}',
            "otel_ml.outputs": '{"text": "yes"}',
            "otel_ml.tag.client": client,
            "otel_ml.tag.app": app,
            "otel_ml.tag.request": f"r{seed}-{place}",
            **other,
        }
        run = make_call(
            "answer",
            attributes,
            start_ns=start_ns,
            end_ns=start_ns + int(draw.lognormvariate(4.6, 0.4) * (1.6 if is_bad else 1)) * MS_NS,
        )
        rate = (0.35 if app == "v1.0.0" else 0.75) if is_bad else 0.93
        spans += [run, say(run, "a1", float(draw.random() < rate))]
    return spans


def take(store: Store, project: str, spans: Sequence[Span]) -> None:
    for first in range(0, len(spans), 500):
        store.take(project, *spans[first : first + 500], now_ns=NOW_NS)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A collector with a client that does worse than the rest."""
    with open_service(tmp_path_factory.mktemp("slices")) as service:
        take(service.store, "p", [tell("a1"), *make_traffic()])
        yield service


def get(service: Service, path: str, project: str = "p", **asked: Any) -> Any:
    query = f"?{urlencode(asked)}" if asked else ""
    return ask(service.app, f"/api/v1/projects/{project}/{path}{query}").json


def test_worst_first(service: Service) -> None:
    """The client that does worse stands first, with how many runs it lost, and its filter."""
    answer = get(service, "slices")
    assert (answer["runs"], answer["share"], answer["left_out"]) == (RUNS, 1.0, ["request"])
    first = answer["slices"][0]
    assert (first["name"], first["word"], first["model"]) == ("client = Remax", "worse", "answer")
    assert first["where"] == 'model == "answer" and tags["client"] == "Remax"'
    cells = {cell["figure"]: cell for cell in first["cells"]}
    assert cells["grounded"]["word"] == cells["latency"]["word"] == "worse"
    assert cells["errors"]["word"] == cells["missing inputs"]["word"] == "no different"
    lost = first["runs"] * (cells["grounded"]["rest"] - cells["grounded"]["value"])
    assert 0.5 * lost < first["excess"] < lost
    assert first["sentence"].startswith("client = Remax passes grounded in ")
    lost_words = f": {first['excess']:.0f} runs would have passed if it did as the rest; latency +"
    assert lost_words in first["sentence"]
