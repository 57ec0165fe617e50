"""Profiles sent by clients are listed; invalid ones are not."""

import json
import time
from typing import Any, Final

import pytest

from otel_ml import InputComponent, ModelProfile, OutputComponent
from otel_ml_collector.span import Span
from otel_ml_collector.times import DAY_NS
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS, make_call, make_span
from tests.support.otel_ml_collector.stores import Service

YESTERDAY_NS: Final = time.time_ns() // DAY_NS * DAY_NS - DAY_NS // 2


def send(name: str, digest: str, document: object) -> Span:
    """Make the record that defines a profile's version."""
    return make_span(
        "otel_ml.update",
        {
            "otel_ml.record": "update",
            "otel_ml.target.model": name,
            "otel_ml.target.version": digest,
            "otel_ml.target.kind": "profile",
            "otel_ml.model.definition": json.dumps(document),
        },
        start_ns=NOW_NS,
        end_ns=NOW_NS,
    )


@pytest.fixture(scope="module")
def profiles(service: Service) -> list[dict[str, Any]]:
    built = ModelProfile(
        "churn",
        "1.0.0",
        [
            InputComponent("age", path="inputs.age", low=0, high=120),
            OutputComponent("label", dtype="CAT"),
        ],
    )
    unbuilt = send("churn", "aa", built.to_dict())
    built.build([{"age": age} for age in range(10, 90)], [{"label": "yes"}, {"label": "no"}] * 40)
    service.store.take("profiles", unbuilt, send("odd", "bb", {"type": "what"}))
    service.store.take("profiles", send("churn", "cc", built.to_dict()))
    listed: list[dict[str, Any]] = ask(service.app, "/api/v1/projects/profiles/profiles").json[
        "profiles"
    ]
    return listed


def test_newest_version(profiles: list[dict[str, Any]]) -> None:
    """Each profile is listed in its newest version, with its components."""
    (profile,) = profiles
    assert (profile["tag"], profile["number"]) == ("churn@1.0.0", 2)
    assert profile["than"] == "profile:churn:v2"
    age, label = profile["components"]
    assert (age["field"], age["kind"], age["n"]) == ("inputs.age", "number", 80)
    assert (age["missing"], age["low"], age["high"]) == (0.0, 0, 120)
    assert float(age["typical"]) == pytest.approx(49.5, abs=1)
    assert (label["side"], label["typical"]) == ("output", "yes 50 %")


def test_reference_of_fields(service: Service, profiles: list[dict[str, Any]]) -> None:
    """The page of fields compares with a profile and shows its bounds."""
    spans = [
        make_call(
            "churn",
            {"otel_ml.inputs": json.dumps({"age": place % 80})},
            start_ns=YESTERDAY_NS + place * MS_NS,
            end_ns=YESTERDAY_NS + (place + 1) * MS_NS,
        )
        for place in range(200)
    ]
    service.store.take("profiles", *spans, now_ns=time.time_ns())
    page = ask(service.app, "/projects/profiles/fields").text
    assert "/projects/profiles/fields?model=churn&amp;than=profile%3Achurn" in page
    assert "28 days before" in page
    page = ask(service.app, "/projects/profiles/fields?than=profile:churn").text
    assert "0 to 120" in page
    assert "Profile churn@1.0.0 is version 2" in page
    answer = ask(service.app, "/projects/profiles/profiles")
    assert (answer.status, answer.headers["location"]) == (307, "/projects/profiles/fields")
