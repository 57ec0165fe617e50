"""The encoder's caches never return wrong bytes and never grow without bound."""

import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_ml.export.encoder import EncodedRequest, encode_spans
from tests.support.sampling import sampled
from tests.unit.otel_ml.export.foreign import Foreign
from tests.unit.otel_ml.export.official import assert_official, make_span


class FreshResource(Foreign):
    resource = property(lambda self: Resource({"number": self.parts["start_time"] % 700}))


class FreshScope(Foreign):
    instrumentation_scope = property(
        lambda self: InstrumentationScope(f"{self.parts['start_time'] % 700}")
    )


@pytest.mark.parametrize("make", [FreshResource, FreshScope])
def test_fresh_envelopes(make: type[Foreign]) -> None:
    """If each span has a new resource or scope object, they are never confused."""
    spans = [make(start_time=number) for number in range(1_500)]
    assert_official(spans)
    for span in spans[:300]:
        assert_official([span])


def test_changed_value_is_written_anew() -> None:
    """A list that changes between two exports is encoded with its value at each export."""
    value = ["a"]
    span = make_span(attributes={"key": value})
    assert_official([span])
    value.append("b")
    assert_official([span])


def distinct(count: int, begin: int = 0) -> Iterator[ReadableSpan]:
    """Yield spans with distinct names, keys and texts."""
    for n in range(begin, begin + count):
        yield make_span(name=f"name {n}", attributes={f"key {n}": f"text {n}", "same": f"{n}"})


def test_ever_new_text() -> None:
    """Text is encoded correctly even if there is more text than the cache keeps."""
    spans: Sequence[ReadableSpan] = list(distinct(5_000))
    assert_official([*spans, *spans[:100]])


# Functions that return a span with a part that no other span has.
EVER_NEW: dict[str, Callable[[int], ReadableSpan]] = {
    "name": lambda number: make_span(name=f"{number}".rjust(60)),
    "key": lambda number: make_span(attributes={f"{number}".rjust(60): 1}),
    "long key": lambda number: make_span(attributes={f"{number}".rjust(600): 1}),
    "text": lambda number: make_span(attributes={"key": f"{number}".rjust(60)}),
    "number": lambda number: make_span(attributes={"key": 2**40 + number}),
    "resource": lambda number: make_span(resource=Resource({"number": number})),
}


@sampled(2)
@pytest.mark.parametrize("make", EVER_NEW.values(), ids=EVER_NEW)
def test_memory_is_bounded(make: Callable[[int], ReadableSpan]) -> None:
    """Memory stays bounded if each span has a new name, key, text, number or resource."""
    encode_spans([make(number) for number in range(100)])
    tracemalloc.start()
    try:
        for number in range(15_000):
            encode_spans([make(number)])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1_500_000  # without bounds, each case takes more


def test_threads() -> None:
    """Threads that encode at the same time do not mix up their text."""
    spans = [list(distinct(1_500, begin=begin)) * 2 for begin in (0, 1_000, 2_000, 3_000)]
    expected = [encode_spans(batch) for batch in spans]
    found: dict[int, EncodedRequest] = {}

    def run(number: int) -> None:
        found[number] = encode_spans(spans[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(spans))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(len(spans))] == expected
