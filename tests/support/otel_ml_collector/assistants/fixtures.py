"""A collector whose project shop has known versions, errors, scores and experiments."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import orjson
import pytest

from otel_ml_collector.assistants.protocol import answer
from otel_ml_collector.span import Event, Span, Value
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.store.otel_ml_collector.test_datasets import make_item, make_versions
from tests.store.otel_ml_collector.test_experiments import (
    BEFORE,
    ITEMS,
    make_experiment,
    make_runs,
)
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    SECOND_NS,
    make_call,
    make_span,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service, open_service

ASKED_NS: Final = NOW_NS + 60 * SECOND_NS
RUNS: Final = 200
OLD: Final = 100  # how many of these use the first version
SOURCES: Final = {
    "v1": "def answer(question):\n    return ask(question, temperature=0.2)\n",
    "v2": "def answer(question):\n    return ask(question, temperature=0.9)\n",
}
WORSE: Final = "f" * 24 + "p" * 15 + "x"
TRACE: Final = trace_id(4242)

Ask = Callable[..., dict[str, Any]]


def start_of(place: int) -> int:
    """Return the start of a run: one per minute, the last one a minute ago."""
    return NOW_NS - (RUNS - place) * 60 * SECOND_NS


def make_run(place: int) -> Span:
    version = "v1" if place < OLD else "v2"
    failed: dict[str, Value] = {}
    message = ""
    if place % 20 == 0:
        failed = {"otel_ml.outcome": "error", "error.type": "ValueError"}
        message = f"order {place} not found in 'db{place}'"
    elif 150 <= place < 155:
        failed = {"otel_ml.outcome": "error", "error.type": "KeyError"}
        message = f"no field {place:08x}"
    told: dict[str, Value] = {
        "otel_ml.model.version": version,
        "otel_ml.model.output_schema": "s",
        "otel_ml.inputs": orjson.dumps({"question": f"why {place}"}).decode(),
        "otel_ml.tag.client": "acme" if place % 4 == 0 else "bigshot",
        "session.id": f"s{place // 5}",
        "gen_ai.usage.cost": 0.01 * (place % 7),
        **failed,
    }
    if not failed:
        told["otel_ml.outputs"] = orjson.dumps(f"because {place}").decode()
    latency_ms = 9_000 if place == 77 else 10 * (place % 50 + 1)
    events = []
    if place == 150:
        stack = {"exception.stacktrace": 'File "a.py", line 7, in answer\nKeyError'}
        events = [Event("exception", start_of(place), stack)]
    return make_call(
        "answer",
        told,
        start_ns=start_of(place),
        end_ns=start_of(place) + latency_ms * MS_NS,
        status_message=message,
        events=events,
    )


def make_definition(version: str) -> Span:
    definition = {"source": SOURCES[version], "params": {"depth": 6 if version == "v1" else 9}}
    told: dict[str, Value] = {
        "otel_ml.record": "update",
        "otel_ml.target.model": "answer",
        "otel_ml.target.version": version,
        "otel_ml.target.kind": "model",
        "otel_ml.model.definition": orjson.dumps(definition).decode(),
    }
    return make_span("otel_ml.update", told, start_ns=NOW_NS, end_ns=NOW_NS)


def make_tried(number: int, version: str, **told: Value) -> Span:
    """Make an experiment with a version of the model."""
    span = make_experiment(number, **told)
    params = {"function": "answer", "version": version, "judges": {"exact": "a1"}}
    more: dict[str, Value] = {"otel_ml.params": orjson.dumps(params).decode()}
    return replace(span, attributes={**span.attributes, **more})


def make_trace() -> list[Span]:
    """Make a root with 60 equally named children, one of them failed, and a slow one at the end."""
    root = make_call("agent", trace_id=TRACE, start_ns=NOW_NS, end_ns=NOW_NS + 900 * MS_NS)
    inner: dict[str, Any] = {"trace_id": TRACE, "parent_span_id": root.span_id}
    ranks = [
        make_call(
            "rank",
            {"otel_ml.outcome": "error", "error.type": "Timeout"} if place == 30 else {},
            start_ns=NOW_NS + place * MS_NS,
            end_ns=NOW_NS + (place + 1) * MS_NS,
            **inner,
        )
        for place in range(60)
    ]
    last = make_call("write", start_ns=NOW_NS + 100 * MS_NS, end_ns=NOW_NS + 890 * MS_NS, **inner)
    return [root, *ranks, last]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(tmp_path_factory.mktemp("assistants")) as service:
        runs = [make_run(place) for place in range(RUNS)]
        service.store.take("shop", tell("a1"), *runs[:OLD], make_definition("v1"))
        service.store.take("shop", *runs[OLD:], make_definition("v2"))
        said = [
            say(run, "a1", float(place % 10 != 1 if place < OLD else place % 2))
            for place, run in enumerate(runs)
        ]
        service.store.take("shop", *said, *make_trace())
        items = {
            f"q-{place:03}": make_item({"question": place}, topic=f"t{place // 2}")
            for place in range(ITEMS)
        }
        service.store.take("shop", *items.values(), *make_versions("qa", items))
        first = make_tried(0, "v1")
        second = make_tried(1, "v2", baseline=f"{first.trace_id.hex()}-{first.span_id.hex()}")
        service.store.take("shop", first, *make_runs(first, BEFORE))
        service.store.take("shop", second, *make_runs(second, WORSE))
        service.store.take("other", make_call("secret"))
        yield service


@pytest.fixture
def ask_tool(service: Service) -> Ask:
    """Return a function that calls a tool of project shop without a key."""

    def ask(tool: str, **given: Any) -> dict[str, Any]:
        given = {"project": "shop", **given}
        return answer(tool, given, service.store.reader, "http://here", ASKED_NS)

    return ask
