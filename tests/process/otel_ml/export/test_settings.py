"""Cases of tests/unit/otel_ml/export/test_settings.py that start processes."""

from pathlib import Path

import pytest

from tests.support.otel_ml.scripts import run_script
from tests.unit.otel_ml.export.test_settings import NAMES


@pytest.fixture(autouse=True)
def _no_standard_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_TRACES_{name}", raising=False)


def test_odd_settings_are_said_once(tmp_path: Path) -> None:
    """Each invalid setting is logged once for all clients, without secrets."""
    result = run_script(
        tmp_path,
        """
        from otel_ml.export.settings import resolve

        for _ in range(3):
            settings = resolve("http://me:secret@host:port", "shop", "secret\u20ac")
        resolve("ftp://me:secret@host", "shop", "")
        print(settings)
        """,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/json",
        OTEL_EXPORTER_OTLP_HEADERS='x=1,authorization=Bearer "secret"',
    )
    assert result.stderr.splitlines() == [
        "OTEL_EXPORTER_OTLP_PROTOCOL asks for http/json: http/protobuf is sent instead",
        "Invalid endpoint 'http://host:port': expected an address such as http://localhost:4318",
        "Header 2 of OTEL_EXPORTER_OTLP_HEADERS is not sent: "
        "expected name=value, the value percent-encoded",
        "The API key is not sent: expected printable ASCII",
        "Invalid endpoint 'ftp://host': expected an address such as http://localhost:4318",
    ]
    assert "secret" not in result.stdout


def test_unknown_protocol_is_http(tmp_path: Path) -> None:
    """An unknown protocol is logged, and HTTP is used."""
    result = run_script(
        tmp_path,
        "from otel_ml.export.settings import resolve; print(resolve(None, '', None).protocol)",
        OTEL_EXPORTER_OTLP_PROTOCOL="carrier/pigeon",
    )
    assert (result.stdout, result.stderr) == (
        "http/protobuf\n",
        "Unknown OTEL_EXPORTER_OTLP_PROTOCOL 'carrier/pigeon': "
        "expected http/protobuf or grpc, using http/protobuf\n",
    )


def test_undecodable_environment_is_borne(tmp_path: Path) -> None:
    """Undecodable bytes in environment variables do not raise."""
    result = run_script(
        tmp_path,
        """
        import os
        for name in ("ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION", "PROTOCOL"):
            os.environb[b"OTEL_EXPORTER_OTLP_" + name.encode()] = b"me:\\xff=\\xff@host:1\\xff"
        from otel_ml.export.settings import resolve
        print(resolve(None, "a\\udcff", "b\\udcff").timeout_s)
        """,
    )
    assert result.stdout == "10.0\n"
