"""Evaluating a function on a data set: calls, recorded runs, scores, errors and interruption."""

import asyncio
import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, TraceIdRatioBased

from otel_ml import Client, Dataset, Judge, LLMJudge, Score, current_run
from otel_ml.experiments.dataset import Item
from otel_ml.experiments.result import Result
from otel_ml.judges.ready import close, contains, exact, f1_words, is_json, matches
from tests.support.otel_ml.recording import Recording, attributes
from tests.support.waiting import async_wait_until, elapsed, run_other_tasks

SUMS = Dataset(
    "sums",
    [
        {"inputs": {"a": 1, "b": 2}, "expected": 3, "id": "one", "tags": {"size": "small"}},
        {"inputs": {"a": 10, "b": 20}, "expected": 30, "id": "two"},
        {"inputs": {"a": 0, "b": 0}, "expected": 1, "id": "wrong"},
    ],
)
WHERE = ContextVar("where", default="nowhere")


def add(a: int, b: int) -> int:
    return a + b


async def add_later(a: int, b: int) -> int:
    await run_other_tasks()
    return a + b


@pytest.fixture
def recording() -> Recording:
    return Recording(join=False)


def items(recording: Recording) -> list[dict[str, Any]]:
    """Return the attributes of the item runs, sorted by item and repeat."""
    found = [
        attributes(run) for run in recording.runs() if "otel_ml.item.id" in (run.attributes or {})
    ]
    return sorted(found, key=lambda said: (said["otel_ml.item.id"], said["otel_ml.item.repeat"]))


WAYS: dict[str, Callable[..., Result]] = {
    "here": lambda client, *args, **more: client.evaluate(add, *args, **more),
    "on threads": lambda client, *args, **more: client.evaluate(add, *args, concurrency=3, **more),
    "async": lambda client, *args, **more: client.evaluate(add_later, *args, concurrency=3, **more),
    "on a loop": lambda client, *args, **more: asyncio.run(
        client.aevaluate(add_later, *args, concurrency=3, **more)
    ),
    "threads of a loop": lambda client, *args, **more: asyncio.run(
        client.aevaluate(add, *args, concurrency=3, **more)
    ),
}


@pytest.mark.parametrize("way", [*WAYS])
def test_every_way_gives_the_same(recording: Recording, way: str) -> None:
    """Calls in sequence, on threads and on a loop produce the same rows, in data set order."""
    result = WAYS[way](recording.client, SUMS, [exact], repeats=2)
    assert [(run.item, run.repeat, run.outputs, run.passed) for run in result.runs] == [
        ("one", 0, 3, True),
        ("one", 1, 3, True),
        ("two", 0, 30, True),
        ("two", 1, 30, True),
        ("wrong", 0, 0, False),
        ("wrong", 1, 0, False),
    ]
    assert (result.errors, result.flaky, result.is_interrupted) == (0, [], False)
    name = "add" if way in {"here", "on threads", "threads of a loop"} else "add_later"
    assert result.experiment.name == f"{name} on sums"


@pytest.mark.parametrize("way", [*WAYS])
def test_each_item_has_one_root_run(recording: Recording, way: str) -> None:
    """Each item run is the root of its own trace, names its item, and links to the experiment."""
    result = WAYS[way](recording.client, SUMS, [exact], repeats=2, name="sums of today")
    runs = recording.runs()
    [experiment] = [run for run in runs if attributes(run)["otel_ml.kind"] == "experiment"]
    over = [run for run in runs if run is not experiment]
    assert len({run.context.trace_id for run in over if run.context}) == 6
    assert all(run.parent is None for run in over)
    assert all([link.context for link in run.links] == [experiment.context] for run in over)
    said = items(recording)[0]
    del said["otel_ml.judges"]
    assert {
        key: said[key]
        for key in said
        if key.startswith(
            ("otel_ml.e", "otel_ml.i", "otel_ml.s", "otel_ml.tag", "otel_ml.p", "test")
        )
    } == {
        "otel_ml.experiment": result.experiment.id,
        "otel_ml.experiment.dataset": "sums",
        "otel_ml.item.id": "one",
        "otel_ml.item.digest": SUMS["one"].digest,
        "otel_ml.item.repeat": 0,
        "otel_ml.inputs": '{"a":1,"b":2}',
        "otel_ml.process": said["otel_ml.process"],
        "otel_ml.project": "shop",
        "otel_ml.seq": said["otel_ml.seq"],
        "otel_ml.score.exact": 1.0,
        "otel_ml.passed.exact": True,
        "otel_ml.tag.size": "small",
        "test.suite.name": "sums of today",
        "test.case.name": "one",
        "test.case.result.status": "pass",
    }
    assert items(recording)[-1]["test.case.result.status"] == "fail"


