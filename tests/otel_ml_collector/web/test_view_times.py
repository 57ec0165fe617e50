"""Tests of the time to the first token, as emitters say it."""

import pytest

from otel_ml_collector.web.view import first_token_ms

EVENT = {"name": "First Token Stream Event", "time_ns": 2_500_000, "attributes": {}}


@pytest.mark.parametrize(
    ("attributes", "events", "expected"),
    [
        ({"otel_ml.stream.first_chunk_ms": 120.5}, "", 120.5),
        ({"gen_ai.response.time_to_first_chunk": 0.25}, "", 250.0),
        ({"gen_ai.server.time_to_first_token": 0.25}, "", 250.0),
        ({"ttft_ms": 99}, "", 99),
        ({}, [{"name": "other", "time_ns": 1}, EVENT], 1.5),
        ({"otel_ml.stream.first_chunk_ms": "soon"}, [EVENT], 1.5),
        ({"ttft_ms": True}, "", None),
        ({}, "", None),
    ],
    ids=repr,
)
def test_first_token(attributes: dict[str, object], events: object, expected: float | None) -> None:
    """Milliseconds to the first token are read in each way in which they are written."""
    assert first_token_ms(attributes, events, 1_000_000) == expected
