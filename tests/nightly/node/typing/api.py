"""Correct uses of the public API, in which mypy and pyright find no error. Never run."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

from typing_extensions import assert_type

import otel_ml
from otel_ml import Client, Judge
from otel_ml.reader import Evaluation, Reader, Run, Version

client = Client("shop")


def rubric(outputs: int) -> bool:
    return outputs > 0


judge = Judge("positive", "", rubric)


@client.trace
def bare(a: int, /, b: str = "", *, c: bool = False) -> float:
    return a * 1.0


@client.trace()
def called(a: int, b: str = "") -> float:
    return a * 1.0


@client.trace(name="model", kind="tool", tags={"a": 1}, params={"b": 2})
def named(*numbers: int, **more: str) -> list[str]:
    return list(more)


@client.trace
async def later(a: int) -> str:
    return str(a)


@client.trace
def stream(a: int) -> Iterator[int]:
    yield a


@client.trace
async def stream_later(a: int) -> AsyncIterator[int]:
    yield a


@client.assess(client.add_judge(judge), judge, name="assessed")
def assessed(a: int) -> int:
    return a


@otel_ml.trace
def by_default(a: int) -> int:
    return a


@otel_ml.trace(name="model")
def by_default_named(a: int) -> int:
    return a


@otel_ml.assess(judge)
def by_default_assessed(a: int) -> int:
    return a


class Shop:
    @client.trace
    def method(self, a: int) -> int:
        return a

    @classmethod
    @client.trace
    def of_class(cls, a: int) -> int:
        return a

    @staticmethod
    @client.trace
    def of_nothing(a: int) -> int:
        return a

    @property
    @client.trace
    def value(self) -> int:
        return 1


async def main() -> None:
    assert_type(bare(1, "b", c=True), float)
    assert_type(called(1, b="b"), float)
    assert_type(named(1, 2, x="y"), list[str])
    assert_type(await later(1), str)
    assert_type(stream(1), Iterator[int])
    async for number in stream_later(1):
        assert_type(number, int)
    assert_type(assessed(1), int)
    assert_type(by_default(1), int)
    assert_type(by_default_named(1), int)
    assert_type(by_default_assessed(1), int)
    assert_type(Shop().method(1), int)
    assert_type(Shop.of_class(1), int)
    assert_type(Shop.of_nothing(1), int)
    assert_type(Shop().value, int)


def threads() -> None:
    bound = otel_ml.wrap(called)
    assert_type(bound(1, b="b"), float)
    Thread(target=bound, args=(1,)).start()
    with ThreadPoolExecutor() as pool:
        assert_type(pool.submit(otel_ml.wrap(by_default), 1).result(), int)
        assert_type(list(pool.map(otel_ml.wrap(by_default), [1])), list[int])
    otel_ml.follow_threads()


def passed_on(function: Callable[[int], int]) -> Callable[[int], int]:
    return client.trace(function)


def read_back(reader: Reader) -> None:
    for run in reader.runs('model == "answer"', start="2026-11-20", limit=10, order="oldest"):
        assert_type(run, Run)
        assert_type(run.latency_ms, float | None)
        assert_type(run.evaluations, list[Evaluation])
    assert_type(reader.trace("key").runs, Sequence[Run])
    assert_type(reader.metrics("run")["loss"].values, list[float | None])
    assert_type(reader.versions("answer"), list[Version])
    assert_type(reader.feedback("thumbs", run_id="run", passed=True), str)
    assert_type(reader.feedback("churned", tag="customer=17", actual=["yes", 1]), str)
    assert_type(reader.export("parquet"), Iterator[bytes])


def miss(output: float, actual: float) -> float:
    return abs(output - actual)


profile = otel_ml.ModelProfile(
    "churn",
    "1.0.0",
    components=[
        otel_ml.InputComponent("age", path="inputs.age", dtype="FLOAT", low=0, high=120),
        otel_ml.EvalComponent("error", extractor=miss),
    ],
    scores=[otel_ml.MeanScore("mae", "error", preference="low")],
)
profile.build([{"age": 1}], [2], [3])
assert_type(profile.validate_all({"age": 1}, 2, 3), list[otel_ml.Tag])
assert_type(client.profile(profile, action="predict"), str)