def test_the_experiment_is_a_run_that_opens_at_once(recording: Recording) -> None:
    """The start record of the experiment is sent before the first call, with all details."""
    seen: list[int] = []

    def look(a: int, b: int) -> int:
        seen.append(len(recording.records("start")))
        return a + b

    result = recording.client.evaluate(look, SUMS, [exact], limit=2, tags={"who": "ann"})
    assert seen[0] == 1
    told = attributes(recording.records("start")[0])
    [run] = [
        one for one in map(attributes, recording.runs()) if one["otel_ml.kind"] == "experiment"
    ]
    for said in (told, run):
        assert {
            key.removeprefix("otel_ml.experiment."): said[key]
            for key in said
            if key.startswith("otel_ml.experiment")
        } == {
            "name": result.experiment.name,
            "dataset": "sums",
            "dataset.version": SUMS.digest,
            "items": 2,
            "repeats": 1,
            "source": result.experiment.source,
        }
        assert said["otel_ml.model.name"] == result.experiment.name
    assert (run["otel_ml.outcome"], run["otel_ml.tag.who"]) == ("ok", "ann")


@pytest.mark.parametrize("inner", [True, False])
def test_a_traced_function_has_no_second_run(recording: Recording, inner: bool) -> None:
    """A decorated function has one run per item, with the attributes of its decorator."""
    client = recording.client

    @client.trace(name="adder", tags={"team": "a"}, kind="chain")
    def traced(a: int, b: int) -> int:
        return a + b

    def plain(a: int, b: int) -> int:
        return traced(a, b)

    result = client.evaluate(plain if inner else traced, SUMS, [exact])
    runs = recording.runs()
    roots = [run for run in runs if run.parent is None and "otel_ml.item.id" in attributes(run)]
    assert len(roots) == 3
    assert len(runs) == (7 if inner else 4)
    if not inner:
        assert {attributes(run)["otel_ml.kind"] for run in roots} == {"chain"}
        assert attributes(roots[0])["otel_ml.tag.team"] == "a"
        assert result.experiment.function == "adder"
    below = [run for run in runs if run.parent is not None]
    assert all(attributes(run)["otel_ml.experiment"] == result.experiment.id for run in below)


def test_judges_of_a_decorator_are_not_asked(recording: Recording) -> None:
    """Judges that assess adds to a function score production runs, not experiments."""
    asked: list[int] = []

    def look(outputs: int) -> float:
        asked.append(outputs)
        return 1.0

    watch = Judge("watch", "", look)
    recording.client.evaluate(recording.client.assess(watch)(add), SUMS, [exact])
    assert asked == []


