"""A host's changes to the current span have the same effect on a run as on an SDK span."""

import json
from typing import Any

import pytest

from tests.support.interop.environments import Answers, ask

# The limits that the program passes as SpanLimits, as variables of a service's operator.
LIMITS = {
    "OTEL_SPAN_EVENT_COUNT_LIMIT": "3",
    "OTEL_SPAN_LINK_COUNT_LIMIT": "2",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "2",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "1",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "10",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "20",
}
TEXT = "text " * 8
# An attribute limit of 40, and 200 attributes added by the host.
COUNT, GIVEN = 40, 200


@pytest.fixture(scope="module")
def host(sdk: str) -> Answers:
    """Return the results of the program `host` with the SDK."""
    return ask(sdk, "host")


@pytest.fixture(scope="module")
def limited_host(sdk: str) -> Answers:
    """Return the results of the program `host` with limits in the environment."""
    return ask(sdk, "host", "limited", **LIMITS)


def test_additions(host: Answers) -> None:
    """Attributes, events and links added by the host arrive."""
    ours, stock = host["additions"]
    assert ours == stock
    assert ours["attributes"] == {
        "host.text": TEXT,
        "host.list": [TEXT, "b"],
        "host.flag": True,
        "host.number": 8,
    }
    assert [event["time_ns"] for event in ours["events"]] == [1, 2, 3, 4, 5]
    assert [link["span_id"][-1] for link in ours["links"]] == ["1", "2", "3", "4", "5"]


def test_odd_values(host: Answers) -> None:
    """Invalid attribute values and keys are handled as by the SDK."""
    ours, stock = host["odd_values"]
    assert ours == stock


def assert_limited(both: list[Any]) -> None:
    ours, stock = both
    assert ours == stock
    assert ours["attributes"]["host.text"] == TEXT[:20]
    assert ours["attributes"]["host.list"] == [TEXT[:20], "b"]
    assert ours["dropped"] == [0, 2, 3]
    assert [(event["name"], event["dropped"]) for event in ours["events"]] == [
        ("event 2", 2),
        ("event 3", 2),
        ("event 4", 2),
    ]
    assert [(link["span_id"][-1], link["dropped"]) for link in ours["links"]] == [
        ("4", 3),
        ("5", 3),
    ]
    assert ours["events"][0]["attributes"] == {"key 2": TEXT[:10], "key 3": TEXT[:10]}


def test_limits_of_the_provider(host: Answers) -> None:
    """The provider's limits apply to the host's additions."""
    assert_limited(host["limits"])


def test_limits_of_the_environment(limited_host: Answers) -> None:
    """The limits of the environment apply to the host's additions."""
    assert_limited(limited_host["additions"])


def assert_short(run: Any) -> None:
    attributes = run["attributes"]
    assert attributes["otel_ml.tag.long"] == TEXT[:20]
    texts = {key: value for key, value in attributes.items() if isinstance(value, str)}
    assert {key for key, text in texts.items() if len(text) > 20} == set()
    for key in ("otel_ml.inputs", "otel_ml.outputs", "otel_ml.model.definition"):
        json.loads(texts[key])


def test_own_values_within_the_provider_s_limit(host: Answers) -> None:
    """The provider's limit on value length truncates a run's payloads to valid JSON."""
    assert_short(host["own_values"])


def test_own_values_within_the_environment_s_limit(limited_host: Answers) -> None:
    """The environment's limit on value length truncates a run's payloads to valid JSON."""
    assert_short(limited_host["own_values"])


def test_count_limit(host: Answers) -> None:
    """The attribute limit drops the host's oldest attributes, and none of the run's own."""
    attributes = host["many_attributes"]["attributes"]
    own = {key: value for key, value in attributes.items() if key.startswith("otel_ml.")}
    kept = COUNT - len(own)
    assert [key for key in attributes if key not in own] == [
        f"host.{number:03}" for number in range(GIVEN - kept, GIVEN)
    ]
    assert {"otel_ml.project", "otel_ml.inputs", "otel_ml.outputs", "otel_ml.outcome"} <= own.keys()
    # Tags may have been combined into one attribute.
    tags = json.loads(own.get("otel_ml.tags", "{}"))
    alone = {key for key in ("a", "b") if f"otel_ml.tag.{key}" in own}
    assert alone | tags.keys() == {"a", "b"}


def test_dropped_attributes_are_counted(host: Answers) -> None:
    """Every host attribute dropped by the limit is counted."""
    run = host["many_attributes"]
    kept = sum(key.startswith("host.") for key in run["attributes"])
    assert run["dropped"] == [GIVEN - kept, 0, 0]


def test_exceptions(host: Answers) -> None:
    """Exceptions recorded by the host become the same events as with the SDK."""
    ours, stock = host["exceptions"]
    raised, stock_raised = ours["events"].pop(), stock["events"].pop()
    assert ours == stock
    assert raised["attributes"].keys() == stock_raised["attributes"].keys()
    assert [event["attributes"]["exception.type"] for event in ours["events"]] == [
        "ValueError",
        "__main__.OddError",
        "KeyError",
        "FileNotFoundError",
        "ValueError",
    ]
    assert "raise OddError" in raised["attributes"]["exception.stacktrace"]


def test_links(host: Answers) -> None:
    """A link is kept or dropped as by the SDK, depending on its ids, state and attributes."""
    ours, stock = host["links"]
    assert ours == stock


def test_name(host: Answers) -> None:
    """The host can rename the current span."""
    ours, stock = host["name"]
    assert (ours["name"], stock["name"]) == ("renamed", "renamed")


def test_statuses(host: Answers) -> None:
    """Consecutive statuses set by the host have the same result as with the SDK."""
    assert [ours for ours, _ in host["statuses"]] == [stock for _, stock in host["statuses"]]
    assert [ours for ours, _ in host["statuses"]] == [
        ["ERROR", "bad"],
        ["OK", None],
        ["OK", None],
        ["ERROR", "bad"],
        ["ERROR", None],
        ["ERROR", "worse"],
        ["OK", None],
    ]


def test_after_the_end(host: Answers) -> None:
    """Changes to an ended span have no effect and do not raise."""
    ours, stock = host["after_the_end"]
    assert ours == stock
    assert (ours["name"], ours["status"], ours["events"]) == ("model", ["UNSET", None], [])


def test_run_s_own_names(host: Answers) -> None:
    """The host cannot overwrite a run's own attributes."""
    assert host["own_names"] == "ok"


def test_threads(host: Answers) -> None:
    """Additions by two threads at the same time all arrive."""
    ours, stock = host["threads"]
    assert ours["attributes"].keys() == stock["attributes"].keys() == {"thread 0", "thread 1"}
    assert len(ours["events"]) == len(stock["events"]) == 2
    assert len(ours["links"]) == len(stock["links"]) == 2
