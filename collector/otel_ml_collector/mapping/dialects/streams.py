"""Streamed answers: finds the time to the first token and joins chunks into messages."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import groupby
from typing import Any, Final

from otel_ml import attributes as names
from otel_ml_collector.errors import BadInput
from otel_ml_collector.mapping.dialects.leaves import words_of
from otel_ml_collector.mapping.values import parse, to_float, to_int
from otel_ml_collector.span import Value
from otel_ml_collector.times import from_rfc3339

# Attributes with the time to the first token, and the unit of each in milliseconds.
FIRST_TOKENS: Final[Mapping[str, int]] = {
    names.STREAM_FIRST_CHUNK_MS: 1,
    names.GEN_AI_FIRST_CHUNK_S: 1_000,
    "gen_ai.server.time_to_first_token": 1_000,
    "gen_ai.latency.time_to_first_token": 1_000,
    "ai.response.msToFirstChunk": 1,
    "ttft_ms": 1,
}
# Attribute with the point in time of the first token.
FIRST_MOMENT: Final = "langfuse.observation.completion_start_time"
# Name of the event at the first token, and end of the name of the event at each chunk.
FIRST_PIECE: Final = "First Token Stream Event"
PIECE: Final = "content.completion.chunk"
# A single chunk needs no joining. Texts of parts of these types are joined.
_LEAST_PIECES: Final = 2
_JOINED: Final = ("text", "reasoning")
# A day: no call takes longer.
_LONGEST_MS: Final = 86_400_000
_STREAM_EVIDENCE: Final = frozenset({*FIRST_TOKENS, FIRST_MOMENT, names.STREAM_CHUNKS})
# Words of other attributes with the time to the first token: the last ones, and the unit after
# them in milliseconds. Without a unit it is in seconds, like all times of the conventions.
_FIRST_ABBREVIATIONS: Final = frozenset({"ttft", "ttfb", "ttfc"})
_FIRST_NOUNS: Final = frozenset({"token", "chunk", "byte"})
_TIME_WORDS: Final = frozenset({"latency", "time", "delay", "duration"})
_UNIT_MS: Final = {
    **dict.fromkeys(("ms", "millis", "milliseconds", "msec"), 1.0),
    **dict.fromkeys(("s", "sec", "secs", "seconds"), 1_000.0),
    **dict.fromkeys(("us", "micros", "microseconds"), 1e-3),
    **dict.fromkeys(("ns", "nanos", "nanoseconds"), 1e-6),
}
_SECONDS: Final = 1_000.0

# Emitters confuse units, such as milliseconds labelled as seconds. Factors to try.
_FINER: Final = (1, 1e-3, 1e-6, 1e-9)
# Tolerance: span times and the time to the first token come from different clocks.
_SLACK_MS: Final = 1.0


def is_streamed(names: Iterable[str]) -> bool:
    """Return whether one of the attributes may show how an answer was streamed."""
    return not _STREAM_EVIDENCE.isdisjoint(names) or any(map(_unit_of, names))


@lru_cache(8_192)
def _unit_of(name: str) -> float:
    """Return the unit of an attribute with the time to the first token; 0 for any other."""
    words = words_of(name)
    unit = _UNIT_MS.get(words[-1], 0.0) if words else 0.0
    core = words[:-1] if unit else words
    is_time = bool(unit) or not _TIME_WORDS.isdisjoint(core) or "ms" in core
    unit = unit or (1.0 if "ms" in core else _SECONDS)
    while core and core[-1] in _TIME_WORDS:
        core = core[:-1]
    is_first = core[-2:-1] == ("first",) and core[-1] in _FIRST_NOUNS and is_time
    return (
        unit
        if core and (core[-1] in _FIRST_ABBREVIATIONS or is_first) and "relative" not in core
        else 0.0
    )


@lru_cache(1_024)
def _units_of(names: tuple[str, ...]) -> Mapping[str, float]:
    """Return the attributes with the time to the first token, and their units, in order."""
    known = {name: unit for name, unit in FIRST_TOKENS.items() if name in names}
    spare = sorted((len(name), name) for name in names if _unit_of(name))
    return {**known, **{name: _unit_of(name) for _, name in spare if name not in known}}


def find_first_token_ms(
    attributes: Mapping[str, Value],
    events: Iterable[tuple[str, int]],
    start_ns: int,
    end_ns: int = 0,
) -> float | None:
    """Return a call's time to the first token, from any known attribute or event.

    Args:
        attributes: Attributes of the span.
        events: Name and time (nanoseconds since the epoch) of each event of the span.
        start_ns: Start of the call.
        end_ns: End of the call; 0 if it has not ended.

    Returns:
        Milliseconds; None if nothing is recorded. Values below 0 or above a day are ignored. If a
        value is longer than the call, a smaller unit is assumed, such as µs for an attribute that
        is named `…_ms`.
    """
    has_ended = end_ns > start_ns
    longest_ms = (end_ns - start_ns) / 1e6 + _SLACK_MS if has_ended else _LONGEST_MS
    for name, unit in _units_of(tuple(attributes)).items():
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
    """Return in how many chunks an answer arrived; None if nothing is recorded."""
    stream_chunks = to_int(attributes.get(names.STREAM_CHUNKS))
    if stream_chunks is not None and stream_chunks >= 0:
        return stream_chunks
    return sum(name.endswith(PIECE) for name, _ in events) or None


def join_pieces(messages: object, *, is_cut: bool = False) -> object:
    """Join messages that are the chunks of one streamed answer. Return others unchanged.

    Args:
        messages: Recorded messages. They are joined if only the last one has a finish reason.
        is_cut: Whether the stream was interrupted. Then they are joined only if no message has a
            finish reason.
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
    """Return a time in a text (or JSON text) as a list of one; empty if it is not a time."""
    document = parse(text)
    try:
        return [from_rfc3339(document if isinstance(document, str) else text, FIRST_MOMENT)]
    except BadInput:
        return []
