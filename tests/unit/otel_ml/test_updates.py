"""Tags, log lines and metrics of an open run are sent while it is open."""

import threading
from typing import Any

import pytest

from otel_ml import current_run
from otel_ml.deferred_attributes import DeferredAttributes
from otel_ml.metrics import make_points
from otel_ml.tags import Value
from otel_ml.updates import EVENT_BYTES, EVENTS, POINTS, Updates
from otel_ml.wire import line_event, weigh
from tests.support.otel_ml.recording import (
    Recording,
    attributes,
    events,
    parent_id,
    span_id,
    stable,
)
from tests.support.waiting import wait_until


def said(recording: Recording) -> dict[str, Any]:
    """Return all tags and log lines sent by updates so far."""
    updates = recording.records("update")
    tags = [item for update in updates for item in stable(update).items() if ".tag." in item[0]]
    lines = [text["otel_ml.log.message"] for update in updates for _, text in events(update)]
    return {"tags": dict(tags), "lines": lines}


def test_open_run_tells_what_it_learns(recording: Recording) -> None:
    """Tags, lines and points of an open run are sent once, while it is open."""
    with recording.client.run("training", tags={"first": 1}) as run:
        run.tag(client="acme")
        run.info("began")
        run.log_metric("loss", 1)
        wait_until(lambda: said(recording)["lines"] == ["began"])
        assert said(recording)["tags"] == {"otel_ml.tag.client": "acme"}
        run.tag(client="beta")
        wait_until(lambda: said(recording)["tags"] == {"otel_ml.tag.client": "beta"})
    span = recording.run()
    assert said(recording)["lines"] == ["began"]
    assert events(span) == []
    assert attributes(span)["otel_ml.tag.client"] == "beta"
    assert {parent_id(update) for update in recording.records("update")} == {span_id(span)}


def test_flush_sends_what_an_open_run_has_said(recording: Recording) -> None:
    """A flush sends the lines that open runs have so far, without waiting for more."""
    with recording.client.run("training") as run:
        run.info("one")
        assert said(recording)["lines"] == ["one"]
        run.info("two")
        assert said(recording)["lines"] == ["one", "two"]


def test_short_call_tells_all_at_its_end(recording: Recording) -> None:
    """A call shorter than a second sends its tags and lines with its own span."""

    @recording.client.trace
    def model() -> None:
        current_run().tag(client="acme")
        current_run().info("began")

    model()
    assert recording.records("update") == []
    assert [text["otel_ml.log.message"] for _, text in events(recording.run())] == ["began"]


def test_call_that_lasts_tells_what_it_learns(recording: Recording) -> None:
    """A call longer than a second sends its tags and lines while it runs."""
    over = threading.Event()

    @recording.client.trace
    def model() -> None:
        current_run().tag(client="acme")
        current_run().info("began")
        assert over.wait(20)
        current_run().info("ended")

    thread = threading.Thread(target=model)
    thread.start()
    wait_until(lambda: said(recording)["lines"] == ["began"])
    over.set()
    thread.join()
    assert said(recording)["lines"] == ["began", "ended"]
    assert events(recording.run()) == []


def test_many_updates_leave_the_trace(recording: Recording) -> None:
    """After 64 records about a run, further ones start their own traces and link to the run."""
    with recording.client.run("training") as run:
        for number in range(70 * EVENTS):
            run.info(str(number))
    updates = recording.records("update")
    assert len(updates) == 70
    within = [update for update in updates if update.parent is not None]
    alone = [update for update in updates if update.parent is None]
    assert (len(within), len(alone)) == (64, 6)
    assert {attributes(update)["otel_ml.target.run"] for update in alone} == {run.id}
    assert {f"{link.context.span_id:016x}" for update in alone for link in update.links} == {
        run.id.partition("-")[2]
    }
    assert [int(text) for text in said(recording)["lines"]] == list(range(70 * EVENTS))


def test_threads_lose_no_line(recording: Recording) -> None:
    """Lines that threads add at the same time are all sent, each once."""
    with recording.client.run("training") as run:

        def work(first: int) -> None:
            for number in range(first, first + 500):
                run.info(str(number))

        threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 4_000, 500)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = said(recording)["lines"]
    on_span = [text["otel_ml.log.message"] for _, text in events(recording.run())]
    assert sorted(map(int, lines + on_span)) == list(range(4_000))


@pytest.mark.parametrize(
    ("age_s", "waited_s", "due"),
    [(5, 0.3, False), (5, 0.5, True), (700, 5, False), (700, 11, True)],
)
def test_how_often_a_run_is_told_of(age_s: float, waited_s: float, due: bool) -> None:
    """A run sends updates about twice a second, and every ten seconds after ten minutes."""
    waiting, start_ns = Updates(), 10**18
    now_ns = start_ns + int(age_s * 1e9)
    waiting.take({"a": 1}, now_ns - int(waited_s * 1e9))
    assert waiting.is_due(now_ns, start_ns) is due


def test_nothing_new_is_nothing_to_send() -> None:
    """Data that was sent is not sent again."""
    waiting, tags = Updates(), dict[str, Value](a=1)
    assert len(waiting.take(tags, 1)) == 1
    assert waiting.take(tags, 2) == []
    assert waiting.take({"a": True}, 3) == []  # equal in Python


def test_records_are_bounded() -> None:
    """Data sent at once fills a record up to its limits, then further records."""
    waiting = Updates()
    waiting.add_points(make_points({"loss": list(range(POINTS + 1))}, None, "append"))
    for _ in range(EVENTS + 1):
        waiting.add_event(line_event("info", "x", 1))
    updates = waiting.take({"a": 1}, 1)
    shape = [
        (len(said.get("otel_ml.metric.names", ())), "otel_ml.tag.a" in said, len(lines))  # type: ignore[arg-type]
        for said, lines in updates
    ]
    assert shape == [(POINTS, True, 0), (1, False, EVENTS), (0, False, 1)]


def test_records_are_bounded_in_bytes() -> None:
    """Large events fill a record before it has 64 of them."""
    waiting = Updates()
    for _ in range(3):
        assert not waiting.is_full
        waiting.add_event(line_event("info", "x" * (EVENT_BYTES // 2 - 100), 1))
    assert waiting.is_full
    assert [len(events) for _, events in waiting.take({}, 1)] == [2, 1]
    assert not waiting.is_full


def test_copies_do_not_fill_a_record() -> None:
    """A logged array counts as the short event it becomes, not with the size of its copy."""
    waiting = Updates()
    copy = DeferredAttributes(dict, EVENT_BYTES)
    for _ in range(3):
        waiting.add_event(("value", copy, 1))
    assert not waiting.is_full
    [(_, events)] = waiting.take({}, 1)
    assert weigh({}, events) == 3 * EVENT_BYTES
