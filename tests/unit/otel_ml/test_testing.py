"""`testing.record`: runs in memory for a user's tests, with no effect on the client."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import otel_ml
from otel_ml import Client, Judge, testing
from otel_ml.testing import RecordedEvaluation, RecordedRun
from tests.support.otel_ml.recording import Recording, attributes, outputs


@pytest.fixture
def fresh() -> Iterator[Client]:
    """Yield a client whose endpoint does not exist."""
    client = Client("shop", endpoint="http://127.0.0.1:9")
    yield client
    client.close()


def test_run(fresh: Client) -> None:
    """A recorded call has all its data as plain values."""
    judge = Judge("length", "of the text", _length, _is_long)

    @fresh.assess(judge, name="answer", kind="tool", tags={"team": "red"}, params={"k": 3})
    def answer(question: str, options: tuple[int, ...] = (1, 2)) -> dict[str, Any]:
        run = fresh.current_run()
        run.tag(stage=1)
        run.info("asked")
        run.warning("slow")
        run.identify(session="s-1", user="ann")
        run.log_metrics({"loss": 0.5, "accuracy": 0.9})
        run.log_metrics({"loss": 0.25})
        run.log_metric("single", 1)
        return {"text": question}

    with testing.record(fresh) as records:
        answer("why")
    run = records.run
    assert _plain(run) == {
        "parent_id": None,
        "trace_id": run.id[:32],
        "name": "answer",
        "kind": "tool",
        "inputs": {"question": "why", "options": [1, 2]},
        "outputs": {"text": "why"},
        "tags": {"team": "red", "stage": 1},
        "scores": {"length": 3.0},
        "passed": {"length": False},
        "metrics": {"loss": [0.5, 0.25], "accuracy": 0.9, "single": [1.0]},
        "logs": [("info", "asked"), ("warning", "slow")],
        "outcome": "ok",
        "error_type": None,
        "error_message": None,
        "session": "s-1",
        "user": "ann",
        "params": {"k": 3},
    }
    assert run.attributes["otel_ml.project"] == "shop"


def _length(outputs: Any) -> int:
    return len(outputs["text"])


def _is_long(score: float) -> bool:
    return score > 10


def _plain(run: RecordedRun) -> dict[str, Any]:
    left_out = {"id", "latency_ms", "attributes"}
    return {name: getattr(run, name) for name in RecordedRun.__slots__ if name not in left_out}


def test_exception_passes(fresh: Client) -> None:
    """An exception in the block propagates, and the failed run is kept."""

    @fresh.trace(name="answer")
    def answer() -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"), testing.record(fresh) as records:
        answer()
    run = records.run
    assert (run.outcome, run.error_type, run.error_message) == ("error", "KeyError", "'gone'")


def test_runs_in_order(fresh: Client) -> None:
    """Runs are in the order of their start, and a child knows its parent."""

    @fresh.trace(name="search")
    def search() -> None: ...

    @fresh.trace(name="answer")
    def answer() -> None:
        search()

    with testing.record(fresh) as records:
        answer()
        assert [run.name for run in records.runs] == ["answer", "search"]
    above, below = records.runs
    assert (below.parent_id, below.trace_id, above.parent_id) == (above.id, above.trace_id, None)


def test_named(fresh: Client) -> None:
    """Runs are found by the last part of a qualified name."""

    @fresh.trace
    def answer() -> int:
        return 1

    @fresh.trace
    def other_answer() -> int:
        return 2

    with testing.record(fresh) as records:
        answer()
        other_answer()
    assert [run.outputs for run in records.named("answer")] == [1]


def test_not_one_run(fresh: Client) -> None:
    """`run` raises unless there is exactly one run, and the error lists the runs."""

    @fresh.trace(name="answer")
    def answer() -> None: ...

    with testing.record(fresh) as records:
        with pytest.raises(AssertionError, match="Expected one run, there are 0: none has ended"):
            records.run  # noqa: B018 - reading it raises
        answer()
        answer()
    with pytest.raises(AssertionError, match=r"there are 2: answer \(ok\), answer \(ok\)"):
        records.run  # noqa: B018 - reading it raises


def test_slow_judge(fresh: Client) -> None:
    """Reading records waits for slow judges."""
    proceed = threading.Event()

    def slow(outputs: int) -> otel_ml.Score:
        proceed.wait(10)
        return otel_ml.Score(outputs, "fine", "as it should be")

    @fresh.assess(Judge("slow", "waits", slow), name="answer")
    def answer() -> int:
        return 7

    with testing.record(fresh) as records:
        answer()
        threading.Timer(0.1, proceed.set).start()
        run = records.run
    assert records.evaluations == [
        RecordedEvaluation(
            run_id=run.id,
            judge="slow",
            score=7.0,
            passed=None,
            label="fine",
            explanation="as it should be",
            error=None,
            source="judge",
        )
    ]


def test_failing_judge(fresh: Client) -> None:
    """A judge that raises gives an evaluation with its error."""

    def broken(outputs: int) -> float:
        raise ValueError("no idea")

    @fresh.assess(Judge("broken", "raises", broken))
    def answer() -> int:
        return 7

    with testing.record(fresh) as records:
        answer()
    [evaluation] = records.evaluations
    assert (evaluation.score, evaluation.error) == (None, "ValueError: no idea")


def test_feedback(fresh: Client) -> None:
    """Tags, log lines and metrics sent after a run's end are included in the run."""

    @fresh.trace(name="answer")
    def answer() -> str:
        return fresh.current_run().id

    with testing.record(fresh) as records:
        about = fresh.about(run_id=answer())
        about.tag(seen=True)
        about.info("looked at")
        about.log_metrics({"clicks": 2})
    run = records.run
    assert (run.tags, run.logs, run.metrics) == (
        {"seen": True},
        [("info", "looked at")],
        {"clicks": 2.0},
    )


