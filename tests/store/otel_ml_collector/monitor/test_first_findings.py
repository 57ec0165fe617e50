"""A broken field, a worse version and a bad client are the first findings, without any setup."""

import json
import random
import re
import time
from collections.abc import Iterator
from itertools import count
from typing import Final

import pytest

from otel_ml_collector.findings.find import find_project_findings
from otel_ml_collector.findings.findings import Finding
from otel_ml_collector.span import Span, Value
from otel_ml_collector.times import DAY_NS, HOUR_NS
from tests.support.otel_ml_collector.spans import MS_NS, make_call, trace_id
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import at_night

NOW_NS: Final = time.time_ns()
TODAY_NS: Final = NOW_NS // DAY_NS * DAY_NS
IDS: Final = count(700_000)


def make_run(model: str, start_ns: int, draw: random.Random, **told: Value) -> Span:
    attributes: dict[str, Value] = {
        "otel_ml.outcome": "error" if draw.random() < 0.03 else "ok",
        "otel_ml.outputs": json.dumps({"label": draw.choice(["good", "bad"])}),
        **{f"otel_ml.{name}": value for name, value in told.items()},
    }
    return make_call(
        model,
        attributes,
        trace_id=trace_id(next(IDS)),
        start_ns=start_ns,
        end_ns=start_ns + draw.randrange(20, 60) * MS_NS,
    )


def make_screened(draw: random.Random) -> Iterator[Span]:
    """Make runs of nine days; on the last day, one in three lacks a number."""
    for day in range(9, 0, -1):
        for place in range(120):
            amount = {} if day == 1 and place % 3 == 0 else {"amount": draw.gauss(50, 9)}
            yield make_run(
                "screen",
                TODAY_NS - day * DAY_NS + place * 10 * 60 * 10**9,
                draw,
                inputs=json.dumps({"kind": "x", **amount}),
            )


HOSPITALS: Final = ("A", "B", "C")
PLANS: Final = ("basic", "pro")


def make_diagnosed(draw: random.Random) -> Iterator[Span]:
    """Make nine days of runs for three hospitals; hospital C's data changes on the last day.

    Its size is missing, its ages are text, and its device is new. The tag plan has no effect, and
    the tag country has the same value for all runs.
    """
    for day in range(9, 0, -1):
        for place in range(300):
            hospital = HOSPITALS[place % 3]
            is_other = day == 1 and hospital == "C"
            inputs: dict[str, object] = {
                "age": str(place) if is_other else draw.randrange(20, 90),
                "device": "new" if is_other else draw.choice(["old", "older"]),
                "note": None if day == 1 and place % 4 == 0 else draw.gauss(5, 1),
            }
            if not is_other or place % 30 == 2:
                inputs["size"] = draw.gauss(50, 9)
            yield make_run(
                "diagnose",
                TODAY_NS - day * DAY_NS + place * 4 * 60 * 10**9,
                draw,
                inputs=json.dumps(inputs),
                **{
                    "tag.hospital": hospital,
                    "tag.plan": draw.choice(PLANS),
                    "tag.country": "NL",
                },
            )


def make_asked(draw: random.Random) -> Iterator[Span]:
    """Make runs of the last hours; one client's runs often fail."""
    for place in range(360):
        client = ("bigshot", "acme", "internal")[place % 3]
        failed = {"outcome": "error"} if client == "acme" and draw.random() < 0.4 else {}
        at_ns = NOW_NS - HOUR_NS - place * 60 * 10**9
        yield make_run("ask", at_ns, draw, **{"tag.client": client, **failed})


def make_answered(draw: random.Random) -> Iterator[Span]:
    """Make runs of a version, and of a newer version that fails more often."""
    for place in range(900):
        is_new = place < 300
        age_ns = HOUR_NS + place * 90 * 10**9 + (0 if is_new else 2 * HOUR_NS)
        failed = {"outcome": "error"} if is_new and draw.random() < 0.25 else {}
        version = "bb" if is_new else "aa"
        yield make_run("answer", NOW_NS - age_ns, draw, **{"model.version": version, **failed})


@pytest.fixture(scope="module")
def first_three(store: Store) -> list[Finding]:
    draw = random.Random(5)  # noqa: S311 - not for secrets
    spans = [*make_screened(draw), *make_asked(draw), *make_answered(draw)]
    spans.sort(key=lambda span: span.start_ns)
    store.take("first", *spans, now_ns=NOW_NS)
    return find_project_findings(store.reader, "first", NOW_NS).findings[:3]


def find_shares(finding: Finding) -> list[int]:
    """Return the percentages in the sentence of a finding."""
    return [int(share) for share in re.findall(r"(\d+) %", finding.sentence)]


def test_broken_field_is_first(first_three: list[Finding]) -> None:
    """The first finding is the field that lacks values since the last whole day."""
    found = first_three[0]
    assert (found.kind, found.model, found.field) == ("broken", "screen", "inputs.amount")
    assert find_shares(found)[0] == 33


def test_worse_version_is_second(first_three: list[Finding]) -> None:
    """The second finding is the version that fails more often in its own traffic."""
    found = first_three[1]
    assert (found.kind, found.model, found.measure) == ("release", "answer", "errors")
    assert (found.version, found.baseline, find_shares(found)) == (2, 1, [25, 4])


def test_bad_client_is_third(first_three: list[Finding]) -> None:
    """The third finding is the client whose runs fail more often than others."""
    found = first_three[2]
    assert (found.kind, found.model, found.measure) == ("slice", "ask", "errors")
    assert (found.condition, find_shares(found)) == ('tags["client"] == "acme"', [50, 4])


@pytest.fixture(scope="module")
def of_hospitals(store: Store) -> dict[str, Finding]:
    """Return findings by field, for a project where one of three hospitals' data changed."""
    spans = [*make_diagnosed(random.Random(6))]  # noqa: S311 - not for secrets
    store.take("hospitals", *spans, now_ns=NOW_NS)
    findings = find_project_findings(store.reader, "hospitals", NOW_NS).findings
    return {finding.field: finding for finding in findings if finding.field}


@at_night
def test_missing_input_names_its_slice(of_hospitals: dict[str, Finding]) -> None:
    """A finding about missing values names the hospital with nearly all of them."""
    finding = of_hospitals["inputs.size"]
    assert (finding.kind, finding.model) == ("broken", "diagnose")
    assert finding.sentence.endswith(", never elsewhere")
    assert find_shares(finding)[0] == 90
    assert re.findall(r"(\d+) %", finding.evidence)[0] == "30"
    assert finding.condition == 'tags["hospital"] == "C"'


def test_wrong_type_names_its_slice(of_hospitals: dict[str, Finding]) -> None:
    """A finding about a changed type names the hospital whose values have it."""
    assert of_hospitals["inputs.age"].sentence.endswith(", only for hospital C")


def test_new_value_names_its_slice(of_hospitals: dict[str, Finding]) -> None:
    """A finding about a new value names the hospital that sends it."""
    finding = of_hospitals["inputs.device"]
    assert (finding.kind, finding.model) == ("traffic", "diagnose")
    assert 'new value "new": ' in finding.sentence
    assert finding.sentence.endswith(", only for hospital C")


def test_missing_input_of_all(of_hospitals: dict[str, Finding]) -> None:
    """A finding about values missing equally for all hospitals names none."""
    finding = of_hospitals["inputs.note"]
    assert (finding.kind, finding.model) == ("broken", "diagnose")
    assert finding.sentence.endswith(", never before")
    assert finding.condition == ""
