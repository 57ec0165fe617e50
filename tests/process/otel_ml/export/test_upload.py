"""Documents that are too long for an event are uploaded once and accounted for."""

import base64
import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # has no types
import polars as pl
import pytest
from opentelemetry.sdk.trace import TracerProvider
from PIL import Image

from otel_ml import Client, types
from otel_ml.artifact import copy_value
from otel_ml.deferred_attributes import MOST_BYTES, DeferredAttributes
from otel_ml.export.delivery import Delivery
from otel_ml.export.documents import DocumentQueue, HashedText
from otel_ml.redaction import Redaction
from tests.support.otel_ml.otlp_sink import Received, Reply, Sink, closed_address, open_sink
from tests.support.otel_ml.scripts import ask_script, run_script
from tests.support.sampling import at_night, sampled
from tests.support.waiting import wait_until

LONG = "x" * 100_000
LONG_S = 20.0
BELOW = "/api/v1/projects/shop/artifacts/"

PROGRAM = """
import os, sys
from otel_ml import Client

client = Client("shop", endpoint={address!r}, join=False, spool={spool!r})
with client.run("fit") as run:
    run.log("a", "x" * 100_000)
"""


@contextmanager
def opened(address: str, **options: Any) -> Iterator[Client]:
    client = Client("shop", endpoint=address, join=False, **options)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def client(sink: Sink) -> Iterator[Client]:
    with opened(sink.address) as client:
        yield client


def log(client: Client, value: object = LONG) -> None:
    with client.run("fit") as run:
        run.log("a", value)


def puts(sink: Sink) -> list[Received]:
    return [request for request in list(sink.requests) if request.path.startswith(BELOW)]


def for_puts(reply: Reply) -> Any:
    """Return a reply function that answers uploads with `reply`, and spans with success."""
    return lambda request: reply if request.path.startswith(BELOW) else Reply()


def values(sink: Sink) -> list[Any]:
    """Return the uploaded values. A value whose event has not arrived is taken for a text."""
    kinds = {
        event["otel_ml.artifact.sha256"]: event["otel_ml.artifact.type"]
        for event in list(sink.events)
        if "otel_ml.artifact.sha256" in event
    }
    return [
        types.load(body, kinds.get(path.rpartition("/")[2], "otel_ml.types.Text")).data
        for path, body in sink.documents.items()
    ]


def test_document_is_stored_under_its_hash(client: Client, sink: Sink) -> None:
    """A long document is uploaded as a file under its hash, in addition to the run."""
    log(client)
    assert client.flush() == Delivery(delivered=3)  # the run's start, the run, the document
    [(path, body)] = sink.documents.items()
    assert path == BELOW + hashlib.sha256(body).hexdigest()
    assert body.decode() == LONG
    assert puts(sink)[0].headers["content-type"] == "application/octet-stream"
    assert puts(sink)[0].headers["x-otel-ml-project"] == "shop"


def test_key_and_compression(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload has the key, and is not compressed because the hash is that of the body."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    with opened(sink.address, api_key="secret-key") as client:
        log(client)
        assert client.flush()
    assert puts(sink)[0].headers["authorization"] == "Bearer secret-key"
    assert values(sink) == [LONG]


def test_odd_project_and_base_path(sink: Sink) -> None:
    """Project and base path are percent-encoded in the upload's path."""
    client = Client("a/b ü", endpoint=f"{sink.address}/base/", join=False)
    log(client)
    assert client.flush()
    client.close()
    [path] = sink.documents
    assert path.startswith("/base/api/v1/projects/a%2Fb%20%C3%BC/artifacts/")


def test_same_document_is_uploaded_once(client: Client, sink: Sink) -> None:
    """A process does not upload the same document again."""
    for _ in range(3):
        log(client)
        assert client.flush()
    log(client, LONG + "y")
    assert client.flush()
    assert len(puts(sink)) == 2


def test_joined_provider_with_an_endpoint(sink: Sink) -> None:
    """With a joined provider, documents are uploaded to the given endpoint."""
    provider = TracerProvider()
    client = Client("shop", endpoint=sink.address, tracer_provider=provider)
    log(client)
    assert client.flush()
    client.close()
    assert values(sink) == [LONG]


@at_night
def test_receiver_that_comes_later() -> None:
    """A document stays pending until the receiver is back, and flush reports it as pending."""
    address = closed_address()
    with opened(address) as client:
        log(client)
        delivery = client.flush(0.5)
        assert (delivery.delivered, delivery.pending, delivery.lost) == (0, 3, {})
        assert delivery.reason == "connection refused"
        with open_sink(urlsplit(address).port or 0) as sink:
            wait_until(lambda: values(sink) == [LONG])
            assert client.flush().lost == {}


def test_busy_receiver_is_left_alone(client: Client, sink: Sink) -> None:
    """A document for a busy receiver is sent again after the requested delay."""
    busy = [Reply(503, {"retry-after": "1"})]
    sink.reply = lambda request: busy.pop() if request.path.startswith(BELOW) and busy else Reply()
    log(client)
    assert client.flush() == Delivery(delivered=3)
    first, second = puts(sink)
    assert second.at_s - first.at_s >= 1.0
    assert client.stats().retries == 1


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "404 Not Found"), (413, "413 "), (400, "400 Bad Request")]
)
def test_refused_document_is_lost(client: Client, sink: Sink, status: int, reason: str) -> None:
    """A refused document counts as lost with the reason, and is not sent again."""
    sink.reply = for_puts(Reply(status))
    log(client)
    delivery = client.flush()
    assert (delivery.delivered, delivery.pending, list(delivery.lost.values())) == (2, 0, [1])
    [lost] = delivery.lost
    assert lost.startswith(f"artifact: {reason}")
    assert client.stats().lost == delivery.lost
    assert len(puts(sink)) == 1


