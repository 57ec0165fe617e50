"""One test for each promise, with one real collector; `make test` runs these and the unit tests.

Tests share the collector and are isolated from each other by project. The tests of keys and of
``kill -9`` share a second one, which is killed and started again.
"""

import gzip
import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_ml import Client, Dataset, Judge, load_result, types
from otel_ml.experiments.result import Result
from otel_ml.judges.ready import exact
from otel_ml.reader import Reader
from otel_ml_collector.span import Span, Value
from tests.support.collector import CollectorProcess, running
from tests.support.keys import WRONG, ask, make_key
from tests.support.load import PROTOBUF, make_request, run_ids
from tests.support.origins.program import finish, preamble, snippet, start
from tests.support.otel_ml_collector.log_wire import encode_logs
from tests.support.otel_ml_collector.logs import make_log
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_span,
    make_start,
)
from tests.support.otel_ml_collector.wire import encode
from tests.support.otlp_json import to_otlp_json
from tests.support.otlp_sink import Sink, http_sink
from tests.support.plain_run import plain_run, written
from tests.support.senders import EXPORT
from tests.support.waiting import wait_until

JSON: Final = {"content-type": "application/json"}
PRICES: Final = {"openai": {"house-1": {"input": 10, "output": 20, "cached": 1}}}  # $ per million
RAYMON: Final = "d6ac1bf0-4e22-43ae-a85e-3cb2c1e5da80"  # the project of Raymon's snippets
RAYMON_TRACE: Final = "472b649d-cce8-4d50-9682-6b81a80755c0"
COMPRESSIONS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}
GRPC_COMPRESSIONS: Final = {
    "identity": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}
# If the collector is busy, the request is sent again, as exporters do.
GRPC_RETRIES: Final = [
    (
        "grpc.service_config",
        json.dumps(
            {
                "methodConfig": [
                    {
                        "name": [{}],
                        "retryPolicy": {
                            "maxAttempts": 5,
                            "initialBackoff": "1s",
                            "maxBackoff": "5s",
                            "backoffMultiplier": 2,
                            "retryableStatusCodes": ["UNAVAILABLE"],
                        },
                    }
                ]
            }
        ),
    )
]

# The programs of the three origins, and two more.
SHORT: Final = """
from otel_ml import Client

client = Client("short")

@client.trace
def double(number):
    return 2 * number

for number in range(3):
    double(number)
"""
SEEDED: Final = """
import os
import sys

if os.environ.get("PYTHONHASHSEED") != "{seed}":
    os.environ["PYTHONHASHSEED"] = "{seed}"
    os.execv(sys.executable, [sys.executable, *sys.argv])
"""
HASHED: Final = """
from otel_ml import Client

client = Client("hashed")
RATE, LIMIT, UNIT, NAMES = 0.5, 3, "m", ("a", "b")
KNOWN = frozenset({"north", "south", "east", "west"})

@client.trace
def measure(number):
    return {"text": f"{min(number * RATE, LIMIT)} {UNIT}", "known": NAMES[0] in KNOWN}

measure(1)
"""
PROGRAMS: Final = {
    "trace": preamble("a") + snippet("a1_trace"),
    "judge": preamble("a") + snippet("a2_judge") + "\nmodel(1, 2)\n",
    "raymon": "\n".join(
        [preamble("b"), *map(snippet, ("b1_logger", "b2_text", "b3_tags", "b4_data"))]
    ).replace("trace_id=None", f'trace_id="{RAYMON_TRACE}"'),
    "metrics": preamble("c") + preamble("c1") + snippet("c1_metrics"),
    "handler": preamble("c")
    + snippet("c4_handler").replace("return model", "return model.handle.version")
    + "\ntrain(project, 0.1)\n",
    "short": SHORT,
    **{f"hashed {seed}": SEEDED.format(seed=seed) + HASHED for seed in (1, 2)},
}
FETCH: Final = (
    preamble("b5")
    + snippet("b5_fetch")
    + "\nimport json\nprint(json.dumps([orig.tolist(), str(orig.dtype), orig.shape]))\n"
)

# The exit status of each program, its output and its errors.
Ended = Mapping[str, "Future[tuple[int, str, str]]"]
WELL: Final = (0, "", "")

