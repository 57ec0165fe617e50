"""Several record services at once: over TLS with keys, one that refuses records, one absent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc
import pytest

from examples.backend import Backend
from otel_ml_collector._proto import records_pb2 as pb
from otel_ml_collector.exporter import RecordExporter
from tests.support.application import Application
from tests.support.backend import run_ids_in, serving
from tests.support.certificates import Certificate, make_certificate
from tests.support.collector import CollectorProcess, running
from tests.support.load import PROTOBUF, make_request, run_ids
from tests.support.prometheus import numbers_in
from tests.support.sampling import at_night, sampled
from tests.support.waiting import wait_until

KEY: Final = "s3cret, with 100% odd=signs"
IN_URL: Final = "s3cret%2C%20with%20100%25%20odd%3Dsigns"
POISON: Final = "poison"


class Choosy(Backend):
    """Refuses requests with a certain model."""

    def PutRecords(  # noqa: N802 - the service's name of it
        self, request: pb.PutRecordsRequest, context: grpc.ServicerContext
    ) -> pb.PutRecordsResponse:
        if any(run.model == POISON for run in request.runs):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no poison here")
        return super().PutRecords(request, context)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("targets")


@pytest.fixture(scope="module")
def certificate(folder: Path) -> Certificate:
    return make_certificate(folder)


@pytest.fixture(scope="module")
def locked(folder: Path, certificate: Certificate) -> Iterator[int]:
    with serving(Backend(str(folder / "locked.db"), KEY), certificate) as port:
        yield port


@pytest.fixture(scope="module")
def choosy(folder: Path) -> Iterator[int]:
    with serving(Choosy(str(folder / "choosy.db"), "")) as port:
        yield port


@pytest.fixture(scope="module")
def forwarding(
    folder: Path, certificate: Certificate, locked: int, choosy: int
) -> Iterator[CollectorProcess]:
    targets = ",".join(
        (
            f"locked=grpcs://:{IN_URL}@localhost:{locked}?ca={certificate.cert}",
            f"wrong=grpcs://:other@localhost:{locked}?ca={certificate.cert}",
            f"unknown=grpcs://localhost:{locked}",
            f"choosy=grpc://127.0.0.1:{choosy}",
            "nobody=grpc://127.0.0.1:1",
        )
    )
    with running(folder / "data", "--forward-records", targets) as process:
        yield process


def send(collector: CollectorProcess, project: str, model: str = "load") -> set[str]:
    request = make_request(project, 3, model=model)
    collector.deliver(request.SerializeToString(), PROTOBUF)
    return set(run_ids(request))


def number(collector: CollectorProcess, name: str, target: str) -> float:
    told = numbers_in(collector.get_text("/metrics"), f"otel_ml_forward_records_{name}")
    return sum(value for labels, value in told.items() if f'target="{target}"' in labels)


def test_tls_and_key(forwarding: CollectorProcess, folder: Path) -> None:
    """A record service over TLS with a key gets the runs, whatever happens to other services."""
    sent = send(forwarding, "locked")
    wait_until(lambda: sent <= run_ids_in(folder / "locked.db"))
    wait_until(lambda: number(forwarding, "lag_seconds", "locked") == 0.0)
    assert number(forwarding, "failures_total", "locked") == 0.0
    assert number(forwarding, "refused_total", "locked") == 0.0


@sampled(1)
@pytest.mark.parametrize("target", ["wrong", "unknown", "nobody"])
def test_target_that_takes_nothing(forwarding: CollectorProcess, target: str) -> None:
    """A wrong key, an untrusted certificate or an absent service is counted; records wait."""
    send(forwarding, target)
    wait_until(lambda: number(forwarding, "failures_total", target) > 1)
    wait_until(lambda: number(forwarding, "lag_seconds", target) > 0)
    assert number(forwarding, "total", target) == number(forwarding, "refused_total", target) == 0.0


def test_refused_record(forwarding: CollectorProcess, folder: Path) -> None:
    """A record that a service refuses is skipped and counted; all others are sent."""
    before = send(forwarding, "choosy")
    poison = send(forwarding, "choosy", POISON)
    after = send(forwarding, "choosy")
    wait_until(lambda: before | after <= run_ids_in(folder / "choosy.db"))
    assert not poison & run_ids_in(folder / "choosy.db")
    assert number(forwarding, "refused_total", "choosy") == len(poison)
    wait_until(lambda: "RecordService choosy refuses" in forwarding.output)


def test_record_beyond_the_limit(forwarding: CollectorProcess, folder: Path) -> None:
    """A run that exceeds the service's gRPC limit is skipped; all others are sent."""
    before = number(forwarding, "refused_total", "locked")
    request = make_request("large", 3)
    for span in request.resource_spans[0].scope_spans[0].spans[:1]:
        [inputs] = [one for one in span.attributes if one.key == "otel_ml.inputs"]
        inputs.value.string_value = f'"{"x" * 5_000_000}"'
    forwarding.post("/v1/traces", request.SerializeToString(), PROTOBUF)
    large, *others = run_ids(request)
    wait_until(lambda: set(others) <= run_ids_in(folder / "locked.db"))
    wait_until(lambda: number(forwarding, "refused_total", "locked") == before + 1)
    assert large not in run_ids_in(folder / "locked.db")


def test_key_is_not_shown(forwarding: CollectorProcess) -> None:
    """The key of a record service appears neither in the log nor in the metrics."""
    said = forwarding.output + forwarding.get_text("/metrics")
    assert "s3cret" not in said


@at_night
def test_exporter_with_tls_and_key(locked: int, certificate: Certificate) -> None:
    """An application can also send records over TLS with a key."""
    application = Application()
    application.call("app")
    spans = application.spans()
    answers = []
    for key in (KEY, "other"):
        exporter = RecordExporter(
            f"grpcs://localhost:{locked}", api_key=key, ca=certificate.cert, timeout_s=3
        )
        answers.append(exporter.export(spans).name)
        exporter.shutdown()
    assert answers == ["SUCCESS", "FAILURE"]
