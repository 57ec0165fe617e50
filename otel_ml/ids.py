"""Random ids that are nobody's but ours: no seed of the host's repeats them.

The SDK draws ids from the generator of Python's `random` module. Who seeds that, as nearly every
training does, gets the same ids in every process, and runs that take each other's place; and each
id moves the numbers that the host draws afterwards.
"""

from random import Random
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

from otel_ml.process import renew_in_child

_TRACE_BITS: Final = 128
_SPAN_BITS: Final = 64


class _OwnRandomIds(RandomIdGenerator):
    """What the SDK's generator makes, from random numbers of our own."""

    def __init__(self) -> None:
        self._random = Random()  # noqa: S311 - seeded by the system; ids are no secrets
        renew_in_child(self._random.seed)

    def generate_span_id(self) -> int:
        """Make the id of a span."""
        made = self._random.getrandbits(_SPAN_BITS)
        while made == trace.INVALID_SPAN_ID:
            made = self._random.getrandbits(_SPAN_BITS)
        return made

    def generate_trace_id(self) -> int:
        """Make the id of a trace."""
        made = self._random.getrandbits(_TRACE_BITS)
        while made == trace.INVALID_TRACE_ID:
            made = self._random.getrandbits(_TRACE_BITS)
        return made


_OWN: Final = _OwnRandomIds()


def own_ids(ids: IdGenerator) -> IdGenerator:
    """Return our generator in place of the SDK's own; one of another make stays."""
    return _OWN if type(ids) is RandomIdGenerator else ids
