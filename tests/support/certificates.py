"""Certificates that tests make with OpenSSL."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate for ``localhost`` and 127.0.0.1, and its key."""

    cert: Path
    key: Path


def make_certificate(folder: Path, password: str = "") -> Certificate:
    """Make a certificate that is valid for a day; a password encrypts its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("There is no openssl on the PATH")
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    lock = ["-passout", f"pass:{password}"] if password else ["-nodes"]
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *lock,
            *("-subj", "/CN=localhost", "-days", "1"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-out", str(made.cert), "-keyout", str(made.key)),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return made
