"""OTLP over TLS, with a real certificate that the official exporters verify."""

import time
from collections.abc import Iterator
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace.export import SpanExporter

from tests.process.end_to_end.test_python_exporters import (
    answer_question,
    expected_chat,
    project,
    run_id,
    tracing,
)
from tests.support.certificates import Certificate, make_certificate
from tests.support.collector import CollectorProcess, running

__all__ = ["project"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secure(
    certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CollectorProcess]:
    """Yield a collector that uses TLS, with a certificate trusted by its clients."""
    arguments = ("--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificate.cert))
        for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # would override the setting
            patch.delenv(variable, raising=False)
        with running(tmp_path_factory.mktemp("data"), *arguments) as process:
            yield process


def make_exporter(
    protocol: str, collector: CollectorProcess, certificate: Certificate, project: str
) -> SpanExporter:
    headers = {"x-otel-ml-project": project}
    if protocol == "grpc":
        credentials = grpc.ssl_channel_credentials(certificate.cert.read_bytes())
        return GrpcExporter(f"https://{collector.grpc}", credentials=credentials, headers=headers)
    url = f"{collector.endpoint}/v1/traces"
    return HttpExporter(url, certificate_file=str(certificate.cert), headers=headers)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_python(
    secure: CollectorProcess, certificate: Certificate, project: str, protocol: str
) -> None:
    """The Python exporters send over TLS, and each field of the run is correct."""
    start_ns = time.time_ns()
    with tracing(make_exporter(protocol, secure, certificate, project)) as tracer:
        ask, chat = answer_question(tracer, start_ns)
    assert secure.get(f"/runs/{run_id(chat)}") == expected_chat(ask, chat, start_ns, project)


def test_plain_http(secure: CollectorProcess) -> None:
    """A client without TLS gets no response over HTTP."""
    connection = HTTPConnection(urlsplit(secure.endpoint).netloc, timeout=10)
    connection.request("GET", "/healthz")
    with pytest.raises((RemoteDisconnected, ConnectionResetError)):
        connection.getresponse()
    connection.close()


def test_plain_grpc(secure: CollectorProcess) -> None:
    """A client without TLS cannot connect over gRPC."""
    with grpc.insecure_channel(secure.grpc) as channel, pytest.raises(grpc.FutureTimeoutError):
        grpc.channel_ready_future(channel).result(timeout=1)


def test_unknown_certificate(secure: CollectorProcess, tmp_path: Path) -> None:
    """A client that does not trust the certificate cannot connect."""
    other = make_certificate(tmp_path)
    credentials = grpc.ssl_channel_credentials(other.cert.read_bytes())
    with (
        grpc.secure_channel(secure.grpc, credentials) as channel,
        pytest.raises(grpc.FutureTimeoutError),
    ):
        grpc.channel_ready_future(channel).result(timeout=1)
