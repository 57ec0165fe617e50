"""Measure tracing on a GPU service: 8 threads, calls of about 4 ms, and large models.

The service is measured bare, traced, traced without inputs and outputs, and with spans by hand, in
turns, in one process. Without a GPU, only the CPU part runs: it reads the weights of a model in
memory while another thread measures its longest pause.
"""

import contextlib
import gc
import importlib
import importlib.util
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from otel_ml import Client, testing, trace
from otel_ml import attributes as names
from otel_ml.versions.tensors import TensorReader
from tests.bench.by_hand import stock_provider
from tests.bench.pace import pace
from tests.bench.sink import open_sink
from tests.bench.table import print_table, verdict
from tests.bench.values import by_hand, measure_value

_THREADS: Final = 8
_ROUND_S: Final = 3.0
_ROUNDS: Final = 5
_CALLER_ROUNDS: Final = 5
_GIB: Final = 2**30
_WIDTH: Final = 8_192  # of a layer, which then has 128 MiB in bfloat16
_LAYER_BYTES: Final = 2 * _WIDTH * _WIDTH
_TENSOR_FLOOR: Final = 1.0
_LOG_FLOOR_MS: Final = 3.0
_PAUSE_FLOOR_MS: Final = 5.0
_LONGER_FLOOR_MS: Final = 10.0
_FLUSH_FLOOR_S: Final = 2.0
_TICK_S: Final = 0.0002
_CHECKED_AFTER_S: Final = 0.2  # a large model is not compared again at once
_CYCLES: Final = 400_000_000  # GPU cycles, about 0.2 s


