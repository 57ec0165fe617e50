"""Sends one export request over gRPC."""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from otel_ml.export.response import read_partial_success
from otel_ml.export.settings import Settings

_METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_WORDS: Final = {
    "UNAUTHENTICATED": "the key is not valid, or none is sent (401)",
    "PERMISSION_DENIED": "the key may not write there (403)",
    "UNIMPLEMENTED": "what listens there takes no OTLP",
}


def send_over_grpc(address: str, settings: Settings, body: bytes, timeout_s: float) -> str:
    """Send a request with the headers and certificates of the settings.

    Returns:
        What was wrong; empty when it was taken whole.

    Raises:
        ImportError: gRPC is not installed.
    """
    import grpc  # heavy, and only there with an extra

    if urlsplit(settings.url).scheme == "https":
        files = (settings.ca_file, settings.client_key_file, settings.client_cert_file)
        parts = [Path(file).read_bytes() if file else None for file in files]
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(*parts))
    else:
        channel = grpc.insecure_channel(address)
    metadata = tuple(settings.headers.items())
    with channel:
        try:
            export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD)
            answer = export(body, timeout_s, metadata)
        except grpc.RpcError as error:
            code = error.code().name
            return _WORDS.get(code, f"{code}: {' '.join((error.details() or '').split())[:200]}")
    rejected, message = read_partial_success(answer)
    return message or "it was rejected" if rejected else ""