# The rules of the alert tests.
FAILS: Final = {
    "where": 'model == "checkout"',
    "when": "error_share > 0.5",
    "window": "1m",
    "hold": "1 of 1",
    "min_runs": 1,
    "delay": "0s",
    "notify": ["desk"],
    "annotations": {"summary": "{{ rule }}: {{ value }}"},
}
RULES: Final = {
    "fails": FAILS,
    "works": {**FAILS, "when": "error_share > 1"},
    "nobody": {**FAILS, "where": 'model == "nobody"', "when": "runs < 1"},
}


def deliver(collector: CollectorProcess, project: str, *spans: Span) -> None:
    """Send spans to a project, and check that all are stored."""
    body = encode(spans)
    collector.deliver(body, {**PROTOBUF, "x-otel-ml-project": project})


def post(
    collector: CollectorProcess, path: str, body: bytes, headers: Mapping[str, str]
) -> tuple[int, Mapping[str, str], bytes]:
    """Send bytes as exporters do, again while the collector is busy; return the last response."""
    answers: list[tuple[int, Mapping[str, str], bytes]] = []

    def is_answered() -> bool:
        answers.append(collector.post(path, body, headers))
        return answers[-1][0] != HTTPStatus.SERVICE_UNAVAILABLE

    wait_until(is_answered, 60)
    return answers[-1]


def call(model: str, attributes: Mapping[str, Value] | None = None, **fields: Any) -> Span:
    """Make a span of a model call that starts now."""
    return make_call(model, attributes, **{"start_ns": time.time_ns(), **fields})


def put(collector: CollectorProcess, path: str, body: object) -> None:
    """Save a document through the API."""
    sent = ask(
        collector,
        f"/api/v1{path}",
        method="PUT",
        body=json.dumps(body).encode(),
        content_type="application/json",
    )
    assert sent.status == 200, sent.body


def names(collector: CollectorProcess, project: str, where: str) -> list[str]:
    """List the models of the runs that match a filter."""
    return sorted(run["model"] for run in collector.runs(project, where=where))


def only_run(collector: CollectorProcess, project: str, where: str = "") -> dict[str, Any]:
    """Return the only run of a project that matches a filter, with all its details."""
    [summary] = collector.runs(project, where=where)
    run: dict[str, Any] = collector.get(f"/projects/{quote(project)}/runs/{summary['run_id']}")
    return run


@pytest.fixture(scope="module")
def desk() -> Iterator[Sink]:
    """A webhook that receives alerts."""
    with http_sink(takes_otlp=False) as sink:
        yield sink


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, desk: Sink) -> Iterator[CollectorProcess]:
    """The collector of this module, with rules and runs for its first evaluation of alerts.

    It evaluates rules 5 s after its start, for the newest full minute. The runs cover three minutes
    before and two minutes after now, so each possible window has some.
    """
    receiver = {"kind": "webhook", "url": f"http://{desk.address}/hook", "allow_private": True}
    settings = {"--alert-targets": {"desk": receiver}, "--prices": PRICES}
    arguments = [text for name, value in settings.items() for text in (name, json.dumps(value))]
    with running(tmp_path_factory.mktemp("data"), *arguments) as process:
        now_ns = time.time_ns()
        deliver(
            process,
            "alerts",
            *(
                make_call("checkout", start_ns=now_ns + seconds * SECOND_NS, status_code=2)
                for seconds in range(-180, 120, 10)
            ),
        )
        for name, rule in RULES.items():
            put(process, f"/projects/alerts/alerts/{name}", rule)
        yield process


@pytest.fixture(scope="module", autouse=True)
def programs(
    collector: CollectorProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ended]:
    """Run all programs, two at a time, while other tests run."""

    def run(text: str, folder: Path) -> tuple[int, str, str]:
        program = start(folder, text, collector.endpoint)
        outputs = program.communicate(timeout=120)
        return program.returncode, *outputs

    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(run, text, tmp_path_factory.mktemp("program"))
            for name, text in PROGRAMS.items()
        }


# Encodings of OTLP.


def send_over_http(
    collector: CollectorProcess, body: bytes, headers: Mapping[str, str], encoding: str
) -> tuple[int, bytes]:
    """Send spans in an encoding; return the response's status and body."""
    named = {} if encoding == "identity" else {"content-encoding": encoding}
    packed = COMPRESSIONS[encoding](body)
    status, _, answer = post(collector, "/v1/traces", packed, {**headers, **named})
    return status, answer


def encoded_call(encoding: str) -> Span:
    """Make a call with each kind of value."""
    return call(
        f"sent as {encoding}",
        {
            "otel_ml.project": "encodings",
            "otel_ml.kind": "model",
            "otel_ml.inputs": '{"question": "é"}',
            "otel_ml.outputs": "[1, null, 2.5]",
            "otel_ml.tag.client": "lakeview",
            "otel_ml.tag.first": True,
            "otel_ml.score.grounded": 0.25,
        },
    )


