"""Fixtures for tests of single OTLP requests over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.otel_ml.export.http.certificates import issue, openssl
from tests.support.otel_ml.export.http.servers import Receiver, open_receiver


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with open_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create two authorities, and certificates for a server, another host and a client."""
    directory = tmp_path_factory.mktemp("tls")
    authority = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
    issue("ca", directory, *authority)
    issue("stranger", directory, *authority)
    leaf = "basicConstraints=critical,CA:FALSE"
    here = "subjectAltName=IP:127.0.0.1,DNS:collector"
    issue("server", directory, leaf, here, issuer="ca")
    issue("elsewhere", directory, leaf, "subjectAltName=DNS:elsewhere", issuer="ca")
    issue("client", directory, leaf, issuer="ca")
    openssl(
        *("ec", "-in", "client.key", "-aes256", "-passout", "pass:word", "-out", "locked.key"),
        directory=directory,
    )
    both = (directory / "client.pem").read_text() + (directory / "client.key").read_text()
    (directory / "both.pem").write_text(both)
    (directory / "garbage.pem").write_text("garbage")
    return directory
