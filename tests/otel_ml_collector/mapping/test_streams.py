"""Tests of what emitters tell of streams: when the first piece came, and how many there were."""

from typing import Final

import pytest

from otel_ml_collector.mapping.streams import find_first_token_ms, find_stream_chunks
from otel_ml_collector.span import Value

START_NS: Final = 1_700_000_000_000_000_000
FIRST: Final = ("First Token Stream Event", START_NS + 1_500_000)
PIECES: Final = [
    ("llm.content.completion.chunk", START_NS + 2_000_000 + place) for place in range(3)
]
MOMENT: Final = "langfuse.observation.completion_start_time"


@pytest.mark.parametrize(
    ("attributes", "events", "expected"),
    [
        ({"otel_ml.stream.first_chunk_ms": 120.5}, [], 120.5),
        ({"gen_ai.response.time_to_first_chunk": 0.25}, [], 250.0),
        ({"gen_ai.server.time_to_first_token": 0.25}, [], 250.0),
        ({"gen_ai.server.time_to_first_token": "0.25"}, [], 250.0),
        ({"ai.response.msToFirstChunk": 10.5}, [], 10.5),
        ({"ttft_ms": 99}, [], 99),
        ({MOMENT: '"2023-11-14T22:13:20.250Z"'}, [], 250.0),
        ({}, [("other", START_NS + 1), FIRST], 1.5),
        ({}, PIECES, 2.0),
        ({"otel_ml.stream.first_chunk_ms": "soon"}, [FIRST], 1.5),
        ({"ttft_ms": True}, [], None),
        ({"ttft_ms": -1}, [], None),
        ({"ttft_ms": 1e300}, [], None),
        ({"ttft_ms": float("nan")}, [], None),
        ({MOMENT: '"soon"'}, [], None),
        ({MOMENT: "2023-11-14T22:13:19Z"}, [], None),
        ({}, [], None),
    ],
    ids=repr,
)
def test_first_token(
    attributes: dict[str, Value], events: list[tuple[str, int]], expected: float | None
) -> None:
    """Milliseconds to the first token are read in each way in which they are written."""
    assert find_first_token_ms(attributes, events, START_NS) == expected


@pytest.mark.parametrize(
    ("attributes", "events", "expected"),
    [
        ({"otel_ml.stream.chunks": 12}, [], 12),
        ({"otel_ml.stream.chunks": "12"}, [], 12),
        ({"otel_ml.stream.chunks": "many"}, PIECES, 3),
        ({"otel_ml.stream.chunks": -1}, [], None),
        ({}, [FIRST], None),
    ],
    ids=repr,
)
def test_chunks(
    attributes: dict[str, Value], events: list[tuple[str, int]], expected: int | None
) -> None:
    """The number of pieces is the one that is told, or that of the events that tell of them."""
    assert find_stream_chunks(attributes, events) == expected