def expected_run(span: Span) -> dict[str, object]:
    """Return the complete API response for an `encoded_call`."""
    score = {"judge": "grounded", "version": None, "digest": "", "score": 0.25, "passed": None}
    texts = dict.fromkeys(("label", "explanation", "error", "annotator"), "")
    return plain_run(
        id_of(span),
        span.start_ns,
        project="encodings",
        kind="model",
        name=span.name,
        span_kind="internal",
        model=span.name,
        latency_ms=1.0,
        inputs={"question": "é"},
        outputs=[1, None, 2.5],
        tags={"client": "lakeview", "first": True},
        tag_details=[
            {"name": "client", "value": "lakeview", "type": "", "group": ""},
            {"name": "first", "value": True, "type": "", "group": ""},
        ],
        scores={"grounded": 0.25},
        evaluations=[
            {**score, **texts, "source": "judge", "actual": None, "time": written(span.end_ns)}
        ],
        attributes={},
        resource={},
        scope={"name": "tests", "version": "1"},
        dialect="otel_ml",
    )


def test_http_protobuf(collector: CollectorProcess) -> None:
    """A span in protobuf over HTTP is stored completely, plain and in each compression."""
    for encoding in COMPRESSIONS:
        span = encoded_call(encoding)
        answer = send_over_http(collector, encode([span]), PROTOBUF, encoding)
        assert (encoding, answer) == (encoding, (200, b""))
        assert collector.get(f"/runs/{id_of(span)}") == expected_run(span)


def test_http_json(collector: CollectorProcess) -> None:
    """A span in JSON over HTTP is stored completely, plain and in each compression."""
    for encoding in COMPRESSIONS:
        span = encoded_call(encoding)
        request = to_otlp_json(ExportTraceServiceRequest.FromString(encode([span])))
        answer = send_over_http(collector, json.dumps(request).encode(), JSON, encoding)
        assert (encoding, answer) == (encoding, (200, b"{}"))
        assert collector.get(f"/runs/{id_of(span)}") == expected_run(span)


def test_grpc(collector: CollectorProcess) -> None:
    """A span over gRPC is stored completely, plain and in each compression."""
    with grpc.insecure_channel(collector.grpc, options=GRPC_RETRIES) as channel:
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
        for encoding, compression in GRPC_COMPRESSIONS.items():
            span = encoded_call(encoding)
            answer = export(encode([span]), timeout=120, compression=compression)
            assert (encoding, answer) == (encoding, b"")
            assert collector.get(f"/runs/{id_of(span)}") == expected_run(span)


def test_log_record(collector: CollectorProcess) -> None:
    """A log record written during a span is a line of its run."""
    span = call("logs")
    deliver(collector, "logs", span)
    log = make_log("cache is cold", of=span, time_ns=span.start_ns)
    headers = {**PROTOBUF, "x-otel-ml-project": "logs"}
    assert post(collector, "/v1/logs", encode_logs([log]), headers)[::2] == (200, b"")
    wait_until(lambda: bool(collector.get(f"/runs/{id_of(span)}")["logs"]))
    [line] = collector.get(f"/runs/{id_of(span)}")["logs"]
    assert (line["severity"], line["message"]) == ("info", "cache is cold")


def test_undecodable_body(collector: CollectorProcess) -> None:
    """A body that is not OTLP is refused for good."""
    status, headers, _ = post(collector, "/v1/traces", b"\x0a\x7f\x01", PROTOBUF)
    assert (status, headers.get("retry-after")) == (400, None)


def test_bad_span_among_good(collector: CollectorProcess) -> None:
    """A bad span is rejected by partial success; the others are stored."""
    good, bad = call("good"), call("bad", trace_id=bytes(16))
    request = to_otlp_json(ExportTraceServiceRequest.FromString(encode([good, bad])))
    headers = {**JSON, "x-otel-ml-project": "partial"}
    status, _, answer = post(collector, "/v1/traces", json.dumps(request).encode(), headers)
    message = "Spans rejected for good: invalid_trace_id 1"
    partial = {"rejectedSpans": "1", "errorMessage": message}
    assert (status, json.loads(answer)) == (200, {"partialSuccess": partial})
    assert names(collector, "partial", "") == ["good"]


