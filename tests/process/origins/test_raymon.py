"""The five snippets of Raymon's text: one trace with tags, text and data is read back."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
from PIL import Image

from otel_ml import types
from tests.support.collector import CollectorProcess
from tests.support.origins.program import finish, preamble, run, snippet, start
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

PROJECT: Final = "d6ac1bf0-4e22-43ae-a85e-3cb2c1e5da80"
TRACE_ID: Final = "472b649d-cce8-4d50-9682-6b81a80755c0"
PARTS: Final = ("b1_logger", "b2_text", "b3_tags", "b4_data")
WRITE: Final = "\n".join([preamble("b"), *map(snippet, PARTS), "print(trace, flush=True)\n"])
FETCH: Final = preamble("b5") + snippet("b5_fetch")
SHOW: Final = "\nimport json\nprint(json.dumps([orig.tolist(), str(orig.dtype), orig.shape]))\n"
TAGS: Final = [
    {"name": "client", "value": "bigshot_client", "type": "label", "group": ""},
    {"name": "prediction_time_ms", "value": "120", "type": "metric", "group": ""},
    {"name": "sdk_version", "value": "1.4.2", "type": "label", "group": ""},
]
REFS: Final = {
    "native-ref": "otel_ml.types.Native",
    "numpy-ref": "otel_ml.types.Numpy",
    "pandas-ref": "otel_ml.types.DataFrame",
    "image-ref": "otel_ml.types.Image",
}


def only_run(collector: CollectorProcess, key: str) -> dict[str, Any]:
    """Return the details of a trace's only run."""
    [summary] = collector.get(f"/traces/{key}")["runs"]
    detail: dict[str, Any] = collector.get(f"/projects/{PROJECT}/runs/{summary['run_id']}")
    return detail


def told(collector: CollectorProcess, key: str) -> dict[str, Any]:
    """Return the data that the snippets recorded about a trace, as the API returns it."""
    found = only_run(collector, key)
    objects = collector.get(f"/projects/{PROJECT}/objects", trace_id=key)["objects"]
    return {
        "keys": found["trace_keys"],
        "tags": sorted(found["tag_details"], key=lambda tag: str(tag["name"])),
        "lines": [(line["severity"], line["message"]) for line in found["logs"]],
        "refs": {item["ref"]: item["type"] for item in objects},
    }


def whole(key: str) -> dict[str, Any]:
    return {
        "keys": [key],
        "tags": TAGS,
        "lines": [("info", "You can log whatever you want here")],
        "refs": REFS,
    }


def test_snippets_make_one_trace(collector: CollectorProcess, tmp_path: Path) -> None:
    """The trace of the snippets has three tags, four references and one line of text."""
    key = run(tmp_path, WRITE, collector).strip()
    assert told(collector, key) == whole(key)
    found = only_run(collector, key)
    said = ("project", "model", "kind", "outcome", "tags", "trace_key")
    assert {name: found[name] for name in said} == {
        "project": PROJECT,
        "model": "trace",
        "kind": "chain",
        "outcome": "ok",
        "tags": {tag["name"]: tag["value"] for tag in TAGS},
        "trace_key": key,
    }


@contextmanager
def open_trace(collector: CollectorProcess, folder: Path) -> Iterator[str]:
    """Run the snippets in a process that keeps the trace open during the block; yield its id."""
    program = start(folder, WRITE + "input()\n", collector.endpoint)
    try:
        assert program.stdout is not None
        yield program.stdout.readline().strip()
    finally:
        finish(program, "\n")


@at_night
def test_trace_is_read_while_it_is_open(own_collector: CollectorProcess, tmp_path: Path) -> None:
    """All data of a trace can be read while it is open, and is unchanged when it has ended."""

    def is_whole(expected: dict[str, Any]) -> bool:
        runs = own_collector.runs(PROJECT, where='outcome == "running"')
        return bool(runs) and {**told(own_collector, runs[0]["trace_id"]), "keys": []} == expected

    with open_trace(own_collector, tmp_path) as key:
        wait_until(lambda: is_whole({**whole(key), "keys": []}))
    assert told(own_collector, key) == whole(key)


@at_night
def test_open_trace_is_found_by_its_id(collector: CollectorProcess, tmp_path: Path) -> None:
    """A trace can be found by its id while it is open."""
    with open_trace(collector, tmp_path) as key:
        wait_until(lambda: "runs" in collector.get(f"/traces/{key}"))
        assert only_run(collector, key)["outcome"] == "running"


def test_data_is_read_back_as_it_was(collector: CollectorProcess, tmp_path: Path) -> None:
    """The data logged under each of the four references is read back with type, dtype and shape."""
    key = run(tmp_path, WRITE, collector).strip()

    def fetch(ref: str) -> Any:
        found = collector.get(f"/projects/{PROJECT}/objects", trace_id=key, ref=ref)
        return types.load(found["obj_data"]).data

    array = np.array([[1, 2], [3, 4]])
    assert fetch("native-ref") == {
        "foo": "bar",
        "whatever": ["you", "want"],
        "all_native_types": 1,
    }
    assert (fetch("numpy-ref").dtype, fetch("numpy-ref").tolist()) == (array.dtype, array.tolist())
    pd.testing.assert_frame_equal(fetch("pandas-ref"), pd.DataFrame(array, columns=["a", "b"]))
    photo = tmp_path / "data_sample/castinginspection/def_front/cast_def_0_0.jpeg"
    with Image.open(photo) as image:
        again = fetch("image-ref")
        assert (again.mode, again.size) == (image.mode, image.size)
        assert again.tobytes() == image.tobytes()


@at_night
def test_fetch_snippet_returns_the_array(collector: CollectorProcess, tmp_path: Path) -> None:
    """The last snippet returns the array, given the trace id of the first snippet."""
    key = run(tmp_path, WRITE, collector).strip()
    printed = run(tmp_path, FETCH.replace(TRACE_ID, key) + SHOW, collector)
    assert json.loads(printed) == [[[1, 2], [3, 4]], "int64", [2, 2]]


@at_night
def test_fetch_snippet_runs_as_it_stands(collector: CollectorProcess, tmp_path: Path) -> None:
    """With the text's trace id, the last snippet runs unedited."""
    write = WRITE.replace("trace_id=None", f'trace_id="{TRACE_ID}"')
    assert run(tmp_path, write, collector).strip() == TRACE_ID
    assert json.loads(run(tmp_path, FETCH + SHOW, collector)) == [
        [[1, 2], [3, 4]],
        "int64",
        [2, 2],
    ]


@at_night
def test_numeric_text_is_a_number_in_filters(collector: CollectorProcess, tmp_path: Path) -> None:
    """In filters, the tag value "120" is compared as a number."""
    key = run(tmp_path, WRITE, collector).strip()
    matching = []
    for where in ("> 100", "< 200", "> 120", "< 99", "== 120"):
        found = collector.runs(PROJECT, where=f'tags["prediction_time_ms"] {where}')
        matching.append(key in [one["trace_key"] for one in found])
    assert matching == [True, True, False, False, True]


@at_night
def test_missing_server_raises_nothing(tmp_path: Path) -> None:
    """Without a server, the snippets run to their end, and otel-ml prints nothing."""
    program = start(tmp_path, WRITE, "http://127.0.0.1:9")
    printed, _ = program.communicate(timeout=180)
    assert (program.returncode, len(printed.split())) == (0, 1)