def test_slow_receiver_does_not_slow_the_run(client: Client, sink: Sink) -> None:
    """While a document is being uploaded, calls return and spans are delivered."""
    over = threading.Event()
    sink.reply = lambda request: (
        Reply() if not request.path.startswith(BELOW) or over.wait(LONG_S) else Reply(500)
    )
    log(client)
    wait_until(lambda: len(sink.spans) == 2)
    assert client.flush(0.2).pending == 1
    over.set()
    assert client.flush() == Delivery(delivered=1)


def test_full_queue_takes_no_more() -> None:
    """A document that does not fit into the queue is refused until removed ones make room."""
    queue = DocumentQueue(max_bytes=10)
    assert queue.put(HashedText("a", b"12345678"))
    assert queue.put(HashedText("a", b"12345678"))  # already in the queue
    assert not queue.put(HashedText("b", b"123"))
    taken = queue.take(1, 1)
    assert taken is not None
    assert not queue.put(HashedText("b", b"123"))
    queue.remove(taken)
    assert queue.put(HashedText("b", b"123"))
    assert queue.pending == 1


def test_exit_delivers(tmp_path: Path, sink: Sink) -> None:
    """A process that ends delivers its documents first."""
    run_script(tmp_path, PROGRAM.format(address=sink.address, spool=None))
    assert values(sink) == [LONG]


@at_night
def test_exit_without_a_receiver_is_bounded(tmp_path: Path) -> None:
    """Without a receiver, the process ends and reports the lost documents."""
    address = closed_address()
    ended = run_script(tmp_path, PROGRAM.format(address=address, spool=None))
    text = f"1 artifact could not be delivered to {address}: connection refused"
    assert text in ended.stderr


def test_forked_child_uploads_its_own(tmp_path: Path, sink: Sink) -> None:
    """A forked child uploads the documents it logs, and its parent its own."""
    child = """
    pid = os.fork()
    with client.run("fit") as run:
        run.log("b", ("child" if pid == 0 else "parent") * 20_000)
    if pid == 0:
        print(bool(client.flush()))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    """
    program = PROGRAM.format(address=sink.address, spool=None)
    assert run_script(tmp_path, program + dedent(child)).stdout == "True\n"
    assert sorted(value[0] for value in values(sink)) == ["c", "p", "x"]


# With a spool.


def test_killed_process_loses_no_document(tmp_path: Path, sink: Sink) -> None:
    """With a spool, a logged document survives a kill, and the next process uploads it."""
    spool = str(tmp_path / "spool")
    program = PROGRAM.format(address=closed_address(), spool=spool)
    run_script(tmp_path, program + "os.kill(os.getpid(), 9)\n", status=-9)
    with opened(sink.address, spool=spool) as client:
        client.trace(name="model")(lambda: 1)()
        wait_until(lambda: values(sink) == [LONG])
        assert client.flush()
    assert [path for path in Path(spool).rglob("*") if path.parent != Path(spool)] == []


def test_spool_keeps_what_is_not_delivered(tmp_path: Path) -> None:
    """Without a receiver, documents stay in the spool and are not lost."""
    spool = tmp_path / "spool"
    program = PROGRAM.format(address=closed_address(), spool=str(spool))
    text = program + "import json\nclient.close()\nprint(json.dumps(dict(client.stats().lost)))\n"
    assert ask_script(tmp_path, text) == {}
    [path] = spool.glob("artifacts-*/*")
    assert path.read_text() == LONG


def test_unfinished_files_are_no_documents(tmp_path: Path) -> None:
    """Partly written files of a killed process are not uploaded, and removed an hour later."""
    sha256 = "a" * 64
    fresh, old = (tmp_path / f"{sha256}.{number}.new" for number in (1, 2))
    for path in (fresh, old):
        path.write_bytes(b"{")
    os.utime(old, (1, 1))
    documents = DocumentQueue(tmp_path)
    assert documents.take(1, 1) is None
    assert (fresh.exists(), old.exists()) == (True, False)