def test_sent_twice(collector: CollectorProcess) -> None:
    """A span that is sent twice is one run."""
    span = call("twice")
    for _ in range(2):
        deliver(collector, "twice", span)
    assert names(collector, "twice", "") == ["twice"]


# Filters and figures.


@pytest.fixture(scope="module")
def shelf(collector: CollectorProcess) -> str:
    """A project of five runs for tests of filters."""
    deliver(
        collector,
        "shelf",
        call("apple", {"otel_ml.tag.client": "a", "otel_ml.score.good": 0.9}),
        call("berry", {"otel_ml.tag.client": "b", "otel_ml.outputs": '{"text": "red and ripe"}'}),
        call("cherry", {"otel_ml.tag.client": "a", "otel_ml.inputs": '{"size": 3}'}),
        call("date", status_code=2, status_message="too dry"),
        make_call("elder", start_ns=time.time_ns() - SECOND_NS, end_ns=time.time_ns()),
    )
    return "shelf"


def test_filters(collector: CollectorProcess, shelf: str) -> None:
    """A filter lists the runs that match it."""
    expected = {
        "": ["apple", "berry", "cherry", "date", "elder"],
        'model == "apple"': ["apple"],
        'model in ("apple", "date")': ["apple", "date"],
        'outcome == "error"': ["date"],
        '"dry" in error_message': ["date"],
        "latency > 500ms": ["elder"],
        'tags["client"] == "a"': ["apple", "cherry"],
        'tags["client"] == "a" and model != "apple"': ["cherry"],
        'tags["client"] == "b" or outcome == "error"': ["berry", "date"],
        'scores["good"] >= 0.9': ["apple"],
        "inputs.size == 3": ["cherry"],
        '"ripe" in outputs.text': ["berry"],
    }
    assert {where: names(collector, shelf, where) for where in expected} == expected


def test_filter_with_not(collector: CollectorProcess, shelf: str) -> None:
    """A filter with `not` lists the runs that do not match the negated part."""
    expected = {
        'not model == "apple"': ["berry", "cherry", "date", "elder"],
        'not (tags["client"] == "a" or outcome == "error")': ["berry", "elder"],
        'outcome == "ok" and not tags["client"] == "a"': ["berry", "elder"],
    }
    assert {where: names(collector, shelf, where) for where in expected} == expected


def test_wrong_filter(collector: CollectorProcess, shelf: str) -> None:
    """A filter with a syntax error is refused, and the error has the position."""
    error = collector.get(f"/projects/{shelf}/runs", where="latency_ms >")["error"]
    assert (error["code"], error["field"], error["column"]) == ("bad_query", "where", 12)


def test_quantiles(collector: CollectorProcess) -> None:
    """For 100 calls of 1 to 100 s, the quantiles are within 1 % of 50, 90, 95 and 99 s."""
    now_ns = time.time_ns()
    calls = [
        make_call("slow", start_ns=now_ns - s * SECOND_NS, end_ns=now_ns) for s in range(1, 101)
    ]
    deliver(collector, "quantiles", *calls)
    total = collector.get("/projects/quantiles/stats")["total"]
    seconds = {name: total[f"{name}_ms"] / 1000 for name in ("p50", "p90", "p95", "p99")}
    assert seconds == pytest.approx({"p50": 50, "p90": 90, "p95": 95, "p99": 99}, rel=0.011)


def test_errors(collector: CollectorProcess, shelf: str) -> None:
    """Statistics count the runs of a project and the failed runs."""
    total = collector.get(f"/projects/{shelf}/stats")["total"]
    assert (total["runs"], total["errors"], total["error_share"]) == (5, 1, 0.2)


def test_price_of_cached_tokens(collector: CollectorProcess) -> None:
    """600 new and 400 cached input tokens and 100 output tokens cost 0.84 ct together."""
    usage: dict[str, Value] = {
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "house-1",
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.cache_read.input_tokens": 400,
        "gen_ai.usage.output_tokens": 100,
    }
    deliver(collector, "prices", call("priced", usage))
    run = only_run(collector, "prices")
    assert run["cost"] == 0.0084  # 600 x 10 + 400 x 1 + 100 x 20, per million
    assert run["tokens"] == {
        "input": 1000,
        "output": 100,
        "cached": 400,
        "reasoning": None,
        "cache_creation": None,
    }
    assert collector.get("/projects/prices/stats")["total"]["cost"] == pytest.approx(0.0084)


