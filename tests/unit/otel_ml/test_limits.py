"""A host's limits on the length and number of span attributes, under each kind of provider."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client, Judge
from otel_ml.errors import trouble
from tests.support.examples import examples
from tests.support.otel_ml.providers import WrappingProvider, open_provider
from tests.support.otel_ml.recording import attributes
from tests.support.otel_ml.strategies import json_values

# Attributes whose value is JSON.
JSON = {
    "otel_ml.inputs",
    "otel_ml.inputs.preview",
    "otel_ml.outputs",
    "otel_ml.outputs.preview",
    "otel_ml.params",
    "otel_ml.tags",
    "otel_ml.judges",
    "otel_ml.capture",
    "otel_ml.model.definition",
}
# Attributes that every run needs to be filed and read.
CORE = {
    "otel_ml.project",
    "otel_ml.kind",
    "otel_ml.model.name",
    "otel_ml.model.version",
    "otel_ml.model.output_schema",
    "otel_ml.inputs",
    "otel_ml.outputs",
    "otel_ml.outcome",
    "otel_ml.latency_ms",
    "otel_ml.process",
    "otel_ml.seq",
}
PLACES = ("own", "joined", "stock")
LENGTH = "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"
NUMBER = "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"


@contextmanager
def environment(**variables: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, str(value))
        yield


class Place:
    """A client of project ``shop`` under attribute limits, and the spans that it exported."""

    def __init__(self, place: str, **limits: int) -> None:
        self.exporter = InMemorySpanExporter()
        if place == "own":
            self.client = Client("shop", exporter=self.exporter, join=False)
            variables = {"max_span_attribute_length": LENGTH, "max_span_attributes": NUMBER}
            with environment(**{variables[name]: limit for name, limit in limits.items()}):
                self.client.trace(name="first")(lambda: 1)()  # reads the limits
        else:
            kind = TracerProvider if place == "joined" else WrappingProvider
            provider, self.exporter = open_provider(kind, span_limits=SpanLimits(**limits))
            self.client = Client("shop", tracer_provider=provider)

    def run(self, name: str = "model") -> ReadableSpan:
        """Return the only run of that name."""
        assert self.client.flush()
        [span] = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return span

    def close(self) -> None:
        self.client.close()


def tags_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return all tags, from single attributes and from the packed one."""
    prefix = "otel_ml.tag."
    alone = {key.removeprefix(prefix): item for key, item in found.items() if prefix in key}
    packed = json.loads(found.get("otel_ml.tags", "{}"))
    return {**alone, **{name: item["value"] for name, item in packed.items() if "value" in item}}


