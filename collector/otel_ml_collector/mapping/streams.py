"""Streamed answers: time of the first piece, and the joining of pieces into messages."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, Final

from otel_ml import attributes as names
from otel_ml_collector.errors import BadInput
from otel_ml_collector.mapping.values import parse, to_float, to_int
from otel_ml_collector.span import Value
from otel_ml_collector.times import from_rfc3339

# Names of the time from a call to its first token, and how many milliseconds their unit is.
FIRST_TOKENS: Final[Mapping[str, int]] = {
    names.STREAM_FIRST_CHUNK_MS: 1,
    names.GEN_AI_FIRST_CHUNK_S: 1_000,
    "gen_ai.server.time_to_first_token": 1_000,
    "ai.response.msToFirstChunk": 1,
    "ttft_ms": 1,
}
# And of the moment of it.
FIRST_MOMENT: Final = "langfuse.observation.completion_start_time"
# Events at it, and events of each piece.
FIRST_PIECE: Final = "First Token Stream Event"
PIECE: Final = "content.completion.chunk"
# Of one piece there is nothing to join; of a part of these kinds the pieces are its text.
_LEAST_PIECES: Final = 2
_JOINED: Final = ("text", "reasoning")
# A day: what takes longer is no call.
_LONGEST_MS: Final = 86_400_000
TELLING: Final = frozenset({*FIRST_TOKENS, FIRST_MOMENT, names.STREAM_CHUNKS})


# A unit is mistaken for one that is so many times as long: seconds were milliseconds, or less.
_FINER: Final = (1, 1e-3, 1e-6, 1e-9)
# The clock of a span is not the one that the time to its first token was measured by.
_SLACK_MS: Final = 1.0


def find_first_token_ms(
    attributes: Mapping[str, Value],
    events: Iterable[tuple[str, int]],
    start_ns: int,
    end_ns: int = 0,
) -> float | None:
    """Find a call's time to its first token, in any of the ways in which emitters record it.

    Args:
        attributes: Of its span.
        events: Of its span: the name of each, and its time in nanoseconds.
        start_ns: When the call began.
        end_ns: When it ended; 0 where it has not.

    Returns:
        Milliseconds, None where nothing says it: a number below zero or above a day says nothing.
        A time later than the end is taken to be in a finer unit, whatever its name says.
    """
    has_ended = end_ns > start_ns
    longest_ms = (end_ns - start_ns) / 1e6 + _SLACK_MS if has_ended else _LONGEST_MS
    for name, unit in FIRST_TOKENS.items():
        latency_ms = to_float(attributes.get(name))
        if latency_ms is not None and latency_ms >= 0:
            finer = _FINER if has_ended and name != names.STREAM_FIRST_CHUNK_MS else (1,)
            times = (latency_ms * unit * part for part in finer)
            first_ms = next((time for time in times if time <= longest_ms), None)
            if first_ms is not None:
                return first_ms
    moments = [at_ns for name, at_ns in events if name == FIRST_PIECE or name.endswith(PIECE)]
    moment = attributes.get(FIRST_MOMENT)
    if isinstance(moment, str):
        moments += _read_moment(moment)
    first_ns = min(moments, default=start_ns - 1)
    return (first_ns - start_ns) / 1e6 if first_ns >= start_ns else None


def find_stream_chunks(
    attributes: Mapping[str, Value], events: Iterable[tuple[str, int]]
) -> int | None:
    """Find how many pieces an answer came in; None where nothing says it."""
    stream_chunks = to_int(attributes.get(names.STREAM_CHUNKS))
    if stream_chunks is not None and stream_chunks >= 0:
        return stream_chunks
    return sum(name.endswith(PIECE) for name, _ in events) or None


def join_pieces(messages: object, *, is_cut: bool = False) -> object:
    """Join the messages of a stream with a message for each piece; return others unchanged.

    Only the last piece of an answer says why it ended; where `is_cut`, none may: a stream that was
    broken off has no last piece.
    """
    if not isinstance(messages, list) or len(messages) < _LEAST_PIECES:
        return messages
    *pieces, last = messages
    if not all(map(_is_piece, messages)) or bool(last["finish_reason"]) is is_cut:
        return messages
    if any(piece["finish_reason"] or piece["role"] != last["role"] for piece in pieces):
        return messages
    parts: list[Any] = []
    entries = (part for message in messages for part in message["parts"])
    for kind, alike in groupby(entries, key=lambda part: part.get("type")):
        if kind in _JOINED:
            text = "".join(str(part.get("content") or "") for part in alike)
            parts += [{"type": kind, "content": text}] if text else []
        else:
            parts += alike
    return [{**last, "parts": parts}]


def _is_piece(message: Any) -> bool:
    return (
        isinstance(message, dict)
        and {"role", "parts", "finish_reason"} <= message.keys()
        and isinstance(message["parts"], list)
        and all(isinstance(part, dict) for part in message["parts"])
    )


def _read_moment(text: str) -> list[int]:
    """Read a time that is text, perhaps JSON, as a list of one; empty when it is no time."""
    document = parse(text)
    try:
        return [from_rfc3339(document if isinstance(document, str) else text, FIRST_MOMENT)]
    except BadInput:
        return []