def test_score_that_comes_twice(collector: CollectorProcess) -> None:
    """If a version of a judge scores a run twice, only the later score counts."""
    span = call("scored", {"otel_ml.score.good": 0.5})
    told: dict[str, Value] = {"otel_ml.judge.name": "good", "otel_ml.score.value": 0.75}
    deliver(collector, "scored", span)
    deliver(
        collector, "scored", make_record("evaluation", span, told, start_ns=span.end_ns + MS_NS)
    )

    def judges() -> Any:
        return collector.get("/projects/scored/stats")["total"]["judges"]

    wait_until(lambda: [judge["mean_score"] for judge in judges()] == [0.75])
    expected = {"judge": "good", "version": None, "digest": "", "evaluations": 1, "failed": 0}
    assert judges() == [{**expected, "mean_score": 0.75, "pass_rate": None}]
    [evaluation] = only_run(collector, "scored")["evaluations"]
    assert evaluation["score"] == 0.75


# Pages.


@pytest.fixture(scope="module")
def marked(collector: CollectorProcess) -> Span:
    """A run whose texts are HTML."""
    span = call(
        "<b>bold</b>",
        {
            "otel_ml.inputs": '{"question": "<script>alert(1)</script>"}',
            "otel_ml.outputs": '"<img src=x onerror=alert(1)>"',
            "otel_ml.tag.client": "<i>lakeview</i>",
            "otel_ml.score.good": 0.5,
        },
    )
    deliver(collector, "pages", span)
    return span


def test_pages(collector: CollectorProcess, marked: Span) -> None:
    """Every topic has an HTML page."""
    paths = ["", *("/runs", f"/runs/{id_of(marked)}", "/models", "/judges", "/monitor")]
    paths += ["/alerts", "/metrics", "/datasets", "/experiments", "/queues", "/sessions"]
    for path in ["/", *(f"/projects/pages{path}" for path in paths)]:
        answer = ask(collector, path)
        assert (path, answer.status) == (path, 200)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.text.startswith("<!doctype html>")


def test_pages_escape_their_text(collector: CollectorProcess, marked: Span) -> None:
    """The texts of a run are escaped on its page and in the list."""
    for path in (f"/runs/{id_of(marked)}", "/runs"):
        page = collector.get_text(f"/projects/pages{path}")
        shown = [text in page for text in ("&lt;b&gt;bold&lt;/b&gt;", "&lt;script&gt;alert(1)")]
        raw = [text in page for text in ("<b>bold", "<script>alert", "<img src=x", "<i>lakeview")]
        assert (path, shown, raw) == (path, [True] * 2, [False] * 4)


def test_page_of_nothing(collector: CollectorProcess) -> None:
    """A run that does not exist gives a 404 page."""
    answer = ask(collector, f"/projects/pages/runs/{'0' * 31}1-{'0' * 15}1")
    assert (answer.status, answer.text.startswith("<!doctype html>")) == (404, True)


# Judges and experiments, with the SDK in the process of the test.


def is_short(outputs: str) -> float:
    return 1.0 if len(outputs) < 5 else 0.25


def is_enough(score: float) -> bool:
    return score > 0.5


def shout(text: str) -> str:
    return text.upper()


def test_judge(collector: CollectorProcess) -> None:
    """A judge scores each call, and the store counts passes."""
    client = Client("judged", endpoint=collector.endpoint, join=False)
    judge = client.add_judge(Judge("short", "Short answers pass.", is_short, is_enough))
    judged = client.assess(judge)(shout)
    for text in ("yes", "perhaps", "no"):
        judged(text)
    wait_until(lambda: bool(client.flush()), 60)
    client.close()

    def newest() -> Any:
        [found] = collector.get("/projects/judged/judges")["judges"]
        return found["newest"]

    wait_until(lambda: bool(collector.get("/projects/judged/judges")["judges"]))
    wait_until(lambda: bool(newest()["evaluations"] == 3))
    told = ("judge", "version", "evaluations", "errors", "mean_score", "passed", "pass_rate")
    assert [newest()[name] for name in told] == ["short", 1, 3, 0, 0.75, 2, pytest.approx(2 / 3)]
    run = only_run(collector, "judged", 'not passed["short"]')
    assert (run["inputs"], run["outputs"], run["scores"]) == (
        {"text": "perhaps"},
        "PERHAPS",
        {"short": 0.25},
    )


def add(a: int, b: int) -> int:
    return a + b


def add_or_fail(a: int, b: int) -> int:
    if a % 2:
        raise ValueError(f"odd: {a}")
    return a + b


@dataclass(frozen=True, slots=True)
class Compared:
    """Two experiments on the same 40 items; the first is the baseline of the second."""

    baseline: Result
    candidate: Result


