"""`otel_ml.context`: tags, session and user of the runs that start inside a block."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import otel_ml
from otel_ml import Client
from otel_ml.testing import RecordedRun, record

Start = Callable[[Callable[[], object]], object]


def facts(run: RecordedRun) -> tuple[dict[str, Any], str | None, str | None]:
    return run.tags, run.session, run.user


def in_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def in_own_thread(function: Callable[[], object]) -> None:
    class Own(threading.Thread):
        def run(self) -> None:
            function()

    thread = Own()
    thread.start()
    thread.join()


def in_timer(function: Callable[[], object]) -> None:
    thread = threading.Timer(0.0, function)
    thread.start()
    thread.join()


def in_pool(function: Callable[[], object]) -> None:
    with ThreadPoolExecutor() as pool:
        pool.submit(function).result()


def in_map(function: Callable[[], object]) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: function(), range(1)))


def in_task(function: Callable[[], object]) -> None:
    async def work() -> None:
        function()

    async def main() -> None:
        await asyncio.create_task(work())

    asyncio.run(main())


def in_executor(function: Callable[[], object]) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(None, function)

    asyncio.run(main())


def directly(function: Callable[[], object]) -> None:
    function()


@pytest.mark.parametrize(
    "start",
    [directly, in_thread, in_own_thread, in_timer, in_pool, in_map, in_task, in_executor],
)
@pytest.mark.parametrize("is_tagged", [False, True], ids=["plain", "with tags"])
def test_runs_inside_the_block(start: Start, is_tagged: bool, client: Client) -> None:
    """Runs inside the block have its tags, session and user, however the block starts them."""
    answer = client.trace(name="answer", tags={"own": 1} if is_tagged else None)(lambda: 1)
    with record(client) as calls:
        with otel_ml.context(client="acme", retries=2, session="s1", user=7):  # type: ignore[arg-type]
            start(answer)
        start(answer)
    own = {"own": 1} if is_tagged else {}
    assert [facts(run) for run in calls.runs] == [
        ({"client": "acme", "retries": 2, **own}, "s1", "7"),
        (own, None, None),
    ]


def test_threads_of_a_pool_forget(client: Client) -> None:
    """A pool thread started inside a block does not add the block's tags to later tasks."""
    answer = client.trace(name="answer")(lambda: 1)
    with record(client) as calls, ThreadPoolExecutor(1) as pool:
        with otel_ml.context(client="acme"):
            pool.submit(answer).result()
        pool.submit(answer).result()
    assert [run.tags for run in calls.runs] == [{"client": "acme"}, {}]


def test_blocks_inside_blocks(client: Client) -> None:
    """An inner block replaces tags of the outer block until it ends."""
    answer = client.trace(name="answer")(lambda: 1)
    with record(client) as calls, otel_ml.context(client="acme", app="web", session="s1"):
        with otel_ml.context(client="bigco", user="ada"):
            answer()
        answer()
    assert [facts(run) for run in calls.runs] == [
        ({"client": "bigco", "app": "web"}, "s1", "ada"),
        ({"client": "acme", "app": "web"}, "s1", None),
    ]


def test_what_a_run_sets_itself_counts(client: Client) -> None:
    """Tags, session and user of the run itself take precedence."""

    @client.trace(name="answer")
    def answer() -> None:
        otel_ml.current_run().tag(client="own")

    with record(client) as calls, otel_ml.context(client="acme", session="s1"):
        answer()
        client.run("training", tags={"client": "own"}, session="s2").end()
    assert [(run.tags, run.session) for run in calls.runs] == [
        ({"client": "own"}, "s1"),
        ({"client": "own"}, "s2"),
    ]


def test_a_session_of_the_run_around(client: Client) -> None:
    """A run inside a run with a session records no session, unless a nearer block sets one."""
    answer = client.trace(name="answer")(lambda: 1)
    around = otel_ml.context(client="acme", session="s1")
    with record(client) as calls, around, client.run("talk", session="s2"):
        answer()
        with otel_ml.context(session="s3"):
            answer()
    assert [(run.name, run.tags, run.session) for run in calls.runs] == [
        ("talk", {"client": "acme"}, "s2"),
        ("answer", {"client": "acme"}, None),
        ("answer", {"client": "acme"}, "s3"),
    ]


def test_secrets_are_hidden(client: Client) -> None:
    """A tag with a secret name is redacted."""
    answer = client.trace(name="answer")(lambda: 1)
    with record(client) as calls, otel_ml.context(api_key="sk-1"):
        answer()
        client.run("training").end()
    assert [run.tags for run in calls.runs] == [{"api_key": "[redacted]"}] * 2


def test_an_error_ends_the_block(client: Client) -> None:
    """An error leaves the block and ends it: later runs have none of its tags."""
    answer = client.trace(name="answer")(lambda: 1)
    with record(client) as calls:
        with pytest.raises(KeyError), otel_ml.context(client="acme"):
            raise KeyError("ours")
        answer()
    assert calls.run.tags == {}


def test_a_thread_keeps_its_own_run(client: Client) -> None:
    """A thread started inside a block has no extra attribute while it runs."""
    seen: list[bool] = []
    with otel_ml.context(client="acme"):
        thread = threading.Thread(target=lambda: seen.append("run" in vars(thread)))
        thread.start()
        thread.join()
    assert seen == [False]
