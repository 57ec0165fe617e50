"""The official exporter and otel-ml's deliver the same data, with every SDK version."""

import json
from typing import Any

import pytest

from tests.support.interop.environments import Answers, ask
from tests.support.interop.receiver import Receiver, open_receiver

RUNS = [
    "child",
    "failing",
    "judged",
    "long",
    "otel_ml.goodbye",
    "otel_ml.start",
    "otel_ml.update",
    "otel_ml.update",  # of the training, and the judge's definition
    "plain",
    "renamed",
    "stream",
    "training",
]
# These differ between processes.
VARYING = frozenset(
    {
        "otel_ml.process",
        "otel_ml.seq",  # a judge's definition is sent by another thread
        "otel_ml.latency_ms",
        "otel_ml.stream.first_chunk_ms",
        "otel_ml.metric.times",
        "otel_ml.target.run",
        "otel_ml.target.start_ns",
    }
)


class Sent:
    """The spans that one way of sending delivered to the service's and otel-ml's receivers."""

    def __init__(self, answers: Answers, theirs: Receiver, ours: Receiver) -> None:
        self.told = answers["deliver"]
        self.theirs = theirs
        self.ours = ours


def send(sdk: str, way: str) -> Sent:
    """Record the same runs in a process, and send them in one way."""
    with open_receiver() as theirs, open_receiver() as ours:
        answers = ask(sdk, "delivery", way, theirs.address, ours.address)
        return Sent(answers, theirs, ours)


@pytest.fixture(scope="module")
def both(sdk: str) -> Sent:
    """Send through a joined provider, with its official exporter and otel-ml's pipeline."""
    return send(sdk, "both")


@pytest.fixture(scope="module")
def direct(sdk: str) -> Sent:
    """Send through otel-ml's provider and pipeline."""
    return send(sdk, "direct")


@pytest.fixture(scope="module")
def official(sdk: str) -> Sent:
    """Send through otel-ml's provider and the official exporter."""
    return send(sdk, "official")


def lasting(receiver: Receiver) -> dict[tuple[str, Any], Any]:
    """Return the parts of each span that do not differ between processes, by name and target."""
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
    """Each way of sending reports that everything was delivered without losses or errors."""
    told = [
        (sent.told["flushed"], sent.told["lost"], sent.told["trouble"])
        for sent in (both, direct, official)
    ]
    assert told == [(True, {}, {})] * 3


def test_all_runs_arrive(both: Sent, direct: Sent, official: Sent) -> None:
    """Every run and record arrives through both exporters."""
    assert both.theirs.names == both.ours.names == RUNS
    assert direct.ours.names == official.theirs.names == RUNS


def test_official_exporter_sends_the_same(both: Sent) -> None:
    """Both exporters encode the same runs identically, attribute by attribute."""
    assert both.theirs.messages == both.ours.messages


def test_resource_and_scope_are_the_same(both: Sent) -> None:
    """Resource and scope are the same through both exporters."""
    asked = ("resource", "scope", "scope_attributes", "schema_urls")
    theirs, ours = (
        {key: {name: span[name] for name in asked} for key, span in receiver.ours.items()}
        for receiver in (both.theirs, both.ours)
    )
    assert theirs == ours


def test_joined_runs_say_what_direct_ones_say(both: Sent, direct: Sent) -> None:
    """A run has the same content through a joined provider as through otel-ml's."""
    joined, own = lasting(both.ours), lasting(direct.ours)
    # The joined provider limits the number of events and their attributes.
    del joined["renamed", None]["events"], own["renamed", None]["events"]
    assert joined == own


def test_given_exporter_sends_the_same(direct: Sent, official: Sent) -> None:
    """The official exporter, passed to a client, sends the same content as otel-ml's exporter."""
    assert lasting(official.theirs) == lasting(direct.ours)


def test_limits_reach_the_wire(both: Sent) -> None:
    """The encoded span counts the data dropped by the provider's limits."""
    span = both.ours.named("renamed")
    assert span["dropped"] == (0, 2, 1)
    assert [name for name, _, _ in span["events"]] == ["event 2", "event 3", "exception"]


def test_parent_of_another_process(both: Sent) -> None:
    """A run below a remote span has its trace, its trace state and its id as parent."""
    span = both.ours.named("child")
    assert (span["trace_id"], span["parent_id"], span["trace_state"]) == (
        f"{0xA1:032x}",
        f"{0xB2:016x}",
        "vendor=1",
    )


def test_own_resource(direct: Sent) -> None:
    """The resource of otel-ml's provider has the project in addition to the SDK's attributes."""
    resource = direct.ours.named("plain")["resource"]
    assert resource["otel_ml.project"] == "shop"
    assert resource["telemetry.sdk.version"] == direct.told["version"]


def test_own_scope(sdk: str, direct: Sent) -> None:
    """Since SDK 1.26, scopes have attributes, and otel-ml's scope has the project."""
    span = direct.ours.named("plain")
    assert span["scope"][0] == "otel_ml"
    expected = {} if sdk == "sdk-1.25" else {"otel_ml.project": "shop"}
    assert span["scope_attributes"] == expected


def test_values_reach_the_wire(direct: Sent) -> None:
    """Inputs, outputs and tags arrive unchanged."""
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