@pytest.fixture(scope="module")
def compared(collector: CollectorProcess) -> Compared:
    client = Client("experiments", endpoint=collector.endpoint, join=False)
    rows = [{"inputs": {"a": a, "b": 1}, "expected": a + 1} for a in range(40)]
    assert client.save(Dataset("sums", rows)) == "sums:v1"
    baseline = client.evaluate(add, "sums", [exact])
    candidate = client.evaluate(add_or_fail, "sums", [exact], baseline=baseline.experiment.id)
    wait_until(lambda: bool(client.flush()), 60)
    client.close()
    return Compared(baseline, candidate)


def test_experiment(collector: CollectorProcess, compared: Compared) -> None:
    """An experiment is stored with its runs and scores, separate from production."""
    with Reader("experiments", endpoint=collector.endpoint) as reader:
        again = load_result(compared.baseline.experiment.id, reader=reader)
    assert {run.outputs: run.judgements["exact"].passed for run in again.runs} == {
        a + 1: True for a in range(40)
    }
    assert (again.errors, again.wanted, collector.runs("experiments")) == (0, 40, [])


def test_verdict(collector: CollectorProcess, compared: Compared) -> None:
    """A candidate that fails on half of the items is worse, because a failed call does not pass."""
    path = f"/projects/experiments/experiments/{compared.candidate.experiment.id}"
    verdict = collector.get(path)["verdict"]
    counts = {name: verdict[name] for name in ("word", "common", "regressions", "fixed")}
    assert counts == {"word": "worse", "common": 40, "regressions": 20, "fixed": 0}
    [judge] = verdict["judges"]
    values = [judge[name]["value"] for name in ("baseline", "candidate", "difference")]
    assert (judge["name"], judge["word"], judge["reasons"]) == ("exact", "worse", [])
    assert values == [1.0, 0.5, -0.5]
    assert (compared.candidate.verdict, compared.candidate.errors) == ("worse", 20)


# Alerts.


def test_alert_fires(collector: CollectorProcess, desk: Sink) -> None:
    """A rule fires for the runs of a completed window, and its receiver is notified."""

    def of_rule() -> list[dict[str, Any]]:
        documents = [json.loads(sent.body) for sent in list(desk.requests)]
        return [document for document in documents if document["rule"] == "fails"]

    wait_until(lambda: bool(of_rule()), 150)
    [document] = of_rule()
    told = ("project", "rule", "status", "annotations")
    assert {name: document[name] for name in told} == {
        "project": "alerts",
        "rule": "fails",
        "status": "firing",
        "annotations": {"summary": "fails: 100\u202f%"},
    }
    [state] = collector.get("/projects/alerts/alerts/fails")["slices"]
    assert (state["state"], state["value"]) == ("firing", 1.0)


def test_alert_that_does_not_hold(collector: CollectorProcess, desk: Sink) -> None:
    """A rule whose condition does not hold never fires."""

    def state() -> Any:
        return collector.get("/projects/alerts/alerts/works")

    wait_until(lambda: state()["looked"] is not None, 150)
    assert (state()["firing"], state()["fired"]) == (0, 0)
    assert "works" not in {json.loads(sent.body)["rule"] for sent in list(desk.requests)}


def test_alert_without_data(collector: CollectorProcess, desk: Sink) -> None:
    """A rule without matching runs has the state "no data", and never fires."""

    def state() -> Any:
        return collector.get("/projects/alerts/alerts/nobody")

    wait_until(lambda: state()["looked"] is not None, 150)
    assert (state()["state"], state()["firing"], state()["fired"]) == ("no data", 0, 0)
    assert "nobody" not in {json.loads(sent.body)["rule"] for sent in list(desk.requests)}


# The programs.


def test_bighummingbird_trace(collector: CollectorProcess, programs: Ended) -> None:
    """BigHummingbird's first snippet records a run and the first version of its model."""
    assert programs["trace"].result() == WELL
    run = only_run(collector, "Concept Project")
    told = ("model", "version", "kind", "inputs", "outputs", "outcome", "scores", "tags")
    assert {name: run[name] for name in told} == {
        "model": "model",
        "version": 1,
        "kind": "model",
        "inputs": {"input_a": 1, "input_b": 2},
        "outputs": 3,
        "outcome": "ok",
        "scores": {},
        "tags": {},
    }
    version = collector.get("/projects/Concept%20Project/models/model/versions/1")
    assert version["definition"]["source"].startswith("def model(input_a, input_b):")


