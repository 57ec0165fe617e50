"""OTLP over TLS from Node.js."""

import pytest

from tests.nightly.node.test_javascript_exporters import run_script
from tests.process.end_to_end.test_otlp_tls import certificate, project, secure
from tests.support.certificates import Certificate
from tests.support.collector import CollectorProcess

__all__ = ["certificate", "project", "secure"]


@pytest.mark.parametrize("protocol", ["grpc", "http", "json"])
def test_javascript(
    node: str, secure: CollectorProcess, certificate: Certificate, project: str, protocol: str
) -> None:
    """The JavaScript exporters send over TLS."""
    address = f"https://{secure.grpc}" if protocol == "grpc" else secure.endpoint
    endpoint = address.replace("127.0.0.1", "localhost")  # Node.js requires a host name
    trusted = {"NODE_EXTRA_CA_CERTS": str(certificate.cert)}
    run_script(node, "send.mjs", protocol, endpoint, project, **trusted)
    assert [run["name"] for run in secure.runs(project)] == [
        "execute_tool search",
        "chat gpt-4o-mini",
    ]
