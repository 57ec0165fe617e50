"""Judges without code that read a conversation: when they run, and which turns they see."""

import json
from pathlib import Path
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from otel_ml import attributes as names
from otel_ml_collector.judges.rubric_judge import is_sampled
from tests.support.judged_shop import JudgedShop, judging
from tests.support.language_model import ModelRequest, language_model
from tests.support.load import PROTOBUF, make_request
from tests.support.sampling import at_night

CONVERSATION: Final = "Is the bot polite in all turns? {{conversation}}"
SESSIONS: Final = 12
TURNS: Final = 3


def send_turns(shop: JudgedShop, session: str, *, cut: int = -1) -> None:
    """Send the turns of a session; `cut` is the turn with truncated inputs."""
    request = make_request(shop.project, TURNS)
    for place, span in enumerate(request.resource_spans[0].scope_spans[0].spans):
        facts = {names.SESSION_ID: session}
        if place == cut:
            facts[names.CAPTURE] = json.dumps({"inputs": ["truncated"]})
        for key, value in facts.items():
            span.attributes.append(KeyValue(key=key, value=AnyValue(string_value=value)))
    shop.collector.deliver(request.SerializeToString(), PROTOBUF)


def find_turns(request: ModelRequest) -> list[str]:
    """Return the numbers of the questions in a prompt's conversation, in order."""
    parts = request.prompt.split("question ")[1:]
    return [part[0] for part in parts if part[0].isdigit()]


def test_conversation(tmp_path: Path) -> None:
    """A conversation judge waits until a session is quiet, and then reads its turns in order."""
    waits, quiet = ({"quiet_s": 0, "session_quiet_s": wait_s} for wait_s in (3_600, 0))
    with language_model() as model:
        with judging(tmp_path, model, "--judges", json.dumps(waits)) as collector:
            shop = JudgedShop(collector, model)
            shop.save("z-each-run")  # it runs after the other judge
            shop.save("talk", instruction=CONVERSATION)
            send_turns(shop, "chat-1", cut=1)
            shop.judged(TURNS, "z-each-run")
            send_turns(shop, "chat-2")
            shop.judged(2 * TURNS, "z-each-run")
            assert not shop.runs('scores["talk"] >= 0')
            model.requests.clear()
            collector.stop()
        with judging(tmp_path, model, "--judges", json.dumps(quiet)) as collector:
            shop = JudgedShop(collector, model)
            shop.judged(2 * TURNS, "talk")
    turns = sorted(find_turns(request) for request in model.requests)
    assert turns == sorted(2 * [["0"], ["0", "1"], ["0", "1", "2"]])
    # In chat-1, the prompts for turns 2 and 3 note that turn 2 was cut.
    marked = [request for request in model.requests if "cut when" in request.prompt]
    assert sorted(find_turns(request) for request in marked) == [["0", "1"], ["0", "1", "2"]]


@at_night
def test_sessions_are_sampled_as_a_whole(tmp_path: Path) -> None:
    """The sample contains all runs of a session or none."""
    with language_model() as model, judging(tmp_path, model) as collector:
        shop = JudgedShop(collector, model)
        shop.save(sample=0.5)
        sessions = [f"chat-{number}" for number in range(SESSIONS)]
        sampled = [session for session in sessions if is_sampled(session, 0.5)]
        assert 0 < len(sampled) < SESSIONS
        for session in sessions:
            send_turns(shop, session)
        judged = shop.judged(TURNS * len(sampled))
        assert sorted(run["session"] for run in judged) == sorted(TURNS * sampled)
        assert len(model.requests) == len(judged)
