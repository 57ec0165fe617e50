"""Certificates that tests make, and servers that use them."""

import ssl
import subprocess
from pathlib import Path


def openssl(*arguments: str, directory: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def issue(name: str, directory: Path, *extensions: str, issuer: str = "") -> None:
    """Make a key and a certificate, self-signed or signed by an issuer."""
    by = ["-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key"] if issuer else []
    added = [part for text in extensions for part in ("-addext", text)]
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}"),
        *(*by, *added),
        directory=directory,
    )


def server_tls(certificates: Path, name: str = "server", *, client: bool = False) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    if client:
        tls.verify_mode = ssl.CERT_REQUIRED
        tls.load_verify_locations(certificates / "ca.pem")
    return tls
