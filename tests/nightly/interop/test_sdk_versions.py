"""A run is an ordinary span in a service's traces, with every supported SDK version."""

import pytest

from tests.support.interop.environments import NEWEST, Answers, ask

# Attributes that differ between calls, or that other tests check.
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
    """Return the results of the program `spans` with the SDK."""
    return ask(sdk, "spans")


def test_environment_holds_its_version(sdk: str, spans: Answers) -> None:
    """An environment has the SDK version in its name."""
    assert sdk == NEWEST or spans["version"].startswith(f"{sdk.removeprefix('sdk-')}.")


def test_global_provider_is_joined(spans: Answers) -> None:
    """Runs use the global provider, which stays in place."""
    found = spans["global_provider"]
    assert (found["returned"], found["kept"], found["flushed"]) == (3, True, True)
    assert found["run"]["resource"] == {"service.name": "shop"}


def test_run_is_a_span(spans: Answers) -> None:
    """The span of a run is a RunSpan, and also a ReadableSpan and a Span of the SDK and API."""
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
    """A run starts and ends within its call, and its duration equals its latency attribute."""
    found = spans["global_provider"]
    run, (before_ns, after_ns) = found["run"], found["between"]
    assert before_ns <= run["start_ns"] <= run["end_ns"] <= after_ns
    latency_ms = (run["end_ns"] - run["start_ns"]) / 1e6
    assert run["attributes"]["otel_ml.latency_ms"] == pytest.approx(latency_ms)


def test_attributes(spans: Answers) -> None:
    """All information about a run is in the span's attributes."""
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
    """The scope is otel-ml's; since SDK 1.26, scopes have attributes, and it has the project."""
    run = spans["global_provider"]["run"]
    assert run["scope"][0] == "otel_ml"
    expected = {} if sdk == "sdk-1.25" else {"otel_ml.project": "shop"}
    assert run["scope_attributes"] == expected


def test_json(spans: Answers) -> None:
    """A run's JSON has the fields of an SDK span and the run's values."""
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
    """Without indent, a run's JSON is one line."""
    one, many = spans["to_json"]["lines"]
    assert one == 1
    assert many > 1


def test_flags_of_a_root(spans: Answers) -> None:
    """A root run has the same flags as a root span of the SDK."""
    request, run = spans["family"][-1], spans["global_provider"]["run"]
    assert run["flags"] == request["flags"]


def test_family(spans: Answers) -> None:
    """Runs and spans of other tracers are parents and children of each other in one trace."""
    family = spans["family"]
    assert [span["name"] for span in family] == ["query", "inner", "step", "outer", "request"]
    above = [*(span["span_id"] for span in family[1:]), None]
    parents = [span["parent"] and span["parent"]["span_id"] for span in family]
    assert parents == above
    assert len({span["trace_id"] for span in family}) == 1


def test_remote_parent(spans: Answers) -> None:
    """A run whose parent is in another process continues its trace with its trace state."""
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
    """A run that raised has status ERROR and an exception event; the caller gets the exception."""
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
    """If the environment disables the SDK, a traced function works and nothing is recorded."""
    found = ask(sdk, "settings", OTEL_SDK_DISABLED="true")["run"]
    assert found == {"returned": "returned", "spans": [], "flushed": True}


def test_counting_sdk(sdk: str) -> None:
    """If the SDK counts its own spans, runs are still recorded."""
    found = ask(sdk, "settings", OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED="true")["run"]
    [run] = found["spans"]
    assert (found["returned"], run["name"], run["type"]) == ("returned", "model", "ReadableSpan")
    assert run["attributes"]["otel_ml.outputs"] == '"returned"'


@pytest.fixture(scope="module")
def forks(sdk: str) -> Answers:
    """Return the results of the program `forks` with the SDK and a detector of process ids."""
    return ask(sdk, "forks", OTEL_EXPERIMENTAL_RESOURCE_DETECTORS="otel,process")


def test_resource_in_a_forked_child(forks: Answers) -> None:
    """In a forked child, a run has the same resource as an SDK span."""
    _, [run, stock] = forks["joined"]
    assert run == stock


def test_own_resource_in_a_forked_child(forks: Answers) -> None:
    """In a forked child, the resource of otel-ml's provider changes like the SDK's."""
    [_, stock_before], [_, stock_after] = forks["joined"]
    [before], [after] = forks["own"]
    changed = {key for key in stock_before if stock_before[key] != stock_after[key]}
    assert {key for key in before if before[key] != after[key]} == changed