def test_spool_is_bounded(tmp_path: Path) -> None:
    """A document spool does not exceed its limit, including documents of other processes."""
    first, second = DocumentQueue(tmp_path, 10), DocumentQueue(tmp_path, 10)
    assert first.put(HashedText("a" * 64, b"12345678"))
    assert second.take(1, 1) is not None
    assert not second.put(HashedText("b" * 64, b"123"))


def test_event_names_the_address(client: Client, sink: Sink) -> None:
    """The event of an uploaded document has its address instead of the document."""
    log(client)
    assert client.flush()
    [path] = sink.documents
    assert [event.get("otel_ml.artifact.uri") for event in sink.events] == [sink.address + path]
    assert [event.get("otel_ml.artifact.json") for event in sink.events] == [None]


LARGE = np.arange(200_000.0).reshape(400, 500)


def artifact_events(sink: Sink) -> list[dict[str, Any]]:
    return [event for event in sink.events if event.get("otel_ml.artifact.ref") == "a"]


def test_large_array_is_recorded_as_it_was(client: Client, sink: Sink) -> None:
    """An array that changes right after it was logged is stored as it was when logged."""
    array = LARGE.copy()
    with client.run("fit") as run:
        run.log("a", array)
        array.fill(0)
    assert client.flush() == Delivery(delivered=3)
    [stored] = values(sink)
    assert np.array_equal(stored, LARGE)
    [event] = artifact_events(sink)
    [(path, body)] = sink.documents.items()
    digest = hashlib.sha256(body).hexdigest()
    assert event["otel_ml.artifact.uri"] == sink.address + path
    assert (event["otel_ml.artifact.sha256"], event["otel_ml.artifact.bytes"]) == (
        digest,
        len(body),
    )
    preview = json.loads(event["otel_ml.artifact.preview"])
    assert (preview["type"], preview["max"]) == ("otel_ml.types.Numpy", 199_999.0)


@pytest.mark.parametrize(
    "value",
    [
        LARGE,
        LARGE[:1],
        pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
        pd.Series([1.5], name="a"),
        pl.DataFrame({"a": [1, 2], "b": ["x", None]}),
        Image.new("RGB", (3, 2), "teal"),
    ],
    ids=["large array", "array", "DataFrame", "Series", "polars", "image"],
)
def test_value_is_not_written_on_the_caller(client: Client, sink: Sink, value: Any) -> None:
    """`log` copies arrays, tables and images; the sending thread writes and hashes them."""
    called: set[str] = set()
    with client.run("fit") as run:
        sys.setprofile(lambda frame, event, _: called.add(frame.f_code.co_name))
        try:
            run.log("a", value)
        finally:
            sys.setprofile(None)
    assert "copy_value" in called
    assert not called & {"make_artifact", "write_file", "describe", "dumps"}
    assert client.flush()
    [event] = artifact_events(sink)
    assert event["otel_ml.artifact.sha256"]


def test_table_is_recorded_as_it_was(client: Client, sink: Sink) -> None:
    """A table that changes right after it was logged is stored as it was when logged."""
    table = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    expected = table.copy()
    with client.run("fit") as run:
        run.log("a", table)
        table.iloc[0, 0] = 7
        table.loc[1, "b"] = "y"
    assert client.flush()
    [event] = artifact_events(sink)
    content = base64.b64decode(event["otel_ml.artifact.base64"])
    assert types.load(content, event["otel_ml.artifact.type"]).data.equals(expected)


def test_copies_of_large_arrays_are_bounded(client: Client, sink: Sink) -> None:
    """If 32 MiB of copies are pending, an array is serialized during the call."""
    waiting = DeferredAttributes(dict, MOST_BYTES)
    assert copy_value("a", LARGE, Redaction()) is None
    log(client, LARGE)
    assert len(waiting) == 0  # computes it, which frees the copy
    assert copy_value("a", LARGE, Redaction()) is not None
    assert client.flush() == Delivery(delivered=3)
    assert len(values(sink)) == 1


@sampled(3)
@pytest.mark.parametrize(
    "value",
    [
        np.zeros((4_000, 1_000)),
        LARGE.astype(object),
        LARGE.tolist(),
        "x" * 10**6,
        pd.DataFrame({"a": [{"password": "x"}]}),
        pd.DataFrame({"password": ["x"]}),
        pl.DataFrame({"a": [{"password": "x"}]}),
    ],
)
def test_values_that_are_not_copied(value: Any) -> None:
    """Very large values, and values that may contain secrets, are written during the call."""
    assert copy_value("a", value, Redaction()) is None


def test_table_is_not_copied_for_a_redact_function() -> None:
    """The user's function sees the texts of a table during the call."""
    table = pd.DataFrame({"a": ["x"]})
    assert copy_value("a", table, Redaction()) is not None
    assert copy_value("a", table, Redaction(str.upper)) is None


def test_secret_array_is_not_copied() -> None:
    """A value with a secret name is not copied."""
    assert copy_value("password", LARGE, Redaction()) is None
