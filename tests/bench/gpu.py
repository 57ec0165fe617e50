"""What tracing costs a service on a GPU: 8 threads, calls of about 4 ms, and a large model.

The service is measured bare and traced, in turns, in one process. Without a GPU, only the CPU part
runs: it reads the weights of a model in memory while other threads count their longest pause.
"""

import gc
import importlib
import importlib.util
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from otel_ml import Client
from otel_ml.versions.tensors import TensorReader
from tests.bench.sink import open_sink
from tests.bench.table import print_table, verdict

_THREADS: Final = 8
_ROUND_S: Final = 4.0
_ROUNDS: Final = 5
_CALLER_CALLS: Final = 2_000
_GIB: Final = 2**30


def report() -> None:
    """Print the figures, and whether they reach their floors."""
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed, so nothing was measured\n")
        return
    torch: Any = importlib.import_module("torch")
    if torch.cuda.is_available():
        print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}\n")
        _report_service(torch)
        _report_callers(torch)
        _report_weights(torch, "cuda", 14 * _GIB)
    else:
        print("No GPU is available: only the CPU part was measured\n")
    _report_weights(torch, "cpu", 2 * _GIB)


class Service:
    """Eight threads that call a model until a deadline."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._module = torch.nn.Sequential(
            *(torch.nn.Linear(8_192, 8_192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        ).eval()
        # so large that a call takes about 4 ms while eight threads share the GPU
        self._batch = torch.randn(2_048, 8_192, device="cuda", dtype=torch.bfloat16)

    def predict(self, batch: Any) -> Any:
        """Make one call, which waits for its result as a service does."""
        with self._torch.no_grad():
            output = self._module(batch)
            output[0, :8].tolist()
        return output

    def run(self, call: Callable[[Any], Any]) -> list[float]:
        """Call for some seconds, and return the seconds of each call."""
        times: list[list[float]] = [[] for _ in range(_THREADS)]
        deadline = time.perf_counter() + _ROUND_S

        def work(own: list[float]) -> None:
            with self._torch.cuda.stream(self._torch.cuda.Stream()):
                while (began := time.perf_counter()) < deadline:
                    call(self._batch)
                    own.append(time.perf_counter() - began)

        threads = [threading.Thread(target=work, args=(own,)) for own in times]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(took for own in times for took in own)


def _report_service(torch: Any) -> None:
    service = Service(torch)
    rates, tails, flushes = [], [], []
    with open_sink(is_as_collector=True) as endpoint:
        client = Client("bench", endpoint=endpoint, join=False)
        traced = client.trace(name="predict")(service.predict)
        for call in (service.predict, traced):  # loads and warms
            service.run(call)
        for _ in range(_ROUNDS):
            bare, ours = service.run(service.predict), service.run(traced)
            began = time.perf_counter()
            client.flush()
            flushes.append(time.perf_counter() - began)
            rates.append(len(ours) / len(bare))
            tails.append(_p99(ours) / _p99(bare))
        client.close()
    rate, tail = statistics.median(rates), statistics.median(tails)
    print_table(
        ("service of 8 threads", "÷ bare", "floor", ""),
        [
            ["throughput", f"{rate:.3f}", "0.95", verdict(rate >= 0.95)],
            ["p99", f"{tail:.2f}", "1.30", verdict(tail <= 1.3)],
            ["flush, ms", f"{statistics.median(flushes) * 1e3:.0f}", "", ""],
            ["bare: median call, ms", f"{statistics.median(bare) * 1e3:.2f}", "", ""],
            ["bare: p99, ms", f"{_p99(bare) * 1e3:.2f}", "", ""],
        ],
    )


def _p99(times: list[float]) -> float:
    return times[int(0.99 * len(times))]


def _report_callers(torch: Any) -> None:
    one = torch.randn(256, 256, device="cuda")
    many = [torch.randn(64, device="cuda") for _ in range(16)]
    rows = []
    with open_sink(is_as_collector=True) as endpoint:
        client = Client("bench", endpoint=endpoint, join=False)
        for name, value in (("one tensor", one), ("a list of 16", many)):
            traced = client.trace(name=name)(lambda value: value)
            for _ in range(500):
                traced(value)
            client.flush()
            began_s = time.thread_time()
            for _ in range(_CALLER_CALLS):
                traced(value)
            took_us = (time.thread_time() - began_s) / _CALLER_CALLS * 1e6
            rows.append([name, f"{took_us:.1f}"])
            client.flush()
        client.close()
    print_table(("CUDA tensors, in and out", "caller, µs a call"), rows)


def _report_weights(torch: Any, device: str, size: int) -> None:
    """Time the digest of weights, and the longest pause of another thread meanwhile."""
    weights = torch.ones(size // 2, dtype=torch.bfloat16, device=device)
    gc.collect()
    pauses: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        last = time.perf_counter()
        while not stop.is_set():
            stop.wait(0.0002)
            now = time.perf_counter()
            pauses.append(now - last)
            last = now

    thread = threading.Thread(target=tick)
    thread.start()
    began_s = time.perf_counter()
    TensorReader().read(weights)
    took_s = time.perf_counter() - began_s
    stop.set()
    thread.join()
    print_table(
        (f"weights of {size // _GIB} GiB on {device}", "", "floor", ""),
        [
            ["seconds for the digest", f"{took_s:.2f}", "", ""],
            [
                "longest pause of another thread, ms",
                f"{max(pauses) * 1e3:.1f}",
                "5",
                verdict(max(pauses) <= 0.005),
            ],
        ],
    )


if __name__ == "__main__":
    report()
