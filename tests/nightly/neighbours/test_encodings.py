"""Each encoding and compression of the stock collector's exporters is accepted or refused."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.nightly.neighbours.programs import NO_METRICS, Program, run_to_end, running
from tests.nightly.neighbours.test_chain import make_batch, stored
from tests.support.collector import CollectorProcess
from tests.support.collector import running as collecting
from tests.support.load import PROTOBUF
from tests.support.ports import free_port

# All values of `compression` for the exporters of 0.161; otlp_http can also write JSON.
HTTP: Final = ("none", "gzip", "zlib", "deflate", "snappy", "x-snappy-framed", "zstd", "lz4")
GRPC: Final = ("none", "gzip", "snappy", "zstd")
TAKEN: Final = (
    *(("otlp_http", encoding, how) for encoding in ("proto", "json") for how in HTTP),
    *(("otlp_grpc", "proto", how) for how in GRPC),
)
# gRPC's own library, not otel-ml, refuses these: it reads only gzip and deflate.
REFUSED: Final = (("otlp_grpc", "proto", "snappy"), ("otlp_grpc", "proto", "zstd"))


@dataclass(frozen=True, slots=True)
class Sent:
    """The result of sending with all exporters at once, each into a separate project."""

    collector: CollectorProcess
    output: str
    ids: list[str]


def name_of(way: tuple[str, str, str]) -> str:
    """Return the name of the project for an exporter's settings."""
    return " ".join(way)


def make_config(grpc: str, http: str, receiver: int) -> str:
    """Return a configuration with a pipeline for each exporter's settings."""
    exporters, processors, pipelines = "", "", ""
    for number, (kind, encoding, how) in enumerate(TAKEN):
        name = f"{kind}/{number}"
        told = f"endpoint: {grpc}, tls: {{insecure: true}}"
        if kind == "otlp_http":
            told = f"endpoint: '{http}', encoding: {encoding}"
        exporters += (
            f"  {name}: {{{told}, compression: {how}, sending_queue: {{enabled: false}}}}\n"
        )
        project = f"{{key: otel_ml.project, value: {kind} {encoding} {how}, action: upsert}}"
        processors += f"  attributes/{number}: {{actions: [{project}]}}\n"
        pipelines += (
            f"    traces/{number}:\n      receivers: [otlp]\n"
            f"      processors: [attributes/{number}]\n      exporters: [{name}]\n"
        )
    return (
        f"receivers:\n  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{receiver}'}}}}}}\n"
        f"exporters:\n{exporters}processors:\n{processors}service:\n  pipelines:\n{pipelines}"
    )


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sent]:
    """Send one request through every exporter to a collector."""
    folder = tmp_path_factory.mktemp("encodings")
    with collecting(folder / "data") as collector:
        port = free_port()
        config = make_config(collector.grpc, collector.endpoint, port)
        program = Program("otelcol", folder / "otelcol", config, port, more=NO_METRICS)
        with running(program):
            body, ids = make_batch("encodings")
            request = Request(f"http://127.0.0.1:{port}/v1/traces", body, PROTOBUF)
            with pytest.raises(HTTPError) as refused:
                urlopen(request, timeout=60)
            yield Sent(collector, refused.value.read().decode(errors="replace"), ids)


@pytest.mark.parametrize("way", [way for way in TAKEN if way not in REFUSED], ids=name_of)
def test_arrives(sent: Sent, way: tuple[str, str, str]) -> None:
    """Every span sent with these settings is stored once."""
    assert stored(sent.collector, name_of(way)) == Counter(sent.ids)


@pytest.mark.parametrize("way", REFUSED, ids=name_of)
def test_refused(sent: Sent, way: tuple[str, str, str]) -> None:
    """Requests that gRPC's own library cannot read are refused with a message, and not stored."""
    assert stored(sent.collector, name_of(way)) == Counter()
    assert sent.output.count("Error parsing 'grpc-encoding' metadata") == len(REFUSED)


def test_all_compressions_are_tried(tmp_path: Path) -> None:
    """The exporters support no compression beyond the tested ones."""
    for kind, known in (("otlp_http", HTTP), ("otlp_grpc", GRPC)):
        for how in (*known, "brotli"):
            exporter = f"{{endpoint: 'http://127.0.0.1:1', compression: {how}}}"
            file = tmp_path / "config.yaml"
            file.write_text(
                "receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:1'}}}}\n"
                f"exporters: {{{kind}: {exporter}}}\n"
                f"service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [{kind}]}}}}}}\n"
            )
            status = run_to_end("otelcol", "validate", "--config", str(file)).returncode
            assert (how, status) == (how, 1 if how == "brotli" else 0)
