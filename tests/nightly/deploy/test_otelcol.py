"""The configuration for the stock OpenTelemetry Collector is valid and complete.

tests/nightly/neighbours runs that program.
"""

from pathlib import Path

import pytest

from otel_ml_collector.receive.pipeline import BODY_LIMIT_BYTES
from tests.nightly.deploy import otelcol
from tests.support.deploy.tools import DEPLOY, change, image_of, read_yaml, run

CONFIG = DEPLOY / "otelcol/config.yaml"
SCHEMA = ("--schemafile", Path(__file__).with_name("otelcol.schema.json"))
# The first version with the exporter name otlp_grpc; since then, otlp is an alias.
RENAMED = (0, 144)


def test_keys_are_known() -> None:
    """The schema, made from the collector's sources, accepts every key and value."""
    verdict = run("check-jsonschema", *SCHEMA, CONFIG)
    assert verdict.status == 0, verdict.output


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_elapsed_time", "max_elapsd_time"),
        ("  otlp_grpc/jaeger:\n", "  otlp_grcp/jaeger:\n"),
        ("timeout: 5s", "timeout: 5 seconds"),
        ("sizer: bytes", "sizer: byte"),
    ],
)
def test_schema_refuses(old: str, new: str, tmp_path: Path) -> None:
    """The schema finds a misspelt key, type, duration or choice."""
    assert run("check-jsonschema", *SCHEMA, change(CONFIG, tmp_path, old, new)).status == 1


def test_names_belong_together() -> None:
    """Pipelines, extensions, storages and hosts use declared names, and every name is used."""
    assert otelcol.problems(CONFIG, services()) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("receivers: [otlp]", "receivers: [otlp, zipkin]", "receivers: zipkin is not declared"),
        ("processors: [memory", "processors: [batch, memory", "processors: batch is not declared"),
        ("_ml, otlp_grpc/jaeger]", "_ml]", "exporters: otlp_grpc/jaeger is not used"),
        ("[health_check, file", "[pprof, health_check, file", "extensions: pprof is not declared"),
        ("storage: file_storage", "storage: files", "storage files is not started"),
        ("otel-ml:4317", "otelml:4317", "host of otelml:4317 is no service"),
    ],
)
def test_names_are_missed(old: str, new: str, problem: str, tmp_path: Path) -> None:
    """A name that is undeclared or unused is found."""
    found = otelcol.problems(change(CONFIG, tmp_path, old, new), services())
    assert problem in "\n".join(found)


def test_image_knows_the_exporter() -> None:
    """The pinned image is new enough for the exporter's name in the file."""
    version = image_of("otelcol").rpartition(":")[2]
    assert tuple(int(part) for part in version.split("."))[:2] >= RENAMED


def test_queue_for_otel_ml_is_durable() -> None:
    """Spans for otel-ml are queued on disk, in the mounted volume, and retried forever."""
    config = read_yaml(CONFIG)
    exporter = config["exporters"]["otlp_grpc/otel_ml"]
    folder = config["extensions"][exporter["sending_queue"]["storage"]]["directory"]
    assert f"queue:{folder}" in read_yaml(DEPLOY / "compose.yaml")["services"]["otelcol"]["volumes"]
    assert exporter["retry_on_failure"]["max_elapsed_time"] == 0


def test_received_spans_fit() -> None:
    """Every span that a receiver accepts fits into a request to otel-ml, alone in its batch."""
    config = read_yaml(CONFIG)
    protocols = config["receivers"]["otlp"]["protocols"]
    queue = config["exporters"]["otlp_grpc/otel_ml"]["sending_queue"]
    most = queue["batch"]["max_size"]
    assert queue["sizer"] == "bytes"
    assert protocols["grpc"]["max_recv_msg_size_mib"] << 20 < most < BODY_LIMIT_BYTES
    assert protocols["http"]["max_request_body_size"] < most
    assert queue["num_consumers"] * most < 96 << 20  # the collector's limit for all requests


def services() -> list[str]:
    return list(read_yaml(DEPLOY / "compose.yaml")["services"])