def report() -> None:
    """Print the figures, and whether they reach their floors."""
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed, so nothing was measured\n")
        return
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take 3/4 of it
    torch: Any = importlib.import_module("torch")
    gc.freeze()  # or Python collects garbage among the objects of PyTorch and JAX, for 0.1 s
    if torch.cuda.is_available():
        print(f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, ", end="")
        print(f"PyTorch {torch.__version__}\n")
        _report_digests(torch)
        _report_service(torch)
        for size in (2 * _GIB, 14 * _GIB):
            _report_module(torch, size)
        _report_callers(torch)
        _report_waiting(torch)
        _report_logged(torch)
    else:
        print("No GPU is available: only the CPU part was measured\n")
    _report_weights(torch, "cpu", 2 * _GIB)


# The service.


class Service:
    """Threads that call a model until a deadline.

    Attributes:
        module: The model.
        predict: Makes one call, and waits for its result as a service does.

    Args:
        torch: The module.
        layers: How many layers the model has.
        rows: How many rows a call takes.
    """

    def __init__(self, torch: Any, layers: int = 2, rows: int = 2_048) -> None:
        self._torch = torch
        dtype = torch.bfloat16
        self.module = module = torch.nn.Sequential(
            *(torch.nn.Linear(_WIDTH, _WIDTH, False, "cuda", dtype) for _ in range(layers))
        ).eval()
        self._batch = torch.randn(rows, _WIDTH, device="cuda", dtype=dtype)

        def predict(batch: Any) -> Any:
            with torch.no_grad():
                output = module(batch)
                output[0, :8].tolist()
            return output

        self.predict = predict

    def run(self, call: Callable[[Any], Any], seconds: float = _ROUND_S) -> list[float]:
        """Call for some seconds, and return the seconds of each call, sorted."""
        times: list[list[float]] = [[] for _ in range(_THREADS)]
        deadline = time.perf_counter() + seconds

        def work(own: list[float]) -> None:
            with self._torch.cuda.stream(self._torch.cuda.Stream()):
                while (began := time.perf_counter()) < deadline:
                    call(self._batch)
                    own.append(time.perf_counter() - began)

        workers = [threading.Thread(target=work, args=(own,)) for own in times]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sorted(took for own in times for took in own)


def _report_service(torch: Any) -> None:
    # so large that a call takes about 4 ms while eight threads share the GPU
    service = Service(torch)
    with open_sink(is_as_collector=True) as endpoint:
        client, provider = Client("bench", endpoint=endpoint, join=False), stock_provider(endpoint)
        calls: dict[str, tuple[Callable[[Any], Any], Callable[[], object]]] = {
            "bare": (service.predict, bool),
            "otel-ml": (client.trace(name="predict")(service.predict), client.flush),
            "otel-ml, capture off": (
                client.trace(name="predict", capture="off")(service.predict),
                client.flush,
            ),
            "by hand": (by_hand(provider, service.predict), provider.force_flush),
        }
        for call, flush in calls.values():  # loads and warms
            service.run(call, seconds=1.0)
            flush()
        times: dict[str, list[list[float]]] = {name: [] for name in calls}
        flushes: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(_ROUNDS):
            for name, (call, flush) in calls.items():
                times[name].append(service.run(call))
                began = time.perf_counter()
                flush()
                flushes[name].append(time.perf_counter() - began)
        client.close()
        provider.shutdown()
    rows = []
    for name, rounds in times.items():
        pairs = [*zip(rounds, times["bare"], strict=True)]
        rate = statistics.median(len(ours) / len(bare) for ours, bare in pairs)
        tail = statistics.median(_p99(ours) / _p99(bare) for ours, bare in pairs)
        is_ours = name == "otel-ml"
        median_ms, p99_ms = (
            statistics.median(of(own) for own in rounds) * 1e3 for of in (statistics.median, _p99)
        )
        rows.append(
            [
                name,
                f"{rate:.3f}",
                verdict(rate >= 0.95) if is_ours else "",
                f"{tail:.2f}",
                verdict(tail <= 1.3) if is_ours else "",
                f"{median_ms:.2f}",
                f"{p99_ms:.2f}",
                f"{statistics.median(flushes[name]) * 1e3:.0f}",
            ]
        )
    heads = ("service of 8 threads", "throughput ÷ bare", "≥ 0.95", "p99 ÷ bare", "≤ 1.30")
    print_table((*heads, "median, ms", "p99, ms", "flush, ms"), rows)


def _p99(times: list[float]) -> float:
    return times[int(0.99 * len(times))]


# One caller.


def _report_callers(torch: Any) -> None:
    """Compare the caller's time with a span by hand, for values on the GPU."""
    values: dict[str, Any] = {
        "a CUDA tensor, 256 x 256": torch.randn(256, 256, device="cuda"),
        "a list of 16 CUDA tensors": [torch.randn(64, device="cuda") for _ in range(16)],
        "a sparse CUDA tensor": torch.eye(64, device="cuda").to_sparse(),
    }
    for name, package in (("CuPy", "cupy"), ("JAX", "jax.numpy")):
        if importlib.util.find_spec(package.partition(".")[0]) is None:
            print(f"Not installed, so not measured: {name}\n")
            continue
        numpy_like: Any = importlib.import_module(package)
        values[f"an array of {name}, 256 x 256"] = numpy_like.ones((256, 256))
    rows = []
    with open_sink(is_as_collector=True) as endpoint:
        for name, value in values.items():
            ratio, hand_us, ours_us, sender_us = measure_value(value, endpoint, _CALLER_ROUNDS)
            has_floor = type(value) is not list
            floor = [f"{_TENSOR_FLOOR}", verdict(ratio <= _TENSOR_FLOOR)] if has_floor else ["", ""]
            cells = [f"{hand_us:.1f}", f"{ours_us:.1f}", f"{sender_us:.1f}"]
            rows.append([name, f"{ratio:.2f}", *floor, *cells])
    heads = ("one value in, one out", "÷ by hand", "floor", "", "by hand, µs", "ours, µs")
    print_table((*heads, "sender, µs a span"), rows)


def _report_waiting(torch: Any) -> None:
    """Measure that a call does not wait for the GPU and that no run keeps GPU memory alive."""
    with open_sink(is_as_collector=True) as endpoint:
        client = Client("bench", endpoint=endpoint, join=False)
        traced = client.trace(name="predict")(lambda value: value)
        value = torch.randn(2**20, device="cuda")
        for _ in range(100):
            traced(value)
        done = torch.cuda.Event()
        torch.cuda.synchronize()
        torch.cuda._sleep(_CYCLES)
        result = value * 2
        done.record()
        began = time.perf_counter()
        for _ in range(100):
            traced([result, {"a": result}])
        took_ms = (time.perf_counter() - began) * 10
        is_waiting = done.query()
        client.flush()
        before = torch.cuda.memory_allocated()
        for _ in range(200):
            traced(torch.empty(2**20, device="cuda"))
        kept = torch.cuda.memory_allocated() - before
        client.close()
    rows = [
        ["a call while the GPU is busy, ms", f"{took_ms:.2f}", verdict(not is_waiting)],
        ["GPU memory kept by 200 runs that are not sent", f"{kept} B", verdict(kept == 0)],
    ]
    print_table(("never waits, keeps nothing", "", ""), rows)


def _report_logged(torch: Any) -> None:
    """Time `log` of a tensor of 4 MB, and metrics that are tensors on the GPU."""
    rows = []
    with open_sink(is_as_collector=True) as endpoint:
        client = Client("bench", endpoint=endpoint, join=False)
        for device in ("cuda", "cpu"):
            tensors = [torch.randn(1_024, 1_024, device=device) for _ in range(12)]
            torch.cuda.synchronize()
            costs, walls = [], []
            for tensor in tensors:
                with client.run("fit") as run:
                    wall_s, began_s = time.perf_counter(), time.thread_time()
                    run.log("weights", tensor)
                    costs.append((time.thread_time() - began_s) * 1e3)
                    walls.append((time.perf_counter() - wall_s) * 1e3)
                client.flush()
            cost_ms, wall_ms = (statistics.median(each[2:]) for each in (costs, walls))
            is_met = verdict(cost_ms <= _LOG_FLOOR_MS)
            name = f"log of 4 MB on {device}"
            rows.append([name, f"{cost_ms:.2f}", f"{_LOG_FLOOR_MS}", is_met, f"{wall_ms:.2f}"])
        with client.run("train") as run:
            loss = torch.ones((), device="cuda")
            steps = torch.arange(1_000, device="cuda")
            run.log_metrics({"loss": loss, "count": steps[3]}, step=steps[0])
            began_s, wall_s = time.thread_time(), time.perf_counter()
            for step in steps[1:]:
                run.log_metrics({"loss": loss, "count": steps[3]}, step=step)
            cost_ms = (time.thread_time() - began_s) / (len(steps) - 1) * 1e3
            wall_ms = (time.perf_counter() - wall_s) / (len(steps) - 1) * 1e3
            rows.append(["log_metrics of three", f"{cost_ms:.3f}", "", "", f"{wall_ms:.3f}"])
        client.close()
    print_table(("logged tensors", "caller, ms of CPU", "floor", "", "caller, ms"), rows)


# Weights.


class Ticker:
    """A thread that sleeps for short intervals and measures its longest pause."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick)
        self.longest_s = 0.0

    def _tick(self) -> None:
        last = time.perf_counter()
        while not self._stop.is_set():
            pace(_TICK_S)
            now = time.perf_counter()
            self.longest_s = max(self.longest_s, now - last)
            last = now

    @contextlib.contextmanager
    def running(self) -> Iterator["Ticker"]:
        """Run the thread during the block."""
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join()


def _report_digests(torch: Any) -> None:
    """Compare digests of the GPU with those of the CPU, and versions before and after a change."""
    dtypes = ("float32", "bfloat16", "float16", "int8", "bool", "complex64", "float64")
    tensors = [
        torch.randn(size, generator=torch.Generator().manual_seed(1)).to(getattr(torch, dtype))
        for dtype in dtypes
        for size in (1, 1_001, 300_000, 5_000_001)
    ]
    tensors.append(torch.randn(700, 900).t())
    reader = TensorReader()
    equal = sum(reader.read(tensor) == reader.read(tensor.cuda()) for tensor in tensors)
    module = torch.nn.Linear(1_024, 1_024, device="cuda")
    versions = set()
    with testing.record() as recording:
        traced = trace(name="predict")(lambda value: module(value).sum().item())
        for _ in range(3):
            traced(torch.ones(1, 1_024, device="cuda"))
            versions.add(recording.runs[-1].attributes[names.MODEL_VERSION])
            with torch.no_grad():
                module.weight.mul_(0.5)
    rows = [
        ["digests that are equal on GPU and CPU", f"{equal} of {len(tensors)}"],
        ["versions of 3 calls with changes in place", f"{len(versions)}"],
    ]
    print_table(("weights on the GPU", ""), rows)


def _report_module(torch: Any, size: int) -> None:
    """Trace a service while the weights of its large model are read, and once they are known."""
    service = Service(torch, layers=size // _LAYER_BYTES, rows=16)
    service.run(service.predict, seconds=1.0)
    bare = _watch(service, service.predict)
    with open_sink(is_as_collector=True) as endpoint:
        client = Client("bench", endpoint=endpoint, join=False)
        client.trace(name="warm")(len)(())
        client.flush()
        traced = client.trace(name="predict")(service.predict)
        first = _watch(service, traced)
        client.flush()
        known = _watch(service, traced)
        client.flush()
        pace(_CHECKED_AFTER_S)
        with torch.no_grad():  # opens a new version, so the weights are read again
            service.module[0].weight.add_(1)
        traced(torch.zeros(1, _WIDTH, device="cuda", dtype=torch.bfloat16))
        began = time.perf_counter()
        client.flush()
        flush_s = time.perf_counter() - began
        client.close()
    rows = [
        [name, *(f"{number * 1e3:.1f}" for number in figures)]
        for name, figures in (
            ("bare", bare),
            ("otel-ml, while it reads the weights", first),
            ("otel-ml, weights known", known),
        )
    ]
    heads = (f"a model of {size // _GIB} GiB, 8 threads, ms", "median", "p99", "longest")
    print_table((*heads, "longest pause of another thread"), rows)
    limits = [
        _limited("longest call, ms more", (first[2] - known[2]) * 1e3, _LONGER_FLOOR_MS),
        _limited("longest pause of another thread, ms", first[3] * 1e3, _PAUSE_FLOOR_MS),
        ["the same, ms more", f"{(first[3] - known[3]) * 1e3:.2f}", "", ""],
        _limited("flush right after the weights changed, s", flush_s, _FLUSH_FLOOR_S),
    ]
    print_table(("reading the weights", "", "floor", ""), limits)
    del service, traced
    gc.collect()
    torch.cuda.empty_cache()


def _watch(service: Service, call: Callable[[Any], Any]) -> tuple[float, float, float, float]:
    """Run the service.

    Returns:
        Median, p99 and longest time of a call, and the longest pause of another thread, in seconds.
    """
    with Ticker().running() as ticker:
        times = service.run(call)
    return statistics.median(times), _p99(times), times[-1], ticker.longest_s


def _limited(name: str, value: float, floor: float) -> list[str]:
    return [name, f"{value:.2f}", f"{floor:g}", verdict(value <= floor)]


def _report_weights(torch: Any, device: str, size: int) -> None:
    """Time the digest of weights, and the longest pause of another thread meanwhile."""
    weights = torch.ones(size // 2, dtype=torch.bfloat16, device=device)
    gc.collect()
    with Ticker().running() as ticker:
        began_s = time.perf_counter()
        TensorReader().read(weights)
        took_s = time.perf_counter() - began_s
    rows = [
        ["seconds for the digest", f"{took_s:.2f}", "", ""],
        _limited("longest pause of another thread, ms", ticker.longest_s * 1e3, _PAUSE_FLOOR_MS),
    ]
    print_table((f"weights of {size // _GIB} GiB on {device}", "", "floor", ""), rows)


if __name__ == "__main__":
    report()
