"""A run is an ordinary span in the traces of a service, on every SDK that we run with."""

import pytest

from tests.support.interop.environments import NEWEST, Answers, ask
from tests.support.sampling import sampled

pytestmark = sampled(only=("sdk-1.25*",))

# What differs from call to call, or belongs to other tests.
VARYING = frozenset(
    {
        "otel_ml.latency_ms",
        "otel_ml.seq",
        "otel_ml.process",
        "otel_ml.model.definition",
        "otel_ml.model.version",
        "otel_ml.model.output_schema",
    }
)


@pytest.fixture(scope="module")
def spans(sdk: str) -> Answers:
    """What the program about spans found under the SDK."""
    return ask(sdk, "spans")


def test_environment_holds_its_version(sdk: str, spans: Answers) -> None:
    """An environment holds the SDK that it is named after."""
    assert sdk == NEWEST or spans["version"].startswith(f"{sdk.removeprefix('sdk-')}.")


def test_global_provider_is_joined(spans: Answers) -> None:
    """A run goes through the global provider, which stays in place."""
    found = spans["global_provider"]
    assert (found["returned"], found["kept"], found["flushed"]) == (3, True, True)
    assert found["run"]["resource"] == {"service.name": "shop"}


def test_run_is_a_span(spans: Answers) -> None:
    """The span of a run is of our own class and of the SDK's and the API's."""
    found = spans["global_provider"]
    assert (found["run"]["type"], found["readable"]) == ("RunSpan", True)


def test_run_says_what_a_span_says(spans: Answers) -> None:
    """A plain run has a name, no parent, no status, no events and no links."""
    run = spans["global_provider"]["run"]
    asked = ("name", "kind", "parent", "status", "events", "links", "dropped", "state", "remote")
    assert {key: run[key] for key in asked} == {
        "name": "model",
        "kind": "INTERNAL",
        "parent": None,
        "status": ["UNSET", None],
        "events": [],
        "links": [],
        "dropped": [0, 0, 0],
        "state": {},
        "remote": False,
    }


def test_times(spans: Answers) -> None:
    """A run lies within the call that it is of, and lasts as long as its latency says."""
    found = spans["global_provider"]
    run, (before_ns, after_ns) = found["run"], found["between"]
    assert before_ns <= run["start_ns"] <= run["end_ns"] <= after_ns
    latency_ms = (run["end_ns"] - run["start_ns"]) / 1e6
    assert run["attributes"]["otel_ml.latency_ms"] == pytest.approx(latency_ms)


def test_attributes(spans: Answers) -> None:
    """A run carries all that it says as attributes of the span."""
    attributes = spans["global_provider"]["run"]["attributes"]
    assert attributes.keys() >= VARYING
    assert {key: value for key, value in attributes.items() if key not in VARYING} == {
        "otel_ml.project": "shop",
        "otel_ml.kind": "model",
        "otel_ml.model.name": "model",
        "otel_ml.inputs": '{"a":1,"b":2}',
        "otel_ml.outputs": "3",
        "otel_ml.outcome": "ok",
        "otel_ml.tag.tier": "gold",
    }


def test_scope(sdk: str, spans: Answers) -> None:
    """The scope is ours, with the project where scopes have attributes: since SDK 1.26."""
    run = spans["global_provider"]["run"]
    assert run["scope"][0] == "otel_ml"
    expected = {} if sdk == "sdk-1.25" else {"otel_ml.project": "shop"}
    assert run["scope_attributes"] == expected


def test_json(spans: Answers) -> None:
    """A run writes itself as JSON with the fields of a span of the SDK's, holding its values."""
    found = spans["to_json"]
    run, written, stock = found["run"], found["json"], found["stock_json"]
    assert written.keys() == stock.keys()
    assert written["context"] == {
        "trace_id": f"0x{run['trace_id']}",
        "span_id": f"0x{run['span_id']}",
        "trace_state": "[]",
    }
    assert written["attributes"] == run["attributes"]
    assert [event["name"] for event in written["events"]] == ["e"]
    asked = ("name", "kind", "parent_id", "status", "links", "resource")
    assert {key: written[key] for key in asked} == {key: stock[key] for key in asked}


def test_json_in_one_line(spans: Answers) -> None:
    """Without indent a run's JSON is one line."""
    one, many = spans["to_json"]["lines"]
    assert one == 1
    assert many > 1


def test_flags_of_a_root(spans: Answers) -> None:
    """A run that is a root has the flags of a span of the SDK's that is one."""
    request, run = spans["family"][-1], spans["global_provider"]["run"]
    assert run["flags"] == request["flags"]


def test_family(spans: Answers) -> None:
    """Runs and spans of other tracers are parents and children of each other, in one trace."""
    family = spans["family"]
    assert [span["name"] for span in family] == ["query", "inner", "step", "outer", "request"]
    above = [*(span["span_id"] for span in family[1:]), None]
    parents = [span["parent"] and span["parent"]["span_id"] for span in family]
    assert parents == above
    assert len({span["trace_id"] for span in family}) == 1


def test_remote_parent(spans: Answers) -> None:
    """A run under a span of another process continues its trace, with its state."""
    run = spans["remote_parent"]
    assert run["parent"] == {
        "trace_id": f"{0xA1:032x}",
        "span_id": f"{0xB2:016x}",
        "flags": 1,
        "remote": True,
        "state": {"k": "v"},
    }
    assert (run["trace_id"], run["state"], run["remote"]) == (f"{0xA1:032x}", {"k": "v"}, False)


def test_failure(spans: Answers) -> None:
    """A run that raised has the status ERROR and an exception event, and the host its exception."""
    run = spans["failure"]
    assert (run["raised"], run["status"]) == (
        "no such model",
        ["ERROR", "LookupError: no such model"],
    )
    [event] = run["events"]
    assert event["name"] == "exception"
    assert event["attributes"].pop("exception.stacktrace").startswith("Traceback (most recent")
    assert event["attributes"] == {
        "exception.type": "LookupError",
        "exception.message": "no such model",
    }


def test_disabled_sdk(sdk: str) -> None:
    """Where the environment disables the SDK a traced function works and nothing is recorded."""
    found = ask(sdk, "settings", OTEL_SDK_DISABLED="true")["run"]
    assert found == {"returned": "returned", "spans": [], "flushed": True}


def test_counting_sdk(sdk: str) -> None:
    """Where the SDK counts its own spans a run is recorded all the same."""
    found = ask(sdk, "settings", OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED="true")["run"]
    [run] = found["spans"]
    assert (found["returned"], run["name"], run["type"]) == ("returned", "model", "ReadableSpan")
    assert run["attributes"]["otel_ml.outputs"] == '"returned"'


@pytest.fixture(scope="module")
def forks(sdk: str) -> Answers:
    """What the program about forks found under the SDK, with a detector of process ids."""
    return ask(sdk, "forks", OTEL_EXPERIMENTAL_RESOURCE_DETECTORS="otel,process")


def test_resource_in_a_forked_child(forks: Answers) -> None:
    """In a forked child a run has the resource of a span of the SDK's there."""
    _, [run, stock] = forks["joined"]
    assert run == stock


def test_own_resource_in_a_forked_child(forks: Answers) -> None:
    """In a forked child the resource of our own provider changes as the SDK's does."""
    [_, stock_before], [_, stock_after] = forks["joined"]
    [before], [after] = forks["own"]
    changed = {key for key in stock_before if stock_before[key] != stock_after[key]}
    assert {key for key in before if before[key] != after[key]} == changed
