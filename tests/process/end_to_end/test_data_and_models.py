"""Data logged with runs and models is read back from a collector unchanged."""

import io
import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
from PIL import Image, ImageOps

from otel_ml import Client, types
from otel_ml.reader import Reader
from tests.support.collector import CollectorProcess
from tests.support.otel_ml.otlp_sink import closed_address
from tests.support.otel_ml.types.samples import photo, same_image
from tests.support.sampling import at_night

LOGS = """
import sys
import numpy as np
from otel_ml import Client

client = Client("shared", endpoint=sys.argv[1])
with client.run("fit") as run:
    run.log("big", np.random.default_rng(7).random(1_000_000))
assert client.flush(), client.stats()
print(run.trace_id)
"""


def read(collector: CollectorProcess, project: str, trace_id: str, ref: str) -> Any:
    query = urlencode({"trace_id": trace_id, "ref": ref})
    answer = json.loads(collector.get_text(f"/api/v1/projects/{project}/objects?{query}"))
    return types.load(answer["obj_data"]).data


def test_data_is_read_back(collector: CollectorProcess) -> None:
    """Arrays and tables, small and large, are read back with type, dtype and shape."""
    rng = np.random.default_rng(1)
    long = rng.random((200, 300)).astype(">f4")
    short = np.arange(6, dtype=np.int8).reshape(2, 3)
    table = pd.DataFrame({"a": rng.random(20_000), "b": pd.Categorical(["x", "y"] * 10_000)})
    client = Client("data-of-runs", endpoint=collector.endpoint)
    with client.run("fit") as run:
        run.log("long", long)
        run.log("short", short)
        run.log("table", table)
        run.log("short", short + 1)
    assert client.flush()
    client.close()
    for ref, expected in (("long", long), ("short", short + 1)):
        found = read(collector, "data-of-runs", run.trace_id, ref)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)
    pd.testing.assert_frame_equal(read(collector, "data-of-runs", run.trace_id, "table"), table)


def test_what_is_kept_is_said(collector: CollectorProcess) -> None:
    """The page and the reader show that an object was stored only as its text."""
    client = Client("kept", endpoint=collector.endpoint)
    with client.run("fit") as run:
        run.log("model", object)
        run.log("whole", {"a": 1})
    assert client.flush()
    client.close()
    with Reader("kept", endpoint=collector.endpoint) as reader:
        found = {one.ref: one for one in reader.artifacts(trace=run.trace_id)}
        text = found["model"].load()
        [listed] = reader.runs()
    assert (found["model"].kept, found["whole"].kept) == ("its text only", "")
    assert (text, text.of) == ("<class 'object'>", "builtins.type")
    assert "its text only" in collector.get_text(f"/projects/kept/runs/{listed.run_id}")


def test_photograph_stands_upright(collector: CollectorProcess) -> None:
    """The page shows a photo upright; the object read back has the logged pixels."""
    client = Client("photo", endpoint=collector.endpoint)
    image = photo(6).copy()
    with client.run("fit") as run:
        run.log("cat", image)
    assert client.flush()
    client.close()
    assert same_image(read(collector, "photo", run.trace_id, "cat"), image)
    [said] = collector.get("/projects/photo/objects", trace_id=run.trace_id)["objects"]
    with urlopen(f"{collector.endpoint}{said['url']}/image") as answer:
        shown = Image.open(io.BytesIO(answer.read()))
        shown.load()
    upright = ImageOps.exif_transpose(image)
    assert (shown.size, shown.tobytes()) == ((2, 3), upright.tobytes())


@at_night
def test_processes_share_a_document(collector: CollectorProcess, tmp_path: Path) -> None:
    """Logging a 10 MB document that another process has already uploaded works."""
    traces = []
    for _ in range(2):
        ended = subprocess.run(
            [sys.executable, "-c", LOGS, collector.endpoint],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=180,
            check=True,
        )
        assert ended.stderr == ""
        traces.append(ended.stdout.strip())
    expected = np.random.default_rng(7).random(1_000_000)
    for trace_id in traces:
        np.testing.assert_array_equal(read(collector, "shared", trace_id, "big"), expected)