def test_bighummingbird_judge(collector: CollectorProcess, programs: Ended) -> None:
    """The call in BigHummingbird's second snippet is scored by version 1 of its judge."""
    assert programs["judge"].result() == WELL
    [evaluation] = only_run(collector, "Quick Start")["evaluations"]
    told = ("judge", "version", "error", "source")
    assert [evaluation[name] for name in told] == ["random-judge", 1, "", "judge"]
    assert 1 <= evaluation["score"] <= 10
    assert evaluation["passed"] == (evaluation["score"] > 5)


def test_raymon(collector: CollectorProcess, programs: Ended) -> None:
    """Raymon's snippets make one trace with three tags, a log line and four objects."""
    assert programs["raymon"].result() == WELL
    [summary] = collector.get(f"/traces/{RAYMON_TRACE}")["runs"]
    run = collector.get(f"/projects/{RAYMON}/runs/{summary['run_id']}")
    told = ("model", "kind", "outcome", "tags", "trace_keys")
    assert {name: run[name] for name in told} == {
        "model": "trace",
        "kind": "chain",
        "outcome": "ok",
        "tags": {"client": "bigshot_client", "sdk_version": "1.4.2", "prediction_time_ms": "120"},
        "trace_keys": [RAYMON_TRACE],
    }
    lines = [(line["severity"], line["message"]) for line in run["logs"]]
    assert lines == [("info", "You can log whatever you want here")]
    objects = collector.get(f"/projects/{RAYMON}/objects", trace_id=RAYMON_TRACE)["objects"]
    assert {item["ref"]: item["type"] for item in objects} == {
        "native-ref": "otel_ml.types.Native",
        "numpy-ref": "otel_ml.types.Numpy",
        "pandas-ref": "otel_ml.types.DataFrame",
        "image-ref": "otel_ml.types.Image",
    }


def test_raymon_reads_back(collector: CollectorProcess, programs: Ended, tmp_path: Path) -> None:
    """Raymon's last snippet returns the array that another process logged."""
    assert programs["raymon"].result() == WELL
    fetched = finish(start(tmp_path, FETCH, collector.endpoint))
    assert json.loads(fetched) == [[[1, 2], [3, 4]], "int64", [2, 2]]
    native = collector.get(f"/projects/{RAYMON}/objects", trace_id=RAYMON_TRACE, ref="native-ref")
    logged = {"foo": "bar", "whatever": ["you", "want"], "all_native_types": 1}
    assert types.load(native["obj_data"]).data == logged


def test_digitalhub_metrics(collector: CollectorProcess, programs: Ended) -> None:
    """DigitalHub's metrics are stored with a run: a second value makes a series."""
    assert programs["metrics"].result() == WELL
    run = only_run(collector, "churn", 'model == "fit"')
    assert run["metrics"] == {"loss": [0.002, 0.001], "accuracy": 0.95, "epochs": [1.0, 2.0, 3.0]}
    assert run["params"] == {"rate": 0.1}


def test_digitalhub_handler(collector: CollectorProcess, programs: Ended) -> None:
    """DigitalHub's job is a run whose output is the logged model, with its metrics."""
    assert programs["handler"].result() == WELL
    run = only_run(collector, "churn", 'model == "train"')
    versions = collector.get("/projects/churn/models/classifier/versions")["versions"]
    [version] = [version for version in versions if version["digest"] == run["outputs"]["model"]]
    assert (run["inputs"]["rate"], run["outcome"]) == (0.1, "ok")
    assert version["metrics"] == {"accuracy": 0.95}
    params = {"kind": "mlflow", "framework": "sklearn", "parameters": {"rate": 0.1}}
    assert version["definition"]["params"] == params


def test_short_script(collector: CollectorProcess, programs: Ended) -> None:
    """All calls of a script are delivered even if it ends right after them."""
    assert programs["short"].result() == WELL
    outputs = [run["outputs"] for run in collector.runs("short", order="oldest")]
    assert outputs == ["0", "2", "4"]


def test_version_in_two_processes(collector: CollectorProcess, programs: Ended) -> None:
    """The same code has the same version in processes with different hash seeds."""
    assert (programs["hashed 1"].result(), programs["hashed 2"].result()) == (WELL, WELL)
    assert [run["version"] for run in collector.runs("hashed")] == [1, 1]


# Keys, and kill -9.


