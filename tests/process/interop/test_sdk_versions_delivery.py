"""What arrives by the official exporter and by ours is the same, on every SDK."""

import json
from typing import Any

import pytest

from tests.support.interop.environments import Answers, ask
from tests.support.interop.receiver import Receiver, open_receiver
from tests.support.sampling import sampled

pytestmark = sampled(only=("sdk-1.25*",))

RUNS = [
    "child",
    "failing",
    "judged",
    "long",
    "otel_ml.goodbye",
    "otel_ml.start",
    "otel_ml.update",
    "otel_ml.update",  # of the training, and what the judge is
    "plain",
    "renamed",
    "stream",
    "training",
]
# Differ from process to process.
VARYING = frozenset(
    {
        "otel_ml.process",
        "otel_ml.seq",  # a judge says what it is on a thread of its own
        "otel_ml.latency_ms",
        "otel_ml.stream.first_chunk_ms",
        "otel_ml.metric.times",
        "otel_ml.target.run",
        "otel_ml.target.start_ns",
    }
)


class Sent:
    """What one way of sending brought to the service's backend and to our collector."""

    def __init__(self, answers: Answers, theirs: Receiver, ours: Receiver) -> None:
        self.told = answers["deliver"]
        self.theirs = theirs
        self.ours = ours


def send(sdk: str, way: str) -> Sent:
    """Record the same runs in a process, and send them one way."""
    with open_receiver() as theirs, open_receiver() as ours:
        answers = ask(sdk, "delivery", way, theirs.address, ours.address)
        return Sent(answers, theirs, ours)


@pytest.fixture(scope="module")
def both(sdk: str) -> Sent:
    """Through a joined provider: the service's official exporter and our own pipeline."""
    return send(sdk, "both")


@pytest.fixture(scope="module")
def direct(sdk: str) -> Sent:
    """Through our own provider and pipeline."""
    return send(sdk, "direct")


@pytest.fixture(scope="module")
def official(sdk: str) -> Sent:
    """Through our own provider and the official exporter."""
    return send(sdk, "official")


def lasting(receiver: Receiver) -> dict[tuple[str, Any], Any]:
    """What does not differ from process to process, of each span, by its name and target."""
    return {
        (span["name"], span["attributes"].get("otel_ml.target.kind")): {
            "kind": span["kind"],
            "status": span["status"],
            "attributes": {
                key: _without_latency(key, value)
                for key, value in span["attributes"].items()
                if key not in VARYING
            },
            "events": [
                (name, attributes) for name, _, attributes in span["events"] if name != "exception"
            ],
        }
        for span in receiver.ours.values()
    }


def _without_latency(key: str, value: Any) -> Any:
    if key != "otel_ml.judges":
        return value
    return {name: {**said, "latency_ms": 0} for name, said in json.loads(value).items()}


def test_delivery_is_told(both: Sent, direct: Sent, official: Sent) -> None:
    """Each way tells that all was delivered, with nothing lost and no trouble."""
    told = [
        (sent.told["flushed"], sent.told["lost"], sent.told["trouble"])
        for sent in (both, direct, official)
    ]
    assert told == [(True, {}, {})] * 3


def test_all_runs_arrive(both: Sent, direct: Sent, official: Sent) -> None:
    """Every run and record arrives, by the official exporter and by ours."""
    assert both.theirs.names == both.ours.names == RUNS
    assert direct.ours.names == official.theirs.names == RUNS


def test_official_exporter_sends_the_same(both: Sent) -> None:
    """Of the same runs the official encoder and ours write the same, attribute by attribute."""
    assert both.theirs.messages == both.ours.messages


def test_resource_and_scope_are_the_same(both: Sent) -> None:
    """Resource and scope arrive the same by the official exporter and by ours."""
    asked = ("resource", "scope", "scope_attributes", "schema_urls")
    theirs, ours = (
        {key: {name: span[name] for name in asked} for key, span in receiver.ours.items()}
        for receiver in (both.theirs, both.ours)
    )
    assert theirs == ours


def test_joined_runs_say_what_direct_ones_say(both: Sent, direct: Sent) -> None:
    """A run says the same through a joined provider as through our own."""
    joined, own = lasting(both.ours), lasting(direct.ours)
    # The joined provider limits the number of events and of their attributes.
    del joined["renamed", None]["events"], own["renamed", None]["events"]
    assert joined == own


def test_given_exporter_sends_the_same(direct: Sent, official: Sent) -> None:
    """A run says the same by the official exporter, given to a client, as by our own."""
    assert lasting(official.theirs) == lasting(direct.ours)


def test_limits_reach_the_wire(both: Sent) -> None:
    """What the provider's limits cost is counted on the wire."""
    span = both.ours.named("renamed")
    assert span["dropped"] == (0, 2, 1)
    assert [name for name, _, _ in span["events"]] == ["event 2", "event 3", "exception"]


def test_parent_of_another_process(both: Sent) -> None:
    """A run under a remote span carries its trace, its state and its id."""
    span = both.ours.named("child")
    assert (span["trace_id"], span["parent_id"], span["trace_state"]) == (
        f"{0xA1:032x}",
        f"{0xB2:016x}",
        "vendor=1",
    )


def test_own_resource(direct: Sent) -> None:
    """Our own provider's resource names the project beside what the SDK says."""
    resource = direct.ours.named("plain")["resource"]
    assert resource["otel_ml.project"] == "shop"
    assert resource["telemetry.sdk.version"] == direct.told["version"]


def test_own_scope(sdk: str, direct: Sent) -> None:
    """Our scope names the project where scopes have attributes: since SDK 1.26."""
    span = direct.ours.named("plain")
    assert span["scope"][0] == "otel_ml"
    expected = {} if sdk == "sdk-1.25" else {"otel_ml.project": "shop"}
    assert span["scope_attributes"] == expected


def test_values_reach_the_wire(direct: Sent) -> None:
    """Inputs, outputs and tags arrive as they were given."""
    attributes = direct.ours.named("plain")["attributes"]
    assert json.loads(attributes["otel_ml.inputs"]) == {
        "question": "Où est mon colis ? 📦",
        "top": 3,
    }
    assert json.loads(attributes["otel_ml.outputs"]) == {
        "question": "Où est mon colis ? 📦",
        "answers": [1.5, None, True],
    }
    tags = {key: value for key, value in attributes.items() if key.startswith("otel_ml.tag.")}
    assert tags == {
        "otel_ml.tag.tier": "gold",
        "otel_ml.tag.share": 0.5,
        "otel_ml.tag.beta": True,
        "otel_ml.tag.n": 2**62,
    }