@at_night
def test_receiver_comes_later(tmp_path: Path) -> None:
    """A document logged before the collector starts is delivered once it has started."""
    address = closed_address()
    client = Client("away", endpoint=address)
    with client.run("fit") as run:
        run.log("text", "x" * 100_000)
    assert not client.flush(0.1)
    collector = CollectorProcess(tmp_path, "--http", address.removeprefix("http://"))
    try:
        collector.wait_ready()
        delivery = client.flush(60)
        assert (delivery.pending, delivery.lost) == (0, {})
        assert read(collector, "away", run.trace_id, "text") == "x" * 100_000
    finally:
        client.close()
        collector.kill()


def test_versions_of_a_model(collector: CollectorProcess, tmp_path: Path) -> None:
    """The API lists versions of a model without runs, with params, metrics and data."""
    weights = tmp_path / "weights.bin"
    client = Client("models-alone", endpoint=collector.endpoint)
    digests = []
    for number in range(2):
        weights.write_bytes(bytes([number]))
        model = client.model("churn", {"depth": 3}, weights)
        model.log_metrics({"accuracy": 0.5 + number / 4})
        model.log_metric("loss", [0.5, 0.25])
        model.log("matrix", [[number]])
        model.tag(stage="test")
        assert client.flush()
        digests.append(model.version)
    client.close()
    [listed] = collector.get("/projects/models-alone/models")["models"]
    assert (listed["model"], listed["runs"], listed["versions"]) == ("churn", 0, 2)
    shown = [
        {
            "version": version["version"],
            "digest": version["digest"],
            "params": version["definition"]["params"],
            "content": version["definition"]["artifact"],
            "metrics": version["metrics"],
            "tags": version["tags"],
            "refs": [artifact["ref"] for artifact in version["artifacts"]],
        }
        for version in reversed(
            collector.get("/projects/models-alone/models/churn/versions")["versions"]
        )
    ]
    assert shown == [
        {
            "version": number + 1,
            "digest": digests[number],
            "params": {"depth": 3},
            "content": {"sha256": sha256(bytes([number])).hexdigest(), "bytes": 1},
            "metrics": {"accuracy": 0.5 + number / 4, "loss": [0.5, 0.25]},
            "tags": {"stage": "test"},
            "refs": ["matrix"],
        }
        for number in range(2)
    ]


def test_page_of_a_model(collector: CollectorProcess) -> None:
    """The page of a model without runs shows its digest and everything logged about it."""
    client = Client("page", endpoint=collector.endpoint)
    model = client.model("churn", {"depth": 3}, b"weights")
    model.tag(stage="prod")
    model.info("trained on May")
    model.log_metrics({"accuracy": 0.93})
    model.log("matrix", [[1]])
    assert client.flush()
    client.close()
    page = collector.get_text("/projects/page/models/churn")
    digest = sha256(b"weights").hexdigest()[:16]
    for text in (digest, "depth", "stage", "trained on May", "accuracy", "0.93", "matrix"):
        assert text in page


def test_model_and_function_of_one_name(collector: CollectorProcess) -> None:
    """Versions of a logged model and of a traced function with the same name form one model."""
    client = Client("beside", endpoint=collector.endpoint)
    client.trace(name="churn")(lambda: 1)()
    assert client.flush()
    client.model("churn", artifact=b"weights").log_metrics({"accuracy": 0.5})
    assert client.flush()
    client.close()
    [model] = collector.get("/projects/beside/models")["models"]
    assert (model["model"], model["runs"], model["versions"]) == ("churn", 1, 2)
    newest, _ = collector.get("/projects/beside/models/churn/versions")["versions"]
    assert (newest["version"], newest["metrics"]) == (2, {"accuracy": 0.5})


def test_infinite_metrics_are_told_apart(collector: CollectorProcess) -> None:
    """An infinite point is read back as infinite and NaN as None; the page shows infinity."""
    inf, nan = float("inf"), float("nan")
    client = Client("infinite", endpoint=collector.endpoint)
    with client.run("fit") as run:
        run.log_metric("loss", [1.0, inf, -inf, nan])
        run.log_metric("best", inf)
    assert client.flush()
    client.close()
    with Reader("infinite", endpoint=collector.endpoint) as reader:
        [listed] = reader.runs()
        assert listed.metrics == {"loss": [1.0, inf, -inf, None], "best": [inf]}
        series = reader.metrics(listed.run_id)
    assert series["loss"].values == [1.0, inf, -inf, None]
    assert "∞" in collector.get_text(f"/projects/infinite/runs/{listed.run_id}")
