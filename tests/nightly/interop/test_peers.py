"""Next to packages that use the global provider, otel-ml and the package each record own calls."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.interop.environments import ask
from tests.support.interop.receiver import Receiver, open_receiver

PEERS = ["langfuse", "logfire"]
# If a service has set an SDK provider before, langfuse adds its processor to that provider, and
# logfire leaves the provider unchanged.
ORDERS = ["peer_first", "ours_first", "service_first", "joined_first"]
THEIRS = ["other", "query", "request"]
OURS = ["alone", "inner", "model"]


@dataclass(frozen=True, slots=True)
class Beside:
    """The spans that the peer's backend and otel-ml received, and the program's output."""

    peer: str
    order: str
    told: dict[str, Any]
    theirs: Receiver
    ours: Receiver


def run(peer: str, order: str) -> Beside:
    """Run a peer and otel-ml in one process, started in an order."""
    with open_receiver() as theirs, open_receiver() as ours:
        answers = ask("peers", "peers", peer, order, theirs.address, ours.address)
        return Beside(peer, order, answers["run"], theirs, ours)


@pytest.fixture(
    scope="module",
    params=[(peer, order) for peer in PEERS for order in ORDERS],
    ids="-".join,
)
def beside(request: pytest.FixtureRequest) -> Beside:
    """Run a peer and an otel-ml client, for each order."""
    return run(*request.param)


def test_none_of_ours_reaches_theirs(beside: Beside) -> None:
    """The peer's backend receives the peer's spans and none of otel-ml's."""
    assert beside.theirs.names == THEIRS


def test_none_of_theirs_reaches_ours(beside: Beside) -> None:
    """otel-ml's collector receives its own runs and none of the peer's spans."""
    begun = ["before"] if beside.order in {"ours_first", "joined_first"} else []
    assert beside.ours.names == sorted([*OURS, *begun])


def test_all_is_delivered(beside: Beside) -> None:
    """All of otel-ml's runs are delivered without errors."""
    assert (beside.told["flushed"], beside.told["trouble"]) == (True, {})


def test_nested_calls_are_one_trace(beside: Beside) -> None:
    """Nested calls of both are parents and children of each other in one trace."""
    request, query = (beside.theirs.named(name) for name in ("request", "query"))
    model, inner = (beside.ours.named(name) for name in ("model", "inner"))
    assert model["parent_id"] == request["span_id"]
    assert query["parent_id"] == inner["parent_id"] == model["span_id"]
    assert len({span["trace_id"] for span in (request, query, model, inner)}) == 1


def test_calls_on_their_own_are_roots(beside: Beside) -> None:
    """A call that is not nested starts a separate trace."""
    other, alone = beside.theirs.named("other"), beside.ours.named("alone")
    assert (other["parent_id"], alone["parent_id"]) == ("", "")
    assert other["trace_id"] != alone["trace_id"]


def test_global_provider_stays(beside: Beside) -> None:
    """The global provider stays the one that was set before otel-ml's first call."""
    own = beside.peer == "logfire" and beside.order in {"peer_first", "ours_first"}
    module = "logfire._internal.tracer.Proxy" if own else "opentelemetry.sdk.trace."
    assert beside.told["kept"] is True
    assert beside.told["global"] == f"{module}TracerProvider"


@pytest.fixture(scope="module", params=PEERS)
def given(request: pytest.FixtureRequest) -> Beside:
    """Run a peer, and a client with the peer's provider."""
    return run(request.param, "given")


def test_given_provider_sends_to_the_peer(given: Beside) -> None:
    """With the peer's provider, otel-ml's runs go to the peer's backend."""
    assert given.theirs.names == sorted([*THEIRS, *OURS])
    assert given.told["trouble"] == {}


def test_given_provider_keeps_the_endpoint(given: Beside) -> None:
    """With the peer's provider and an endpoint, otel-ml's runs go to the endpoint too."""
    assert given.ours.names == OURS


def test_peer_gets_the_whole_run(given: Beside) -> None:
    """With the peer's provider, the peer's backend receives the full run."""
    attributes = given.theirs.named("model")["attributes"]
    assert attributes["otel_ml.outputs"] == '"answer"'
    assert attributes["otel_ml.tag.tier"] == "gold"


def test_peer_that_logs_every_span() -> None:
    """A langfuse processor that logs each span accepts otel-ml's spans."""
    beside = run("langfuse", "given_loud")
    assert beside.theirs.names == sorted([*THEIRS, *OURS])
    assert beside.told["trouble"] == {}
