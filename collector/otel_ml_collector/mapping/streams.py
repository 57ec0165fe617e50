"""What is told of answers that come in pieces: when the first one came, and how many there were."""

from collections.abc import Iterable, Mapping
from typing import Final

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
# A day: what takes longer is no call.
_LONGEST_MS: Final = 86_400_000
TELLING: Final = frozenset({*FIRST_TOKENS, FIRST_MOMENT, names.STREAM_CHUNKS})


def find_first_token_ms(
    attributes: Mapping[str, Value], events: Iterable[tuple[str, int]], start_ns: int
) -> float | None:
    """Find how long a call took to its first token, in whichever way its emitter says it.

    Args:
        attributes: Of its span.
        events: Of its span: the name of each, and its time in nanoseconds.
        start_ns: When the call began.

    Returns:
        Milliseconds, None where nothing says it: a number below zero or above a day says nothing.
    """
    for name, unit in FIRST_TOKENS.items():
        told = to_float(attributes.get(name))
        if told is not None and 0 <= told * unit < _LONGEST_MS:
            return told * unit
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
    told = to_int(attributes.get(names.STREAM_CHUNKS))
    if told is not None and told >= 0:
        return told
    return sum(name.endswith(PIECE) for name, _ in events) or None


def _read_moment(text: str) -> list[int]:
    """Read a time that is text, perhaps JSON; nothing of what is none."""
    told = parse(text)
    try:
        return [from_rfc3339(told if isinstance(told, str) else text, FIRST_MOMENT)]
    except BadInput:
        return []
