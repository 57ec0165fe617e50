"""TLS: the certificate and the key of both listeners."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc


def problem_of(cert: Path, key: Path) -> str:
    """Say why a certificate and a key cannot be listened with; empty when they can.

    Args:
        cert: The certificate in PEM, and after it those that vouch for it.
        key: Its private key in PEM, without a password.
    """
    import ssl  # with this module the settings are read, of which few name a certificate

    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            cert, key, password=_no_password
        )
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return (
            f"expected a certificate and its private key without a password, both PEM, "
            f"in {cert} and {key} ({reason})"
        )
    return ""


def grpc_credentials(cert: Path, key: Path) -> "grpc.ServerCredentials":
    """Make of certificate and key what a gRPC server listens with."""
    import grpc  # heavy

    return grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])


def _no_password() -> str:
    """Stand where OpenSSL would ask at the terminal."""
    raise ValueError("the key has a password")
