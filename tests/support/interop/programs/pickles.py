"""Traced functions of a script that other processes run: each library that pickles them by value.

The arguments name the libraries. Each answers which functions returned what the bare ones return,
in a process that has no client. The runs go to ``OTEL_ML_ENDPOINT``.
"""

import asyncio
import base64
import functools
import inspect
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from typing import Any

import otel_ml
from otel_ml import Client, Judge, flush
from otel_ml import run as open_run
from tests.support.interop.programs.describe import answer

Call = Callable[[Callable[[], Any]], Any]

LOCK = threading.Lock()
TURNS = (turn for turn in range(9))
client = Client("pickles", redact=lambda text: text.replace("hidden", "***"))


def judge_same(outputs: int) -> float:
    return float(outputs == 2)


def judge_in_turn(outputs: int) -> float:
    return float(next(TURNS) + outputs)


@otel_ml.trace
def plain(x: int) -> int:
    return x + 1


@client.trace(tags={"lock": LOCK}, params={"lock": LOCK})
async def coroutine(x: int) -> int:
    return x + 1


@client.trace
def stream(x: int) -> Iterator[int]:
    yield x + 1


@client.trace
async def async_stream(x: int) -> AsyncIterator[int]:
    yield x + 1


class Model:
    def __init__(self, weight: int) -> None:
        self.weight = weight

    def __call__(self, x: int) -> int:
        return x + self.weight

    @client.trace
    def predict(self, x: int) -> int:
        return x + self.weight

    @staticmethod
    @client.trace
    def static(x: int) -> int:
        return x + 1

    @classmethod
    @client.trace
    def of_class(cls, x: int) -> int:
        return cls(1).weight + x


@client.assess(Judge("same", "", judge_same))
def assessed(x: int) -> int:
    return x + 1


# no library can pickle the generator that the judge uses, so the judge stays behind
@client.assess(Judge("turns", "", judge_in_turn))
def assessed_in_turn(x: int) -> int:
    return x + 1


@client.trace
def factorial(n: int) -> int:
    return 1 if n <= 1 else n * factorial(n - 1)


def add(a: int, b: int) -> int:
    return a + b


anonymous = client.trace(lambda x: x + 1)
partial = client.trace(functools.partial(add, 1))
model = client.trace(Model(1))
chat = client.trace(kind="chat", provider="openai", model="gpt-4o")(lambda x: str(x + 1))


def calls_one(x: int) -> int:
    return plain(x)


def uses_the_client(x: int) -> int:
    with client.run("by hand") as run:
        run.tag(word="hidden")
    return x + 1


def uses_the_default_client(x: int) -> int:
    with open_run("by hand"):
        return x + 1


async def _first(chunks: AsyncIterator[int]) -> int:
    chunk, *_ = [chunk async for chunk in chunks]
    return chunk


def read(value: Any) -> Any:
    """Return the result of a coroutine, the first chunk of a stream, or any other value."""
    if inspect.iscoroutine(value):
        return asyncio.run(value)
    if hasattr(value, "__aiter__"):
        return asyncio.run(_first(value))
    return next(value) if inspect.isgenerator(value) else value


FUNCTIONS: dict[str, Callable[[int], Any]] = {
    "plain": plain,
    "bare": plain.__wrapped__,  # type: ignore[attr-defined]  # as functools.wraps sets it
    "coroutine": coroutine,
    "stream": stream,
    "async stream": async_stream,
    "method": Model(1).predict,
    "static method": Model.static,
    "class method": Model.of_class,
    "assessed": assessed,
    "assessed in turn": assessed_in_turn,
    "recursive": lambda x: factorial(x + 1),
    "lambda": anonymous,
    "partial": partial,
    "object": model,
    "chat": lambda x: int(chat(x)),
    "calls one": calls_one,
    "uses the client": uses_the_client,
    "uses the default client": uses_the_default_client,
}


def task_of(function: Callable[[int], Any]) -> Callable[[], Any]:
    """Return a call for another process: the result of the function, after its run was sent."""

    def call() -> Any:
        found = read(function(1))
        flush()
        client.flush()
        return found

    return call


def _try_each(call: Call) -> dict[str, Any]:
    """Return what a call with the task of each function returned, or its error as text."""
    found = {}
    for name, function in FUNCTIONS.items():
        try:
            found[name] = call(task_of(function))
        except Exception as error:  # noqa: BLE001 - the answer
            found[name] = f"{type(error).__name__}: {error}"
    return found


def _in_a_python(library: str, **options: Any) -> dict[str, Any]:
    """Run the pickles of a library in a Python that has nothing of this program."""
    pickles = import_module(library)
    written = _try_each(lambda task: base64.b64encode(pickles.dumps(task, **options)).decode())
    code = (
        f"import base64, json, sys, {library}\n"
        f"tasks = json.load(sys.stdin)\n"
        f"load = lambda text: {library}.loads(base64.b64decode(text))\n"
        "print(json.dumps({name: load(text)() for name, text in tasks.items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(written),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (written, done.stderr)
    return dict(json.loads(done.stdout))


def cloudpickle() -> dict[str, Any]:
    return _in_a_python("cloudpickle")


def dill() -> dict[str, Any]:
    return _in_a_python("dill", recurse=True)


def joblib() -> dict[str, Any]:
    library = import_module("joblib")
    with library.Parallel(n_jobs=2, backend="loky") as parallel:
        return _try_each(lambda task: parallel([library.delayed(task)()])[0])


def dask() -> dict[str, Any]:
    cluster = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with import_module("distributed").Client(**cluster) as workers:
        return _try_each(lambda task: workers.submit(task).result())


def ray() -> dict[str, Any]:
    library = import_module("ray")
    library.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        return _try_each(lambda task: library.get(library.remote(task).remote()))
    finally:
        library.shutdown()


if __name__ == "__main__":
    plain(1)
    answer(*(globals()[name] for name in sys.argv[1:]))
