"""In FastAPI, spans of the OpenTelemetry instrumentation and otel-ml runs form one trace."""

import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.request import urlopen

import pytest

from tests.support.collector import CollectorProcess
from tests.support.interop.receiver import Receiver, open_receiver
from tests.support.services.processes import serving

# Each path with the model that it calls. The model calls `embed` for each word.
MODELS: Final = {
    "sync": "predict",
    "async": "ask",
    "stream": "stream",
    "stream_async": "stream_async",
    "background": "later",
}
TEXTS: Final = ("one-word", "two-more-words", "three-of-these-words")
BY_WORD: Final = ("stream", "stream_async")
ASGI_MESSAGE: Final = re.compile(" http (send|receive)$")

# A trace: each span's name and its parent's, sorted; None is the parent of a root.
Tree = list[tuple[str, str | None]]


def expected(*, service: bool, models: bool) -> list[Tree]:
    """Return the traces of all requests, with spans of the service, of the models, or of both."""
    trees = []
    for path, model in MODELS.items():
        for text in TEXTS:
            root = f"GET /{path}"
            words = len(text.split("-")) if path in BY_WORD else 1
            tree: Tree = []
            above = None
            if service:
                tree.append((root, None))
                above = root
            if service and path == "background":
                above = f"BackgroundTask {model}"
                tree.append((above, root))
            if models:
                tree += [(model, above)] + [("embed", model)] * words
            trees.append(sorted(tree, key=str))
    return sorted(trees, key=str)


def trees_of(spans: Iterable[Mapping[str, Any]]) -> list[Tree]:
    """Group spans, each with `id`, `parent`, `trace` and `name`, by their traces.

    Spans of ASGI messages are left out: they have no children, and their number varies.
    """
    known = {span["id"]: span for span in spans if not ASGI_MESSAGE.search(span["name"])}
    trees: dict[str, Tree] = {}
    for span in known.values():
        above = known.get(span["parent"])
        parent = above["name"] if above else "elsewhere" if span["parent"] else None
        trees.setdefault(span["trace"], []).append((span["name"], parent))
    return sorted((sorted(tree, key=str) for tree in trees.values()), key=str)


def ask_all(**variables: str) -> None:
    """Start the service, request every path with every text concurrently, and stop the service."""
    app = ("uvicorn", "tests.nightly.services.programs.shop:app", "--port", "0")
    with serving(*app, ready="running on", variables=variables) as service:

        def ask(path: str) -> bytes:
            with urlopen(f"{service.address}/{path}", timeout=30) as answer:
                body: bytes = answer.read()
            return body

        with ThreadPoolExecutor(8) as pool:
            asked = [f"{path}?text={text}" for text in TEXTS for path in MODELS]
            answers = dict(zip(asked, pool.map(ask, asked), strict=True))
        assert answers["stream?text=one-word"] == b"one3 word4 "
        assert answers["stream_async?text=one-word"] == b"one3 word4 "
        assert answers["async?text=one-word"] == b"[8]"
        service.stop()


def collected(collector: CollectorProcess, project: str) -> list[Tree]:
    """Return the traces of a project's runs, from the collector's API."""
    spans = []
    for trace in {run["trace_id"] for run in collector.runs(project)}:
        spans += [
            {
                "id": run["run_id"],
                "parent": run["parent_run_id"],
                "trace": run["trace_id"],
                "name": run["name"],
            }
            for run in collector.get(f"/traces/{trace}")["runs"]
        ]
    return trees_of(spans)


def received(receiver: Receiver) -> list[Tree]:
    """Return the traces that another backend received."""
    return trees_of(
        {
            "id": key,
            "parent": span["parent_id"],
            "trace": span["trace_id"],
            "name": span["name"],
        }
        for key, span in receiver.spans.items()
    )


@pytest.fixture
def theirs() -> Iterator[Receiver]:
    """Start the backend of the service."""
    with open_receiver() as receiver:
        yield receiver


def test_joined(collector: CollectorProcess) -> None:
    """With the service's provider, a request's spans and its runs form one trace."""
    ask_all(OTEL_ML_PROJECT="joined", SERVICE_ENDPOINT=collector.endpoint)
    assert collected(collector, "joined") == expected(service=True, models=True)


def test_trace_shows_both_kinds(collector: CollectorProcess) -> None:
    """The API's trace shows the request as a server span and its models as runs."""
    app = ("uvicorn", "tests.nightly.services.programs.shop:app", "--port", "0")
    variables = {"OTEL_ML_PROJECT": "both", "SERVICE_ENDPOINT": collector.endpoint}
    with serving(*app, ready="running on", variables=variables) as service:
        assert service.get("/sync?text=word") == [4]
        service.stop()
    runs = {run["name"]: run for run in collector.runs("both")}
    trace = collector.get(f"/traces/{runs['predict']['trace_id']}")["runs"]
    assert [
        (run["name"], run["kind"], run["span_kind"], run["project"])
        for run in trace
        if not ASGI_MESSAGE.search(run["name"])
    ] == [
        ("GET /sync", "span", "server", "default"),
        ("predict", "model", "internal", "both"),
        ("embed", "model", "internal", "both"),
    ]


def test_joined_with_endpoint(collector: CollectorProcess, theirs: Receiver) -> None:
    """With an endpoint too, runs go to both backends, and the service's spans only to its own."""
    ask_all(
        OTEL_ML_PROJECT="endpoint",
        SERVICE_ENDPOINT=theirs.address,
        MODELS_ENDPOINT=collector.endpoint,
    )
    assert received(theirs) == expected(service=True, models=True)
    below = [
        sorted(((name, parent or "elsewhere") for name, parent in tree), key=str)
        for tree in expected(service=False, models=True)
    ]
    assert collected(collector, "endpoint") == sorted(below, key=str)


def test_without_instrumentation(collector: CollectorProcess) -> None:
    """In a service that is not traced itself, the runs of a request form a separate trace."""
    ask_all(OTEL_ML_PROJECT="own", MODELS_ENDPOINT=collector.endpoint)
    assert collected(collector, "own") == expected(service=False, models=True)
