"""Tests of what the home page says about records that are not in the rows of runs yet."""

import time
from typing import Final

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.store.calls import CallResolver
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.folded import finish
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

WORDS: Final = "the oldest of them arrived"


def read_status(service: Service) -> str:
    headers = {"hx-request": "true"}
    return ask(service.app, "/status?project=aged&of=1", headers=headers).text


@at_night
def test_behind(own_service: Service) -> None:
    """The home page says if a record has been missing in the rows of runs for ten seconds."""
    store = own_service.store
    watch: CallResolver = own_service.app.state.services.find(CallResolver)
    records = map_spans([make_call()], Filing("aged", time.time_ns()))
    store.writer.write(records)
    watch.note(records, store.writer.stamped_ns or 0)
    assert WORDS not in read_status(own_service)
    wait_until(lambda: WORDS in read_status(own_service))
    finish(store, watch)
    assert WORDS not in read_status(own_service)
