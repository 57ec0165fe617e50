"""Faults of Raymon's package that otel-ml does not have; one test each.

* each call makes a blocking request: `test_call_waits_for_no_server`
* a failed flush keeps its buffer and sends it again forever, without a limit:
  `test_what_waits_is_bounded`
* nothing is flushed at exit: `test_exit_delivers`
* each call prints a line: `test_nothing_is_printed`
* arrays that are not contiguous or hold objects fail, and loaded arrays are read-only:
  `test_arrays_come_back`
* tables lose dtypes, or cannot be read at all: `test_table_comes_back`
* images lose their mode and whether they are exact: `test_images_come_back`
* NaN produces invalid JSON: `test_nan_is_json`
* profiles load scikit-learn, and all of its packages are needed: `test_import_loads_no_package`
* it uses ``np.int``, which numpy has removed: `test_integers_of_every_width`
* a UUID is replaced by another one, and the current trace is shared by all threads:
  ``test_id_is_kept`` and ``test_current_trace_is_the_threads_own`` in the tests of
  `otel_ml.compat.raymon`
* loading data imports the modules it names: ``test_data_imports_nothing`` there
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest
from PIL import Image

import otel_ml.compat.raymon.types as rt
from otel_ml.compat.raymon import RaymonAPI, RaymonAPILogger, Tag, Trace, clear_trace
from tests.process.origins.silent import silent_server
from tests.support.collector import CollectorProcess
from tests.support.origins.program import finish, preamble, snippet, start
from tests.support.otel_ml.otlp_sink import open_sink
from tests.support.sampling import sampled

SNIPPETS = "\n".join([preamble("b"), *map(snippet, ("b1_logger", "b2_text", "b3_tags", "b4_data"))])


@pytest.fixture(autouse=True)
def _no_trace() -> Iterator[None]:
    yield
    clear_trace()


def through(collector: CollectorProcess, data: Any) -> Any:
    """Log a value and fetch it from a real collector."""
    logger = RaymonAPILogger("faults", url=collector.endpoint)
    with Trace(logger) as trace:
        trace.log(ref="data", data=data)
    logger.flush()
    answer = RaymonAPI(url=collector.endpoint).object_search("faults", trace.trace_id, "data")
    logger.client.close()
    return rt.load_jcr(answer.json()["obj_data"])


def test_call_waits_for_no_server() -> None:
    """Logging text, tags and data does not block although the server never responds."""
    with silent_server() as address:
        trace = Trace(RaymonAPILogger("faults", url=address, batch_size=1))
        started = time.perf_counter()
        for number in range(100):
            trace.info("hello")
            trace.tag([Tag("number", number, "metric")])
            trace.log(ref="data", data=rt.Native(number))
        assert time.perf_counter() - started < 1


def test_what_waits_is_bounded() -> None:
    """Without a server, the oldest records are dropped and counted."""
    sender = RaymonAPILogger("faults", url="http://127.0.0.1:9")
    text = "x" * 16_000
    for number in range(8_000):
        sender.info(f"trace-{number}", text)
    stats = sender.client.stats()
    assert sum(stats.lost.values()) > 0
    assert 0 < stats.queued < 8_000
    sender.client.close()


def test_exit_delivers(tmp_path: Path) -> None:
    """A program that ends without a flush loses nothing."""
    with open_sink() as sink:
        finish(start(tmp_path, SNIPPETS, sink.address))
        [trace] = sink.runs
        tags = {name: item for name, item in trace.items() if name.startswith("otel_ml.tag.")}
    assert tags == {
        "otel_ml.tag.client": "bigshot_client",
        "otel_ml.tag.sdk_version": "1.4.2",
        "otel_ml.tag.prediction_time_ms": "120",
    }


def test_nothing_is_printed(tmp_path: Path) -> None:
    """Neither a call nor the end of the program prints anything."""
    with open_sink() as sink:
        assert finish(start(tmp_path, SNIPPETS, sink.address)) == ""


@sampled(1)
@pytest.mark.parametrize(
    "array",
    [
        np.arange(12).reshape(3, 4)[:, ::2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([1, "a", None, 2.5], dtype=object),
        np.arange(3, dtype=">i2"),
        np.zeros((0, 3), dtype=np.float16),
    ],
    ids=["strided", "fortran", "objects", "big-endian", "empty"],
)
def test_arrays_come_back(collector: CollectorProcess, array: np.ndarray[Any, Any]) -> None:
    """Any array is read back writable, with dtype, shape and values."""
    again = through(collector, rt.Numpy(array)).data
    assert (again.dtype, again.shape, again.tolist()) == (array.dtype, array.shape, array.tolist())
    assert again.flags.writeable


def test_table_comes_back(collector: CollectorProcess) -> None:
    """A table is read back with the dtypes of its columns and its index."""
    frame = pd.DataFrame(
        {
            "when": pd.to_datetime(["2024-05-17", None]).tz_localize("UTC"),
            "kind": pd.Categorical(["b", "a"]),
            "count": pd.array([1, None], dtype="Int64"),
            "text": ["001", "1e3"],
        },
        index=["x", "y"],
    )
    pd.testing.assert_frame_equal(through(collector, rt.DataFrame(frame)).data, frame)


@sampled(1)
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [True, False])
def test_images_come_back(collector: CollectorProcess, mode: str, lossless: bool) -> None:
    """An image is read back in its mode, with the flag that tells whether it is exact."""
    image = Image.linear_gradient("L").resize((20, 10)).convert(mode)
    again = through(collector, rt.Image(image, lossless=lossless))
    assert (again.data.mode, again.data.size, again.lossless) == (mode, (20, 10), lossless)


def test_nan_is_json(collector: CollectorProcess) -> None:
    """NaN and infinities are written as standard JSON and read back unchanged."""
    value = {"loss": [float("nan"), float("-inf")]}

    def refuse(text: str) -> None:
        raise AssertionError(text)

    json.loads(rt.Native(value).to_json(), parse_constant=refuse)
    assert repr(through(collector, rt.Native(value)).data) == repr(value)


def test_import_loads_no_package(tmp_path: Path) -> None:
    """The import loads no HTTP client, and none of the packages whose data can be logged."""
    text = """
import sys
import otel_ml.compat.raymon.types as rt
from otel_ml.compat.raymon import RaymonAPI, RaymonAPILogger, Tag, Trace
RaymonAPI()
heavy = {"numpy", "pandas", "PIL", "sklearn", "scipy", "msgpack", "pendulum", "requests", "urllib3"}
print(sorted(heavy & set(sys.modules)))
"""
    assert finish(start(tmp_path, text, "http://127.0.0.1:9")) == "[]\n"


@sampled(1)
@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.int64, np.uint64, np.intp])
def test_integers_of_every_width(collector: CollectorProcess, kind: type[np.generic]) -> None:
    """Integers of any width are read back in that width, with the current numpy."""
    array = np.array([0, 1, 100], dtype=kind)
    again = through(collector, rt.Numpy(array)).data
    assert (again.dtype, again.tolist()) == (array.dtype, [0, 1, 100])
