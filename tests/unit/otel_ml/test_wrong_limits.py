"""Invalid values of OpenTelemetry's limit variables, and a client that cannot be set up."""

import logging

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanLimits

from otel_ml import Client
from otel_ml.limits import read_limits
from tests.support.otel_ml.recording import Recording

COUNTS = {
    "OTEL_ATTRIBUTE_COUNT_LIMIT": ("max_span_attributes", 128),
    "OTEL_SPAN_EVENT_COUNT_LIMIT": ("max_events", 128),
    "OTEL_SPAN_LINK_COUNT_LIMIT": ("max_links", 128),
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": ("max_span_attributes", 128),
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": ("max_event_attributes", 128),
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": ("max_link_attributes", 128),
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": ("max_attribute_length", None),
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": ("max_span_attribute_length", None),
}


@pytest.mark.parametrize("variable", [*COUNTS])
@pytest.mark.parametrize("value", ["unlimited", "-1", "1.5"])
def test_wrong_limit_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str, value: str
) -> None:
    """An invalid limit is logged and replaced by its default, and the run is recorded."""
    value = f"{value} " + " " * len(variable)  # unique: a value is only warned about once
    monkeypatch.setenv(variable, value)
    name, default = COUNTS[variable]
    with caplog.at_level(logging.WARNING, "otel_ml"):
        recording = Recording(join=False)
        assert recording.client.trace(lambda x: x)(1) == 1
        assert len(recording.runs()) == 1
    assert getattr(read_limits(), name) == default
    said = [record.getMessage() for record in caplog.records if variable in record.getMessage()]
    used = "no limit" if default is None else "128"
    expected = f"Invalid {variable} {value!r}: expected a whole number from 0, using the default"
    assert said == [f"{expected}, {used}"]


@pytest.mark.parametrize(
    ("general", "special", "counts", "lengths"),
    [
        ("7", "many", 7, 7),  # an invalid span limit falls back to the general limit
        ("many", "7", 7, 7),
        ("", "many", None, None),  # an empty variable means no limit
        (" 7 ", None, 7, 7),
        (None, None, 128, None),
    ],
)
def test_general_limit_is_the_default(
    monkeypatch: pytest.MonkeyPatch,
    general: str | None,
    special: str | None,
    counts: int | None,
    lengths: int | None,
) -> None:
    """An invalid span limit falls back to the general limit; valid limits are as in the SDK."""
    for variable, value in (
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", general),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", special),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", general),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", special),
    ):
        monkeypatch.delenv(variable, raising=False)
        if value is not None:
            monkeypatch.setenv(variable, value)
    limits = read_limits()
    assert (limits.max_span_attributes, limits.max_span_attribute_length) == (counts, lengths)
    if "many" not in (general, special):
        assert vars(limits) == vars(SpanLimits())


class Refusing(trace.TracerProvider):
    """A user's tracer provider that raises."""

    def get_tracer(self, *_: object, **__: object) -> trace.Tracer:
        raise RuntimeError("no tracer")


def test_runs_that_cannot_start_are_lost() -> None:
    """Runs that are not recorded because the client cannot be set up are counted as lost once."""
    client = Client("lost", tracer_provider=Refusing())
    assert client.trace(lambda x: x)(1) == 1
    assert client.trace(lambda x: x)(2) == 2
    with client.run("training"):
        pass
    lost = {"not recorded: RuntimeError": 3}
    assert client.flush().lost == lost
    assert client.flush().lost == {}
    assert client.stats().lost == lost
    with client.disabled():
        client.trace(lambda x: x)(1)
    assert client.flush().lost == {}
