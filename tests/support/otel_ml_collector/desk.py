"""Two weeks of a help desk: users, two models with versions, a judge, errors, an experiment."""

import random
from collections.abc import Iterator
from typing import Final

from otel_ml_collector.span import Span, Value
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    make_call,
    make_sign,
    make_start,
    span_id,
    trace_id,
)

PROJECT: Final = "shop-desk"
# Runs in the last 24 hours: v1 and v2 of `reply`, and failures of `find_order`.
BEFORE, AFTER, LOST = 240, 120, 9
_USERS: Final = ("u-0482", "u-3107", "u-1975", "u-2260", *(f"u-9{place:03}" for place in range(9)))
_PROMPTS: Final = {"aa": "Answer at length.", "bb": "Answer in one line."}
_JUDGE: Final = '{"brief":{"version":"00000000000000b2"}}'


def make_desk(now_ns: int) -> Iterator[Span]:
    """Make the spans of a desk that did well until a worse version was deployed."""
    chance = random.Random(38)  # noqa: S311 - guards nothing
    for place in range(300):
        at_ns = now_ns - 7 * DAY_NS - 20 * HOUR_NS + place * 4 * MINUTE_NS
        yield from _ask(place, at_ns, "aa", is_brief=place % 10 != 0, chance=chance)
    for place in range(BEFORE):
        at_ns = now_ns - 20 * HOUR_NS + place * 3 * MINUTE_NS
        yield from _ask(1_000 + place, at_ns, "aa", is_brief=place % 10 != 0, chance=chance)
    for place in range(AFTER):
        at_ns = now_ns - 6 * HOUR_NS + place * 2 * MINUTE_NS
        yield from _ask(2_000 + place, at_ns, "bb", is_brief=place % 10 > 6, chance=chance)
    for place in range(LOST):
        at_ns = now_ns - 3 * HOUR_NS + place * MINUTE_NS
        failed: dict[str, Value] = {
            "otel_ml.outcome": "error",
            "error.type": "OrderNotFound",
            "user.id": _USERS[place % 4],
        }
        yield make_call(
            "find_order",
            failed,
            trace_id=trace_id(3_000 + place),
            span_id=span_id(3_000 + place),
            status_code=2,
            status_message=f"no order with id {place}",
            start_ns=at_ns,
            end_ns=at_ns + 40 * MS_NS,
        )
    crashed = make_call(
        "index",
        trace_id=trace_id(4_000),
        span_id=span_id(4_000),
        start_ns=now_ns - HOUR_NS,
    )
    yield make_start(crashed, {"otel_ml.process": "00000007"})
    yield make_sign("goodbye", now_ns - HOUR_NS + MINUTE_NS, "00000007")
    yield from _try(now_ns)


def _ask(
    place: int, at_ns: int, digest: str, *, is_brief: bool, chance: random.Random
) -> Iterator[Span]:
    """Make an answer with a provider's model call below it."""
    took_ms = 1_500 + 2_500 * chance.random() ** 3
    user = _USERS[min(int(chance.expovariate(0.5)), len(_USERS) - 1)]
    told: dict[str, Value] = {
        "otel_ml.model.version": digest,
        "otel_ml.model.definition": f'{{"source": "PROMPT = \'{_PROMPTS[digest]}\'"}}',
        "otel_ml.score.brief": 0.9 if is_brief else 0.2,
        "otel_ml.passed.brief": is_brief,
        "otel_ml.judges": _JUDGE,
        "otel_ml.inputs": f'{{"question": "Where is parcel {place}?"}}',
        "otel_ml.outputs": '"It is on its way."',
        "user.id": user,
        "session.id": f"{user}-{place // 40}",
    }
    answer = make_call(
        "reply",
        told,
        trace_id=trace_id(place + 1),
        span_id=span_id(place + 1),
        start_ns=at_ns,
        end_ns=at_ns + int(took_ms * MS_NS),
    )
    model = "gpt-4o" if digest == "aa" else "claude-sonnet-4-5"
    called: dict[str, Value] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai" if digest == "aa" else "anthropic",
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": 900 + place % 300,
        "gen_ai.usage.output_tokens": 80,
        "gen_ai.usage.cost": 0.0042,
    }
    yield answer
    yield make_call(
        model,
        called,
        trace_id=answer.trace_id,
        span_id=span_id(10_000 + place),
        parent_span_id=answer.span_id,
        start_ns=at_ns + 5 * MS_NS,
        end_ns=at_ns + int(took_ms * MS_NS) - 5 * MS_NS,
    )


def _try(now_ns: int) -> Iterator[Span]:
    """Make an experiment with three failing runs, which are not production traffic."""
    at_ns = now_ns - 2 * HOUR_NS
    told: dict[str, Value] = {
        "otel_ml.kind": "experiment",
        "otel_ml.experiment.name": "one line",
        "otel_ml.experiment.dataset": "qa",
        "otel_ml.experiment.items": 3,
        "otel_ml.experiment.repeats": 1,
        "otel_ml.params": '{"function": "trial", "version": "", "judges": {}}',
    }
    whole = make_call(
        "one line",
        told,
        trace_id=trace_id(5_000),
        span_id=span_id(5_000),
        start_ns=at_ns,
        end_ns=at_ns + MINUTE_NS,
    )
    yield whole
    for place in range(3):
        yield make_call(
            "trial",
            {
                "otel_ml.outcome": "error",
                "error.type": "TrialFailed",
                "otel_ml.experiment": f"{whole.trace_id.hex()}-{whole.span_id.hex()}",
                "otel_ml.experiment.dataset": "qa",
                "otel_ml.item.id": f"item {place}",
                "otel_ml.item.digest": f"{place:064x}",
                "gen_ai.usage.cost": 5.0,
            },
            trace_id=trace_id(5_001 + place),
            span_id=span_id(5_001 + place),
            start_ns=at_ns + MS_NS,
            end_ns=at_ns + 2 * MS_NS,
        )