@dataclass(frozen=True, slots=True)
class Killed:
    """A collector that was killed after it acknowledged runs, and restarted, with its keys.

    Attributes:
        admin: A key with all permissions.
        north, south: A key for one project each.
        acknowledged: The ids of the runs of `north` that were acknowledged before the kill.
    """

    collector: CollectorProcess
    admin: str
    north: str
    south: str
    acknowledged: Sequence[str]

    def ask(self, path: str, key: str) -> tuple[int, Any]:
        """Send a request to the API with a key; return status and document."""
        answer = ask(self.collector, f"/api/v1{path}", key)
        return answer.status, answer.json

    def list_runs(self, key: str, project: str) -> list[str]:
        """List the run ids of a project, including duplicates."""
        status, page = self.ask(f"/projects/{project}/runs?limit=1000", key)
        assert status == 200, page
        return sorted(run["run_id"] for run in page["runs"])


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    """Kill a collector that has acknowledged spans, restart it, and send half of the spans again.

    A sender whose response was lost with the collector does the same.
    """
    folder = tmp_path_factory.mktemp("killed")
    requests = [make_request("north", 20) for _ in range(2)]
    bodies = [request.SerializeToString() for request in requests]
    with running(folder) as process:
        admin = make_key(process, "", scopes="ingest,read,annotate,admin,import")
        north, south = (make_key(process, admin, project) for project in ("north", "south"))
        headers = {**PROTOBUF, "authorization": f"Bearer {north}"}
        for body in bodies:
            process.deliver(body, headers)
        process.kill()
    with running(folder) as process:
        process.deliver(bodies[0], headers)
        ids = [run_id for request in requests for run_id in run_ids(request)]
        yield Killed(process, admin, north, south, sorted(ids))


def test_kill_loses_nothing(killed: Killed) -> None:
    """After ``kill -9`` every acknowledged run is listed once."""
    assert killed.list_runs(killed.north, "north") == killed.acknowledged


def test_kill_counts_nothing_twice(killed: Killed) -> None:
    """After ``kill -9`` statistics count each acknowledged run and each score once."""
    _, stats = killed.ask("/projects/north/stats", killed.north)
    [judge] = stats["total"]["judges"]
    assert (stats["total"]["runs"], judge["evaluations"], judge["mean_score"]) == (40, 40, 4.5)


def test_key_reads_its_project_alone(killed: Killed) -> None:
    """With a key for one project, the runs, figures and pages of another project do not exist."""
    [run_id, *_] = killed.acknowledged
    paths = ["runs", f"runs/{run_id}", "stats", "models", "judges", "alerts"]
    for path in paths:
        asked = f"/projects/north/{path}"
        statuses = [killed.ask(asked, key)[0] for key in (killed.north, killed.south)]
        assert (path, statuses) == (path, [200, 404])
    assert ask(killed.collector, "/projects/north", killed.south).status == 404
    status, listed = killed.ask("/projects", killed.south)
    assert (status, [found["project"] for found in listed["projects"]]) == (200, [])


def test_key_writes_to_its_project_alone(killed: Killed) -> None:
    """A key for one project stores every span there, even if the span names another project."""
    body = encode([call("claimed", {"otel_ml.project": "north"})])
    killed.collector.deliver(body, {**PROTOBUF, "authorization": f"Bearer {killed.south}"})
    assert len(killed.list_runs(killed.admin, "south")) == 1
    assert killed.list_runs(killed.admin, "north") == killed.acknowledged


def test_wrong_key(killed: Killed) -> None:
    """Without a valid key requests are refused with 401."""
    asked = "/projects/north/runs"
    assert [killed.ask(asked, key)[0] for key in ("", WRONG)] == [401, 401]


def test_unfinished_run(collector: CollectorProcess) -> None:
    """A started run is running until its end arrives."""
    span = call("slow")
    deliver(collector, "open", make_start(span))
    assert only_run(collector, "open")["outcome"] == "running"
    deliver(collector, "open", span)
    assert only_run(collector, "open")["outcome"] == "ok"


def test_trace(collector: CollectorProcess) -> None:
    """A trace lists its runs, each with its parent run."""
    top = call("top")
    below = call("below", trace_id=top.trace_id, parent_span_id=top.span_id)
    plain = make_span("GET", trace_id=top.trace_id, start_ns=top.start_ns)
    deliver(collector, "trace", below, plain, top)
    runs = collector.get(f"/traces/{top.trace_id.hex()}")["runs"]
    assert {run["name"]: run["parent_run_id"] for run in runs} == {
        "top": None,
        "below": id_of(top),
        "GET": None,
    }