def test_stream_and_async(fresh: Client) -> None:
    """Streams and async calls are kept like other calls."""

    @fresh.trace(name="count")
    def count() -> Iterator[int]:
        yield from range(3)

    @fresh.trace(name="later")
    async def later() -> int:
        return 7

    with testing.record(fresh) as records:
        assert list(count()) == [0, 1, 2]
        asyncio.run(later())
    assert [run.outputs for run in records.runs] == [[0, 1, 2], 7]


def test_other_threads(fresh: Client) -> None:
    """Calls on other threads are kept."""

    @fresh.trace
    def answer(number: int) -> int:
        return number

    with testing.record(fresh) as records:
        threads = [threading.Thread(target=answer, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(run.outputs for run in records.runs) == list(range(8))


def test_opened_run(fresh: Client) -> None:
    """A run opened by hand is kept with the records about it."""
    with testing.record(fresh) as records:
        with fresh.run("fit", params={"depth": 3}) as run:
            for step in range(3):
                run.log_metrics({"loss": 1 / (step + 1)}, step=step)
        assert records.run.metrics == {"loss": [1.0, 1 / 2, 1 / 3]}
    assert (records.run.kind, records.run.params) == ("training", {"depth": 3})


def test_no_sampling(fresh: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run is kept, whatever sampler the environment sets."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")

    @fresh.trace
    def answer() -> int:
        return 7

    with testing.record(fresh) as records:
        answer()
    assert records.run.outputs == 7


def test_disabled_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are kept in the block even if OTEL_SDK_DISABLED disables the SDK."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    client = Client("shop")

    @client.trace
    def answer() -> int:
        return 7

    with testing.record(client) as records:
        answer()
    answer()
    assert records.run.outputs == 7


def test_redaction() -> None:
    """Records are redacted like data that is sent."""
    client = Client("shop")

    @client.trace
    def login(password: str) -> None: ...

    with testing.record(client) as records:
        login("open")
    assert records.run.inputs == {"password": "[redacted]"}


def test_one_block_at_a_time(fresh: Client) -> None:
    """A second block of the same client is refused; a block of another client is not."""
    refused = pytest.raises(RuntimeError, match="Already recording project 'shop'")
    with testing.record(fresh), testing.record(Client("other")), refused, testing.record(fresh):
        pytest.fail("recorded twice")
    with testing.record(fresh) as records:
        assert records.runs == []


def test_client_goes_on(client: Client, recording: Recording) -> None:
    """Before and after a block the client sends as usual, without a gap in the numbers."""

    @client.trace(name="answer")
    def answer(number: int) -> int:
        return number

    answer(1)
    with testing.record(client) as records:
        answer(2)
    answer(3)
    assert [run.outputs for run in records.runs] == [2]
    sent = recording.runs()
    first, second = (attributes(span)["otel_ml.seq"] for span in sent)
    assert ([outputs(span) for span in sent], second - first) == ([1, 3], 1)


def test_definition_is_told_after_the_block(client: Client, recording: Recording) -> None:
    """A definition first recorded in a block is still sent with the first run after the block."""

    @client.trace(name="answer")
    def answer() -> int:
        return 7

    with testing.record(client) as records:
        answer()
    answer()
    assert "otel_ml.model.definition" in records.run.attributes
    assert "otel_ml.model.definition" in attributes(recording.run())


def test_run_opened_before(client: Client, recording: Recording) -> None:
    """A run that began before the block is sent, with everything added to it in the block."""
    run = client.run("fit")
    with testing.record(client) as records:
        run.tag(stage=1)
        run.log_metrics({"loss": 0.5})
        run.end()
    assert (records.runs, len(recording.runs()), len(recording.records("update"))) == ([], 1, 1)


def test_run_that_ends_after(client: Client, recording: Recording) -> None:
    """A run that began in the block and ends after it is kept and not sent."""
    with testing.record(client) as records:
        run = client.run("fit")
    run.log_metrics({"loss": 0.5})
    run.end()
    assert (records.run.metrics, recording.spans()) == ({"loss": 0.5}, [])