@pytest.mark.parametrize(
    ("function", "row", "expected"),
    [
        (lambda a, b: [a, b], {"a": 1, "b": 2}, [1, 2]),
        (lambda row: row, {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        (lambda a: a, {"a": 1}, 1),
        (lambda a: a, {"b": 1}, {"b": 1}),
        (lambda **rest: rest, {"b": 1}, {"b": 1}),
        (lambda a, b=5: [a, b], {"a": 1}, [1, 5]),
        (str.upper, "text", "TEXT"),
        (lambda row: row[0] + row[1], [1, 2], 3),
        (max, [1, 2], 2),
    ],
)
def test_how_the_function_is_called(
    recording: Recording, function: Callable[..., Any], row: Any, expected: Any
) -> None:
    """Inputs are passed by name; a single parameter with another name receives all of them."""
    [run] = recording.client.evaluate(function, [{"inputs": row}]).runs
    assert (run.outputs, run.error) == (expected, "")


def test_inputs_are_whole_again_for_each_repeat(recording: Recording) -> None:
    """A function that changes its inputs changes neither the item nor the next repeat."""

    def drain(words: list[str]) -> int:
        count = len(words)
        words.clear()
        return count

    result = recording.client.evaluate(drain, [{"inputs": {"words": ["a", "b"]}}], repeats=3)
    assert [run.outputs for run in result.runs] == [2, 2, 2]


def test_streams_are_joined(recording: Recording) -> None:
    """The chunks of a generator are joined into one text."""

    def spell(word: str) -> Iterator[str]:
        yield from word

    async def spell_later(word: str) -> Any:
        for letter in word:
            yield letter

    rows = [{"inputs": {"word": "ab"}}]
    for function in (spell, spell_later):
        assert recording.client.evaluate(function, rows).runs[0].outputs == "ab"


def fail_on_two(a: int, b: int) -> int:
    if a == 10:
        raise KeyError("ten")
    return a + b


@pytest.mark.parametrize("concurrency", [1, 3])
def test_errors_are_rows(recording: Recording, concurrency: int) -> None:
    """A call that raises becomes a failed row with its run and the traceback."""
    result = recording.client.evaluate(fail_on_two, SUMS, [exact], concurrency=concurrency)
    [failed] = [run for run in result.runs if run.outcome == "error"]
    assert (failed.item, failed.error, failed.passed) == ("two", "KeyError: 'ten'", False)
    assert (result.errors, len(result.runs)) == (1, 3)
    assert "in fail_on_two" in result.first_errors["KeyError"]
    said = items(recording)[1]
    assert (said["otel_ml.outcome"], said["test.case.result.status"]) == ("error", "fail")
    assert failed.run_id.startswith(result.runs[1].run_id[:32])


@pytest.mark.parametrize("leaves", [SystemExit(3), KeyboardInterrupt("of its own")])
def test_exits_on_threads_are_rows(recording: Recording, leaves: BaseException) -> None:
    """SystemExit or KeyboardInterrupt raised by a function on a thread is the error of its row."""

    def leave(a: int, b: int) -> int:
        raise leaves

    result = recording.client.evaluate(leave, SUMS, [exact], concurrency=2)
    assert (result.errors, result.is_interrupted) == (3, False)


def test_slow_calls_are_errors(recording: Recording) -> None:
    """A call that exceeds the timeout is an error, even if it never ends; the others continue."""
    hang = threading.Event()

    def slow(a: int, b: int) -> int:
        if a == 10:
            hang.wait(60)
        return a + b

    began = time.monotonic()
    result = recording.client.evaluate(slow, SUMS, [exact], timeout_s=0.3)
    assert time.monotonic() - began < 20
    hang.set()
    assert [run.error for run in result.runs] == ["", "TimeoutError: timed out after 0.3 s", ""]
    assert [said["otel_ml.outcome"] for said in items(recording)] == ["ok", "error", "ok"]


def test_slow_async_calls_are_errors(recording: Recording) -> None:
    """An async call that exceeds the timeout is an error, even if it resists cancellation."""

    async def slow(a: int, b: int) -> int:
        if a == 10:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await async_wait_until(elapsed(1))
        return a + b

    result = recording.client.evaluate(slow, SUMS, [exact], timeout_s=0.3)
    assert [run.error for run in result.runs] == ["", "TimeoutError: timed out after 0.3 s", ""]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt, even if the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("way", ["here", "on threads", "async"])
def test_interruption_keeps_what_is_done(recording: Recording, way: str) -> None:
    """Ctrl-C ends an experiment and keeps the finished rows; its run is recorded as cancelled."""
    asked, over = 0, threading.Event()

    def interrupt(a: int, b: int) -> int:
        nonlocal asked
        asked += 1
        if asked == 3:
            signal.raise_signal(signal.SIGINT) if way != "on threads" else signal.pthread_kill(
                threading.main_thread().ident or 0, signal.SIGINT
            )
        if asked >= 3 and way == "on threads":
            assert over.wait(60)
        return a + b

    async def interrupt_later(a: int, b: int) -> int:
        await run_other_tasks()
        return interrupt(a, b)

    function = interrupt_later if way == "async" else interrupt
    concurrency = 2 if way == "on threads" else 1
    rows = [{"inputs": {"a": number, "b": 0}} for number in range(20)]
    result = recording.client.evaluate(function, rows, [exact], concurrency=concurrency)
    over.set()
    assert result.is_interrupted
    assert 1 <= len(result.runs) < 20
    assert "interrupted" in str(result)
    [run] = [
        one for one in map(attributes, recording.runs()) if one["otel_ml.kind"] == "experiment"
    ]
    assert run["otel_ml.outcome"] == "cancelled"


def test_evaluate_is_refused_on_a_loop(recording: Recording) -> None:
    """On a running loop, evaluate raises an error that names aevaluate."""

    async def program() -> None:
        recording.client.evaluate(add_later, SUMS)

    with pytest.raises(RuntimeError, match=r"use await aevaluate\(\.\.\.\)"):
        asyncio.run(program())


def test_cancelled_aevaluate_is_cancelled(recording: Recording) -> None:
    """Cancelling aevaluate cancels the task and records its run as cancelled."""

    async def program() -> None:
        entered = asyncio.Event()

        async def wait(a: int, b: int) -> int:
            entered.set()
            await asyncio.Event().wait()
            return a

        task = asyncio.ensure_future(recording.client.aevaluate(wait, SUMS))
        await asyncio.wait_for(entered.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(program())
    [run] = [
        one for one in map(attributes, recording.runs()) if one["otel_ml.kind"] == "experiment"
    ]
    assert run["otel_ml.outcome"] == "cancelled"


@pytest.mark.parametrize("concurrency", [1, 2])
def test_calls_see_the_callers_variables(recording: Recording, concurrency: int) -> None:
    """A call sees the caller's context variables, and its own changes do not leak out."""

    def look(a: int, b: int) -> str:
        found = WHERE.get()
        WHERE.set("inside")
        return found

    token = WHERE.set("outside")
    try:
        result = recording.client.evaluate(look, SUMS, concurrency=concurrency)
        assert {run.outputs for run in result.runs} == {"outside"}
        assert WHERE.get() == "outside"
    finally:
        WHERE.reset(token)
    assert not current_run().is_recorded


def test_judges_name_what_they_want(recording: Recording) -> None:
    """A judge may request outputs, inputs, a single input, the expected value and the item."""
    seen: dict[str, Any] = {}

    def look(outputs: int, inputs: dict[str, int], a: int, expected: int, item: Item) -> Score:
        seen.update(outputs=outputs, inputs=inputs, a=a, expected=expected, item=item)
        return Score(0.5, "half", "because", cost=0.25)

    judged = recording.client.evaluate(add, SUMS, [look], limit=1).runs[0]
    item = SUMS[judged.item]
    assert seen == {
        "outputs": sum(item.inputs.values()),
        "inputs": item.inputs,
        "a": item.inputs["a"],
        "expected": item.expected,
        "item": item,
    }
    said = judged.judgements["look"]
    assert (said.score, said.label, said.explanation, said.cost) == (0.5, "half", "because", 0.25)
    assert judged.passed is None


def test_a_judge_that_raises_loses_no_row(recording: Recording) -> None:
    """A judge that raises on one row has an error on that row and scores on all others."""

    def picky(outputs: int, expected: int) -> bool:
        if outputs == 30:
            raise ValueError("thirty")
        return outputs == expected

    result = recording.client.evaluate(add, SUMS, [picky, exact])
    assert [run.judgements["picky"].error for run in result.runs] == [
        None,
        "ValueError: thirty",
        None,
    ]
    assert [run.judgements["exact"].score for run in result.runs] == [1, 1, 0]
    note = "picky raised an error on 1 run: no score there. The first error: ValueError: thirty"
    assert note in str(result)


def test_async_judges_of_sync_functions(recording: Recording) -> None:
    """An async judge works with sync and async functions."""

    async def later(outputs: int, expected: int) -> bool:
        await run_other_tasks()
        return outputs == expected

    for way in WAYS.values():
        result = way(recording.client, SUMS, [later])
        assert [run.passed for run in result.runs] == [True, True, False]


def test_what_a_judge_calls_is_the_judges(recording: Recording) -> None:
    """Traced calls of a judge are marked with the judge and the experiment."""
    inner = recording.client.trace(name="inner")(lambda outputs: outputs)
    result = recording.client.evaluate(
        add, SUMS, [Judge("asks", "", lambda outputs: inner(outputs) + 0)], limit=1
    )
    [called] = [
        one for one in map(attributes, recording.runs()) if one["otel_ml.model.name"] == "inner"
    ]
    assert called["otel_ml.judging"] == "asks"
    assert called["otel_ml.judging.run"] == result.runs[0].run_id
    assert called["otel_ml.experiment"] == result.experiment.id


def test_llm_judges_are_told_what_is_expected(recording: Recording) -> None:
    """The prompt of an LLM judge contains the expected value."""
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return '{"score": 1, "explanation": "yes"}'

    rows = [{"inputs": {"a": 1, "b": 2}, "expected": "a very special sum"}]
    recording.client.evaluate(add, rows, [LLMJudge("same", "Is it the same?", ask)])
    assert '"a very special sum"' in prompts[0]


def longer(outputs: str, baseline: str) -> int:
    return (len(outputs) > len(baseline)) - (len(outputs) < len(baseline))


def test_pairwise_judges_ask_in_both_orders(recording: Recording) -> None:
    """A pairwise judge compares with the baseline; contradictory answers are a tie."""
    rows = Dataset("words", [{"inputs": {"word": word}, "id": word} for word in ("a", "bb", "new")])
    before = recording.client.evaluate(lambda word: word, Dataset("words", rows.items[:2]))
    first = Judge("first", "", lambda outputs, baseline: 1, pairwise=True)
    long = Judge("long", "", longer, pairwise=True)
    result = recording.client.evaluate(lambda word: word * 2, rows, [long, first], baseline=before)
    said = result.runs[0].judgements
    assert (said["long"].score, said["long"].label) == (1.0, None)
    assert (said["first"].score, said["first"].label) == (0.0, "order")
    assert said["long"].against == before.runs[0].run_id
    assert result.runs[2].judgements == {}
    sent = [attributes(one) for one in recording.records("evaluation")]
    assert {one["otel_ml.judge.against"] for one in sent} == {run.run_id for run in before.runs}


def test_pairwise_judges_judge_no_production(recording: Recording) -> None:
    """A pairwise judge is refused for production runs, which have no baseline."""
    with pytest.raises(
        ValueError, match=r"^Invalid judge 'long': expected a judge that is not pairwise"
    ):
        recording.client.assess(Judge("long", "", longer, pairwise=True))


def test_a_judge_of_which_less_is_better_says_so(recording: Recording) -> None:
    """A judge's record contains ``lower_is_better``.

    The verdict of the experiment is inverted unless the judge decides passes.
    """

    def distance(outputs: int, expected: int) -> float:
        return abs(outputs - expected)

    turned, plain = Judge("far", "", distance, lower_is_better=True), Judge("near", "", distance)
    passing = Judge("some", "", distance, lambda score: score < 1, lower_is_better=True)
    judges = [turned, plain, passing]
    before = recording.client.evaluate(add, SUMS, judges)
    result = recording.client.evaluate(add, SUMS, judges, baseline=before)
    told = {
        said["otel_ml.target.model"]: json.loads(said["otel_ml.model.definition"])
        for said in map(attributes, recording.records("update"))
        if said.get("otel_ml.target.kind") == "judge"
    }
    assert {name: one.get("lower_is_better") for name, one in told.items()} == {
        "far": True,
        "near": None,
        "some": True,
    }
    assert result.comparison is not None
    compared = result.comparison.judges.items()
    assert [name for name, one in compared if one.lower_is_better] == ["far"]


def test_odd_answer_of_a_pairwise_judge_is_its_error(recording: Recording) -> None:
    """Any answer of a pairwise judge except 1, 0 and -1 is an error of the judge."""
    half = Judge("half", "", lambda outputs, baseline: 0.5, pairwise=True)
    before = recording.client.evaluate(add, SUMS, limit=1)
    result = recording.client.evaluate(add, SUMS, [half], limit=1, baseline=before)
    assert "expected 1, 0 or -1" in str(result.runs[0].judgements["half"].error)


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, TraceIdRatioBased(0.0)])
def test_nothing_is_sampled_out(sampler: Any) -> None:
    """All runs of an experiment are recorded, even if the service's provider samples nothing."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    client = Client("shop", tracer_provider=provider)
    inner = client.trace(name="inner")(lambda a: a)
    client.evaluate(lambda a, b: inner(a) + b, SUMS, [exact], concurrency=2)
    inner(5)
    found = [attributes(span) for span in exporter.get_finished_spans()]
    runs = [one.get("otel_ml.kind") for one in found if "otel_ml.record" not in one]
    assert sorted(map(str, runs)) == ["experiment", *["model"] * 6]
    assert sum(one.get("otel_ml.record") == "item" for one in found) == 3


def test_spans_of_others_are_marked() -> None:
    """Spans that other instrumentations record in an item run are marked with the experiment."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    client = Client("shop", tracer_provider=provider)
    tracer = provider.get_tracer("theirs")

    def call(a: int, b: int) -> int:
        with tracer.start_as_current_span("request"):
            return a + b

    result = client.evaluate(call, SUMS, concurrency=2)
    call(1, 2)
    theirs = [span for span in exporter.get_finished_spans() if span.name == "request"]
    assert [attributes(span).get("otel_ml.experiment") for span in theirs] == [
        *[result.experiment.id] * 3,
        None,
    ]


def test_without_recording_it_works_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """With recording disabled, the result is the same but has no ids."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    client = Client("shop")
    result = client.evaluate(add, SUMS, [exact], concurrency=2)
    assert client.stats().sequence == 0
    assert [(run.passed, run.run_id) for run in result.runs] == [
        (True, ""),
        (True, ""),
        (False, ""),
    ]
    assert (result.experiment.id, result.url) == ("", "")


def test_limit_and_sample_choose_the_same_items(recording: Recording) -> None:
    """A limit and a sample select the same items each time."""
    rows = Dataset("many", [{"inputs": {"a": number, "b": 0}} for number in range(50)])
    few = [run.item for run in recording.client.evaluate(add, rows, limit=5).runs]
    assert few == [run.item for run in recording.client.evaluate(add, rows, sample=0.1).runs]
    assert len(few) == 5


def test_flaky_items_are_named(recording: Recording) -> None:
    """An item whose repeats have different results is flaky."""
    asked = 0

    def sometimes(a: int, b: int) -> int:
        nonlocal asked
        asked += 1
        return a + b + (asked == 2)

    result = recording.client.evaluate(sometimes, SUMS, [exact], repeats=2)
    assert len(result.flaky) == 1


def test_tuples_are_shown_as_in_python(recording: Recording) -> None:
    """Reports and regressions show values that JSON lacks, not the references of stored ones."""
    is_positive = Judge("positive", "", lambda outputs: outputs[0] > 0)
    rows = [{"inputs": {"n": n, "at": (n,)}, "id": str(n)} for n in range(1, 4)]
    before = recording.client.evaluate(lambda n, at: (n, "a"), rows, [is_positive])
    result = recording.client.evaluate(
        lambda n, at: (-n, "a"), rows, [is_positive], baseline=before
    )
    assert len(result.regressions) == 3
    shown = (result.to_markdown().replace("\\", ""), str(result), result.to_json())
    assert [text for text in shown if "sha256" in text] == []
    assert '(1, "a") → (-1, "a")' in shown[1]
    assert {'(-2, "a")', '(2, "a")'} <= set(re.findall(r'\(-?2, "a"\)', shown[0]))
    [told] = [one for one in json.loads(shown[2])["regressions"] if one["item"] == "2"]
    assert told["outputs"] == '(-2, "a")'
    assert told["inputs"] == '{"n": 2, "at": (2,)}'


def test_saved_results_come_back(recording: Recording, tmp_path: Any) -> None:
    """A result that is saved and read again is equal, including typed values."""
    result = recording.client.evaluate(
        lambda a, b: {"sum": a + b, "pair": (a, b)}, SUMS, [is_json], repeats=2
    )
    result.save(tmp_path / "baseline.jsonl")
    found = Result.read(tmp_path / "baseline.jsonl")
    assert (found.experiment, found.runs) == (result.experiment, result.runs)


def test_no_such_file_as_a_baseline(recording: Recording, tmp_path: Any) -> None:
    """A baseline file that is missing or is not a saved result is refused."""
    (tmp_path / "odd.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(
        ValueError, match=r"^Invalid baseline .*: expected a file that Result\.save"
    ):
        recording.client.evaluate(add, SUMS, baseline=tmp_path / "odd.jsonl")
    with pytest.raises(ValueError, match=r"^Invalid baseline .*: expected a result, a file"):
        recording.client.evaluate(add, SUMS, baseline=str(tmp_path / "none.jsonl"))


def test_the_source_counts_the_whole_package(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source digest depends on each loaded file of the function's package."""
    from importlib import import_module, reload

    from otel_ml.experiments.experiment import source_digest

    folder = tmp_path / "answering"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "words.py").write_text("WORDS = {'a': 1}\n")
    (folder / "app.py").write_text(
        "from answering import words\n\ndef answer(q): return words.WORDS[q]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    app: Any = import_module("answering.app")
    before = source_digest(app.answer)
    assert before == source_digest(app.answer) != ""
    (folder / "words.py").write_text("WORDS = {'a': 2}\n")
    reload(import_module("answering.words"))
    assert source_digest(app.answer) != before
    assert source_digest(eval("lambda: 1", {"__name__": "nowhere"})) == ""  # noqa: S307 - its own text


@pytest.mark.parametrize(
    ("judge", "outputs", "expected", "score"),
    [
        (exact, [1, (2, 3)], [1, [2, 3]], 1),
        (exact, "a", "b", 0),
        (exact, "a", None, None),
        (contains, "abc", "b", 1),
        (contains, "abc", ["a", "z"], 0),
        (contains, ["a", "b"], "a", 1),
        (matches, "order 66", r"\d+", 1),
        (matches, "order", r"\d+", 0),
        (is_json, '{"a": 1}', None, 1),
        (is_json, "{a: 1}", None, 0),
        (is_json, {"a": 1}, None, 1),
        (close(abs=0.5), 1.4, 1.0, 1),
        (close(rel=0.1), [1.0, 2.3], [1.0, 2.0], 0),
        (close(rel=0.1), {"a": 1.05}, {"a": 1.0}, 1),
        (close(), "a", 1.0, None),
        (f1_words, "the cat sat", "The cat", 0.8),
        (f1_words, "dog", ["a cat", "the dog"], 2 / 3),
        (f1_words, "", "", 1),
    ],
)
def test_ready_judges(
    recording: Recording,
    judge: Callable[..., Any],
    outputs: Any,
    expected: Any,
    score: float | None,
) -> None:
    """Each built-in judge returns its documented score; an expected None means that it fails."""
    rows = [{"inputs": {"value": outputs}, "expected": expected}]
    [run] = recording.client.evaluate(lambda value: value, rows, [judge]).runs
    said = run.judgements[judge.__name__]
    assert said.score == (None if score is None else pytest.approx(score))
    assert (said.error is not None) == (score is None)


def test_parameters_of_a_ready_judge_are_its_version() -> None:
    """The tolerance of `close` is part of the judge's version."""
    from otel_ml.judges.ready import as_judge

    versions = [as_judge(close(rel=rel)).version for rel in (0.1, 0.1, 0.2)]
    assert versions[0] == versions[1] != versions[2]


LISTS = Dataset("lists", [{"inputs": {"l": [3, 1, 2]}, "expected": [1, 2, 3], "id": "one"}])


def change_everything(outputs: list[int], inputs: Any, expected: list[int], item: Item) -> float:
    for changed in (outputs, inputs["l"], expected, item.inputs["l"], item.expected):
        changed.clear()
    item.tags.clear()  # type: ignore[attr-defined]  # it is a dict
    return 1.0


@pytest.mark.parametrize("concurrency", [1, 2])
def test_judges_are_isolated(recording: Recording, concurrency: int) -> None:
    """Changes that a judge makes affect neither other judges nor repeats nor the recorded run."""
    result = recording.client.evaluate(
        lambda l: [*sorted(l)],  # noqa: E741 - the input's name
        LISTS,
        [Judge("changing", "", change_everything), exact],
        repeats=3,
        concurrency=concurrency,
    )
    assert [run.judgements["exact"].passed for run in result.runs] == [True] * 3
    assert [(run.inputs, run.outputs) for run in result.runs] == [({"l": [3, 1, 2]}, [1, 2, 3])] * 3
    assert {said["otel_ml.outputs"] for said in items(recording)} == {"[1,2,3]"}


def test_an_infinite_score_is_an_error(recording: Recording) -> None:
    """An infinite score is an error of the judge, and the mean excludes that item."""
    loss = Judge("loss", "", lambda outputs: float("inf") if outputs == 3 else 1.0)
    result = recording.client.evaluate(add, SUMS, [loss])
    value = result.judges["loss"].value
    assert value is not None
    assert (value.value, value.n, result.judges["loss"].failed) == (1.0, 2, 1)
    [run, *_] = items(recording)
    assert "otel_ml.score.loss" not in run
    assert "returned inf: expected a finite number" in run["otel_ml.judges"]


@pytest.mark.parametrize("name", ["c", "baseline", "question"])
def test_what_nobody_passes_is_refused(recording: Recording, name: str) -> None:
    """A judge that requires an unavailable parameter is refused before anything is called."""
    namespace = {
        "c": lambda c: 1.0,
        "baseline": lambda baseline: 1.0,
        "question": lambda question: 1,
    }
    judge = Judge("odd", "", namespace[name])
    message = f"judge 'odd' with the parameter '{name}', which has no value: expected 'outputs', "
    with pytest.raises(ValueError, match=message):
        recording.client.evaluate(add, SUMS, [judge])
    with pytest.raises(ValueError, match=message):
        recording.client.assess(judge)(add)
    assert recording.runs() == []


def test_what_somebody_passes_is_taken(recording: Recording) -> None:
    """A judge may take inputs by name, values of an experiment, defaults and unknown keywords."""
    takes = [
        Judge("input", "", lambda a: 1.0),
        Judge("expected", "", lambda expected, item: 1.0),
        Judge("default", "", lambda outputs, other=1: 1.0),
        Judge("packed", "", lambda *args, **more: 1.0),
    ]
    assert recording.client.assess(*takes)(add)(1, 2) == 3
    assert recording.client.assess(Judge("any", "", lambda x: 1.0))(lambda **given: 1)(x=2) == 1
    result = recording.client.evaluate(add, SUMS, takes)
    assert {judge.value.value for judge in result.judges.values() if judge.value} == {1.0}


def test_options_of_no_judge_are_refused(recording: Recording) -> None:
    """An option for an unknown judge raises an error that suggests a similar name."""
    with pytest.raises(
        ValueError,
        match=r"^Invalid margin 'exat': expected one of the judges exact; did you mean exact\?$",
    ):
        recording.client.evaluate(add, SUMS, [exact], margin={"exat": 0.1})
    with pytest.raises(ValueError, match=r"^Invalid lower_is_better 'x': expected no name without"):
        recording.client.evaluate(add, SUMS, lower_is_better=["x"])