def judged_of(found: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return score and pass of each judge, from single attributes or the packed one."""
    return {
        name: (
            found.get(f"otel_ml.score.{name}", detail.get("score")),
            found.get(f"otel_ml.passed.{name}", detail.get("passed")),
        )
        for name, detail in json.loads(found["otel_ml.judges"]).items()
    }


# Limits on the length of a value.


@pytest.mark.parametrize("place", PLACES)
@given(
    value=json_values,
    limit=st.integers(8, 400),
    params=st.dictionaries(st.text(), json_values, max_size=3),
)
@settings(max_examples=examples(25))
def test_long_values_are_cut_as_json(
    place: str, value: object, limit: int, params: dict[str, Any]
) -> None:
    """Under a length limit every text of a run fits the limit, and JSON stays valid."""
    where = Place(place, max_span_attribute_length=limit)
    call = where.client.trace(name="model", params=params, tags={"note": "x" * 500})(lambda a: a)
    call([value, "y" * 500])
    found = attributes(where.run())
    where.close()
    texts = {key: item for key, item in found.items() if isinstance(item, str)}
    assert {key for key, item in texts.items() if len(item) > limit} == set()
    for key in JSON & set(texts):
        json.loads(texts[key])
    assert set(found) >= CORE - {"otel_ml.model.output_schema"}  # a null has no schema


@pytest.mark.parametrize("place", PLACES)
def test_long_values_of_an_opened_run_are_cut_as_json(place: str) -> None:
    """Records about a run also fit the length limit, and their JSON stays valid."""
    where = Place(place, max_span_attribute_length=40)
    with where.client.run("model", params={"prompt": "x" * 200}, tags={"a": "y" * 200}):
        pass
    for span in where.exporter.get_finished_spans():
        for key, item in attributes(span).items():
            assert not isinstance(item, str) or len(item) <= 40
            assert key not in JSON or json.loads(item) is not None
    assert json.loads(attributes(where.run())["otel_ml.params"])["prompt"].endswith("x...")
    where.close()


@pytest.mark.parametrize("place", PLACES)
def test_short_values_stay_whole(place: str) -> None:
    """A length limit does not change values that fit it."""
    found = []
    for where in (Place(place), Place(place, max_span_attribute_length=2_000)):
        where.client.trace(name="model", tags={"team": "a"})(abs)(-7)
        changing = {"otel_ml.seq", "otel_ml.latency_ms"}
        said = attributes(where.run())
        found.append({key: item for key, item in said.items() if key not in changing})
        where.close()
    assert found[0] == found[1]


def test_long_project_still_finds_its_exporter() -> None:
    """A joined client whose project name exceeds the limit still exports its own runs."""
    provider, _ = open_provider(span_limits=SpanLimits(max_span_attribute_length=16))
    exporter = InMemorySpanExporter()
    project = "a project with a name of 40 characters.."
    client = Client(project, exporter=exporter, tracer_provider=provider)
    client.trace(name="model")(lambda: 1)()
    assert client.flush()
    assert [span.name for span in exporter.get_finished_spans()] == ["model"]
    client.close()


# Limits on the number of attributes.

TAGS = {f"tag {number}": number for number in range(200)}


def names_of(count: int) -> list[str]:
    return [f"judge{number}" for number in range(count)]


def judges_of(count: int) -> list[Judge]:
    return [
        Judge(name, "The length", lambda outputs: float(len(outputs)), lambda score: score > 1)
        for name in names_of(count)
    ]


# A span of a stock provider never exceeds its limit: 12 would not even hold the core attributes.
ROOMS = [
    *[(place, limit) for place in ("own", "joined") for limit in (12, 20, 128)],
    ("stock", 20),
    ("stock", 128),
]


@pytest.mark.parametrize(("place", "limit"), ROOMS)
def test_all_tags_stay(place: str, limit: int) -> None:
    """Under a count limit no tag and no core attribute is lost."""
    where = Place(place, max_span_attributes=limit)
    where.client.trace(name="model", tags=TAGS)(lambda a: a)("why")
    found = attributes(where.run())
    where.close()
    assert tags_of(found) == TAGS
    assert set(found) >= CORE
    assert len(found) <= max(limit, len(CORE) + 2)  # 2: the definition and otel_ml.tags


@pytest.mark.parametrize(("place", "limit"), ROOMS)
def test_all_scores_stay(place: str, limit: int) -> None:
    """Under a count limit no score, tag or core attribute is lost."""
    where = Place(place, max_span_attributes=limit)
    judges = judges_of(10)
    where.client.assess(*judges, name="model", tags=TAGS)(lambda a: a)("why")
    found = attributes(where.run())
    where.close()
    assert judged_of(found) == dict.fromkeys(names_of(10), (3.0, True))
    assert tags_of(found) == TAGS
    assert set(found) >= CORE


@pytest.mark.parametrize(("place", "limit"), ROOMS)
def test_all_tags_of_an_opened_run_stay(place: str, limit: int) -> None:
    """Under a count limit an opened run and its start record keep all tags."""
    where = Place(place, max_span_attributes=limit)
    with where.client.run("model", tags=TAGS):
        pass
    assert tags_of(attributes(where.run())) == TAGS
    assert tags_of(attributes(where.run("otel_ml.start"))) in ({}, TAGS)
    where.close()


def crowded(place: str, limit: int, own: int, tags: int) -> ReadableSpan:
    """Return a run to which the host adds attributes of its own."""
    where = Place(place, max_span_attributes=limit)

    def model() -> None:
        for number in range(own):
            trace.get_current_span().set_attribute(f"host {number}", number)

    where.client.trace(name="model", tags=dict(list(TAGS.items())[:tags]))(model)()
    span = where.run()
    where.close()
    return span


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("own", [0, 1, 7, 30, 200])
@pytest.mark.parametrize("tags", [0, 5, 90])
def test_host_s_attributes_make_room(place: str, own: int, tags: int) -> None:
    """Under a count limit tags and core attributes stay, and lost host attributes are counted."""
    span = crowded(place, 40, own, tags)
    found = attributes(span)
    hosts = [key for key in found if key.startswith("host ")]
    assert len(found) <= 40
    assert tags_of(found) == dict(list(TAGS.items())[:tags])
    assert set(found) >= CORE - {"otel_ml.model.output_schema"}  # None has no schema
    assert hosts == [f"host {number}" for number in range(own)][own - len(hosts) :]
    # The OpenTelemetry SDK's span also counts our attributes that it dropped and that we set again.
    assert place == "stock" or span.dropped_attributes == own - len(hosts)


# Both limits.


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("length", [1, 2, 8, 30, 64, 300])
def test_both_limits_hold(place: str, length: int) -> None:
    """A run fits both limits; its JSON stays valid if the length limit is at least 8."""
    before = trouble()
    where = Place(place, max_span_attributes=20, max_span_attribute_length=length)
    where.client.assess(*judges_of(10), name="model", tags=TAGS)(lambda a: a)("why" * 50)
    found = attributes(where.run())
    where.close()
    assert trouble() == before
    assert len(found) <= 20
    if length >= 8:
        texts = {key: item for key, item in found.items() if isinstance(item, str)}
        assert {key for key, item in texts.items() if len(item) > length} == set()
        for key in JSON & set(texts):
            json.loads(texts[key])
