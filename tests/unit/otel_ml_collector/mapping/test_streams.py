"""Tests of streamed answers: the time to the first token and the number of chunks."""

from typing import Any, Final

import pytest

from otel_ml_collector.mapping.dialects.streams import (
    find_first_token_ms,
    find_stream_chunks,
    join_pieces,
)
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
        ({"metrics.ttfb": 0.25}, [], 250.0),
        ({"llm.ttft": "0.25"}, [], 250.0),
        ({"acme.time_to_first_token": 0.25}, [], 250.0),
        ({"acme.timeToFirstTokenMs": 250}, [], 250.0),
        ({"acme.time_to_first_token_s": 0.25}, [], 250.0),
        ({"acme.first_token_latency_ms": 250}, [], 250.0),
        ({"acme.ttft_seconds": 0.25}, [], 250.0),
        ({"acme.time_to_first_token_ns": 250_000_000}, [], 250.0),
        ({"acme.time_to_first_token.timestamp": 0.25}, [], None),
        ({"acme.first_token": 0.25}, [], None),
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
    """Milliseconds to the first token are read from every known attribute or event."""
    assert find_first_token_ms(attributes, events, START_NS) == expected


@pytest.mark.parametrize(
    ("name", "told", "expected"),
    [
        ("gen_ai.server.time_to_first_token", 0.25, 250.0),
        ("gen_ai.server.time_to_first_token", 250, 250.0),
        ("gen_ai.response.time_to_first_chunk", 250_000, 250.0),
        ("metrics.ttfb", 0.25, 250.0),
        ("metrics.ttfb", 250, 250.0),
        ("ttft_ms", 250, 250.0),
        ("ttft_ms", 250_000_000, 250.0),
        ("ttft_ms", 1_000.5, 1_000.5),
        ("otel_ml.stream.first_chunk_ms", 250, 250.0),
        ("otel_ml.stream.first_chunk_ms", 2_500, None),
    ],
)
def test_unit_of_a_first_token(name: str, told: float, expected: float | None) -> None:
    """If the first token would be later than the span's end, a finer unit is assumed."""
    found = find_first_token_ms({name: told}, [], START_NS, START_NS + 1_000_000_000)
    assert found == (None if expected is None else pytest.approx(expected))


def piece(text: str, reason: str | None = "", kind: str = "text") -> dict[str, Any]:
    parts = [{"type": kind, "content": text}]
    return {"role": "assistant", "parts": parts, "finish_reason": reason, "name": None}


CALLED: Final = {"type": "tool_call", "name": "find", "arguments": {}}


@pytest.mark.parametrize(
    ("pieces", "parts"),
    [
        (
            [piece("Sunny"), piece(" in", None), piece(" Ghent"), piece("", "stop")],
            [{"type": "text", "content": "Sunny in Ghent"}],
        ),
        (
            [piece("I ", kind="reasoning"), piece("see", kind="reasoning"), piece("Yes", "stop")],
            [{"type": "reasoning", "content": "I see"}, {"type": "text", "content": "Yes"}],
        ),
        ([piece(""), {**piece("", "stop"), "parts": [CALLED]}], [CALLED]),
    ],
)
def test_pieces_are_one_answer(pieces: list[dict[str, Any]], parts: list[object]) -> None:
    """Messages that are pieces of a stream are joined into one, with the last finish reason."""
    assert join_pieces(pieces) == [{**pieces[-1], "parts": parts}]


@pytest.mark.parametrize(
    "messages",
    [
        [piece("a", "stop"), piece("b", "stop")],
        [piece("a"), piece("b")],
        [{**piece("a"), "role": "user"}, piece("b", "stop")],
        [{"role": "assistant", "parts": []}, piece("b", "stop")],
        [piece("a", "stop")],
        [],
        "text",
        [1, 2],
    ],
    ids=repr,
)
def test_messages_are_no_pieces(messages: object) -> None:
    """Lists that are not pieces of a stream are unchanged."""
    assert join_pieces(messages) is messages


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
    """The number of chunks is read from its attribute, else the chunk events are counted."""
    assert find_stream_chunks(attributes, events) == expected
